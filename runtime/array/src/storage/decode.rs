//! Undoing the filters of a chunk, on the calling thread, in buffers that it keeps.
//!
//! The filters that NetCDF-4 files carry are here, and the better known ones that others bring as
//! plugins; a variable with any other is read through the HDF5 library.

use std::io;
use std::ops::Range;

use super::codecs::bitshuffle::{self, Bitshuffle};
use super::codecs::{Bad, Tools, blosc, lz4, lzf};
use super::input::ReadAt;
use crate::library::Filter;
use crate::simd::{self, Kernel};

/// The bytes that a Fletcher-32 checksum adds.
const CHECKSUM_BYTES: usize = 4;

/// Buffers above this size are given back after each use.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// The place of the compressor among the parameters of Blosc, and the one that is not known here.
const BLOSC_COMPRESSOR: usize = 6;
const SNAPPY: u32 = 3;

/// One filter that is undone here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Shuffle { element_bytes: usize },
    Checksum,
    Compressed(Compressor),
}

/// A filter that changes the size of what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compressor {
    Deflate,
    Lzf,
    Blosc,
    Lz4,
    Zstd,
    Bitshuffle(Bitshuffle),
}

/// The filters of a variable, in the order in which they were applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pipeline {
    steps: Vec<Step>,
}

/// Why a chunk could not be decoded.
#[derive(Debug)]
pub(super) enum DecodeError {
    Io(io::Error),
    Damaged(&'static str),
    /// It is compressed with something that is not known here.
    Unknown(String),
    /// So many bytes are more than this machine gives.
    Memory(usize),
}

impl From<Bad> for DecodeError {
    fn from(bad: Bad) -> Self {
        match bad {
            Bad::Damaged(problem) => Self::Damaged(problem),
            Bad::Unknown(codec) => Self::Unknown(codec),
        }
    }
}

impl Pipeline {
    /// The pipeline, if every filter of it is known here.
    pub(super) fn of(filters: &[Filter]) -> Option<Self> {
        let steps = filters.iter().map(Step::of).collect::<Option<_>>()?;
        Some(Self { steps })
    }

    /// Whether a chunk with this mask went through a step.
    fn is_applied(index: usize, filter_mask: u32) -> bool {
        u32::try_from(index)
            .ok()
            .and_then(|index| filter_mask.checked_shr(index))
            .is_none_or(|mask| mask & 1 == 0)
    }

    /// How many bytes a step was given at most, of a chunk that has `decoded_bytes` before all
    /// steps: checksums add some, and what another step compressed may have grown.
    fn bytes_before(&self, index: usize, filter_mask: u32, decoded_bytes: usize) -> usize {
        let applied = self.steps[..index]
            .iter()
            .enumerate()
            .filter(|(index, _)| Self::is_applied(*index, filter_mask));
        applied.fold(decoded_bytes, |bytes, (_, step)| match step {
            Step::Shuffle { .. } => bytes,
            Step::Checksum => bytes.saturating_add(CHECKSUM_BYTES),
            Step::Compressed(_) => bytes
                .saturating_add(bytes / 16)
                .saturating_add(GROWTH_BYTES),
        })
    }
}

/// More bytes than compressing adds to those that it cannot shrink, besides a sixteenth.
const GROWTH_BYTES: usize = 64 << 10;

impl Step {
    fn of(filter: &Filter) -> Option<Self> {
        let parameter = |index: usize| filter.parameters.get(index).copied();
        Some(match filter.id {
            1 => Self::Compressed(Compressor::Deflate),
            2 => {
                let element_bytes = usize::try_from(parameter(0)?).ok()?;
                (element_bytes > 0).then_some(Self::Shuffle { element_bytes })?
            }
            3 => Self::Checksum,
            32_000 => Self::Compressed(Compressor::Lzf),
            32_001 if parameter(BLOSC_COMPRESSOR) == Some(SNAPPY) => return None,
            32_001 => Self::Compressed(Compressor::Blosc),
            32_004 => Self::Compressed(Compressor::Lz4),
            32_008 => {
                let bitshuffle = Bitshuffle::of(&filter.parameters)?;
                Self::Compressed(Compressor::Bitshuffle(bitshuffle))
            }
            32_015 => Self::Compressed(Compressor::Zstd),
            _ => return None,
        })
    }
}

impl Compressor {
    /// More than this it cannot shrink, so a chunk that claims to is damaged, and nothing is
    /// allocated for it.
    fn ratio_max(self) -> usize {
        match self {
            // A run of 258 bytes in two bits, and block headers.
            Self::Deflate => 1040,
            // 264 bytes in three.
            Self::Lzf => 88,
            // A byte lengthens a copy by 255; a block's header is a share of its bytes.
            Self::Lz4 => 256,
            // Blocks of 128 KiB in four bytes.
            Self::Zstd | Self::Blosc => 32_768,
            Self::Bitshuffle(Bitshuffle { compressor, .. }) => match compressor {
                bitshuffle::Compressor::None => 1,
                bitshuffle::Compressor::Lz4 => 256,
                bitshuffle::Compressor::Zstd => 32_768,
            },
        }
    }

