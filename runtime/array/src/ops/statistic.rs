//! Statistics over time: what is kept of a cell's values, how two parts merge, what comes out.
//!
//! The operators over time name a [`Statistic`], the engine keeps its [`Accumulator`]s.
//! Values are added in time order and parts are merged in a fixed order by the engine, so the
//! bits do not depend on who added what. A missing value is NaN and changes nothing.

mod steps;

use std::ops::Range;

pub(crate) use steps::Steps;

use super::grouping::Group;
use crate::simd;
use steps::Tile;

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

/// What is kept of a cell's values while they are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accumulator {
    /// Their sum and count.
    Sum,
    Minimum,
    Maximum,
    /// Their mean, squared distances from it, and count.
    Moments,
    /// Their sum and that of the weights of the valid ones, and count.
    WeightedSum,
    /// The least and its step.
    MinimumIndex,
    /// The greatest and its step.
    MaximumIndex,
    /// For a line: the means of value and t, the sums of products of their distances from
    /// them and of squares of those of t, and count.
    Line,
}

impl Accumulator {
    /// Bytes that a [`Partial`] keeps of each cell.
    pub(crate) fn bytes_per_cell(self) -> usize {
        match self {
            Self::Minimum | Self::Maximum => 8,
            Self::Sum => 12,
            Self::MinimumIndex | Self::MaximumIndex => 16,
            Self::Moments | Self::WeightedSum => 20,
            Self::Line => 36,
        }
    }
}

