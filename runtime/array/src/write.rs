//! CF NetCDF-4 files and Zarr stores, written aside and renamed when they are whole.
//!
//! Called by the engine and by programs that make files themselves. A [`Writer`] cuts regions
//! into chunks, encodes them on the threads of rayon and hands them to the format's [`Backend`];
//! chunks that come in parts wait in memory until they are complete. On several ranks all cut and
//! encode what they computed ([`Writer::cut`]), and the first writes ([`Writer::put`]) what it
//! alone can. No values are computed here.

use std::ops::Range;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

mod backend;
mod codec;
mod encode;

mod error;
mod huffman;
mod layout;
mod netcdf;
mod options;
mod partial;
mod piece;
mod structure;
mod zarr;

pub(crate) use encode::Input;
pub use error::WriteError;
pub(crate) use layout::{chunk_of_bands, chunk_with};
pub use options::{Compression, Format, WriteOptions};
pub(crate) use piece::{Piece, wire};

use rayon::prelude::*;

use crate::dataset::{DType, Dataset};
use crate::storage::region::{cell_count, for_each_index, touched_chunks};
use backend::{Backend, Encoded};
use encode::DoesNotFit;
use layout::Layout;
use netcdf::NetCdf;
use partial::{Part, Partials, Plain};
use zarr::Zarr;

/// Chunks that are encoded before they are written, for each thread.
const CHUNKS_PER_THREAD: usize = 4;

/// A file or store being written.
///
/// [`commit`](Self::commit) makes it appear under its name; dropping it leaves no trace.
#[derive(Debug)]
pub struct Writer {
    target: PathBuf,
    /// By variable.
    layouts: Vec<Layout>,
    partials: Mutex<Partials>,
    /// `None` where only another rank can write.
    backend: Option<Box<dyn Backend>>,
}

impl Writer {
    /// Starts a file with the dimensions, variables and attributes of `dataset`.
    ///
    /// The attributes `scale_factor` and `add_offset` are written as given, but values are not
    /// packed: take them out. A `_FillValue` takes the type of its variable; without one,
    /// NetCDF's default stands for missing values. Lengths of unlimited dimensions are those of
    /// `dataset`; Zarr does not know that they are.
    ///
    /// # Errors
    /// [`WriteError`] when the folder cannot be written to, or `dataset` contradicts itself.
    pub fn create(
        target: &Path,
        dataset: &Dataset,
        options: &WriteOptions,
    ) -> Result<Self, WriteError> {
        let layouts = layouts(target, dataset, options)?;
        let backend: Box<dyn Backend> = match options.format {
            Format::NetCdf4 => Box::new(NetCdf::create(target, dataset, &layouts)?),
            Format::Zarr3 => Box::new(Zarr::create(target, dataset, &layouts)?),
        };
        Ok(Self {
            target: target.to_owned(),
            layouts,
            partials: Mutex::default(),
            backend: Some(backend),
        })
    }

    /// The same file on another rank, with what [`meeting_point`](Self::meeting_point) told on
    /// the rank that created it. It cuts and encodes; what it cannot store itself goes to that
    /// rank.
    pub(crate) fn join(
        target: &Path,
        dataset: &Dataset,
        options: &WriteOptions,
        meeting_point: &[u8],
    ) -> Result<Self, WriteError> {
        let temporary = || PathBuf::from(std::ffi::OsString::from_vec(meeting_point.to_vec()));
        let backend: Option<Box<dyn Backend>> = match options.format {
            Format::NetCdf4 => None,
            Format::Zarr3 => Some(Box::new(Zarr::join(target, temporary()))),
        };
        Ok(Self {
            target: target.to_owned(),
            layouts: layouts(target, dataset, options)?,
            partials: Mutex::default(),
            backend,
        })
    }

    /// What other ranks need to [`join`](Self::join).
    pub(crate) fn meeting_point(&self) -> Vec<u8> {
        let path = self.backend.as_ref().and_then(|b| b.meeting_point());
        path.map_or_else(Vec::new, |path| path.as_os_str().as_bytes().to_vec())
    }

