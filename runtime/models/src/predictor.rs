//! A trained model that takes samples in the units of its files and gives forecasts in them:
//! climatology, normalisation, the network, and all of it undone.
//!
//! Used by [`forecast`](crate::forecast) over cubes, and by whatever has samples in memory: arrays,
//! a server. All get the same numbers from the same samples, because this is the one place where
//! they are computed. [`Predict`] is what a forecast asks; the model may also be elsewhere.
//!
//! **Invariant:** a sample's forecast is the same to the last bit whatever is computed with it.
//!
//! **Invariant:** what goes into the network is computed as in training, operation by operation, so
//! it is the same to the bit.

mod ports;
mod samples;
mod undo;

use std::ops::Range;

use mizar_train::{Array, LearnError, Learner};

use crate::header::{Channel, Header, Missing, Sample};
use crate::months::Climatology;
use crate::source::cube::interleaved;
use crate::source::series::Series;
use crate::{Architecture, Model};

pub use ports::{Port, Role};
pub use samples::Samples;
use undo::Undo;

/// Numbers that go into a network at once: what stays in a processor's cache.
const BATCH_NUMBERS: usize = 1 << 18;

/// How many samples of so many numbers go into a network at once.
pub(crate) fn samples_at_once(numbers: usize) -> usize {
    (BATCH_NUMBERS / numbers.max(1)).max(1)
}

/// What makes forecasts of samples.
pub trait Predict {
    /// For each output variable `(sample, level, cell)`, in the units of the file.
    ///
    /// # Errors
    /// [`PredictError`] if the samples do not fit, or nothing comes out.
    fn predict(&mut self, samples: &Samples) -> Result<Vec<Vec<f32>>, PredictError>;
}

/// Why there is no forecast of some samples.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// The file says of itself what cannot be.
    #[error("the model cannot be used: {0}")]
    Unfit(String),
    /// It makes no forecasts.
    #[error(
        "the model generates showers, it does not forecast: `mizar infer` runs networks of fields, \
         of cells and of arrays (mlp, lstm, unet, resnet)"
    )]
    Generator,
    /// Samples that the model does not take.
    #[error("`{name}` does not fit the model: {reason}")]
    Input {
        /// The input's name.
        name: String,
        /// What is wrong, and what would do.
        reason: String,
    },
    /// The network refuses a batch.
    #[error("the model cannot be run")]
    Run(#[from] LearnError),
    /// The model is elsewhere, and does not answer as it should.
    #[error(transparent)]
    Elsewhere(Box<dyn std::error::Error + Send + Sync>),
}

/// Channels of one variable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) channels: Vec<Channel>,
}

/// Neighbouring channels of one variable together.
pub(crate) fn groups(channels: &[Channel]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for channel in channels {
        match groups.last_mut() {
            Some(last) if last.name == channel.variable => last.channels.push(channel.clone()),
            _ => groups.push(Group {
                name: channel.variable.clone(),
                channels: vec![channel.clone()],
            }),
        }
    }
    groups
}

/// A model with its network ready, on the processors of this node.
pub struct Predictor {
    header: Header,
    climatology: Climatology,
    learner: Box<dyn Learner + Send>,
    inputs: Vec<Group>,
    outputs: Vec<Group>,
}

impl Predictor {
    /// Makes a model ready.
    ///
    /// # Errors
    /// [`PredictError`] if it is no model for forecasts, or its header contradicts itself.
    pub fn new(model: &Model) -> Result<Self, PredictError> {
        let header = &model.header;
        let unfit = |reason: String| Err(PredictError::Unfit(reason));
        if let Architecture::Gan(_) = header.architecture {
            return Err(PredictError::Generator);
        }
        if header.inputs.is_empty() || header.outputs.is_empty() || header.history == 0 {
            return unfit("its header names no inputs, outputs or steps".to_owned());
        }
        if let Some((takes, named)) = header.contradiction() {
            return unfit(format!(
                "its network takes {takes} numbers or channels, its header names {named} (if it was \
                 trained on arrays, train it again: older files do not tell their shapes)"
            ));
        }
        let (inputs, outputs) = (groups(&header.inputs), groups(&header.outputs));
        let mut grid = None;
        for (name, (shape, _)) in &model.climatology {
            let known = inputs.iter().chain(&outputs).find(|g| g.name == *name);
            let levels = known.map_or(0, |group| group.channels.len());
            let &[12, found, cells] = shape.as_slice() else {
                return unfit(format!(
                    "its climatology of `{name}` is {shape:?}, not by 12 months"
                ));
            };
            if found != levels {
                return unfit(format!(
                    "its climatology of `{name}` has {found} levels, its header {levels}"
                ));
            }
            if *grid.get_or_insert(cells) != cells {
                return unfit("its climatologies have several grids".to_owned());
            }
        }
        Ok(Self {
            header: header.clone(),
            climatology: model.climatology.clone(),
            learner: model.learner(),
            inputs,
            outputs,
        })
    }

    /// What the model's file says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The mean of each month, with anomalies.
    #[must_use]
    pub fn climatology(&self) -> &Climatology {
        &self.climatology
    }