/// Adds the same steps to all that is kept of their cells, as [`Partial::add`] does to one.
pub(crate) fn add<T: Sample>(
    partials: &mut [Partial],
    offset: usize,
    steps: Steps<'_, T>,
    number: impl Fn(usize) -> f64,
) {
    for tile in steps.tiles() {
        for partial in &mut *partials {
            partial.add_tile(offset, tile, &number);
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
    /// Squared distances from the mean, products of a line, weights, or steps of extremes.
    pub(crate) second: Vec<f64>,
    /// The mean of t; empty for others than lines.
    pub(crate) third: Vec<f64>,
    /// Squared distances of t from its mean; empty for others than lines.
    pub(crate) fourth: Vec<f64>,
}

impl Partial {
    /// Of no steps.
    pub(crate) fn new(accumulator: Accumulator, cells: usize) -> Self {
        let mut partial = Self {
            accumulator,
            counts: Vec::new(),
            first: Vec::new(),
            second: Vec::new(),
            third: Vec::new(),
            fourth: Vec::new(),
        };
        partial.clear(cells);
        partial
    }

    /// Makes it one of no steps again, for so many cells.
    pub(crate) fn clear(&mut self, cells: usize) {
        use Accumulator::{Line, Maximum, MaximumIndex, Minimum, MinimumIndex, Sum};
        let accumulator = self.accumulator;
        let is_extreme = matches!(accumulator, Minimum | Maximum | MinimumIndex | MaximumIndex);
        let empty = if is_extreme { f64::NAN } else { 0.0 };
        let has_second = !matches!(accumulator, Sum | Minimum | Maximum);
        let of = |is_kept: bool| if is_kept { cells } else { 0 };
        self.counts.clear();
        self.counts.resize(of(!is_extreme), 0);
        for (numbers, len) in [
            (&mut self.first, cells),
            (&mut self.second, of(has_second)),
            (&mut self.third, of(accumulator == Line)),
            (&mut self.fourth, of(accumulator == Line)),
        ] {
            numbers.clear();
            numbers.resize(len, empty);
        }
    }

    /// Adds steps, in the order of time, to the cells from `offset` on. `number` gives each
    /// step's own: its weight or t, else its index.
    pub(crate) fn add<T: Sample>(
        &mut self,
        offset: usize,
        steps: Steps<'_, T>,
        number: impl Fn(usize) -> f64,
    ) {
        add(std::slice::from_mut(self), offset, steps, number);
    }

    fn add_tile<T: Sample>(
        &mut self,
        offset: usize,
        tile: Tile<'_, T>,
        number: impl Fn(usize) -> f64,
    ) {
        let offset = offset + tile.cell;
        let cells = offset..offset + tile.cells();
        let first = &mut self.first[cells.clone()];
        match self.accumulator {
            Accumulator::Sum => simd::run(steps::Sums {
                tile,
                sums: first,
                counts: &mut self.counts[cells],
            }),
            Accumulator::Minimum | Accumulator::Maximum => simd::run(steps::Extremes {
                tile,
                extremes: first,
                is_maximum: self.accumulator == Accumulator::Maximum,
            }),
            Accumulator::Moments => simd::run(steps::Moments {
                tile,
                means: first,
                squares: &mut self.second[cells.clone()],
                counts: &mut self.counts[cells],
            }),
            _ => {
                for (step, values) in (tile.step..).zip(tile.rows()) {
                    self.add_numbered(offset, values, number(step));
                }
            }
        }
    }

    /// Adds one step to accumulators that need its number.
    fn add_numbered<T: Sample>(&mut self, offset: usize, values: &[T], number: f64) {
        let cells = offset..offset + values.len();
        let first = &mut self.first[cells.clone()];
        match self.accumulator {
            Accumulator::WeightedSum => {
                let second = &mut self.second[cells.clone()];
                let counts = &mut self.counts[cells];
                add_weighted(first, second, counts, values, number);
            }
            Accumulator::MinimumIndex => {
                let second = &mut self.second[cells];
                add_indices(first, second, values, number, |new, old| new < old);
            }
            Accumulator::MaximumIndex => {
                let second = &mut self.second[cells];
                add_indices(first, second, values, number, |new, old| new > old);
            }
            _ => self.add_to_line(offset, values, number),
        }
    }

    /// As Welford (1962), for two variables.
    fn add_to_line<T: Sample>(&mut self, offset: usize, values: &[T], t: f64) {
        for (cell, value) in (offset..).zip(values) {
            let value = value.to_f64();
            let is_valid = !value.is_nan();
            self.counts[cell] += u32::from(is_valid);
            let n = f64::from(self.counts[cell].max(1));
            let of_t = if is_valid { t - self.third[cell] } else { 0.0 };
            let of_x = if is_valid {
                value - self.first[cell]
            } else {
                0.0
            };
            self.third[cell] += of_t / n;
            self.first[cell] += of_x / n;
            let of_t_now = if is_valid { t - self.third[cell] } else { 0.0 };
            self.second[cell] += of_t_now * of_x;
            self.fourth[cell] += of_t_now * of_t;
        }
    }

    /// Adds the later steps of the same cells that `right` kept.
    pub(crate) fn merge(&mut self, right: &Self) {
        match self.accumulator {
            Accumulator::Sum => {
                add_to_each(&mut self.first, &right.first);
                add_to_each(&mut self.counts, &right.counts);
            }
            Accumulator::WeightedSum => {
                add_to_each(&mut self.first, &right.first);
                add_to_each(&mut self.second, &right.second);
                add_to_each(&mut self.counts, &right.counts);
            }
            Accumulator::Minimum | Accumulator::Maximum => {
                let steps = Steps::new(&right.first, right.first.len());
                self.add(0, steps, |_| 0.0);
            }
            Accumulator::MinimumIndex => self.merge_indices(right, |new, old| new < old),
            Accumulator::MaximumIndex => self.merge_indices(right, |new, old| new > old),
            Accumulator::Moments => self.merge_moments(right),
            Accumulator::Line => self.merge_lines(right),
        }
    }

    fn merge_indices(&mut self, right: &Self, beats: impl Fn(f64, f64) -> bool) {
        for cell in 0..self.first.len() {
            if beats(right.first[cell], self.first[cell]) || self.first[cell].is_nan() {
                self.first[cell] = right.first[cell];
                self.second[cell] = right.second[cell];
            }
        }
    }

    /// As [`merge_moments`](Self::merge_moments), for two variables.
    fn merge_lines(&mut self, right: &Self) {
        for cell in 0..self.first.len() {
            let (n_left, n_right) = (self.counts[cell], right.counts[cell]);
            if n_right == 0 {
                continue;
            }
            let (w_left, w_right) = (f64::from(n_left), f64::from(n_right));
            let total = w_left + w_right;
            let share = w_left * w_right / total;
            let of_x = right.first[cell] - self.first[cell];
            let of_t = right.third[cell] - self.third[cell];
            self.first[cell] += of_x * (w_right / total);
            self.third[cell] += of_t * (w_right / total);
            self.second[cell] += right.second[cell] + of_t * of_x * share;
            self.fourth[cell] += right.fourth[cell] + of_t * of_t * share;
            self.counts[cell] = n_left + n_right;
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

fn add_to_each<N: Copy + std::ops::AddAssign>(left: &mut [N], right: &[N]) {
    for (left, right) in left.iter_mut().zip(right) {
        *left += *right;
    }
}

fn add_weighted<T: Sample>(
    sums: &mut [f64],
    weights: &mut [f64],
    counts: &mut [u32],
    values: &[T],
    weight: f64,
) {
    let cells = sums.iter_mut().zip(weights).zip(counts);
    for (((sum, weights), count), value) in cells.zip(values) {
        let value = value.to_f64();
        let is_valid = !value.is_nan();
        *sum += if is_valid { value * weight } else { 0.0 };
        *weights += if is_valid { weight } else { 0.0 };
        *count += u32::from(is_valid);
    }
}

/// A NaN in `extremes` yields to any value.
fn add_indices<T: Sample>(
    extremes: &mut [f64],
    indices: &mut [f64],
    values: &[T],
    index: f64,
    beats: impl Fn(f64, f64) -> bool,
) {
    for ((extreme, kept), value) in extremes.iter_mut().zip(indices).zip(values) {
        let value = value.to_f64();
        let takes = beats(value, *extreme) | (extreme.is_nan() & !value.is_nan());
        *extreme = if takes { value } else { *extreme };
        *kept = if takes { index } else { *kept };
    }
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
    fn many_steps_of_many_cells_are_as_one_by_one() {
        // More than a tile of cells, and steps that are no multiple of any number in the loops.
        const CELLS: usize = 1301;
        const STEPS: usize = 19;
        let value = |cell: usize, step: usize| match (cell * 7 + step * 13) % 11 {
            0 => f32::NAN,
            _ if cell == 5 => f32::NAN,
            other => other as f32 * 0.37 - step as f32,
        };
        let cells = (0..STEPS).flat_map(|step| (0..CELLS).map(move |cell| value(cell, step)));
        let values: Vec<f32> = cells.collect();
        use Accumulator::{Line, Maximum, Minimum, Moments, Sum};
        for accumulator in [Sum, Minimum, Maximum, Moments, Line] {
            let mut together = Partial::new(accumulator, CELLS);
            together.add(0, Steps::new(&values, CELLS), |step| step as f64);
            let mut alone = Partial::new(accumulator, CELLS);
            for (step, values) in values.chunks(CELLS).enumerate() {
                for (cell, value) in values.iter().enumerate() {
                    let value = Steps::new(std::slice::from_ref(value), 1);
                    alone.add(cell, value, |_| step as f64);
                }
            }
            assert_eq!(together.counts, alone.counts, "{accumulator:?}");
            for (cell, pair) in together.first.iter().zip(&alone.first).enumerate() {
                let close = (pair.0 - pair.1).abs() < 1e-12 * pair.1.abs().max(1.0);
                let is_same = close || pair.0.is_nan() && pair.1.is_nan();
                assert!(is_same, "{accumulator:?} of cell {cell}: {pair:?}");
            }
            for pair in together.second.iter().zip(&alone.second) {
                assert!((pair.0 - pair.1).abs() < 1e-9, "{accumulator:?}: {pair:?}");
            }
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
