//! How an axis of a field is cut into tiles that overlap, and how they are blended: pure.
//!
//! **Invariant:** weights are whole numbers, so a model that gives the same for a cell in every
//! tile gives exactly that: products of a single-precision value with a weight, their sums and
//! the quotient are exact in double precision.

use std::ops::Range;

/// Tiles along one axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tiling {
    /// Cells of the axis.
    pub(crate) length: usize,
    /// Cells of a tile.
    pub(crate) tile: usize,
    /// Cells at each edge of a tile that the model only sees.
    margin: usize,
    halo: usize,
    /// Whether the last cell lies beside the first.
    wraps: bool,
    /// The first cell of each tile; before the axis where it wraps.
    starts: Vec<isize>,
    /// By cell that comes out of a tile: rising from its edge over both halos.
    weights: Vec<f64>,
    /// By cell of the axis: the sum over the tiles that hold it.
    sums: Vec<f64>,
    /// Whether each cell of the axis is held by one tile, once.
    is_disjoint: bool,
}

impl Tiling {
    /// Tiles that share `halo` cells on each side with their neighbours. The last is moved back
    /// so that it ends with the axis; a tile longer than the axis sees its edge repeated.
    ///
    /// `None` if nothing of a tile is left between its halos.
    pub(crate) fn new(length: usize, tile: usize, halo: usize, wraps: bool) -> Option<Self> {
        Self::build(length, tile, halo, wraps, 0)
    }

    /// The same where a model gives so many cells fewer at each edge of a tile than it sees.
    /// Cells at the ends of an axis that does not wrap are then in no tile.
    pub(crate) fn with_margin(&self, margin: usize) -> Option<Self> {
        Self::build(self.length, self.tile, self.halo, self.wraps, margin)
    }

    fn build(length: usize, tile: usize, halo: usize, wraps: bool, margin: usize) -> Option<Self> {
        if length == 0 || tile == 0 {
            return None;
        }
        let starts = if tile >= length && (!wraps || margin == 0) {
            vec![0]
        } else {
            let before = halo + margin;
            let step = tile.checked_sub(2 * before).filter(|&step| step > 0)?;
            if wraps {
                let starts = (0..length).step_by(step);
                starts
                    .map(|start| start as isize - before as isize)
                    .collect()
            } else {
                let last = length - tile;
                let inner = (0..last).step_by(step).chain(std::iter::once(last));
                inner.map(|start| start as isize).collect()
            }
        };
        let given = tile.checked_sub(2 * margin).filter(|&given| given > 0)?;
        let weight = |cell: usize| (cell + 1).min(given - cell).min(2 * halo + 1) as f64;
        let weights: Vec<f64> = (0..given).map(weight).collect();
        let mut tiling = Self {
            length,
            tile,
            margin,
            halo,
            wraps,
            starts,
            weights,
            sums: Vec::new(),
            is_disjoint: true,
        };
        let mut sums = vec![0.0; length];
        for tile in 0..tiling.count() {
            for (cell, weight) in tiling.weights.iter().enumerate() {
                if let Some(target) = tiling.target(tile, cell) {
                    // Weights are above zero.
                    tiling.is_disjoint &= sums[target] == 0.0;
                    sums[target] += weight;
                }
            }
        }
        // A cell that no tile fills is missing, which only sums tell.
        tiling.is_disjoint &= !sums.contains(&0.0);
        tiling.sums = sums;
        Some(tiling)
    }

    /// Whether each cell of the axis is held once.
    pub(crate) fn is_disjoint(&self) -> bool {
        self.is_disjoint
    }

    /// How many cells come out of a tile.
    pub(crate) fn given(&self) -> usize {
        self.weights.len()
    }

    /// How many tiles there are.
    pub(crate) fn count(&self) -> usize {
        self.starts.len()
    }

    /// The cell of the axis that a cell of a tile is read from.
    pub(crate) fn source(&self, tile: usize, cell: usize) -> usize {
        let place = self.starts[tile] + cell as isize;
        let length = self.length as isize;
        let inside = match self.wraps {
            true => place.rem_euclid(length),
            false => place.clamp(0, length - 1),
        };
        inside.unsigned_abs()
    }

    /// The cell of the axis that a cell that comes out of a tile adds to; none beyond its end.
    pub(crate) fn target(&self, tile: usize, cell: usize) -> Option<usize> {
        let cell = cell + self.margin;
        let place = self.starts[tile] + cell as isize;
        let inside = self.wraps || (0..self.length as isize).contains(&place);
        inside.then(|| self.source(tile, cell))
    }

    /// The cells of the axis that a tile reads, where they lie side by side: it does not go beyond
    /// the axis or across its end.
    pub(crate) fn unbroken(&self, tile: usize) -> Option<Range<usize>> {
        let start = usize::try_from(self.starts[tile]).ok()?;
        let cells = start..start.checked_add(self.tile)?;
        (cells.end <= self.length).then_some(cells)
    }

    /// The same of those that it adds to.
    pub(crate) fn unbroken_given(&self, tile: usize) -> Option<Range<usize>> {
        let cells = self.unbroken(tile)?;
        Some(cells.start + self.margin..cells.end - self.margin)
    }

    /// How much each cell that comes out of a tile counts.
    pub(crate) fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// How much one of them counts.
    pub(crate) fn weight(&self, cell: usize) -> f64 {
        self.weights[cell]
    }

