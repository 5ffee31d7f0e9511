//! Where the chunks of a variable lie, sorted so that one is found by its number.

use crate::library::StoredChunk;

use super::damage::Damage;
use super::decode::Extent;
use super::region::strides;

/// The chunks of one variable that were ever written.
#[derive(Debug)]
pub(super) struct ChunkIndex {
    /// Sorted by the number of the chunk in the grid of chunks, last dimension fastest.
    entries: Vec<(usize, Extent)>,
    grid_strides: Vec<usize>,
}

impl ChunkIndex {
    /// Sorts and checks what the library found.
    ///
    /// `base` is where addresses count from and `file_bytes` the end of the file.
    pub(super) fn new(
        chunks: &[StoredChunk],
        chunk_shape: &[usize],
        extents: &[usize],
        base: u64,
        file_bytes: u64,
    ) -> Result<Self, Damage> {
        let grid: Vec<usize> = extents
            .iter()
            .zip(chunk_shape)
            .map(|(extent, len)| extent.div_ceil(*len))
            .collect();
        if grid
            .iter()
            .try_fold(1_usize, |count, &len| count.checked_mul(len))
            .is_none()
        {
            let problem = "the array claims more chunks than there can be";
            return Err(Damage::of_header(0..file_bytes, problem));
        }
        let grid_strides = strides(&grid);
        let mut entries = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let address = chunk.address.saturating_add(base);
            let bytes = address..address.saturating_add(chunk.size_bytes);
            let mut number = 0;
            for (dim, &offset) in chunk.offset.iter().enumerate() {
                let place = offset as usize / chunk_shape[dim];
                if place >= grid[dim] {
                    let problem = format!("a chunk lies at {:?}, outside", chunk.offset);
                    return Err(Damage::of_header(bytes, problem));
                }
                number += place * grid_strides[dim];
            }
            if bytes.end > file_bytes {
                let problem = format!(
                    "the chunk at {:?} ends beyond the end of the file: it is cut short",
                    chunk.offset
                );
                return Err(Damage::of_header(bytes, problem));
            }
            let size_bytes = chunk.size_bytes as usize;
            entries.push((
                number,
                Extent {
                    address,
                    size_bytes,
                    filter_mask: chunk.filter_mask,
                },
            ));
        }
        entries.sort_unstable_by_key(|(number, _)| *number);
        Ok(Self {
            entries,
            grid_strides,
        })
    }

    /// The number of the chunk at a place of the grid.
    pub(super) fn number(&self, place: &[usize]) -> usize {
        place
            .iter()
            .zip(&self.grid_strides)
            .map(|(place, stride)| place * stride)
            .sum()
    }

    /// Where a chunk lies, if it was ever written.
    pub(super) fn find(&self, number: usize) -> Option<Extent> {
        let found = self
            .entries
            .binary_search_by_key(&number, |(number, _)| *number);
        found.ok().map(|index| self.entries[index].1)
    }
}
