//! The B-tree of version 2: the chunks of arrays with several unlimited dimensions.

use super::ChunkedArray;
use super::bytes::{Bytes, Cursor, UNDEFINED, Visited};
use super::elements::Entry;
use crate::library::StoredChunk;

use super::super::damage::Damage;

const HEADER_BYTES: u64 = 38;

/// Of a node: signature, version, type and checksum.
const NODE_BYTES_MIN: u64 = 10;

const ADDRESS_BYTES: u64 = 8;

/// The types of trees of chunks.
const PLAIN: u8 = 10;
const FILTERED: u8 = 11;

/// A tree can have no more levels: each has at least twice the records of the one below.
const DEPTH_MAX: u64 = 32;

/// How many records the nodes of one level can have, and how these numbers are written.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// In a node and all below it.
    total_max: u64,
    /// The bytes of a node's own number of records, in its parent.
    count_bytes: usize,
    /// The bytes of the total, in its parent; 0 for a leaf, of which it is the same.
    total_bytes: usize,
}

struct Walk<'a> {
    bytes: Bytes<'a>,
    array: ChunkedArray<'a>,
    node_bytes: u64,
    record_bytes: u64,
    entry: Entry,
    levels: Vec<Level>,
    visited: Visited,
    found: Vec<StoredChunk>,
}

/// The chunks of a tree whose header is at `address`.
pub(super) fn chunks(
    bytes: Bytes<'_>,
    address: u64,
    array: ChunkedArray<'_>,
) -> Result<Vec<StoredChunk>, Damage> {
    let (kind, header) = bytes.block(address, HEADER_BYTES, b"BTHD")?;
    let damaged = || {
        let problem = "the header of the chunk B-tree makes no sense";
        bytes.damage(address, HEADER_BYTES, problem)
    };
    let mut cursor = Cursor(&header);
    let mut number = |size_bytes| cursor.number(size_bytes).ok_or_else(damaged);
    let (node_bytes, record_bytes, depth) = (number(4)?, number(2)?, number(2)?);
    // When to split and to merge.
    number(2)?;
    let (root, root_records) = (number(8)?, number(2)?);
    let entry_bytes = record_bytes.checked_sub(8 * array.rank() as u64);
    let entry = match (kind, entry_bytes) {
        (PLAIN, Some(bytes)) => Entry::of(0, bytes, array),
        (FILTERED, Some(bytes)) => Entry::of(1, bytes, array),
        _ => None,
    };
    let entry = entry.ok_or_else(damaged)?;
    let levels = levels(node_bytes, record_bytes, depth).ok_or_else(damaged)?;
    let mut walk = Walk {
        bytes,
        array,
        node_bytes,
        record_bytes,
        entry,
        levels,
        visited: Visited::default(),
        found: Vec::new(),
    };
    if root != UNDEFINED {
        walk.visit(root, depth as usize, root_records)?;
    }
    Ok(walk.found)
}

/// The levels from the leaves up to below the root.
fn levels(node_bytes: u64, record_bytes: u64, depth: u64) -> Option<Vec<Level>> {
    let space = node_bytes.checked_sub(NODE_BYTES_MIN)?;
    let leaf_max = space.checked_div(record_bytes).filter(|&max| max > 0)?;
    if depth > DEPTH_MAX {
        return None;
    }
    let count_bytes = bytes_of(leaf_max);
    let mut levels = vec![Level {
        total_max: leaf_max,
        count_bytes,
        total_bytes: 0,
    }];
    for depth in 1..depth as usize {
        let below = levels[depth - 1];
        let pointer = ADDRESS_BYTES + (below.count_bytes + below.total_bytes) as u64;
        let own_max = space.checked_sub(pointer)? / (record_bytes + pointer);
        let total_max = (own_max + 1)
            .saturating_mul(below.total_max)
            .saturating_add(own_max);
        levels.push(Level {
            total_max,
            count_bytes,
            total_bytes: bytes_of(total_max),
        });
    }
    Some(levels)
}

/// As few bytes as hold numbers up to a limit.
fn bytes_of(limit: u64) -> usize {
    limit.max(1).ilog2() as usize / 8 + 1
}

impl Walk<'_> {
    /// Collects the chunks of a node of so many records and of those below it.
    fn visit(&mut self, address: u64, depth: usize, records: u64) -> Result<(), Damage> {
        let (bytes, node_bytes) = (self.bytes, self.node_bytes);
        let damaged = |problem: &str| bytes.damage(address, node_bytes, problem);
        let below = depth.checked_sub(1).map(|depth| self.levels[depth]);
        let pointer = below.map_or(0, |below| {
            ADDRESS_BYTES + (below.count_bytes + below.total_bytes) as u64
        });
        let pointers = if below.is_some() { records + 1 } else { 0 };
        let length = NODE_BYTES_MIN + records * self.record_bytes + pointers * pointer;
        if length > node_bytes {
            return Err(damaged(
                "a node of the chunk B-tree claims too many records",
            ));
        }
        self.visited.enter(bytes, address, length)?;
        let signature = if below.is_some() { b"BTIN" } else { b"BTLF" };
        let (_, body) = bytes.block(address, length, signature)?;
        let mut cursor = Cursor(&body);
        for _ in 0..records {
            let chunk = self
                .chunk(&mut cursor)
                .ok_or_else(|| damaged("a record of the chunk B-tree makes no sense"))?;
            if self.found.len() as u64 >= self.array.grid_count() {
                return Err(damaged("the chunk B-tree has more chunks than the array"));
            }
            self.found.push(chunk);
        }
        let Some(below) = below else {
            return Ok(());
        };
        for _ in 0..pointers {
            let child = cursor.number(8).zip(cursor.number(below.count_bytes));
            let (child, count) = child.ok_or_else(|| damaged("a node is cut short"))?;
            cursor.take(below.total_bytes);
            self.visit(child, depth - 1, count)?;
        }
        Ok(())
    }

    fn chunk(&self, cursor: &mut Cursor<'_>) -> Option<StoredChunk> {
        let (address, size_bytes, filter_mask) = self.entry.read(cursor)?;
        let offset = self.array.chunk_shape.iter().map(|&len| {
            let place = cursor.number(8)?;
            place.checked_mul(len as u64)
        });
        Some(StoredChunk {
            offset: offset.collect::<Option<_>>()?,
            filter_mask,
            address,
            size_bytes,
        })
    }
}
