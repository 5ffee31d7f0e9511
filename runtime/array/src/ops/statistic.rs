//! Statistics over time: what is kept of a cell's values, how two parts merge, what comes out.
//!
//! Values are added in time order and parts are merged in a fixed order by the engine, so the
//! bits do not depend on who added what. A missing value is NaN and changes nothing.

/// A number as it comes from storage.
pub(crate) trait Sample: Copy + Default + Send + Sync {
    fn to_f64(self) -> f64;
    fn from_f64(value: f64) -> Self;
}

impl Sample for f32 {
    #[inline]
    fn to_f64(self) -> f64 {
        self.into()
    }
    #[inline]
    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

impl Sample for f64 {
    #[inline]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline]
    fn from_f64(value: f64) -> Self {
        value
    }
}

/// What is computed from the values of a group of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statistic {
    Mean,
    Sum,
    Minimum,
    Maximum,
    /// The root of the mean squared distance from the mean (divided by n).
    StandardDeviation,
}

impl Statistic {
    /// The word of CF's `cell_methods` (appendix E).
    pub(crate) fn cell_method(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::StandardDeviation => "standard_deviation",
        }
    }

    /// Bytes that a [`Partial`] keeps of each cell.
    pub(crate) fn bytes_per_cell(self) -> usize {
        match self {
            Self::Minimum | Self::Maximum => 8,
            Self::Mean | Self::Sum => 12,
            Self::StandardDeviation => 20,
        }
    }
}

/// What is kept of some steps of some cells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Partial {
    pub(crate) statistic: Statistic,
    /// Valid values of each cell; empty for extremes, which show it by being NaN.
    pub(crate) counts: Vec<u32>,
    /// Sum, extreme, or mean.
    pub(crate) first: Vec<f64>,
    /// Squared distances from the mean; empty for others than the standard deviation.
    pub(crate) second: Vec<f64>,
}

impl Partial {
    /// Of no steps.
    pub(crate) fn new(statistic: Statistic, cells: usize) -> Self {
        let is_extreme = matches!(statistic, Statistic::Minimum | Statistic::Maximum);
        let spreads = statistic == Statistic::StandardDeviation;
        Self {
            statistic,
            counts: vec![0; if is_extreme { 0 } else { cells }],
            first: vec![if is_extreme { f64::NAN } else { 0.0 }; cells],
            second: vec![0.0; if spreads { cells } else { 0 }],
        }
    }

    /// Adds one step's values to the cells from `offset` on.
    pub(crate) fn add<T: Sample>(&mut self, offset: usize, values: &[T]) {
        let cells = offset..offset + values.len();
        let first = &mut self.first[cells.clone()];
        match self.statistic {
            Statistic::Mean | Statistic::Sum => add_sums(first, &mut self.counts[cells], values),
            Statistic::Minimum => add_extremes(first, values, |new, old| new < old),
            Statistic::Maximum => add_extremes(first, values, |new, old| new > old),
            Statistic::StandardDeviation => {
                let second = &mut self.second[cells.clone()];
                add_moments(first, second, &mut self.counts[cells], values);
            }
        }
    }

    /// Adds the later steps of the same cells that `right` kept.
    pub(crate) fn merge(&mut self, right: &Self) {
        match self.statistic {
            Statistic::Mean | Statistic::Sum => {
                for (left, right) in self.first.iter_mut().zip(&right.first) {
                    *left += right;
                }
                for (left, right) in self.counts.iter_mut().zip(&right.counts) {
                    *left += right;
                }
            }
            Statistic::Minimum => add_extremes(&mut self.first, &right.first, |new, old| new < old),
            Statistic::Maximum => add_extremes(&mut self.first, &right.first, |new, old| new > old),
            Statistic::StandardDeviation => self.merge_moments(right),
        }
    }

    /// Source: pairwise update of Chan, Golub and LeVeque (1979).
    fn merge_moments(&mut self, right: &Self) {
        for cell in 0..self.first.len() {
            let (n_left, n_right) = (self.counts[cell], right.counts[cell]);
            if n_right == 0 {
                continue;
            }
            let (w_left, w_right) = (f64::from(n_left), f64::from(n_right));
            let total = w_left + w_right;
            let delta = right.first[cell] - self.first[cell];
            self.first[cell] += delta * (w_right / total);
            self.second[cell] += right.second[cell] + delta * delta * (w_left * w_right / total);
            self.counts[cell] = n_left + n_right;
        }
    }

