//! Chunks of Blosc 1: blocks that are split, compressed and shuffled each on its own.
//!
//! LZ4, Zstandard and zlib inside are read, with bytes or bits shuffled; BloscLZ and Snappy are
//! named and refused.
//!
//! Source: the header in the README of c-blosc 1 ("Blosc header"), and the bit order that
//! Masui et al. (2015), "A compression scheme for radio data", describe.

use super::super::decode::unshuffle;
use super::codec::{Bad, Tools};

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
            return Err(Bad::damaged("it is cut short"));
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

/// Decompresses one buffer of at most `limit` bytes.
pub(super) fn decompress(bytes: &[u8], limit: usize, tools: &mut Tools) -> Result<Vec<u8>, Bad> {
    let header = Header::of(bytes, limit)?;
    let mut out = vec![0; header.plain_bytes];
    if header.flags & STORED != 0 {
        let stored = bytes
            .get(HEADER_BYTES..HEADER_BYTES + header.plain_bytes)
            .ok_or(Bad::damaged("it is cut short"))?;
        out.copy_from_slice(stored);
        return Ok(out);
    }
    if out.is_empty() {
        return Ok(out);
    }
    let mut scratch = vec![0; header.block_bytes.min(header.plain_bytes)];
    for (number, block) in out.chunks_mut(header.block_bytes).enumerate() {
        let place = HEADER_BYTES + 4 * number;
        let start = number_at(bytes, place)?;
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
    Ok(out)
}

fn number_at(bytes: &[u8], place: usize) -> Result<usize, Bad> {
    let four = bytes
        .get(place..place.saturating_add(4))
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Bad::damaged("it is cut short"))?;
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
            .ok_or(Bad::damaged("it is cut short"))?;
        place += 4 + length;
        if length == part.len() {
            part.copy_from_slice(from);
            continue;
        }
        let written = match header.flags >> 5 {
            1 => tools.lz4(from, part)?,
            3 => tools.zlib(from, part)?,
            4 => tools.zstd(from, part)?,
            other => {
                let name = match other {
                    0 => "blosclz",
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

/// Puts the bits of each element together again. Plane by plane, from the first byte's lowest
/// bit on, one byte holds the bit of eight elements. Blocks whose elements are no multiple of
/// eight were left as they were.
fn unshuffle_bits(from: &[u8], element_bytes: usize, to: &mut [u8]) {
    let count = from.len() / element_bytes;
    if !count.is_multiple_of(8) {
        to.copy_from_slice(from);
        return;
    }
    let row = count / 8;
    for byte in 0..element_bytes {
        for group in 0..row {
            let planes = std::array::from_fn(|bit| from[(byte * 8 + bit) * row + group]);
            let elements = transposed(u64::from_le_bytes(planes)).to_le_bytes();
            for (index, &value) in elements.iter().enumerate() {
                to[(group * 8 + index) * element_bytes + byte] = value;
            }
        }
    }
    let whole = count * element_bytes;
    to[whole..].copy_from_slice(&from[whole..]);
}

/// Transposes a matrix of 8 by 8 bits, by halves of halves.
///
/// Source: H. S. Warren, Hacker's Delight, 7-3.
fn transposed(mut bits: u64) -> u64 {
    for (mask, shift) in [
        (0x00aa_00aa_00aa_00aa, 7),
        (0x0000_cccc_0000_cccc, 14),
        (0x0000_0000_f0f0_f0f0, 28),
    ] {
        let swap = (bits ^ (bits >> shift)) & mask;
        bits ^= swap ^ (swap << shift);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_transposed() {
        for (row, column) in [(0, 0), (1, 5), (7, 0), (6, 7)] {
            assert_eq!(
                transposed(1 << (8 * row + column)),
                1 << (8 * column + row),
                "{row} {column}"
            );
        }
    }

    #[test]
    fn a_header_that_lies_is_an_error() {
        let mut tools = Tools::new();
        let mut header = vec![2, 1, 0x21, 4, 0, 1, 0, 0, 0, 1, 0, 0, 24, 0, 0, 0];
        header.extend([20, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]);
        assert!(decompress(&header, 256, &mut tools).is_err());
        assert!(decompress(&header, 255, &mut tools).is_err());
        for length in 0..header.len() {
            assert!(decompress(&header[..length], 256, &mut tools).is_err());
        }
        header[8..12].fill(0);
        assert!(decompress(&header, 256, &mut tools).is_err());
    }
}
