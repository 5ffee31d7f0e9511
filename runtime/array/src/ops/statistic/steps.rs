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

    /// Whether it has all the steps that it can have.
    #[inline(always)]
    pub(super) fn has_all_steps(&self) -> bool {
        self.count == STEPS_AT_ONCE
    }

    /// All the steps that it can have of so many cells, or none.
    #[inline(always)]
    pub(super) fn all_rows(&self, cells: usize) -> Option<[&'a [T]; STEPS_AT_ONCE]> {
        match self.rows.map(|row| row.get(..cells)) {
            [
                Some(a),
                Some(b),
                Some(c),
                Some(d),
                Some(e),
                Some(f),
                Some(g),
                Some(h),
            ] if self.has_all_steps() => Some([a, b, c, d, e, f, g, h]),
            _ => None,
        }
    }

    /// Some of its cells.
    #[inline(always)]
    fn part(mut self, cells: std::ops::Range<usize>) -> Self {
        for row in &mut self.rows[..self.count] {
            *row = &row[cells.clone()];
        }
        self
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

/// The blocks of a tile's cells, [`LANES`] each, of which its steps have no value: a mask of land
/// keeps whole blocks missing. What counts values notes them, and what comes after passes them by.
#[derive(Clone, Copy, Default)]
pub(super) struct Empty(u64);

// One bit for each block.
const _: () = assert!(TILE_CELLS.div_ceil(LANES) <= u64::BITS as usize);

impl Empty {
    #[inline(always)]
    fn note(&mut self, cell: usize) {
        self.0 |= 1 << (cell / LANES);
    }

    #[inline(always)]
    fn has(self, cell: usize) -> bool {
        self.0 >> (cell / LANES) & 1 == 1
    }

    /// The runs of cells that are not in such blocks, of so many.
    #[inline(always)]
    fn runs_without(self, cells: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut from = 0;
        std::iter::from_fn(move || {
            while from < cells && self.has(from) {
                from += LANES;
            }
            let start = from;
            while from < cells && !self.has(from) {
                from += LANES;
            }
            (start < cells).then(|| start..from.min(cells))
        })
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
    pub(super) empty: &'a mut Empty,
    pub(super) sums: &'a mut [f64],
    pub(super) counts: &'a mut [u32],
}

impl<T: Sample> Kernel for Sums<'_, T> {
    #[inline(always)]
    fn run(self) {
        let (sums, last_sums) = self.sums.as_chunks_mut::<LANES>();
        let (counts, last_counts) = self.counts.as_chunks_mut::<LANES>();
        let whole = sums.len() * LANES;
        // No `for_each`, whose inside may be compiled apart, for every processor.
        for ((cell, sums), counts) in (0..whole).step_by(LANES).zip(sums).zip(counts) {
            if !add_sums(self.tile, cell, sums, counts) {
                self.empty.note(cell);
            }
        }
        let (last_sums, _) = last_sums.as_chunks_mut::<1>();
        let (last_counts, _) = last_counts.as_chunks_mut::<1>();
        for ((cell, sums), counts) in (whole..).zip(last_sums).zip(last_counts) {
            add_sums(self.tile, cell, sums, counts);
        }
    }
}

/// Whether there was a value.
#[inline(always)]
fn add_sums<T: Sample, const N: usize>(
    tile: Tile<'_, T>,
    cell: usize,
    sums: &mut [f64; N],
    counts: &mut [u32; N],
) -> bool {
    let (mut sum, mut count) = (*sums, *counts);
    for values in tile.lanes::<N>(cell) {
        for lane in 0..N {
            sum[lane] += values[lane].or_zero().to_f64();
            count[lane] += u32::from(!values[lane].is_missing());
        }
    }
    let mut has_more = [false; N];
    for lane in 0..N {
        has_more[lane] = count[lane] != counts[lane];
    }
    (*sums, *counts) = (sum, count);
    any(&has_more, |has_more| has_more)
}

/// Extremes of cells: a missing value is replaced by anything and replaces only those.
pub(super) struct Extremes<'a, T> {
    pub(super) tile: Tile<'a, T>,
    pub(super) empty: Empty,
    pub(super) extremes: &'a mut [f64],
    pub(super) is_maximum: bool,
}

impl<T: Sample> Kernel for Extremes<'_, T> {
    #[inline(always)]
    fn run(self) {
        match self.is_maximum {
            true => extremes(self, T::LEAST, |new, old| new > old),
            false => extremes(self, T::GREATEST, |new, old| new < old),
        }
    }
}

