//! What a record holds, in memory.
//!
//! The row types are also the HDF5 compound types, field for field. Counters are cumulative
//! since the process or node began; a quantity that could not be read is NaN (floats) or
//! [`UNKNOWN`] (integers), never 0.

mod communication;
mod device;
mod gpu;

use std::path::PathBuf;

use mizar_core::ids::{Rank, StepId};
use serde::{Deserialize, Serialize};

pub use communication::{
    CallSample, Hang, MARK_BEGIN, MARK_END, MARK_FIGURE, MarkSample, Name, SplitSample, Waiting,
};
pub use device::{CounterInfo, CounterSample};
pub use gpu::{GpuEvent, GpuInfo, GpuProcessSample, GpuSample, limits};

/// The integer that means "could not be read".
pub const UNKNOWN: u64 = u64::MAX;

/// The layout that this crate writes; readers refuse newer ones.
pub const SCHEMA: &str = "mizar-record/1";

/// A whole job, all nodes and segments together.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    /// What is known of the job.
    pub job: JobInfo,
    /// One entry a node, in the order of the job's node list.
    pub nodes: Vec<NodeRecord>,
    /// Nodes of the list that left no record.
    pub missing_nodes: Vec<String>,
    /// Has every node finished?
    pub complete: bool,
}

/// What is known of a job as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Slurm's number.
    pub id: u32,
    /// The array's job id and this task's index.
    pub array: Option<(u32, u32)>,
    /// `SLURM_RESTART_COUNT`.
    pub restart_count: u32,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub uid: u32,
    /// The owner's login name, if known on the node.
    pub user: String,
    /// Its group.
    pub gid: u32,
    /// Partition, account and cluster, empty if unknown.
    pub partition: String,
    /// Account.
    pub account: String,
    /// Cluster.
    pub cluster: String,
    /// Compressed node list.
    pub nodes: String,
    /// First registration on any node, Unix nanoseconds.
    pub start_ns: i64,
    /// End on the last node; `None` while it runs.
    pub end_ns: Option<i64>,
    /// Its time limit, if it has one and Slurm told (23.02 and newer).
    #[serde(default)]
    pub time_limit_s: Option<u64>,
}

/// One node's part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeRecord {
    /// Slurm's name of the node.
    pub node: String,
    /// CPUs of the job here.
    pub job_cpus: Option<u32>,
    /// Memory limit of the job here.
    pub memory_limit_bytes: Option<u64>,
    /// Milliseconds between samples that were asked for when the record began.
    pub sample_ms: Option<u32>,
    /// Release of the daemon that wrote last; empty if unknown.
    pub mizar: String,
    /// How each kind of figure was obtained.
    pub methods: Methods,
    /// Steps seen here.
    pub steps: Vec<StepInfo>,
    /// Tasks seen here.
    pub tasks: Vec<TaskInfo>,
    /// `/task_samples`.
    pub task_samples: Vec<TaskSample>,
    /// `/step_samples`.
    pub step_samples: Vec<StepSample>,
    /// `/node_samples`.
    pub node_samples: Vec<NodeSample>,
    /// `/own_cost`.
    pub own_cost: Vec<OwnCost>,
    /// Counters of the node's devices.
    pub counters: Vec<CounterInfo>,
    /// `/counter_samples`.
    pub counter_samples: Vec<CounterSample>,
    /// GPUs of the job here, by number.
    pub gpus: Vec<GpuInfo>,
    /// `/gpu_samples`.
    pub gpu_samples: Vec<GpuSample>,
    /// `/gpu_process_samples`.
    pub gpu_process_samples: Vec<GpuProcessSample>,
    /// What befell the GPUs.
    pub gpu_events: Vec<GpuEvent>,
    /// `/call_samples`.
    pub call_samples: Vec<CallSample>,
    /// `/split_samples`.
    pub split_samples: Vec<SplitSample>,
    /// `/mark_samples`.
    pub mark_samples: Vec<MarkSample>,
    /// What the numbers of calls and marks stand for.
    pub names: Vec<Name>,
    /// Hangs that were judged.
    pub hangs: Vec<Hang>,
    /// Files used and made.
    pub files: Vec<FileRecord>,
    /// The batch script, if this node ran it.
    pub script: Option<FileRecord>,
    /// Times in which nothing was sampled, and why.
    pub gaps: Vec<Gap>,
}