    /// What the weights of a cell of the axis sum to.
    pub(crate) fn sum(&self, cell: usize) -> f64 {
        self.sums[cell]
    }

    /// The same of each cell.
    pub(crate) fn sums(&self) -> &[f64] {
        &self.sums
    }

    /// The first cell of the axis that a tile reads, and one past the last; of those that wrap, the
    /// whole axis.
    pub(crate) fn seen(&self, tile: usize) -> Range<usize> {
        if self.wraps {
            return 0..self.length;
        }
        let start = self.starts[tile].unsigned_abs();
        start..(start + self.tile).min(self.length)
    }

    /// The same of the cells that are its to fill: those that it adds to, and at the ends of the
    /// axis those that no tile does.
    pub(crate) fn span(&self, tile: usize) -> Range<usize> {
        let seen = self.seen(tile);
        if self.wraps {
            return seen;
        }
        let first = match seen.start {
            0 => 0,
            start => start + self.margin,
        };
        let end = match seen.end == self.length {
            true => self.length,
            false => seen.end - self.margin,
        };
        first..end.max(first)
    }

    /// Tiles that add to some of these cells.
    pub(crate) fn touching(&self, cells: &Range<usize>) -> Vec<usize> {
        let touches = |&tile: &usize| {
            let span = self.span(tile);
            span.start < cells.end && cells.start < span.end
        };
        (0..self.count()).filter(touches).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_overlap_by_two_halos_and_the_last_ends_with_the_axis() {
        let tiling = Tiling::new(30, 16, 3, false).unwrap();
        let spans: Vec<_> = (0..tiling.count()).map(|tile| tiling.span(tile)).collect();
        assert_eq!(spans, [0..16, 10..26, 14..30]);
        assert_eq!(tiling.weight(0), 1.0);
        assert_eq!(tiling.weight(6), 7.0);
        assert_eq!(tiling.weight(8), 7.0);
        assert_eq!(tiling.weight(15), 1.0);
        assert_eq!(tiling.touching(&(0..5)), [0]);
        assert_eq!(tiling.touching(&(12..15)), [0, 1, 2]);
    }

    #[test]
    fn an_axis_that_wraps_is_read_across_its_end() {
        let tiling = Tiling::new(8, 4, 1, true).unwrap();
        assert_eq!(tiling.count(), 4);
        assert_eq!(tiling.source(0, 0), 7);
        assert_eq!(tiling.source(3, 3), 0);
    }

    #[test]
    fn a_margin_is_seen_but_not_filled() {
        let tiling = Tiling::new(30, 16, 2, false).unwrap();
        let tiling = tiling.with_margin(1).unwrap();
        let seen: Vec<_> = (0..tiling.count()).map(|tile| tiling.seen(tile)).collect();
        assert_eq!(seen, [0..16, 10..26, 14..30]);
        assert_eq!((tiling.given(), tiling.target(1, 0)), (14, Some(11)));
        assert_eq!(tiling.unbroken_given(1), Some(11..25));
        // The ends are nobody's, but the first and the last tile are those that touch them.
        assert_eq!((tiling.sum(0), tiling.sum(29)), (0.0, 0.0));
        assert!((1..29).all(|cell| tiling.sum(cell) > 0.0));
        assert_eq!(tiling.touching(&(0..1)), [0]);
        assert_eq!(tiling.touching(&(29..30)), [2]);
        // Around the globe nothing is left out, even if one tile is as long as the axis.
        let around = Tiling::new(30, 30, 0, true).unwrap();
        let around = around.with_margin(1).unwrap();
        assert!(around.sums().iter().all(|sum| *sum > 0.0));
        assert_eq!(tiling.with_margin(8), None);
    }

    #[test]
    fn nothing_between_halos_is_refused() {
        assert_eq!(Tiling::new(30, 6, 3, false), None);
        assert!(Tiling::new(30, 7, 3, false).is_some());
    }

    proptest::proptest! {
        /// Whatever the tiles: weights of each cell sum to what is divided by, exactly.
        #[test]
        fn a_constant_and_the_axis_itself_come_back_exactly(
            length in 1_usize..70, tile in 1_usize..40, halo in 0_usize..9, wraps: bool,
            margin in 0_usize..4, constant: f32,
        ) {
            proptest::prop_assume!(constant.is_finite());
            let plain = Tiling::new(length, tile, halo, wraps);
            let Some(tiling) = plain.and_then(|plain| plain.with_margin(margin)) else {
                return Ok(());
            };
            let value = |cell: usize| constant * (cell as f32 + 0.1);
            let mut same = vec![0.0_f64; length];
            let mut own = vec![0.0_f64; length];
            for tile in 0..tiling.count() {
                for cell in 0..tiling.given() {
                    if let Some(target) = tiling.target(tile, cell) {
                        same[target] += tiling.weight(cell) * f64::from(constant);
                        let read = value(tiling.source(tile, cell + margin));
                        own[target] += tiling.weight(cell) * f64::from(read);
                    }
                }
            }
            for cell in 0..length {
                if tiling.sum(cell) == 0.0 {
                    let from_end = cell.min(length - 1 - cell);
                    proptest::prop_assert!(from_end < margin && !wraps);
                    continue;
                }
                proptest::prop_assert_eq!((same[cell] / tiling.sum(cell)) as f32, constant);
                let expected = value(cell);
                if expected.is_finite() {
                    proptest::prop_assert_eq!((own[cell] / tiling.sum(cell)) as f32, expected);
                }
            }
        }
    }
}
