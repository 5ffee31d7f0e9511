//! The report as data: the JSON of `mizar report --json`, and all that text and HTML show.
//!
//! `schema` is `mizar-report/1`; fields may be added under that name, never changed or taken
//! away. Times are Unix seconds, durations seconds, sizes bytes, rates per second, shares
//! fractions of 1. `null` means "not measured" or "not known".

use serde::Serialize;

use crate::series::Series;

/// The name of this layout.
pub const SCHEMA: &str = "mizar-report/1";

/// A whole report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Release of Mizar that made it.
    pub mizar: &'static str,
    /// The job.
    pub job: Job,
    /// What of it was seen.
    pub completeness: Completeness,
    /// CPU use.
    pub cpu: Cpu,
    /// Memory use.
    pub memory: Memory,
    /// Input and output.
    pub io: Io,
    /// Traffic of the nodes.
    pub network: Network,
    /// Energy of the nodes.
    pub energy: Energy,
    /// GPUs, if the job had any.
    pub gpu: Option<crate::gpus::Gpus>,
    /// Communication against computation; absent if no step asked with `--mizar=comm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub communication: Option<crate::split::Communication>,
    /// What to change, most urgent first.
    pub advice: Vec<Advice>,
    /// Steps, by their start.
    pub steps: Vec<Step>,
    /// Ranks, by step and rank.
    pub ranks: Vec<Rank>,
    /// Nodes, as the record lists them.
    pub nodes: Vec<Node>,
    /// Files and script.
    pub provenance: Provenance,
    /// How it was measured.
    pub measurement: Measurement,
    /// The thresholds that the advice follows.
    pub thresholds: crate::advice::Thresholds,
}

/// The job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Job {
    /// Slurm's number.
    pub id: u32,
    /// Array job and index, if it is a task of one.
    pub array: Option<(u32, u32)>,
    /// How often it was requeued.
    pub restart_count: u32,
    /// Its name.
    pub name: String,
    /// What people call it: of a job of the gateway, the service.
    pub title: String,
    /// Its owner's login name, or number.
    pub user: String,
    /// Its partition.
    pub partition: String,
    /// Its account.
    pub account: String,
    /// Its cluster.
    pub cluster: String,
    /// Its nodes, compressed.
    pub nodes: String,
    /// `running` or `finished`.
    pub state: &'static str,
    /// When it began.
    pub start_s: f64,
    /// When it ended.
    pub end_s: Option<f64>,
    /// From its start to its end, or to the last reading while it runs.
    pub elapsed_s: f64,
    /// Its time limit, if it has one and Slurm told.
    pub time_limit_s: Option<u64>,
}

/// What of the job was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Completeness {
    /// Has every node's record ended?
    pub complete: bool,
    /// Nodes that left no record.
    pub missing_nodes: Vec<String>,
    /// The share of the ranks' lifetimes that lies within measured intervals.
    pub observed_share: Option<f64>,
    /// Times without readings.
    pub gaps: Vec<Gap>,
}

/// A time without readings on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// The node.
    pub node: String,
    /// From, seconds after the job's start.
    pub from_s: f64,
    /// To, likewise.
    pub to_s: f64,
    /// Why.
    pub reason: String,
}

/// CPU use of the job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cpu {
    /// CPUs allocated, over all nodes.
    pub allocated: Option<u32>,
    /// CPU seconds used, over all ranks.
    pub used_s: Option<f64>,
    /// Used / (allocated × elapsed).
    pub efficiency: Option<f64>,
    /// Used / elapsed: CPUs busy on average.
    pub mean_busy: Option<f64>,
    /// How it was measured.
    pub method: String,
}

/// Memory use, on the node that came nearest to its limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// That node.
    pub node: Option<String>,
    /// The most that the job used there at one time.
    pub peak_bytes: Option<u64>,
    /// What it may use there.
    pub limit_bytes: Option<u64>,
    /// Peak / limit.
    pub used_share: Option<f64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
    /// How it was measured.
    pub method: String,
}