    /// The statistic of each cell, NaN where there was no valid value.
    pub(crate) fn finish(self) -> Vec<f64> {
        let Self {
            statistic,
            counts,
            first: mut result,
            second,
        } = self;
        match statistic {
            Statistic::Minimum | Statistic::Maximum => {}
            Statistic::Mean => {
                // 0 / 0 is NaN: missing.
                result
                    .iter_mut()
                    .zip(&counts)
                    .for_each(|(sum, &n)| *sum /= f64::from(n));
            }
            Statistic::Sum => {
                let missing = |(sum, &n): (&mut f64, &u32)| {
                    if n == 0 {
                        *sum = f64::NAN;
                    }
                };
                result.iter_mut().zip(&counts).for_each(missing);
            }
            Statistic::StandardDeviation => {
                for ((value, squares), n) in result.iter_mut().zip(second).zip(counts) {
                    *value = (squares / f64::from(n)).sqrt();
                }
            }
        }
        result
    }
}

/// Without branches, so that the compiler uses vector instructions.
fn add_sums<T: Sample>(sums: &mut [f64], counts: &mut [u32], values: &[T]) {
    for ((sum, count), value) in sums.iter_mut().zip(counts).zip(values) {
        let value = value.to_f64();
        let is_valid = !value.is_nan();
        *sum += if is_valid { value } else { 0.0 };
        *count += u32::from(is_valid);
    }
}

/// A NaN in `extremes` yields to anything; a NaN in `values` is taken only there.
fn add_extremes<T: Sample>(extremes: &mut [f64], values: &[T], beats: impl Fn(f64, f64) -> bool) {
    for (extreme, value) in extremes.iter_mut().zip(values) {
        let value = value.to_f64();
        let takes = beats(value, *extreme) | extreme.is_nan();
        *extreme = if takes { value } else { *extreme };
    }
}

/// Source: Welford (1962).
fn add_moments<T: Sample>(
    means: &mut [f64],
    squares: &mut [f64],
    counts: &mut [u32],
    values: &[T],
) {
    let cells = means.iter_mut().zip(squares).zip(counts);
    for (((mean, square), count), value) in cells.zip(values) {
        let value = value.to_f64();
        let is_valid = !value.is_nan();
        *count += u32::from(is_valid);
        let delta = if is_valid { value - *mean } else { 0.0 };
        // At least 1: a cell without values divides 0 by it.
        *mean += delta / f64::from((*count).max(1));
        *square += if is_valid {
            delta * (value - *mean)
        } else {
            0.0
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(statistic: Statistic, values: &[f64]) -> Partial {
        let mut partial = Partial::new(statistic, 1);
        values.iter().for_each(|value| partial.add(0, &[*value]));
        partial
    }

    fn check(statistic: Statistic, values: &[f64], expected: f64) {
        for cut in 0..=values.len() {
            let mut partial = of(statistic, &values[..cut]);
            partial.merge(&of(statistic, &values[cut..]));
            let found = partial.finish()[0];
            let close = (found - expected).abs() <= 1e-12 * expected.abs().max(1.0);
            let same = close || (found.is_nan() && expected.is_nan());
            assert!(
                same,
                "{statistic:?} of {values:?} cut at {cut}: {found}, not {expected}"
            );
        }
    }

    #[test]
    fn missing_values_are_skipped_and_nothing_is_missing() {
        use Statistic::{Maximum, Mean, Minimum, StandardDeviation, Sum};
        let nan = f64::NAN;
        for (statistic, expected) in [(Mean, 2.0), (Sum, 6.0), (Minimum, 1.0), (Maximum, 3.0)] {
            check(statistic, &[nan, 3.0, nan, 1.0, 2.0, nan], expected);
            check(statistic, &[nan, nan], nan);
            check(statistic, &[], nan);
        }
        check(StandardDeviation, &[nan, 3.0, 1.0, nan], 1.0);
        check(StandardDeviation, &[7.0], 0.0);
        check(StandardDeviation, &[nan], nan);
    }

    #[test]
    fn a_small_spread_on_a_large_mean_is_kept() {
        let values: Vec<f64> = (0..1000).map(|i| 1e8 + f64::from(i % 2)).collect();
        let mut partial = of(Statistic::StandardDeviation, &values[..300]);
        partial.merge(&of(Statistic::StandardDeviation, &values[300..]));
        // The mean of such values is known to 1e-8; sums of squares would lose all.
        assert!((partial.finish()[0] - 0.5).abs() < 1e-6);
    }
}
