//! Boxes of cells in arrays whose last dimension is fastest.

use std::ops::Range;

/// One range a dimension.
pub(crate) type Region = Vec<Range<usize>>;

/// The lengths of a region.
pub(crate) fn lens(region: &[Range<usize>]) -> Vec<usize> {
    region.iter().map(Range::len).collect()
}

/// How many cells a region has.
pub(crate) fn cells(region: &[Range<usize>]) -> usize {
    region.iter().map(Range::len).product()
}

/// The distance in cells between neighbours along each dimension.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for dim in (1..shape.len()).rev() {
        strides[dim - 1] = strides[dim] * shape[dim];
    }
    strides
}

/// Calls `visit` with every index below `lens`, the last dimension fastest; once with an empty
/// index if there are no dimensions.
pub(crate) fn for_each_index<E>(
    lens: &[usize],
    mut visit: impl FnMut(&[usize]) -> Result<(), E>,
) -> Result<(), E> {
    if lens.contains(&0) {
        return Ok(());
    }
    let mut index = vec![0; lens.len()];
    loop {
        visit(&index)?;
        let Some(dim) = (0..lens.len())
            .rev()
            .find(|&dim| index[dim] + 1 < lens[dim])
        else {
            return Ok(());
        };
        index[dim] += 1;
        index[dim + 1..].fill(0);
    }
}

/// The place of an index, by strides.
pub(crate) fn place(index: &[usize], strides: &[usize]) -> usize {
    index
        .iter()
        .zip(strides)
        .map(|(index, stride)| index * stride)
        .sum()
}

/// Joins neighbouring intervals between `cuts` into ranges of at most `len_max`; an interval
/// that is longer stays whole.
pub(crate) fn blocks(cuts: &[usize], len_max: usize) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for interval in cuts.windows(2) {
        match blocks.last_mut() {
            Some(block) if interval[1] - block.start <= len_max => block.end = interval[1],
            _ => blocks.push(interval[0]..interval[1]),
        }
    }
    blocks
}

/// Splits a shape into regions of about `cells_max` cells that are cut only at `cuts` and never
/// along the dimensions that `keep` names. The slowest dimensions are split first, so that
/// regions are as contiguous as can be. The result is in row-major order.
pub(crate) fn split(cuts: &[Vec<usize>], cells_max: usize, keep: &[usize]) -> Vec<Region> {
    let lens: Vec<usize> = cuts
        .iter()
        .map(|cuts| cuts.last().copied().unwrap_or(0))
        .collect();
    // What one step along the split dimension carries: kept dimensions, faster ones, and the
    // blocks already chosen along slower ones.
    let mut carried: usize = lens.iter().product();
    let mut ranges: Vec<Vec<Range<usize>>> = Vec::with_capacity(lens.len());
    for (dim, cuts) in cuts.iter().enumerate() {
        if keep.contains(&dim) || carried <= cells_max || lens[dim] == 0 {
            ranges.push(std::iter::once(0..lens[dim]).collect());
            continue;
        }
        let per_index = carried / lens[dim];
        let chosen = blocks(cuts, (cells_max / per_index.max(1)).max(1));
        carried = per_index * chosen.iter().map(Range::len).max().unwrap_or(1);
        ranges.push(chosen);
    }
    let counts: Vec<usize> = ranges.iter().map(Vec::len).collect();
    let mut regions = Vec::with_capacity(counts.iter().product());
    let Ok(()) = for_each_index(&counts, |index| {
        regions.push(
            index
                .iter()
                .zip(&ranges)
                .map(|(&i, ranges)| ranges[i].clone())
                .collect(),
        );
        Ok::<(), std::convert::Infallible>(())
    });
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_join_intervals_but_never_cut_them() {
        assert_eq!(blocks(&[0, 4, 8, 10], 8), [0..8, 8..10]);
        assert_eq!(blocks(&[0, 4, 8, 10], 3), [0..4, 4..8, 8..10]);
        assert!(blocks(&[0], 3).is_empty());
    }

    #[test]
    fn the_slowest_dimensions_are_split_first() {
        let cuts = [vec![0, 1, 2, 3, 4], vec![0, 5, 10]];
        let found = split(&cuts, 20, &[]);
        assert_eq!(found, [vec![0..2, 0..10], vec![2..4, 0..10]]);
        let found = split(&cuts, 5, &[]);
        assert_eq!(found.len(), 8);
        assert_eq!(found[1], [0..1, 5..10]);
        let found = split(&cuts, 20, &[0]);
        assert_eq!(found, [vec![0..4, 0..5], vec![0..4, 5..10]]);
    }

    #[test]
    fn a_scalar_has_one_index() {
        let mut count = 0;
        let Ok(()) = for_each_index(&[], |_| {
            count += 1;
            Ok::<(), std::convert::Infallible>(())
        });
        assert_eq!(count, 1);
        assert_eq!(split(&[], 10, &[]), [Region::new()]);
    }
}
