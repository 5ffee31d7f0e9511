//! What is known of a run before data is read: the model's header beside the input's structure.

use std::ops::Range;
use std::path::Path;

use mizar_array::dataset::Dataset;
use mizar_array::time_axis::TimeAxis;
use mizar_array::{Computed, Datacube};

use super::axis::{Pace, later, pace};
use super::{ForecastError, Options};
use crate::header::{Missing, Sample};
use crate::predictor::{Group, groups};
use crate::source::DataError;
use crate::source::climate;
use crate::source::cube::{Shape, shape};
use crate::{Architecture, Model, PredictError};

/// Numbers of inputs and outputs that a block holds.
const BLOCK_NUMBERS: usize = 1 << 23;

/// Blocks that there should be, so that ranks have something to share.
const BLOCKS_MIN: usize = 64;

/// So many times the history are read at once, so that little is read twice.
const HISTORIES: usize = 4;

/// A run.
pub(super) struct Plan {
    pub(super) origin: String,
    /// With operators, and only what is needed.
    pub(super) cube: Datacube,
    /// Of what comes out: dimensions, attributes and coordinates.
    pub(super) structure: Computed,
    pub(super) inputs: Vec<Group>,
    pub(super) outputs: Vec<Group>,
    /// Whether the input has what came, by output.
    pub(super) has_truth: Vec<bool>,
    pub(super) sample: Sample,
    pub(super) history: usize,
    pub(super) lead: usize,
    pub(super) missing: Missing,
    /// Variables whose usual months the model knows.
    known_months: Vec<String>,
    pub(super) steps: usize,
    pub(super) extent: Vec<usize>,
    /// The month of each step of the input, and of each forecast.
    pub(super) months: Vec<u8>,
    pub(super) target_months: Vec<u8>,
    pub(super) axis: Option<(TimeAxis, Option<Pace>)>,
    /// Forecasts.
    pub(super) rows: usize,
    pub(super) left_out: usize,
}

impl Plan {
    pub(super) fn new(
        model: &Model,
        input: &Path,
        options: &Options,
    ) -> Result<Self, ForecastError> {
        let header = &model.header;
        if let Architecture::Gan(_) = header.architecture {
            return Err(PredictError::Generator.into());
        }
        let origin = input.display().to_string();
        if header.arrays.is_some() {
            let reason = "it was trained on arrays: give it such (.npy, .npz)".to_owned();
            return Err(ForecastError::Unfit { origin, reason });
        }
        if header.inputs.is_empty() || header.outputs.is_empty() || header.history == 0 {
            let reason = "its header names no inputs, outputs or steps".to_owned();
            return Err(ForecastError::Unfit { origin, reason });
        }
        let (inputs, outputs) = (groups(&header.inputs), groups(&header.outputs));
        let mut cube = Datacube::open(input).with_options(mizar_array::command::Options {
            threads: Some(options.threads.max(1)),
            ..mizar_array::command::Options::default()
        });
        for operator in &header.operators {
            cube = cube.operator(operator)?;
        }
        let all = cube.structure()?;
        let first = &inputs[0].name;
        let has = |group: &Group| all.dataset().variable_index(&group.name).is_some();
        let mut names: Vec<&str> = inputs.iter().map(|group| group.name.as_str()).collect();
        names.extend(outputs.iter().filter(|g| has(g)).map(|g| g.name.as_str()));
        names.sort_unstable();
        names.dedup();
        let unfit = |reason: String| ForecastError::Unfit {
            origin: origin.clone(),
            reason,
        };
        let field = check_fields(&origin, all.dataset(), header.sample, [&inputs, &outputs])?;
        let has_truth: Vec<bool> = outputs.iter().map(has).collect();
        check_climatology(model, inputs.iter().chain(&outputs), &field).map_err(unfit)?;
        let shown = match outputs.iter().find(|group| has(group)) {
            Some(_) => outputs.iter().filter(|g| has(g)).map(|g| &g.name).collect(),
            None => vec![first],
        };
        let shown: Vec<&str> = shown.into_iter().map(String::as_str).collect();
        let structure = cube.operator(&format!("selname,{}", shown.join(",")))?;
        let structure = structure.structure()?;
        let mut plan = Self {
            cube: cube.operator(&format!("selname,{}", names.join(",")))?,
            structure,
            inputs,
            outputs,
            has_truth,
            sample: header.sample,
            history: header.history,
            lead: header.lead,
            missing: header.missing,
            known_months: model.climatology.keys().cloned().collect(),
            steps: field.steps,
            extent: field.extent,
            months: Vec::new(),
            target_months: Vec::new(),
            axis: None,
            rows: 0,
            left_out: 0,
            origin,
        };
        plan.time(header.anomalies, &all)?;
        Ok(plan)
    }

