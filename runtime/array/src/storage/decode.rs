//! Undoing the filters of a chunk, on the calling thread, in buffers that it keeps.
//!
//! The three filters that NetCDF-4 files of models and reanalyses carry are here; a variable
//! with any other is read through the HDF5 library.

use std::io;
use std::ops::Range;

use libdeflater::Decompressor;

use super::input::ReadAt;
use crate::library::Filter;
use crate::simd::{self, Kernel};

/// The bytes that a Fletcher-32 checksum adds.
const CHECKSUM_BYTES: usize = 4;

/// Deflate cannot shrink more than this (a run of 258 bytes in two bits, and block headers), so
/// a chunk that claims to is damaged, and nothing is allocated for it.
const DEFLATE_RATIO_MAX: usize = 1040;

/// Buffers above this size are given back after each use.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// One filter that is undone here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Deflate,
    Shuffle { element_bytes: usize },
    Checksum,
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
}

impl Pipeline {
    /// The pipeline, if every filter of it is known here.
    pub(super) fn of(filters: &[Filter]) -> Option<Self> {
        let steps = filters.iter().map(|filter| match filter.id {
            1 => Some(Step::Deflate),
            2 => {
                let element_bytes = usize::try_from(*filter.parameters.first()?).ok()?;
                (element_bytes > 0).then_some(Step::Shuffle { element_bytes })
            }
            3 => Some(Step::Checksum),
            _ => None,
        });
        Some(Self {
            steps: steps.collect::<Option<_>>()?,
        })
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
    decompressor: Decompressor,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            front: Vec::new(),
            back: Vec::new(),
            decompressor: Decompressor::new(),
        }
    }

    /// A plain buffer of this size, with anything in it.
    pub(super) fn plain(&mut self, size_bytes: usize) -> &mut [u8] {
        sized(&mut self.front, size_bytes)
    }

    /// Reads a chunk and undoes its filters; the result has `decoded_bytes`.
    pub(super) fn decode(
        &mut self,
        file: &dyn ReadAt,
        extent: Extent,
        pipeline: &Pipeline,
        decoded_bytes: usize,
    ) -> Result<&[u8], DecodeError> {
        let raw = sized(&mut self.front, extent.size_bytes);
        file.read_exact_at(raw, extent.address)
            .map_err(DecodeError::Io)?;
        let mut len = extent.size_bytes;
        for (index, step) in pipeline.steps.iter().enumerate().rev() {
            if extent.filter_mask & (1 << index) != 0 {
                continue;
            }
            len = match *step {
                Step::Checksum => check(&self.front[..len])?,
                Step::Shuffle { element_bytes } => {
                    let back = sized(&mut self.back, len);
                    unshuffle(&self.front[..len], element_bytes, back);
                    std::mem::swap(&mut self.front, &mut self.back);
                    len
                }
                Step::Deflate => {
                    let inner = checksums(&pipeline.steps[..index], extent.filter_mask);
                    self.inflate(len, decoded_bytes + inner * CHECKSUM_BYTES)?
                }
            };
        }
        if len != decoded_bytes {
            return Err(DecodeError::Damaged(
                "a chunk has another size than its shape",
            ));
        }
        Ok(&self.front[..len])
    }

    fn inflate(&mut self, len: usize, inflated_bytes: usize) -> Result<usize, DecodeError> {
        if inflated_bytes / DEFLATE_RATIO_MAX > len {
            return Err(DecodeError::Damaged("a deflated chunk is cut short"));
        }
        let back = sized(&mut self.back, inflated_bytes);
        let written = self
            .decompressor
            .zlib_decompress(&self.front[..len], back)
            .map_err(|_| DecodeError::Damaged("a chunk does not inflate"))?;
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

fn sized(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

/// How many checksums lie inside the bytes that come before a step.
fn checksums(steps: &[Step], filter_mask: u32) -> usize {
    let applied = |index: usize| filter_mask & (1 << index) == 0;
    steps
        .iter()
        .enumerate()
        .filter(|(index, step)| **step == Step::Checksum && applied(*index))
        .count()
}

/// Verifies and cuts off the checksum at the end.
fn check(bytes: &[u8]) -> Result<usize, DecodeError> {
    let len = bytes
        .len()
        .checked_sub(CHECKSUM_BYTES)
        .ok_or(DecodeError::Damaged("a chunk is shorter than its checksum"))?;
    let stored = u32::from_le_bytes([bytes[len], bytes[len + 1], bytes[len + 2], bytes[len + 3]]);
    let computed = fletcher32(&bytes[..len]);
    // Library releases up to 1.6.2 stored each half with its bytes swapped.
    let swapped = ((computed & 0x00ff_00ff) << 8) | ((computed & 0xff00_ff00) >> 8);
    if stored == computed || stored == swapped {
        Ok(len)
    } else {
        Err(DecodeError::Damaged("the checksum of a chunk is wrong"))
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
pub(super) fn unshuffle(from: &[u8], element_bytes: usize, to: &mut [u8]) {
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
