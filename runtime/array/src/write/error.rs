//! Why a file could not be written: every message names the file and the problem.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be written. Whatever stood under the final name is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file system refused: full, not permitted, no such folder.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The final name.
        path: PathBuf,
        /// `create`, `write`, `read back`, `finish`, `replace`.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The HDF5 library refused.
    #[error("{}: HDF5 cannot {operation}: {detail}", path.display())]
    Hdf5 {
        /// The final name.
        path: PathBuf,
        /// What was asked of the library.
        operation: String,
        /// What it answered.
        detail: String,
    },
    /// The structure is not one that the format can hold.
    #[error("{}: {problem}", path.display())]
    Structure {
        /// The final name.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The caller gave cells that the variable does not have, or a buffer of another size.
    #[error("{}: variable `{variable}` of shape {shape:?} has no region {region}", path.display())]
    Region {
        /// The final name.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The region, and the buffer's length where that is what does not fit.
        region: String,
    },
    /// A value does not fit the type of its variable.
    #[error("{}: variable `{variable}` of type {dtype} cannot hold {value}", path.display())]
    Value {
        /// The final name.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// Its type.
        dtype: String,
        /// The first value that does not fit.
        value: String,
    },
}

impl WriteError {
    /// Names the file and what was done with it when the system refused.
    pub(super) fn io(
        target: &Path,
        operation: &'static str,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = target.to_owned();
        move |source| Self::Io {
            path,
            operation,
            source,
        }
    }
}
