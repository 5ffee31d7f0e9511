//! NetCDF-3 files (classic, 64-bit offset, 64-bit data): big-endian arrays at known places.
//!
//! The header is read once; data then goes from `pread` through
//! [`convert`](super::convert) into the caller's buffer, on any number of threads. Nothing is
//! compressed, so a region costs its own bytes and the small gaps that are read over.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::StorageError;
use super::backend::{Backend, Buffer, Opened};
use super::convert::{Conversion, Numbers, Output};
use super::damage::Damage;
use super::input::{Input, ReadAt as _};
use super::region::{Place, cell_count, for_each_run};
use super::runs::{Run, RunReader, Sink};
use super::sniff::Candidate;
use super::stamp::Stamp;
use crate::dataset::{DType, Dataset, Dimension, Variable};
use crate::library::text_of;

mod cursor;
mod header;
mod layout;

use cursor::HeaderError;
use header::Header;
use layout::Placed;

/// Bytes of the header that are read at first: more than most headers have.
const HEADER_BYTES_FIRST: u64 = 64 << 10;

/// A larger header is a damaged file.
const HEADER_BYTES_MAX: u64 = 64 << 20;

/// A record is cut into pieces of this many cells for planning: 4 MiB of floats.
const PIECE_CELLS_MAX: usize = 1 << 20;

/// A file, with all that is needed to read it from any thread.
#[derive(Debug)]
pub(super) struct Netcdf3 {
    path: PathBuf,
    stamp: Stamp,
    input: Input,
    variables: Vec<Stored>,
}

/// One variable.
#[derive(Debug)]
struct Stored {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    placed: Placed,
    conversion: Conversion,
}

impl Netcdf3 {
    /// Reads the structure.
    pub(super) fn open(path: &Path, candidate: Candidate) -> Result<Opened, StorageError> {
        let damaged = |damage: Damage| StorageError::Damaged {
            path: path.to_owned(),
            problem: damage.to_string(),
        };
        let header = read_header(path, &candidate)?.map_err(damaged)?;
        let layout = layout::of(&header, candidate.size_bytes).map_err(damaged)?;
        let dataset = dataset_of(header, layout.record_count);
        let variables = dataset
            .variables
            .iter()
            .zip(layout.placed)
            .enumerate()
            .map(|(index, (variable, placed))| Stored {
                name: variable.name.clone(),
                dtype: variable.dtype,
                shape: dataset.shape(index),
                placed,
                conversion: Conversion::new(variable.dtype, &variable.attributes, true),
            })
            .collect();
        let backend = Box::new(Self {
            path: path.to_owned(),
            stamp: candidate.stamp,
            input: candidate.input,
            variables,
        });
        Ok(Opened {
            backend,
            dataset,
            notes: Vec::new(),
        })
    }

    /// Reads a region that lies within the variable's dimensions.
    fn read_into<T: Output>(
        &self,
        variable: usize,
        region: &[Range<usize>],
        out: &mut [T],
    ) -> Result<(), StorageError> {
        let stored = &self.variables[variable];
        self.visit(stored, region, Numbers::new(&stored.conversion, out))
    }

    /// Hands the stored bytes of every run of cells of a region to a sink, which counts the
    /// region's own cells.
    fn visit(
        &self,
        stored: &Stored,
        region: &[Range<usize>],
        sink: impl Sink,
    ) -> Result<(), StorageError> {
        if cell_count(region) == 0 {
            return Ok(());
        }
        let failed = |error, bytes: Range<u64>| self.read_failed(stored, error, bytes);
        let mut reader = RunReader::new(&self.input, stored.dtype.size_bytes(), sink, failed);
        match stored.placed.record_stride_bytes {
            None => stored.push_runs(stored.placed.begin, &stored.shape, region, 0, &mut reader)?,
            Some(stride) => {
                let (records, inner) = (region[0].clone(), &region[1..]);
                let cells = cell_count(inner);
                for (number, record) in records.enumerate() {
                    let begin = stored.placed.begin + record as u64 * stride;
                    let first = number * cells;
                    stored.push_runs(begin, &stored.shape[1..], inner, first, &mut reader)?;
                }
            }
        }
        reader.finish()
    }

    fn read_failed(
        &self,
        stored: &Stored,
        source: std::io::Error,
        bytes: Range<u64>,
    ) -> StorageError {
        let path = self.path.clone();
        if source.kind() == std::io::ErrorKind::UnexpectedEof {
            let damage = Damage::of_variable(
                &stored.name,
                bytes,
                "they lie beyond the end of the file: it is cut short",
            );
            return StorageError::Damaged {
                path,
                problem: damage.to_string(),
            };
        }
        StorageError::io(&path, "read", source)
    }
}

