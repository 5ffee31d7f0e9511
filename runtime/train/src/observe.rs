//! What a run tells while it runs, and what remains of it.
//!
//! Every rank has an observer; most only act on rank 0. Times are seconds of this rank's
//! monotonic clock.

use std::path::PathBuf;

use serde::Serialize;

/// Is told what happens; every method may be left out.
pub trait Observer {
    /// All ranks hold the same parameters; the first step (or the first after a checkpoint)
    /// comes next.
    fn started(&mut self, _start: &Start) {}
    /// The run goes on from a checkpoint.
    fn resumed(&mut self, _resumed: &Resumed) {}
    /// An epoch begins, or goes on after a checkpoint in its middle.
    fn epoch_began(&mut self, _epoch: u64) {}
    /// A step of the optimizer is done.
    fn step(&mut self, _step: &StepMetrics) {}
    /// An epoch and its validation are done.
    fn epoch_ended(&mut self, _epoch: &EpochMetrics) {}
    /// A checkpoint is complete on disk.
    fn checkpoint(&mut self, _made: &CheckpointMade) {}
    /// Something went wrong that the run survives, in words.
    fn warning(&mut self, _text: &str) {}
    /// The run has ended, by itself or because it was asked to.
    fn stopped(&mut self, _end: &End) {}
}

/// An observer that looks away.
impl Observer for () {}

/// What a run is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Start {
    /// This rank.
    pub rank: usize,
    /// How many there are.
    pub ranks: usize,
    /// On how many nodes.
    pub nodes: usize,
    /// `ddp`, `zero1` …
    pub strategy: &'static str,
    /// Numbers of parameters.
    pub parameters: usize,
    /// Samples of an epoch.
    pub samples: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Buckets or fused buffers of each phase.
    pub buckets: Vec<usize>,
    /// Names of the phases.
    pub phases: Vec<String>,
    /// Bytes that this rank's trainer keeps of parameters, gradients and optimizer state.
    pub state_bytes: u64,
    /// The digest of the parameters, the same on all ranks.
    pub digest: String,
}

/// Where a run goes on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resumed {
    /// The checkpoint.
    pub path: PathBuf,
    /// Steps that were done.
    pub step: u64,
    /// The epoch that goes on or comes next, from 0.
    pub epoch: u64,
    /// How many ranks had written it.
    pub ranks_before: usize,
}

/// One step of the optimizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepMetrics {
    /// Steps done, this one included, over the whole run.
    pub step: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Mean loss over the samples of all ranks, by phase. Under local SGD over those since the
    /// ranks last met; empty on steps at which they do not meet.
    pub losses: Vec<f64>,
    /// Norm of the whole gradient before clipping, by phase; under local SGD this rank's.
    pub gradient_norms: Vec<f64>,
    /// The learning rate used.
    pub learning_rate: f64,
    /// The loss scale of half precision.
    pub loss_scale: Option<f64>,
    /// The gradients overflowed half precision: parameters were left as they were.
    pub skipped: bool,
    /// Samples of the step over all ranks.
    pub samples: usize,
    /// The whole step.
    pub step_s: f64,
    /// Waited for data.
    pub data_wait_s: f64,
    /// Forward and backward passes, with what they hide.
    pub compute_s: f64,
    /// Collectives, as the thread that communicates saw it.
    pub collective_s: f64,
    /// Waited for collectives: the part that is not hidden.
    pub exposed_s: f64,
    /// The optimizer.
    pub optimizer_s: f64,
    /// Comparing parameters over ranks.
    pub sync_check_s: f64,
    /// Held up by a checkpoint.
    pub checkpoint_stall_s: f64,
    /// Collectives that were begun.
    pub collectives: u64,
    /// Bytes of the arrays that this rank gave to them.
    pub bytes: u64,
    /// Local SGD: how far ranks had drifted when they met, the largest distance from the mean
    /// over the mean's norm.
    pub drift: Option<f64>,
}