    /// Finds out what is forecast, and of when.
    fn time(&mut self, needs_months: bool, all: &Computed) -> Result<(), ForecastError> {
        if self.steps < self.history {
            return Err(ForecastError::Unfit {
                origin: self.origin.clone(),
                reason: format!(
                    "it has {} steps, and the model looks back on {}",
                    self.steps, self.history
                ),
            });
        }
        let failed = |origin: &str| {
            let origin = origin.to_owned();
            move |source| DataError::Time { origin, source }
        };
        let first = &self.inputs[0].name;
        let axis = match climate::axis(all, first) {
            Ok(axis) => axis.filter(|axis| axis.values.len() == self.steps),
            Err(source) if needs_months => return Err(failed(&self.origin)(source).into()),
            Err(_) => None,
        };
        let possible = self.steps - self.history + 1;
        let within = (self.steps + 1).saturating_sub(self.history + self.lead);
        let pace = match &axis {
            None => None,
            Some(axis) => match pace(axis) {
                Ok(pace) => pace,
                Err(source) if needs_months => return Err(failed(&self.origin)(source).into()),
                Err(_) => None,
            },
        };
        self.rows = match pace {
            Some(_) => possible,
            None => within,
        };
        self.left_out = possible - self.rows;
        if self.rows == 0 {
            return Err(ForecastError::Unfit {
                origin: self.origin.clone(),
                reason: format!(
                    "it has {} steps, fewer than the model's history of {} and lead of {}, and its \
                     time axis is not even, so that nothing can be dated past its end",
                    self.steps, self.history, self.lead
                ),
            });
        }
        self.months = climate::months(&self.origin, all, first, self.steps, needs_months)?;
        self.axis = axis.map(|axis| (axis, pace));
        let month = |row: usize| -> Result<u8, DataError> {
            let step = self.target_step(row);
            match (self.months.get(step), &self.axis) {
                (Some(month), _) => Ok(*month),
                (None, Some((axis, Some(pace)))) => {
                    let last = axis.values[self.steps - 1];
                    let value = later(axis, *pace, last, step - (self.steps - 1));
                    let date = value.and_then(|value| axis.units.date(value, axis.calendar));
                    Ok(date.map_err(failed(&self.origin))?.month)
                }
                _ => Ok(1),
            }
        };
        self.target_months = (0..self.rows).map(month).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The step that a forecast is of; past the end of the input for the last ones.
    pub(super) fn target_step(&self, row: usize) -> usize {
        row + self.history - 1 + self.lead
    }

    /// Forecasts past the end of the input.
    pub(super) fn beyond(&self) -> usize {
        let within = (self.steps + 1).saturating_sub(self.history + self.lead);
        self.rows - within.min(self.rows)
    }

    pub(super) fn has_climatology(&self, variable: &str) -> bool {
        self.known_months.iter().any(|name| name == variable)
    }

    pub(super) fn cells(&self) -> usize {
        self.extent.iter().product()
    }

    /// Channels of one step that go in.
    pub(super) fn channels_in(&self) -> usize {
        self.inputs.iter().map(|group| group.channels.len()).sum()
    }

    /// Channels that come out.
    pub(super) fn channels_out(&self) -> usize {
        self.outputs.iter().map(|group| group.channels.len()).sum()
    }

    /// Rows that are computed at once, in order.
    pub(super) fn blocks(&self) -> Vec<Range<usize>> {
        let of_row = (self.channels_in() + self.channels_out()) * self.cells();
        let in_memory = BLOCK_NUMBERS / of_row.max(1);
        let shared = self.rows.div_ceil(BLOCKS_MIN).max(HISTORIES * self.history);
        let rows = shared.min(in_memory).max(1);
        let firsts = (0..self.rows).step_by(rows);
        firsts
            .map(|first| first..(first + rows).min(self.rows))
            .collect()
    }
}

/// Checks that the variables of a model are there, with the levels that it knows and all of one
/// extent; returns that of the first.
fn check_fields(
    origin: &str,
    dataset: &Dataset,
    sample: Sample,
    [inputs, outputs]: [&[Group]; 2],
) -> Result<Shape, ForecastError> {
    let unfit = |reason: String| ForecastError::Unfit {
        origin: origin.to_owned(),
        reason,
    };
    let found = |group: &Group| shape(origin, dataset, &group.name, sample);
    let mut first: Option<Shape> = None;
    for group in inputs {
        let own = found(group)?;
        fits(group, &own, first.as_ref().unwrap_or(&own)).map_err(unfit)?;
        first.get_or_insert(own);
    }
    let Some(first) = first else {
        return Err(unfit("its header names no inputs".to_owned()));
    };
    for group in outputs {
        if dataset.variable_index(&group.name).is_some() {
            fits(group, &found(group)?, &first).map_err(unfit)?;
        } else if group.channels.len() > 1 {
            let levels = group.channels.len();
            let name = &group.name;
            let reason = format!("it lacks `{name}`, whose {levels} levels the forecast has");
            return Err(unfit(reason));
        }
    }
    Ok(first)
}

/// Checks that what a model knows of months is of its variables' levels and of this grid.
fn check_climatology<'a>(
    model: &Model,
    groups: impl Iterator<Item = &'a Group> + Clone,
    field: &Shape,
) -> Result<(), String> {
    let cells: usize = field.extent.iter().product();
    for (name, (size, _)) in &model.climatology {
        let known = groups.clone().find(|group| group.name == *name);
        let levels = known.map_or(0, |group| group.channels.len());
        let &[12, found, of_model] = size.as_slice() else {
            return Err(format!(
                "its climatology of `{name}` is {size:?}, not by 12 months"
            ));
        };
        if found != levels {
            return Err(format!(
                "its climatology of `{name}` has {found} levels, its header {levels}"
            ));
        }
        if of_model != cells {
            return Err(format!(
                "its fields have {cells} cells, but the model's climatology of `{name}` has \
                 {of_model}: it is for the grid that it was trained on"
            ));
        }
    }
    Ok(())
}

/// Whether a variable is as the model knows it.
fn fits(group: &Group, found: &Shape, first: &Shape) -> Result<(), String> {
    let name = &group.name;
    if found.channels != group.channels.len() {
        return Err(format!(
            "`{name}` has {} levels, and the model knows {}: choose them (mizar cube -sellevel)",
            found.channels,
            group.channels.len()
        ));
    }
    let units = &group.channels[0].units;
    if found.units != *units {
        return Err(format!(
            "`{name}` is in `{}`, and the model knows it in `{units}`: convert it first",
            found.units
        ));
    }
    if found.steps != first.steps || found.extent != first.extent {
        return Err(format!(
            "`{name}` has {} steps of {:?}, other variables {} of {:?}",
            found.steps, found.extent, first.steps, first.extent
        ));
    }
    Ok(())
}
