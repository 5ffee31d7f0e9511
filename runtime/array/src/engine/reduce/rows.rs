//! Columns of a result put side by side before they are written.
//!
//! Called by [`Run::reduce_to_files`](super::Run::reduce_to_files). The chunks of a new file
//! are whole fields; to write one in parts would inflate and deflate it again for every part.

use std::ops::Range;

use crate::error::CubeError;
use crate::plan::region::{self, Region};

/// A result above this size is written column by column all the same.
const WHOLE_BYTES_MAX: usize = 96 << 20;

/// Writes a region.
type Write<'a> = dyn FnMut(&Region, &[f64]) -> Result<(), CubeError> + 'a;

/// Some steps of a variable, of which columns come one after the other.
#[derive(Default)]
pub(super) struct Rows {
    steps: Range<usize>,
    values: Vec<f64>,
    filled: usize,
}

impl Rows {
    /// Takes a column; `write` gets it at once if it is all there is or the whole is too large,
    /// else the whole when all columns have come.
    pub(super) fn put(
        &mut self,
        shape: &[usize],
        axis: usize,
        region: Region,
        values: Vec<f64>,
        write: &mut Write<'_>,
    ) -> Result<(), CubeError> {
        let mut whole: Region = shape.iter().map(|&len| 0..len).collect();
        whole[axis] = region[axis].clone();
        let cells = region::cells(&whole);
        if values.len() == cells || cells.saturating_mul(8) > WHOLE_BYTES_MAX {
            return write(&region, &values);
        }
        if self.values.is_empty() || self.steps != whole[axis] {
            *self = Self {
                steps: whole[axis].clone(),
                values: vec![f64::NAN; cells],
                filled: 0,
            };
        }
        let mut inside = region;
        inside[axis] = 0..whole[axis].len();
        place(&inside, &values, &region::lens(&whole), &mut self.values);
        self.filled += values.len();
        if self.filled < cells {
            return Ok(());
        }
        write(&whole, &std::mem::take(self).values)
    }
}

/// Copies a region's values into an array.
pub(super) fn place(region: &Region, values: &[f64], shape: &[usize], array: &mut [f64]) {
    let strides = region::strides(shape);
    let origin: Vec<usize> = region.iter().map(|range| range.start).collect();
    let start = region::place(&origin, &strides);
    let lens = region::lens(region);
    let row = lens.last().copied().unwrap_or(1);
    let mut rows = values.chunks(row.max(1));
    let Ok(()) = region::for_each_index(&lens[..lens.len() - 1], |index| {
        let to = start + region::place(index, &strides);
        if let Some(values) = rows.next() {
            array[to..to + row].copy_from_slice(values);
        }
        Ok::<(), std::convert::Infallible>(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_written_once_and_whole() {
        let mut rows = Rows::default();
        let mut written = Vec::new();
        let shape = [4, 1, 3];
        for steps in [0..2, 2..4] {
            for (column, values) in [(0..1, vec![1.0, 4.0]), (1..3, vec![2.0, 3.0, 5.0, 6.0])] {
                let region = vec![steps.clone(), 0..1, column];
                let mut write = |region: &Region, values: &[f64]| {
                    written.push((region.clone(), values.to_vec()));
                    Ok(())
                };
                rows.put(&shape, 0, region, values, &mut write).unwrap();
            }
        }
        let whole = |steps| vec![steps, 0..1, 0..3];
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(
            written,
            [(whole(0..2), values.clone()), (whole(2..4), values)]
        );
    }
}
