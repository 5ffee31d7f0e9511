//! What can go wrong with a record.

use std::io;
use std::path::{Path, PathBuf};

/// Why a record could not be written, read or merged.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system has no room for what is to be written.
    #[error(
        "no space left for {path}: {available_bytes} bytes are free, {needed_bytes} are needed"
    )]
    DiskFull {
        /// The file or folder.
        path: PathBuf,
        /// Free, as `statvfs(2)` says.
        available_bytes: u64,
        /// Wanted, with the margin that HDF5 must find.
        needed_bytes: u64,
    },
    /// A system call failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The HDF5 library failed.
    #[error("cannot {action} {path}")]
    Hdf5 {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the library said.
        #[source]
        source: hdf5::Error,
    },
    /// A line or attribute is not what this crate writes.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        what: String,
    },
    /// The record was written by a newer release.
    #[error(
        "{path} has layout `{found}`; this release reads `{}`",
        crate::model::SCHEMA
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: String,
    },
    /// There is nothing.
    #[error("no record of this job in {folder}")]
    Missing {
        /// The folder looked at.
        folder: PathBuf,
    },
    /// The folder belongs to somebody else.
    #[error("{folder} belongs to uid {found_uid}, not to the job's owner {uid}")]
    ForeignFolder {
        /// The folder.
        folder: PathBuf,
        /// Its owner.
        found_uid: u32,
        /// The job's owner.
        uid: u32,
    },
}

impl RecordError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn hdf5(action: &'static str, path: &Path) -> impl FnOnce(hdf5::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Hdf5 {
            action,
            path,
            source,
        }
    }

    /// Is it for want of space (disk, quota or file size)?
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            ),
            _ => false,
        }
    }
}
