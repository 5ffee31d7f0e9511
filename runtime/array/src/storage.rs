//! Files opened for reading: structure at once, data by region, from many threads.
//!
//! Called by the operators of the cube. A [`Source`] hides what kind of file it is: NetCDF-4,
//! NetCDF-3 or a Zarr store; the others are told apart and named. Each kind is a [`Backend`], and
//! each lies on this machine or on a server ([`is_remote`]). Nothing here knows what data means.

use std::ops::Range;
use std::path::{Path, PathBuf};

mod backend;
mod chunks;
mod codecs;
mod convert;
mod damage;
pub(crate) mod decode;
mod error;
mod groups;
mod heap;
mod index;
mod input;
mod netcdf3;
mod netcdf4;
mod open_files;
pub(crate) mod region;
pub(crate) mod remote;
mod runs;
mod sniff;
mod stamp;
mod stored;
pub(crate) mod structure;
pub(crate) mod zarr;

pub use error::StorageError;
pub(crate) use input::ReadAt;
pub use remote::{RemoteError, is_remote, without_secrets};

use crate::dataset::{DType, Dataset};
use backend::{Backend, Opened, Precision};
use netcdf3::Netcdf3;
use netcdf4::Netcdf4;
use region::cell_count;
use sniff::{Found, Kind};

/// An open file.
///
/// All methods may be called from many threads at once.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// The address as it was given, which may hold a secret; never shown.
    asked: Asked,
    size_bytes: u64,
    dataset: Dataset,
    notes: Vec<String>,
    backend: Box<dyn Backend>,
}

/// A path or an address as it was given.
struct Asked(PathBuf);

impl std::fmt::Debug for Asked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", remote::shown(&self.0).display())
    }
}