    /// Some samples, no more than go into the network at once.
    fn predict_some(
        &mut self,
        samples: &Samples,
        range: Range<usize>,
        out: &mut [Vec<f32>],
    ) -> Result<(), PredictError> {
        let seen = self.seen(samples, &range)?;
        let normalised: Vec<Series> = self
            .inputs
            .iter()
            .zip(&seen)
            .map(|(group, series)| {
                let mut series = series.clone();
                for (level, channel) in group.channels.iter().enumerate() {
                    series.normalise(level, channel.mean, channel.std);
                }
                for value in &mut series.values {
                    // Missing values are at the mean.
                    *value = if value.is_nan() { 0.0 } else { *value };
                }
                series
            })
            .collect();
        let mut values = interleaved(&normalised);
        // Samples that are made up, so that no sample's bits depend on how many come with it.
        let count = range.len().max(self.header.architecture.samples_min());
        values.resize(values.len() / range.len() * count, 0.0);
        let mut said = self.learner.predict(&Array {
            shape: self.network_shape(count, &samples.extent),
            values,
        })?;
        said.values
            .truncate(said.values.len() / count * range.len());
        let channels: usize = self.outputs.iter().map(|group| group.channels.len()).sum();
        let size = samples.cells_of(&self.header);
        let per_channel = match &self.header.arrays {
            Some(shapes) => shapes.output.iter().product(),
            None => size,
        };
        let named = channels * per_channel;
        if said.values.len() != named * range.len() {
            let found = said.values.len() / (range.len() * per_channel).max(1);
            return Err(PredictError::Unfit(format!(
                "its network gives {found} channels, its header names {channels}"
            )));
        }
        for (sample, field) in range.clone().zip(said.values.chunks(named.max(1))) {
            let mut fields = field.chunks(per_channel.max(1));
            for (group, out) in self.outputs.iter().zip(&mut *out) {
                for (level, field) in fields.by_ref().take(group.channels.len()).enumerate() {
                    let undo = Undo::new(
                        self,
                        samples,
                        &seen,
                        group,
                        level,
                        (sample, sample - range.start),
                    );
                    out.extend(field.iter().enumerate().map(|(c, v)| undo.of(*v, c)));
                }
            }
        }
        Ok(())
    }

    /// Inputs as anomalies, if the model has a climatology: of each variable the steps of all
    /// samples after each other.
    fn seen(&self, samples: &Samples, range: &Range<usize>) -> Result<Vec<Series>, PredictError> {
        let history = self.header.history;
        let cells = samples.cells_of(&self.header);
        let mut all = Vec::new();
        for (group, values) in self.inputs.iter().zip(&samples.values) {
            let levels = group.channels.len();
            let size = history * levels * cells;
            let mut series = Series {
                name: group.name.clone(),
                units: String::new(),
                steps: range.len() * history,
                channels: levels,
                cells,
                values: values[range.start * size..range.end * size].to_vec(),
            };
            if self.header.missing == Missing::Refuse || self.header.arrays.is_some() {
                refuse_missing(&series, range.start, history)?;
            }
            if let Some((_, means)) = self.climatology.get(&group.name) {
                let fields = series.values.chunks_mut((levels * cells).max(1));
                for (step, values) in fields.enumerate() {
                    let sample = range.start + step / history;
                    let month = samples.months[range.start * history + step];
                    for (index, value) in values.iter_mut().enumerate() {
                        let (level, cell) = (index / cells, index % cells);
                        *value -=
                            means[self.mean_at(month, (level, levels), cell, sample, samples)];
                    }
                }
            }
            all.push(series);
        }
        Ok(all)
    }

    /// Where a mean lies in the climatology of a variable.
    fn mean_at(
        &self,
        month: u8,
        (level, levels): (usize, usize),
        cell: usize,
        sample: usize,
        samples: &Samples,
    ) -> usize {
        let (cell, cells) = match self.header.sample {
            Sample::Field => (cell, samples.cells_of(&self.header)),
            Sample::Cell => (samples.places[sample], self.grid()),
        };
        ((usize::from(month) - 1) * levels + level) * cells + cell
    }

    /// Cells of the grid that the climatology is of; 0 if there is none.
    fn grid(&self) -> usize {
        let shapes = self.climatology.values().map(|(shape, _)| shape);
        shapes.map(|shape| shape[2]).next().unwrap_or(0)
    }

    fn network_shape(&self, count: usize, extent: &[usize]) -> Vec<usize> {
        let channels: usize = self.inputs.iter().map(|group| group.channels.len()).sum();
        let history = self.header.history;
        let of_sample = match (&self.header.arrays, self.header.sample) {
            (Some(shapes), _) => shapes.input.clone(),
            (None, Sample::Field) => {
                let field = std::iter::once(history * channels);
                field.chain(extent.iter().copied()).collect()
            }
            (None, Sample::Cell) => vec![history, channels],
        };
        std::iter::once(count).chain(of_sample).collect()
    }
}

impl Predict for Predictor {
    fn predict(&mut self, samples: &Samples) -> Result<Vec<Vec<f32>>, PredictError> {
        self.check(samples)?;
        let each: usize = samples.values.iter().map(Vec::len).sum();
        let most = samples_at_once(each / samples.count.max(1));
        let mut out = vec![Vec::new(); self.outputs.len()];
        for first in (0..samples.count).step_by(most) {
            let end = (first + most).min(samples.count);
            self.predict_some(samples, first..end, &mut out)?;
        }
        Ok(out)
    }
}

fn refuse_missing(series: &Series, first: usize, history: usize) -> Result<(), PredictError> {
    let Some(at) = series.values.iter().position(|value| value.is_nan()) else {
        return Ok(());
    };
    let step = at / (series.channels * series.cells).max(1);
    Err(PredictError::Input {
        name: series.name.clone(),
        reason: format!(
            "sample {} has a missing value (NaN), and the model was trained without: fill it, or \
             train with missing: mask",
            first + step / history
        ),
    })
}

#[cfg(test)]
mod tests;
