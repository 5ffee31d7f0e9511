//! One loop for several of the things that are kept of a cell, so that its values are read, compared
//! and widened once.
//!
//! Called by [`add`](super::add) where a tile has all the steps that it can have. Each number is
//! computed as the loops of [`steps`](super::steps) compute it, in the same order: the bits are the
//! same whatever is kept beside it.

use super::steps::{self, Tile};
use super::{Accumulator, Partial, Sample};
use crate::simd::{self, Kernel};

/// What of some partial results is added in one loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Together {
    sums: bool,
    /// Both extremes.
    extremes: bool,
    moments: bool,
}

impl Together {
    /// What of these there is at least two of; one alone has a loop of its own.
    pub(super) fn of(partials: &[Partial]) -> Option<Self> {
        let has = |wanted: Accumulator| partials.iter().any(|p| p.accumulator == wanted);
        let found = Self {
            sums: has(Accumulator::Sum),
            extremes: has(Accumulator::Minimum) && has(Accumulator::Maximum),
            moments: has(Accumulator::Moments),
        };
        let count = [found.sums, found.extremes, found.moments];
        (count.into_iter().filter(|has| *has).count() > 1).then_some(found)
    }

    /// Whether this is one of them.
    pub(super) fn has(self, accumulator: Accumulator) -> bool {
        match accumulator {
            Accumulator::Sum => self.sums,
            Accumulator::Minimum | Accumulator::Maximum => self.extremes,
            Accumulator::Moments => self.moments,
            _ => false,
        }
    }

    /// Adds a tile to all of them, if it has all its steps; whether it was added.
    pub(super) fn add_tile<T: Sample>(
        self,
        partials: &mut [Partial],
        offset: usize,
        tile: Tile<'_, T>,
    ) -> bool {
        if !tile.has_all_steps() {
            return false;
        }
        let start = offset + tile.cell;
        let cells = start..start + tile.cells();
        let mut kept = Kept::default();
        for partial in partials.iter_mut().filter(|p| self.has(p.accumulator)) {
            let first = &mut partial.first[cells.clone()];
            match partial.accumulator {
                Accumulator::Sum => {
                    kept.sums = first;
                    kept.counts = &mut partial.counts[cells.clone()];
                }
                Accumulator::Minimum => kept.lows = first,
                Accumulator::Maximum => kept.highs = first,
                _ => {
                    kept.means = first;
                    kept.squares = &mut partial.second[cells.clone()];
                    kept.counts_of_moments = &mut partial.counts[cells.clone()];
                }
            }
        }
        match (self.sums, self.extremes, self.moments) {
            (true, true, true) => simd::run(All::<T, true, true, true> { tile, kept }),
            (true, true, false) => simd::run(All::<T, true, true, false> { tile, kept }),
            (true, false, _) => simd::run(All::<T, true, false, true> { tile, kept }),
            (false, ..) => simd::run(All::<T, false, true, true> { tile, kept }),
        }
        true
    }
}

/// What is kept of the cells of a tile; nothing of what is not asked for.
#[derive(Default)]
struct Kept<'a> {
    sums: &'a mut [f64],
    counts: &'a mut [u32],
    lows: &'a mut [f64],
    highs: &'a mut [f64],
    means: &'a mut [f64],
    squares: &'a mut [f64],
    /// As `counts`, which is empty without sums.
    counts_of_moments: &'a mut [u32],
}

/// The loop, for what is asked for.
struct All<'a, T, const SUMS: bool, const EXTREMES: bool, const MOMENTS: bool> {
    tile: Tile<'a, T>,
    kept: Kept<'a>,
}

