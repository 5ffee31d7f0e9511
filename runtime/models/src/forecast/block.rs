//! One block of forecasts: read, prepared as in training, run, and brought back to the units of
//! the file.

use std::collections::BTreeMap;
use std::ops::Range;

use mizar_train::{Array, Learner};

use super::ForecastError;
use super::plan::{Group, Plan};
use super::skill::Sum;
use crate::Model;
use crate::model::{Missing, Reference, Sample};
use crate::source::DataError;
use crate::source::cube::{interleaved, refuse_missing, series};
use crate::source::series::Series;

/// Numbers that go into a model at once: what stays in a processor's cache.
const BATCH_NUMBERS: usize = 1 << 18;

/// What a block comes to.
pub(super) struct Computed {
    /// By output: `(row, channel, cell)`.
    pub(super) values: Vec<Vec<f32>>,
    /// By output.
    pub(super) skill: Vec<Sum>,
}

/// What was read for a block.
struct Block {
    /// The first step of the input that it holds.
    first: usize,
    /// As in the file.
    stored: BTreeMap<String, Series>,
    /// Of inputs: without their climatology, if the model has one.
    inputs: BTreeMap<String, Series>,
    /// Of inputs: `(step, channel, cell)`, normalised.
    normalised: Vec<f32>,
}

/// Computes some forecasts.
pub(super) fn compute(
    plan: &Plan,
    model: &Model,
    learner: &mut dyn Learner,
    rows: &Range<usize>,
) -> Result<Computed, ForecastError> {
    let block = read(plan, model, rows)?;
    let predicted = predict(plan, learner, &block, rows)?;
    let mut computed = Computed {
        values: Vec::new(),
        skill: Vec::new(),
    };
    let mut channel = 0;
    for (group, has_truth) in plan.outputs.iter().zip(&plan.has_truth) {
        let (mut values, mut sum) = (Vec::new(), Sum::default());
        for row in rows.clone() {
            for level in 0..group.channels.len() {
                let place = (row - rows.start) * plan.channels_out() + channel + level;
                let field = &predicted[place * plan.cells()..(place + 1) * plan.cells()];
                let begin = values.len();
                let undo = Undo::new(plan, model, &block, group, level, row);
                values.extend(
                    field
                        .iter()
                        .enumerate()
                        .map(|(c, value)| undo.of(*value, c)),
                );
                if *has_truth {
                    undo.measure(&values[begin..], &mut sum);
                }
            }
        }
        channel += group.channels.len();
        computed.values.push(values);
        computed.skill.push(sum);
    }
    Ok(computed)
}

/// Reads all steps that a block needs, and those that it forecasts where the file has them.
fn read(plan: &Plan, model: &Model, rows: &Range<usize>) -> Result<Block, ForecastError> {
    let first = rows.start;
    let end = (rows.end + plan.history - 1 + plan.lead).min(plan.steps);
    let cube = plan
        .cube
        .operator(&format!("seltimestep,{}/{end}", first + 1))?;
    let computed = cube.compute()?;
    let mut block = Block {
        first,
        stored: BTreeMap::new(),
        inputs: BTreeMap::new(),
        normalised: Vec::new(),
    };
    let targets = plan.outputs.iter().zip(&plan.has_truth);
    let targets = targets.filter(|(_, has)| **has).map(|(group, _)| group);
    for group in plan.inputs.iter().chain(targets) {
        let (read, _) = series(&plan.origin, &computed, &group.name, plan.sample)?;
        block.stored.insert(group.name.clone(), read);
    }
    let mut all = Vec::new();
    for group in &plan.inputs {
        let mut input = block.stored[&group.name].clone();
        if plan.missing == Missing::Refuse {
            refuse_missing(&plan.origin, &input).map_err(|error| at(error, first))?;
        }
        if let Some((_, climatology)) = model.climatology.get(&group.name) {
            input.subtract(climatology, &plan.months[first..end]);
        }
        let mut normalised = input.clone();
        for (level, channel) in group.channels.iter().enumerate() {
            normalised.normalise(level, channel.mean, channel.std);
        }
        for value in &mut normalised.values {
            // Missing values are at the mean.
            *value = if value.is_nan() { 0.0 } else { *value };
        }
        all.push(normalised);
        block.inputs.insert(group.name.clone(), input);
    }
    block.normalised = interleaved(&all);
    Ok(block)
}

/// The step of a missing value in the file, not in the block.
fn at(error: DataError, first: usize) -> DataError {
    match error {
        DataError::Missing {
            origin,
            name,
            missing,
            values,
            step,
        } => DataError::Missing {
            origin,
            name,
            missing,
            values,
            step: step + first,
        },
        other => other,
    }
}

