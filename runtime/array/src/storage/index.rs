//! Where the chunks of a variable lie, sorted so that one is found by its number.

use std::ops::Range;

use crate::library::StoredChunk;

use super::damage::Damage;
use super::decode::Extent;
use super::region::{for_each_index, strides};

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

    /// How many bytes the chunks have that lie in these ranges of the grid.
    pub(super) fn stored_bytes(&self, touched: &[Range<usize>]) -> u64 {
        let places = touched
            .iter()
            .map(ExactSizeIterator::len)
            .fold(1, usize::saturating_mul);
        let mut bytes = 0;
        // A header may claim far more chunks than there are.
        if places > self.entries.len() {
            let lies_in = |number: usize| {
                let mut rest = number;
                touched
                    .iter()
                    .zip(&self.grid_strides)
                    .all(|(range, &stride)| {
                        let place = rest / stride.max(1);
                        rest %= stride.max(1);
                        range.contains(&place)
                    })
            };
            let inside = self.entries.iter().filter(|(number, _)| lies_in(*number));
            return inside.map(|(_, extent)| extent.size_bytes as u64).sum();
        }
        let _: Result<(), ()> = for_each_index(touched, |place| {
            let extent = self.find(self.number(place));
            bytes += extent.map_or(0, |extent| extent.size_bytes as u64);
            Ok(())
        });
        bytes
    }

    /// Where a chunk lies, if it was ever written.
    pub(super) fn find(&self, number: usize) -> Option<Extent> {
        let found = self
            .entries
            .binary_search_by_key(&number, |(number, _)| *number);
        found.ok().map(|index| self.entries[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_by_chunks_or_by_entries() {
        let chunk = |row: u64, column: u64, size_bytes| StoredChunk {
            offset: vec![row * 2, column * 3],
            filter_mask: 0,
            address: 0,
            size_bytes,
        };
        let chunks = [
            chunk(0, 0, 1),
            chunk(1, 2, 10),
            chunk(3, 1, 100),
            chunk(3, 3, 1000),
        ];
        let index = ChunkIndex::new(&chunks, &[2, 3], &[8, 12], 0, 2000).unwrap();
        // Fewer places than entries, and more.
        for (rows, columns, expected) in [
            (0..1, 0..1, 1),
            (3..4, 1..4, 1100),
            (0..4, 0..4, 1111),
            (1..4, 1..3, 110),
            (0..2, 1..4, 10),
            (0..0, 0..4, 0),
        ] {
            let touched = [rows.clone(), columns.clone()];
            assert_eq!(
                index.stored_bytes(&touched),
                expected,
                "{rows:?} {columns:?}"
            );
        }
    }
}
