//! Samples in memory, in the units of the files, and whether a model takes them.

use std::ops::RangeInclusive;

use super::{PredictError, Predictor};
use crate::header::{Header, Sample};

const MONTHS: RangeInclusive<u8> = 1..=12;

/// What goes into a model, after the operators that its header names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// How many.
    pub count: usize,
    /// Rows and columns of a field; nothing for cells and arrays.
    pub extent: Vec<usize>,
    /// Of each input variable `(sample, step, level, cell)`, the oldest step first; NaN is missing.
    /// Of arrays, the array.
    pub values: Vec<Vec<f32>>,
    /// With anomalies: the month of each step, from 1, `(sample, step)`.
    pub months: Vec<u8>,
    /// With anomalies: the month that each sample's forecast is of, from 1.
    pub target_months: Vec<u8>,
    /// With anomalies of cells: which cell of the grid each sample is, in the order of the file.
    pub places: Vec<usize>,
}

impl Samples {
    /// Cells of one level of one step.
    pub(super) fn cells_of(&self, header: &Header) -> usize {
        match (&header.arrays, header.sample) {
            (Some(shapes), _) => shapes.input.iter().product(),
            (None, Sample::Field) => self.extent.iter().product(),
            (None, Sample::Cell) => 1,
        }
    }
}

impl Predictor {
    /// Whether the samples are such as the model takes.
    pub(super) fn check(&self, samples: &Samples) -> Result<(), PredictError> {
        let refuse = |name: &str, reason: String| {
            Err(PredictError::Input {
                name: name.to_owned(),
                reason,
            })
        };
        let history = self.header.history;
        let cells = samples.cells_of(&self.header);
        for (index, group) in self.inputs.iter().enumerate() {
            let each = history * group.channels.len() * cells;
            let found = samples.values.get(index).map_or(0, Vec::len);
            if found != each * samples.count || cells == 0 {
                let count = samples.count;
                return refuse(
                    &group.name,
                    format!("{count} samples need {} numbers, not {found}", each * count),
                );
            }
        }
        if self.climatology.is_empty() {
            return Ok(());
        }
        if self.header.sample == Sample::Field && cells != self.grid() {
            return refuse(
                &self.inputs[0].name,
                format!(
                    "its fields have {cells} cells, but the model's climatology has {}: it is for \
                     the grid that it was trained on",
                    self.grid()
                ),
            );
        }
        for (name, months, each) in [
            (super::ports::MONTH, &samples.months, history),
            (super::ports::TARGET_MONTH, &samples.target_months, 1),
        ] {
            if months.len() != samples.count * each {
                let found = months.len();
                return refuse(
                    name,
                    format!("{} are needed, not {found}", samples.count * each),
                );
            }
            if let Some(odd) = months.iter().find(|month| !MONTHS.contains(*month)) {
                return refuse(name, format!("{odd} is no month: give 1 to 12"));
            }
        }
        if self.header.sample == Sample::Cell {
            let found = samples.places.len();
            if found != samples.count {
                let count = samples.count;
                return refuse(
                    super::ports::CELL,
                    format!("{count} are needed, not {found}"),
                );
            }
            if let Some(odd) = samples.places.iter().find(|place| **place >= self.grid()) {
                return refuse(
                    super::ports::CELL,
                    format!("{odd} is no cell of the grid, which has {}", self.grid()),
                );
            }
        }
        Ok(())
    }
}
