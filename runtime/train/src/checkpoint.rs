//! What is kept of a run on disk, so that it can go on.

use std::io;
use std::path::PathBuf;

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system says no.
    #[error("{path} cannot be {action}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// `written`, `read` …
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How one can tell.
        what: String,
    },
    /// It is whole, but of something else.
    #[error("{path} is of another run: its {what} is {found}, here it is {expected}")]
    Foreign {
        /// The manifest.
        path: PathBuf,
        /// What differs.
        what: String,
        /// The checkpoint's.
        found: String,
        /// Ours.
        expected: String,
    },
}
