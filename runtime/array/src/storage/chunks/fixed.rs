//! The fixed array: the chunks of arrays that cannot grow beyond a known shape.

use super::bytes::{Bytes, Cursor, has_bit};
use super::{ChunkedArray, Numbering};
use crate::library::StoredChunk;

use super::super::damage::Damage;
use super::elements::{Elements, Entry};

const HEADER_BYTES: u64 = 28;

/// Signature, version, type and address of the header.
const BLOCK_PREFIX_BYTES: u64 = 14;

const CHECKSUM_BYTES: u64 = 4;

/// The chunks of a fixed array whose header is at `address`; `None` for one that counts in
/// another way than is known here.
pub(super) fn chunks(
    bytes: Bytes<'_>,
    address: u64,
    array: ChunkedArray<'_>,
) -> Result<Option<Vec<StoredChunk>>, Damage> {
    let (kind, header) = bytes.block(address, HEADER_BYTES, b"FAHD")?;
    let Some((entry, page_bits, count, block)) = parameters(kind, &header, array) else {
        return Ok(None);
    };
    if block == super::UNDEFINED {
        return Ok(Some(Vec::new()));
    }
    let numbering = Numbering::of(array, None);
    let mut elements = Elements::new(entry, &numbering, array);
    let entry_bytes = entry.size_bytes() as u64;
    let page_entries = 1_u64 << page_bits;
    if count <= page_entries {
        let length = BLOCK_PREFIX_BYTES + count * entry_bytes + CHECKSUM_BYTES;
        let (_, body) = bytes.block(block, length, b"FADB")?;
        elements.add(0, body.get(8..).unwrap_or_default());
        return Ok(Some(elements.found));
    }
    let pages = count.div_ceil(page_entries);
    let prefix = BLOCK_PREFIX_BYTES + pages.div_ceil(8) + CHECKSUM_BYTES;
    let (_, body) = bytes.block(block, prefix, b"FADB")?;
    let written = body.get(8..).unwrap_or_default();
    let page_bytes = page_entries * entry_bytes + CHECKSUM_BYTES;
    for page in (0..pages).filter(|&page| has_bit(written, page as usize)) {
        let first = page * page_entries;
        let length = page_entries.min(count - first) * entry_bytes + CHECKSUM_BYTES;
        let place = block
            .saturating_add(prefix)
            .saturating_add(page * page_bytes);
        let page = bytes.read(place, length)?;
        bytes.verify(&page, place)?;
        elements.add(first, &page[..page.len() - CHECKSUM_BYTES as usize]);
    }
    Ok(Some(elements.found))
}

/// The entries, the bits of a page's length, the number of entries and the data's address.
fn parameters(kind: u8, header: &[u8], array: ChunkedArray<'_>) -> Option<(Entry, u32, u64, u64)> {
    let mut header = Cursor(header);
    let entry = Entry::of(kind, header.number(1)?, array)?;
    let page_bits = u32::try_from(header.number(1)?)
        .ok()
        .filter(|&bits| bits < 32)?;
    let (count, block) = (header.number(8)?, header.number(8)?);
    Some((entry, page_bits, count.min(COUNT_MAX), block))
}

/// More chunks than fit in a file, small enough to compute with.
const COUNT_MAX: u64 = 1 << 48;
