//! CF NetCDF-4 files, written aside and renamed when they are whole.
//!
//! Called by the operators of the cube. Chunks are encoded on the threads of rayon and handed
//! to the library as they shall lie in the file; what is not a whole chunk goes through it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

mod encode;
mod error;
mod layout;
mod skeleton;

pub use error::WriteError;
pub(crate) use layout::chunk_of_bands;

use mizar_core::durable::PendingFile;
use rayon::prelude::*;

use crate::dataset::{DType, Dataset};
use crate::library::{Failure, NewArray, NewFile};
use crate::storage::region::{Place, cell_count, for_each_index, for_each_run, touched_chunks};
use encode::{DoesNotFit, Input};

/// How the data is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// 1 (fast) to 9 (small); `None` stores data as it is.
    pub deflate_level: Option<u8>,
    /// Whether bytes are sorted by significance before they are deflated: smaller and faster
    /// for nearly all fields.
    pub shuffle: bool,
    /// Chunk shapes of variables, by index, where those that would be chosen are slow.
    pub chunks: BTreeMap<usize, Vec<usize>>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            deflate_level: Some(1),
            shuffle: true,
            chunks: BTreeMap::new(),
        }
    }
}

/// Chunks that are encoded before they are written, for each thread.
const CHUNKS_PER_THREAD: usize = 4;

/// A file being written.
///
/// [`commit`](Self::commit) makes it appear under its name; dropping it leaves no trace.
#[derive(Debug)]
pub struct Writer {
    target: PathBuf,
    dataset: Dataset,
    options: WriteOptions,
    variables: Vec<Written>,
    // After the arrays: they close before it.
    file: NewFile,
    // Last: the file is closed before it is removed.
    pending: PendingFile,
}

/// A variable being written.
#[derive(Debug)]
struct Written {
    array: NewArray,
    chunk_shape: Option<Vec<usize>>,
    /// One element in the machine's own byte order.
    fill: Vec<u8>,
}

impl Writer {
    /// Starts a file with the dimensions, variables and attributes of `dataset`.
    ///
    /// The attributes `scale_factor` and `add_offset` are written as given, but values are not
    /// packed: take them out. A `_FillValue` takes the type of its variable; without one,
    /// NetCDF's default stands for missing values. Lengths of unlimited dimensions are those of
    /// `dataset`.
    ///
    /// # Errors
    /// [`WriteError`] when the folder cannot be written to, or `dataset` contradicts itself.
    pub fn create(
        target: &Path,
        dataset: &Dataset,
        options: &WriteOptions,
    ) -> Result<Self, WriteError> {
        skeleton::check(dataset).map_err(|problem| WriteError::Structure {
            path: target.to_owned(),
            problem,
        })?;
        let pending = PendingFile::create(target).map_err(|source| WriteError::Io {
            path: target.to_owned(),
            operation: "create",
            source,
        })?;
        let failed = |failure: Failure| library_failed(target, failure);
        let file = NewFile::create(pending.temporary_path()).map_err(failed)?;
        let variables = skeleton::make(&file, dataset, options, target)?;
        Ok(Self {
            target: target.to_owned(),
            dataset: dataset.clone(),
            options: options.clone(),
            variables,
            file,
            pending,
        })
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
        self.variables[variable].chunk_shape.as_deref()
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
        let shape = self.dataset.shape(variable);
        let written = &self.variables[variable];
        let failed = |failure| library_failed(&self.target, failure);
        let refuse = |region: String| self.no_region(variable, region);
        match self.dataset.variables[variable].dtype {
            DType::Text => {
                if texts.len() != shape.iter().product::<usize>() {
                    return Err(refuse(format!("for {} texts", texts.len())));
                }
                if texts.is_empty() {
                    return Ok(());
                }
                written.array.write_texts(texts).map_err(failed)
            }
            DType::Char => {
                let width = shape.last().copied().unwrap_or(1);
                let rows: usize = shape.iter().rev().skip(1).product();
                let letters: Option<Vec<_>> =
                    texts.iter().map(|text| encode::row(text, width)).collect();
                let Some(letters) = letters.filter(|rows_found| rows_found.len() == rows) else {
                    return Err(refuse(format!(
                        "for {} texts, {width} bytes each",
                        texts.len()
                    )));
                };
                let bytes = letters.concat();
                if bytes.is_empty() {
                    return Ok(());
                }
                let whole = self.dataset.whole(variable);
                written
                    .array
                    .write(DType::Char, &whole, &bytes)
                    .map_err(failed)
            }
            _ => Err(refuse("of texts".to_owned())),
        }
    }

    /// Flushes everything to disk and puts the file under its name.
    ///
    /// # Errors
    /// The first failing step; the final name is then untouched.
    pub fn commit(self) -> Result<(), WriteError> {
        let Self {
            target,
            variables,
            file,
            pending,
            ..
        } = self;
        drop(variables);
        file.close()
            .map_err(|failure| library_failed(&target, failure))?;
        pending.commit().map_err(|source| WriteError::Io {
            path: target,
            operation: "finish",
            source,
        })
    }

