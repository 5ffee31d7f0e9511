//! The chunk index of one variable, read from the file itself.
//!
//! `H5Dget_chunk_info` walks all chunks up to the one asked for: 0.06 s for 3,650 chunks, and a
//! hundred times that for ten times as many. This follows the same version-1 B-tree once. It
//! knows the one layout that NetCDF-4 files have; of anything else, and of anything odd, it
//! says nothing, and the caller asks the library.
//!
//! Source: HDF5 file format specification 3.0, III.A.1 (B-trees) and IV.A (object headers).

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::library::StoredChunk;

/// An address that stands for none.
const UNDEFINED: u64 = u64::MAX;

/// More header blocks than any variable has.
const HEADER_BLOCKS_MAX: usize = 4096;

/// No block of a header is larger: its messages are at most 64 KiB each.
const BLOCK_BYTES_MAX: u64 = 16 << 20;

const LAYOUT_MESSAGE: u16 = 0x0008;
const CONTINUATION_MESSAGE: u16 = 0x0010;

/// A file whose addresses count from `base`.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    pub(super) file: &'a File,
    pub(super) base: u64,
    pub(super) file_bytes: u64,
}

/// The chunks of the array whose object header is at `header`, or `None` when it is not stored
/// in the way that is known here.
///
/// `grid_count` is how many chunks the array can have.
pub(super) fn chunks(
    bytes: Bytes<'_>,
    header: u64,
    rank: usize,
    grid_count: usize,
) -> Option<Vec<StoredChunk>> {
    if !bytes.has_wide_addresses()? {
        return None;
    }
    let root = root_of(bytes, header, rank)?;
    let mut found = Vec::new();
    if root != UNDEFINED {
        visit(bytes, root, None, rank, grid_count, &mut found)?;
    }
    Some(found)
}

impl Bytes<'_> {
    fn read(&self, address: u64, length: u64) -> Option<Vec<u8>> {
        let start = address.checked_add(self.base)?;
        if length > BLOCK_BYTES_MAX || start.checked_add(length)? > self.file_bytes {
            return None;
        }
        let mut buffer = vec![0; length as usize];
        self.file.read_exact_at(&mut buffer, start).ok()?;
        Some(buffer)
    }

    /// Whether addresses and lengths have eight bytes, as the superblock says.
    fn has_wide_addresses(&self) -> Option<bool> {
        let superblock = self.read(0, 16)?;
        let sizes = match superblock[8] {
            0 | 1 => &superblock[13..15],
            2 | 3 => &superblock[9..11],
            _ => return None,
        };
        Some(sizes == [8, 8])
    }
}

/// Takes little-endian numbers off the front of some bytes.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, size_bytes: usize) -> Option<u64> {
        let bytes = self.take(size_bytes)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |number, &byte| (number << 8) | u64::from(byte)),
        )
    }
}

/// The address of the B-tree that the layout message of a header names.
fn root_of(bytes: Bytes<'_>, header: u64, rank: usize) -> Option<u64> {
    let start = bytes.read(header, 16)?;
    let is_new = start.starts_with(b"OHDR");
    // The version, and whether messages carry their place in the order of creation.
    let (first, length, is_ordered) = if is_new {
        let flags = start[5];
        let times = if flags & 0x20 != 0 { 16 } else { 0 };
        let phases = if flags & 0x10 != 0 { 4 } else { 0 };
        let size_bytes = 1 << (flags & 3);
        let place = 6 + times + phases;
        let length =
            Cursor(&bytes.read(header + place, size_bytes)?).number(size_bytes as usize)?;
        (header + place + size_bytes, length, flags & 0x04 != 0)
    } else {
        let length = Cursor(&start[8..]).number(4)?;
        (header + 16, length, false)
    };
    if !is_new && start[0] != 1 {
        return None;
    }
    let mut blocks = vec![(first, length)];
    let mut next = 0;
    while let Some(&(address, length)) = blocks.get(next) {
        let block = bytes.read(address, length)?;
        if let Some(root) = search(&block, is_new, is_ordered, rank, &mut blocks)? {
            return Some(root);
        }
        next += 1;
        if blocks.len() > HEADER_BLOCKS_MAX {
            return None;
        }
    }
    None
}

