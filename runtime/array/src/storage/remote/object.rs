//! One object of a server, open for reading any of its bytes, from many threads at once.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::agent::on_threads;
use super::answer::{Part, Version, WHOLE_BYTES_MAX};
use super::blocks::{BLOCK_BYTES, Blocks};
use super::client::Client;
use super::{Address, RemoteError};
use crate::storage::input::{Fetched, ReadAt};

/// A longer read is made of several requests.
const REQUEST_BYTES_MAX: u64 = 2 << 20;

/// A gap up to this size is read over: a request costs more than its bytes.
const GAP_BYTES_MAX: u64 = 16 << 10;

/// Reads up to this size go through the blocks.
const SMALL_BYTES_MAX: usize = 256 << 10;

/// An open object.
#[derive(Debug)]
pub(crate) struct Object {
    address: Address,
    client: Arc<Client>,
    version: Version,
    size_bytes: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// All of it, from a server that sends no parts.
    Held(Vec<u8>),
    Read(Mutex<Blocks>),
}

impl Object {
    /// Asks for its start, which tells its size.
    pub(crate) fn open(address: Address, client: Arc<Client>) -> Result<Self, RemoteError> {
        let part = Part::Range {
            start: 0,
            length: BLOCK_BYTES as usize,
        };
        let answer = client.get(&address, part, BLOCK_BYTES as usize, None)?;
        let size_bytes = answer.version.size_bytes.ok_or(RemoteError::Answer {
            expected: "the size of the object".to_owned(),
            found: "a part of one of unknown size".to_owned(),
        })?;
        let content = if answer.is_whole && answer.bytes.len() <= WHOLE_BYTES_MAX {
            Content::Held(answer.bytes)
        } else {
            let mut blocks = Blocks::new(size_bytes);
            blocks.keep(0, &answer.bytes);
            Content::Read(Mutex::new(blocks))
        };
        Ok(Self {
            address,
            client,
            version: answer.version,
            size_bytes,
            content,
        })
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fails when the server now has another one under this name.
    pub(crate) fn check(&self) -> Result<(), RemoteError> {
        // Not by HEAD: a signed link is for GET alone.
        match &self.content {
            // All that was read was read at once.
            Content::Held(_) => Ok(()),
            Content::Read(_) => self.fetch(0..1).map(|_| ()),
        }
    }

    /// Reads many ranges: neighbours together, and several requests at once.
    pub(crate) fn read_many(&self, ranges: &[Range<u64>]) -> Result<Fetched, RemoteError> {
        if ranges.iter().any(|range| range.end > self.size_bytes) {
            return Err(RemoteError::CutShort);
        }
        let joined = joined(ranges);
        let mut pieces: Vec<(u64, Vec<u8>)> = Vec::with_capacity(joined.len());
        let mut missing = Vec::new();
        for range in joined {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            if !self.find(&mut bytes, range.start) {
                missing.push(pieces.len());
            }
            pieces.push((range.start, bytes));
        }
        let mut jobs = Vec::new();
        let mut wanted = missing.into_iter().peekable();
        for (index, (start, bytes)) in pieces.iter_mut().enumerate() {
            if wanted.next_if_eq(&index).is_none() {
                continue;
            }
            let start = *start;
            let parts = bytes.chunks_mut(REQUEST_BYTES_MAX as usize).enumerate();
            jobs.extend(
                parts.map(|(number, part)| (start + number as u64 * REQUEST_BYTES_MAX, part)),
            );
        }
        self.fetch_all(jobs)?;
        Ok(Fetched::new(pieces))
    }

    /// Fills buffers, several at once.
    fn fetch_all(&self, jobs: Vec<(u64, &mut [u8])>) -> Result<(), RemoteError> {
        let threads = jobs.len();
        let jobs = Mutex::new(jobs.into_iter());
        let failure = Mutex::new(None);
        let next = || {
            let is_failed = failure.lock().map_or(true, |failure| failure.is_some());
            let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.next().filter(|_| !is_failed)
        };
        let work = || {
            while let Some((start, buffer)) = next() {
                match self.fetch(start..start + buffer.len() as u64) {
                    Ok(bytes) => buffer.copy_from_slice(&bytes),
                    Err(error) => {
                        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        failure.get_or_insert(error);
                    }
                }
            }
        };
        on_threads(threads, work);
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// One request for all bytes of a range that lies within the object.
    fn fetch(&self, range: Range<u64>) -> Result<Vec<u8>, RemoteError> {
        let length = (range.end - range.start) as usize;
        let part = Part::Range {
            start: range.start,
            length,
        };
        let answer = self
            .client
            .get(&self.address, part, length, Some(&self.version))?;
        let bytes = match answer.is_whole {
            // A server that sent a part before, and now all of it.
            true => answer
                .bytes
                .get(range.start as usize..range.end as usize)
                .map(<[u8]>::to_vec),
            false => Some(answer.bytes).filter(|bytes| bytes.len() == length),
        };
        bytes.ok_or_else(|| RemoteError::Answer {
            expected: format!("{length} bytes from {} on", range.start),
            found: "fewer".to_owned(),
        })
    }

    /// Copies bytes that need no request.
    fn find(&self, buffer: &mut [u8], position: u64) -> bool {
        match &self.content {
            Content::Held(bytes) => {
                let start = position as usize;
                buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
                true
            }
            Content::Read(blocks) => {
                let mut blocks = blocks.lock().unwrap_or_else(PoisonError::into_inner);
                blocks.find(buffer, position)
            }
        }
    }
}

impl ReadAt for Object {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let end = position.saturating_add(buffer.len() as u64);
        if end > self.size_bytes {
            return Err(RemoteError::CutShort.into());
        }
        match &self.content {
            Content::Read(blocks) if buffer.len() <= SMALL_BYTES_MAX => {
                let mut blocks = blocks.lock().unwrap_or_else(PoisonError::into_inner);
                let fetch = |range| self.fetch(range);
                Ok(blocks.read(buffer, position, fetch)?)
            }
            _ => {
                if !self.find(buffer, position) {
                    self.read_many(&[position..end])?
                        .read_exact_at(buffer, position)?;
                }
                Ok(())
            }
        }
    }
}

/// The ranges in ascending order, those that overlap or nearly touch as one.
fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = ranges.iter().filter(|r| !r.is_empty()).cloned().collect();
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES_MAX) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_together() {
        let far = 100 * GAP_BYTES_MAX;
        assert_eq!(
            joined(&[far..far + 5, 20..30, 0..10, 5..5, 8..12]),
            [0..30, far..far + 5]
        );
        let gap = GAP_BYTES_MAX;
        assert_eq!(joined(&[0..1, 1 + gap..2 + gap]).len(), 1);
        assert_eq!(joined(&[0..1, 2 + gap..3 + gap]).len(), 2);
    }
}
