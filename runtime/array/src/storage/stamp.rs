//! By what an input that was written to is told from what it was: a file by size, time and inode,
//! an object by what its server says.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StorageError;
use super::remote::Object;

/// An input as it was when it was opened.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    path: PathBuf,
    found: Found,
}

#[derive(Clone, Debug)]
enum Found {
    File(Status),
    Object(Arc<Object>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status {
    size_bytes: u64,
    modified_s: i64,
    modified_ns: i64,
    inode: u64,
}

impl Stamp {
    /// Looks at a path.
    pub(super) fn of(path: &Path) -> Result<Self, StorageError> {
        Ok(Self {
            path: path.to_owned(),
            found: Found::File(look(path)?),
        })
    }

    /// Of an object that is open; `path` is its address as it may be shown.
    pub(super) fn of_object(path: &Path, object: Arc<Object>) -> Self {
        Self {
            path: path.to_owned(),
            found: Found::Object(object),
        }
    }

    /// The size of the file or the object.
    pub(super) fn size_bytes(&self) -> u64 {
        match &self.found {
            Found::File(status) => status.size_bytes,
            Found::Object(object) => object.size_bytes(),
        }
    }

    /// Fails when the path now leads to something else.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        match &self.found {
            Found::File(status) if look(&self.path)? == *status => Ok(()),
            Found::File(_) => Err(StorageError::Changed {
                path: self.path.clone(),
            }),
            Found::Object(object) => object
                .check()
                .map_err(|error| StorageError::io(&self.path, "look at", error.into())),
        }
    }
}

fn look(path: &Path) -> Result<Status, StorageError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| StorageError::io(path, "open", source))?;
    Ok(Status {
        size_bytes: metadata.len(),
        modified_s: metadata.mtime(),
        modified_ns: metadata.mtime_nsec(),
        inode: metadata.ino(),
    })
}