/// One epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct EpochMetrics {
    /// From 0.
    pub epoch: u64,
    /// Steps done at its end.
    pub step: u64,
    /// Mean training loss over its samples, by phase.
    pub losses: Vec<f64>,
    /// Mean loss over the validation data.
    pub validation_loss: Option<f64>,
    /// The best validation (else training) loss so far.
    pub best_loss: f64,
    /// Samples over all ranks.
    pub samples: usize,
    /// Training, without validation; of the part after a resume.
    pub train_s: f64,
    /// Validation.
    pub validation_s: f64,
    /// Samples by `train_s`.
    pub samples_per_s: f64,
}

/// A checkpoint that is complete.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointMade {
    /// Its folder.
    pub path: PathBuf,
    /// Steps done.
    pub step: u64,
    /// Bytes over all ranks.
    pub bytes: u64,
    /// How long training stood still for it, on this rank.
    pub stall_s: f64,
    /// From the copy to the end of writing, on this rank.
    pub write_s: f64,
    /// The digest of the parameters in it.
    pub digest: String,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All epochs are done.
    Finished,
    /// Nothing got better any more.
    StoppedEarly {
        /// The last epoch.
        epoch: u64,
    },
    /// It was asked to stop, and can be resumed from the checkpoint, if there is one.
    Interrupted {
        /// Where it goes on.
        checkpoint: Option<PathBuf>,
    },
}

/// Sums over the steps of this process, and shares made of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Steps of this process (not of the run before a resume).
    pub steps: u64,
    /// Steps that were skipped for overflow.
    pub skipped: u64,
    /// Samples over all ranks.
    pub samples: u64,
    /// All steps.
    pub step_s: f64,
    /// Waited for data.
    pub data_wait_s: f64,
    /// Forward and backward.
    pub compute_s: f64,
    /// Collectives.
    pub collective_s: f64,
    /// Waited for collectives.
    pub exposed_s: f64,
    /// The optimizer.
    pub optimizer_s: f64,
    /// Comparing parameters.
    pub sync_check_s: f64,
    /// Comparisons.
    pub sync_checks: u64,
    /// Held up by checkpoints.
    pub checkpoint_stall_s: f64,
    /// Checkpoints that were completed.
    pub checkpoints: u64,
    /// Collectives.
    pub collectives: u64,
    /// Bytes given to them.
    pub bytes: u64,
}

impl Totals {
    /// Adds a step.
    pub fn add(&mut self, step: &StepMetrics) {
        self.steps += 1;
        self.skipped += u64::from(step.skipped);
        self.samples += step.samples as u64;
        self.step_s += step.step_s;
        self.data_wait_s += step.data_wait_s;
        self.compute_s += step.compute_s;
        self.collective_s += step.collective_s;
        self.exposed_s += step.exposed_s;
        self.optimizer_s += step.optimizer_s;
        self.sync_check_s += step.sync_check_s;
        self.checkpoint_stall_s += step.checkpoint_stall_s;
        self.collectives += step.collectives;
        self.bytes += step.bytes;
    }

    /// The share of the collectives' time in which this rank computed; `None` without any.
    #[must_use]
    pub fn hidden(&self) -> Option<f64> {
        let hidden = 1.0 - self.exposed_s / self.collective_s;
        (self.collective_s > 0.0).then_some(hidden.clamp(0.0, 1.0))
    }
}

/// What remains of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Steps done over the whole run.
    pub step: u64,
    /// Every epoch, those before a resume included.
    pub epochs: Vec<EpochMetrics>,
    /// The parameters, all of them, the same on all ranks.
    pub parameters: Vec<f32>,
    /// Their running mean, if one was kept: what validation used.
    pub averaged: Option<Vec<f32>>,
    /// The digest of `parameters`.
    pub digest: String,
    /// Sums over the steps of this process.
    pub totals: Totals,
}
