//! From the plain bytes of a chunk to those that are stored, and back for chunks that are
//! written in parts. Pure.

use std::cell::RefCell;

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::huffman;
use crate::simd::{self, Kernel};
use crate::storage::decode::unshuffle;

/// What is done to the bytes of each chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Codec {
    /// Whether bytes are sorted by significance first.
    pub(super) shuffle: bool,
    pub(super) compressor: Stream,
}

/// The compressed streams that are written, with their level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Plain,
    Zlib(u8),
    Gzip(u8),
    Zstd(u8),
}

/// What stands around a DEFLATE stream.
#[derive(Clone, Copy, Debug)]
enum Envelope {
    Zlib,
    Gzip,
}

/// Levels at which speed counts: there bytes that do not repeat are not searched.
const FAST_LEVEL_MAX: u8 = 2;

/// Buffers above this size are not kept between chunks.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// What a thread keeps from chunk to chunk: compressors with their level, and buffers, because
/// new memory costs more than the copy out of them.
#[derive(Default)]
struct Tools {
    deflate: Option<(u8, Compressor)>,
    zstd: Option<(u8, zstd::bulk::Compressor<'static>)>,
    shuffled: Vec<u8>,
    out: Vec<u8>,
}

thread_local! {
    static TOOLS: RefCell<Tools> = RefCell::default();
}

impl Codec {
    pub(super) const PLAIN: Self = Self {
        shuffle: false,
        compressor: Stream::Plain,
    };

    /// The bytes as they are stored.
    pub(super) fn encode(self, bytes: Vec<u8>, element_bytes: usize) -> Vec<u8> {
        if self == Self::PLAIN {
            return bytes;
        }
        TOOLS.with_borrow_mut(|tools| {
            let mut shuffled = std::mem::take(&mut tools.shuffled);
            let source = match self.shuffle {
                true => shuffle(&bytes, element_bytes, &mut shuffled),
                false => bytes.as_slice(),
            };
            let planes = if self.shuffle { element_bytes } else { 1 };
            let plane_bytes = source.len() / planes.max(1);
            let stored = tools.compress(self.compressor, source, plane_bytes);
            tools.shuffled = shuffled;
            tools.trim();
            stored
        })
    }

    /// The plain bytes of what [`encode`](Self::encode) gave; `None` if it did not give it.
    pub(super) fn decode(
        self,
        bytes: &[u8],
        size_bytes: usize,
        element_bytes: usize,
    ) -> Option<Vec<u8>> {
        let mut plain = vec![0; size_bytes];
        let length = match self.compressor {
            Stream::Plain => {
                plain = bytes.to_vec();
                Some(plain.len())
            }
            Stream::Zlib(_) => Decompressor::new().zlib_decompress(bytes, &mut plain).ok(),
            Stream::Gzip(_) => Decompressor::new().gzip_decompress(bytes, &mut plain).ok(),
            Stream::Zstd(_) => zstd::bulk::decompress_to_buffer(bytes, &mut plain).ok(),
        };
        if length != Some(size_bytes) {
            return None;
        }
        if self.shuffle {
            let mut out = vec![0; size_bytes];
            unshuffle(&plain, element_bytes, &mut out);
            plain = out;
        }
        Some(plain)
    }
}

impl Tools {
    fn compress(&mut self, stream: Stream, bytes: &[u8], plane_bytes: usize) -> Vec<u8> {
        match stream {
            Stream::Zlib(level @ 1..=FAST_LEVEL_MAX) => {
                return self.fast(level, bytes, plane_bytes, Envelope::Zlib);
            }
            Stream::Gzip(level @ 1..=FAST_LEVEL_MAX) => {
                return self.fast(level, bytes, plane_bytes, Envelope::Gzip);
            }
            _ => {}
        }
        let mut out = std::mem::take(&mut self.out);
        let mut room = |bound: usize| out.resize(bound.max(out.len()), 0);
        const ENOUGH: &str = "the buffer has the size that is always enough";
        let length = match stream {
            Stream::Plain => return bytes.to_vec(),
            Stream::Zlib(level) => {
                let tool = self.deflate(level);
                room(tool.zlib_compress_bound(bytes.len()));
                tool.zlib_compress(bytes, &mut out).expect(ENOUGH)
            }
            Stream::Gzip(level) => {
                let tool = self.deflate(level);
                room(tool.gzip_compress_bound(bytes.len()));
                tool.gzip_compress(bytes, &mut out).expect(ENOUGH)
            }
            Stream::Zstd(level) => {
                room(zstd::zstd_safe::compress_bound(bytes.len()));
                let tool = self.zstd(level);
                tool.compress_to_buffer(bytes, out.as_mut_slice())
                    .expect(ENOUGH)
            }
        };
        let stored = out[..length].to_vec();
        self.out = out;
        stored
    }

