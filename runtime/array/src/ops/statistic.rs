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
    Minimum,
    Maximum,
    Range,
    Sum,
    Mean,
    /// The mean, missing where any value is.
    Average,
    /// The mean squared distance from the mean, divided by n.
    Variance,
    /// As [`Variance`](Self::Variance), divided by n - 1; of one value missing.
    Variance1,
    /// The root of [`Variance`](Self::Variance).
    StandardDeviation,
    /// The root of [`Variance1`](Self::Variance1).
    StandardDeviation1,
}

impl Statistic {
    /// The word of CF's `cell_methods` (appendix E).
    pub(crate) fn cell_method(self) -> &'static str {
        match self {
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::Range => "range",
            Self::Sum => "sum",
            Self::Mean | Self::Average => "mean",
            Self::Variance | Self::Variance1 => "variance",
            Self::StandardDeviation | Self::StandardDeviation1 => "standard_deviation",
        }
    }

    /// What must be kept of a cell's values.
    pub(crate) fn accumulators(self) -> &'static [Accumulator] {
        match self {
            Self::Minimum => &[Accumulator::Minimum],
            Self::Maximum => &[Accumulator::Maximum],
            Self::Range => &[Accumulator::Minimum, Accumulator::Maximum],
            Self::Sum | Self::Mean | Self::Average => &[Accumulator::Sum],
            Self::Variance
            | Self::Variance1
            | Self::StandardDeviation
            | Self::StandardDeviation1 => &[Accumulator::Moments],
        }
    }

    /// The statistic of each cell, NaN where it is missing; `parts` has what
    /// [`accumulators`](Self::accumulators) names, `steps` is how many steps were added.
    pub(crate) fn finish(self, parts: &[&Partial], steps: usize) -> Vec<f64> {
        let part = parts[0];
        let counted = |value: fn(f64, u32, usize) -> f64, values: &[f64]| -> Vec<f64> {
            let cells = values.iter().zip(&part.counts);
            cells.map(|(&kept, &n)| value(kept, n, steps)).collect()
        };
        match self {
            Self::Minimum | Self::Maximum => part.first.clone(),
            Self::Range => {
                let pairs = part.first.iter().zip(&parts[1].first);
                pairs.map(|(low, high)| high - low).collect()
            }
            // Divisions of 0 by 0 give NaN: missing.
            Self::Mean => counted(|sum, n, _| sum / f64::from(n), &part.first),
            Self::Sum => counted(|sum, n, _| if n == 0 { f64::NAN } else { sum }, &part.first),
            Self::Average => counted(
                |sum, n, steps| match n as usize == steps {
                    true => sum / f64::from(n),
                    false => f64::NAN,
                },
                &part.first,
            ),
            Self::Variance => counted(|squares, n, _| squares / f64::from(n), &part.second),
            Self::Variance1 => counted(variance1, &part.second),
            Self::StandardDeviation => counted(
                |squares, n, _| (squares / f64::from(n)).sqrt(),
                &part.second,
            ),
            Self::StandardDeviation1 => counted(
                |squares, n, _| variance1(squares, n, 0).sqrt(),
                &part.second,
            ),
        }
    }
}

fn variance1(squares: f64, n: u32, _: usize) -> f64 {
    if n < 2 {
        return f64::NAN;
    }
    squares / f64::from(n - 1)
}

/// What is kept of a cell's values while they are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accumulator {
    /// Their sum and count.
    Sum,
    Minimum,
    Maximum,
    /// Their mean, squared distances from it, and count.
    Moments,
}

impl Accumulator {
    /// Bytes that a [`Partial`] keeps of each cell.
    pub(crate) fn bytes_per_cell(self) -> usize {
        match self {
            Self::Minimum | Self::Maximum => 8,
            Self::Sum => 12,
            Self::Moments => 20,
        }
    }
}

/// What is kept of some steps of some cells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Partial {
    pub(crate) accumulator: Accumulator,
    /// Valid values of each cell; empty for extremes, which show it by being NaN.
    pub(crate) counts: Vec<u32>,
    /// Sum, extreme, or mean.
    pub(crate) first: Vec<f64>,
    /// Squared distances from the mean; empty for others than moments.
    pub(crate) second: Vec<f64>,
}

