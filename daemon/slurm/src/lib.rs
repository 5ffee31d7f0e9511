//! The scheduler client: submit a job, find it again by its marker, watch all of ours in one
//! question, cancel.
//!
//! Called by the gateway's submitter and poller threads; every call blocks, for at most the
//! time-outs of its implementation. [`SlurmCli`] drives Slurm's own commands, [`SlurmRestd`]
//! submits through slurmrestd; both pass [`conformance::check`], as another transport must.
//!
//! Invariants:
//! - **A job is ours only if its comment or name carries our [`Marker`].** Job ids are reused
//!   after slurmctld lost its state, so an id alone never identifies a job.
//! - **An answer that is not certain says so.** [`SubmitOutcome::Unknown`] means that the job
//!   may be queued; only a look by marker, made afterwards, may lead to another submission.
//! - **Absent is not unreachable.** A query that could not be answered is a [`QueryError`],
//!   never an empty list.
//! - **Values travel as argument vectors.** Nothing here builds a line for a shell.
//!
//! Left out on purpose: retries, back-off and what an outcome means for an event. Those are
//! the caller's, who has the ledger.

mod answer;
pub mod array;
pub mod capacity;
pub mod cli;
pub mod conformance;
pub mod jobfile;
pub mod marker;
mod others;
mod process;
pub mod restd;
pub mod script;
pub mod state;
pub mod submit_as;
mod table;

use std::path::PathBuf;

pub use array::{ArrayTask, JobRef};
pub use capacity::Capacity;
pub use cli::{Accounting, CliSettings, SlurmCli};
pub use jobfile::{JobFile, JobFolder};
pub use marker::{Marker, MarkerError};
pub use mizar_core::ids::JobId;
pub use restd::{Place, Proof, RestSettings, SlurmRestd};
pub use state::{JobState, Phase};
pub use submit_as::{SubmitAs, SubmitAsError};

/// What to submit. Everything is passed as it is: no value is looked at by a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitRequest {
    /// Found again in the job's comment and name.
    pub marker: Marker,
    /// The batch script, an absolute path.
    pub script: PathBuf,
    /// The arguments of the script.
    pub arguments: Vec<String>,
    /// Options of the submission, as (long name, value); an empty value is a bare flag.
    pub options: Vec<(String, String)>,
    /// The job's working directory, where its output file goes as well.
    pub directory: PathBuf,
    /// Variables for the job, beyond the scheduler's own.
    pub environment: Vec<(String, String)>,
    /// Whose job it is, by Unix name; none makes it ours. Only a site's own mapping of its
    /// callers may set it, never a request.
    pub user: Option<String>,
    /// The tasks of a job array by their indices, ascending; none makes it a plain job. What the
    /// task of index `i` writes goes to the folder, or link to one, `i` of the directory.
    pub tasks: Vec<u32>,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// Queued under this id, which is the array's if it is one.
    Submitted(JobId),
    /// The scheduler says that this job will never be accepted.
    Refused(String),
    /// The scheduler could not be reached; nothing was sent.
    Unavailable(String),
    /// No certain answer: the job may be queued.
    Unknown(String),
}

/// One job of ours, or one task of an array of ours, as the scheduler knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobReport {
    /// Its id; a task that waits has its array's.
    pub id: JobId,
    /// Which task of which array it is.
    pub task: Option<ArrayTask>,
    /// The marker that makes it ours; all tasks of an array have the same.
    pub marker: Marker,
    /// The Unix user it runs as.
    pub user: String,
    /// Its state.
    pub state: JobState,
    /// How its script ended, once it has: the exit code, or 128 plus the signal.
    pub exit_code: Option<i32>,
    /// Why it waits or how it ended, in the scheduler's word; empty if there is none.
    pub reason: String,
}

impl JobReport {
    /// By what it is cancelled, and nothing else.
    #[must_use]
    pub fn handle(&self) -> JobRef {
        self.task.map_or(JobRef::Job(self.id), JobRef::Task)
    }
}

/// By which way jobs go to the scheduler, for people to read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Way {
    /// `sbatch` or `slurmrestd`.
    pub via: String,
    /// Why this one.
    pub why: String,
}

/// A question that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The command could not be started.
    #[error("cannot run {program}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The command did not end in time and was killed.
    #[error("{program} did not answer within {limit_ms} ms")]
    TimedOut {
        /// The program.
        program: String,
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The command failed.
    #[error("{program} failed: {message}")]
    Failed {
        /// The program.
        program: String,
        /// The last line it wrote to stderr, or its exit status.
        message: String,
    },
    /// The command's answer is not in the format we asked for.
    #[error("{program} answered `{line}`, which is not the asked format")]
    Format {
        /// The program.
        program: String,
        /// The line.
        line: String,
    },
}

/// A batch scheduler. Every call blocks; implementations bound each call in time.
pub trait Scheduler: Send + Sync {
    /// Submits one job. Never retried here.
    fn submit(&self, request: &SubmitRequest) -> SubmitOutcome;

    /// Lists our jobs that the scheduler's queue knows, finished ones included for as long as
    /// it remembers them.
    ///
    /// # Errors
    /// [`QueryError`] if the scheduler did not answer.
    fn queue(&self) -> Result<Vec<JobReport>, QueryError>;

    /// Asks the accounting for jobs with these markers; none if there is no accounting.
    ///
    /// # Errors
    /// [`QueryError`] if an accounting exists and did not answer.
    fn accounted(&self, markers: &[Marker]) -> Result<Vec<JobReport>, QueryError>;

    /// Finds the jobs that carry `marker`, queue first, then accounting.
    ///
    /// # Errors
    /// [`QueryError`] if either did not answer.
    fn find_by_marker(&self, marker: &Marker) -> Result<Vec<JobReport>, QueryError> {
        let mut found: Vec<_> = self
            .queue()?
            .into_iter()
            .filter(|job| job.marker == *marker)
            .collect();
        if found.is_empty() {
            found = self.accounted(std::slice::from_ref(marker))?;
        }
        Ok(found)
    }

    /// Says what the nodes that take jobs have together.
    ///
    /// # Errors
    /// [`QueryError`] if the scheduler did not answer.
    fn capacity(&self) -> Result<Capacity, QueryError>;

    /// By which way jobs go now, as the last submission or [`SlurmRestd::probe`] found it.
    fn way(&self) -> Way;

    /// Cancels a job; one that has ended already is no error.
    ///
    /// # Errors
    /// [`QueryError`] if the scheduler did not answer or refused.
    fn cancel(&self, job: JobRef) -> Result<(), QueryError>;
}
