//! Why a run cannot go on.

use std::path::PathBuf;

use mizar_comm::CommError;

use crate::{CheckpointError, LearnError, OptionError, SourceError};

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An option makes no sense.
    #[error("the options do not fit")]
    Options(#[from] OptionError),
    /// Ranks could not speak to each other; names rank, node and collective.
    #[error("ranks lost each other in step {step}")]
    Communication {
        /// The step that was being done.
        step: u64,
        /// Who is missing.
        #[source]
        source: CommError,
    },
    /// There is nothing to learn from.
    #[error("{what} has no samples: {origin}")]
    NoSamples {
        /// `training` or `validation`.
        what: &'static str,
        /// The source's identity.
        origin: String,
    },
    /// `drop_last` leaves nothing.
    #[error(
        "{samples} samples do not fill one batch of {batch_size}, and drop_last leaves out what does not: use a smaller batch_size"
    )]
    NoBatch {
        /// How many there are.
        samples: usize,
        /// How many a batch has.
        batch_size: usize,
    },
    /// The ranks were told different things.
    #[error("rank {rank} has {what} that differ from those of rank 0")]
    Disagreement {
        /// Which.
        rank: usize,
        /// `options`, `tensors`, `data`.
        what: &'static str,
    },
    /// The model or the data break what [`Learner`](crate::Learner) and
    /// [`Source`](crate::Source) promise.
    #[error("the model or its data break their contract: {what}")]
    Contract {
        /// How.
        what: String,
    },
    /// A batch does not fit the model.
    #[error("rank {rank}, step {step}: the model refuses its batch")]
    Learn {
        /// Whose.
        rank: usize,
        /// When.
        step: u64,
        /// Why.
        #[source]
        source: LearnError,
    },
    /// A sample could not be read.
    #[error("rank {rank}, step {step}: no data")]
    Source {
        /// Whose.
        rank: usize,
        /// When.
        step: u64,
        /// Which sample and why.
        #[source]
        source: SourceError,
    },
    /// A number is not finite.
    #[error(
        "step {step}: {what} of phase {phase} on {ranks} is not finite: lower the learning rate, clip gradients (clip_norm) or look at the data of that step"
    )]
    NotFinite {
        /// When.
        step: u64,
        /// `the loss`, or `the gradient of TENSOR`.
        what: String,
        /// The phase.
        phase: String,
        /// Whose, in words.
        ranks: String,
    },
    /// Half precision cannot hold the gradients.
    #[error(
        "step {step}: gradients overflow half precision even at the smallest loss scale; train with precision bf16 or f32"
    )]
    LossScale {
        /// When.
        step: u64,
    },
    /// The ranks hold different parameters.
    #[error(
        "step {step}: the parameters of {tensor} differ on {ranks} from those of the other ranks ({others} more tensors differ): the ranks no longer train one model"
    )]
    Diverged {
        /// After which step.
        step: u64,
        /// The first tensor that differs.
        tensor: String,
        /// On whom, in words.
        ranks: String,
        /// How many more tensors differ.
        others: usize,
    },
    /// A checkpoint could not be written.
    #[error("rank {rank}: the checkpoint of step {step} could not be made; {kept}")]
    Checkpoint {
        /// Whose part.
        rank: usize,
        /// Of which step.
        step: u64,
        /// What remains, in words.
        kept: String,
        /// Why.
        #[source]
        source: Box<CheckpointError>,
    },
    /// Nothing to resume from.
    #[error("no checkpoint in {folder} can be resumed from: {reasons}")]
    NothingToResume {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with each, in words.
        reasons: String,
    },
    /// A new run would mix with an old one.
    #[error(
        "{folder} holds checkpoints of another run ({found}): resume it (resume: auto), or name another folder"
    )]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
        /// The newest of them.
        found: String,
    },
    /// No thread to read ahead or to write checkpoints.
    #[error("no thread for {what} could be started")]
    NoThread {
        /// What for.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another rank could not go on.
    #[error("rank {rank} cannot go on: {message}")]
    Peer {
        /// Which.
        rank: usize,
        /// What it says.
        message: String,
    },
}

/// What the crate's functions return.
pub type Result<T> = std::result::Result<T, TrainError>;
