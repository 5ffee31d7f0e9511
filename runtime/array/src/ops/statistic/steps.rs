//! The loops that add steps to what is kept of cells.
//!
//! Called by [`Partial::add`](super::Partial::add). A tile of cells is taken at a time, and for
//! it some steps, so that what is kept stays in the nearest cache. A cell's values are added in
//! the order of time. Without branches, so that the compiler uses vector instructions.

use super::Sample;
use crate::simd::Kernel;

/// Cells that are taken at a time: what is kept of them is 20 KiB at most.
const TILE_CELLS: usize = 512;

/// Steps that are taken at a time: each is a stream of memory for the processor to follow.
const STEPS_AT_ONCE: usize = 8;

/// Some steps of some cells.
#[derive(Clone, Copy)]
pub(crate) struct Steps<'a, T> {
    values: &'a [T],
    cells: usize,
}

/// Some steps of the cells of a tile.
#[derive(Clone, Copy)]
struct Tile<'a, T> {
    steps: Steps<'a, T>,
    start: usize,
    end: usize,
}

impl<'a, T: Sample> Steps<'a, T> {
    /// `values` has step after step of so many cells.
    pub(crate) fn new(values: &'a [T], cells: usize) -> Self {
        Self { values, cells }
    }

    /// How many cells a step has.
    pub(crate) fn cells(&self) -> usize {
        self.cells
    }

    /// The values of all cells, step by step.
    pub(super) fn each(self) -> impl Iterator<Item = &'a [T]> {
        self.values.chunks_exact(self.cells.max(1))
    }

    #[inline(always)]
    fn tiles(self) -> impl Iterator<Item = Tile<'a, T>> {
        let size = (self.cells * STEPS_AT_ONCE).max(1);
        self.values.chunks(size).flat_map(move |values| {
            let steps = Self { values, ..self };
            let starts = (0..self.cells).step_by(TILE_CELLS);
            starts.map(move |start| Tile {
                steps,
                start,
                end: (start + TILE_CELLS).min(self.cells),
            })
        })
    }
}

impl<'a, T: Sample> Tile<'a, T> {
    /// The values step by step.
    #[inline(always)]
    fn steps(self) -> impl DoubleEndedIterator<Item = &'a [T]> {
        let steps = self.steps.values.chunks_exact(self.steps.cells);
        steps.map(move |step| &step[self.start..self.end])
    }

    /// Its part of an array of all cells.
    #[inline(always)]
    fn of<V>(self, all: &mut [V]) -> &mut [V] {
        &mut all[self.start..self.end]
    }
}

/// Sums and counts of cells.
pub(super) struct Sums<'a, T> {
    pub(super) steps: Steps<'a, T>,
    pub(super) sums: &'a mut [f64],
    pub(super) counts: &'a mut [u32],
}

impl<T: Sample> Kernel for Sums<'_, T> {
    #[inline(always)]
    fn run(self) {
        for tile in self.steps.tiles() {
            let (sums, counts) = (tile.of(self.sums), tile.of(self.counts));
            for values in tile.steps() {
                for ((sum, count), &value) in sums.iter_mut().zip(&mut *counts).zip(values) {
                    *sum += value.or_zero().to_f64();
                    *count += u32::from(!value.is_missing());
                }
            }
        }
    }
}

/// Extremes of cells: a missing value is replaced by anything and replaces only those.
pub(super) struct Extremes<'a, T> {
    pub(super) steps: Steps<'a, T>,
    pub(super) extremes: &'a mut [f64],
    pub(super) is_maximum: bool,
}

impl<T: Sample> Kernel for Extremes<'_, T> {
    #[inline(always)]
    fn run(self) {
        let mut best = [T::MISSING; TILE_CELLS];
        for tile in self.steps.tiles() {
            let extremes = tile.of(self.extremes);
            let best = &mut best[..extremes.len()];
            // In their own type, which is narrower.
            best.fill(T::MISSING);
            for values in tile.steps() {
                match self.is_maximum {
                    true => replace(best, values, |new, old| new > old),
                    false => replace(best, values, |new, old| new < old),
                }
            }
            for (extreme, new) in extremes.iter_mut().zip(best) {
                let (new, old) = (new.to_f64(), *extreme);
                let wins = match self.is_maximum {
                    true => new > old,
                    false => new < old,
                };
                *extreme = if wins | old.is_nan() { new } else { old };
            }
        }
    }
}

#[inline(always)]
fn replace<T: Sample>(best: &mut [T], values: &[T], wins: impl Fn(T, T) -> bool) {
    for (best, &new) in best.iter_mut().zip(values) {
        let old = *best;
        *best = if wins(new, old) | old.is_missing() {
            new
        } else {
            old
        };
    }
}

/// Means of cells, squared distances from them, and counts.
pub(super) struct Moments<'a, T> {
    pub(super) steps: Steps<'a, T>,
    pub(super) means: &'a mut [f64],
    pub(super) squares: &'a mut [f64],
    pub(super) counts: &'a mut [u32],
}

impl<T: Sample> Kernel for Moments<'_, T> {
    /// Distances are taken from the mean so far, or from the first value where there is none,
    /// and the mean moves once for all steps: one division instead of one a step, and no large
    /// numbers that cancel.
    ///
    /// Source: Chan, Golub and LeVeque (1983), the shifted algorithm.
    #[inline(always)]
    fn run(self) {
        let (mut moved, mut spread) = ([0.0; TILE_CELLS], [0.0; TILE_CELLS]);
        for tile in self.steps.tiles() {
            let (means, squares) = (tile.of(self.means), tile.of(self.squares));
            let counts = tile.of(self.counts);
            let (moved, spread) = (&mut moved[..means.len()], &mut spread[..means.len()]);
            if counts.contains(&0) {
                begin(tile, means, counts);
            }
            moved.fill(0.0);
            spread.fill(0.0);
            for values in tile.steps() {
                let sums = moved.iter_mut().zip(&mut *spread).zip(&mut *counts);
                for (((moved, spread), count), (&value, &mean)) in
                    sums.zip(values.iter().zip(&*means))
                {
                    let double = value.to_f64();
                    let distance = if double.is_nan() { 0.0 } else { double - mean };
                    *moved += distance;
                    *spread += distance * distance;
                    *count += u32::from(!value.is_missing());
                }
            }
            let kept = means.iter_mut().zip(squares).zip(counts);
            for (((mean, square), count), (moved, spread)) in kept.zip(moved.iter().zip(&*spread)) {
                // At least 1: a cell without values divides 0 by it.
                let step = moved / f64::from((*count).max(1));
                let added = spread - step * moved;
                *mean += step;
                // Rounding must not make it negative; what is not a number stays so.
                *square += if added < 0.0 { 0.0 } else { added };
            }
        }
    }
}

/// The first valid values, as the means of cells without any yet.
#[inline(always)]
fn begin<T: Sample>(tile: Tile<'_, T>, means: &mut [f64], counts: &[u32]) {
    let mut first = [T::MISSING; TILE_CELLS];
    for values in tile.steps().rev() {
        for (first, &value) in first.iter_mut().zip(values) {
            *first = if value.is_missing() { *first } else { value };
        }
    }
    for ((mean, &count), first) in means.iter_mut().zip(counts).zip(first) {
        let first = first.or_zero().to_f64();
        *mean = if count == 0 { first } else { *mean };
    }
}
