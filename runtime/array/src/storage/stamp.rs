//! By what a file that was written to is told from what it was: size, time and inode.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::StorageError;

/// A file as it was when it was opened.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    path: PathBuf,
    found: Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
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
            found: look(path)?,
        })
    }

    /// Fails when the path now leads to something else.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        if look(&self.path)? == self.found {
            Ok(())
        } else {
            Err(StorageError::Changed {
                path: self.path.clone(),
            })
        }
    }
}

fn look(path: &Path) -> Result<Found, StorageError> {
    let metadata = std::fs::metadata(path).map_err(|source| StorageError::Io {
        path: path.to_owned(),
        operation: "open",
        source,
    })?;
    Ok(Found {
        size_bytes: metadata.len(),
        modified_s: metadata.mtime(),
        modified_ns: metadata.mtime_nsec(),
        inode: metadata.ino(),
    })
}
