//! What is kept of cells while steps are added: one partial result an accumulator.
//!
//! Called by the engine's reductions and by ensembles. Values are added in the order of time;
//! partial results of later steps merge into those of earlier ones. What comes out of them is
//! the [`Statistic`](super::Statistic)'s business.

use super::Sample;
use super::steps::{self, Empty, Steps, Tile};
use super::together::Together;
use crate::simd;

/// What is kept of a cell's values while they are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Accumulator {
    /// Their sum and count. The least, because it tells the others where nothing is to be added.
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

/// Adds the same steps to all that is kept of their cells, as [`Partial::add`] does to one: sooner
/// if what has the least accumulator is the first.
pub(crate) fn add<T: Sample>(
    partials: &mut [Partial],
    offset: usize,
    steps: Steps<'_, T>,
    number: impl Fn(usize) -> f64,
) {
    let together = Together::of(partials);
    for tile in steps.tiles() {
        let added = together.filter(|some| some.add_tile(partials, offset, tile));
        let is_left =
            |partial: &&mut Partial| added.is_none_or(|some| !some.has(partial.accumulator));
        let mut empty = Empty::default();
        for partial in partials.iter_mut().filter(is_left) {
            partial.add_tile(offset, tile, &mut empty, &number);
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
        empty: &mut Empty,
        number: impl Fn(usize) -> f64,
    ) {
        let offset = offset + tile.cell;
        let cells = offset..offset + tile.cells();
        let first = &mut self.first[cells.clone()];
        match self.accumulator {
            Accumulator::Sum => simd::run(steps::Sums {
                tile,
                empty,
                sums: first,
                counts: &mut self.counts[cells],
            }),
            Accumulator::Minimum | Accumulator::Maximum => simd::run(steps::Extremes {
                tile,
                empty: *empty,
                extremes: first,
                is_maximum: self.accumulator == Accumulator::Maximum,
            }),
            Accumulator::Moments => simd::run(steps::Moments {
                tile,
                empty: *empty,
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
            let (of_right, share) = steps::weights(n_left, n_right);
            self.counts[cell] = n_left + n_right;
            let of_x = right.first[cell] - self.first[cell];
            let of_t = right.third[cell] - self.third[cell];
            self.first[cell] += of_x * of_right;
            self.third[cell] += of_t * of_right;
            self.second[cell] += right.second[cell] + of_t * of_x * share;
            self.fourth[cell] += right.fourth[cell] + of_t * of_t * share;
        }
    }

    fn merge_moments(&mut self, right: &Self) {
        simd::run(steps::MergeMoments {
            left: (&mut self.first, &mut self.second, &mut self.counts),
            right: (&right.first, &right.second, &right.counts),
        });
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
}
