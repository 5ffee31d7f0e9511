//! Zarr stores of version 2 and 3: arrays cut into chunks, each under a key of its own.
//!
//! Metadata is read once; data then goes from the chunk's bytes through [`codec`] and
//! [`convert`](super::convert) into the caller's buffer, on any number of threads. Only the
//! arrays of the root group are variables, as in NetCDF-4 here.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

mod array;
pub(crate) mod codec;
mod fill;
mod json;
mod open;
mod refusal;
mod shard;
mod store;
mod text;
mod v2;
mod v3;
mod variable;

use super::StorageError;
use super::backend::{Backend, Buffer};
use super::convert::Output;
use super::region::{cell_count, for_each_index, touched_chunks};
use super::remote::Prefix;
use super::stamp::Stamp;
use super::stored::{Part, Target};
use codec::{Bad, Size, Tools};
use store::Store;
use variable::{Chunk, Stored};

/// A decoded chunk above this size is not kept between calls.
const KEPT_CHUNK_BYTES_MAX: usize = 64 << 20;

/// Chunks that are asked for at once, where asking takes long.
const CHUNKS_AT_ONCE: usize = 16;

/// A store, with all that is needed to read it from any thread.
#[derive(Debug)]
pub(super) struct Zarr {
    path: PathBuf,
    stamp: Stamp,
    store: Store,
    /// Tells the chunks of this store from those of others in what threads keep.
    id: u64,
    variables: Vec<Stored>,
}

/// The decompressors of a thread, and the chunk that it decoded last.
struct Kept {
    tools: Tools,
    chunk: Option<((u64, usize, usize), Vec<u8>)>,
}