/// Input and output of all ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct IoTotals {
    /// Bytes read by read(2) and its kin: page cache and network file systems included.
    pub read_bytes: Option<u64>,
    /// Bytes written likewise.
    pub written_bytes: Option<u64>,
    /// Bytes read from block devices.
    pub device_read_bytes: Option<u64>,
    /// Bytes written to block devices.
    pub device_written_bytes: Option<u64>,
}

/// Input and output of the job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Io {
    /// Totals.
    #[serde(flatten)]
    pub totals: IoTotals,
    /// Read and written by calls, per second of the job.
    pub mean_bytes_per_s: Option<f64>,
    /// How it was measured.
    pub method: String,
}

/// Traffic of the nodes: all that they sent and received, other jobs' too.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Network {
    /// Bytes received.
    pub received_bytes: Option<u64>,
    /// Bytes sent.
    pub sent_bytes: Option<u64>,
    /// How it was measured.
    pub method: String,
}

/// Energy of the nodes, other jobs' share included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Energy {
    /// Joules; `null` if nothing measured it on some node.
    pub joules: Option<f64>,
    /// By how much that may be wrong.
    pub bound_joules: Option<f64>,
    /// Joules / elapsed.
    pub mean_watts: Option<f64>,
    /// How it was measured, or "not measured".
    pub method: String,
}

/// How urgent a piece of advice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Fix it.
    Critical,
    /// Worth a look.
    Warning,
    /// Good to know.
    Note,
}

/// A piece of advice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// What it is about, for programs: `low_memory`, `serial_code`, …
    pub kind: &'static str,
    /// How urgent.
    pub severity: Severity,
    /// What was seen.
    pub message: String,
    /// What to do.
    pub action: String,
    /// The line to change in the script.
    pub directive: Option<String>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Its number or Slurm's word for it.
    pub step: String,
    /// Program and arguments.
    pub command: String,
    /// Working directory.
    pub cwd: String,
    /// Ranks it was started with.
    pub task_count: u32,
    /// Nodes it was seen on.
    pub node_count: usize,
    /// Seconds after the job's start.
    pub start_s: f64,
    /// Its duration so far.
    pub elapsed_s: f64,
    /// Has it ended everywhere?
    pub finished: bool,
    /// CPU seconds of its ranks.
    pub cpu_s: Option<f64>,
    /// The largest resident memory of one rank.
    pub rank_peak_bytes: Option<u64>,
    /// Its I/O.
    pub io: IoTotals,
    /// Ranks that failed: `rank 3: signal 9`.
    pub failures: Vec<String>,
    /// Balance of its ranks, if it has several.
    pub balance: Option<Balance>,
}

/// How evenly CPU time lies on the ranks of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Balance {
    /// Largest / mean CPU seconds.
    pub max_over_mean: f64,
    /// Mean CPU seconds of a rank.
    pub mean_cpu_s: f64,
    /// The rank with the most.
    pub busiest_rank: u32,
    /// Ranks above median + 3 × 1.4826 × MAD in at least 80 % of the windows.
    pub stragglers: Vec<u32>,
}

/// Memory that a rank kept more and more of, to its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Growth {
    /// How fast, …
    pub bytes_per_s: f64,
    /// … give or take this: two standard errors of the line through what was kept.
    pub bound_bytes_per_s: f64,
    /// By how much in all, …
    pub bytes: f64,
    /// … over these seconds: the rank's life without its start and end.
    pub over_s: f64,
    /// What it kept at last.
    pub last_bytes: f64,
}