/// A time in which nothing was sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// From, Unix nanoseconds.
    pub from_ns: i64,
    /// To.
    pub to_ns: i64,
    /// Why ("daemon restarted", "disk full").
    pub reason: String,
}

/// How figures were obtained, in words for people ("RAPL package counters", "none").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Methods {
    /// CPU time of tasks.
    pub cpu: String,
    /// Memory of tasks and steps.
    pub memory: String,
    /// I/O of tasks.
    pub io: String,
    /// Energy of the node.
    pub energy: String,
    /// How long the counter of the node's energy lags at most; `None` if its power is integrated,
    /// or nothing measures it.
    #[serde(default)]
    pub energy_refresh_ms: Option<u32>,
    /// Network of the node: always node traffic, never the job's alone.
    pub network: String,
    /// The split of time and the calls, if any step asked for it.
    #[serde(default)]
    pub communication: String,
}

/// A step on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepInfo {
    /// The step.
    pub step: StepId,
    /// Ranks over all nodes.
    pub task_count: u32,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// When it registered.
    pub start_ns: i64,
    /// When it left, if it did.
    pub end_ns: Option<i64>,
}

/// A task on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Its step.
    pub step: StepId,
    /// Its rank.
    pub rank: Rank,
    /// Its place on the node.
    pub local_rank: u32,
    /// Its first process.
    pub pid: i32,
    /// When it started.
    pub start_ns: i64,
    /// When it ended, if it did.
    pub end_ns: Option<i64>,
    /// Its status as `wait(2)` gives it, once ended.
    pub status: Option<i32>,
    /// `CUDA_VISIBLE_DEVICES` or `ROCR_VISIBLE_DEVICES`.
    pub visible_gpus: Option<String>,
}

/// One reading of a task: its first process and all descendants.
#[derive(Clone, Copy, Debug, PartialEq, hdf5::H5Type)]
#[repr(C)]
pub struct TaskSample {
    /// When the reading ended, Unix nanoseconds.
    pub time_ns: i64,
    /// Since the previous reading, by the monotonic clock, as measured; 0 for the first.
    pub interval_ns: i64,
    /// Step number ([`StepId`]).
    pub step: u32,
    /// Rank.
    pub rank: u32,
    /// CPU time used so far, user and system, ended children included.
    pub cpu_ns: u64,
    /// Resident memory, summed over the processes (shared pages count in each).
    pub rss_bytes: u64,
    /// Bytes read from the block layer so far.
    pub read_bytes: u64,
    /// Bytes written to the block layer so far.
    pub write_bytes: u64,
    /// Bytes read through read(2) and friends so far, page cache and network file systems too.
    pub rchar_bytes: u64,
    /// Bytes written likewise.
    pub wchar_bytes: u64,
    /// Threads.
    pub threads: u32,
    /// Processes.
    pub processes: u32,
}

/// One reading of a step's cgroup on a node; only where Slurm keeps one.
#[derive(Clone, Copy, Debug, PartialEq, hdf5::H5Type)]
#[repr(C)]
pub struct StepSample {
    /// When the reading ended, Unix nanoseconds.
    pub time_ns: i64,
    /// Since the previous reading, as measured; 0 for the first.
    pub interval_ns: i64,
    /// Step number.
    pub step: u32,
    /// Zero; keeps the row aligned.
    pub reserved: u32,
    /// CPU time used so far.
    pub cpu_ns: u64,
    /// Anonymous and shared memory now, page cache apart.
    pub memory_bytes: u64,
    /// The kernel's high-water mark, cache included.
    pub memory_peak_bytes: u64,
    /// Processes killed for memory so far.
    pub oom_kills: u64,
    /// Bytes read from block devices so far.
    pub read_bytes: u64,
    /// Bytes written to block devices so far.
    pub write_bytes: u64,
}

