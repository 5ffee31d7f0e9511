//! NetCDF-4 files: one process alone writes them, through the HDF5 library.

use std::ops::Range;
use std::path::{Path, PathBuf};

mod skeleton;

use mizar_core::durable::PendingFile;

use super::WriteError;
use super::backend::{Backend, Encoded};
use super::encode;
use super::layout::Layout;
use crate::dataset::{DType, Dataset};
use crate::library::{Failure, NewArray, NewFile};

/// A file being written.
#[derive(Debug)]
pub(super) struct NetCdf {
    target: PathBuf,
    /// By variable.
    arrays: Vec<NewArray>,
    // After the arrays: they close before it.
    file: NewFile,
    // Last: the file is closed before it is removed.
    pending: PendingFile,
}

impl NetCdf {
    /// Makes everything but the data.
    pub(super) fn create(
        target: &Path,
        dataset: &Dataset,
        layouts: &[Layout],
    ) -> Result<Self, WriteError> {
        let pending = PendingFile::create(target).map_err(WriteError::io(target, "create"))?;
        let failed = |failure: Failure| library_failed(target, failure);
        let made = pending.made_by(NewFile::create);
        let file = made
            .map_err(WriteError::io(target, "create"))?
            .map_err(failed)?;
        let arrays = skeleton::make(&file, dataset, layouts).map_err(failed)?;
        Ok(Self {
            target: target.to_owned(),
            arrays,
            file,
            pending,
        })
    }

    fn failed(&self, failure: Failure) -> WriteError {
        library_failed(&self.target, failure)
    }
}

impl Backend for NetCdf {
    fn put_chunks(
        &self,
        variable: usize,
        layout: &Layout,
        chunks: Vec<Encoded>,
    ) -> Result<(), WriteError> {
        for (place, bytes) in chunks {
            let written = self.arrays[variable].write_chunk(&offset(layout, &place), &bytes);
            written.map_err(|failure| self.failed(failure))?;
        }
        Ok(())
    }

    fn stored_chunk(
        &self,
        variable: usize,
        layout: &Layout,
        place: &[usize],
    ) -> Result<Option<Vec<u8>>, WriteError> {
        let read = self.arrays[variable].read_chunk(&offset(layout, place));
        read.map_err(|failure| self.failed(failure))
    }

    fn put_region(
        &self,
        variable: usize,
        layout: &Layout,
        region: &[Range<usize>],
        bytes: &[u8],
    ) -> Result<(), WriteError> {
        let written = self.arrays[variable].write(layout.dtype, region, bytes);
        written.map_err(|failure| self.failed(failure))
    }

    fn put_texts(
        &self,
        variable: usize,
        layout: &Layout,
        texts: &[String],
    ) -> Result<(), WriteError> {
        if texts.is_empty() || layout.shape.contains(&0) {
            return Ok(());
        }
        if layout.dtype == DType::Text {
            let written = self.arrays[variable].write_texts(texts);
            return written.map_err(|failure| self.failed(failure));
        }
        let width = layout.shape.last().copied().unwrap_or(1);
        // All fit: the writer has looked.
        let rows = texts.iter().filter_map(|text| encode::row(text, width));
        let bytes: Vec<u8> = rows.flatten().collect();
        let whole: Vec<Range<usize>> = layout.shape.iter().map(|&len| 0..len).collect();
        self.put_region(variable, layout, &whole, &bytes)
    }

    fn meeting_point(&self) -> Option<&Path> {
        None
    }

    /// The library keeps the file open until it is committed.
    fn sync(&self) -> Result<(), WriteError> {
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), WriteError> {
        let Self {
            target,
            arrays,
            file,
            pending,
        } = *self;
        drop(arrays);
        file.close()
            .map_err(|failure| library_failed(&target, failure))?;
        pending.commit().map_err(WriteError::io(&target, "finish"))
    }
}

/// The first cell of a chunk.
fn offset(layout: &Layout, place: &[usize]) -> Vec<usize> {
    let chunk = layout.chunk_shape.as_deref().unwrap_or_default();
    place.iter().zip(chunk).map(|(p, len)| p * len).collect()
}

fn library_failed(target: &Path, failure: Failure) -> WriteError {
    let Failure { operation, detail } = failure;
    WriteError::Hdf5 {
        path: target.to_owned(),
        operation,
        detail,
    }
}
