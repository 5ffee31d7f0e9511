//! The messages, version 1. Adding an optional field or a request keeps the version; anything
//! else raises it.

use std::path::PathBuf;

use mizar_core::ids::{JobId, Rank, StepId};
use serde::{Deserialize, Serialize};

/// A request and the protocol that it is written in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`crate::PROTOCOL_VERSION`] of the sender.
    pub version: u16,
    /// What is asked.
    pub request: Request,
}

/// What a client may ask of `mizard`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Is anyone there? Anybody may ask.
    Ping,
    /// All tasks of one step on this node have been forked. From root or the daemon's user.
    RegisterStep(Box<StepRegistration>),
    /// A task ended. From root or the daemon's user.
    TaskExit(TaskExit),
    /// A step left this node. From root or the daemon's user.
    StepEnd {
        /// Its job.
        job: JobId,
        /// The step.
        step: StepId,
    },
    /// The job left this node (epilog). From root or the daemon's user.
    JobEnd {
        /// The job.
        job: JobId,
    },
    /// What runs here, with live use. Users see their own jobs, root sees all.
    Jobs {
        /// Only this job.
        job: Option<JobId>,
    },
    /// A program read or wrote a file: provenance. From the job's owner or root.
    File(FileUse),
    /// A process hands over the memory with its counters, as the one file descriptor that comes
    /// with the line. From the job's owner or root.
    Ring(crate::RingOffer),
}

/// One step's arrival on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRegistration {
    /// The job (for an array task: its own id, not the array's).
    pub job: JobId,
    /// The step.
    pub step: StepId,
    /// The array's job id and this task's index, if it is one.
    pub array: Option<(JobId, u32)>,
    /// `SLURM_RESTART_COUNT`.
    pub restart_count: u32,
    /// The job's owner.
    pub uid: u32,
    /// The job's group.
    pub gid: u32,
    /// Slurm's name of this node.
    pub node: String,
    /// This node's place in the step's node list.
    pub node_index: u32,
    /// The job's node list, compressed as Slurm writes it (`n[1-4]`).
    pub job_nodes: String,
    /// The step's node list, likewise.
    pub step_nodes: String,
    /// Ranks in the step, over all nodes.
    pub task_count: u32,
    /// CPUs of the job on this node, if Slurm tells.
    pub job_cpus: Option<u32>,
    /// Memory of the job on this node in MiB, if it is limited.
    pub job_memory_mib: Option<u64>,
    /// The program and its arguments; for the batch step the stored script comes first.
    pub command: Vec<String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// A few variables for the record (`SLURM_JOB_NAME`, `SLURM_JOB_PARTITION`,
    /// `SLURM_JOB_ACCOUNT`, `SLURM_CLUSTER_NAME`, …); never the whole environment.
    pub variables: Vec<(String, String)>,
    /// Milliseconds between samples asked with `--mizar=sample=`, if any.
    pub sample_ms: Option<u32>,
    /// Was `--mizar=comm` asked for?
    #[serde(default)]
    pub comm: bool,
    /// The pid of slurmstepd, which the tasks descend from.
    pub stepd_pid: i32,
    /// The tasks on this node.
    pub tasks: Vec<TaskRegistration>,
}

/// One task of a step on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRegistration {
    /// Its global rank.
    pub rank: Rank,
    /// Its place on this node.
    pub local_rank: u32,
    /// Its first process.
    pub pid: i32,
    /// `CUDA_VISIBLE_DEVICES` or `ROCR_VISIBLE_DEVICES` as the task got it, if any.
    pub visible_gpus: Option<String>,
}

/// The end of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskExit {
    /// Its job.
    pub job: JobId,
    /// Its step.
    pub step: StepId,
    /// Its global rank.
    pub rank: Rank,
    /// The status as `wait(2)` gives it.
    pub status: i32,
}

/// A file that a program of a job used or made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileUse {
    /// The job.
    pub job: JobId,
    /// The step.
    pub step: StepId,
    /// The rank that did, if one did it alone.
    pub rank: Option<Rank>,
    /// Which way.
    pub role: FileRole,
    /// The file, absolute.
    pub path: PathBuf,
}

/// How a file was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileRole {
    /// Read (`prov:used`).
    Used,
    /// Written (`prov:wasGeneratedBy`).
    Generated,
}

/// The daemon's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Response {
    /// Done.
    Ok,
    /// Here, with these.
    Pong {
        /// The daemon's release.
        mizar: String,
        /// The node it speaks for.
        node: String,
        /// Jobs it watches.
        jobs: u32,
        /// Where it keeps records.
        record_dir: PathBuf,
    },
    /// What runs here.
    Jobs {
        /// One entry a job.
        jobs: Vec<LiveJob>,
    },
    /// Refused or failed.
    Error {
        /// Whose fault, for programs.
        code: ErrorCode,
        /// What and what to do, for people.
        message: String,
    },
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The peer's uid may not ask this.
    Denied,
    /// Not a message of this protocol.
    Malformed,
    /// Another protocol version.
    Version,
    /// No such job here.
    Unknown,
    /// A named limit of the daemon is reached.
    Limit,
    /// The daemon failed.
    Internal,
}

