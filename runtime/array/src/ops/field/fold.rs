//! What is kept of the cells of a field, and what comes out: one type a family of statistics.
//!
//! Cells are added row by row in the order of the file. Missing values are NaN and are skipped,
//! but for [`Strict`].

use super::FieldStatistic;
use crate::ops::series::percentile::Method;
use crate::plan::expr::Readable;
use crate::simd::{self, Kernel};

/// Sums that run side by side over a row, so that the processor need not wait for each
/// addition; part of the definition of the result's bits.
const LANES: usize = 8;

/// What is kept of the cells that give one of the result.
pub(super) trait Fold: Clone + Default {
    /// Adds one cell.
    fn add(&mut self, value: f64, weight: f64);

    /// Adds a row of cells with a weight each.
    fn add_row<T: Readable>(&mut self, values: &[T], weights: &[f64]) {
        let cells = values.iter().zip(weights);
        cells.for_each(|(value, &weight)| self.add(value.to_f64(), weight));
    }

    /// Adds a row of cells that all have the same weight.
    fn add_evenly<T: Readable>(&mut self, values: &[T], weight: f64) {
        let cells = values.iter();
        cells.for_each(|value| self.add(value.to_f64(), weight));
    }

    /// The statistic; NaN where it is missing.
    fn finish(self, statistic: FieldStatistic) -> f64;
}

/// Sums of weighted values and of weights.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    sum: f64,
    weight: f64,
}

impl Fold for Sums {
    fn add(&mut self, value: f64, weight: f64) {
        if !value.is_nan() {
            self.sum += weight * value;
            self.weight += weight;
        }
    }

    fn add_row<T: Readable>(&mut self, values: &[T], weights: &[f64]) {
        let sums = self;
        simd::run(WeightedRow {
            values,
            weights,
            sums,
        });
    }

    fn add_evenly<T: Readable>(&mut self, values: &[T], weight: f64) {
        let sums = self;
        simd::run(EvenRow {
            values,
            weight,
            sums,
        });
    }

    fn finish(self, statistic: FieldStatistic) -> f64 {
        match statistic {
            FieldStatistic::Count => self.weight,
            // 0 / 0 is NaN: missing.
            FieldStatistic::Mean => self.sum / self.weight,
            _ if self.weight == 0.0 => f64::NAN,
            _ => self.sum,
        }
    }
}

/// [`Sums`] of cells with a weight each.
struct WeightedRow<'a, T> {
    values: &'a [T],
    weights: &'a [f64],
    sums: &'a mut Sums,
}

impl<T: Readable> Kernel for WeightedRow<'_, T> {
    #[inline(always)]
    fn run(self) {
        let (mut sums, mut totals) = ([0.0; LANES], [0.0; LANES]);
        let (values, values_rest) = self.values.as_chunks::<LANES>();
        let (weights, weights_rest) = self.weights.as_chunks::<LANES>();
        for (values, weights) in values.iter().zip(weights) {
            for lane in 0..LANES {
                let value = values[lane].to_f64();
                let valid = !value.is_nan();
                sums[lane] += if valid { weights[lane] * value } else { 0.0 };
                totals[lane] += if valid { weights[lane] } else { 0.0 };
            }
        }
        self.sums.sum += sums.iter().sum::<f64>();
        self.sums.weight += totals.iter().sum::<f64>();
        for (value, weight) in values_rest.iter().zip(weights_rest) {
            self.sums.add(value.to_f64(), *weight);
        }
    }
}

/// [`Sums`] of cells with one weight.
struct EvenRow<'a, T> {
    values: &'a [T],
    weight: f64,
    sums: &'a mut Sums,
}

impl<T: Readable> Kernel for EvenRow<'_, T> {
    #[inline(always)]
    fn run(self) {
        let (mut sums, mut counts) = ([0.0; LANES], [0_u32; LANES]);
        let (values, rest) = self.values.as_chunks::<LANES>();
        for values in values {
            for lane in 0..LANES {
                sums[lane] += values[lane].or_zero().to_f64();
                counts[lane] += u32::from(!values[lane].is_missing());
            }
        }
        let count: f64 = counts.iter().map(|&count| f64::from(count)).sum();
        self.sums.sum += self.weight * sums.iter().sum::<f64>();
        self.sums.weight += self.weight * count;
        for value in rest {
            self.sums.add(value.to_f64(), self.weight);
        }
    }
}

/// As [`Sums`], where one missing value makes the result missing.
#[derive(Clone, Copy, Default)]
pub(super) struct Strict {
    sum: f64,
    weight: f64,
}

impl Fold for Strict {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += weight * value;
        self.weight += weight;
    }

    fn finish(self, _: FieldStatistic) -> f64 {
        self.sum / self.weight
    }
}

/// The smallest and the largest value.
#[derive(Clone, Copy)]
pub(super) struct Extremes {
    low: f64,
    high: f64,
}

impl Default for Extremes {
    fn default() -> Self {
        Self {
            low: f64::NAN,
            high: f64::NAN,
        }
    }
}

impl Fold for Extremes {
    fn add(&mut self, value: f64, _: f64) {
        // `min` and `max` give the other where one is NaN.
        self.low = self.low.min(value);
        self.high = self.high.max(value);
    }

    fn finish(self, statistic: FieldStatistic) -> f64 {
        match statistic {
            FieldStatistic::Minimum => self.low,
            FieldStatistic::Maximum => self.high,
            _ => self.high - self.low,
        }
    }
}