/// `loser` is what no other value loses to.
#[inline(always)]
fn extremes<T: Sample>(
    Extremes {
        tile,
        empty,
        extremes,
        ..
    }: Extremes<'_, T>,
    loser: T,
    wins: impl Fn(f64, f64) -> bool + Copy,
) {
    // Nothing that is missing wins; this one comparison is one instruction.
    let mut best = [loser; TILE_CELLS];
    let best = &mut best[..extremes.len()];
    let beats = |new: T, old: T| wins(new.to_f64(), old.to_f64());
    match tile.all_rows(best.len()) {
        Some(rows) => {
            for (cell, best) in best.iter_mut().enumerate() {
                for row in rows {
                    let new = row[cell];
                    *best = if beats(new, *best) { new } else { *best };
                }
            }
        }
        None => {
            for row in tile.rows() {
                for (best, &new) in best.iter_mut().zip(*row) {
                    *best = if beats(new, *best) { new } else { *best };
                }
            }
        }
    }
    let nothing = simd::nothing();
    let (blocks, last) = extremes.as_chunks_mut::<LANES>();
    let (best, last_best) = best.as_chunks::<LANES>();
    let whole = blocks.len() * LANES;
    for ((cell, block), best) in (0..whole).step_by(LANES).zip(blocks).zip(best) {
        if !empty.has(cell) {
            keep_extremes(tile, cell, block, best, (loser, nothing), wins);
        }
    }
    let (last, _) = last.as_chunks_mut::<1>();
    let (last_best, _) = last_best.as_chunks::<1>();
    for ((cell, block), best) in (whole..).zip(last).zip(last_best) {
        keep_extremes(tile, cell, block, best, (loser, nothing), wins);
    }
}

#[inline(always)]
fn keep_extremes<T: Sample, const N: usize>(
    tile: Tile<'_, T>,
    cell: usize,
    extremes: &mut [f64; N],
    best: &[T; N],
    (loser, nothing): (T, f64),
    wins: impl Fn(f64, f64) -> bool + Copy,
) {
    let mut best = *best;
    // Where the loser stands, it is the value or there is none: seen only by looking again.
    if any(&best, |value| value == loser) {
        best = [T::MISSING; N];
        for values in tile.lanes::<N>(cell) {
            for lane in 0..N {
                let (new, old) = (values[lane], best[lane]);
                let replaces = wins(new.to_f64(), old.to_f64()) | old.is_missing();
                best[lane] = if replaces { new } else { old };
            }
        }
    }
    for lane in 0..N {
        extremes[lane] = kept_of(best[lane].to_f64(), extremes[lane], wins) + nothing;
    }
}

/// The extreme so far after a new one; what is missing yields to any.
#[inline(always)]
pub(super) fn kept_of(new: f64, old: f64, wins: impl Fn(f64, f64) -> bool) -> f64 {
    if wins(new, old) | old.is_nan() {
        new
    } else {
        old
    }
}

/// Means of cells, squared distances from them, and counts.
pub(super) struct Moments<'a, T> {
    pub(super) tile: Tile<'a, T>,
    pub(super) empty: Empty,
    pub(super) means: &'a mut [f64],
    pub(super) squares: &'a mut [f64],
    pub(super) counts: &'a mut [u32],
}

impl<T: Sample> Kernel for Moments<'_, T> {
    #[inline(always)]
    fn run(self) {
        start_all_means(self.tile, self.empty, self.means, self.counts);
        for cells in self.empty.runs_without(self.means.len()) {
            add_moments(
                self.tile.part(cells.clone()),
                &mut self.means[cells.clone()],
                &mut self.squares[cells.clone()],
                &mut self.counts[cells],
            );
        }
    }
}

/// Cells without values so far take their first for the mean.
#[inline(always)]
pub(super) fn start_all_means<T: Sample>(
    tile: Tile<'_, T>,
    empty: Empty,
    means: &mut [f64],
    counts: &[u32],
) {
    let (blocks, last) = means.as_chunks_mut::<LANES>();
    let (counts, last_counts) = counts.as_chunks::<LANES>();
    let whole = blocks.len() * LANES;
    for ((cell, means), counts) in (0..whole).step_by(LANES).zip(blocks).zip(counts) {
        if !empty.has(cell) {
            start_means(tile, cell, means, counts);
        }
    }
    let (last, _) = last.as_chunks_mut::<1>();
    let (last_counts, _) = last_counts.as_chunks::<1>();
    for ((cell, means), counts) in (whole..).zip(last).zip(last_counts) {
        start_means(tile, cell, means, counts);
    }
}

