//! What must be known of a job to state its provenance, as plain data without behaviour.

use std::path::PathBuf;

use mizar_core::ids::{Rank, StepId};

/// What is known of a job, as plain data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobProvenance {
    /// Slurm's number.
    pub id: u32,
    /// `SLURM_RESTART_COUNT`.
    pub restart_count: u32,
    /// Its name.
    pub name: String,
    /// The owner's login name; empty if unknown.
    pub user: String,
    /// The owner's number.
    pub uid: u32,
    /// The cluster; empty if unknown.
    pub cluster: String,
    /// The partition; empty if unknown.
    pub partition: String,
    /// The account; empty if unknown.
    pub account: String,
    /// Its nodes, as Slurm lists them.
    pub nodes: String,
    /// When it began, Unix nanoseconds.
    pub start_ns: i64,
    /// When it ended, if it did.
    pub end_ns: Option<i64>,
    /// The batch script.
    pub script: Option<ScriptProvenance>,
    /// Its steps.
    pub steps: Vec<StepProvenance>,
    /// Files that it used or made.
    pub files: Vec<FileProvenance>,
    /// Release of the `mizard` that watched it; empty if unknown.
    pub mizard_version: String,
    /// Release of Slurm; empty if unknown.
    pub slurm_version: String,
}

/// A batch script.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScriptProvenance {
    /// Where it lay.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// Its SHA-256 in hexadecimal.
    pub sha256: Option<String>,
    /// Why something of this is missing.
    pub note: Option<String>,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepProvenance {
    /// Which.
    pub step: StepId,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// When it began, Unix nanoseconds.
    pub start_ns: i64,
    /// When it ended, if it did.
    pub end_ns: Option<i64>,
    /// Its ranks.
    pub ranks: Vec<RankProvenance>,
}

/// A rank of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct RankProvenance {
    /// Which.
    pub rank: Rank,
    /// Where it ran.
    pub node: String,
    /// Its first process.
    pub pid: i32,
    /// When it began, Unix nanoseconds.
    pub start_ns: i64,
    /// When it ended, if it did.
    pub end_ns: Option<i64>,
    /// Its status as `wait(2)` gives it.
    pub status: Option<i32>,
}

/// A file that a step used or made.
#[derive(Clone, Debug, PartialEq)]
pub struct FileProvenance {
    /// The step.
    pub step: StepId,
    /// The rank, if one did alone.
    pub rank: Option<Rank>,
    /// Made (true) or used (false).
    pub generated: bool,
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// Its SHA-256 in hexadecimal.
    pub sha256: Option<String>,
    /// Why there is no digest, if there is none.
    pub note: Option<String>,
}