impl Partial {
    /// Of no steps.
    pub(crate) fn new(accumulator: Accumulator, cells: usize) -> Self {
        let is_extreme = matches!(accumulator, Accumulator::Minimum | Accumulator::Maximum);
        let spreads = accumulator == Accumulator::Moments;
        Self {
            accumulator,
            counts: vec![0; if is_extreme { 0 } else { cells }],
            first: vec![if is_extreme { f64::NAN } else { 0.0 }; cells],
            second: vec![0.0; if spreads { cells } else { 0 }],
        }
    }

    /// Adds one step's values to the cells from `offset` on.
    pub(crate) fn add<T: Sample>(&mut self, offset: usize, values: &[T]) {
        let cells = offset..offset + values.len();
        let first = &mut self.first[cells.clone()];
        match self.accumulator {
            Accumulator::Sum => add_sums(first, &mut self.counts[cells], values),
            Accumulator::Minimum => add_extremes(first, values, |new, old| new < old),
            Accumulator::Maximum => add_extremes(first, values, |new, old| new > old),
            Accumulator::Moments => {
                let second = &mut self.second[cells.clone()];
                add_moments(first, second, &mut self.counts[cells], values);
            }
        }
    }

    /// Adds the later steps of the same cells that `right` kept.
    pub(crate) fn merge(&mut self, right: &Self) {
        match self.accumulator {
            Accumulator::Sum => {
                for (left, right) in self.first.iter_mut().zip(&right.first) {
                    *left += right;
                }
                for (left, right) in self.counts.iter_mut().zip(&right.counts) {
                    *left += right;
                }
            }
            Accumulator::Minimum => {
                add_extremes(&mut self.first, &right.first, |new, old| new < old);
            }
            Accumulator::Maximum => {
                add_extremes(&mut self.first, &right.first, |new, old| new > old);
            }
            Accumulator::Moments => self.merge_moments(right),
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

    fn of(statistic: Statistic, values: &[f64]) -> Vec<Partial> {
        let accumulators = statistic.accumulators().iter();
        let mut partials: Vec<_> = accumulators.map(|&a| Partial::new(a, 1)).collect();
        for partial in &mut partials {
            values.iter().for_each(|value| partial.add(0, &[*value]));
        }
        partials
    }

    fn merged(statistic: Statistic, left: &[f64], right: &[f64]) -> f64 {
        let mut partials = of(statistic, left);
        for (partial, right) in partials.iter_mut().zip(of(statistic, right)) {
            partial.merge(&right);
        }
        let parts: Vec<&Partial> = partials.iter().collect();
        statistic.finish(&parts, left.len() + right.len())[0]
    }

    fn check(statistic: Statistic, values: &[f64], expected: f64) {
        for cut in 0..=values.len() {
            let found = merged(statistic, &values[..cut], &values[cut..]);
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
        use Statistic::{Average, Maximum, Mean, Minimum, Range, Sum};
        let nan = f64::NAN;
        for (statistic, expected) in [
            (Mean, 2.0),
            (Sum, 6.0),
            (Minimum, 1.0),
            (Maximum, 3.0),
            (Range, 2.0),
        ] {
            check(statistic, &[nan, 3.0, nan, 1.0, 2.0, nan], expected);
            check(statistic, &[nan, nan], nan);
            check(statistic, &[], nan);
        }
        check(Average, &[1.0, 3.0], 2.0);
        check(Average, &[1.0, nan, 3.0], nan);
    }

    #[test]
    fn spreads_of_few_values() {
        use Statistic::{StandardDeviation, StandardDeviation1, Variance, Variance1};
        let nan = f64::NAN;
        let values = [nan, 4.0, 1.0, nan, 1.0];
        check(Variance, &values, 2.0);
        check(Variance1, &values, 3.0);
        check(StandardDeviation, &values, 2.0_f64.sqrt());
        check(StandardDeviation1, &values, 3.0_f64.sqrt());
        for (of_n, of_n1) in [
            (Variance, Variance1),
            (StandardDeviation, StandardDeviation1),
        ] {
            check(of_n, &[7.0], 0.0);
            check(of_n1, &[7.0], nan);
            check(of_n, &[nan], nan);
            check(of_n1, &[nan], nan);
        }
    }

    #[test]
    fn a_small_spread_on_a_large_mean_is_kept() {
        let values: Vec<f64> = (0..1000).map(|i| 1e8 + f64::from(i % 2)).collect();
        let found = merged(Statistic::StandardDeviation, &values[..300], &values[300..]);
        // The mean of such values is known to 1e-8; sums of squares would lose all.
        assert!((found - 0.5).abs() < 1e-6);
    }
}
