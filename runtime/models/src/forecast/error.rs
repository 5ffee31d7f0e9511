//! Why there is no forecast.

use std::path::PathBuf;

use mizar_array::CubeError;
use mizar_comm::{CommError, Shared};

use crate::PredictError;
use crate::source::DataError;

/// Why there is no forecast.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForecastError {
    /// The input cannot be read as the model needs it.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The input is not what the model was trained on.
    #[error("the model does not fit {origin}: {reason}")]
    Unfit {
        /// The input.
        origin: String,
        /// What differs, and what would do.
        reason: String,
    },
    /// The model's file cannot be used.
    #[error(transparent)]
    Model(#[from] crate::ModelError),
    /// The model does not take what the input has, or cannot be run.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The array engine failed.
    #[error(transparent)]
    Cube(#[from] CubeError),
    /// The output would take the place of what is read.
    #[error("the output {} is the input too: give it another name", path.display())]
    OutputIsInput {
        /// Both.
        path: PathBuf,
    },
    /// Ranks could not speak to each other.
    #[error("the ranks lost each other")]
    Communication(#[from] CommError),
    /// Another rank failed.
    #[error("rank {rank}: {message}")]
    Peer {
        /// Which.
        rank: usize,
        /// Its message, with all causes.
        message: String,
    },
}

impl Shared for ForecastError {
    fn of_peer(rank: usize, message: String) -> Self {
        Self::Peer { rank, message }
    }

    fn is_known(&self) -> bool {
        match self {
            Self::Peer { .. } | Self::Communication(_) => true,
            Self::Cube(error) => error.is_known(),
            _ => false,
        }
    }
}