    /// By [`huffman`], in the envelope of RFC 1950 or 1952.
    fn fast(&mut self, level: u8, bytes: &[u8], plane_bytes: usize, envelope: Envelope) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.out);
        let head: &[u8] = match envelope {
            Envelope::Zlib => &[0x78, 0x01],
            // No name, no time, the fastest method, an unknown system.
            Envelope::Gzip => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255],
        };
        if out.len() < head.len() {
            out.resize(head.len(), 0);
        }
        out[..head.len()].copy_from_slice(head);
        let end = huffman::deflate(
            bytes,
            plane_bytes,
            self.deflate(level),
            &mut out,
            head.len(),
        );
        let mut stored = Vec::with_capacity(end + 8);
        stored.extend_from_slice(&out[..end]);
        match envelope {
            Envelope::Zlib => stored.extend(libdeflater::adler32(bytes).to_be_bytes()),
            Envelope::Gzip => {
                stored.extend(libdeflater::crc32(bytes).to_le_bytes());
                stored.extend((bytes.len() as u32).to_le_bytes());
            }
        }
        self.out = out;
        stored
    }

    fn trim(&mut self) {
        for buffer in [&mut self.shuffled, &mut self.out] {
            if buffer.len() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }

    fn deflate(&mut self, level: u8) -> &mut Compressor {
        if self.deflate.as_ref().is_none_or(|(kept, _)| *kept != level) {
            self.deflate = None;
        }
        let new = || {
            let known = CompressionLvl::new(level.into()).unwrap_or_default();
            (level, Compressor::new(known))
        };
        &mut self.deflate.get_or_insert_with(new).1
    }

    fn zstd(&mut self, level: u8) -> &mut zstd::bulk::Compressor<'static> {
        if self.zstd.as_ref().is_none_or(|(kept, _)| *kept != level) {
            self.zstd = None;
        }
        let new = || {
            let new = zstd::bulk::Compressor::new(level.into());
            (level, new.expect("a compressor needs memory only"))
        };
        &mut self.zstd.get_or_insert_with(new).1
    }
}

/// Sorts bytes by their place in their element.
fn shuffle<'a>(bytes: &[u8], element_bytes: usize, out: &'a mut Vec<u8>) -> &'a [u8] {
    let count = bytes.len() / element_bytes;
    out.resize(bytes.len(), 0);
    let planes = out.chunks_exact_mut(count.max(1)).take(element_bytes);
    for (plane, out) in planes.enumerate() {
        match element_bytes {
            2 => simd::run(Plane::<2> { bytes, plane, out }),
            4 => simd::run(Plane::<4> { bytes, plane, out }),
            8 => simd::run(Plane::<8> { bytes, plane, out }),
            _ => {
                for (byte, element) in out.iter_mut().zip(bytes.chunks_exact(element_bytes)) {
                    *byte = element[plane];
                }
            }
        }
    }
    out
}

/// One byte of each element of so many bytes.
struct Plane<'a, const N: usize> {
    bytes: &'a [u8],
    plane: usize,
    out: &'a mut [u8],
}

impl<const N: usize> Kernel for Plane<'_, N> {
    #[inline(always)]
    fn run(self) {
        let (elements, _) = self.bytes.as_chunks::<N>();
        let shift = 8 * self.plane as u32;
        for (byte, element) in self.out.iter_mut().zip(elements) {
            // As a number: the compiler narrows vectors of those.
            let mut wide = [0; 8];
            wide[..N].copy_from_slice(element);
            let number = u64::from_le_bytes(wide);
            *byte = match N {
                2 => (number as u16 >> shift) as u8,
                4 => (number as u32 >> shift) as u8,
                _ => (number >> shift) as u8,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_and_nothing_else_does() {
        let bytes: Vec<u8> = (0..4000_u32).flat_map(|i| (i / 3).to_ne_bytes()).collect();
        for shuffle in [false, true] {
            for compressor in [
                Stream::Plain,
                Stream::Zlib(1),
                Stream::Gzip(1),
                Stream::Gzip(6),
                Stream::Zstd(3),
                Stream::Zlib(9),
            ] {
                let codec = Codec {
                    shuffle,
                    compressor,
                };
                let stored = codec.encode(bytes.clone(), 4);
                assert_eq!(stored.len() < 8000, compressor != Stream::Plain);
                let back = codec.decode(&stored, bytes.len(), 4);
                assert_eq!(back.as_ref(), Some(&bytes), "{codec:?}");
                let cut = codec.decode(&stored[..stored.len() - 1], bytes.len(), 4);
                assert_eq!(cut, None, "{codec:?}");
            }
        }
    }
}