    fn write<T: Input>(
        &mut self,
        variable: usize,
        region: &[Range<usize>],
        values: &[T],
    ) -> Result<(), WriteError> {
        let shape = self.dataset.shape(variable);
        let dtype = self.dataset.variables[variable].dtype;
        let fits = region.len() == shape.len()
            && region
                .iter()
                .zip(&shape)
                .all(|(range, &len)| range.start <= range.end && range.end <= len);
        if !fits || cell_count(region) != values.len() || dtype.is_text() {
            let found = format!("{region:?} for {} numbers", values.len());
            return Err(self.no_region(variable, found));
        }
        if values.is_empty() {
            return Ok(());
        }
        let written = &self.variables[variable];
        if let Some(chunk) = &written.chunk_shape
            && is_whole_chunks(region, chunk, &shape)
        {
            return self.write_chunks(variable, region, chunk, values);
        }
        let mut bytes = Vec::new();
        encode::to_bytes(dtype, values, &written.fill, &mut bytes)
            .map_err(|value| self.does_not_fit(variable, value))?;
        let result = written.array.write(dtype, region, &bytes);
        result.map_err(|failure| library_failed(&self.target, failure))
    }

    /// Encodes whole chunks on all threads, some at a time, and writes them in order.
    fn write_chunks<T: Input>(
        &self,
        variable: usize,
        region: &[Range<usize>],
        chunk: &[usize],
        values: &[T],
    ) -> Result<(), WriteError> {
        let mut places = Vec::new();
        let _: Result<(), ()> = for_each_index(&touched_chunks(region, chunk), |place| {
            places.push(place.to_vec());
            Ok(())
        });
        let batch = CHUNKS_PER_THREAD * rayon::current_num_threads();
        for places in places.chunks(batch) {
            let encoded: Vec<_> = places
                .par_iter()
                .map(|place| self.encode_chunk(variable, region, chunk, place, values))
                .collect();
            for (place, bytes) in places.iter().zip(encoded) {
                let bytes = bytes.map_err(|value| self.does_not_fit(variable, value))?;
                let offset: Vec<usize> = place
                    .iter()
                    .zip(chunk)
                    .map(|(place, len)| place * len)
                    .collect();
                let result = self.variables[variable].array.write_chunk(&offset, &bytes);
                result.map_err(|failure| library_failed(&self.target, failure))?;
            }
        }
        Ok(())
    }

    fn encode_chunk<T: Input>(
        &self,
        variable: usize,
        region: &[Range<usize>],
        chunk: &[usize],
        place: &[usize],
        values: &[T],
    ) -> Result<Vec<u8>, DoesNotFit> {
        let dtype = self.dataset.variables[variable].dtype;
        let fill = &self.variables[variable].fill;
        let element_bytes = dtype.size_bytes();
        let source: Vec<usize> = region.iter().map(ExactSizeIterator::len).collect();
        let mut start = Vec::with_capacity(chunk.len());
        let mut extent = Vec::with_capacity(chunk.len());
        for (dim, range) in region.iter().enumerate() {
            let first = place[dim] * chunk[dim];
            start.push(first - range.start);
            extent.push(chunk[dim].min(range.end - first));
        }
        let chunk_bytes = chunk.iter().product::<usize>() * element_bytes;
        let mut bytes = Vec::with_capacity(chunk_bytes);
        if extent != chunk {
            bytes.extend(fill.iter().copied().cycle().take(chunk_bytes));
        }
        let origin = vec![0; chunk.len()];
        let from = Place {
            shape: &source,
            start: &start,
        };
        let to = Place {
            shape: chunk,
            start: &origin,
        };
        let mut result = Ok(());
        let mut run_bytes = Vec::new();
        for_each_run(&extent, from, to, |from, to, length| {
            if result.is_err() {
                return;
            }
            let values = &values[from..from + length];
            if extent == chunk {
                // Runs of a whole chunk come in its own order.
                result = encode::to_bytes(dtype, values, fill, &mut bytes);
            } else {
                run_bytes.clear();
                result = encode::to_bytes(dtype, values, fill, &mut run_bytes);
                if result.is_ok() {
                    bytes[to * element_bytes..][..run_bytes.len()].copy_from_slice(&run_bytes);
                }
            }
        });
        result?;
        Ok(encode::filter(
            bytes,
            element_bytes,
            self.options.shuffle,
            self.options.deflate_level,
        ))
    }

    fn no_region(&self, variable: usize, region: String) -> WriteError {
        WriteError::Region {
            path: self.target.clone(),
            variable: self.dataset.variables[variable].name.clone(),
            shape: self.dataset.shape(variable),
            region,
        }
    }

    fn does_not_fit(&self, variable: usize, value: DoesNotFit) -> WriteError {
        let variable = &self.dataset.variables[variable];
        WriteError::Value {
            path: self.target.clone(),
            variable: variable.name.clone(),
            dtype: format!("{:?}", variable.dtype),
            value: value.0.to_string(),
        }
    }
}

/// Whether a region begins and ends at chunk borders, or at the end of the array.
fn is_whole_chunks(region: &[Range<usize>], chunk: &[usize], shape: &[usize]) -> bool {
    region
        .iter()
        .zip(chunk)
        .zip(shape)
        .all(|((range, &chunk), &len)| {
            range.start % chunk == 0 && (range.end % chunk == 0 || range.end == len)
        })
}

fn library_failed(target: &Path, failure: Failure) -> WriteError {
    let Failure { operation, detail } = failure;
    WriteError::Hdf5 {
        path: target.to_owned(),
        operation,
        detail,
    }
}
