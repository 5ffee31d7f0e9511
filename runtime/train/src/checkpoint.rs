//! What is kept of a run on disk, so that it can go on.
//!
//! A checkpoint is a folder `step-N` with a file of each rank, which is a part of every array,
//! and a manifest that has their checksums and all else that a run needs to go on. Parts are
//! ranges of the flat array, so any number of ranks, under any strategy, can read them.

mod keeper;
mod manifest;
mod restore;
mod shard;

use std::io;
use std::path::PathBuf;

pub(crate) use keeper::Keeper;
pub(crate) use manifest::{Identity, Manifest, Progress, complete, folder_of};
pub(crate) use restore::read;
pub(crate) use shard::Array;

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
