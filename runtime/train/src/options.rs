//! What a run may be told: the configuration file's part about training, checked before anything
//! starts. Every key has a default.

mod check;

use std::path::PathBuf;

pub use check::OptionError;
use serde::{Deserialize, Serialize};

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Passes over the data.
    pub epochs: u64,
    /// Samples of one step of the optimizer, over all ranks: the number of ranks does not change
    /// which samples a step sees.
    pub batch_size: usize,
    /// Leave out what does not fill the last batch of an epoch. Otherwise it is a smaller batch.
    pub drop_last: bool,
    /// In how many pieces a rank computes its share of a batch, for memory's sake.
    pub accumulate: usize,
    /// The step of the optimizer, before the schedule.
    pub learning_rate: f64,
    /// How gradients change parameters.
    pub optimizer: Optimizer,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from zero, before the schedule begins.
    pub warmup_steps: u64,
    /// Gradients of a phase are shortened to this norm, over all of its tensors.
    pub clip_norm: Option<f64>,
    /// Which numbers are rounded.
    pub precision: Precision,
    /// The loss scale of `precision: f16` at the start; it halves on overflow and doubles after
    /// 2000 steps without.
    pub loss_scale: f64,
    /// Who holds and exchanges what.
    pub strategy: Strategy,
    /// For the strategy `fused`.
    pub fused: Fused,
    /// For the strategy `local-sgd`.
    pub local_sgd: LocalSgd,
    /// Gradients are exchanged in buckets of this many MB.
    pub bucket_mb: f64,
    /// The first bucket, whose exchange begins first, has this many.
    pub first_bucket_mb: f64,
    /// Of all that is drawn: order of samples, dropout.
    pub seed: u64,
    /// Batches that are read ahead, on a thread of their own.
    pub prefetch: usize,
    /// Stop when validation (without it: training) gets no better.
    pub early_stopping: Option<EarlyStopping>,
    /// Keep a running mean of the parameters with this decay (`0.999`): validation uses it. Under
    /// local SGD it follows when the ranks meet.
    pub ema: Option<f64>,
    /// Validate after every so many epochs.
    pub validate_every: u64,
    /// Compare the parameters of all ranks after every so many steps; 0 only at start,
    /// checkpoints and end.
    pub sync_check: u64,
    /// What is kept on disk.
    pub checkpoint: Checkpoint,
    /// Whether to go on from the newest good checkpoint.
    pub resume: Resume,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 32,
            drop_last: false,
            accumulate: 1,
            learning_rate: 1e-3,
            optimizer: Optimizer::default(),
            schedule: Schedule::default(),
            warmup_steps: 0,
            clip_norm: None,
            precision: Precision::F32,
            loss_scale: 65_536.0,
            strategy: Strategy::Ddp,
            fused: Fused::default(),
            local_sgd: LocalSgd::default(),
            bucket_mb: 25.0,
            first_bucket_mb: 1.0,
            seed: 0,
            prefetch: 2,
            early_stopping: None,
            ema: None,
            validate_every: 1,
            sync_check: 100,
            checkpoint: Checkpoint::default(),
            resume: Resume::Never,
        }
    }
}

/// How gradients change parameters: as PyTorch's optimizers of these names do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam; its weight decay is added to the gradient.
    Adam(Adam),
    /// Adam with weight decay apart from the gradient.
    AdamW(Adam),
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adam(Adam::default())
    }
}

/// Of `sgd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// How much of the last step goes on.
    pub momentum: f64,
    /// Look ahead along the momentum.
    pub nesterov: bool,
    /// This times the parameter is added to its gradient.
    pub weight_decay: f64,
}

/// Of `adam` and `adamw`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Keeps the quotient finite.
    pub epsilon: f64,
    /// `adam`: this times the parameter is added to its gradient. `adamw`: a step shrinks the
    /// parameter by this times the learning rate.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// How the learning rate changes after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Schedule {
    /// Not at all.
    // With braces, so that keys beside its name are refused.
    Constant {},
    /// It is multiplied by `factor` after every `epochs` epochs.
    Step {
        /// After how many.
        epochs: u64,
        /// By what.
        factor: f64,
    },
    /// It falls along half a cosine to `minimum` at the end of the run.
    Cosine {
        /// The learning rate at the end.
        #[serde(default)]
        minimum: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant {}
    }
}

/// Which numbers are rounded. The model computes as it was built to (our library: single
/// precision); master parameters, sums over samples and ranks, and the optimizer are always in
/// single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// None.
    #[default]
    F32,
    /// The parameters that the model gets and the gradients that it gives, to bfloat16.
    Bf16,
    /// The same to half precision, gradients multiplied by the loss scale first; a step whose
    /// gradients overflow is skipped.
    F16,
}

/// Who holds and exchanges what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Every rank holds all; gradients are averaged in buckets while the backward pass runs.
    #[default]
    Ddp,
    /// The optimizer's state is spread over the ranks.
    Zero1,
    /// Gradients too.
    Zero2,
    /// The master parameters too: they are gathered for a step.
    Zero3,
    /// As `ddp`, in fused buffers in the order in which gradients come, compressed if told so.
    Fused,
    /// Every rank steps alone; parameters and optimizer state are averaged now and then.
    LocalSgd,
}

impl Strategy {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::Ddp,
        Self::Zero1,
        Self::Zero2,
        Self::Zero3,
        Self::Fused,
        Self::LocalSgd,
    ];

    /// As in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddp => "ddp",
            Self::Zero1 => "zero1",
            Self::Zero2 => "zero2",
            Self::Zero3 => "zero3",
            Self::Fused => "fused",
            Self::LocalSgd => "local-sgd",
        }
    }
}

/// Of the strategy `fused`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fused {
    /// How gradients travel.
    pub compression: Compression,
    /// Gradients are fused to buffers of this many MB.
    pub fusion_mb: f64,
}

impl Default for Fused {
    fn default() -> Self {
        Self {
            compression: Compression::None,
            fusion_mb: 128.0,
        }
    }
}

/// How gradients travel. They are summed in single precision whatever it is; compressed ones
/// are rounded before the sum, and the sum is rounded once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// In half precision.
    Fp16,
    /// In bfloat16.
    Bf16,
}

/// Of the strategy `local-sgd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalSgd {
    /// Ranks meet after so many steps, and at the end of an epoch.
    pub every: u64,
}

impl Default for LocalSgd {
    fn default() -> Self {
        Self { every: 8 }
    }
}

/// When to stop before the last epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStopping {
    /// Validations in a row that may bring nothing.
    pub patience: u64,
    /// By how much the loss must fall to count.
    pub min_delta: f64,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self {
            patience: 5,
            min_delta: 0.0,
        }
    }
}

/// What is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Where; without it nothing is kept. A folder of one run, seen by all ranks.
    pub dir: Option<PathBuf>,
    /// After how many steps; 0: after each epoch.
    pub every: u64,
    /// The newest so many stay.
    pub keep: usize,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            dir: None,
            every: 0,
            keep: 3,
        }
    }
}

/// Whether to go on from a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// Start anew; a folder that holds checkpoints is refused.
    #[default]
    Never,
    /// From the newest good one, if there is any: for jobs that are requeued.
    Auto,
    /// From the newest good one; without one the run fails.
    Must,
}
