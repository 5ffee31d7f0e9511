//! Takes big-endian numbers and names off the front of a header, and says where it went wrong.

use std::ops::Range;

use super::super::damage::Damage;
use crate::library::text_of;

/// Why a header could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// These bytes of the file are needed, and were not given.
    CutShort(Range<u64>),
    /// No more bytes would help.
    Damaged(Damage),
}

/// The bytes of a header, from its start, and how far they are read.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    /// The bytes of a count: 8 in a CDF-5 header, else 4.
    count_bytes: usize,
    /// The bytes of an offset into the file: 4 in a CDF-1 header, else 8.
    offset_bytes: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], count_bytes: usize, offset_bytes: usize) -> Self {
        Self {
            bytes,
            position: 0,
            count_bytes,
            offset_bytes,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position as u64
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], HeaderError> {
        let start = self.position as u64;
        let end = start.saturating_add(length);
        let taken = usize::try_from(end)
            .ok()
            .and_then(|end| self.bytes.get(self.position..end))
            .ok_or(HeaderError::CutShort(start..end))?;
        self.position += taken.len();
        Ok(taken)
    }

    fn number(&mut self, size_bytes: usize) -> Result<u64, HeaderError> {
        let bytes = self.take(size_bytes as u64)?;
        Ok(bytes
            .iter()
            .fold(0, |number, &byte| (number << 8) | u64::from(byte)))
    }

    /// A tag or type.
    pub(super) fn code(&mut self) -> Result<u64, HeaderError> {
        self.number(4)
    }

    pub(super) fn count(&mut self) -> Result<u64, HeaderError> {
        self.number(self.count_bytes)
    }

    /// The number of records, or `None` when it was unknown as the header was written.
    pub(super) fn record_count(&mut self) -> Result<Option<u64>, HeaderError> {
        let unknown = u64::MAX >> (64 - 8 * self.count_bytes);
        Ok(Some(self.count()?).filter(|&count| count != unknown))
    }

    pub(super) fn offset(&mut self) -> Result<u64, HeaderError> {
        self.number(self.offset_bytes)
    }

    /// Bytes that are followed by zeros up to a multiple of four.
    pub(super) fn padded(&mut self, length: u64) -> Result<&'a [u8], HeaderError> {
        let taken = self.take(length)?;
        self.take(length.next_multiple_of(4) - length)?;
        Ok(taken)
    }

    pub(super) fn name(&mut self) -> Result<String, HeaderError> {
        let start = self.position();
        let length = self.count()?;
        if length == 0 || length > NAME_BYTES_MAX {
            return self.damaged(start, format!("a name claims {length} bytes"));
        }
        Ok(text_of(self.padded(length)?))
    }

    /// A list's length, whose entries have at least `entry_bytes` each: a list that the given
    /// bytes cannot hold is not believed, so nothing is allocated for it.
    pub(super) fn list(
        &mut self,
        tag: u64,
        entry_bytes: u64,
        count_max: u64,
        what: &str,
    ) -> Result<u64, HeaderError> {
        let start = self.position();
        let (found, count) = (self.code()?, self.count()?);
        if found != tag && (found, count) != (0, 0) {
            return self.damaged(start, format!("no list of {what} begins here"));
        }
        if count > count_max {
            return self.damaged(start, format!("it claims {count} {what}"));
        }
        let needed = self.position() + count * entry_bytes;
        if needed > self.bytes.len() as u64 {
            return Err(HeaderError::CutShort(start..needed));
        }
        Ok(count)
    }

    /// Fails about the bytes from `start` to here.
    pub(super) fn damaged<T>(
        &self,
        start: u64,
        problem: impl Into<String>,
    ) -> Result<T, HeaderError> {
        let damage = Damage::of_header(start..self.position(), problem);
        Err(HeaderError::Damaged(damage))
    }
}

/// NetCDF allows 256.
const NAME_BYTES_MAX: u64 = 64 << 10;
