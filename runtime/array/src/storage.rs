//! Files opened for reading: structure at once, data by region, from many threads.

use std::ops::Range;
use std::path::{Path, PathBuf};

mod error;

pub use error::StorageError;

use crate::dataset::Dataset;

/// An open file.
///
/// All methods may be called from many threads at once.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    dataset: Dataset,
}

impl Source {
    /// Opens a file and reads its structure.
    ///
    /// # Errors
    /// [`StorageError`] when the file is missing, not NetCDF, damaged, or of a kind that is not
    /// read yet.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let _ = path;
        todo!()
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds.
    #[must_use]
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The shape of the storage chunks; `None` when the variable is stored in one piece.
    #[must_use]
    pub fn chunk_shape(&self, variable: usize) -> Option<Vec<usize>> {
        let _ = variable;
        todo!()
    }

    /// How many bytes of the file a region lies in.
    #[must_use]
    pub fn stored_bytes(&self, variable: usize, region: &[Range<usize>]) -> u64 {
        let _ = (variable, region);
        todo!()
    }

    /// Whether [`read_f32`](Self::read_f32) loses nothing against `read_f64`.
    #[must_use]
    pub fn is_f32(&self, variable: usize) -> bool {
        let _ = variable;
        todo!()
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
        let _ = (variable, region, out);
        todo!()
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
        let _ = (variable, region, out);
        todo!()
    }

    /// Reads the whole of a text variable: of `NC_STRING` one text per element, of `NC_CHAR`
    /// one per row of the last dimension, without the zero bytes at its end.
    ///
    /// # Errors
    /// [`StorageError::WrongKind`] for numbers, others for a damaged file.
    pub fn read_text(&self, variable: usize) -> Result<Vec<String>, StorageError> {
        let _ = variable;
        todo!()
    }

    /// Tells whether the file is still the one that was opened, by its size and time.
    ///
    /// # Errors
    /// [`StorageError::Changed`] when it is not.
    pub fn check_unchanged(&self) -> Result<(), StorageError> {
        todo!()
    }
}