    /// The name it will appear under.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The shape of the storage chunks: regions made of whole ones are written fastest. `None`
    /// when the variable is stored in one piece.
    #[must_use]
    pub fn chunk_shape(&self, variable: usize) -> Option<&[usize]> {
        self.layouts[variable].chunk_shape.as_deref()
    }

    /// Writes a region; NaN becomes the variable's `_FillValue`, integers are rounded.
    ///
    /// Regions may come in any order; cells never written are missing.
    ///
    /// # Errors
    /// [`WriteError::Region`], [`WriteError::Value`], or the disk is full.
    pub fn write_f64(
        &mut self,
        variable: usize,
        region: &[Range<usize>],
        values: &[f64],
    ) -> Result<(), WriteError> {
        self.write(variable, region, values)
    }

    /// As [`write_f64`](Self::write_f64), from single precision.
    ///
    /// # Errors
    /// As `write_f64`.
    pub fn write_f32(
        &mut self,
        variable: usize,
        region: &[Range<usize>],
        values: &[f32],
    ) -> Result<(), WriteError> {
        self.write(variable, region, values)
    }

    /// Writes the whole of a text variable, in the form that
    /// [`Source::read_text`](crate::storage::Source::read_text) gives.
    ///
    /// # Errors
    /// As `write_f64`.
    pub fn write_text(&mut self, variable: usize, texts: &[String]) -> Result<(), WriteError> {
        let layout = &self.layouts[variable];
        let shape = layout.shape.as_slice();
        let refuse = |region: String| self.no_region(layout, region);
        match layout.dtype {
            DType::Text if texts.len() != shape.iter().product::<usize>() => {
                return Err(refuse(format!("for {} texts", texts.len())));
            }
            DType::Text => {}
            DType::Char => {
                let width = shape.last().copied().unwrap_or(1);
                let rows: usize = shape.iter().rev().skip(1).product();
                let fits = |text: &String| encode::row(text, width).is_some();
                if texts.len() != rows || !texts.iter().all(fits) {
                    let count = texts.len();
                    return Err(refuse(format!("for {count} texts, {width} bytes each")));
                }
            }
            _ => return Err(refuse("of texts".to_owned())),
        }
        self.backend()?.put_texts(variable, layout, texts)
    }

    /// Cuts a region into pieces on the threads of rayon, whole chunks encoded. Those that this
    /// rank can store it stores; the rest is for [`put`](Self::put) on the rank that created the
    /// file.
    ///
    /// # Errors
    /// As `write_f64`.
    pub(crate) fn cut<T: Input>(
        &self,
        variable: usize,
        region: &[Range<usize>],
        values: &[T],
    ) -> Result<Vec<Piece>, WriteError> {
        let layout = self.checked(variable, region, values)?;
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let Some(chunk) = &layout.chunk_shape else {
            return Ok(vec![self.whole_region(layout, region, values)?]);
        };
        let places = places(region, chunk);
        let pieces = self.cut_chunks(layout, region, chunk, &places, values)?;
        match &self.backend {
            Some(backend) if backend.meeting_point().is_some() => {
                let (chunks, rest) = take_chunks(pieces);
                backend.put_chunks(variable, layout, chunks)?;
                Ok(rest)
            }
            _ => Ok(pieces),
        }
    }

