//! The groups of the oldest HDF5 format, checked before the library follows them.
//!
//! Called when a file is opened. The library follows the B-tree of a group and the free list of
//! its local heap without looking where they lead: one that leads back to itself ends the
//! process or goes on for ever. The newer formats carry checksums there and are left to the
//! library.
//!
//! Source: HDF5 file format specification 3.0, II (superblock), III.A.1 (B-trees), III.B (group
//! symbol table nodes), III.D (local heaps), IV.A.2.h (external files) and IV.A.2.r (symbol
//! table message).

use std::ops::ControlFlow;

use super::chunks::{Bytes, Cursor, Visited, object};
use super::damage::Damage;

const EXTERNAL_FILES_MESSAGE: u16 = 0x0007;
const SYMBOL_TABLE_MESSAGE: u16 = 0x0011;

/// Of the nodes of B-trees and of local heaps.
const NODE_HEADER_BYTES: u64 = 24;
const HEAP_HEADER_BYTES: u64 = 32;

const SYMBOL_NODE_HEADER_BYTES: u64 = 8;
const SYMBOL_BYTES: u64 = 40;

/// What ends the free list of a local heap.
const NO_FREE_BLOCK: u64 = 1;

/// Next and size of a free block.
const FREE_BLOCK_BYTES: u64 = 16;

/// Checks the root group, as far as it is of the oldest format.
///
/// # Errors
/// The damaged bytes.
pub(super) fn check(bytes: Bytes<'_>) -> Result<(), Damage> {
    if bytes.has_wide_addresses() != Some(true) {
        return Ok(());
    }
    match root(bytes) {
        Some(root) => tables(bytes, root.header, root.cached),
        // The library will say what is wrong.
        None => Ok(()),
    }
}

/// Checks the group whose header lies at an address, as [`check`] does the root.
///
/// # Errors
/// The damaged bytes.
pub(super) fn check_at(bytes: Bytes<'_>, header: u64) -> Result<(), Damage> {
    match bytes.has_wide_addresses() {
        Some(true) => tables(bytes, header, None),
        _ => Ok(()),
    }
}

fn tables(bytes: Bytes<'_>, header: u64, cached: Option<SymbolTable>) -> Result<(), Damage> {
    let mut check = Check {
        bytes,
        nodes: Visited::default(),
        heaps: Visited::default(),
    };
    for table in cached.into_iter().chain(check.table_of(header)?) {
        check.table(table)?;
    }
    Ok(())
}

/// The addresses of a group's B-tree and heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SymbolTable {
    tree: u64,
    heap: u64,
}

/// What the superblock says of the root group.
struct Root {
    header: u64,
    /// Repeated there from the root's header.
    cached: Option<SymbolTable>,
}

fn root(bytes: Bytes<'_>) -> Option<Root> {
    let superblock = bytes.read(0, 48).ok()?;
    let entry = match superblock[8] {
        0 => 56,
        1 => 60,
        _ => {
            let header = Cursor(superblock.get(36..)?).number(8)?;
            let cached = None;
            return Some(Root { header, cached });
        }
    };
    let entry = bytes.read(entry, SYMBOL_BYTES).ok()?;
    let mut entry = Cursor(&entry);
    // The name of the root.
    entry.take(8)?;
    let (header, kind) = (entry.number(8)?, entry.number(8)? & 0xffff_ffff);
    let table = SymbolTable {
        tree: entry.number(8)?,
        heap: entry.number(8)?,
    };
    Some(Root {
        header,
        cached: (kind == 1).then_some(table),
    })
}

/// The blocks that were seen. What the superblock repeats may be seen twice.
struct Check<'a> {
    bytes: Bytes<'a>,
    nodes: Visited,
    heaps: Visited,
}