/// A running job on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveJob {
    /// The job.
    pub job: JobId,
    /// Its owner.
    pub uid: u32,
    /// Its name, if Slurm told.
    pub name: String,
    /// This node.
    pub node: String,
    /// Its nodes, compressed.
    pub nodes: String,
    /// When it registered, Unix nanoseconds.
    pub start_ns: i64,
    /// CPUs of the job here, if known.
    pub cpus: Option<u32>,
    /// Memory limit here, if any.
    pub memory_limit_bytes: Option<u64>,
    /// Its running steps.
    pub steps: Vec<LiveStep>,
    /// Its GPUs here.
    #[serde(default)]
    pub gpus: Vec<LiveGpu>,
    /// What is said of ranks that hang, if any do.
    #[serde(default)]
    pub hang: Option<String>,
}

/// A GPU of a job, as last read; `None` where the vendor's library does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveGpu {
    /// Its number in the job's record on this node.
    pub gpu: u32,
    /// Its model.
    pub name: String,
    /// What the vendor calls unique.
    pub uuid: String,
    /// Share of time in which kernels ran.
    pub busy: Option<f64>,
    /// Memory in use.
    pub memory_used_bytes: Option<u64>,
    /// Memory that programs can use.
    pub memory_total_bytes: Option<u64>,
    /// Power.
    pub power_watts: Option<f64>,
    /// Of the chip.
    pub temperature_c: Option<f64>,
    /// Does a recording stand for the hardware?
    #[serde(default)]
    pub replayed: bool,
}

/// How a rank spent the last interval: shares of its time, `hidden` within `compute`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveSplit {
    /// Computing.
    pub compute: f64,
    /// Communicating while nothing was computed.
    pub exposed: f64,
    /// Communicating while something was computed.
    pub hidden: f64,
    /// Waiting for files.
    pub io: f64,
    /// None of these.
    pub idle: f64,
}

/// The call that a rank is in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveCall {
    /// Its name (`MPI_Allreduce`).
    pub name: String,
    /// Its place in the rank's order of collectives.
    pub sequence: u64,
    /// Since when, Unix nanoseconds.
    pub since_ns: i64,
}

/// A running step on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveStep {
    /// The step.
    pub step: StepId,
    /// Ranks in the step, over all nodes.
    pub task_count: u32,
    /// Its tasks here.
    pub tasks: Vec<LiveTask>,
}

/// A task's use, from the last two samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveTask {
    /// Its rank.
    pub rank: Rank,
    /// Its first process.
    pub pid: i32,
    /// Is it still running?
    pub running: bool,
    /// CPUs busy over the last interval (1.0 is one CPU), once two samples exist.
    pub cpus_busy: Option<f64>,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Bytes per second read and written over the last interval, once two samples exist.
    pub io_bytes_per_s: Option<f64>,
    /// Threads.
    pub threads: u32,
    /// The GPUs that its processes use ([`LiveGpu::gpu`]).
    #[serde(default)]
    pub gpus: Vec<u32>,
    /// How it spent the last interval, with `--mizar=comm`.
    #[serde(default)]
    pub split: Option<LiveSplit>,
    /// The call that it is in, if it is in one for longer than an instant.
    #[serde(default)]
    pub call: Option<LiveCall>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_registration_reads_as_it_was_written(
            numbers: [u32; 6],
            command in proptest::collection::vec(".{0,40}|[\\s\\S]{0,9}", 0..4),
            name: String,
            sample_ms: Option<u32>,
            pids in proptest::collection::vec(0..i32::MAX, 0..9),
        ) {
            let [job, step, restart_count, uid, gid, task_count] = numbers;
            let task = |(rank, pid): (usize, i32)| TaskRegistration {
                rank: Rank(rank as u32),
                local_rank: rank as u32,
                pid,
                visible_gpus: (rank % 2 == 0).then(|| "GPU-1,2".to_owned()),
            };
            let registration = StepRegistration {
                job: JobId(job),
                step: StepId(step),
                array: Some((JobId(job), 7)),
                restart_count,
                uid,
                gid,
                node: "n1".to_owned(),
                node_index: 0,
                job_nodes: "n[1-2]".to_owned(),
                step_nodes: "n1".to_owned(),
                task_count,
                job_cpus: None,
                job_memory_mib: Some(u64::MAX),
                command,
                cwd: PathBuf::from("/"),
                variables: vec![("SLURM_JOB_NAME".to_owned(), name)],
                sample_ms,
                comm: step % 2 == 0,
                stepd_pid: 1,
                tasks: pids.into_iter().enumerate().map(task).collect(),
            };
            let envelope =
                Envelope { version: 1, request: Request::RegisterStep(Box::new(registration)) };
            let line = serde_json::to_string(&envelope).unwrap();
            // A line is the frame: no text of a user's may break it.
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<Envelope>(&line).unwrap(), envelope);
        }

        #[test]
        fn no_line_is_too_strange(bytes: Vec<u8>) {
            let _ = serde_json::from_slice::<Envelope>(&bytes);
            let _ = serde_json::from_slice::<Response>(&bytes);
        }
    }
}
