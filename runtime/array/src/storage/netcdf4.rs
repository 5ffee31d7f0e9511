//! NetCDF-4 files: regions read chunk by chunk on the calling thread, without the HDF5 lock.
//!
//! The library gives structure and addresses once. Data then goes from `pread` through
//! [`decode`](super::decode) and [`convert`](super::convert) into the caller's buffer. Layouts
//! and filters unknown here go through the library, one thread at a time.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::StorageError;
use super::backend::{Backend, Buffer, Opened};
use super::chunks::{self, Bytes, ChunkedArray, WholeArray};
use super::convert::{Numbers, Output};
use super::damage::Damage;
use super::decode::{DecodeError, Pipeline, Scratch};
use super::groups;
use super::heap::GlobalHeap;
use super::index::ChunkIndex;
use super::input::{Ahead, Input, Watched};
use super::region::{Place, cell_count, for_each_index, for_each_run, touched_chunks};
use super::runs::{Run, RunReader};
use super::sniff::Candidate;
use super::stamp::Stamp;
use super::stored::{Part, Plan, Stored, Target};
use super::structure::{self, Broken, Structure};
use crate::library::{Element, Failure, H5File, Layout, fixed_text};

mod problem;

/// Bytes that are read at once through the library.
const READ_BYTES: usize = 4 << 20;

/// A file, with all that is needed to read it from any thread.
#[derive(Debug)]
pub(super) struct Netcdf4 {
    path: PathBuf,
    stamp: Stamp,
    input: Input,
    file_bytes: u64,
    user_block_bytes: u64,
    /// Tells the chunks of this file from those of others in what threads keep.
    id: u64,
    variables: Vec<Stored>,
    // After the arrays: they close before it.
    _library: H5File,
}

/// The buffers of a thread, and the chunk that is decoded in them.
struct Kept {
    scratch: Scratch,
    chunk: Option<(u64, usize, usize)>,
}