impl<T: Sample, const SUMS: bool, const EXTREMES: bool, const MOMENTS: bool> Kernel
    for All<'_, T, SUMS, EXTREMES, MOMENTS>
{
    #[inline(always)]
    fn run(self) {
        let Self { tile, kept } = self;
        // As long as all that is kept: then no place is looked at twice whether it is there.
        let cells = tile.cells();
        let Some(rows) = tile.all_rows(cells) else {
            return;
        };
        if MOMENTS {
            steps::start_all_means(tile, Default::default(), kept.means, kept.counts_of_moments);
        }
        let nothing = simd::nothing();
        let sums = &mut kept.sums[..if SUMS { cells } else { 0 }];
        let counts = &mut kept.counts[..if SUMS { cells } else { 0 }];
        let lows = &mut kept.lows[..if EXTREMES { cells } else { 0 }];
        let highs = &mut kept.highs[..if EXTREMES { cells } else { 0 }];
        let means = &mut kept.means[..if MOMENTS { cells } else { 0 }];
        let squares = &mut kept.squares[..if MOMENTS { cells } else { 0 }];
        let counts_of_moments = &mut kept.counts_of_moments[..if MOMENTS { cells } else { 0 }];
        for cell in 0..cells {
            let mut sum = if SUMS { sums[cell] } else { 0.0 };
            let mean = if MOMENTS { means[cell] } else { 0.0 };
            let (mut moved, mut spread) = (0.0, 0.0);
            let (mut low, mut high) = (T::GREATEST, T::LEAST);
            let mut number = 0_u32;
            for row in rows {
                let value = row[cell];
                let is_missing = value.is_missing();
                number += u32::from(!is_missing);
                if SUMS {
                    sum += value.or_zero().to_f64();
                }
                if MOMENTS {
                    let distance = if is_missing {
                        0.0
                    } else {
                        value.to_f64() - mean
                    };
                    moved += distance;
                    spread += distance * distance;
                }
                if EXTREMES {
                    low = if value < low { value } else { low };
                    high = if value > high { value } else { high };
                }
            }
            if SUMS {
                sums[cell] = sum;
                counts[cell] += number;
            }
            if MOMENTS {
                let count = counts_of_moments[cell] + number;
                let moments = (&mut means[cell], &mut squares[cell]);
                steps::move_by(moved, spread, count, moments);
                counts_of_moments[cell] = count;
            }
            if EXTREMES {
                let known = |value: T| {
                    if number == 0 {
                        f64::NAN
                    } else {
                        value.to_f64()
                    }
                };
                let (low, high) = (known(low), known(high));
                lows[cell] = steps::kept_of(low, lows[cell], |new, old| new < old) + nothing;
                highs[cell] = steps::kept_of(high, highs[cell], |new, old| new > old) + nothing;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Steps, add};
    use super::*;

    /// Fields with a block of land, cells that come late, infinities and both zeros.
    fn values<T: Sample>(cells: usize, steps: usize) -> Vec<T> {
        let value = |cell: usize, step: usize| match (cell * 7 + step * 13) % 29 {
            _ if (40..90).contains(&cell) => f64::NAN,
            _ if cell % 17 == 3 && step < 9 => f64::NAN,
            0 | 1 => f64::NAN,
            2 if cell.is_multiple_of(5) => f64::INFINITY,
            3 if cell % 5 == 1 => f64::NEG_INFINITY,
            4 => -0.0,
            5 => 0.0,
            other => other as f64 * 0.37 - step as f64,
        };
        let values = (0..steps).flat_map(|step| (0..cells).map(move |cell| value(cell, step)));
        values.map(T::from_f64).collect()
    }

    fn bits_of(partial: &Partial) -> (Vec<u32>, Vec<u64>) {
        let numbers = partial.first.iter().chain(&partial.second);
        // Which NaN it is says nothing.
        let bits = |value: &f64| if value.is_nan() { 0 } else { value.to_bits() };
        (partial.counts.clone(), numbers.map(bits).collect())
    }

    fn are_as_one_by_one<T: Sample>(kept: &[Accumulator]) {
        // More than a tile of cells, and steps that are no multiple of those of a tile.
        const CELLS: usize = 1301;
        const STEPS: usize = 27;
        let values = values::<T>(CELLS, STEPS);
        let steps = || Steps::new(&values, CELLS);
        let new = |&accumulator: &Accumulator| Partial::new(accumulator, CELLS);
        let mut together: Vec<Partial> = kept.iter().map(new).collect();
        assert!(Together::of(&together).is_some(), "{kept:?}");
        add(&mut together, 0, steps(), |step| step as f64);
        for partial in &together {
            let mut alone = new(&partial.accumulator);
            alone.add(0, steps(), |step| step as f64);
            let which = partial.accumulator;
            assert_eq!(bits_of(partial), bits_of(&alone), "{which:?} of {kept:?}");
        }
    }

    #[test]
    fn what_is_added_together_is_as_one_by_one_to_the_bit() {
        use Accumulator::{Line, Maximum, Minimum, Moments, Sum};
        for kept in [
            vec![Sum, Minimum, Maximum, Moments],
            vec![Sum, Minimum, Maximum],
            vec![Sum, Moments],
            vec![Minimum, Maximum, Moments],
            vec![Sum, Maximum, Moments, Line],
        ] {
            are_as_one_by_one::<f32>(&kept);
            are_as_one_by_one::<f64>(&kept);
        }
    }

    #[test]
    fn one_alone_has_its_own_loop() {
        use Accumulator::{Line, Maximum, Minimum, Moments, Sum};
        for kept in [
            vec![Sum, Maximum],
            vec![Minimum, Maximum],
            vec![Moments, Line],
        ] {
            let partials: Vec<Partial> = kept.iter().map(|&a| Partial::new(a, 1)).collect();
            assert_eq!(Together::of(&partials), None, "{kept:?}");
        }
    }
}
