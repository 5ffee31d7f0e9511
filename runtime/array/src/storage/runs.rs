//! Stored runs of cells read with few calls: neighbours are read together, gaps and all.
//!
//! For files whose arrays lie as plain numbers: NetCDF-3, and HDF5 without chunks.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::StorageError;

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

/// Takes runs by ascending position and hands their bytes on as `visit(bytes, first, length)`.
pub(super) struct RunReader<'a, V, F> {
    file: &'a File,
    element_bytes: usize,
    visit: V,
    failed: F,
    pending: Vec<Run>,
    /// The bytes that the pending runs span.
    span: Range<u64>,
}

impl<'a, V, F> RunReader<'a, V, F>
where
    V: FnMut(&[u8], usize, usize),
    F: Fn(io::Error, Range<u64>) -> StorageError,
{
    /// `failed` makes an error of the system's and the bytes that were asked for.
    pub(super) fn new(file: &'a File, element_bytes: usize, visit: V, failed: F) -> Self {
        Self {
            file,
            element_bytes,
            visit,
            failed,
            pending: Vec::new(),
            span: 0..0,
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
        let end = run.position + (run.length * self.element_bytes) as u64;
        let joins = !self.pending.is_empty()
            && run.position >= self.span.end
            && run.position - self.span.end <= GAP_BYTES_MAX
            && end - self.span.start <= READ_BYTES_MAX as u64;
        if !joins {
            self.finish()?;
            self.span.start = run.position;
        }
        self.span.end = end;
        self.pending.push(run);
        Ok(())
    }

    /// Reads what is left.
    pub(super) fn finish(&mut self) -> Result<(), StorageError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let span = self.span.clone();
        let length = (span.end - span.start) as usize;
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < length {
                buffer.resize(length, 0);
            }
            let buffer = &mut buffer[..length];
            self.file
                .read_exact_at(buffer, span.start)
                .map_err(|error| (self.failed)(error, span.clone()))?;
            for run in self.pending.drain(..) {
                let from = (run.position - span.start) as usize;
                let bytes = &buffer[from..][..run.length * self.element_bytes];
                (self.visit)(bytes, run.first, run.length);
            }
            Ok(())
        })
    }
}