    fn undo(self, from: &[u8], to: &mut [u8], tools: &mut Tools) -> Result<usize, Bad> {
        match self {
            Self::Deflate => tools.zlib(from, to),
            Self::Lzf => lzf::decompress(from, to),
            Self::Blosc => blosc::decompress(from, to, tools),
            Self::Lz4 => lz4::decompress(from, to, tools),
            // Zstandard takes no frame at all for one of no bytes.
            Self::Zstd if from.is_empty() => Err(Bad::damaged("it is empty")),
            Self::Zstd => tools.zstd(from, to),
            Self::Bitshuffle(bitshuffle) => bitshuffle.undo(from, to, tools),
        }
    }
}

/// A chunk in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) address: u64,
    pub(super) size_bytes: usize,
    pub(super) filter_mask: u32,
}

impl Extent {
    /// Its bytes in the file.
    pub(super) fn bytes(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.size_bytes as u64)
    }
}

/// What one thread keeps between chunks.
pub(super) struct Scratch {
    front: Vec<u8>,
    back: Vec<u8>,
    tools: Tools,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            front: Vec::new(),
            back: Vec::new(),
            tools: Tools::new(),
        }
    }

    /// The chunk that was decoded last, which has this size.
    pub(super) fn decoded(&self, size_bytes: usize) -> &[u8] {
        &self.front[..size_bytes]
    }

    /// Reads a chunk and undoes its filters; the result has `decoded_bytes`.
    pub(super) fn decode(
        &mut self,
        file: &dyn ReadAt,
        extent: Extent,
        pipeline: &Pipeline,
        decoded_bytes: usize,
    ) -> Result<(), DecodeError> {
        let raw = sized(&mut self.front, extent.size_bytes)?;
        file.read_exact_at(raw, extent.address)
            .map_err(DecodeError::Io)?;
        let mut len = extent.size_bytes;
        for (index, step) in pipeline.steps.iter().enumerate().rev() {
            if !Pipeline::is_applied(index, extent.filter_mask) {
                continue;
            }
            len = match *step {
                Step::Checksum => check(&self.front[..len])?,
                Step::Shuffle { element_bytes } => {
                    let back = sized(&mut self.back, len)?;
                    unshuffle(&self.front[..len], element_bytes, back);
                    std::mem::swap(&mut self.front, &mut self.back);
                    len
                }
                Step::Compressed(compressor) => {
                    let plain = pipeline.bytes_before(index, extent.filter_mask, decoded_bytes);
                    self.decompress(compressor, len, plain)?
                }
            };
        }
        if len != decoded_bytes {
            return Err(DecodeError::Damaged(
                "the chunk has another size than its shape",
            ));
        }
        Ok(())
    }

    /// Decompresses the first `len` bytes, which may become `plain_bytes` at most.
    fn decompress(
        &mut self,
        compressor: Compressor,
        len: usize,
        plain_bytes: usize,
    ) -> Result<usize, DecodeError> {
        // A small chunk may be all header.
        if plain_bytes.saturating_sub(GROWTH_BYTES) / compressor.ratio_max() > len {
            return Err(DecodeError::Damaged(
                "the chunk is compressed and has too few bytes: it is cut short",
            ));
        }
        let back = sized(&mut self.back, plain_bytes)?;
        let written = compressor.undo(&self.front[..len], back, &mut self.tools)?;
        std::mem::swap(&mut self.front, &mut self.back);
        Ok(written)
    }

    /// Gives back what is too large to keep.
    pub(super) fn trim(&mut self) {
        for buffer in [&mut self.front, &mut self.back] {
            if buffer.len() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }
}

/// A buffer of at least this length, with anything in it.
fn sized(buffer: &mut Vec<u8>, len: usize) -> Result<&mut [u8], DecodeError> {
    if buffer.len() < len {
        buffer
            .try_reserve_exact(len - buffer.len())
            .map_err(|_| DecodeError::Memory(len))?;
        buffer.resize(len, 0);
    }
    Ok(&mut buffer[..len])
}

