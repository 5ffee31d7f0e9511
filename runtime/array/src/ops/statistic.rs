//! Statistics over time: what is kept of a cell's values, how two parts merge, what comes out.
//!
//! The operators over time name a [`Statistic`], the engine keeps its [`Accumulator`]s.
//! Values are added in time order and parts are merged in a fixed order by the engine, so the
//! bits do not depend on who added what. A missing value is NaN and changes nothing.

mod partial;
mod steps;
mod together;

use std::ops::Range;

pub(crate) use partial::{Accumulator, Partial, add};
pub(crate) use steps::Steps;

use super::grouping::Group;

/// A number as it comes from storage; NaN is missing.
pub(crate) trait Sample: Copy + Default + PartialOrd + Send + Sync {
    const MISSING: Self;
    /// What no other value is less than.
    const LEAST: Self;
    /// What no other value is greater than.
    const GREATEST: Self;
    fn to_f64(self) -> f64;
    fn from_f64(value: f64) -> Self;
    fn is_missing(self) -> bool;
    /// The same memory, if these are doubles.
    fn as_f64(_values: &mut [Self]) -> Option<&mut [f64]> {
        None
    }
    /// The value, or 0 if it is missing.
    #[inline(always)]
    fn or_zero(self) -> Self {
        if self.is_missing() {
            Self::default()
        } else {
            self
        }
    }
}

