//! From what a network says of one field to the units of the file.

use super::{Group, Predictor, Samples};
use crate::header::Reference;
use crate::source::series::Series;

/// From what the network says of one field to the units of the file.
pub(super) struct Undo<'a> {
    mean: f64,
    std: f64,
    /// Newest input of the same variable, as the network sees it but for the normalisation.
    newest: Option<&'a [f32]>,
    is_relative: bool,
    /// The climatology of the month that is forecast, and where the field's first cell is in it.
    usual: Option<(&'a [f32], usize)>,
    /// Where the variable is no input: a cell of which nothing is known has no forecast.
    others: Vec<&'a [f32]>,
}

impl<'a> Undo<'a> {
    pub(super) fn new(
        predictor: &'a Predictor,
        samples: &Samples,
        seen: &'a [Series],
        group: &Group,
        level: usize,
        (sample, own): (usize, usize),
    ) -> Self {
        let (header, channel) = (&predictor.header, &group.channels[level]);
        let step = (own + 1) * header.history - 1;
        let inputs = || predictor.inputs.iter().zip(seen);
        let same =
            inputs().find(|(input, series)| input.name == group.name && level < series.channels);
        let newest = same.map(|(_, series)| series.field(step, level));
        let others = match (newest, &header.arrays) {
            (None, None) => inputs().map(|(_, series)| series.field(step, 0)).collect(),
            _ => Vec::new(),
        };
        let usual = predictor.climatology.get(&group.name).map(|(_, means)| {
            let month = samples.target_months[sample];
            let levels = (level, group.channels.len());
            let at = predictor.mean_at(month, levels, 0, sample, samples);
            (means.as_slice(), at)
        });
        Self {
            mean: channel.mean,
            std: channel.std,
            newest,
            is_relative: header.relative_to == Reference::Persistence,
            usual,
            others,
        }
    }

    pub(super) fn of(&self, value: f32, cell: usize) -> f32 {
        let is_unknown = match self.newest {
            Some(newest) => newest[cell].is_nan(),
            None => !self.others.is_empty() && self.others.iter().all(|field| field[cell].is_nan()),
        };
        if is_unknown {
            return f32::NAN;
        }
        let persisted = self.newest.filter(|_| self.is_relative);
        let persisted = persisted.map_or(0.0, |field| f64::from(field[cell]));
        let usual = self.usual;
        let usual = usual.map_or(0.0, |(means, at)| f64::from(means[at + cell]));
        let value = f64::from(value) * self.std + self.mean;
        #[allow(clippy::cast_possible_truncation, reason = "single precision is meant")]
        let value = (value + persisted + usual) as f32;
        value
    }
}
