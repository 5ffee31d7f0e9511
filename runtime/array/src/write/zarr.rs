//! Zarr stores of version 3: a folder of metadata and one file for each chunk.
//!
//! Any number of processes store chunks in one folder; one of them made it and gives it its
//! name. Texts are of any length, in one chunk: the only form of them that the specification has.
//!
//! Source: Zarr core specification version 3.1; consolidated metadata as zarr-python 3 has it.

use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

mod metadata;

use mizar_core::durable::PendingFolder;
use rayon::prelude::*;

use super::WriteError;
use super::backend::{Backend, Encoded};
use super::layout::Layout;
use crate::dataset::Dataset;

/// Files that are written before they are synced together.
const UNSYNCED_FILES_MAX: usize = 4096;

/// Names of which one marks a folder as a Zarr store.
pub(super) const MARKERS: [&str; 4] = ["zarr.json", ".zgroup", ".zarray", ".zmetadata"];

/// A store being written.
#[derive(Debug)]
pub(super) struct Zarr {
    target: PathBuf,
    folder: PendingFolder,
    /// Files of this process that may not be on disk yet.
    unsynced: Mutex<Vec<PathBuf>>,
}

impl Zarr {
    /// Makes everything but the data.
    pub(super) fn create(
        target: &Path,
        dataset: &Dataset,
        layouts: &[Layout],
    ) -> Result<Self, WriteError> {
        check_replaceable(target)?;
        let failed = || WriteError::io(target, "create");
        let folder = PendingFolder::create(target).map_err(failed())?;
        let new = Self::in_folder(target, folder);
        let mut members = Vec::with_capacity(layouts.len());
        for (variable, layout) in dataset.variables.iter().zip(layouts) {
            let array = metadata::array(dataset, variable, layout);
            let path = new.array_folder(layout);
            std::fs::create_dir(&path).map_err(failed())?;
            new.write(path.join("zarr.json"), &array.to_bytes())?;
            members.push((layout.name.clone(), array));
        }
        let root = metadata::group(dataset, members);
        let path = new.folder.temporary_path().join("zarr.json");
        new.write(path, &root.to_bytes())?;
        Ok(new)
    }

    /// Stores chunks in the folder that another process made.
    pub(super) fn join(target: &Path, temporary: PathBuf) -> Self {
        Self::in_folder(target, PendingFolder::join(temporary, target))
    }

    fn in_folder(target: &Path, folder: PendingFolder) -> Self {
        Self {
            target: target.to_owned(),
            folder,
            unsynced: Mutex::default(),
        }
    }

    fn array_folder(&self, layout: &Layout) -> PathBuf {
        self.folder.temporary_path().join(&layout.name)
    }

    /// Where a chunk is. All of an array are in one folder: with `/` in their keys, each would
    /// have a folder of its own or several, which parallel file systems make slowly.
    fn chunk_path(&self, layout: &Layout, place: &[usize]) -> PathBuf {
        let mut key = "c".to_owned();
        for index in place {
            key.push_str(metadata::SEPARATOR);
            key.push_str(&index.to_string());
        }
        self.array_folder(layout).join(key)
    }

    fn write(&self, path: PathBuf, bytes: &[u8]) -> Result<(), WriteError> {
        let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes));
        written.map_err(WriteError::io(&self.target, "write"))?;
        let mut unsynced = self.unsynced();
        unsynced.push(path);
        let is_enough = unsynced.len() >= UNSYNCED_FILES_MAX;
        drop(unsynced);
        if is_enough { self.sync() } else { Ok(()) }
    }

    fn unsynced(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Zarr {
    fn put_chunks(
        &self,
        _variable: usize,
        layout: &Layout,
        chunks: Vec<Encoded>,
    ) -> Result<(), WriteError> {
        chunks.into_par_iter().try_for_each(|(place, bytes)| {
            let path = self.chunk_path(layout, &place);
            if !bytes.is_empty() {
                return self.write(path, &bytes);
            }
            // It may have had values before.
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(WriteError::io(&self.target, "write")(error))
                }
                _ => Ok(()),
            }
        })
    }

    fn stored_chunk(
        &self,
        _variable: usize,
        layout: &Layout,
        place: &[usize],
    ) -> Result<Option<Vec<u8>>, WriteError> {
        match std::fs::read(self.chunk_path(layout, place)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(WriteError::io(&self.target, "read back")(error)),
        }
    }

    /// Every variable has chunks.
    fn put_region(
        &self,
        _variable: usize,
        layout: &Layout,
        region: &[Range<usize>],
        _bytes: &[u8],
    ) -> Result<(), WriteError> {
        Err(WriteError::Region {
            path: self.target.clone(),
            variable: layout.name.clone(),
            shape: layout.shape.clone(),
            region: format!("{region:?} outside of chunks"),
        })
    }

    fn put_texts(
        &self,
        _variable: usize,
        layout: &Layout,
        texts: &[String],
    ) -> Result<(), WriteError> {
        if texts.iter().all(String::is_empty) {
            return Ok(());
        }
        // numcodecs' `vlen-utf8`: a count, then each text after its length.
        let mut bytes = (texts.len() as u32).to_le_bytes().to_vec();
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        let place = vec![0; metadata::rank(layout)];
        self.write(self.chunk_path(layout, &place), &bytes)
    }

    fn meeting_point(&self) -> Option<&Path> {
        Some(self.folder.temporary_path())
    }

    fn sync(&self) -> Result<(), WriteError> {
        let files = std::mem::take(&mut *self.unsynced());
        let synced = files.into_par_iter().try_for_each(|path| {
            match std::fs::File::open(path).and_then(|file| file.sync_all()) {
                // A chunk that lost its values, or was stored twice.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            }
        });
        synced.map_err(WriteError::io(&self.target, "finish"))
    }

    fn commit(self: Box<Self>) -> Result<(), WriteError> {
        self.sync()?;
        check_replaceable(&self.target)?;
        let Self { target, folder, .. } = *self;
        folder.commit().map_err(WriteError::io(&target, "finish"))
    }
}

/// Refuses a folder that is no store: it may hold anything.
fn check_replaceable(target: &Path) -> Result<(), WriteError> {
    let Ok(mut entries) = std::fs::read_dir(target) else {
        return Ok(()); // Nothing, or a file.
    };
    let is_store = MARKERS.iter().any(|name| target.join(name).exists());
    if is_store || entries.next().is_none() {
        return Ok(());
    }
    let problem = "it is a folder and no Zarr store: it is not replaced";
    let source = io::Error::new(io::ErrorKind::AlreadyExists, problem);
    Err(WriteError::io(target, "replace")(source))
}
