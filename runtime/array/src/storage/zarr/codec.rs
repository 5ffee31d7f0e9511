//! Undoing the codecs of a Zarr chunk: bytes to bytes, with every size known or bounded before
//! anything is allocated.

use libdeflater::DecompressionError;

use super::super::codecs::blosc;
pub(super) use super::super::codecs::{Bad, Tools};
use super::super::decode::unshuffle;

/// The bytes that a CRC-32C adds at the end.
pub(super) const CRC32C_BYTES: usize = 4;

/// Deflate cannot shrink more than this: a chunk that claims to is damaged.
const DEFLATE_RATIO_MAX: usize = 1040;

/// One codec from bytes to bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ByteCodec {
    Gzip,
    Zlib,
    Zstd,
    /// A block of LZ4 after its size in four bytes, as numcodecs writes it.
    Lz4,
    Blosc,
    Crc32c,
    Shuffle {
        element_bytes: usize,
    },
}

/// How many bytes a codec may give.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    /// As many as the chunk's shape has.
    Exactly(usize),
    /// Any number up to this: texts, and what other codecs will go on with.
    AtMost(usize),
}

impl Size {
    fn limit(self) -> usize {
        match self {
            Self::Exactly(size) | Self::AtMost(size) => size,
        }
    }
}

/// Undoes codecs, which are given in the order in which they were applied.
pub(super) fn decode(
    codecs: &[ByteCodec],
    mut bytes: Vec<u8>,
    size: Size,
    tools: &mut Tools,
) -> Result<Vec<u8>, Bad> {
    for (index, codec) in codecs.iter().enumerate().rev() {
        // What the codecs before it add or may fail to save.
        let own = match index {
            0 => size,
            _ => Size::AtMost(encoded_bytes_max(size.limit())),
        };
        bytes = codec.undo(bytes, own, tools)?;
    }
    match size {
        Size::Exactly(size) if bytes.len() != size => {
            Err(Bad::damaged("it has another size than its shape"))
        }
        _ => Ok(bytes),
    }
}

/// More bytes than this no codec makes of so many.
pub(super) fn encoded_bytes_max(plain_bytes: usize) -> usize {
    plain_bytes
        .saturating_add(plain_bytes / 16)
        .saturating_add(64 << 10)
}

impl ByteCodec {
    fn undo(&self, mut bytes: Vec<u8>, size: Size, tools: &mut Tools) -> Result<Vec<u8>, Bad> {
        match self {
            Self::Gzip => inflate(&bytes, size, |from, to| {
                tools.deflate.gzip_decompress(from, to)
            }),
            Self::Zlib => inflate(&bytes, size, |from, to| {
                tools.deflate.zlib_decompress(from, to)
            }),
            // Zstandard takes no frame at all for one of no bytes.
            Self::Zstd if bytes.is_empty() => Err(Bad::damaged("it is empty")),
            Self::Zstd => {
                let claimed = zstd::zstd_safe::get_frame_content_size(&bytes)
                    .ok()
                    .flatten();
                let length = match (size, claimed) {
                    (Size::Exactly(size), _) => size,
                    (Size::AtMost(limit), Some(claimed)) => match usize::try_from(claimed) {
                        Ok(claimed) if claimed <= limit => claimed,
                        _ => return Err(Bad::damaged("it claims more bytes than it can have")),
                    },
                    (Size::AtMost(limit), None) => limit,
                };
                let mut out = vec![0; length];
                let written = tools.zstd(&bytes, &mut out)?;
                out.truncate(written);
                Ok(out)
            }
            Self::Lz4 => {
                let (head, block) = bytes
                    .split_first_chunk::<4>()
                    .ok_or(Bad::damaged("it is cut short"))?;
                let length = u32::from_le_bytes(*head) as usize;
                if length > size.limit() {
                    return Err(Bad::damaged("it claims more bytes than it can have"));
                }
                let mut out = vec![0; length];
                let written = tools.lz4(block, &mut out)?;
                out.truncate(written);
                Ok(out)
            }
            Self::Blosc => {
                let mut out = vec![0; blosc::plain_bytes(&bytes, size.limit())?];
                blosc::decompress(&bytes, &mut out, tools)?;
                Ok(out)
            }
            Self::Crc32c => {
                let Some((plain, stored)) = bytes.split_last_chunk::<CRC32C_BYTES>() else {
                    return Err(Bad::damaged("it is shorter than its checksum"));
                };
                if u32::from_le_bytes(*stored) != crc32c(plain) {
                    return Err(Bad::damaged("its checksum is wrong"));
                }
                bytes.truncate(bytes.len() - CRC32C_BYTES);
                Ok(bytes)
            }
            Self::Shuffle { element_bytes } => {
                let mut out = vec![0; bytes.len()];
                unshuffle(&bytes, *element_bytes, &mut out);
                Ok(out)
            }
        }
    }
}

/// Inflates into a buffer of the known size, or into larger and larger ones up to the limit.
fn inflate(
    from: &[u8],
    size: Size,
    mut inflate: impl FnMut(&[u8], &mut [u8]) -> Result<usize, DecompressionError>,
) -> Result<Vec<u8>, Bad> {
    let limit = size
        .limit()
        .min(from.len().saturating_mul(DEFLATE_RATIO_MAX));
    let mut length = match size {
        Size::Exactly(size) if size > limit => {
            return Err(Bad::damaged("it is cut short"));
        }
        Size::Exactly(size) => size,
        Size::AtMost(_) => from.len().saturating_mul(8).min(limit),
    };
    loop {
        let mut out = vec![0; length];
        match inflate(from, &mut out) {
            Ok(written) => {
                out.truncate(written);
                return Ok(out);
            }
            Err(DecompressionError::InsufficientSpace) if length < limit => {
                length = length.saturating_mul(4).min(limit);
            }
            Err(_) => return Err(Bad::damaged("it does not inflate")),
        }
    }
}

/// Castagnoli's CRC, eight bytes at a time.
///
/// Source: RFC 3720, appendix B.4; the tables as in Kounavis and Berry (2005), "A systematic
/// approach to building high performance software-based CRC generators".
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLES: [[u32; 256]; 8] = crc32c_tables();
    let mut crc = u32::MAX;
    let (blocks, rest) = bytes.as_chunks::<8>();
    for block in blocks {
        let low = u32::from_le_bytes([block[0], block[1], block[2], block[3]]) ^ crc;
        let low = low.to_le_bytes();
        crc = 0;
        for (place, &byte) in low.iter().chain(&block[4..]).enumerate() {
            crc ^= TABLES[7 - place][usize::from(byte)];
        }
    }
    for &byte in rest {
        crc = (crc >> 8) ^ TABLES[0][usize::from(crc as u8 ^ byte)];
    }
    !crc
}

const fn crc32c_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_is_no_stream_is_an_error() {
        let mut tools = Tools::new();
        for codec in [
            ByteCodec::Gzip,
            ByteCodec::Zlib,
            ByteCodec::Zstd,
            ByteCodec::Lz4,
            ByteCodec::Blosc,
            ByteCodec::Crc32c,
        ] {
            for bytes in [&b""[..], b"abc", &[0xff; 40]] {
                for size in [Size::Exactly(400), Size::AtMost(400)] {
                    let found = decode(
                        std::slice::from_ref(&codec),
                        bytes.to_vec(),
                        size,
                        &mut tools,
                    );
                    assert!(found.is_err(), "{codec:?} {bytes:?}");
                }
            }
        }
    }
}
