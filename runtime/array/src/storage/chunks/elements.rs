//! The entries of arrays of chunks: an address each, and of filtered chunks size and mask.

use super::bytes::{Cursor, UNDEFINED};
use super::{ChunkedArray, Numbering};
use crate::library::StoredChunk;

const ADDRESS_BYTES: usize = 8;
const MASK_BYTES: usize = 4;

/// How an entry is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// An address; all chunks have the size of their shape.
    Plain { chunk_bytes: u64 },
    /// An address, a size of so many bytes, and a filter mask.
    Filtered { length_bytes: usize },
}

impl Entry {
    /// By the type of an array and the size of its entries, if these make sense.
    pub(super) fn of(kind: u8, entry_bytes: u64, array: ChunkedArray<'_>) -> Option<Self> {
        let entry_bytes = usize::try_from(entry_bytes).ok()?;
        match kind {
            0 if entry_bytes == ADDRESS_BYTES && !array.is_filtered => Some(Self::Plain {
                chunk_bytes: array.chunk_bytes(),
            }),
            1 if array.is_filtered => {
                let length_bytes = entry_bytes.checked_sub(ADDRESS_BYTES + MASK_BYTES)?;
                (1..=8)
                    .contains(&length_bytes)
                    .then_some(Self::Filtered { length_bytes })
            }
            _ => None,
        }
    }

    pub(super) fn size_bytes(self) -> usize {
        match self {
            Self::Plain { .. } => ADDRESS_BYTES,
            Self::Filtered { length_bytes } => ADDRESS_BYTES + length_bytes + MASK_BYTES,
        }
    }

    /// Address, size and filter mask.
    pub(super) fn read(self, cursor: &mut Cursor<'_>) -> Option<(u64, u64, u32)> {
        let address = cursor.number(ADDRESS_BYTES)?;
        Some(match self {
            Self::Plain { chunk_bytes } => (address, chunk_bytes, 0),
            Self::Filtered { length_bytes } => {
                let size_bytes = cursor.number(length_bytes)?;
                (address, size_bytes, cursor.number(MASK_BYTES)? as u32)
            }
        })
    }
}

/// Collects the chunks that entries lead to.
pub(super) struct Elements<'a> {
    entry: Entry,
    numbering: &'a Numbering,
    array: ChunkedArray<'a>,
    pub(super) found: Vec<StoredChunk>,
}

impl<'a> Elements<'a> {
    pub(super) fn new(entry: Entry, numbering: &'a Numbering, array: ChunkedArray<'a>) -> Self {
        Self {
            entry,
            numbering,
            array,
            found: Vec::new(),
        }
    }

    /// Takes the entries of the chunks from number `first` on. Those that were never written
    /// and those outside the array as it is now are left out.
    pub(super) fn add(&mut self, first: u64, bytes: &[u8]) {
        let entries = bytes.chunks_exact(self.entry.size_bytes());
        for (place, entry) in entries.enumerate() {
            let number = first.saturating_add(place as u64);
            let Some((address, size_bytes, filter_mask)) = self.entry.read(&mut Cursor(entry))
            else {
                continue;
            };
            if address == UNDEFINED {
                continue;
            }
            if let Some(offset) = self.numbering.offset(number, self.array) {
                self.found.push(StoredChunk {
                    offset,
                    filter_mask,
                    address,
                    size_bytes,
                });
            }
        }
    }
}
