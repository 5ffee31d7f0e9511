//! What a record holds of communication (`--mizar=comm`) and of the user's marks.

use mizar_core::ids::{Rank, StepId};
use serde::{Deserialize, Serialize};

/// The calls of one kind that a rank has made so far.
#[derive(Clone, Copy, Debug, PartialEq, hdf5::H5Type)]
#[repr(C)]
pub struct CallSample {
    /// When the rank's counters were read, Unix nanoseconds.
    pub time_ns: i64,
    /// Since the previous reading, as measured; 0 for the first.
    pub interval_ns: i64,
    /// Calls begun so far.
    pub calls: u64,
    /// Bytes that this rank gave into them so far.
    pub bytes: u64,
    /// Time spent in them so far; of calls that return at once (NCCL, non-blocking MPI), the
    /// time from their start to their completion, where that is known.
    pub spent_ns: u64,
    /// Step number.
    pub step: u32,
    /// Rank.
    pub rank: u32,
    /// Which call: [`Name::id`].
    pub call: u32,
    /// Zero; keeps the row aligned.
    pub reserved: u32,
}

/// How a rank has spent its time so far. Each is a union of intervals: what overlaps is counted
/// once. `compute + exposed + io + idle` is the time since the library was loaded; `hidden`
/// lies within `compute`.
#[derive(Clone, Copy, Debug, PartialEq, hdf5::H5Type)]
#[repr(C)]
pub struct SplitSample {
    /// When the rank's counters were read, Unix nanoseconds.
    pub time_ns: i64,
    /// Since the previous reading, as measured; 0 for the first.
    pub interval_ns: i64,
    /// Computing, on the CPU or a GPU.
    pub compute_ns: u64,
    /// Communicating while nothing was computed.
    pub exposed_ns: u64,
    /// Communicating while something was computed.
    pub hidden_ns: u64,
    /// Waiting for files.
    pub io_ns: u64,
    /// None of these.
    pub idle_ns: u64,
    /// Records that the rank could not hand over because its ring was full.
    pub lost: u64,
    /// Step number.
    pub step: u32,
    /// Rank.
    pub rank: u32,
}

/// A mark that a program made (`mizar_mark`), or a figure of merit.
#[derive(Clone, Copy, Debug, PartialEq, hdf5::H5Type)]
#[repr(C)]
pub struct MarkSample {
    /// When it was made, Unix nanoseconds.
    pub time_ns: i64,
    /// Of a figure, its value; else NaN.
    pub value: f64,
    /// Step number.
    pub step: u32,
    /// Rank.
    pub rank: u32,
    /// Its name: [`Name::id`].
    pub name: u32,
    /// [`MARK_BEGIN`], [`MARK_END`] or [`MARK_FIGURE`].
    pub kind: u32,
}

/// A section begins.
pub const MARK_BEGIN: u32 = 0;
/// A section ends.
pub const MARK_END: u32 = 1;
/// A figure of merit.
pub const MARK_FIGURE: u32 = 2;

/// What a number in [`CallSample::call`] or [`MarkSample::name`] stands for, on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The number.
    pub id: u32,
    /// The name (`MPI_Allreduce`, `ncclAllReduce`, `epoch`).
    pub name: String,
}

/// Ranks of a step that stopped in different collectives, or waited for one that never came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hang {
    /// When it was judged.
    pub time_ns: i64,
    /// The step.
    pub step: StepId,
    /// Who waits where, as far as this node knows.
    pub waiting: Vec<Waiting>,
    /// The judgement for people.
    pub text: String,
}

/// A rank in a call that does not return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The rank.
    pub rank: Rank,
    /// Its node.
    pub node: String,
    /// The call it is in; `None` if it is in none (it computes, or has ended).
    pub call: Option<String>,
    /// The collective's place in the rank's order of collectives.
    pub sequence: u64,
    /// Since when, Unix nanoseconds.
    pub since_ns: i64,
}
