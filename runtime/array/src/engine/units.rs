//! How work is cut: into pieces that follow the files' chunks, dealt to ranks by size.

use std::ops::Range;

use crate::plan::expr::Expr;
use crate::plan::region::{self, Region};

/// Cells that a unit pulls from files, unless one storage chunk has more: 4 MiB of f32.
pub(crate) const UNIT_CELLS_MAX: usize = 1 << 20;

/// The same where steps are reduced: what is kept of a unit has to be small beside its data,
/// for it is made, merged and let go once for each. Memory does not grow with it.
pub(crate) const REDUCED_CELLS_MAX: usize = 1 << 22;

/// How an array is cut along one axis and across the others.
#[derive(Clone, Debug)]
pub(crate) struct Cutting {
    /// Ranges of the axis.
    pub(crate) blocks: Vec<Range<usize>>,
    /// Regions of all dimensions with all of the axis.
    pub(crate) columns: Vec<Region>,
}

/// Cuts an expression along `axis` into blocks of at most so many cells and, only if one chunk's
/// thickness times everything else is more than [`UNIT_CELLS_MAX`], across the others.
pub(crate) fn cut(expr: &Expr, axis: usize, block_cells_max: usize) -> Cutting {
    let pulled = expr.pulled_per_cell().max(1);
    let cells_max = (UNIT_CELLS_MAX / pulled).max(1);
    let shape = expr.shape();
    let mut cuts: Vec<Vec<usize>> = (0..shape.len()).map(|dim| expr.cuts(dim)).collect();
    let along = std::mem::take(&mut cuts[axis]);
    let thickness = along
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(1)
        .max(1);
    // For the columns the axis counts as one chunk thick.
    cuts[axis] = vec![0, thickness];
    let mut columns = region::split(&cuts, cells_max, &[axis]);
    let mut widest = 1;
    for column in &mut columns {
        widest = widest.max(region::cells(column) / thickness);
        column[axis] = 0..shape[axis];
    }
    let blocks = region::blocks(&along, (block_cells_max / pulled / widest).max(1));
    Cutting { blocks, columns }
}

/// Splits `0..weights.len()` into as many contiguous ranges as there are ranks, of about equal
/// weight.
pub(crate) fn deal(weights: &[u64], ranks: usize) -> Vec<Range<usize>> {
    // Everything weighs something, so that no rank gets all the units of no bytes.
    let total: u128 = weights.iter().map(|&weight| u128::from(weight) + 1).sum();
    let mut ranges = Vec::with_capacity(ranks);
    let (mut next, mut passed) = (0, 0_u128);
    for rank in 0..ranks {
        let goal = total * (rank as u128 + 1) / ranks as u128;
        let start = next;
        while next < weights.len() && (passed < goal || rank + 1 == ranks) {
            let weight = u128::from(weights[next]) + 1;
            // A unit goes to the rank in whose share most of it lies.
            if passed + weight / 2 > goal && rank + 1 < ranks {
                break;
            }
            passed += weight;
            next += 1;
        }
        ranges.push(start..next);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn every_unit_goes_to_one_rank(
            weights in proptest::collection::vec(0_u64..1000, 0..50),
            ranks in 1_usize..9,
        ) {
            let ranges = deal(&weights, ranks);
            proptest::prop_assert_eq!(ranges.len(), ranks);
            let mut next = 0;
            for range in &ranges {
                proptest::prop_assert_eq!(range.start, next);
                next = range.end;
            }
            proptest::prop_assert_eq!(next, weights.len());
        }
    }

    #[test]
    fn ranks_get_equal_shares() {
        assert_eq!(deal(&[10; 8], 4), [0..2, 2..4, 4..6, 6..8]);
        assert_eq!(deal(&[30, 10, 10, 10], 2), [0..1, 1..4]);
        assert_eq!(deal(&[10], 3).iter().map(Range::len).sum::<usize>(), 1);
    }
}
