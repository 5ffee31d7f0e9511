//! The loops that add steps to what is kept of cells.
//!
//! Called by [`add`](super::add). Cells are taken tile by tile, and for a tile some steps, which
//! then stay in the nearest cache for all that is kept of them. In a tile some cells are taken
//! at a time, and what is kept of those stays in registers while their steps are added. A cell's
//! values are added in the order of time. Without branches on values, so that the compiler uses
//! vector instructions.

use super::Sample;
use crate::simd::{self, Kernel};

/// Cells of a tile: its steps are 32 KiB at most in single precision.
const TILE_CELLS: usize = 1024;

/// Steps that are taken at a time: each is a stream of memory for the processor to follow.
const STEPS_AT_ONCE: usize = 8;

/// Cells that are taken at a time where little is kept of each.
const LANES: usize = 16;

/// Cells that are taken at a time where more is kept of each.
const LANES_OF_MOMENTS: usize = 8;

/// Some steps of some cells.
#[derive(Clone, Copy)]
pub(crate) struct Steps<'a, T> {
    values: &'a [T],
    cells: usize,
}

/// Some steps of the cells of a tile.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a, T> {
    rows: [&'a [T]; STEPS_AT_ONCE],
    count: usize,
    /// The first of its steps.
    pub(super) step: usize,
    /// The first of its cells.
    pub(super) cell: usize,
}

impl<'a, T: Sample> Steps<'a, T> {
    /// `values` has step after step of so many cells.
    pub(crate) fn new(values: &'a [T], cells: usize) -> Self {
        Self { values, cells }
    }

    /// All steps and cells; those of one cell come in the order of time.
    pub(super) fn tiles(self) -> impl Iterator<Item = Tile<'a, T>> {
        let size = (self.cells * STEPS_AT_ONCE).max(1);
        let some = self.values.chunks(size).enumerate();
        some.flat_map(move |(number, values)| {
            let cells = (0..self.cells).step_by(TILE_CELLS);
            cells.map(move |cell| {
                let end = (cell + TILE_CELLS).min(self.cells);
                let mut rows: [&[T]; STEPS_AT_ONCE] = [&[]; STEPS_AT_ONCE];
                let steps = values.chunks_exact(self.cells);
                let count = steps.len();
                let filled = rows.iter_mut().zip(steps);
                filled.for_each(|(row, step)| *row = &step[cell..end]);
                Tile {
                    rows,
                    count,
                    step: number * STEPS_AT_ONCE,
                    cell,
                }
            })
        })
    }
}

impl<'a, T: Sample> Tile<'a, T> {
    /// The values step by step.
    #[inline(always)]
    pub(super) fn rows(&self) -> &[&'a [T]] {
        &self.rows[..self.count]
    }

    /// How many cells it has.
    pub(super) fn cells(&self) -> usize {
        self.rows[0].len()
    }

    /// The values of some of its cells, step by step.
    #[inline(always)]
    fn lanes<const N: usize>(&self, cell: usize) -> impl DoubleEndedIterator<Item = &'a [T; N]> {
        let rows = self.rows[..self.count].iter();
        rows.filter_map(move |row| row.get(cell..)?.first_chunk::<N>())
    }
}

/// Whether one of some lanes is so; looks at all, which is faster than to stop at the first.
#[inline(always)]
fn any<V: Copy, const N: usize>(lanes: &[V; N], is_so: impl Fn(V) -> bool) -> bool {
    lanes.iter().fold(false, |found, &lane| found | is_so(lane))
}

/// Sums and counts of cells.
pub(super) struct Sums<'a, T> {
    pub(super) tile: Tile<'a, T>,
    pub(super) sums: &'a mut [f64],
    pub(super) counts: &'a mut [u32],
}

impl<T: Sample> Kernel for Sums<'_, T> {
    #[inline(always)]
    fn run(self) {
        let (sums, last_sums) = self.sums.as_chunks_mut::<LANES>();
        let (counts, last_counts) = self.counts.as_chunks_mut::<LANES>();
        let whole = sums.len() * LANES;
        let cells = (0..whole).step_by(LANES).zip(sums).zip(counts);
        cells.for_each(|((cell, sums), counts)| add_sums(self.tile, cell, sums, counts));
        let (last_sums, _) = last_sums.as_chunks_mut::<1>();
        let (last_counts, _) = last_counts.as_chunks_mut::<1>();
        let cells = (whole..).zip(last_sums).zip(last_counts);
        cells.for_each(|((cell, sums), counts)| add_sums(self.tile, cell, sums, counts));
    }
}

#[inline(always)]
fn add_sums<T: Sample, const N: usize>(
    tile: Tile<'_, T>,
    cell: usize,
    sums: &mut [f64; N],
    counts: &mut [u32; N],
) {
    let (mut sum, mut count) = (*sums, *counts);
    for values in tile.lanes::<N>(cell) {
        for lane in 0..N {
            sum[lane] += values[lane].or_zero().to_f64();
            count[lane] += u32::from(!values[lane].is_missing());
        }
    }
    (*sums, *counts) = (sum, count);
}

/// Extremes of cells: a missing value is replaced by anything and replaces only those.
pub(super) struct Extremes<'a, T> {
    pub(super) tile: Tile<'a, T>,
    pub(super) extremes: &'a mut [f64],
    pub(super) is_maximum: bool,
}

impl<T: Sample> Kernel for Extremes<'_, T> {
    #[inline(always)]
    fn run(self) {
        match self.is_maximum {
            true => extremes(self.tile, self.extremes, T::LEAST, |new, old| new > old),
            false => extremes(self.tile, self.extremes, T::GREATEST, |new, old| new < old),
        }
    }
}