thread_local! {
    static KEPT: RefCell<Kept> =
        RefCell::new(Kept { tools: Tools::new(), chunk: None });
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Backend for Zarr {
    fn chunk_shape(&self, variable: usize) -> Option<Vec<usize>> {
        Some(self.variables[variable].meta.chunk_shape.clone())
    }

    /// The size of the chunks once decoded: what they have before is known only by asking for
    /// each.
    fn stored_bytes(&self, variable: usize, region: &[Range<usize>]) -> u64 {
        let stored = &self.variables[variable];
        let element_bytes = stored.meta.element.size_bytes().unwrap_or(16) as u64;
        if cell_count(region) == 0 {
            return 0;
        }
        let chunk = &stored.meta.chunk_shape;
        let chunks: u64 = touched_chunks(region, chunk)
            .iter()
            .map(|range| range.len() as u64)
            .product();
        let chunk_cells: u64 = chunk.iter().map(|&len| len as u64).product();
        chunks
            .saturating_mul(chunk_cells)
            .saturating_mul(element_bytes)
    }

    fn is_f32(&self, variable: usize) -> bool {
        self.variables[variable].conversion.is_f32()
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

    /// What was written of a store is known only by asking for each chunk.
    fn check_size(&self, _variable: usize) -> Result<(), StorageError> {
        Ok(())
    }

    fn read_text(&self, variable: usize) -> Result<Vec<String>, StorageError> {
        self.read_texts(variable)
    }

    /// By the store's own metadata; chunks that were written again are not noticed.
    fn check_unchanged(&self) -> Result<(), StorageError> {
        self.stamp.check()
    }
}

impl Zarr {
    /// Reads a region that lies within the variable's dimensions.
    fn read_into<T: Output>(
        &self,
        variable: usize,
        region: &[Range<usize>],
        out: &mut [T],
    ) -> Result<(), StorageError> {
        if cell_count(region) == 0 {
            return Ok(());
        }
        let stored = &self.variables[variable];
        let shape: Vec<usize> = region.iter().map(ExactSizeIterator::len).collect();
        let target = Target {
            region,
            shape: &shape,
        };
        KEPT.with_borrow_mut(|kept| {
            for places in self.batches(stored, region) {
                let wanted: Vec<&[usize]> = places
                    .iter()
                    .filter(|place| !kept.has((self.id, variable, stored.number(place))))
                    .map(Vec::as_slice)
                    .collect();
                let mut fetched = self.fetch(stored, &wanted)?.into_iter();
                for place in &places {
                    let key = (self.id, variable, stored.number(place));
                    if !kept.has(key) {
                        // A batch of one in which the kept chunk came and went has none left.
                        let chunk = match fetched.next() {
                            Some(chunk) => chunk,
                            None => self.fetch(stored, &[place])?.remove(0),
                        };
                        let Some(chunk) = chunk else {
                            stored.fill_runs(place, target, out);
                            continue;
                        };
                        kept.chunk = None;
                        kept.chunk = Some((key, self.decode(stored, chunk, &mut kept.tools)?));
                    }
                    if let Some((_, bytes)) = &kept.chunk {
                        stored.copy_runs(place, bytes, target, out);
                    }
                }
            }
            kept.trim();
            Ok(())
        })
    }

    /// The chunks that a region touches, so many at a time as are asked for together.
    fn batches(&self, stored: &Stored, region: &[Range<usize>]) -> Vec<Vec<Vec<usize>>> {
        let touched = touched_chunks(region, &stored.meta.chunk_shape);
        let mut batches: Vec<Vec<Vec<usize>>> = Vec::new();
        let size = if self.store.is_remote() {
            CHUNKS_AT_ONCE
        } else {
            1
        };
        let _: Result<(), ()> = for_each_index(&touched, |place| {
            match batches.last_mut() {
                Some(batch) if batch.len() < size => batch.push(place.to_vec()),
                _ => batches.push(vec![place.to_vec()]),
            }
            Ok(())
        });
        batches
    }

    /// The bytes of chunks as they are stored.
    fn fetch(
        &self,
        stored: &Stored,
        places: &[&[usize]],
    ) -> Result<Vec<Option<Chunk>>, StorageError> {
        stored
            .fetch(&self.store, places)
            .map_err(|(key, error)| self.fetching_failed(stored, &key, error))
    }

    /// A chunk as its elements, in C order.
    fn decode(
        &self,
        stored: &Stored,
        chunk: Chunk,
        tools: &mut Tools,
    ) -> Result<Vec<u8>, StorageError> {
        let size = match stored.chunk_bytes() {
            Some(size) => Size::Exactly(size),
            None => Size::AtMost(text::CHUNK_BYTES_MAX),
        };
        codec::decode(&stored.meta.codecs.bytes, chunk.bytes, size, tools)
            .map(|bytes| stored.in_c_order(bytes))
            .map_err(|bad| self.decoding_failed(stored, &chunk.key, &bad))
    }

    fn read_texts(&self, variable: usize) -> Result<Vec<String>, StorageError> {
        let stored = &self.variables[variable];
        let region: Vec<Range<usize>> = stored.meta.shape.iter().map(|&len| 0..len).collect();
        let mut out = vec![String::new(); cell_count(&region)];
        if out.is_empty() {
            return Ok(out);
        }
        let target = Target {
            region: &region,
            shape: &stored.meta.shape,
        };
        let mut tools = Tools::new();
        for places in self.batches(stored, &region) {
            let wanted: Vec<&[usize]> = places.iter().map(Vec::as_slice).collect();
            for (place, chunk) in places.iter().zip(self.fetch(stored, &wanted)?) {
                let Some(chunk) = chunk else { continue };
                let key = chunk.key.clone();
                let bytes = self.decode(stored, chunk, &mut tools)?;
                let texts = text::of_chunk(&stored.meta, &bytes).map_err(|problem| {
                    self.decoding_failed(stored, &key, &Bad::Damaged(problem))
                })?;
                let part = Part::of(place, &stored.meta.chunk_shape, target);
                part.for_each_run(&stored.meta.chunk_shape, target, |from, to, length| {
                    out[to..to + length].clone_from_slice(&texts[from..from + length]);
                });
            }
        }
        Ok(out)
    }

    fn fetching_failed(&self, stored: &Stored, key: &str, source: io::Error) -> StorageError {
        let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData];
        let path = self.path.clone();
        if !kinds.contains(&source.kind()) {
            return StorageError::io(&path.join(key), "read", source);
        }
        let problem = match source.kind() {
            io::ErrorKind::UnexpectedEof => "it is cut short".to_owned(),
            _ => source.to_string(),
        };
        StorageError::Damaged {
            path,
            problem: format!("variable `{}`, chunk `{key}`: {problem}", stored.meta.name),
        }
    }

    fn decoding_failed(&self, stored: &Stored, key: &str, bad: &Bad) -> StorageError {
        let path = self.path.clone();
        let name = &stored.meta.name;
        match bad {
            Bad::Damaged(problem) => StorageError::Damaged {
                path,
                problem: format!("variable `{name}`, chunk `{key}`: {problem}"),
            },
            Bad::Unknown(codec) => StorageError::NotReadable {
                path,
                found: refusal::remedy(codec, name),
            },
        }
    }
}

impl Kept {
    fn has(&self, key: (u64, usize, usize)) -> bool {
        self.chunk.as_ref().is_some_and(|(kept, _)| *kept == key)
    }

    fn trim(&mut self) {
        let is_large = |bytes: &Vec<u8>| bytes.len() > KEPT_CHUNK_BYTES_MAX;
        if self
            .chunk
            .as_ref()
            .is_some_and(|(_, bytes)| is_large(bytes))
        {
            self.chunk = None;
        }
    }
}

/// Opens a store in a folder, or below an address.
pub(super) fn open(
    path: &Path,
    stamp: Stamp,
    prefix: Option<Prefix>,
) -> Result<super::backend::Opened, StorageError> {
    let store = prefix.map_or_else(|| Store::Folder(path.to_owned()), Store::Remote);
    open::open(path, store, stamp)
}