/// Weighted mean and squared distances from it.
///
/// Source: West (1979).
#[derive(Clone, Copy, Default)]
pub(super) struct Moments {
    count: u64,
    weight: f64,
    squared_weights: f64,
    mean: f64,
    squares: f64,
}

impl Fold for Moments {
    fn add(&mut self, value: f64, weight: f64) {
        if value.is_nan() || weight <= 0.0 {
            return;
        }
        self.count += 1;
        self.weight += weight;
        self.squared_weights += weight * weight;
        let delta = value - self.mean;
        self.mean += delta * (weight / self.weight);
        self.squares += weight * delta * (value - self.mean);
    }

    fn finish(self, statistic: FieldStatistic) -> f64 {
        let Self {
            count,
            weight,
            squared_weights,
            squares,
            ..
        } = self;
        if count == 0 {
            return f64::NAN;
        }
        let variance = squares / weight;
        let variance1 = match count {
            1 => f64::NAN,
            _ => squares / (weight - squared_weights / weight),
        };
        match statistic {
            FieldStatistic::Variance => variance,
            FieldStatistic::Variance1 => variance1,
            FieldStatistic::StandardDeviation => variance.sqrt(),
            _ => variance1.sqrt(),
        }
    }
}

/// Unweighted central moments up to the fourth.
///
/// Source: Pebay (2008), one value at a time.
#[derive(Clone, Copy, Default)]
pub(super) struct HighMoments {
    count: f64,
    mean: f64,
    second: f64,
    third: f64,
    fourth: f64,
}

impl Fold for HighMoments {
    fn add(&mut self, value: f64, _: f64) {
        if value.is_nan() {
            return;
        }
        let before = self.count;
        self.count += 1.0;
        let n = self.count;
        let delta = value - self.mean;
        let step = delta / n;
        let spread = delta * step * before;
        self.mean += step;
        self.fourth += spread * step * step * (n * n - 3.0 * n + 3.0)
            + 6.0 * step * step * self.second
            - 4.0 * step * self.third;
        self.third += spread * step * (n - 2.0) - 3.0 * step * self.second;
        self.second += spread;
    }

    fn finish(self, statistic: FieldStatistic) -> f64 {
        let Self {
            count,
            second,
            third,
            fourth,
            ..
        } = self;
        // Equal values have neither: 0 / 0.
        match statistic {
            // As CDO has it: the third moment over n, the variance over n - 1 (b1 of Joanes
            // and Gill, 1998).
            FieldStatistic::Skewness => (third / count) / (second / (count - 1.0)).powf(1.5),
            _ => count * fourth / (second * second) - 3.0,
        }
    }
}

/// All valid values: what is needed to sort them.
#[derive(Clone, Default)]
pub(super) struct Values {
    valid: Vec<f64>,
    has_missing: bool,
}

impl Fold for Values {
    fn add(&mut self, value: f64, _: f64) {
        if value.is_nan() {
            self.has_missing = true;
        } else {
            self.valid.push(value);
        }
    }

    fn finish(mut self, statistic: FieldStatistic) -> f64 {
        match statistic {
            FieldStatistic::Percentile(method, share) => method.of(&mut self.valid, share),
            FieldStatistic::StrictMedian if !self.has_missing => {
                Method::Linear.of(&mut self.valid, 0.5)
            }
            _ => f64::NAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded<F: Fold>(values: &[f64], weights: &[f64], statistic: FieldStatistic) -> f64 {
        let mut fold = F::default();
        fold.add_row(values, weights);
        fold.finish(statistic)
    }

    /// Values by numpy: average, weighted variance, skewness b1, excess kurtosis.
    #[test]
    fn statistics_are_the_known_ones() {
        let values = [2.0, f64::NAN, 7.0, 1.0, 8.0];
        let weights = [1.0, 5.0, 2.0, 3.0, 2.0];
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
        };
        close(
            folded::<Sums>(&values, &weights, FieldStatistic::Mean),
            4.375,
        );
        close(
            folded::<Sums>(&values, &weights, FieldStatistic::Integral),
            35.0,
        );
        close(
            folded::<Moments>(&values, &weights, FieldStatistic::Variance),
            9.984_375,
        );
        // W - sum of squares / W = 8 - 18 / 8.
        close(
            folded::<Moments>(&values, &weights, FieldStatistic::Variance1),
            79.875 / 5.75,
        );
        close(
            folded::<HighMoments>(&values, &weights, FieldStatistic::Skewness),
            0.0,
        );
        let skewed = [1.0, 2.0, 3.0, 10.0];
        close(
            folded::<HighMoments>(&skewed, &weights, FieldStatistic::Skewness),
            0.661_362_230_551_457_9,
        );
        close(
            folded::<HighMoments>(&skewed, &weights, FieldStatistic::Kurtosis),
            -0.769_600_000_000_000_1,
        );
        close(
            folded::<Extremes>(&values, &weights, FieldStatistic::Range),
            7.0,
        );
        assert!(folded::<Strict>(&values, &weights, FieldStatistic::Average).is_nan());
        assert!(folded::<Sums>(&[f64::NAN], &[1.0], FieldStatistic::Sum).is_nan());
        assert!(folded::<Moments>(&[3.0], &[0.3], FieldStatistic::Variance1).is_nan());
    }
}