impl Stored {
    /// Hands the runs of a box of an array that lies in one piece to a reader.
    fn push_runs<S, F>(
        &self,
        begin: u64,
        shape: &[usize],
        region: &[Range<usize>],
        first: usize,
        reader: &mut RunReader<'_, S, F>,
    ) -> Result<(), StorageError>
    where
        S: Sink,
        F: Fn(std::io::Error, Range<u64>) -> StorageError,
    {
        let element_bytes = self.dtype.size_bytes() as u64;
        let extent: Vec<usize> = region.iter().map(ExactSizeIterator::len).collect();
        let start: Vec<usize> = region.iter().map(|range| range.start).collect();
        let origin = vec![0; extent.len()];
        let from = Place {
            shape,
            start: &start,
        };
        let to = Place {
            shape: &extent,
            start: &origin,
        };
        let mut result = Ok(());
        for_each_run(&extent, from, to, |from, to, length| {
            if result.is_ok() {
                result = reader.push(Run {
                    position: begin + from as u64 * element_bytes,
                    first: first + to,
                    length,
                });
            }
        });
        result
    }
}

impl Backend for Netcdf3 {
    /// A record is no chunk, but its neighbours in the file are other variables: one record, of
    /// which only the faster dimensions as far as they make a good read.
    fn chunk_shape(&self, variable: usize) -> Option<Vec<usize>> {
        let stored = &self.variables[variable];
        stored.placed.record_stride_bytes?;
        let mut chunk = vec![1; stored.shape.len()];
        let mut cells = 1_usize;
        for dim in (1..chunk.len()).rev() {
            chunk[dim] = stored.shape[dim].min((PIECE_CELLS_MAX / cells).max(1));
            cells *= chunk[dim];
        }
        Some(chunk)
    }

    fn stored_bytes(&self, variable: usize, region: &[Range<usize>]) -> u64 {
        cell_count(region) as u64 * self.variables[variable].dtype.size_bytes() as u64
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

    /// The header was compared with the file.
    fn check_size(&self, _variable: usize) -> Result<(), StorageError> {
        Ok(())
    }

    fn read_text(&self, variable: usize) -> Result<Vec<String>, StorageError> {
        let stored = &self.variables[variable];
        let whole: Vec<Range<usize>> = stored.shape.iter().map(|&len| 0..len).collect();
        let mut letters = vec![0_u8; cell_count(&whole)];
        self.visit(
            stored,
            &whole,
            |bytes: &[u8], first: usize, length: usize| {
                letters[first..first + length].copy_from_slice(bytes);
            },
        )?;
        let width = stored.shape.last().copied().unwrap_or(1).max(1);
        Ok(letters.chunks(width).map(|row| text_of(cut(row))).collect())
    }

    fn check_unchanged(&self) -> Result<(), StorageError> {
        self.stamp.check()
    }
}

/// A row without the zero bytes at its end.
fn cut(row: &[u8]) -> &[u8] {
    let length = row.iter().rposition(|&byte| byte != 0);
    &row[..length.map_or(0, |last| last + 1)]
}

/// Reads as much of the start of the file as the header turns out to have.
fn read_header(path: &Path, candidate: &Candidate) -> Result<Result<Header, Damage>, StorageError> {
    let limit = candidate.size_bytes.min(HEADER_BYTES_MAX);
    let mut length = HEADER_BYTES_FIRST.min(limit);
    loop {
        let mut bytes = vec![0; length as usize];
        let read = candidate.input.read_exact_at(&mut bytes, 0);
        read.map_err(|source| StorageError::io(path, "read", source))?;
        let damage = match header::parse(&bytes) {
            Ok(header) => return Ok(Ok(header)),
            Err(HeaderError::Damaged(damage)) => damage,
            Err(HeaderError::CutShort(wanted)) if wanted.end > limit => Damage::of_header(
                wanted,
                match limit == candidate.size_bytes {
                    true => "they lie beyond the end of the file: it is cut short",
                    false => "it is longer than any header is",
                },
            ),
            Err(HeaderError::CutShort(wanted)) => {
                length = wanted.end.max(2 * length).min(limit);
                continue;
            }
        };
        return Ok(Err(damage));
    }
}

fn dataset_of(header: Header, record_count: usize) -> Dataset {
    let dimensions = header.dimensions.into_iter().map(|dimension| Dimension {
        name: dimension.name,
        len: dimension.len.unwrap_or(record_count),
        unlimited: dimension.len.is_none(),
    });
    let variables = header.variables.into_iter().map(|variable| Variable {
        name: variable.name,
        dtype: variable.dtype,
        dims: variable.dims,
        attributes: variable.attributes,
    });
    Dataset {
        dimensions: dimensions.collect(),
        variables: variables.collect(),
        attributes: header.attributes,
    }
}
