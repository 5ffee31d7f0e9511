//! The messages of an object header; above all the layout: which index an array's chunks have,
//! and where.
//!
//! Called for the chunks of an array and, before the library sees them, for the objects of
//! groups. Anything odd is merely unknown here: the library reads the same headers with checks.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::bytes::{Bytes, Cursor};

/// More header blocks than any variable has.
const HEADER_BLOCKS_MAX: usize = 4096;

const LAYOUT_MESSAGE: u16 = 0x0008;
pub(in super::super) const CONTINUATION_MESSAGE: u16 = 0x0010;

/// The flag of a message that is stored elsewhere.
const SHARED: u8 = 2;

/// The classes of layouts.
const COMPACT: u64 = 0;
const CONTIGUOUS: u64 = 1;
const CHUNKED: u64 = 2;

/// Flags of layout messages of version 4.
const PLAIN_EDGES: u64 = 1;
const SINGLE_IS_FILTERED: u64 = 2;

/// One message.
#[derive(Clone, Copy)]
pub(in super::super) struct Message<'a> {
    pub(in super::super) kind: u16,
    flags: u8,
    pub(in super::super) data: &'a [u8],
}

/// How an array is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// At an address, or in the header itself.
    OnePiece {
        address: Option<u64>,
        size_bytes: u64,
    },
    Chunked {
        layout: Layout,
        /// Only the oldest index needs it told here.
        chunk: Option<ChunkOfOldest>,
    },
}

/// What the layout of the oldest index says of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChunkOfOldest {
    /// In elements.
    pub(super) shape: Vec<usize>,
    pub(super) element_bytes: u64,
}

/// What a layout message says of chunks.
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

/// Where an array's bytes lie, as its object header at `header` says; `None` for a way that is
/// not known here.
pub(super) fn storage(bytes: Bytes<'_>, header: u64, rank: usize) -> Option<Storage> {
    if !bytes.has_wide_addresses()? {
        return None;
    }
    let found = visit(bytes, header, |message| match message.kind {
        LAYOUT_MESSAGE if message.flags & SHARED != 0 => ControlFlow::Break(None),
        LAYOUT_MESSAGE => ControlFlow::Break(Storage::of(message.data, rank)),
        _ => ControlFlow::Continue(()),
    });
    found?.break_value()?
}

/// Shows every message of an object header until `visit` breaks; `None` where the header cannot
/// be followed.
pub(in super::super) fn visit<B>(
    bytes: Bytes<'_>,
    header: u64,
    mut visit: impl FnMut(Message<'_>) -> ControlFlow<B>,
) -> Option<ControlFlow<B>> {
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
        let mut cursor = Cursor(&messages);
        while let Some(message) = writing.message(&mut cursor)? {
            if message.kind == CONTINUATION_MESSAGE {
                blocks.push(writing.continuation(message.data)?);
            }
            if let ControlFlow::Break(found) = visit(message) {
                return Some(ControlFlow::Break(found));
            }
        }
        next += 1;
    }
    Some(ControlFlow::Continue(()))
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

impl Writing {
    /// The next message of a block; the inner `None` at the end of it.
    fn message<'a>(self, cursor: &mut Cursor<'a>) -> Option<Option<Message<'a>>> {
        let head_bytes = match (self.is_new, self.is_ordered) {
            (true, true) => 6,
            (true, false) => 4,
            (false, _) => 8,
        };
        if cursor.0.len() < head_bytes {
            return Some(None);
        }
        let kind_bytes = if self.is_new { 1 } else { 2 };
        let kind = cursor.number(kind_bytes)? as u16;
        let size = cursor.number(2)? as usize;
        let flags = cursor.number(1)? as u8;
        cursor.take(head_bytes - kind_bytes - 3)?;
        let data = cursor.take(size)?;
        Some(Some(Message { kind, flags, data }))
    }

    /// The block that a message names.
    fn continuation(self, data: &[u8]) -> Option<Block> {
        let mut data = Cursor(data);
        let (address, length) = (data.number(8)?, data.number(8)?);
        // The newer kind has a signature before and a checksum after its messages.
        let (address, length) = match self.is_new {
            true => (address.checked_add(4)?, length.checked_sub(8)?),
            false => (address, length),
        };
        Some(Block { address, length })
    }
}

impl Storage {
    /// From a layout message.
    fn of(data: &[u8], rank: usize) -> Option<Self> {
        let mut data = Cursor(data);
        let (version, class) = (data.number(1)?, data.number(1)?);
        match (version, class) {
            (3 | 4, COMPACT) => Some(Self::OnePiece {
                address: None,
                size_bytes: data.number(2)?,
            }),
            (3 | 4, CONTIGUOUS) => Some(Self::OnePiece {
                address: Some(data.number(8)?),
                size_bytes: data.number(8)?,
            }),
            (3, CHUNKED) => {
                let dimensions = data.number(1)?;
                (dimensions == rank as u64 + 1).then_some(())?;
                let layout = Layout {
                    index: Index::BTree1,
                    address: data.number(8)?,
                    has_plain_edges: false,
                };
                let lens = (0..rank).map(|_| data.number(4)?.try_into().ok());
                let chunk = ChunkOfOldest {
                    shape: lens.collect::<Option<_>>()?,
                    element_bytes: data.number(4)?,
                };
                Some(Self::Chunked {
                    layout,
                    chunk: Some(chunk),
                })
            }
            (4, CHUNKED) => Some(Self::Chunked {
                layout: chunked_4(data, rank)?,
                chunk: None,
            }),
            _ => None,
        }
    }
}

fn chunked_4(mut data: Cursor<'_>, rank: usize) -> Option<Layout> {
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