impl Source {
    /// Opens a file and reads its structure: by its path, or by its address on a server
    /// (`http://…`, `https://…`, `s3://bucket/key`), of which only the bytes that are needed
    /// are read.
    ///
    /// # Errors
    /// [`StorageError`] when the file is missing, not NetCDF, damaged, or of a kind that is not
    /// read yet.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let asked = Asked(path.to_owned());
        let is_remote = is_remote(path);
        let path = &remote::shown(path);
        let mut size_bytes = 0;
        let Opened {
            backend,
            dataset,
            notes,
        } = open_files::retried(path, || {
            let found = match is_remote {
                true => sniff::open_remote(&asked.0, path)?,
                false => sniff::open(path)?,
            };
            size_bytes = found.size_bytes();
            match found {
                Found::File(candidate) => match candidate.kind {
                    Kind::Hdf5 => Netcdf4::open(path, candidate),
                    Kind::Netcdf3 => Netcdf3::open(path, candidate),
                },
                Found::Zarr(stamp, prefix) => zarr::open(path, stamp, prefix),
            }
        })?;
        Ok(Self {
            path: path.clone(),
            asked,
            size_bytes,
            dataset,
            notes,
            backend,
        })
    }

    /// The path it was opened by; an address without its query, which may hold a secret.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is what it was opened by.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        self.asked.0 == path
    }

    /// The size of the file; of a Zarr store, of what describes it.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What the file holds.
    #[must_use]
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// What the file has and [`dataset`](Self::dataset) leaves out (groups, compound types), in
    /// words for the user.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The shape of the storage chunks; `None` when the variable is stored in one piece.
    #[must_use]
    pub fn chunk_shape(&self, variable: usize) -> Option<Vec<usize>> {
        self.backend.chunk_shape(variable)
    }

    /// How many bytes of the file a region lies in.
    #[must_use]
    pub fn stored_bytes(&self, variable: usize, region: &[Range<usize>]) -> u64 {
        self.backend.stored_bytes(variable, region)
    }

    /// Whether the data are floats of single precision, packed or not: then
    /// [`read_f32`](Self::read_f32) loses nothing against `read_f64`.
    #[must_use]
    pub fn is_f32(&self, variable: usize) -> bool {
        !self.dataset.variables[variable].dtype.is_text() && self.backend.is_f32(variable)
    }

    /// Reads a region, unpacked, with every missing value as NaN.
    ///
    /// `region` has one range per dimension, `out` one element per cell, last dimension fastest.
    ///
    /// # Errors
    /// [`StorageError::Region`] for cells outside, [`StorageError::WrongKind`] for text, others
    /// for a damaged file.
    pub fn read_f64(
        &self,
        variable: usize,
        region: &[Range<usize>],
        out: &mut [f64],
    ) -> Result<(), StorageError> {
        self.read(variable, region, out)
    }

    /// Reads as [`read_f64`](Self::read_f64) does, rounded to single precision: exact and
    /// fastest where [`is_f32`](Self::is_f32).
    ///
    /// # Errors
    /// As `read_f64`.
    pub fn read_f32(
        &self,
        variable: usize,
        region: &[Range<usize>],
        out: &mut [f32],
    ) -> Result<(), StorageError> {
        self.read(variable, region, out)
    }

    /// Reads the whole of a numeric variable, as [`read_f64`](Self::read_f64) does.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] when the file cannot hold so many cells,
    /// [`StorageError::Memory`] when the memory cannot; others as `read_f64`.
    pub fn read_whole(&self, variable: usize) -> Result<Vec<f64>, StorageError> {
        self.backend.check_size(variable)?;
        let whole = self.dataset.whole(variable);
        let count = whole
            .iter()
            .map(ExactSizeIterator::len)
            .fold(1, usize::saturating_mul);
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| {
            let size_bytes = (count as u64).saturating_mul(size_of::<f64>() as u64);
            StorageError::Memory {
                path: self.path.clone(),
                variable: self.dataset.variables[variable].name.clone(),
                size_bytes,
            }
        })?;
        values.resize(count, 0.0);
        self.read_f64(variable, &whole, &mut values)?;
        Ok(values)
    }

    /// Reads the whole of a text variable: of `NC_STRING` one text per element, of `NC_CHAR`
    /// one per row of the last dimension, without the zero bytes at its end.
    ///
    /// # Errors
    /// [`StorageError::WrongKind`] for numbers, others for a damaged file.
    pub fn read_text(&self, variable: usize) -> Result<Vec<String>, StorageError> {
        let kind = &self.dataset.variables[variable];
        if !kind.dtype.is_text() {
            return Err(self.wrong_kind(variable, "text"));
        }
        self.backend.read_text(variable)
    }

    /// Tells whether the file is still the one that was opened, by its size and time.
    ///
    /// # Errors
    /// [`StorageError::Changed`] when it is not.
    pub fn check_unchanged(&self) -> Result<(), StorageError> {
        self.backend.check_unchanged()
    }

    fn read<T: Precision>(
        &self,
        variable: usize,
        region: &[Range<usize>],
        out: &mut [T],
    ) -> Result<(), StorageError> {
        if self.dataset.variables[variable].dtype.is_text() {
            return Err(self.wrong_kind(variable, "numbers"));
        }
        let shape = self.dataset.shape(variable);
        let fits = region.len() == shape.len()
            && region
                .iter()
                .zip(&shape)
                .all(|(range, &len)| range.start <= range.end && range.end <= len);
        if !fits || cell_count(region) != out.len() {
            return Err(StorageError::Region {
                path: self.path.clone(),
                variable: self.dataset.variables[variable].name.clone(),
                shape,
                region: format!("{region:?} in a buffer of {}", out.len()),
            });
        }
        self.backend.read(variable, region, T::buffer(out))
    }

    fn wrong_kind(&self, variable: usize, expected: &'static str) -> StorageError {
        let variable = &self.dataset.variables[variable];
        let found = match variable.dtype {
            DType::Char | DType::Text => "text".to_owned(),
            dtype => format!("of type {dtype:?}"),
        };
        StorageError::WrongKind {
            path: self.path.clone(),
            variable: variable.name.clone(),
            expected,
            found,
        }
    }
}
