//! Chunks that come in parts, put together in memory before they are stored.
//!
//! Called by the [`Writer`](super::Writer). What does not fit in memory is stored unfinished and
//! loaded again for its next part; the result has the same bytes.

use std::collections::HashMap;

use super::layout::Layout;
use crate::storage::region::{Place, for_each_run};

/// Plain bytes of unfinished chunks that are kept in memory.
const HELD_BYTES_MAX: usize = 96 << 20;

/// A variable and a place in its grid of chunks.
pub(super) type Key = (usize, Vec<usize>);

/// A chunk as plain elements.
pub(super) type Plain = (Key, Vec<u8>);

/// A box inside a chunk, as plain elements.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) start: &'a [usize],
    pub(super) extent: &'a [usize],
    pub(super) bytes: &'a [u8],
}

/// The unfinished chunks of a file.
#[derive(Debug, Default)]
pub(super) struct Partials {
    held: HashMap<Key, Held>,
    held_bytes: usize,
    clock: u64,
    /// Cells of unfinished chunks that are stored.
    stored_cells: HashMap<Key, usize>,
}

#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    cells: usize,
    /// When its last part came.
    touched: u64,
}

impl Partials {
    /// Adds a part; the chunk if it is complete. `stored` gives what is already in the file for a
    /// chunk that is not held.
    pub(super) fn add<E>(
        &mut self,
        key: Key,
        layout: &Layout,
        part: Part<'_>,
        stored: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Plain>, E> {
        self.clock += 1;
        let chunk = layout.chunk_shape.as_deref().unwrap_or_default();
        if !self.held.contains_key(&key) {
            let bytes = stored()?.unwrap_or_else(|| layout.empty_chunk());
            self.held_bytes += bytes.len();
            let cells = self.stored_cells.remove(&key).unwrap_or(0);
            let new = Held {
                bytes,
                cells,
                touched: 0,
            };
            self.held.insert(key.clone(), new);
        }
        let Some(held) = self.held.get_mut(&key) else {
            return Ok(None);
        };
        held.touched = self.clock;
        let element_bytes = layout.dtype.size_bytes();
        let origin = vec![0; chunk.len()];
        let from = Place {
            shape: part.extent,
            start: &origin,
        };
        let to = Place {
            shape: chunk,
            start: part.start,
        };
        for_each_run(part.extent, from, to, |from, to, length| {
            let bytes = &part.bytes[from * element_bytes..][..length * element_bytes];
            held.bytes[to * element_bytes..][..bytes.len()].copy_from_slice(bytes);
        });
        held.cells += part.extent.iter().product::<usize>();
        if held.cells < layout.cells_of_chunk(&key.1) {
            return Ok(None);
        }
        Ok(self.take(&key).map(|bytes| (key, bytes)))
    }

    /// Forgets a chunk that is written as a whole.
    pub(super) fn forget(&mut self, key: &Key) {
        self.take(key);
        self.stored_cells.remove(key);
    }

    /// Those that must be stored unfinished because there are too many: the half that waited
    /// longest.
    pub(super) fn excess(&mut self) -> Vec<Plain> {
        if self.held_bytes <= HELD_BYTES_MAX {
            return Vec::new();
        }
        let mut keys: Vec<(u64, Key)> = self
            .held
            .iter()
            .map(|(key, held)| (held.touched, key.clone()))
            .collect();
        keys.sort_unstable();
        keys.truncate(keys.len().div_ceil(2));
        let keys = keys.into_iter().map(|(_, key)| key);
        let taken = keys.filter_map(|key| {
            let cells = self.held.get(&key)?.cells;
            let bytes = self.take(&key)?;
            self.stored_cells.insert(key.clone(), cells);
            Some((key, bytes))
        });
        taken.collect()
    }

    /// All that will get no more parts, in the order of their places.
    pub(super) fn rest(&mut self) -> Vec<Plain> {
        let held = std::mem::take(&mut self.held).into_iter();
        let mut rest: Vec<Plain> = held.map(|(key, held)| (key, held.bytes)).collect();
        rest.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        self.held_bytes = 0;
        rest
    }

    fn take(&mut self, key: &Key) -> Option<Vec<u8>> {
        let held = self.held.remove(key)?;
        self.held_bytes -= held.bytes.len();
        Some(held.bytes)
    }
}