impl Sample for f32 {
    const MISSING: Self = Self::NAN;
    const LEAST: Self = Self::NEG_INFINITY;
    const GREATEST: Self = Self::INFINITY;
    #[inline(always)]
    fn is_missing(self) -> bool {
        self.is_nan()
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.into()
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

impl Sample for f64 {
    const MISSING: Self = Self::NAN;
    const LEAST: Self = Self::NEG_INFINITY;
    const GREATEST: Self = Self::INFINITY;
    fn as_f64(values: &mut [Self]) -> Option<&mut [f64]> {
        Some(values)
    }
    #[inline(always)]
    fn is_missing(self) -> bool {
        self.is_nan()
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
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
    /// How many values are valid; missing where none is.
    Count,
    /// The mean by the weights of the steps.
    WeightedMean,
    /// As [`WeightedMean`](Self::WeightedMean), missing where any value is.
    WeightedAverage,
    /// Which step of the group has the least value, from 0; the first of equal ones.
    MinimumIndex,
    /// Which step of the group has the greatest value, from 0; the first of equal ones.
    MaximumIndex,
    /// The value at t = 0 of the line of least squares.
    Intercept,
    /// What the line of least squares gains with each unit of t; missing where all values are
    /// of one t.
    Slope,
}

impl Statistic {
    /// The word of CF's `cell_methods` (appendix E), if there is one.
    pub(crate) fn cell_method(self) -> Option<&'static str> {
        Some(match self {
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::Range => "range",
            Self::Sum => "sum",
            Self::Mean | Self::Average | Self::WeightedMean | Self::WeightedAverage => "mean",
            Self::Variance | Self::Variance1 => "variance",
            Self::StandardDeviation | Self::StandardDeviation1 => "standard_deviation",
            Self::Count
            | Self::MinimumIndex
            | Self::MaximumIndex
            | Self::Intercept
            | Self::Slope => return None,
        })
    }

    /// What must be kept of a cell's values.
    pub(crate) fn accumulators(self) -> &'static [Accumulator] {
        match self {
            Self::Minimum => &[Accumulator::Minimum],
            Self::Maximum => &[Accumulator::Maximum],
            Self::Range => &[Accumulator::Minimum, Accumulator::Maximum],
            Self::Sum | Self::Mean | Self::Average | Self::Count => &[Accumulator::Sum],
            Self::WeightedMean | Self::WeightedAverage => &[Accumulator::WeightedSum],
            Self::MinimumIndex => &[Accumulator::MinimumIndex],
            Self::MaximumIndex => &[Accumulator::MaximumIndex],
            Self::Intercept | Self::Slope => &[Accumulator::Line],
            Self::Variance
            | Self::Variance1
            | Self::StandardDeviation
            | Self::StandardDeviation1 => &[Accumulator::Moments],
        }
    }

    /// The statistic of each cell, NaN where it is missing; `parts` has what
    /// [`accumulators`](Self::accumulators) names, of the steps of `group`.
    pub(crate) fn finish(self, parts: &[&Partial], group: &Group) -> Vec<f64> {
        let part = parts[0];
        let steps: usize = group.iter().map(Range::len).sum();
        let start = group.first().map_or(0, |run| run.start) as f64;
        let counted = |value: &dyn Fn(f64, u32) -> f64, values: &[f64]| -> Vec<f64> {
            let cells = values.iter().zip(&part.counts);
            cells.map(|(&kept, &n)| value(kept, n)).collect()
        };
        let paired = |value: &dyn Fn(f64, f64) -> f64, left: &[f64], right: &[f64]| -> Vec<f64> {
            let cells = left.iter().zip(right);
            cells.map(|(&left, &right)| value(left, right)).collect()
        };
        let (first, second) = (&part.first, &part.second);
        // Divisions of 0 by 0 give NaN: missing.
        match self {
            Self::Minimum | Self::Maximum => first.clone(),
            Self::Range => paired(&|low, high| high - low, first, &parts[1].first),
            Self::Mean => counted(&|sum, n| sum / f64::from(n), first),
            Self::Sum => counted(&|sum, n| missing_if(n == 0, sum), first),
            Self::Count => counted(&|_, n| missing_if(n == 0, f64::from(n)), first),
            Self::Average => counted(
                &|sum, n| missing_if(n as usize != steps, sum / f64::from(n)),
                first,
            ),
            Self::Variance => counted(&|squares, n| squares / f64::from(n), second),
            Self::Variance1 => counted(&variance1, second),
            Self::StandardDeviation => {
                counted(&|squares, n| (squares / f64::from(n)).sqrt(), second)
            }
            Self::StandardDeviation1 => counted(&|squares, n| variance1(squares, n).sqrt(), second),
            Self::WeightedMean => paired(&|sum, weights| sum / weights, first, second),
            Self::WeightedAverage => {
                let means = Self::WeightedMean.finish(parts, group);
                counted(&|mean, n| missing_if(n as usize != steps, mean), &means)
            }
            Self::MinimumIndex | Self::MaximumIndex => {
                second.iter().map(|index| index - start).collect()
            }
            Self::Slope => paired(
                &|products, squares| products / squares,
                second,
                &part.fourth,
            ),
            Self::Intercept => (0..first.len())
                .map(|cell| match part.counts[cell] {
                    0 => f64::NAN,
                    // One value, or several of one t: a level line.
                    _ if part.fourth[cell] == 0.0 => first[cell],
                    _ => first[cell] - second[cell] / part.fourth[cell] * part.third[cell],
                })
                .collect(),
        }
    }
}

fn missing_if(is_missing: bool, value: f64) -> f64 {
    if is_missing { f64::NAN } else { value }
}

fn variance1(squares: f64, n: u32) -> f64 {
    missing_if(n < 2, squares / f64::from(n.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of steps from `first` on; the number of a step is its index.
    fn of(statistic: Statistic, first: usize, values: &[f64]) -> Vec<Partial> {
        let accumulators = statistic.accumulators().iter();
        let mut partials: Vec<_> = accumulators.map(|&a| Partial::new(a, 1)).collect();
        for partial in &mut partials {
            let number = |step: usize| (first + step) as f64;
            partial.add(0, Steps::new(values, 1), number);
        }
        partials
    }

    fn merged(statistic: Statistic, left: &[f64], right: &[f64]) -> f64 {
        const FIRST: usize = 10;
        let mut partials = of(statistic, FIRST, left);
        let right_partials = of(statistic, FIRST + left.len(), right);
        for (partial, right) in partials.iter_mut().zip(right_partials) {
            partial.merge(&right);
        }
        let parts: Vec<&Partial> = partials.iter().collect();
        let run = FIRST..FIRST + left.len() + right.len();
        statistic.finish(&parts, &std::iter::once(run).collect())[0]
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

    #[test]
    fn indices_count_from_the_start_of_the_group_and_take_the_first() {
        use Statistic::{Count, MaximumIndex, MinimumIndex};
        let nan = f64::NAN;
        let values = [nan, 4.0, 1.0, nan, 4.0, 1.0];
        check(MinimumIndex, &values, 2.0);
        check(MaximumIndex, &values, 1.0);
        check(Count, &values, 4.0);
        for statistic in [MinimumIndex, MaximumIndex, Count] {
            check(statistic, &[nan, nan], nan);
        }
    }

    #[test]
    fn weights_are_those_of_valid_steps() {
        use Statistic::{WeightedAverage, WeightedMean};
        // Steps 10, 11, 12, whose indices are the weights.
        check(WeightedMean, &[1.0, f64::NAN, 12.0], (10.0 + 144.0) / 22.0);
        check(WeightedAverage, &[1.0, f64::NAN, 12.0], f64::NAN);
        check(WeightedAverage, &[1.0, 1.0, 1.0], 1.0);
        check(WeightedMean, &[f64::NAN], f64::NAN);
    }

    #[test]
    fn lines_go_through_the_valid_values() {
        use Statistic::{Intercept, Slope};
        let nan = f64::NAN;
        let values: Vec<f64> = (10..30)
            .map(|t| {
                if t % 7 == 3 {
                    nan
                } else {
                    40.0 - 2.5 * f64::from(t)
                }
            })
            .collect();
        check(Slope, &values, -2.5);
        check(Intercept, &values, 40.0);
        check(Slope, &[nan, 7.0], nan);
        check(Intercept, &[nan, 7.0], 7.0);
        check(Intercept, &[nan], nan);
    }
}
