//! The extensible array: the chunks of arrays with one unlimited dimension.
//!
//! An index block holds the first entries, the addresses of the first data blocks, and those of
//! secondary blocks, which hold addresses of further data blocks. Data blocks double in length
//! every other level; the long ones come in pages.

use super::bytes::{Bytes, Cursor, UNDEFINED, Visited, has_bit};
use super::elements::{Elements, Entry};
use super::{ChunkedArray, Numbering};
use crate::library::StoredChunk;

use super::super::damage::Damage;

const HEADER_BYTES: u64 = 72;

/// Signature, version, type and address of the header.
const BLOCK_PREFIX_BYTES: u64 = 14;

const ADDRESS_BYTES: u64 = 8;
const CHECKSUM_BYTES: u64 = 4;

/// The numbers of a header.
#[derive(Clone, Copy, Debug)]
struct Shape {
    entry: Entry,
    /// Bits of the largest number of entries.
    count_bits: u32,
    /// Entries in the index block itself.
    direct_entries: u64,
    /// Entries of the shortest data block: a power of two.
    block_entries_min: u64,
    /// Data blocks of the first level that has secondary blocks: a power of two.
    block_pointers_min: u64,
    page_bits: u32,
    /// No entry from this number on was ever set.
    end: u64,
    index_block: u64,
}

/// Data blocks of one level.
#[derive(Clone, Copy, Debug)]
struct Level {
    blocks: u64,
    entries: u64,
}

/// The chunks of an extensible array whose header is at `address`; `None` for one that counts
/// in another way than is known here.
pub(super) fn chunks(
    bytes: Bytes<'_>,
    address: u64,
    array: ChunkedArray<'_>,
) -> Result<Option<Vec<StoredChunk>>, Damage> {
    let (kind, header) = bytes.block(address, HEADER_BYTES, b"EAHD")?;
    let unlimited: Vec<usize> = (0..array.rank())
        .filter(|&dim| array.extents_max[dim] == u64::MAX)
        .collect();
    let (&[unlimited], Some(shape)) = (unlimited.as_slice(), shape(kind, &header, array)) else {
        return Ok(None);
    };
    if shape.index_block == UNDEFINED {
        return Ok(Some(Vec::new()));
    }
    let numbering = Numbering::of(array, Some(unlimited));
    let mut walk = Walk {
        bytes,
        shape,
        elements: Elements::new(shape.entry, &numbering, array),
        visited: Visited::default(),
    };
    walk.index_block()?;
    Ok(Some(walk.elements.found))
}

fn shape(kind: u8, header: &[u8], array: ChunkedArray<'_>) -> Option<Shape> {
    let mut header = Cursor(header);
    let entry = Entry::of(kind, header.number(1)?, array)?;
    let count_bits = header.number(1)? as u32;
    let direct_entries = header.number(1)?;
    let block_entries_min = header.number(1)?;
    let block_pointers_min = header.number(1)?;
    let page_bits = header.number(1)? as u32;
    // Numbers and sizes of blocks, which follow from the rest.
    header.take(32)?;
    let end = header.number(8)?;
    header.number(8)?;
    let index_block = header.number(8)?;
    let makes_sense = block_entries_min.is_power_of_two()
        && block_pointers_min.is_power_of_two()
        && (block_entries_min.ilog2()..=64).contains(&count_bits)
        && page_bits < 32;
    let shape = makes_sense.then_some(Shape {
        entry,
        count_bits,
        direct_entries,
        block_entries_min,
        block_pointers_min,
        page_bits,
        end,
        index_block,
    })?;
    // The bits of pages are in secondary blocks: data blocks without one have no pages.
    let longest = shape.level(shape.direct_levels().saturating_sub(1));
    (!shape.is_paged(longest)).then_some(shape)
}

impl Shape {
    fn levels(&self) -> u32 {
        1 + self.count_bits - self.block_entries_min.ilog2()
    }

    fn level(&self, level: u32) -> Level {
        Level {
            blocks: 1_u64.checked_shl(level / 2).unwrap_or(u64::MAX),
            entries: 1_u64
                .checked_shl(level.div_ceil(2))
                .map_or(u64::MAX, |blocks| {
                    blocks.saturating_mul(self.block_entries_min)
                }),
        }
    }

    /// Levels whose data blocks the index block knows itself.
    fn direct_levels(&self) -> u32 {
        (2 * self.block_pointers_min.ilog2()).min(self.levels())
    }

    fn entry_bytes(&self) -> u64 {
        self.entry.size_bytes() as u64
    }

    /// The bytes of a block's place among the entries.
    fn offset_bytes(&self) -> u64 {
        u64::from(self.count_bits.div_ceil(8))
    }

    fn is_paged(&self, level: Level) -> bool {
        level.entries > 1 << self.page_bits
    }
}

/// Which pages of a data block were written, as the secondary block above it knows.
#[derive(Clone, Copy, Debug, Default)]
struct Pages<'a> {
    /// A bit for each page of each data block, without gaps.
    written: &'a [u8],
    /// The number of this data block.
    block: usize,
}

impl Pages<'_> {
    fn is_written(self, page: u64, page_count: u64) -> bool {
        let index = (self.block as u64)
            .saturating_mul(page_count)
            .saturating_add(page);
        usize::try_from(index).is_ok_and(|index| has_bit(self.written, index))
    }
}

