//! CF NetCDF-4 files, written aside and renamed when they are whole.

use std::ops::Range;
use std::path::{Path, PathBuf};

mod error;

pub use error::WriteError;

use crate::dataset::Dataset;

/// How the data is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// 1 (fast) to 9 (small); `None` stores data as it is.
    pub deflate_level: Option<u8>,
    /// Whether bytes are sorted by significance before they are deflated: smaller and faster
    /// for nearly all fields.
    pub shuffle: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            deflate_level: Some(1),
            shuffle: true,
        }
    }
}

/// A file being written.
///
/// [`commit`](Self::commit) makes it appear under its name; dropping it leaves no trace.
#[derive(Debug)]
pub struct Writer {
    target: PathBuf,
}

impl Writer {
    /// Starts a file with the dimensions, variables and attributes of `dataset`.
    ///
    /// The attributes `scale_factor` and `add_offset` are written as given, but values are not
    /// packed: take them out. A numeric variable that may get missing values needs a
    /// `_FillValue` of its own type; without one, NetCDF's default is used. Lengths of unlimited
    /// dimensions are those of `dataset`.
    ///
    /// # Errors
    /// [`WriteError`] when the folder cannot be written to, or `dataset` contradicts itself.
    pub fn create(
        target: &Path,
        dataset: &Dataset,
        options: &WriteOptions,
    ) -> Result<Self, WriteError> {
        let _ = (target, dataset, options);
        todo!()
    }

    /// The name it will appear under.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Writes a region; NaN becomes the variable's `_FillValue`, integers are rounded.
    ///
    /// Regions may come in any order; cells never written are missing. Whole slabs along the
    /// first dimension, in order, are fastest.
    ///
    /// # Errors
    /// [`WriteError::Region`], [`WriteError::Value`], or the disk is full.
    pub fn write_f64(
        &mut self,
        variable: usize,
        region: &[Range<usize>],
        values: &[f64],
    ) -> Result<(), WriteError> {
        let _ = (variable, region, values);
        todo!()
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
        let _ = (variable, region, values);
        todo!()
    }

    /// Writes the whole of a text variable, in the form that
    /// [`Source::read_text`](crate::storage::Source::read_text) gives.
    ///
    /// # Errors
    /// As `write_f64`.
    pub fn write_text(&mut self, variable: usize, texts: &[String]) -> Result<(), WriteError> {
        let _ = (variable, texts);
        todo!()
    }

    /// Flushes everything to disk and puts the file under its name.
    ///
    /// # Errors
    /// The first failing step; the final name is then untouched.
    pub fn commit(self) -> Result<(), WriteError> {
        todo!()
    }
}
