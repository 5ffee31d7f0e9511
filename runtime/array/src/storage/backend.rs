//! What each kind of file does for a [`Source`](super::Source): one trait, and what opening gives.
//!
//! `Source` checks what is asked (kinds, shapes, buffers) before it calls, so that a backend
//! answers only questions that make sense for its data.

use std::fmt::Debug;
use std::ops::Range;

use super::StorageError;
use super::convert::Output;
use crate::dataset::Dataset;

/// A file of one kind, open for reading from many threads at once.
pub(super) trait Backend: Debug + Send + Sync {
    /// The shape of the storage chunks; `None` when the variable is stored in one piece.
    fn chunk_shape(&self, variable: usize) -> Option<Vec<usize>>;

    /// How many bytes of the file a region lies in.
    fn stored_bytes(&self, variable: usize, region: &[Range<usize>]) -> u64;

    /// Whether a numeric variable holds floats of single precision, packed or not.
    fn is_f32(&self, variable: usize) -> bool;

    /// Reads a region of a numeric variable, which lies within its dimensions; `out` has its
    /// cells, and rounds if it is of single precision.
    fn read(
        &self,
        variable: usize,
        region: &[Range<usize>],
        out: Buffer<'_>,
    ) -> Result<(), StorageError>;

    /// Fails when a variable has far more bytes by its shape than the file can stand for: what
    /// is read whole is checked first.
    fn check_size(&self, variable: usize) -> Result<(), StorageError>;

    /// Reads the whole of a text variable: `NC_CHAR` by rows, `NC_STRING` by elements.
    fn read_text(&self, variable: usize) -> Result<Vec<String>, StorageError>;

    /// Fails when the file is no longer the one that was opened.
    fn check_unchanged(&self) -> Result<(), StorageError>;
}

/// A file just opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) backend: Box<dyn Backend>,
    pub(super) dataset: Dataset,
    /// What was left out, in words.
    pub(super) notes: Vec<String>,
}

/// Where the cells of a region go.
pub(super) enum Buffer<'a> {
    Single(&'a mut [f32]),
    Double(&'a mut [f64]),
}

/// The precisions that a backend reads in, so that callers can be written once for both.
pub(super) trait Precision: Output {
    /// Cells as a backend takes them.
    fn buffer(out: &mut [Self]) -> Buffer<'_>;
}

impl Precision for f64 {
    fn buffer(out: &mut [Self]) -> Buffer<'_> {
        Buffer::Double(out)
    }
}

impl Precision for f32 {
    fn buffer(out: &mut [Self]) -> Buffer<'_> {
        Buffer::Single(out)
    }
}
