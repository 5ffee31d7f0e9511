//! A variable over time, in memory.

use std::ops::Range;

/// The values of one variable: `(step, channel, cell)`; NaN is missing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) units: String,
    pub(crate) steps: usize,
    pub(crate) channels: usize,
    pub(crate) cells: usize,
    pub(crate) values: Vec<f32>,
}

impl Series {
    /// The cells of one channel at one step.
    pub(crate) fn field(&self, step: usize, channel: usize) -> &[f32] {
        let begin = (step * self.channels + channel) * self.cells;
        &self.values[begin..begin + self.cells]
    }

    fn field_mut(&mut self, step: usize, channel: usize) -> &mut [f32] {
        let begin = (step * self.channels + channel) * self.cells;
        &mut self.values[begin..begin + self.cells]
    }

    /// Mean and standard deviation of a channel over some steps; of a constant one, 1, so that
    /// it can be divided by. One pass: Welford (1962).
    pub(crate) fn moments(&self, channel: usize, steps: Range<usize>) -> (f64, f64) {
        let (mut count, mut mean, mut squares) = (0.0_f64, 0.0_f64, 0.0_f64);
        for step in steps {
            for value in self.field(step, channel).iter().filter(|v| !v.is_nan()) {
                let value = f64::from(*value);
                count += 1.0;
                let from_mean = value - mean;
                mean += from_mean / count;
                squares += from_mean * (value - mean);
            }
        }
        let std = (squares / count.max(1.0)).sqrt();
        (mean, if std > 0.0 { std } else { 1.0 })
    }

    /// What this was `lead` steps before, subtracted; the first steps are missing.
    pub(crate) fn change(&self, lead: usize) -> Self {
        let mut change = self.clone();
        let reach = (lead * self.channels * self.cells).min(self.values.len());
        let earlier = &self.values[..self.values.len() - reach];
        for (now, before) in change.values[reach..].iter_mut().zip(earlier) {
            *now -= before;
        }
        change.values[..reach].fill(f32::NAN);
        change
    }

    /// The mean of each cell and month over some steps, `(month, channel, cell)`; NaN where
    /// there is none.
    pub(crate) fn climatology(&self, months: &[u8], steps: Range<usize>) -> Vec<f32> {
        let size = self.channels * self.cells;
        let mut sums = vec![0.0_f64; 12 * size];
        let mut counts = vec![0_u32; 12 * size];
        for step in steps {
            let month = usize::from(months[step]) - 1;
            let values = &self.values[step * size..(step + 1) * size];
            for (index, value) in values.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
                sums[month * size + index] += f64::from(*value);
                counts[month * size + index] += 1;
            }
        }
        #[allow(clippy::cast_possible_truncation, reason = "single precision is meant")]
        let mean = |(sum, count): (&f64, &u32)| match count {
            0 => f32::NAN,
            count => (sum / f64::from(*count)) as f32,
        };
        sums.iter().zip(&counts).map(mean).collect()
    }

    /// The climatology of each step's month, subtracted.
    pub(crate) fn subtract(&mut self, climatology: &[f32], months: &[u8]) {
        let size = self.channels * self.cells;
        for (values, month) in self.values.chunks_mut(size.max(1)).zip(months) {
            let begin = (usize::from(*month) - 1) * size;
            for (value, mean) in values.iter_mut().zip(&climatology[begin..begin + size]) {
                *value -= mean;
            }
        }
    }

    /// `(value - mean) / std` of one channel.
    pub(crate) fn normalise(&mut self, channel: usize, mean: f64, std: f64) {
        for step in 0..self.steps {
            for value in self.field_mut(step, channel) {
                #[allow(clippy::cast_possible_truncation, reason = "single precision is meant")]
                let normalised = ((f64::from(*value) - mean) / std) as f32;
                *value = normalised;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f32], cells: usize) -> Series {
        Series {
            name: "x".to_owned(),
            units: String::new(),
            steps: values.len() / cells,
            channels: 1,
            cells,
            values: values.to_vec(),
        }
    }

    #[test]
    fn moments_are_those_of_the_steps_without_missing_values() {
        let series = series(&[1.0, f32::NAN, 3.0, 8.0, 1e9, 1e9], 2);
        let (mean, std) = series.moments(0, 0..2);
        assert!((mean - 4.0).abs() < 1e-12);
        assert!((std - (26.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_climatology_is_of_the_training_steps_alone() {
        let mut series = series(&[1.0, 10.0, 3.0, f32::NAN, 7.0, 20.0], 2);
        let months = [1, 2, 1];
        let mean = series.climatology(&months, 0..2);
        assert_eq!(mean[..2], [1.0, 10.0]);
        assert_eq!(mean[2], 3.0);
        assert!(mean[3].is_nan() && mean[4].is_nan());
        series.subtract(&mean, &months);
        assert_eq!(series.values[4..], [6.0, 10.0]);
    }

    #[test]
    fn a_change_is_from_the_step_before_the_lead() {
        let change = series(&[1.0, 2.0, 4.0, 8.0], 1).change(2);
        assert!(change.values[1].is_nan());
        assert_eq!(change.values[2..], [3.0, 6.0]);
    }
}
