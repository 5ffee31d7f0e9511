//! The layout message of an object header: which index an array's chunks have, and where.
//!
//! The library has read the same header before, so anything odd is merely unknown here.

use std::collections::HashSet;

use super::bytes::{Bytes, Cursor};

/// More header blocks than any variable has.
const HEADER_BLOCKS_MAX: usize = 4096;

const LAYOUT_MESSAGE: u16 = 0x0008;
const CONTINUATION_MESSAGE: u16 = 0x0010;

/// The class of chunked layouts.
const CHUNKED: u64 = 2;

/// Flags of layout messages of version 4.
const PLAIN_EDGES: u64 = 1;
const SINGLE_IS_FILTERED: u64 = 2;

/// What a layout message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) index: Index,
    /// Of the index, or of the only chunk, or of the first.
    pub(super) address: u64,
    /// Whether chunks that stick out of the array have no filters.
    pub(super) has_plain_edges: bool,
}

/// The kinds of chunk indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    BTree1,
    /// One chunk; its size is given only if it is filtered.
    Single {
        size_bytes: Option<u64>,
        filter_mask: u32,
    },
    Implicit,
    FixedArray,
    ExtensibleArray,
    BTree2,
}

/// A block of messages.
struct Block {
    address: u64,
    length: u64,
}

/// How the blocks of a header are written: in one of two ways.
#[derive(Clone, Copy)]
struct Writing {
    is_new: bool,
    /// Whether messages carry their place in the order of creation.
    is_ordered: bool,
}

/// The layout that the object header at `header` has, if it is chunked and of a known kind.
pub(super) fn layout(bytes: Bytes<'_>, header: u64, rank: usize) -> Option<Layout> {
    if !bytes.has_wide_addresses()? {
        return None;
    }
    let (first, writing) = first_block(bytes, header)?;
    let mut blocks = vec![first];
    let mut known = HashSet::new();
    let mut next = 0;
    while let Some(block) = blocks.get(next) {
        // A block that continues itself is damage.
        if !known.insert(block.address) || blocks.len() > HEADER_BLOCKS_MAX {
            return None;
        }
        let messages = bytes.read(block.address, block.length).ok()?;
        if let Some(found) = search(&messages, writing, rank, &mut blocks)? {
            return Some(found);
        }
        next += 1;
    }
    None
}

fn first_block(bytes: Bytes<'_>, header: u64) -> Option<(Block, Writing)> {
    let start = bytes.read(header, 16).ok()?;
    if !start.starts_with(b"OHDR") {
        let length = Cursor(&start[8..]).number(4)?;
        let block = Block {
            address: header.checked_add(16)?,
            length,
        };
        let writing = Writing {
            is_new: false,
            is_ordered: false,
        };
        return (start[0] == 1).then_some((block, writing));
    }
    let flags = start[5];
    let times = if flags & 0x20 != 0 { 16 } else { 0 };
    let phases = if flags & 0x10 != 0 { 4 } else { 0 };
    let size_bytes = 1 << (flags & 3);
    let place = header.checked_add(6 + times + phases)?;
    let length = Cursor(&bytes.read(place, size_bytes).ok()?).number(size_bytes as usize)?;
    let block = Block {
        address: place.checked_add(size_bytes)?,
        length,
    };
    let writing = Writing {
        is_new: true,
        is_ordered: flags & 0x04 != 0,
    };
    Some((block, writing))
}

/// Looks for the layout in one block of messages, and adds the blocks that continue it.
fn search(
    messages: &[u8],
    writing: Writing,
    rank: usize,
    blocks: &mut Vec<Block>,
) -> Option<Option<Layout>> {
    let Writing { is_new, is_ordered } = writing;
    let smallest = if is_new {
        4 + if is_ordered { 2 } else { 0 }
    } else {
        8
    };
    let mut cursor = Cursor(messages);
    while cursor.0.len() >= smallest {
        let kind = cursor.number(if is_new { 1 } else { 2 })? as u16;
        let size = cursor.number(2)? as usize;
        let flags = cursor.number(1)?;
        cursor.take(smallest - if is_new { 4 } else { 5 })?;
        let data = cursor.take(size)?;
        match kind {
            // Bit 1: the message is elsewhere.
            LAYOUT_MESSAGE if flags & 2 != 0 => return None,
            LAYOUT_MESSAGE => return Some(Some(message(data, rank)?)),
            CONTINUATION_MESSAGE => {
                let mut data = Cursor(data);
                let (address, length) = (data.number(8)?, data.number(8)?);
                // The newer kind has a signature before and a checksum after its messages.
                let (address, length) = match is_new {
                    true => (address.checked_add(4)?, length.checked_sub(8)?),
                    false => (address, length),
                };
                blocks.push(Block { address, length });
            }
            _ => {}
        }
    }
    Some(None)
}

fn message(data: &[u8], rank: usize) -> Option<Layout> {
    let mut data = Cursor(data);
    let (version, class) = (data.number(1)?, data.number(1)?);
    match (version, class) {
        (3, CHUNKED) => {
            let dimensions = data.number(1)?;
            (dimensions == rank as u64 + 1).then_some(())?;
            Some(Layout {
                index: Index::BTree1,
                address: data.number(8)?,
                has_plain_edges: false,
            })
        }
        (4, CHUNKED) => message_4(data, rank),
        _ => None,
    }
}

fn message_4(mut data: Cursor<'_>, rank: usize) -> Option<Layout> {
    let (flags, dimensions) = (data.number(1)?, data.number(1)?);
    (dimensions == rank as u64 + 1).then_some(())?;
    let length_bytes = data.number(1)? as usize;
    data.take(length_bytes * (rank + 1))?;
    let index = match data.number(1)? {
        1 if flags & SINGLE_IS_FILTERED != 0 => Index::Single {
            size_bytes: Some(data.number(8)?),
            filter_mask: data.number(4)? as u32,
        },
        1 => Index::Single {
            size_bytes: None,
            filter_mask: 0,
        },
        2 => Index::Implicit,
        // Parameters that the index repeats in its own header.
        3 => data.take(1).map(|_| Index::FixedArray)?,
        4 => data.take(5).map(|_| Index::ExtensibleArray)?,
        5 => data.take(6).map(|_| Index::BTree2)?,
        _ => return None,
    };
    Some(Layout {
        index,
        address: data.number(8)?,
        has_plain_edges: flags & PLAIN_EDGES != 0,
    })
}
