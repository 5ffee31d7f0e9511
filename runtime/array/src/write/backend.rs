//! What the formats that are written have in common.

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;

use super::WriteError;
use super::layout::Layout;

/// A chunk as it is stored, after its place in the grid of chunks.
pub(super) type Encoded = (Vec<usize>, Vec<u8>);

/// A file being made: dropping it leaves no trace.
pub(super) trait Backend: Debug + Send + Sync {
    /// Stores chunks, in their order. One of no bytes is not stored.
    fn put_chunks(
        &self,
        variable: usize,
        layout: &Layout,
        chunks: Vec<Encoded>,
    ) -> Result<(), WriteError>;

    /// What is stored of a chunk, if anything.
    fn stored_chunk(
        &self,
        variable: usize,
        layout: &Layout,
        place: &[usize],
    ) -> Result<Option<Vec<u8>>, WriteError>;

    /// Writes a region of a variable without chunks, from plain elements.
    fn put_region(
        &self,
        variable: usize,
        layout: &Layout,
        region: &[Range<usize>],
        bytes: &[u8],
    ) -> Result<(), WriteError>;

    /// Writes all texts of a variable, as many as it has.
    fn put_texts(
        &self,
        variable: usize,
        layout: &Layout,
        texts: &[String],
    ) -> Result<(), WriteError>;

    /// Where other processes can store chunks of the same file; `None` if only this one can.
    fn meeting_point(&self) -> Option<&Path>;

    /// Makes durable what this process has written so far.
    fn sync(&self) -> Result<(), WriteError>;

    /// Puts the file under its name. Each process has synced what it wrote.
    fn commit(self: Box<Self>) -> Result<(), WriteError>;
}
