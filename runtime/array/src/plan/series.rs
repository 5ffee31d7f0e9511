//! Computations that need the whole series of a cell: what they are, and how an array is cut
//! into bands of cells whose series fit in memory.
//!
//! The families of [`crate::ops`] make a [`Series`], [`crate::engine`] computes it.

use std::fmt::Debug;
use std::sync::Arc;

use super::expr::Expr;
use super::region::{self, Region};

/// What a rank may keep of a band of cells unless told otherwise.
pub(crate) const MEMORY_BYTES: u64 = 256 << 20;

/// Computes the result of one cell from its series.
pub(crate) trait SeriesKernel: Debug + Send + Sync {
    /// `inputs` are the cell's series in each child, in the order of time, NaN where missing;
    /// `out` gets a number for each step of the result.
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]);
}

/// A function of the whole series of each cell.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// They differ at most in the length of time.
    pub(crate) children: Vec<Expr>,
    /// Which dimension is time.
    pub(crate) axis: usize,
    /// Steps of the result.
    pub(crate) steps: usize,
    pub(crate) kernel: Arc<dyn SeriesKernel>,
}

impl Series {
    pub(crate) fn shape(&self) -> Vec<usize> {
        let mut shape = self.children[0].shape();
        shape[self.axis] = self.steps;
        shape
    }

    /// Whether one reading of the data serves both.
    pub(crate) fn reads_as(&self, other: &Self) -> bool {
        self.axis == other.axis
            && self.children.len() == other.children.len()
            && self
                .children
                .iter()
                .zip(&other.children)
                .all(|(left, right)| left.is_same(right))
    }

    /// Bytes kept of one cell while a band is computed.
    pub(crate) fn bytes_per_cell(&self, together: usize) -> usize {
        let of_child = |child: &Expr| {
            let sample = if child.is_single() { 4 } else { 8 };
            child.shape()[self.axis] * sample
        };
        let read: usize = self.children.iter().map(of_child).sum();
        // The result is there twice: cell by cell and in the order of the file.
        read + 16 * self.steps * together
    }

    /// Bands of about equally many cells, each of which fits `memory_bytes` if one row of cells
    /// does, and at least `count_min` of them if there are as many rows. All have the whole of
    /// time. They are cut between storage chunks if that is fine enough.
    pub(crate) fn bands(
        &self,
        together: usize,
        memory_bytes: u64,
        count_min: usize,
    ) -> Vec<Region> {
        let shape = self.children[0].shape();
        let others = shape
            .iter()
            .enumerate()
            .filter(|(dim, _)| *dim != self.axis);
        let cells: usize = others.map(|(_, len)| len).product();
        let memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let fitting = (memory_bytes / self.bytes_per_cell(together).max(1)).max(1);
        let cells_max = fitting.min(cells.div_ceil(count_min.max(1))).max(1);
        let cut = |cuts: &dyn Fn(usize) -> Vec<usize>| {
            let mut cuts: Vec<Vec<usize>> = (0..shape.len()).map(cuts).collect();
            // Time is not cut: for the size of a band it counts as one step.
            cuts[self.axis] = vec![0, 1];
            region::split(&cuts, cells_max, &[self.axis])
        };
        let mut bands = cut(&|dim| self.children[0].cuts(dim));
        if bands.iter().any(|band| region::cells(band) > cells_max) {
            bands = cut(&|dim| (0..=shape[dim]).collect());
        }
        for band in &mut bands {
            band[self.axis] = 0..shape[self.axis];
        }
        bands
    }

    /// How often a chunk of the file is read for bands that fit, and the memory that would need
    /// one reading.
    pub(crate) fn passes(&self, memory_bytes: u64) -> (usize, u64) {
        let bands = self.bands(1, memory_bytes, 1);
        let child = &self.children[0];
        let whole: Region = child.shape().iter().map(|&len| 0..len).collect();
        let read: u64 = bands.iter().map(|band| child.stored_bytes(band)).sum();
        let once = child.stored_bytes(&whole).max(1);
        let cells = region::cells(&whole) / whole[self.axis].len().max(1);
        let passes = read.div_ceil(once) as usize;
        (passes, cells as u64 * self.bytes_per_cell(1) as u64)
    }
}