/// Looks for the layout in one block of messages, and adds the blocks that continue it.
fn search(
    block: &[u8],
    is_new: bool,
    is_ordered: bool,
    rank: usize,
    blocks: &mut Vec<(u64, u64)>,
) -> Option<Option<u64>> {
    let smallest = if is_new {
        4 + if is_ordered { 2 } else { 0 }
    } else {
        8
    };
    let mut cursor = Cursor(block);
    while cursor.0.len() >= smallest {
        let kind = cursor.number(if is_new { 1 } else { 2 })? as u16;
        let size = cursor.number(2)? as usize;
        let flags = cursor.number(1)?;
        cursor.take(smallest - if is_new { 4 } else { 5 })?;
        let data = cursor.take(size)?;
        match kind {
            // Bit 1: the message is elsewhere.
            LAYOUT_MESSAGE if flags & 2 != 0 => return None,
            LAYOUT_MESSAGE => return Some(Some(layout(data, rank)?)),
            CONTINUATION_MESSAGE => {
                let mut data = Cursor(data);
                let (address, length) = (data.number(8)?, data.number(8)?);
                // The newer kind has a signature before and a checksum after its messages.
                blocks.push(match is_new {
                    true => (address.checked_add(4)?, length.checked_sub(8)?),
                    false => (address, length),
                });
            }
            _ => {}
        }
    }
    Some(None)
}

/// The B-tree's address in a layout message of version 3 and class 2 (chunked).
fn layout(data: &[u8], rank: usize) -> Option<u64> {
    let mut data = Cursor(data);
    let (version, class, dimensions) = (data.number(1)?, data.number(1)?, data.number(1)?);
    (version == 3 && class == 2 && dimensions == rank as u64 + 1).then(|| data.number(8))?
}

/// Collects the chunks below one node. Levels fall by one, so there can be no circle, and more
/// chunks than the grid has end the walk.
fn visit(
    bytes: Bytes<'_>,
    address: u64,
    level: Option<u64>,
    rank: usize,
    grid_count: usize,
    found: &mut Vec<StoredChunk>,
) -> Option<()> {
    const HEADER_BYTES: u64 = 24;
    let key_bytes = 8 + 8 * (rank as u64 + 1);
    let header = bytes.read(address, HEADER_BYTES)?;
    let mut cursor = Cursor(&header);
    let signature = cursor.take(4)?;
    let (kind, own_level, entries) = (cursor.number(1)?, cursor.number(1)?, cursor.number(2)?);
    if signature != b"TREE" || kind != 1 || level.is_some_and(|level| level != own_level) {
        return None;
    }
    let body = bytes.read(address + HEADER_BYTES, entries * (key_bytes + 8))?;
    let mut cursor = Cursor(&body);
    for _ in 0..entries {
        let (size_bytes, filter_mask) = (cursor.number(4)?, cursor.number(4)? as u32);
        let offset = (0..rank)
            .map(|_| cursor.number(8))
            .collect::<Option<Vec<_>>>()?;
        cursor.number(8)?;
        let child = cursor.number(8)?;
        if own_level > 0 {
            visit(bytes, child, Some(own_level - 1), rank, grid_count, found)?;
        } else if found.len() < grid_count {
            found.push(StoredChunk {
                offset,
                filter_mask,
                address: child,
                size_bytes,
            });
        } else {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{DType, Dataset, Dimension, Variable};
    use crate::library::{H5File, Member};
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
        let own = chunks(bytes, array.address, 2, 10 * steps).map(sorted);
        assert!(chunks(bytes, array.address, 2, 1).is_none());
        assert!(chunks(bytes, array.address + 1, 2, 10 * steps).is_none());
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