    /// Writes pieces of a variable that any rank has cut, while others may be cut.
    ///
    /// # Errors
    /// [`WriteError::Region`] if one does not belong to the variable, or the disk is full.
    pub(crate) fn put(&self, variable: usize, pieces: Vec<Piece>) -> Result<(), WriteError> {
        let mut chunks: Vec<Encoded> = Vec::new();
        let mut complete: Vec<Plain> = Vec::new();
        for piece in pieces {
            let layout = &self.layouts[variable];
            if !layout.holds(&piece) {
                let found = "that another rank sent".to_owned();
                return Err(self.no_region(layout, found));
            }
            match piece {
                Piece::Chunk { place, bytes } => {
                    self.partials().forget(&(variable, place.clone()));
                    chunks.push((place, bytes));
                }
                Piece::Part {
                    place,
                    start,
                    extent,
                    bytes,
                } => {
                    let part = Part {
                        start: &start,
                        extent: &extent,
                        bytes: &bytes,
                    };
                    complete.extend(self.add_part(variable, place, part)?);
                    self.put_plain_if(&mut complete, CHUNKS_PER_THREAD)?;
                    let excess = self.partials().excess();
                    self.put_plain(excess)?;
                }
                Piece::Region { region, bytes } => {
                    let backend = self.backend()?;
                    backend.put_region(variable, layout, &region, &bytes)?;
                }
            }
        }
        self.put_plain(complete)?;
        let layout = &self.layouts[variable];
        self.backend()?.put_chunks(variable, layout, chunks)
    }

    /// Makes durable what this rank has written; nothing may be written after it.
    ///
    /// # Errors
    /// The disk is full or failed.
    pub(crate) fn finish(&self) -> Result<(), WriteError> {
        let rest = self.partials().rest();
        for some in rest.chunks(CHUNKS_PER_THREAD * rayon::current_num_threads()) {
            self.put_plain(some.to_vec())?;
        }
        match &self.backend {
            Some(backend) => backend.sync(),
            None => Ok(()),
        }
    }

    /// Flushes everything to disk and puts the file under its name. On a rank that joined it does
    /// nothing.
    ///
    /// # Errors
    /// The first failing step; the final name is then untouched.
    pub fn commit(self) -> Result<(), WriteError> {
        self.finish()?;
        match self.backend {
            Some(backend) => backend.commit(),
            None => Ok(()),
        }
    }

    fn write<T: Input>(
        &mut self,
        variable: usize,
        region: &[Range<usize>],
        values: &[T],
    ) -> Result<(), WriteError> {
        let layout = self.checked(variable, region, values)?;
        if values.is_empty() {
            return Ok(());
        }
        let Some(chunk) = layout.chunk_shape.clone() else {
            let piece = self.whole_region(layout, region, values)?;
            return self.put(variable, vec![piece]);
        };
        let batch = CHUNKS_PER_THREAD * rayon::current_num_threads();
        for places in places(region, &chunk).chunks(batch) {
            let layout = &self.layouts[variable];
            let pieces = self.cut_chunks(layout, region, &chunk, places, values)?;
            self.put(variable, pieces)?;
        }
        Ok(())
    }

    /// The layout of a variable that has this region.
    fn checked<T>(
        &self,
        variable: usize,
        region: &[Range<usize>],
        values: &[T],
    ) -> Result<&Layout, WriteError> {
        let layout = &self.layouts[variable];
        let fits = layout.has_region(region) && cell_count(region) == values.len();
        if !fits || layout.dtype.is_text() {
            let found = format!("{region:?} for {} numbers", values.len());
            return Err(self.no_region(layout, found));
        }
        Ok(layout)
    }

    fn cut_chunks<T: Input>(
        &self,
        layout: &Layout,
        region: &[Range<usize>],
        chunk: &[usize],
        places: &[Vec<usize>],
        values: &[T],
    ) -> Result<Vec<Piece>, WriteError> {
        let cut = |place: &Vec<usize>| layout.cut(region, chunk, place, values);
        let pieces: Result<Vec<Piece>, DoesNotFit> = places.par_iter().map(cut).collect();
        pieces.map_err(|value| self.does_not_fit(layout, value))
    }

    fn whole_region<T: Input>(
        &self,
        layout: &Layout,
        region: &[Range<usize>],
        values: &[T],
    ) -> Result<Piece, WriteError> {
        let mut bytes = Vec::new();
        encode::to_bytes(layout.dtype, values, &layout.fill, &mut bytes)
            .map_err(|value| self.does_not_fit(layout, value))?;
        let region = region.to_vec();
        Ok(Piece::Region { region, bytes })
    }

