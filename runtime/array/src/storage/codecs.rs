//! The compressors that HDF5's filters and Zarr's codecs have in common: from bytes into a
//! buffer whose size the caller bounds.
//!
//! Called by [`decode`](super::decode) for chunks of NetCDF-4 files and by
//! [`zarr`](super::zarr). Nothing is allocated by what compressed bytes claim.

mod bits;
pub(super) mod bitshuffle;
pub(super) mod blosc;
mod blosclz;
mod framed;
pub(super) mod lz4;
pub(super) mod lzf;

use libdeflater::Decompressor;

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// They contradict themselves or what the metadata says.
    Damaged(&'static str),
    /// They are compressed with something that is not known here.
    Unknown(String),
}

impl Bad {
    pub(super) fn damaged(problem: &'static str) -> Self {
        Self::Damaged(problem)
    }
}

/// The decompressors of a thread, which are kept from chunk to chunk.
pub(super) struct Tools {
    pub(super) deflate: Decompressor,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    /// A block before its bytes or bits are put in order.
    block: Vec<u8>,
}

impl Tools {
    pub(super) fn new() -> Self {
        Self {
            deflate: Decompressor::new(),
            zstd: None,
            block: Vec::new(),
        }
    }

    pub(super) fn lz4(&mut self, from: &[u8], to: &mut [u8]) -> Result<usize, Bad> {
        lz4_flex::block::decompress_into(from, to)
            .map_err(|_| Bad::damaged("it does not decompress (LZ4)"))
    }

    pub(super) fn zlib(&mut self, from: &[u8], to: &mut [u8]) -> Result<usize, Bad> {
        self.deflate
            .zlib_decompress(from, to)
            .map_err(|_| Bad::damaged("it does not inflate (zlib)"))
    }

    pub(super) fn zstd(&mut self, from: &[u8], to: &mut [u8]) -> Result<usize, Bad> {
        let tool = match &mut self.zstd {
            Some(tool) => tool,
            empty => empty.insert(
                zstd::bulk::Decompressor::new()
                    .map_err(|_| Bad::damaged("the memory for Zstandard is not there"))?,
            ),
        };
        tool.decompress_to_buffer(from, to)
            .map_err(|_| Bad::damaged("it does not decompress (Zstandard)"))
    }

    /// Runs `body` with a buffer of this size, which is kept.
    fn with_block<T>(
        &mut self,
        size_bytes: usize,
        body: impl FnOnce(&mut Self, &mut [u8]) -> T,
    ) -> T {
        let mut block = std::mem::take(&mut self.block);
        if block.len() < size_bytes {
            block.resize(size_bytes, 0);
        }
        let answer = body(self, &mut block[..size_bytes]);
        if block.len() <= BLOCK_KEPT_BYTES_MAX {
            self.block = block;
        }
        answer
    }
}

/// Larger blocks than these are not kept: those of Blosc have some hundred KiB.
const BLOCK_KEPT_BYTES_MAX: usize = 16 << 20;

/// What all of the formats say of bytes that end too early.
const CUT_SHORT: Bad = Bad::Damaged("it is cut short");

/// Copies `length` bytes from `distance` before `place` on, as the compressors of the Lempel-Ziv
/// kind do: what was copied may be copied again. `None` where either end lies outside.
fn copy_back(to: &mut [u8], place: usize, distance: usize, length: usize) -> Option<()> {
    let start = place.checked_sub(distance)?;
    let end = place.checked_add(length).filter(|&end| end <= to.len())?;
    if distance == 0 {
        return None;
    }
    let mut done = place;
    while done < end {
        // Twice as much each time, of what repeats.
        let count = (done - start).min(end - done);
        to.copy_within(start..start + count, done);
        done += count;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_is_copied_again() {
        let mut bytes = *b"abc-------";
        assert_eq!(copy_back(&mut bytes, 3, 3, 7), Some(()));
        assert_eq!(&bytes, b"abcabcabca");
        assert_eq!(copy_back(&mut bytes, 9, 1, 1), Some(()));
        assert_eq!(&bytes, b"abcabcabcc");
        for (place, distance, length) in [(3, 0, 1), (3, 4, 1), (3, 1, 8)] {
            assert_eq!(copy_back(&mut bytes, place, distance, length), None);
        }
    }
}