/// `loser` is what no other value loses to.
#[inline(always)]
fn extremes<T: Sample>(
    tile: Tile<'_, T>,
    all: &mut [f64],
    loser: T,
    wins: impl Fn(f64, f64) -> bool + Copy,
) {
    let rules = (loser, simd::nothing());
    let (blocks, last) = all.as_chunks_mut::<LANES>();
    let whole = blocks.len() * LANES;
    let cells = (0..whole).step_by(LANES).zip(blocks);
    cells.for_each(|(cell, block)| add_extremes(tile, cell, block, rules, wins));
    let (last, _) = last.as_chunks_mut::<1>();
    let cells = (whole..).zip(last);
    cells.for_each(|(cell, block)| add_extremes(tile, cell, block, rules, wins));
}

#[inline(always)]
fn add_extremes<T: Sample, const N: usize>(
    tile: Tile<'_, T>,
    cell: usize,
    extremes: &mut [f64; N],
    (loser, nothing): (T, f64),
    wins: impl Fn(f64, f64) -> bool + Copy,
) {
    let beats = |new: T, old: T| wins(new.to_f64(), old.to_f64());
    // Nothing that is missing wins; this one comparison is one instruction.
    let mut best = [loser; N];
    for values in tile.lanes::<N>(cell) {
        for lane in 0..N {
            best[lane] = if beats(values[lane], best[lane]) {
                values[lane]
            } else {
                best[lane]
            };
        }
    }
    // Where the loser stands, it is the value or there is none: seen only by looking again.
    if any(&best, |value| value == loser) {
        best = [T::MISSING; N];
        for values in tile.lanes::<N>(cell) {
            for lane in 0..N {
                let (new, old) = (values[lane], best[lane]);
                let replaces = beats(new, old) | old.is_missing();
                best[lane] = if replaces { new } else { old };
            }
        }
    }
    for lane in 0..N {
        let (new, old) = (best[lane].to_f64(), extremes[lane]);
        let kept = if wins(new, old) | old.is_nan() {
            new
        } else {
            old
        };
        extremes[lane] = kept + nothing;
    }
}

/// Means of cells, squared distances from them, and counts.
pub(super) struct Moments<'a, T> {
    pub(super) tile: Tile<'a, T>,
    pub(super) means: &'a mut [f64],
    pub(super) squares: &'a mut [f64],
    pub(super) counts: &'a mut [u32],
}

impl<T: Sample> Kernel for Moments<'_, T> {
    #[inline(always)]
    fn run(self) {
        let (means, last_means) = self.means.as_chunks_mut::<LANES_OF_MOMENTS>();
        let (squares, last_squares) = self.squares.as_chunks_mut::<LANES_OF_MOMENTS>();
        let (counts, last_counts) = self.counts.as_chunks_mut::<LANES_OF_MOMENTS>();
        let whole = means.len() * LANES_OF_MOMENTS;
        let starts = (0..whole).step_by(LANES_OF_MOMENTS);
        for (((cell, means), squares), counts) in starts.zip(means).zip(squares).zip(counts) {
            add_moments(self.tile, cell, means, squares, counts);
        }
        let (last_means, _) = last_means.as_chunks_mut::<1>();
        let (last_squares, _) = last_squares.as_chunks_mut::<1>();
        let (last_counts, _) = last_counts.as_chunks_mut::<1>();
        let cells = (whole..).zip(last_means).zip(last_squares).zip(last_counts);
        for (((cell, means), squares), counts) in cells {
            add_moments(self.tile, cell, means, squares, counts);
        }
    }
}

/// Distances are taken from the mean so far, or from the first value where there is none, and
/// the mean moves once for all steps: one division instead of one a step, and no large numbers
/// that cancel.
///
/// Source: Chan, Golub and LeVeque (1983), the shifted algorithm.
#[inline(always)]
fn add_moments<T: Sample, const N: usize>(
    tile: Tile<'_, T>,
    cell: usize,
    means: &mut [f64; N],
    squares: &mut [f64; N],
    counts: &mut [u32; N],
) {
    let (mut mean, mut count) = (*means, *counts);
    if any(&count, |count| count == 0) {
        let mut first = [T::MISSING; N];
        for values in tile.lanes::<N>(cell).rev() {
            for lane in 0..N {
                first[lane] = if values[lane].is_missing() {
                    first[lane]
                } else {
                    values[lane]
                };
            }
        }
        for lane in 0..N {
            let first = first[lane].or_zero().to_f64();
            mean[lane] = if count[lane] == 0 { first } else { mean[lane] };
        }
    }
    let (mut moved, mut spread) = ([0.0; N], [0.0; N]);
    for values in tile.lanes::<N>(cell) {
        for lane in 0..N {
            let value = values[lane].to_f64();
            let distance = if value.is_nan() {
                0.0
            } else {
                value - mean[lane]
            };
            moved[lane] += distance;
            spread[lane] += distance * distance;
            count[lane] += u32::from(!values[lane].is_missing());
        }
    }
    for lane in 0..N {
        // At least 1: a cell without values divides 0 by it.
        let step = moved[lane] / f64::from(count[lane].max(1));
        let added = spread[lane] - step * moved[lane];
        means[lane] = mean[lane] + step;
        // Rounding must not make it negative; what is not a number stays so.
        squares[lane] += if added < 0.0 { 0.0 } else { added };
    }
    *counts = count;
}
