//! The B-tree of version 1, in which NetCDF-4 files keep their chunks.

use super::ChunkedArray;
use super::bytes::{Bytes, Cursor, Visited};
use crate::library::StoredChunk;

use super::super::damage::Damage;

const HEADER_BYTES: u64 = 24;

/// What a walk needs and finds.
struct Walk<'a> {
    bytes: Bytes<'a>,
    rank: usize,
    count_max: u64,
    visited: Visited,
    found: Vec<StoredChunk>,
}

/// The chunks below a root.
pub(super) fn chunks(
    bytes: Bytes<'_>,
    root: u64,
    array: ChunkedArray<'_>,
) -> Result<Vec<StoredChunk>, Damage> {
    let mut walk = Walk {
        bytes,
        rank: array.rank(),
        count_max: array.grid_count(),
        visited: Visited::default(),
        found: Vec::new(),
    };
    walk.visit(root, None)?;
    Ok(walk.found)
}

impl Walk<'_> {
    /// Collects the chunks below one node. Levels fall by one.
    fn visit(&mut self, address: u64, level: Option<u64>) -> Result<(), Damage> {
        let bytes = self.bytes;
        let damaged = |problem: &str| bytes.damage(address, HEADER_BYTES, problem);
        let header = bytes.read(address, HEADER_BYTES)?;
        let (own_level, entries) =
            node(&header).ok_or_else(|| damaged("no node of a chunk B-tree lies there"))?;
        if level.is_some_and(|level| level != own_level) {
            return Err(damaged("a node of the chunk B-tree is of another level"));
        }
        let entry_bytes = 8 + 8 * (self.rank as u64 + 1) + 8;
        let length = HEADER_BYTES + entries * entry_bytes;
        self.visited.enter(bytes, address, length)?;
        let body = bytes.read(address.saturating_add(HEADER_BYTES), entries * entry_bytes)?;
        for entry in body.chunks_exact(entry_bytes as usize) {
            let chunk = chunk(entry, self.rank).ok_or_else(|| damaged("a node is cut short"))?;
            if own_level > 0 {
                self.visit(chunk.address, Some(own_level - 1))?;
            } else if (self.found.len() as u64) < self.count_max {
                self.found.push(chunk);
            } else {
                return Err(damaged("the chunk B-tree has more chunks than the array"));
            }
        }
        Ok(())
    }
}

/// Level and number of entries, of a node of raw data chunks.
fn node(header: &[u8]) -> Option<(u64, u64)> {
    let mut cursor = Cursor(header);
    let signature = cursor.take(4)?;
    let (kind, level, entries) = (cursor.number(1)?, cursor.number(1)?, cursor.number(2)?);
    (signature == b"TREE" && kind == 1).then_some((level, entries))
}

/// A key and what it leads to: a chunk, or in higher nodes a node.
fn chunk(entry: &[u8], rank: usize) -> Option<StoredChunk> {
    let mut cursor = Cursor(entry);
    let (size_bytes, filter_mask) = (cursor.number(4)?, cursor.number(4)? as u32);
    let offset = (0..rank)
        .map(|_| cursor.number(8))
        .collect::<Option<Vec<_>>>()?;
    // Of the dimension that is the element.
    cursor.number(8)?;
    Some(StoredChunk {
        offset,
        filter_mask,
        address: cursor.number(8)?,
        size_bytes,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::find;
    use super::*;
    use crate::dataset::{DType, Dataset, Dimension, Variable};
    use crate::library::{H5File, Layout, Member};
    use crate::write::{WriteOptions, Writer};

    /// Chunks by offset, of a variable that is written a step at a time.
    fn both(steps: usize, attribute_count: usize) -> [Option<Vec<StoredChunk>>; 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("many.nc");
        let dims = [("time", steps, true), ("cell", 20_000, false)];
        let mut variable = Variable {
            name: "t".to_owned(),
            dtype: DType::F32,
            dims: vec![0, 1],
            attributes: Default::default(),
        };
        for index in 0..attribute_count {
            variable
                .attributes
                .set(&format!("attribute_{index}"), "of some length");
        }
        let dataset = Dataset {
            dimensions: dims
                .map(|(name, len, unlimited)| Dimension {
                    name: name.to_owned(),
                    len,
                    unlimited,
                })
                .to_vec(),
            variables: vec![variable],
            ..Dataset::default()
        };
        let mut writer = Writer::create(&path, &dataset, &WriteOptions::default()).unwrap();
        for step in (0..steps).rev().filter(|step| step % 3 != 1) {
            writer
                .write_f32(0, &[step..step + 1, 0..20_000], &vec![step as f32; 20_000])
                .unwrap();
        }
        writer.commit().unwrap();
        let library = H5File::open(&path).unwrap();
        let Ok(Member::Array(array)) = library.member("t") else {
            panic!("t is an array")
        };
        let file = File::open(&path).unwrap();
        let file_bytes = file.metadata().unwrap().len();
        let bytes = Bytes {
            file: &file,
            base: 0,
            file_bytes,
        };
        let sorted = |mut chunks: Vec<StoredChunk>| {
            chunks.sort_by(|a, b| a.offset.cmp(&b.offset));
            chunks
        };
        let Layout::Chunked { shape, .. } = &array.layout else {
            panic!("t has chunks")
        };
        let place = ChunkedArray {
            header: array.address,
            chunk_shape: shape,
            extents: &array.extents,
            extents_max: &array.extents_max,
            element_bytes: 4,
            is_filtered: true,
        };
        let own = find(bytes, place).unwrap().map(sorted);
        let one = ChunkedArray {
            extents: &[1, 1],
            ..place
        };
        assert!(find(bytes, one).is_err());
        let elsewhere = ChunkedArray {
            header: array.address + 1,
            ..place
        };
        assert!(find(bytes, elsewhere).unwrap().is_none());
        [own, array.chunks().ok().map(sorted)]
    }

    #[test]
    fn the_tree_has_the_chunks_that_the_library_finds() {
        for (steps, attribute_count) in [(3, 0), (40, 3), (400, 30)] {
            let [own, of_library] = both(steps, attribute_count);
            assert!(own.is_some(), "{steps} steps");
            assert_eq!(own, of_library, "{steps} steps");
        }
    }
}