/// What the model says: `(row, channel, cell)`.
fn predict(
    plan: &Plan,
    learner: &mut dyn Learner,
    block: &Block,
    rows: &Range<usize>,
) -> Result<Vec<f32>, ForecastError> {
    let (cells, channels) = (plan.cells(), plan.channels_in());
    let size = channels * cells;
    let mut out = Vec::with_capacity(rows.len() * plan.channels_out() * cells);
    match plan.sample {
        Sample::Field => {
            let most = (BATCH_NUMBERS / (plan.history * size).max(1)).max(1);
            let list: Vec<usize> = rows.clone().collect();
            for rows in list.chunks(most) {
                let mut values = Vec::with_capacity(rows.len() * plan.history * size);
                for row in rows {
                    let begin = (row - block.first) * size;
                    values.extend_from_slice(&block.normalised[begin..begin + plan.history * size]);
                }
                let mut shape = vec![rows.len(), plan.history * channels];
                shape.extend(&plan.extent);
                let said = learner.predict(&Array { shape, values })?.values;
                check(plan, said.len(), rows.len() * cells)?;
                out.extend(said);
            }
        }
        Sample::Cell => {
            let most = (BATCH_NUMBERS / (plan.history * channels).max(1)).max(1);
            let list: Vec<usize> = (0..cells).collect();
            for row in rows.clone() {
                let begin = out.len();
                out.resize(begin + plan.channels_out() * cells, 0.0);
                for some in list.chunks(most) {
                    let mut values = Vec::with_capacity(some.len() * plan.history * channels);
                    for &cell in some {
                        let first = (row - block.first) * channels;
                        let fields = first..first + plan.history * channels;
                        values.extend(fields.map(|field| block.normalised[field * cells + cell]));
                    }
                    let shape = vec![some.len(), plan.history, channels];
                    let said = learner.predict(&Array { shape, values })?.values;
                    check(plan, said.len(), some.len())?;
                    for (said, &cell) in said.chunks(plan.channels_out()).zip(some) {
                        for (channel, value) in said.iter().enumerate() {
                            out[begin + channel * cells + cell] = *value;
                        }
                    }
                }
            }
        }
    }
    Ok(out)
}

/// Whether the network gives as many channels as the header names.
fn check(plan: &Plan, found: usize, places: usize) -> Result<(), ForecastError> {
    let named = plan.channels_out();
    if found == named * places {
        return Ok(());
    }
    Err(ForecastError::Unfit {
        origin: plan.origin.clone(),
        reason: format!(
            "its network gives {} channels, its header names {named}",
            found / places.max(1)
        ),
    })
}

/// From what the model says of one field to the units of the file.
struct Undo<'a> {
    mean: f64,
    std: f64,
    /// Newest input of the same variable, as the model sees it.
    newest: Option<&'a [f32]>,
    /// What is added: that of persistence, and the climatology of the month that is forecast.
    persisted: Option<&'a [f32]>,
    climatology: Option<&'a [f32]>,
    /// In the file: what came, and the newest value before.
    truth: Option<&'a [f32]>,
    before: Option<&'a [f32]>,
    /// Where the variable is no input: a cell of which nothing is known has no forecast.
    others: Vec<&'a [f32]>,
}

impl<'a> Undo<'a> {
    fn new(
        plan: &Plan,
        model: &'a Model,
        block: &'a Block,
        group: &Group,
        level: usize,
        row: usize,
    ) -> Self {
        let (name, channel) = (&group.name, &group.channels[level]);
        let step = row - block.first + plan.history - 1;
        let at = |series: &'a BTreeMap<String, Series>, step: usize| {
            let series = series.get(name).filter(|series| step < series.steps);
            series.map(|series| series.field(step, level))
        };
        let newest = at(&block.inputs, step);
        let others = match newest {
            Some(_) => Vec::new(),
            None => {
                let all = block.inputs.values();
                all.map(|series| series.field(step, 0)).collect()
            }
        };
        let of_month = model.climatology.get(name).map(|(_, values)| {
            let month = usize::from(plan.target_months[row]) - 1;
            let begin = (month * group.channels.len() + level) * plan.cells();
            &values[begin..begin + plan.cells()]
        });
        Self {
            mean: channel.mean,
            std: channel.std,
            newest,
            persisted: newest.filter(|_| plan.relative_to == Reference::Persistence),
            climatology: of_month,
            truth: at(&block.stored, step + plan.lead),
            before: at(&block.stored, step),
            others,
        }
    }

    fn of(&self, value: f32, cell: usize) -> f32 {
        let is_unknown = match self.newest {
            Some(newest) => newest[cell].is_nan(),
            None => self.others.iter().all(|field| field[cell].is_nan()),
        };
        if is_unknown {
            return f32::NAN;
        }
        let add = |field: Option<&[f32]>| field.map_or(0.0, |field| f64::from(field[cell]));
        let value = f64::from(value) * self.std + self.mean;
        #[allow(clippy::cast_possible_truncation, reason = "single precision is meant")]
        let value = (value + add(self.persisted) + add(self.climatology)) as f32;
        value
    }

    /// Compares forecasts with what came.
    fn measure(&self, forecast: &[f32], sum: &mut Sum) {
        let (Some(truth), Some(before)) = (self.truth, self.before) else {
            return;
        };
        for (cell, (forecast, truth)) in forecast.iter().zip(truth).enumerate() {
            let usual = self.climatology.map(|field| field[cell]);
            sum.add(*forecast, *truth, before[cell], usual);
        }
    }
}