#[inline(always)]
fn start_means<T: Sample, const N: usize>(
    tile: Tile<'_, T>,
    cell: usize,
    means: &mut [f64; N],
    counts: &[u32; N],
) {
    if !any(counts, |count| count == 0) {
        return;
    }
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
        means[lane] = if counts[lane] == 0 {
            first
        } else {
            means[lane]
        };
    }
}

/// Distances are taken from the mean so far, or from the first value where there is none, and
/// the mean moves once for all steps: one division instead of one a step, and no large numbers
/// that cancel.
///
/// Source: Chan, Golub and LeVeque (1983), the shifted algorithm.
#[inline(always)]
fn add_moments<T: Sample>(
    tile: Tile<'_, T>,
    means: &mut [f64],
    squares: &mut [f64],
    counts: &mut [u32],
) {
    let cells = means.iter_mut().zip(squares).zip(counts);
    match tile.all_rows(cells.len()) {
        Some(rows) => {
            for (cell, ((mean, square), count)) in cells.enumerate() {
                let values = rows.iter().map(|row| row[cell]);
                move_moments(values, (mean, square, count));
            }
        }
        None => {
            for (cell, ((mean, square), count)) in cells.enumerate() {
                let values = tile.rows().iter().map(|row| row[cell]);
                move_moments(values, (mean, square, count));
            }
        }
    }
}

#[inline(always)]
fn move_moments<T: Sample>(
    values: impl Iterator<Item = T>,
    (mean, square, count): (&mut f64, &mut f64, &mut u32),
) {
    let (mut moved, mut spread) = (0.0, 0.0);
    let mut number = *count;
    for value in values {
        let is_missing = value.is_missing();
        let value = value.to_f64();
        let distance = if is_missing { 0.0 } else { value - *mean };
        moved += distance;
        spread += distance * distance;
        number += u32::from(!is_missing);
    }
    move_by(moved, spread, number, (mean, square));
    *count = number;
}

/// Moves a mean, and adds to the squared distances from it: by the distances of some values from it,
/// their squares, and how many values there are now.
#[inline(always)]
pub(super) fn move_by(moved: f64, spread: f64, count: u32, (mean, square): (&mut f64, &mut f64)) {
    // At least 1: a cell without values divides 0 by it.
    let step = moved / f64::from(count.max(1));
    let added = spread - step * moved;
    *mean += step;
    // Rounding must not make it negative; what is not a number stays so.
    *square += if added < 0.0 { 0.0 } else { added };
}

/// What was kept of later steps joins what was kept of earlier ones: means, squared distances from
/// them, and counts.
///
/// Source: pairwise update of Chan, Golub and LeVeque (1979).
pub(super) struct MergeMoments<'a> {
    pub(super) left: (&'a mut [f64], &'a mut [f64], &'a mut [u32]),
    pub(super) right: (&'a [f64], &'a [f64], &'a [u32]),
}

impl Kernel for MergeMoments<'_> {
    #[inline(always)]
    fn run(self) {
        let nothing = simd::nothing();
        let (means, squares, counts) = self.left;
        let (right_means, right_squares, right_counts) = self.right;
        let left = means.iter_mut().zip(squares).zip(counts);
        let right = right_means.iter().zip(right_squares).zip(right_counts);
        for (((mean, square), count), ((&its_mean, &its_square), &its_count)) in left.zip(right) {
            let (of_right, share) = weights(*count, its_count);
            let delta = its_mean - *mean;
            let (new_mean, more) = (*mean + delta * of_right, its_square + delta * delta * share);
            let new_square = *square + more;
            // Not by what a weight of 0 makes of infinities.
            let is_kept = its_count == 0;
            *mean = if is_kept { *mean } else { new_mean } + nothing;
            *square = if is_kept { *square } else { new_square } + nothing;
            *count += its_count;
        }
    }
}

/// The weights in a merged result of the distance between the two means and of its square.
#[inline(always)]
pub(super) fn weights(left: u32, right: u32) -> (f64, f64) {
    let total = f64::from(left) + f64::from(right);
    // Where both are empty nobody asks.
    let of_right = f64::from(right) / total;
    (of_right, f64::from(left) * f64::from(right) / total)
}
