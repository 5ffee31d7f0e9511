//! The table `slurm`.

use std::path::PathBuf;
use std::time::Duration;

use mizar_slurm::{Accounting, CliSettings, SubmitAs};
use serde::{Deserialize, Serialize};

use crate::way::{Slurmrestd, Via};

/// How Slurm is driven.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slurm {
    /// Folder of sbatch, squeue, sacct and scancel; none means PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bin_dir: Option<PathBuf>,
    /// slurm.conf; none means Slurm's own choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conf: Option<PathBuf>,
    /// By which way jobs are submitted.
    pub via: Via,
    /// Where slurmrestd is; without the table it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slurmrestd: Option<Slurmrestd>,
    /// Socket of `mizar-submit-as`, which jobs of other users need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit_as: Option<PathBuf>,
    /// The gateway's user is an operator in Slurm: it sees all jobs, whatever `PrivateData` says.
    pub is_operator: bool,
    /// `auto`, `on` or `off`.
    pub accounting: Accounting,
    /// Submissions at the same time.
    pub submit_parallel: usize,
    /// Limit of one submission.
    pub submit_ms: u64,
    /// Limit of one squeue or sacct.
    pub query_ms: u64,
    /// Interval of the shared look at all jobs.
    pub poll_ms: u64,
    /// Time between the two looks for a job that may have been queued, or may be lost.
    pub grace_ms: u64,
    /// First wait after a failed submission; it doubles with each.
    pub backoff_ms: u64,
    /// Longest such wait.
    pub backoff_max_ms: u64,
    /// Failed submissions until an event goes to the dead letters. Times when Slurm could not
    /// be reached do not count.
    pub max_attempts: u32,
}

impl Default for Slurm {
    fn default() -> Self {
        Self {
            bin_dir: None,
            conf: None,
            via: Via::Auto,
            submit_as: None,
            is_operator: false,
            slurmrestd: None,
            accounting: Accounting::Auto,
            submit_parallel: 4,
            submit_ms: 40_000,
            query_ms: 40_000,
            poll_ms: 2_000,
            grace_ms: 15_000,
            backoff_ms: 2_000,
            backoff_max_ms: 300_000,
            max_attempts: 8,
        }
    }
}

impl Slurm {
    /// Settings of the command-line client.
    #[must_use]
    pub fn cli(&self) -> CliSettings {
        CliSettings {
            bin_dir: self.bin_dir.clone(),
            conf: self.conf.clone(),
            submit_limit: Duration::from_millis(self.submit_ms),
            query_limit: Duration::from_millis(self.query_ms),
            accounting: self.accounting,
            submit_as: self.submit_as.clone().map(SubmitAs::new),
            is_operator: self.is_operator,
            users: Vec::new(),
        }
    }
}
