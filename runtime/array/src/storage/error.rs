//! Why a file could not be read: every message names the file and the problem.

use std::io;
use std::path::{Path, PathBuf};

use super::remote;

/// Why a file could not be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The file system or the server refused: absent, not permitted, a broken disk.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `open`, `read`, `look at`.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is there, but it is not a file that this version reads.
    #[error("{} is {found}", path.display())]
    NotReadable {
        /// The file.
        path: PathBuf,
        /// What it is instead, and what the user can do.
        found: String,
    },
    /// The file is damaged: cut short, or its parts contradict each other.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and how.
        problem: String,
    },
    /// The HDF5 library refused.
    #[error("{}: HDF5 cannot {operation}: {detail}", path.display())]
    Hdf5 {
        /// The file.
        path: PathBuf,
        /// What was asked of the library.
        operation: String,
        /// What it answered.
        detail: String,
    },
    /// The variable is of a kind for which this call makes no sense (numbers of a text, …).
    #[error("{}: variable `{variable}` is {found}, not {expected}", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// What was asked for.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The caller asked for cells that the variable does not have, or gave a buffer of another
    /// size.
    #[error("{}: variable `{variable}` of shape {shape:?} has no region {region}", path.display())]
    Region {
        /// The file.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The region, and the buffer's length where that is what does not fit.
        region: String,
    },
    /// So much memory is not to be had: a large variable, or a header that lies about its size.
    #[error(
        "{}: variable `{variable}` needs {size_bytes} bytes of memory at once, which are not there",
        path.display()
    )]
    Memory {
        /// The file.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// How much was asked for.
        size_bytes: u64,
    },
    /// The process may not open another file.
    #[error(
        "cannot open {}: {limit} files are open, which is all that this process may: raise the \
         limit (`ulimit -n`), or join the inputs in several steps",
        path.display()
    )]
    TooManyFiles {
        /// The file.
        path: PathBuf,
        /// How many the process may open.
        limit: u64,
    },
    /// Another program wrote to the file since it was opened.
    #[error("{} changed while it was read: run again when its writer has finished", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl StorageError {
    /// What the system or a server said when it was asked to `operation`.
    pub(super) fn io(path: &Path, operation: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        if remote::is_changed(&source) {
            return Self::Changed { path };
        }
        Self::Io {
            path,
            operation,
            source,
        }
    }
}
