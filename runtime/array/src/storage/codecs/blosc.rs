//! Chunks of Blosc 1: blocks that are split, compressed and shuffled each on its own.
//!
//! BloscLZ, LZ4, Zstandard and zlib inside are read, with bytes or bits shuffled; Snappy is named
//! and refused.
//!
//! Source: the header in the README of c-blosc 1 ("Blosc header"), and the bit order that
//! Masui et al. (2015), "A compression scheme for radio data", describe.

use super::super::decode::unshuffle;
use super::bits::unshuffle_bits;
use super::{Bad, CUT_SHORT, Tools, blosclz};

const HEADER_BYTES: usize = 16;

const SHUFFLED: u8 = 0x01;
const STORED: u8 = 0x02;
const BITS_SHUFFLED: u8 = 0x04;
const NOT_SPLIT: u8 = 0x10;

/// Elements of more bytes are not split.
const SPLITS_MAX: usize = 16;

/// Splits of fewer bytes are not made.
const SPLIT_BYTES_MIN: usize = 128;

/// What the header says.
struct Header {
    flags: u8,
    element_bytes: usize,
    plain_bytes: usize,
    block_bytes: usize,
}

impl Header {
    fn of(bytes: &[u8], limit: usize) -> Result<Self, Bad> {
        let number = |place: usize| {
            let bytes = bytes.get(place..place + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
        };
        let (Some(plain_bytes), Some(block_bytes), Some(own_bytes)) =
            (number(4), number(8), number(12))
        else {
            return Err(Bad::damaged("it is shorter than a Blosc header"));
        };
        if own_bytes > bytes.len() {
            return Err(CUT_SHORT);
        }
        if plain_bytes > limit {
            return Err(Bad::damaged("it claims more bytes than its shape has"));
        }
        let header = Self {
            flags: bytes[2],
            element_bytes: usize::from(bytes[3]),
            plain_bytes,
            block_bytes,
        };
        if plain_bytes > 0 && (block_bytes == 0 || header.element_bytes == 0) {
            return Err(Bad::damaged("its Blosc header contradicts itself"));
        }
        Ok(header)
    }

    /// In how many parts a block is compressed.
    fn splits(&self, block_bytes: usize) -> usize {
        let is_split = self.flags & NOT_SPLIT == 0
            && self.element_bytes <= SPLITS_MAX
            && block_bytes == self.block_bytes
            && block_bytes / self.element_bytes >= SPLIT_BYTES_MIN;
        if is_split { self.element_bytes } else { 1 }
    }
}

/// How many bytes a buffer holds once it is decompressed, if that is at most `limit`.
pub(in super::super) fn plain_bytes(bytes: &[u8], limit: usize) -> Result<usize, Bad> {
    Ok(Header::of(bytes, limit)?.plain_bytes)
}

/// Decompresses into a buffer; gives how many bytes it wrote.
pub(in super::super) fn decompress(
    bytes: &[u8],
    to: &mut [u8],
    tools: &mut Tools,
) -> Result<usize, Bad> {
    let header = Header::of(bytes, to.len())?;
    let out = &mut to[..header.plain_bytes];
    if header.flags & STORED != 0 {
        let stored = bytes
            .get(HEADER_BYTES..HEADER_BYTES + header.plain_bytes)
            .ok_or(CUT_SHORT)?;
        out.copy_from_slice(stored);
        return Ok(header.plain_bytes);
    }
    if out.is_empty() {
        return Ok(0);
    }
    let block_bytes = header.block_bytes.min(header.plain_bytes);
    tools.with_block(block_bytes, |tools, scratch| {
        for (number, block) in out.chunks_mut(header.block_bytes).enumerate() {
            let start = number_at(bytes, HEADER_BYTES + 4 * number)?;
            let plain = &mut scratch[..block.len()];
            decompress_block(bytes, start, &header, plain, tools)?;
            if header.flags & SHUFFLED != 0 && header.element_bytes > 1 {
                unshuffle(plain, header.element_bytes, block);
            } else if header.flags & BITS_SHUFFLED != 0 {
                unshuffle_bits(plain, header.element_bytes, block);
            } else {
                block.copy_from_slice(plain);
            }
        }
        Ok(header.plain_bytes)
    })
}

fn number_at(bytes: &[u8], place: usize) -> Result<usize, Bad> {
    let four = bytes
        .get(place..place.saturating_add(4))
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(CUT_SHORT)?;
    usize::try_from(i32::from_le_bytes(four)).map_err(|_| Bad::damaged("a length is negative"))
}

fn decompress_block(
    bytes: &[u8],
    mut place: usize,
    header: &Header,
    plain: &mut [u8],
    tools: &mut Tools,
) -> Result<(), Bad> {
    let splits = header.splits(plain.len());
    let part_bytes = plain.len() / splits;
    if part_bytes * splits != plain.len() {
        return Err(Bad::damaged("a block cannot be split as its header says"));
    }
    for part in plain.chunks_mut(part_bytes) {
        let length = number_at(bytes, place)?;
        let from = bytes
            .get(place + 4..(place + 4).saturating_add(length))
            .ok_or(CUT_SHORT)?;
        place += 4 + length;
        if length == part.len() {
            part.copy_from_slice(from);
            continue;
        }
        let written = match header.flags >> 5 {
            0 => blosclz::decompress(from, part)?,
            1 => tools.lz4(from, part)?,
            3 => tools.zlib(from, part)?,
            4 => tools.zstd(from, part)?,
            other => {
                let name = match other {
                    2 => "snappy",
                    _ => "an unknown compressor",
                };
                return Err(Bad::Unknown(format!("blosc with {name} inside")));
            }
        };
        if written != part.len() {
            return Err(Bad::damaged("a block is shorter than its header says"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_lies_is_an_error() {
        let mut tools = Tools::new();
        let mut header = vec![2, 1, 0x21, 4, 0, 1, 0, 0, 0, 1, 0, 0, 24, 0, 0, 0];
        header.extend([20, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]);
        let mut out = [0; 256];
        assert!(decompress(&header, &mut out, &mut tools).is_err());
        assert!(decompress(&header, &mut out[..255], &mut tools).is_err());
        for length in 0..header.len() {
            assert!(decompress(&header[..length], &mut out, &mut tools).is_err());
        }
        header[8..12].fill(0);
        assert!(decompress(&header, &mut out, &mut tools).is_err());
    }
}
