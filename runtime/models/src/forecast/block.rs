//! One block of forecasts: read, given to the model sample by sample, and measured where the input
//! has what came.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ForecastError;
use super::plan::Plan;
use super::skill::Sum;
use crate::header::{Missing, Sample};
use crate::predictor::{Group, samples_at_once};
use crate::source::DataError;
use crate::source::cube::{refuse_missing, series};
use crate::source::series::Series;
use crate::{Model, Predict, Samples};

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
}

/// Computes some forecasts.
pub(super) fn compute(
    plan: &Plan,
    model: &Model,
    network: &mut dyn Predict,
    rows: &Range<usize>,
) -> Result<Computed, ForecastError> {
    let block = read(plan, rows)?;
    let values = match plan.sample {
        Sample::Field => predict_fields(plan, network, &block, rows)?,
        Sample::Cell => predict_cells(plan, network, &block, rows)?,
    };
    let mut skill = Vec::new();
    for ((group, has_truth), values) in plan.outputs.iter().zip(&plan.has_truth).zip(&values) {
        let mut sum = Sum::default();
        if *has_truth {
            let fields = values.chunks(plan.cells().max(1)).enumerate();
            let levels = group.channels.len();
            for (index, field) in fields {
                let (row, level) = (rows.start + index / levels, index % levels);
                measure(plan, model, &block, group, (row, level), field, &mut sum);
            }
        }
        skill.push(sum);
    }
    Ok(Computed { values, skill })
}

/// Reads all steps that a block needs, and those that it forecasts where the file has them.
fn read(plan: &Plan, rows: &Range<usize>) -> Result<Block, ForecastError> {
    let first = rows.start;
    let end = (rows.end + plan.history - 1 + plan.lead).min(plan.steps);
    let cube = plan
        .cube
        .operator(&format!("seltimestep,{}/{end}", first + 1))?;
    let computed = cube.compute()?;
    let mut block = Block {
        first,
        stored: BTreeMap::new(),
    };
    let targets = plan.outputs.iter().zip(&plan.has_truth);
    let targets = targets.filter(|(_, has)| **has).map(|(group, _)| group);
    for group in plan.inputs.iter().chain(targets) {
        let (read, _) = series(&plan.origin, &computed, &group.name, plan.sample)?;
        block.stored.insert(group.name.clone(), read);
    }
    if plan.missing == Missing::Refuse {
        for group in &plan.inputs {
            let input = &block.stored[&group.name];
            refuse_missing(&plan.origin, input).map_err(|error| at(error, first))?;
        }
    }
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

/// By output: `(row, level, cell)`.
fn predict_fields(
    plan: &Plan,
    network: &mut dyn Predict,
    block: &Block,
    rows: &Range<usize>,
) -> Result<Vec<Vec<f32>>, ForecastError> {
    let mut out = vec![Vec::new(); plan.outputs.len()];
    let most = samples_at_once(plan.history * plan.channels_in() * plan.cells());
    for first in rows.clone().step_by(most) {
        let some = first..(first + most).min(rows.end);
        let mut samples = Samples {
            count: some.len(),
            extent: plan.extent.clone(),
            ..Samples::default()
        };
        for group in &plan.inputs {
            let size = group.channels.len() * plan.cells();
            let stored = &block.stored[&group.name].values;
            let mut values = Vec::with_capacity(some.len() * plan.history * size);
            for row in some.clone() {
                let begin = (row - block.first) * size;
                values.extend_from_slice(&stored[begin..begin + plan.history * size]);
            }
            samples.values.push(values);
        }
        some.for_each(|row| push_months(plan, row, &mut samples));
        let said = network.predict(&samples)?;
        for (out, said) in out.iter_mut().zip(said) {
            out.extend(said);
        }
    }
    Ok(out)
}

/// By output: `(row, level, cell)`.
fn predict_cells(
    plan: &Plan,
    network: &mut dyn Predict,
    block: &Block,
    rows: &Range<usize>,
) -> Result<Vec<Vec<f32>>, ForecastError> {
    let cells = plan.cells();
    let size = |group: &Group| rows.len() * group.channels.len() * cells;
    let mut out: Vec<Vec<f32>> = plan.outputs.iter().map(|g| vec![0.0; size(g)]).collect();
    let most = samples_at_once(plan.history * plan.channels_in());
    for row in rows.clone() {
        for first in (0..cells).step_by(most) {
            let places: Vec<usize> = (first..(first + most).min(cells)).collect();
            let mut samples = Samples {
                count: places.len(),
                ..Samples::default()
            };
            for group in &plan.inputs {
                let levels = group.channels.len();
                let begin = (row - block.first) * levels;
                let stored = &block.stored[&group.name].values;
                let mut values = Vec::with_capacity(places.len() * plan.history * levels);
                for cell in &places {
                    let fields = begin..begin + plan.history * levels;
                    values.extend(fields.map(|field| stored[field * cells + cell]));
                }
                samples.values.push(values);
            }
            places
                .iter()
                .for_each(|_| push_months(plan, row, &mut samples));
            samples.places = places;
            let said = network.predict(&samples)?;
            for ((out, said), group) in out.iter_mut().zip(said).zip(&plan.outputs) {
                let levels = group.channels.len();
                for (said, cell) in said.chunks(levels).zip(&samples.places) {
                    for (level, value) in said.iter().enumerate() {
                        out[((row - rows.start) * levels + level) * cells + cell] = *value;
                    }
                }
            }
        }
    }
    Ok(out)
}

/// The months of the steps of a sample and of its forecast.
fn push_months(plan: &Plan, row: usize, samples: &mut Samples) {
    let steps = row..row + plan.history;
    samples.months.extend_from_slice(&plan.months[steps]);
    samples.target_months.push(plan.target_months[row]);
}

/// Compares a forecast with what came.
fn measure(
    plan: &Plan,
    model: &Model,
    block: &Block,
    group: &Group,
    (row, level): (usize, usize),
    forecast: &[f32],
    sum: &mut Sum,
) {
    let newest = row - block.first + plan.history - 1;
    let stored = block.stored.get(&group.name);
    let at = |step: usize| {
        let stored = stored.filter(|series| step < series.steps);
        stored.map(|series| series.field(step, level))
    };
    let (Some(truth), Some(before)) = (at(newest + plan.lead), at(newest)) else {
        return;
    };
    let usual = model.climatology.get(&group.name).map(|(_, means)| {
        let month = usize::from(plan.target_months[row]) - 1;
        let begin = (month * group.channels.len() + level) * plan.cells();
        &means[begin..begin + plan.cells()]
    });
    for (cell, (forecast, truth)) in forecast.iter().zip(truth).enumerate() {
        let usual = usual.map(|field| field[cell]);
        sum.add(*forecast, *truth, before[cell], usual);
    }
}