/// Verifies and cuts off the checksum at the end.
fn check(bytes: &[u8]) -> Result<usize, DecodeError> {
    let len = bytes
        .len()
        .checked_sub(CHECKSUM_BYTES)
        .ok_or(DecodeError::Damaged(
            "the chunk is shorter than its checksum",
        ))?;
    let stored = u32::from_le_bytes([bytes[len], bytes[len + 1], bytes[len + 2], bytes[len + 3]]);
    let computed = fletcher32(&bytes[..len]);
    // Library releases up to 1.6.2 stored each half with its bytes swapped.
    let swapped = ((computed & 0x00ff_00ff) << 8) | ((computed & 0xff00_ff00) >> 8);
    if stored == computed || stored == swapped {
        Ok(len)
    } else {
        Err(DecodeError::Damaged("the checksum of the chunk is wrong"))
    }
}

/// The checksum of HDF5's filter 3: Fletcher's over big-endian 16-bit words.
///
/// Source: HDF5 file format specification, IV.A.2.l (the filter pipeline message).
fn fletcher32(bytes: &[u8]) -> u32 {
    /// So many words can be summed before the sums need folding.
    const WORDS: usize = 360;
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut first, mut second) = (0_u32, 0_u32);
    for block in bytes.chunks(2 * WORDS) {
        for word in block.chunks(2) {
            let low = word.get(1).copied().unwrap_or(0);
            first += u32::from(u16::from_be_bytes([word[0], low]));
            second += first;
        }
        first = fold(first);
        second = fold(second);
    }
    (fold(second) << 16) | fold(first)
}

/// Puts the bytes of each element together again; a part of an element at the end stays as it
/// is.
pub(crate) fn unshuffle(from: &[u8], element_bytes: usize, to: &mut [u8]) {
    let count = from.len() / element_bytes;
    let whole = count * element_bytes;
    let (planes, rest) = from.split_at(whole);
    let (elements, to_rest) = to.split_at_mut(whole);
    to_rest.copy_from_slice(rest);
    match element_bytes {
        1 => elements.copy_from_slice(planes),
        2 => simd::run(Unshuffle::<2> { planes, elements }),
        4 => simd::run(Unshuffle::<4> { planes, elements }),
        8 => simd::run(Unshuffle::<8> { planes, elements }),
        _ => {
            for (plane, bytes) in planes.chunks_exact(count.max(1)).enumerate() {
                for (element, &byte) in bytes.iter().enumerate() {
                    elements[element * element_bytes + plane] = byte;
                }
            }
        }
    }
}

/// For the sizes of numbers.
struct Unshuffle<'a, const N: usize> {
    planes: &'a [u8],
    elements: &'a mut [u8],
}

impl<const N: usize> Kernel for Unshuffle<'_, N> {
    #[inline(always)]
    fn run(self) {
        let (elements, _) = self.elements.as_chunks_mut::<N>();
        let count = elements.len();
        let planes: [&[u8]; N] =
            std::array::from_fn(|plane| &self.planes[plane * count..][..count]);
        for (index, element) in elements.iter_mut().enumerate() {
            // As one number: the compiler makes vectors of shifts, not of single bytes.
            let bits = (0..N).fold(0, |bits, plane| {
                bits | u64::from(planes[plane][index]) << (8 * plane)
            });
            element.copy_from_slice(&bits.to_le_bytes()[..N]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shuffle(from: &[u8], element_bytes: usize) -> Vec<u8> {
        let count = from.len() / element_bytes;
        let mut to = from.to_vec();
        for element in 0..count {
            for plane in 0..element_bytes {
                to[plane * count + element] = from[element * element_bytes + plane];
            }
        }
        to
    }

    proptest! {
        #[test]
        fn unshuffle_undoes_shuffle(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            element_bytes in 1_usize..12,
        ) {
            let mut back = vec![0; bytes.len()];
            unshuffle(&shuffle(&bytes, element_bytes), element_bytes, &mut back);
            prop_assert_eq!(back, bytes);
        }
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(fletcher32(b""), 0);
        let mut bytes = vec![0, 1, 0, 2];
        assert_eq!(fletcher32(&bytes), (4 << 16) | 3);
        bytes.extend_from_slice(&((4_u32 << 16) | 3).to_le_bytes());
        assert_eq!(check(&bytes).unwrap(), 4);
        bytes[0] = 7;
        assert!(check(&bytes).is_err());
    }
}
