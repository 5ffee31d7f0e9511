//! The frame in which the filters LZ4 and Bitshuffle put their blocks: big-endian, the plain
//! size in eight bytes, the plain size of a block in four, then each block after its own size
//! in four.
//!
//! Source: "HDF5 LZ4 filter" of the HDF Group's registered filters (number 32004).

use super::{Bad, CUT_SHORT};

/// A frame of which the header is read.
pub(super) struct Frame<'a> {
    pub(super) plain_bytes: usize,
    pub(super) block_bytes: usize,
    rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the header of a frame that may hold at most `limit` bytes.
    pub(super) fn of(bytes: &'a [u8], limit: usize) -> Result<Self, Bad> {
        let (total, rest) = bytes.split_first_chunk::<8>().ok_or(CUT_SHORT)?;
        let (block, rest) = rest.split_first_chunk::<4>().ok_or(CUT_SHORT)?;
        let plain_bytes = usize::try_from(u64::from_be_bytes(*total)).ok();
        let plain_bytes = plain_bytes
            .filter(|&bytes| bytes <= limit)
            .ok_or(Bad::damaged("it claims more bytes than its shape has"))?;
        let block_bytes = u32::from_be_bytes(*block) as usize;
        if block_bytes == 0 && plain_bytes > 0 {
            return Err(Bad::damaged("it claims blocks without bytes"));
        }
        Ok(Self {
            plain_bytes,
            block_bytes,
            rest,
        })
    }

    /// The next block as it is stored.
    pub(super) fn block(&mut self) -> Result<&'a [u8], Bad> {
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or(CUT_SHORT)?;
        self.rest = rest;
        self.take(u32::from_be_bytes(*length) as usize)
    }

    /// The next bytes, which are in no block.
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(taken)
    }
}
