//! The bytes of an input: those of a file of this machine, or of an object on a server.
//!
//! Readers of structure ask for small pieces one after the other; readers of data say beforehand
//! which pieces they will want, so that a server is asked for many at once.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::decode::Extent;
use super::remote::Object;

/// Bytes at places, for many threads at once.
pub(crate) trait ReadAt: Send + Sync {
    /// Fills the buffer with the bytes from `position` on.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()>;
}

/// An open input.
#[derive(Debug)]
pub(super) enum Input {
    Local(File),
    Remote(Arc<Object>),
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, position)
    }
}

impl ReadAt for Input {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        match self {
            Self::Local(file) => FileExt::read_exact_at(file, buffer, position),
            Self::Remote(object) => object.read_exact_at(buffer, position),
        }
    }
}

impl Input {
    /// The object, where asking takes so long that many pieces are better asked for at once.
    pub(super) fn remote(&self) -> Option<&Object> {
        match self {
            Self::Local(_) => None,
            Self::Remote(object) => Some(object),
        }
    }
}

/// Bytes of an input, with what went wrong: for readers that go on without what they could not
/// read.
pub(super) struct Watched<'a> {
    input: &'a Input,
    failure: Mutex<Option<io::Error>>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(input: &'a Input) -> Self {
        Self {
            input,
            failure: Mutex::default(),
        }
    }

    /// The last failure, if there was one.
    pub(super) fn finish(self) -> io::Result<()> {
        let failure = self.failure.into_inner();
        match failure.unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl ReadAt for Watched<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.input.read_exact_at(buffer, position).map_err(|error| {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            *failure = Some(error);
            io::ErrorKind::Other.into()
        })
    }
}

/// Pieces of an object that were read, in ascending order, none of which touch.
#[derive(Debug, Default)]
pub(crate) struct Fetched(Vec<(u64, Vec<u8>)>);

impl Fetched {
    pub(super) fn new(pieces: Vec<(u64, Vec<u8>)>) -> Self {
        Self(pieces)
    }

    /// The bytes of a range that is among those that were asked for.
    pub(super) fn find(&self, range: &Range<u64>) -> Option<&[u8]> {
        let after = self.0.partition_point(|(start, _)| *start <= range.start);
        let (start, bytes) = self.0.get(after.checked_sub(1)?)?;
        let from = usize::try_from(range.start - start).ok()?;
        let length = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        bytes.get(from..from.checked_add(length)?)
    }
}

impl ReadAt for Fetched {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let end = position.saturating_add(buffer.len() as u64);
        let found = self.find(&(position..end));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Bytes of chunks that are asked for together.
const AHEAD_BYTES_MAX: u64 = 32 << 20;

/// Chunks that are asked for together.
const AHEAD_COUNT_MAX: usize = 64;

/// Reads the chunks of one region, in their order: of a file one by one, of an object many at
/// once.
pub(super) struct Ahead<'a> {
    input: &'a Input,
    /// What was not asked for yet, the next one last.
    wanted: Vec<Range<u64>>,
    fetched: Fetched,
}

impl<'a> Ahead<'a> {
    /// `wanted` is asked only if it helps.
    pub(super) fn new(input: &'a Input, wanted: impl FnOnce() -> Vec<Extent>) -> Self {
        let wanted = match input.remote() {
            Some(_) => wanted().iter().rev().map(Extent::bytes).collect(),
            None => Vec::new(),
        };
        Self {
            input,
            wanted,
            fetched: Fetched::default(),
        }
    }

    /// What the next chunk is read from.
    pub(super) fn holding(&mut self, extent: &Extent) -> io::Result<&dyn ReadAt> {
        let Some(object) = self.input.remote() else {
            return Ok(self.input);
        };
        if self.fetched.find(&extent.bytes()).is_none() {
            self.fetched = Fetched::default();
            let mut batch = Vec::new();
            let mut bytes = 0;
            while let Some(range) = self.wanted.pop() {
                bytes += range.end - range.start;
                if !batch.is_empty() && (bytes > AHEAD_BYTES_MAX || batch.len() >= AHEAD_COUNT_MAX)
                {
                    self.wanted.push(range);
                    break;
                }
                batch.push(range);
            }
            self.fetched = object.read_many(&batch)?;
        }
        Ok(&self.fetched)
    }
}
