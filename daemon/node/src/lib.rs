//! Reads the machine that a daemon runs on: process trees, step cgroups, the node, its devices,
//! its energy.
//!
//! Called by `mizard`'s sampler, once an interval. Every reader takes its roots ([`Roots`]),
//! so that tests give it fixture trees. What cannot be read is a value ([`UNKNOWN`] or NaN)
//! and never 0; what a figure rests on is said by a `method` in words. Readings are raw
//! counters: rates and judgement are others' business.
//!
//! GPUs have a crate of their own, `runtime/gpu`; here is only who may open which of their
//! device nodes ([`device_cgroup`]).

pub mod cgroup;
pub mod device_cgroup;
pub mod devices;
pub mod energy;
pub mod machine;
pub mod process;
mod text;

use std::path::PathBuf;

/// The integer that means "could not be read"; the same as in the job record.
pub const UNKNOWN: u64 = u64::MAX;

/// Where the kernel's trees are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            sys: PathBuf::from("/sys"),
        }
    }
}

/// `a + b`, unknown if either is.
fn add(a: u64, b: u64) -> u64 {
    if a == UNKNOWN || b == UNKNOWN {
        UNKNOWN
    } else {
        a.saturating_add(b).min(UNKNOWN - 1)
    }
}