    /// Adds a part of a chunk; the chunk if it is complete.
    fn add_part(
        &self,
        variable: usize,
        place: Vec<usize>,
        part: Part<'_>,
    ) -> Result<Option<Plain>, WriteError> {
        let (target, backend) = (&self.target, &self.backend);
        let layout = &self.layouts[variable];
        let at = place.clone();
        let stored = || {
            let stored = match backend {
                Some(backend) => backend.stored_chunk(variable, layout, &at)?,
                None => None,
            };
            let Some(stored) = stored else {
                return Ok(None);
            };
            let damaged = || std::io::Error::from(std::io::ErrorKind::InvalidData);
            let plain = layout.decode(&stored).ok_or_else(damaged);
            plain.map(Some).map_err(WriteError::io(target, "read back"))
        };
        self.partials().add((variable, place), layout, part, stored)
    }

    /// One thread puts; the lock is for those that cut meanwhile, which do not take it.
    fn partials(&self) -> MutexGuard<'_, Partials> {
        self.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_plain_if(&self, complete: &mut Vec<Plain>, per_thread: usize) -> Result<(), WriteError> {
        if complete.len() < per_thread * rayon::current_num_threads() {
            return Ok(());
        }
        self.put_plain(std::mem::take(complete))
    }

    /// Encodes chunks and stores them in their order.
    fn put_plain(&self, chunks: Vec<Plain>) -> Result<(), WriteError> {
        let encode = |((variable, place), plain): Plain| {
            let bytes = self.layouts[variable].encode(plain);
            (variable, (place, bytes))
        };
        let encoded: Vec<(usize, Encoded)> = chunks.into_par_iter().map(encode).collect();
        for (variable, chunk) in encoded {
            let layout = &self.layouts[variable];
            self.backend()?.put_chunks(variable, layout, vec![chunk])?;
        }
        Ok(())
    }

    /// Only the rank that created the file is asked to write.
    fn backend(&self) -> Result<&dyn Backend, WriteError> {
        let refuse = || WriteError::Structure {
            path: self.target.clone(),
            problem: "another rank writes it".to_owned(),
        };
        self.backend.as_deref().ok_or_else(refuse)
    }

    fn no_region(&self, layout: &Layout, region: String) -> WriteError {
        WriteError::Region {
            path: self.target.clone(),
            variable: layout.name.clone(),
            shape: layout.shape.clone(),
            region,
        }
    }

    fn does_not_fit(&self, layout: &Layout, value: DoesNotFit) -> WriteError {
        WriteError::Value {
            path: self.target.clone(),
            variable: layout.name.clone(),
            dtype: format!("{:?}", layout.dtype),
            value: value.0.to_string(),
        }
    }
}

/// How all variables will lie in their file, once it is known that it can hold them.
fn layouts(
    target: &Path,
    dataset: &Dataset,
    options: &WriteOptions,
) -> Result<Vec<Layout>, WriteError> {
    let checked = structure::check(dataset, options.format);
    checked.map_err(|problem| WriteError::Structure {
        path: target.to_owned(),
        problem,
    })?;
    let layout = |index: usize| {
        let variable = &dataset.variables[index];
        Layout::of(dataset, index, options).map_err(|value| WriteError::Value {
            path: target.to_owned(),
            variable: variable.name.clone(),
            dtype: format!("{:?}", variable.dtype),
            value: format!("its fill value {}", value.0),
        })
    };
    (0..dataset.variables.len()).map(layout).collect()
}

/// The chunks that a region touches, which has cells.
fn places(region: &[Range<usize>], chunk: &[usize]) -> Vec<Vec<usize>> {
    let mut places = Vec::new();
    let _: Result<(), ()> = for_each_index(&touched_chunks(region, chunk), |place| {
        places.push(place.to_vec());
        Ok(())
    });
    places
}

/// Whole chunks, and all other pieces.
fn take_chunks(pieces: Vec<Piece>) -> (Vec<Encoded>, Vec<Piece>) {
    let (mut chunks, mut rest) = (Vec::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Chunk { place, bytes } => chunks.push((place, bytes)),
            other => rest.push(other),
        }
    }
    (chunks, rest)
}