/// A rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rank {
    /// Its step.
    pub step: String,
    /// Its number.
    pub rank: u32,
    /// Its node.
    pub node: String,
    /// Its first process.
    pub pid: i32,
    /// Seconds after the job's start.
    pub start_s: f64,
    /// Its duration so far.
    pub elapsed_s: f64,
    /// `running`, `exit 0`, `signal 9`, `ended` (status not told) or `not known` (the record
    /// broke off).
    pub status: String,
    /// CPU seconds used.
    pub cpu_s: Option<f64>,
    /// Largest resident memory read.
    pub peak_bytes: Option<u64>,
    /// How its memory grew, if it did so all the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_growth: Option<Growth>,
    /// Most threads seen.
    pub threads: Option<u32>,
    /// Its I/O.
    pub io: IoTotals,
    /// CPUs busy over the job's time.
    pub cpu_busy: Option<Series>,
    /// Resident memory, bytes.
    pub memory: Option<Series>,
    /// Bytes per second read and written by calls.
    pub io_rate: Option<Series>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// Its name.
    pub node: String,
    /// CPUs of the job here.
    pub job_cpus: Option<u32>,
    /// All CPUs of the node, by how fast their time passes.
    pub node_cpus: Option<u32>,
    /// CPU seconds of the job here.
    pub job_cpu_s: Option<f64>,
    /// Those / (CPUs × elapsed).
    pub job_cpu_efficiency: Option<f64>,
    /// Memory limit of the job here.
    pub memory_limit_bytes: Option<u64>,
    /// The most that the job used here at one time.
    pub memory_peak_bytes: Option<u64>,
    /// The kernel's high-water mark of the job's steps, page cache included.
    pub memory_peak_with_cache_bytes: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Bytes received by the node.
    pub received_bytes: Option<u64>,
    /// Bytes sent by it.
    pub sent_bytes: Option<u64>,
    /// Energy of the node.
    pub joules: Option<f64>,
    /// By how much that may be wrong.
    pub bound_joules: Option<f64>,
    /// Share of all the node's CPUs that was busy.
    pub cpu_busy: Series,
    /// Share of the node's memory that was in use.
    pub memory_used: Series,
    /// Bytes per second received.
    pub received_rate: Series,
    /// Bytes per second sent.
    pub sent_rate: Series,
    /// Watts.
    pub power: Series,
    /// Its network devices and network file systems.
    pub devices: Vec<Device>,
}

/// A network device or network file system of a node: all that the node did with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Device {
    /// `ethernet`, `infiniband`, `roce`, `slingshot`, `lustre` or `nfs`.
    pub class: String,
    /// Its name.
    pub device: String,
    /// What was counted while the job ran.
    pub counts: Vec<Count>,
}

/// How far a counter rose while the job ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Count {
    /// What is counted: `received`, `sent`, `read`, `written`, …
    pub quantity: String,
    /// `bytes`, `packets`, `ticks` or `times`.
    pub unit: String,
    /// So much; `null` if it was read once only.
    pub value: Option<f64>,
    /// Per second of what was observed, on average.
    pub mean_per_s: Option<f64>,
    /// Per second in the interval with the most.
    pub max_per_s: Option<f64>,
}

impl Count {
    /// Is it worth a line for people? What is carried always is; what goes wrong if it did.
    #[must_use]
    pub fn is_of_interest(&self) -> bool {
        self.unit == "bytes" || self.value.is_some_and(|value| value > 0.0)
    }
}

/// Files and script of the job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Provenance {
    /// The batch script.
    pub script: Option<File>,
    /// Files used, by path.
    pub inputs: Vec<File>,
    /// Files made, by path.
    pub outputs: Vec<File>,
    /// The W3C PROV document, as PROV-JSON.
    pub document: serde_json::Value,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct File {
    /// Where.
    pub path: String,
    /// Steps that touched it.
    pub steps: Vec<String>,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// Its SHA-256.
    pub sha256: Option<String>,
    /// Why there is no digest.
    pub note: Option<String>,
}

/// How the figures were measured, and what that cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// Readings of ranks.
    pub task_reading_count: usize,
    /// Readings of nodes.
    pub node_reading_count: usize,
    /// Seconds between readings that were asked for when the record began.
    pub interval_asked_s: Option<f64>,
    /// Seconds between readings as measured: the median.
    pub interval_median_s: Option<f64>,
    /// The longest.
    pub interval_max_s: Option<f64>,
    /// CPU seconds that `mizard` used meanwhile, on all nodes, for all jobs there.
    pub own_cpu_s: Option<f64>,
    /// Those as a share of one CPU, the mean over nodes.
    pub own_cpu_share: Option<f64>,
    /// The largest resident memory of a `mizard`.
    pub own_memory_bytes: Option<u64>,
    /// Ranks whose series are left out because there are too many ranks.
    pub ranks_without_series: usize,
}