/// One reading of the node.
#[derive(Clone, Copy, Debug, PartialEq, hdf5::H5Type)]
#[repr(C)]
pub struct NodeSample {
    /// When the reading ended, Unix nanoseconds.
    pub time_ns: i64,
    /// Since the previous reading, as measured; 0 for the first.
    pub interval_ns: i64,
    /// CPU time not idle so far, over all CPUs.
    pub cpu_busy_ns: u64,
    /// CPU time so far, over all CPUs.
    pub cpu_total_ns: u64,
    /// Memory not available now.
    pub memory_used_bytes: u64,
    /// Memory installed.
    pub memory_total_bytes: u64,
    /// Bytes received so far over all network devices but loopback.
    pub net_rx_bytes: u64,
    /// Bytes sent likewise.
    pub net_tx_bytes: u64,
    /// Energy of the node since this record began, if anything measures it; else NaN.
    pub energy_joules: f64,
    /// Power over the interval, likewise.
    pub power_watts: f64,
}

/// What the daemon itself cost while the job ran.
#[derive(Clone, Copy, Debug, PartialEq, hdf5::H5Type)]
#[repr(C)]
pub struct OwnCost {
    /// When it was read, Unix nanoseconds.
    pub time_ns: i64,
    /// CPU time of the daemon since it began.
    pub cpu_ns: u64,
    /// Its resident memory.
    pub rss_bytes: u64,
}

/// A file in the record, with its digest once somebody has had the time to take it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The step that touched it.
    pub step: StepId,
    /// The rank, if one did alone.
    pub rank: Option<Rank>,
    /// True if the job made it, false if it used it.
    pub generated: bool,
    /// Absolute.
    pub path: PathBuf,
    /// Size when digested.
    pub size_bytes: Option<u64>,
    /// SHA-256 in hexadecimal.
    pub sha256: Option<String>,
    /// Why there is no digest, if there is none.
    pub note: Option<String>,
}

/// A line of `<node>.<segment>.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The segment begins.
    Begin {
        /// When.
        time_ns: i64,
        /// [`SCHEMA`].
        schema: String,
        /// The job.
        job: Box<JobInfo>,
        /// This node.
        node: String,
        /// CPUs of the job here.
        job_cpus: Option<u32>,
        /// Memory limit here.
        memory_limit_bytes: Option<u64>,
        /// Milliseconds between samples that are asked for.
        #[serde(default)]
        sample_ms: Option<u32>,
        /// How figures are obtained.
        methods: Methods,
        /// Release of the daemon.
        mizar: String,
    },
    /// A step came.
    Step(StepInfo),
    /// A task came.
    Task(TaskInfo),
    /// A task ended.
    TaskEnd {
        /// When.
        time_ns: i64,
        /// Its step.
        step: StepId,
        /// Its rank.
        rank: Rank,
        /// As `wait(2)` gives it; `None` if the daemon only saw that it was gone.
        status: Option<i32>,
    },
    /// A step left.
    StepEnd {
        /// When.
        time_ns: i64,
        /// The step.
        step: StepId,
    },
    /// A file was used or made, or its digest became known (the last line for a path wins).
    File(FileRecord),
    /// The batch script.
    Script(FileRecord),
    /// A counter of a device of the node was seen.
    Counter(CounterInfo),
    /// A GPU of the job was seen.
    Gpu(GpuInfo),
    /// Something befell a GPU.
    GpuEvent(GpuEvent),
    /// A number gets its name.
    Name(Name),
    /// Ranks hang.
    Hang(Hang),
    /// Nothing was sampled between these times.
    Gap {
        /// From.
        from_ns: i64,
        /// To.
        to_ns: i64,
        /// Why ("daemon restarted", "disk full").
        reason: String,
    },
    /// The job left this node; no more will come.
    End {
        /// When.
        time_ns: i64,
    },
}
