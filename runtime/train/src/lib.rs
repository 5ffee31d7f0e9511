//! Distributed training, without a word about how a model computes.
//!
//! The trainer holds all parameters of a model as one flat array of `f32`, laid out by a
//! [`Layout`], and everything that is distributed works on that array: buckets, shards,
//! optimizers, digests, checkpoints. A [`Learner`] (the library of models is `mizar-models`, on
//! Burn) takes parameters, gives gradients tensor by tensor while its backward pass runs, and
//! knows nothing of ranks. A [`Source`] gives batches by the numbers of their samples and knows
//! nothing of shuffling.
//!
//! Left out: reading arrays (a source's business), drawing curves (`mizar-report`), the command
//! line (`mizar-cli`).

mod checkpoint;
mod data;
mod error;
mod exchange;
mod layout;
mod learner;
mod observe;
mod optimizer;
mod options;
mod plan;
mod precision;
mod prefetch;
mod proof;
mod random;
mod run;
mod sampler;
mod schedule;
mod state;
mod trainer;
mod world;

pub use checkpoint::CheckpointError;
pub use data::{Array, Batch, Source, SourceError};
pub use error::{Result, TrainError};
pub use layout::{Layout, Tensor};
pub use learner::{LearnError, Learner, Phase};
pub use observe::{
    CheckpointMade, End, EpochMetrics, Observer, Outcome, Resumed, Start, StepMetrics, Totals,
};
pub use options::{
    Adam, Checkpoint, Compression, EarlyStopping, Fused, LocalSgd, Optimizer, OptionError, Options,
    Precision, Resume, Schedule, Sgd, Strategy,
};
pub use trainer::Trainer;
