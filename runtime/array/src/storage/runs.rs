//! Stored runs of cells read with few calls: neighbours are read together, gaps and all.
//!
//! For files whose arrays lie as plain numbers: NetCDF-3, and HDF5 without chunks.

use std::cell::RefCell;
use std::io;
use std::ops::Range;

use super::StorageError;
use super::input::{Input, ReadAt as _};
use super::remote::Object;

/// Bytes that are read at once: enough that calls cost nothing, few enough that they are still
/// in the cache of the core when they are converted.
const READ_BYTES_MAX: usize = 512 << 10;

/// A gap up to this size is read over: a call costs as much as reading it.
const GAP_BYTES_MAX: u64 = 8 << 10;

thread_local! {
    /// What the calling thread reads into.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Cells that lie side by side in the file and where they go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Where they begin in the file.
    pub(super) position: u64,
    /// The first of them among the cells wanted.
    pub(super) first: usize,
    /// How many they are.
    pub(super) length: usize,
}

/// Fewer bytes than this are read through the buffer: then neighbours may come with them.
const DIRECT_BYTES_MIN: usize = 64 << 10;

/// Who takes the stored bytes of cells.
pub(super) trait Sink {
    /// Takes the bytes of `length` cells, the first of which is `first` of the cells wanted.
    fn take(&mut self, bytes: &[u8], first: usize, length: usize);

    /// Where such bytes may be read to, if the cells themselves are the place; `None` if not.
    fn place(&mut self, _first: usize, _length: usize) -> Option<&mut [u8]> {
        None
    }

    /// Told when the bytes are in their [`place`](Self::place).
    fn landed(&mut self, _first: usize, _length: usize) {}
}

impl<V: FnMut(&[u8], usize, usize)> Sink for V {
    fn take(&mut self, bytes: &[u8], first: usize, length: usize) {
        self(bytes, first, length);
    }
}

/// Bytes of an object that are asked for together.
const AHEAD_BYTES_MAX: u64 = 16 << 20;

/// Runs of an object that are asked for together, each with a gap that is read over.
const AHEAD_RUNS_MAX: usize = 1024;

/// Takes runs by ascending position and hands their bytes on to a sink.
pub(super) struct RunReader<'a, S, F> {
    input: &'a Input,
    element_bytes: usize,
    sink: S,
    failed: F,
    pending: Vec<Run>,
    /// The bytes that the pending runs span.
    span: Range<u64>,
    /// The bytes that they have.
    pending_bytes: u64,
}

impl<'a, S, F> RunReader<'a, S, F>
where
    S: Sink,
    F: Fn(io::Error, Range<u64>) -> StorageError,
{
    /// `failed` makes an error of the system's and the bytes that were asked for.
    pub(super) fn new(input: &'a Input, element_bytes: usize, sink: S, failed: F) -> Self {
        Self {
            input,
            element_bytes,
            sink,
            failed,
            pending: Vec::new(),
            span: 0..0,
            pending_bytes: 0,
        }
    }

    /// Takes one run; reads when enough has come together.
    pub(super) fn push(&mut self, run: Run) -> Result<(), StorageError> {
        let step = READ_BYTES_MAX / self.element_bytes;
        for done in (0..run.length).step_by(step) {
            self.push_piece(Run {
                position: run.position + (done * self.element_bytes) as u64,
                first: run.first + done,
                length: step.min(run.length - done),
            })?;
        }
        Ok(())
    }

    fn push_piece(&mut self, run: Run) -> Result<(), StorageError> {
        let bytes = (run.length * self.element_bytes) as u64;
        let end = run.position + bytes;
        let joins = !self.pending.is_empty()
            && match self.input {
                Input::Local(_) => {
                    run.position >= self.span.end
                        && run.position - self.span.end <= GAP_BYTES_MAX
                        && end - self.span.start <= READ_BYTES_MAX as u64
                }
                Input::Remote(_) => {
                    self.pending.len() < AHEAD_RUNS_MAX
                        && self.pending_bytes + bytes <= AHEAD_BYTES_MAX
                }
            };
        if !joins {
            self.finish()?;
            self.span.start = run.position;
        }
        self.span.end = end;
        self.pending_bytes += bytes;
        self.pending.push(run);
        Ok(())
    }

    /// Reads what is left.
    pub(super) fn finish(&mut self) -> Result<(), StorageError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.pending_bytes = 0;
        if let Some(object) = self.input.remote() {
            return self.finish_remote(object);
        }
        let span = self.span.clone();
        let length = (span.end - span.start) as usize;
        if let [run] = *self.pending.as_slice()
            && length >= DIRECT_BYTES_MIN
            && let Some(place) = self.sink.place(run.first, run.length)
        {
            self.pending.clear();
            let read = self.input.read_exact_at(place, span.start);
            read.map_err(|error| (self.failed)(error, span))?;
            self.sink.landed(run.first, run.length);
            return Ok(());
        }
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < length {
                buffer.resize(length, 0);
            }
            let buffer = &mut buffer[..length];
            self.input
                .read_exact_at(buffer, span.start)
                .map_err(|error| (self.failed)(error, span.clone()))?;
            for run in self.pending.drain(..) {
                let from = (run.position - span.start) as usize;
                let bytes = &buffer[from..][..run.length * self.element_bytes];
                self.sink.take(bytes, run.first, run.length);
            }
            Ok(())
        })
    }

    /// Reads what is left of an object, with several requests at once.
    fn finish_remote(&mut self, object: &Object) -> Result<(), StorageError> {
        let element_bytes = self.element_bytes;
        let bytes_of = |run: &Run| {
            let length = (run.length * element_bytes) as u64;
            run.position..run.position.saturating_add(length)
        };
        let ranges: Vec<Range<u64>> = self.pending.iter().map(bytes_of).collect();
        let fetched = object
            .read_many(&ranges)
            .map_err(|error| (self.failed)(error.into(), self.span.clone()))?;
        for (run, range) in self.pending.drain(..).zip(ranges) {
            let missing = || (self.failed)(io::ErrorKind::UnexpectedEof.into(), range.clone());
            let bytes = fetched.find(&range).ok_or_else(missing)?;
            self.sink.take(bytes, run.first, run.length);
        }
        Ok(())
    }
}
