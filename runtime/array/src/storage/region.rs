//! Boxes of cells: walking one in runs that are contiguous both where they come from and where
//! they go, and finding the chunks that a box touches.

use std::ops::Range;

/// How many cells a box has.
pub(crate) fn cell_count(region: &[Range<usize>]) -> usize {
    region.iter().map(ExactSizeIterator::len).product()
}

/// A place inside an array: the array's shape, and the first cell meant.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) start: &'a [usize],
}

/// Calls `visit(from, to, length)` for every contiguous run of a box of `extent` cells: offsets
/// in elements of the array it comes from and of the array it goes to.
pub(crate) fn for_each_run(
    extent: &[usize],
    from: Place<'_>,
    to: Place<'_>,
    mut visit: impl FnMut(usize, usize, usize),
) {
    if extent.contains(&0) {
        return;
    }
    // Trailing dimensions that the box fills in both arrays are one run.
    let mut outer = extent.len();
    let mut length = 1;
    while outer > 0 {
        outer -= 1;
        length *= extent[outer];
        if extent[outer] != from.shape[outer] || extent[outer] != to.shape[outer] {
            break;
        }
    }
    let (from_strides, to_strides) = (strides(from.shape), strides(to.shape));
    let mut from_offset = dot(from.start, &from_strides);
    let mut to_offset = dot(to.start, &to_strides);
    let mut index = vec![0; outer];
    loop {
        visit(from_offset, to_offset, length);
        let mut dim = outer;
        loop {
            if dim == 0 {
                return;
            }
            dim -= 1;
            index[dim] += 1;
            from_offset += from_strides[dim];
            to_offset += to_strides[dim];
            if index[dim] < extent[dim] {
                break;
            }
            from_offset -= from_strides[dim] * extent[dim];
            to_offset -= to_strides[dim] * extent[dim];
            index[dim] = 0;
        }
    }
}

/// The chunk numbers along each dimension that a box touches; the box is not empty.
pub(crate) fn touched_chunks(region: &[Range<usize>], chunk: &[usize]) -> Vec<Range<usize>> {
    region
        .iter()
        .zip(chunk)
        .map(|(range, &len)| range.start / len..(range.end - 1) / len + 1)
        .collect()
}

/// Calls `visit` with every index of a box, last dimension fastest, until it fails.
pub(crate) fn for_each_index<E>(
    region: &[Range<usize>],
    mut visit: impl FnMut(&[usize]) -> Result<(), E>,
) -> Result<(), E> {
    if region.iter().any(Range::is_empty) {
        return Ok(());
    }
    let mut index: Vec<usize> = region.iter().map(|range| range.start).collect();
    loop {
        visit(&index)?;
        let mut dim = region.len();
        loop {
            if dim == 0 {
                return Ok(());
            }
            dim -= 1;
            index[dim] += 1;
            if index[dim] < region[dim].end {
                break;
            }
            index[dim] = region[dim].start;
        }
    }
}

/// Elements between neighbours along each dimension. Wraps for shapes that cannot exist in
/// memory, where no run is ever visited.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for dim in (1..shape.len()).rev() {
        strides[dim - 1] = strides[dim].wrapping_mul(shape[dim]);
    }
    strides
}

fn dot(index: &[usize], strides: &[usize]) -> usize {
    index
        .iter()
        .zip(strides)
        .map(|(index, stride)| index * stride)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(extent: &[usize], from: Place<'_>, to: Place<'_>) -> Vec<(usize, usize, usize)> {
        let mut found = Vec::new();
        for_each_run(extent, from, to, |from, to, length| {
            found.push((from, to, length))
        });
        found
    }

    #[test]
    fn full_trailing_dimensions_are_one_run() {
        let whole = Place {
            shape: &[2, 3, 4],
            start: &[0, 0, 0],
        };
        assert_eq!(runs(&[2, 3, 4], whole, whole), [(0, 0, 24)]);
        let scalar = Place {
            shape: &[],
            start: &[],
        };
        assert_eq!(runs(&[], scalar, scalar), [(0, 0, 1)]);
        assert_eq!(runs(&[2, 0, 4], whole, whole), []);
    }

    #[test]
    fn a_box_cut_in_the_middle_is_many_runs() {
        let from = Place {
            shape: &[4, 5],
            start: &[1, 2],
        };
        let to = Place {
            shape: &[2, 2],
            start: &[0, 0],
        };
        assert_eq!(runs(&[2, 2], from, to), [(7, 0, 2), (12, 2, 2)]);
        let rows = Place {
            shape: &[3, 5],
            start: &[1, 0],
        };
        let target = Place {
            shape: &[2, 5],
            start: &[0, 0],
        };
        assert_eq!(runs(&[2, 5], rows, target), [(5, 0, 10)]);
    }

    #[test]
    fn chunks_are_those_that_hold_a_cell() {
        assert_eq!(touched_chunks(&[0..1, 4..9], &[1, 4]), [0..1, 1..3]);
        let mut seen = Vec::new();
        let all = for_each_index(&[0..2, 1..3], |index| {
            seen.push(index.to_vec());
            Ok::<(), ()>(())
        });
        assert_eq!(all, Ok(()));
        assert_eq!(seen, [[0, 1], [0, 2], [1, 1], [1, 2]]);
    }
}
