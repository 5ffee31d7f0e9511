//! The HDF5 filter Bitshuffle: blocks whose bits are put in order plane by plane, alone or
//! compressed with LZ4 or Zstandard in a frame.
//!
//! The last block is cut to a multiple of eight elements; what is left over is plain.
//!
//! Source: Masui et al. (2015), "A compression scheme for radio data in high performance
//! computing", and the HDF Group's registered filters (number 32008).

use super::bits::unshuffle_bits;
use super::framed::Frame;
use super::{Bad, Tools};

/// What is done to the blocks once their bits are in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Compressor {
    None,
    Lz4,
    Zstd,
}

/// The parameters of the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Bitshuffle {
    element_bytes: usize,
    /// Elements of a block; 0 leaves it to the filter.
    block_elements: usize,
    pub(in super::super) compressor: Compressor,
}

/// Elements come in groups of this many: one byte of each plane.
const GROUP: usize = 8;

/// The bytes that a block has unless the parameters say another size.
const BLOCK_BYTES: usize = 8192;

/// A block has at least so many elements unless the parameters say another size.
const BLOCK_ELEMENTS_MIN: usize = 128;

impl Bitshuffle {
    /// From the filter's parameters, unless they make no sense: two numbers of a version, the
    /// bytes of an element, the elements of a block and the compressor.
    pub(in super::super) fn of(parameters: &[u32]) -> Option<Self> {
        let number = |index: usize| {
            let number = parameters.get(index).copied().unwrap_or(0);
            usize::try_from(number).ok()
        };
        let element_bytes = number(2).filter(|&bytes| bytes > 0)?;
        let block_elements = number(3)?;
        let compressor = match number(4)? {
            0 => Compressor::None,
            2 => Compressor::Lz4,
            3 => Compressor::Zstd,
            _ => return None,
        };
        block_elements.is_multiple_of(GROUP).then_some(Self {
            element_bytes,
            block_elements,
            compressor,
        })
    }

    /// Undoes it, into a buffer; gives how many bytes it wrote.
    pub(in super::super) fn undo(
        self,
        from: &[u8],
        to: &mut [u8],
        tools: &mut Tools,
    ) -> Result<usize, Bad> {
        match self.compressor {
            Compressor::None => self.undo_plain(from, to),
            _ => self.undo_compressed(from, to, tools),
        }
    }

    fn undo_plain(self, from: &[u8], to: &mut [u8]) -> Result<usize, Bad> {
        let to = to
            .get_mut(..from.len())
            .ok_or(Bad::damaged("it has more bytes than its shape"))?;
        let block_bytes = self.block_bytes_default();
        let whole = self.whole(from.len());
        let blocks = to[..whole].chunks_mut(block_bytes);
        for (block, stored) in blocks.zip(from[..whole].chunks(block_bytes)) {
            unshuffle_bits(stored, self.element_bytes, block);
        }
        to[whole..].copy_from_slice(&from[whole..]);
        Ok(from.len())
    }

    fn undo_compressed(self, from: &[u8], to: &mut [u8], tools: &mut Tools) -> Result<usize, Bad> {
        let mut frame = Frame::of(from, to.len())?;
        let block_bytes = match frame.block_bytes {
            0 => self.block_bytes_default(),
            bytes => bytes,
        };
        if !block_bytes.is_multiple_of(self.element_bytes.saturating_mul(GROUP)) {
            return Err(Bad::damaged("its blocks do not hold whole elements"));
        }
        let (whole, rest) = to[..frame.plain_bytes].split_at_mut(self.whole(frame.plain_bytes));
        tools.with_block(block_bytes.min(whole.len()), |tools, shuffled| {
            for block in whole.chunks_mut(block_bytes) {
                let shuffled = &mut shuffled[..block.len()];
                let stored = frame.block()?;
                let written = match self.compressor {
                    Compressor::Zstd => tools.zstd(stored, shuffled)?,
                    _ => tools.lz4(stored, shuffled)?,
                };
                if written != block.len() {
                    return Err(Bad::damaged("a block is shorter than its header says"));
                }
                unshuffle_bits(shuffled, self.element_bytes, block);
            }
            Ok(())
        })?;
        rest.copy_from_slice(frame.take(rest.len())?);
        Ok(frame.plain_bytes)
    }

    /// The bytes of so many that are in blocks.
    fn whole(self, plain_bytes: usize) -> usize {
        let group = self.element_bytes.saturating_mul(GROUP);
        plain_bytes / group * group
    }

    fn block_bytes_default(self) -> usize {
        let elements = match self.block_elements {
            0 => (BLOCK_BYTES / self.element_bytes / GROUP * GROUP).max(BLOCK_ELEMENTS_MIN),
            elements => elements,
        };
        elements.saturating_mul(self.element_bytes)
    }
}
