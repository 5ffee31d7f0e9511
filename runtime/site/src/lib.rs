//! Site profiles, and whether a node and its environment are fit for a distributed run.
//!
//! A [`Profile`] is data: variables with the value that a site needs, why, and where that is
//! written; values known to do harm likewise. [`Facts`] are what a node shows of itself;
//! [`examine`] compares both and gives [`Finding`]s, each with what to do. `mizar doctor` prints
//! them. What the user set is never overruled: it is only spoken of.
//!
//! Left out: measuring (`mizar comm-bench --expect` proves a network), asking Slurm or `mizard`
//! (the command does), and setting anything.

mod builtin;
mod examine;
mod facts;
mod profile;

pub use builtin::{builtin, detect};
pub use examine::{Finding, Judgement, examine};
pub use facts::Facts;
pub use profile::{Avoid, Profile, ProfileError, Setting};
