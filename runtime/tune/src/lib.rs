//! The search for hyperparameters: trials of one command with other values.
//!
//! A [`Study`] says what is varied, what is measured and how much may be spent. Workers, each a
//! task of a Slurm array or a process of this machine, take what to do next from one
//! [`Ledger`] in the study's folder, run it, and write what came out; there is no server, and a
//! worker that dies loses its own trial only. [`next`](decide::next) decides from the ledger
//! alone, so the same ledger gives the same decision anywhere.
//!
//! Left out: how a trial trains (any command that prints its metric), and submitting arrays
//! (`mizar tune`).

pub mod decide;
mod ledger;
mod random;
mod space;
mod study;
mod summary;
mod tpe;
mod worker;

pub use ledger::{Ending, Event, Ledger, LedgerError, Run, Trial};
pub use space::{Parameter, Value};
pub use study::{Budget, Goal, Method, Study, StudyError};
pub use summary::{Summary, TrialRow};
pub use worker::{Done, WorkerError, end_with_parent, work};