thread_local! {
    static KEPT: RefCell<Kept> =
        RefCell::new(Kept { scratch: Scratch::new(), chunk: None });
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Netcdf4 {
    /// Reads the structure.
    pub(super) fn open(path: &Path, candidate: Candidate) -> Result<Opened, StorageError> {
        let failed =
            |failure: Failure| problem::opening_failed(path, candidate.size_bytes, failure);
        let bytes = Bytes {
            file: &candidate.input,
            base: candidate.start,
            file_bytes: candidate.size_bytes,
        };
        let watched = Watched::new(&candidate.input);
        let checked = groups::check(Bytes {
            file: &watched,
            ..bytes
        });
        let read = watched.finish();
        read.map_err(|source| StorageError::io(path, "read", source))?;
        checked.map_err(|damage| problem::damaged(path, &damage))?;
        let library = match &candidate.input {
            Input::Local(_) => H5File::open(path),
            Input::Remote(object) => {
                H5File::open_input(Arc::clone(object) as _, candidate.size_bytes)
            }
        };
        let library = library.map_err(failed)?;
        let user_block_bytes = library.user_block_bytes().map_err(failed)?;
        let structure = structure::read(&library, bytes);
        let Structure {
            dataset,
            arrays,
            notes,
        } = structure.map_err(|broken| match broken {
            Broken::Library(failure) => failed(failure),
            Broken::Damaged(damage) => problem::damaged(path, &damage),
        })?;
        let variables = arrays
            .into_iter()
            .enumerate()
            .map(|(index, array)| Stored::of(array, &dataset, index, path))
            .collect::<Result<_, _>>()?;
        let file = Self {
            path: path.to_owned(),
            stamp: candidate.stamp,
            input: candidate.input,
            file_bytes: candidate.size_bytes,
            user_block_bytes,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            variables,
            _library: library,
        };
        Ok(Opened {
            backend: Box::new(file),
            dataset,
            notes,
        })
    }
}

impl Backend for Netcdf4 {
    fn chunk_shape(&self, variable: usize) -> Option<Vec<usize>> {
        match &self.variables[variable].array.layout {
            Layout::Chunked { shape, .. } => Some(shape.clone()),
            _ => None,
        }
    }

    fn is_f32(&self, variable: usize) -> bool {
        self.variables[variable].conversion.is_f32()
    }

    fn stored_bytes(&self, variable: usize, region: &[Range<usize>]) -> u64 {
        let stored = &self.variables[variable];
        let region = stored.clip(region);
        let plain = cell_count(&region) as u64 * stored.dtype.size_bytes() as u64;
        let Plan::Chunked { shape, .. } = &stored.plan else {
            return plain;
        };
        let Ok(index) = self.index(stored, shape) else {
            return plain;
        };
        if plain == 0 || region.is_empty() {
            return plain;
        }
        index.stored_bytes(&touched_chunks(&region, shape))
    }

    fn check_size(&self, variable: usize) -> Result<(), StorageError> {
        let stored = &self.variables[variable];
        match &stored.plan {
            Plan::Chunked { shape, .. } => {
                let whole: Vec<Range<usize>> = stored.extents.iter().map(|&len| 0..len).collect();
                let claimed = cell_count(&whole) as u64 * stored.dtype.size_bytes() as u64;
                let index = self.index(stored, shape)?;
                let bytes = index.stored_bytes(&touched_chunks(&whole, shape));
                if chunks::is_plausible(claimed, bytes) {
                    return Ok(());
                }
                let header = stored.array.address;
                let damage = chunks::implausible(self.bytes(), header, claimed, bytes);
                Err(self.damaged(damage.in_variable(&stored.name)))
            }
            _ => self.check(stored),
        }
    }

    fn read_text(&self, variable: usize) -> Result<Vec<String>, StorageError> {
        let stored = &self.variables[variable];
        let failed = |failure| self.library_failed(failure);
        let (size_bytes, width) = match stored.array.element {
            Element::FixedText { size_bytes: 1 } => {
                (1, stored.extents.last().copied().unwrap_or(1).max(1))
            }
            Element::FixedText { size_bytes } => (size_bytes, size_bytes.max(1)),
            _ => {
                self.check(stored)?;
                let references = stored.array.read_references().map_err(failed)?;
                let texts = GlobalHeap::new(self.bytes()).texts(&references);
                return texts.map_err(|damage| self.damaged(damage.in_variable(&stored.name)));
            }
        };
        self.check(stored)?;
        let bytes = stored.array.read_fixed_texts(size_bytes).map_err(failed)?;
        Ok(bytes.chunks(width).map(fixed_text).collect())
    }

    fn read(
        &self,
        variable: usize,
        region: &[Range<usize>],
        out: Buffer<'_>,
    ) -> Result<(), StorageError> {
        match out {
            Buffer::Single(out) => self.read_into(variable, region, out),
            Buffer::Double(out) => self.read_into(variable, region, out),
        }
    }

    fn check_unchanged(&self) -> Result<(), StorageError> {
        self.stamp.check()
    }
}

impl Netcdf4 {
    /// Reads a region that lies within the variable's dimensions.
    fn read_into<T: Output>(
        &self,
        variable: usize,
        region: &[Range<usize>],
        out: &mut [T],
    ) -> Result<(), StorageError> {
        let stored = &self.variables[variable];
        let whole: Vec<usize> = region.iter().map(ExactSizeIterator::len).collect();
        let written = stored.clip(region);
        if written != region {
            out.fill(stored.fill());
        }
        if cell_count(&written) == 0 {
            return Ok(());
        }
        // Clipping cuts ends only, so the written part begins where the region does.
        let target = Target {
            region: &written,
            shape: &whole,
        };
        match &stored.plan {
            Plan::Chunked { shape, pipeline } => {
                self.read_chunks(variable, shape, pipeline, target, out)
            }
            Plan::Contiguous {
                address: Some(address),
            } => self.read_contiguous(stored, *address, target, out),
            Plan::Contiguous { address: None } => {
                stored.fill_box(target, out);
                Ok(())
            }
            Plan::Library => self.read_slowly(stored, target, out),
        }
    }

    fn read_chunks<T: Output>(
        &self,
        variable: usize,
        chunk_shape: &[usize],
        pipeline: &Pipeline,
        target: Target<'_>,
        out: &mut [T],
    ) -> Result<(), StorageError> {
        let stored = &self.variables[variable];
        let index = self.index(stored, chunk_shape)?;
        let element_bytes = stored.dtype.size_bytes();
        let decoded_bytes = chunk_shape.iter().product::<usize>() * element_bytes;
        KEPT.with_borrow_mut(|kept| {
            let touched = touched_chunks(target.region, chunk_shape);
            let mut ahead = Ahead::new(&self.input, || {
                let mut wanted = Vec::new();
                let _: Result<(), ()> = for_each_index(&touched, |place| {
                    wanted.extend(index.find(index.number(place)));
                    Ok(())
                });
                wanted
            });
            for_each_index(&touched, |place| {
                let part = Part::of(place, chunk_shape, target);
                let number = index.number(place);
                let Some(extent) = index.find(number) else {
                    stored.fill_runs(&part, chunk_shape, target, out);
                    return Ok(());
                };
                let key = (self.id, variable, number);
                if kept.chunk != Some(key) {
                    kept.chunk = None;
                    let failed = |error| self.decoding_failed(stored, error, extent.bytes());
                    let input = ahead.holding(&extent).map_err(DecodeError::Io);
                    input
                        .and_then(|input| {
                            let scratch = &mut kept.scratch;
                            scratch.decode(input, extent, pipeline, decoded_bytes)
                        })
                        .map_err(failed)?;
                    kept.chunk = Some(key);
                }
                let bytes = kept.scratch.decoded(decoded_bytes);
                part.for_each_run(chunk_shape, target, |from, to, length| {
                    let bytes = &bytes[from * element_bytes..][..length * element_bytes];
                    stored.conversion.run(bytes, &mut out[to..to + length]);
                });
                Ok(())
            })?;
            if decoded_bytes > KEPT_CHUNK_BYTES_MAX {
                kept.chunk = None;
                kept.scratch.trim();
            }
            Ok(())
        })
    }

    fn read_contiguous<T: Output>(
        &self,
        stored: &Stored,
        address: u64,
        target: Target<'_>,
        out: &mut [T],
    ) -> Result<(), StorageError> {
        let element_bytes = stored.dtype.size_bytes();
        let starts: Vec<usize> = target.region.iter().map(|range| range.start).collect();
        let extent: Vec<usize> = target.region.iter().map(ExactSizeIterator::len).collect();
        let origin = vec![0; extent.len()];
        let from = Place {
            shape: &stored.extents,
            start: &starts,
        };
        let to = Place {
            shape: target.shape,
            start: &origin,
        };
        let numbers = Numbers::new(&stored.conversion, out);
        let failed = |error, bytes| self.decoding_failed(stored, DecodeError::Io(error), bytes);
        let mut reader = RunReader::new(&self.input, element_bytes, numbers, failed);
        let mut result = Ok(());
        for_each_run(&extent, from, to, |from, to, length| {
            if result.is_ok() {
                result = reader.push(Run {
                    position: address + (from * element_bytes) as u64,
                    first: to,
                    length,
                });
            }
        });
        result?;
        reader.finish()
    }

    /// Reads through the library, in blocks along the first dimension.
    fn read_slowly<T: Output>(
        &self,
        stored: &Stored,
        target: Target<'_>,
        out: &mut [T],
    ) -> Result<(), StorageError> {
        self.check(stored)?;
        let element_bytes = stored.dtype.size_bytes();
        let conversion = stored.conversion.native();
        let mut block = target.region.to_vec();
        let rows = block.first().map_or(1, ExactSizeIterator::len);
        let row_bytes = cell_count(&block) / rows * element_bytes;
        let step = (READ_BYTES / row_bytes.max(1)).max(1);
        for done in (0..rows).step_by(step) {
            let count = step.min(rows - done);
            if let Some(first) = block.first_mut() {
                let start = target.region[0].start + done;
                *first = start..start + count;
            }
            let mut bytes = vec![0_u8; count * row_bytes];
            stored
                .array
                .read(stored.dtype, &block, &mut bytes)
                .map_err(|failure| self.slow_read_failed(stored, failure))?;
            let extent: Vec<usize> = block.iter().map(ExactSizeIterator::len).collect();
            let origin = vec![0; extent.len()];
            let mut start = origin.clone();
            if let Some(first) = start.first_mut() {
                *first = done;
            }
            let from = Place {
                shape: &extent,
                start: &origin,
            };
            let to = Place {
                shape: target.shape,
                start: &start,
            };
            for_each_run(&extent, from, to, |from, to, length| {
                let bytes = &bytes[from * element_bytes..][..length * element_bytes];
                conversion.run(bytes, &mut out[to..to + length]);
            });
        }
        Ok(())
    }

    /// Checks what the library does not look at, once, before it reads a variable.
    fn check(&self, stored: &Stored) -> Result<(), StorageError> {
        if stored.checked.get().is_some() {
            return Ok(());
        }
        let array = WholeArray {
            header: stored.array.address,
            extents: &stored.array.extents,
            element_bytes: stored.array.element_bytes as u64,
        };
        chunks::check(self.bytes(), array)
            .map_err(|damage| self.damaged(damage.in_variable(&stored.name)))?;
        stored.checked.get_or_init(|| ());
        Ok(())
    }

    /// The chunk index, made when it is first needed.
    fn index<'a>(
        &self,
        stored: &'a Stored,
        shape: &[usize],
    ) -> Result<&'a ChunkIndex, StorageError> {
        if let Some(index) = stored.index.get() {
            return Ok(index);
        }
        let array = &stored.array;
        let damaged = |damage: Damage| self.damaged(damage.in_variable(&stored.name));
        let own = chunks::find(
            self.bytes(),
            ChunkedArray {
                header: array.address,
                chunk_shape: shape,
                extents: &array.extents,
                extents_max: &array.extents_max,
                element_bytes: stored.dtype.size_bytes(),
                is_filtered: array.layout.is_filtered(),
            },
        );
        let chunks = match own.map_err(damaged)? {
            Some(chunks) => chunks,
            None => array
                .chunks()
                .map_err(|failure| self.library_failed(failure))?,
        };
        let base = self.user_block_bytes;
        let index = ChunkIndex::new(&chunks, shape, &stored.extents, base, self.file_bytes)
            .map_err(damaged)?;
        Ok(stored.index.get_or_init(|| index))
    }

    fn decoding_failed(
        &self,
        stored: &Stored,
        error: DecodeError,
        bytes: Range<u64>,
    ) -> StorageError {
        let path = self.path.clone();
        let problem = match error {
            DecodeError::Io(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
                return StorageError::io(&path, "read", source);
            }
            DecodeError::Unknown(codec) => {
                let found = problem::filter_refusal(&codec, &stored.name, "is not read here");
                return StorageError::NotReadable { path, found };
            }
            DecodeError::Memory(size_bytes) => {
                return StorageError::Memory {
                    path,
                    variable: stored.name.clone(),
                    size_bytes: size_bytes as u64,
                };
            }
            DecodeError::Io(_) => {
                "the data lies beyond the end of the file: it is cut short".to_owned()
            }
            DecodeError::Damaged(problem) => problem.to_owned(),
        };
        self.damaged(Damage::of_variable(&stored.name, bytes, problem))
    }

    fn damaged(&self, damage: Damage) -> StorageError {
        problem::damaged(&self.path, &damage)
    }

    /// The file's structure, for our own readers.
    fn bytes(&self) -> Bytes<'_> {
        Bytes {
            file: &self.input,
            base: self.user_block_bytes,
            file_bytes: self.file_bytes,
        }
    }

    /// Names the filter that the library most likely does not have.
    fn slow_read_failed(&self, stored: &Stored, failure: Failure) -> StorageError {
        let found = match &stored.array.layout {
            Layout::Chunked { filters, .. } => {
                problem::foreign_filter(filters, &stored.name, &failure)
            }
            _ => None,
        };
        let path = self.path.clone();
        match found {
            Some(found) => StorageError::NotReadable { path, found },
            None => self.library_failed(failure),
        }
    }

    fn library_failed(&self, failure: Failure) -> StorageError {
        let Failure { operation, detail } = failure;
        StorageError::Hdf5 {
            path: self.path.clone(),
            operation,
            detail,
        }
    }
}

/// A decoded chunk above this size is not kept between calls.
const KEPT_CHUNK_BYTES_MAX: usize = 64 << 20;
