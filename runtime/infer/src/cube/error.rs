//! Why fields could not be inferred: every message says what would be right.

use std::path::{Path, PathBuf};

use mizar_array::CubeError;
use mizar_array::storage::StorageError;
use mizar_comm::CommError;

use super::{FeedError, LayoutError};
use crate::{ModelError, ScalingError};
use mizar_comm::Shared;

/// Why fields could not be inferred. No output exists then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// The model does not run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The input cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] CubeError),
    /// The means and spreads are none.
    #[error(transparent)]
    Scaling(#[from] ScalingError),
    /// The letters are no layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The words do not say which variables go into which input.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// Ranks cannot speak to each other.
    #[error("the ranks lost each other")]
    Communication(#[from] CommError),
    /// The file has no such variable.
    #[error("{} has no data variable `{wanted}`; it has {known}", path.display())]
    NoVariable {
        /// The input.
        path: PathBuf,
        /// As asked for.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// Variables lie on different grids or times.
    #[error("`{first}` and `{other}` have other dimensions: select variables of one grid")]
    Dimensions {
        /// One.
        first: String,
        /// Another.
        other: String,
    },
    /// Input and model do not fit.
    #[error("{0}")]
    Unfit(String),
    /// Values are missing, and that was to be refused.
    #[error(
        "`{variable}` has missing values, the first at step {step}, row {row}, column {column}: \
         say --missing fill=VALUE or --missing mask"
    )]
    Missing {
        /// Of which variable.
        variable: String,
        /// From 0.
        step: usize,
        /// From 0.
        row: usize,
        /// From 0.
        column: usize,
    },
    /// The threads could not be started.
    #[error("cannot start {count} threads")]
    Threads {
        /// How many.
        count: usize,
        /// Why.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
    /// The output would take the place of what is read.
    #[error("the output {} is the input too: give it another name", path.display())]
    OutputIsInput {
        /// Both.
        path: PathBuf,
    },
    /// Another rank failed.
    #[error("rank {rank}: {message}")]
    Peer {
        /// Which.
        rank: usize,
        /// Its message, with all causes.
        message: String,
    },
}

impl InferError {
    /// The message and its causes on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        mizar_core::chain(self)
    }

    pub(crate) fn no_variable(path: &Path, wanted: &str, known: &[&str]) -> Self {
        Self::NoVariable {
            path: path.to_owned(),
            wanted: wanted.to_owned(),
            known: match known {
                [] => "none".to_owned(),
                known => known.join(", "),
            },
        }
    }
}

impl Shared for InferError {
    fn of_peer(rank: usize, message: String) -> Self {
        Self::Peer { rank, message }
    }

    fn is_known(&self) -> bool {
        match self {
            Self::Peer { .. } | Self::Communication(_) => true,
            Self::Output(error) => error.is_known(),
            _ => false,
        }
    }
}