impl Check<'_> {
    /// The symbol table of an object, if it is a group of the oldest format; the heap that names
    /// external files and the blocks that continue the header are checked at once.
    fn table_of(&mut self, header: u64) -> Result<Option<SymbolTable>, Damage> {
        let (mut heaps, mut continuations) = (Vec::new(), Vec::new());
        let found = object::visit(self.bytes, header, |message| {
            let mut data = Cursor(message.data);
            match message.kind {
                SYMBOL_TABLE_MESSAGE => {
                    let table = data.number(8).zip(data.number(8));
                    return ControlFlow::Break(table);
                }
                EXTERNAL_FILES_MESSAGE => {
                    data.take(8);
                    heaps.extend(data.number(8));
                }
                object::CONTINUATION_MESSAGE => {
                    continuations.extend(data.number(8).zip(data.number(8)));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        // The library reads where they lead before it looks.
        for (address, length) in continuations {
            self.bytes.read(address, length)?;
        }
        for heap in heaps {
            self.heap(heap)?;
        }
        let table = found.and_then(ControlFlow::break_value).flatten();
        Ok(table.map(|(tree, heap)| SymbolTable { tree, heap }))
    }

    fn table(&mut self, table: SymbolTable) -> Result<(), Damage> {
        self.nodes = Visited::default();
        self.heap(table.heap)?;
        self.node(table.tree, None)
    }

    /// A node of a group's B-tree and all below it. Levels fall by one.
    fn node(&mut self, address: u64, level: Option<u64>) -> Result<(), Damage> {
        let bytes = self.bytes;
        let damaged = |problem: &str| bytes.damage(address, NODE_HEADER_BYTES, problem);
        let header = bytes.read(address, NODE_HEADER_BYTES)?;
        let mut cursor = Cursor(&header);
        let is_node = cursor.take(4) == Some(b"TREE") && cursor.number(1) == Some(0);
        let (own_level, entries) = cursor
            .number(1)
            .zip(cursor.number(2))
            .filter(|_| is_node)
            .ok_or_else(|| damaged("no node of a group's B-tree lies there"))?;
        if level.is_some_and(|level| level != own_level) {
            return Err(damaged("a node of a group's B-tree is of another level"));
        }
        // A key, then child and key in turn.
        let length = entries * 16;
        self.nodes
            .enter(bytes, address, NODE_HEADER_BYTES + length)?;
        let body = bytes.read(address.saturating_add(NODE_HEADER_BYTES), length)?;
        for (_, child) in body.as_chunks::<16>().0.iter().map(|pair| pair.split_at(8)) {
            let child = Cursor(child).number(8).unwrap_or(u64::MAX);
            match own_level.checked_sub(1) {
                Some(level) => self.node(child, Some(level))?,
                None => self.symbols(child)?,
            }
        }
        Ok(())
    }

    /// A node with the objects of a group.
    fn symbols(&mut self, address: u64) -> Result<(), Damage> {
        let bytes = self.bytes;
        let header = bytes.read(address, SYMBOL_NODE_HEADER_BYTES)?;
        let mut cursor = Cursor(&header);
        let is_node = cursor.take(4) == Some(b"SNOD");
        let count = cursor.number(4).map_or(0, |number| number >> 16);
        let length = count * SYMBOL_BYTES;
        self.nodes
            .enter(bytes, address, SYMBOL_NODE_HEADER_BYTES + length)?;
        if !is_node {
            let problem = "no node of a group's objects lies there";
            return Err(bytes.damage(address, SYMBOL_NODE_HEADER_BYTES, problem));
        }
        let body = bytes.read(address.saturating_add(SYMBOL_NODE_HEADER_BYTES), length)?;
        for entry in body.chunks_exact(SYMBOL_BYTES as usize) {
            let header = Cursor(&entry[8..]).number(8).unwrap_or(u64::MAX);
            self.table_of(header)?;
        }
        Ok(())
    }

    /// The free list of a local heap.
    fn heap(&mut self, address: u64) -> Result<(), Damage> {
        let bytes = self.bytes;
        let header = bytes.read(address, HEAP_HEADER_BYTES)?;
        let mut cursor = Cursor(&header);
        let is_heap = cursor.take(4) == Some(b"HEAP");
        // The version, and bytes for later use.
        cursor.take(4);
        let mut number = || cursor.number(8).unwrap_or(u64::MAX);
        let (size, mut free, data) = (number(), number(), number());
        if !is_heap {
            let problem = "no local heap lies there";
            return Err(bytes.damage(address, HEAP_HEADER_BYTES, problem));
        }
        self.heaps = Visited::default();
        while free != NO_FREE_BLOCK && free != u64::MAX {
            let place = data.saturating_add(free);
            if free.saturating_add(FREE_BLOCK_BYTES) > size {
                let problem = "the free list of a local heap leads out of it";
                return Err(bytes.damage(place, FREE_BLOCK_BYTES, problem));
            }
            self.heaps.enter(bytes, place, FREE_BLOCK_BYTES)?;
            let block = bytes.read(place, FREE_BLOCK_BYTES)?;
            free = Cursor(&block).number(8).unwrap_or(NO_FREE_BLOCK);
        }
        Ok(())
    }
}