struct Walk<'a> {
    bytes: Bytes<'a>,
    shape: Shape,
    elements: Elements<'a>,
    visited: Visited,
}

impl Walk<'_> {
    fn index_block(&mut self) -> Result<(), Damage> {
        let shape = self.shape;
        let direct = 0..shape.direct_levels();
        let blocks: u64 = direct.clone().map(|level| shape.level(level).blocks).sum();
        let secondary = u64::from(shape.levels() - shape.direct_levels());
        let length = BLOCK_PREFIX_BYTES
            + shape.direct_entries * shape.entry_bytes()
            + (blocks + secondary) * ADDRESS_BYTES
            + CHECKSUM_BYTES;
        let (_, body) = self.bytes.block(shape.index_block, length, b"EAIB")?;
        let too_short = || {
            let problem = "an index block is cut short";
            self.bytes.damage(shape.index_block, length, problem)
        };
        let mut cursor = Cursor(&body);
        // The address of the header.
        cursor.number(8).ok_or_else(too_short)?;
        let direct_bytes = (shape.direct_entries * shape.entry_bytes()) as usize;
        let entries = cursor.take(direct_bytes).ok_or_else(too_short)?;
        let addresses: Vec<u64> = cursor
            .0
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| u64::from_le_bytes(*bytes))
            .collect();
        self.elements.add(0, entries);
        let mut addresses = addresses.into_iter();
        let mut first = shape.direct_entries;
        for number in 0..shape.levels() {
            let level = shape.level(number);
            if first >= shape.end {
                break;
            }
            if direct.contains(&number) {
                for _ in 0..level.blocks {
                    let address = addresses.next().unwrap_or(UNDEFINED);
                    self.data_block(address, first, level, Pages::default())?;
                    first = first.saturating_add(level.entries);
                }
            } else {
                let address = addresses.next().unwrap_or(UNDEFINED);
                self.secondary_block(address, first, level)?;
                first = first.saturating_add(level.blocks.saturating_mul(level.entries));
            }
        }
        Ok(())
    }

    fn secondary_block(&mut self, address: u64, first: u64, level: Level) -> Result<(), Damage> {
        if address == UNDEFINED {
            return Ok(());
        }
        let shape = self.shape;
        let bits_bytes = match shape.is_paged(level) {
            true => (level.entries >> shape.page_bits).div_ceil(8),
            false => 0,
        };
        let length = level
            .blocks
            .saturating_mul(bits_bytes + ADDRESS_BYTES)
            .saturating_add(BLOCK_PREFIX_BYTES + shape.offset_bytes() + CHECKSUM_BYTES);
        self.visited.enter(self.bytes, address, length)?;
        let (_, body) = self.bytes.block(address, length, b"EASB")?;
        let body = body.get(8 + shape.offset_bytes() as usize..);
        let bits_length = (level.blocks * bits_bytes) as usize;
        let Some((bits, addresses)) = body.and_then(|body| body.split_at_checked(bits_length))
        else {
            let problem = "a secondary block is cut short";
            return Err(self.bytes.damage(address, length, problem));
        };
        let mut first = first;
        for (block, address) in addresses.as_chunks::<8>().0.iter().enumerate() {
            let pages = Pages {
                written: bits,
                block,
            };
            self.data_block(u64::from_le_bytes(*address), first, level, pages)?;
            first = first.saturating_add(level.entries);
        }
        Ok(())
    }

    /// Takes the entries of a data block.
    fn data_block(
        &mut self,
        address: u64,
        first: u64,
        level: Level,
        pages: Pages<'_>,
    ) -> Result<(), Damage> {
        if address == UNDEFINED || first >= self.shape.end {
            return Ok(());
        }
        let shape = self.shape;
        let prefix = BLOCK_PREFIX_BYTES + shape.offset_bytes();
        if !shape.is_paged(level) {
            let length = prefix + level.entries * shape.entry_bytes() + CHECKSUM_BYTES;
            self.visited.enter(self.bytes, address, length)?;
            let (_, body) = self.bytes.block(address, length, b"EADB")?;
            let skipped = 8 + shape.offset_bytes() as usize;
            self.elements
                .add(first, body.get(skipped..).unwrap_or_default());
            return Ok(());
        }
        let prefix = prefix + CHECKSUM_BYTES;
        self.visited.enter(self.bytes, address, prefix)?;
        self.bytes.block(address, prefix, b"EADB")?;
        let page_entries = 1_u64 << shape.page_bits;
        let page_bytes = page_entries * shape.entry_bytes() + CHECKSUM_BYTES;
        let page_count = level.entries / page_entries;
        for page in (0..page_count).filter(|&page| pages.is_written(page, page_count)) {
            let place = address
                .saturating_add(prefix)
                .saturating_add(page.saturating_mul(page_bytes));
            let block = self.bytes.read(place, page_bytes)?;
            self.bytes.verify(&block, place)?;
            let entries = &block[..block.len() - CHECKSUM_BYTES as usize];
            self.elements
                .add(first.saturating_add(page * page_entries), entries);
        }
        Ok(())
    }
}
