//! What the daemon knows of the jobs on its node: the one truth that the socket changes, the
//! engine records and a restart finds again.
//!
//! A change both alters the state and leaves the record's event in the job's outbox, so that
//! the two cannot disagree. No I/O here; [`crate::state`] keeps it on disk.

mod time_limit;
mod views;

use std::collections::BTreeMap;

use mizar_api::{FileRole, FileUse, LiveCall, LiveSplit, StepRegistration, TaskExit};
use mizar_core::ids::{JobId, Rank, StepId};
use mizar_record::model::{Event, FileRecord, GpuInfo, JobInfo, StepInfo, TaskInfo};
use serde::{Deserialize, Serialize};

use crate::config::SAMPLE_MS_RANGE;

/// Files that one job may report on one node; more are not taken.
pub(crate) const MAX_FILES: usize = 4096;

/// Their names together: the state file holds them, and is written at every change of the job.
const MAX_FILES_BYTES: usize = 1 << 20;

/// Files that all jobs together may have reported.
const MAX_ALL_FILES: usize = 16 * MAX_FILES;

/// Ended steps of a job that are remembered; earlier ones are in its record only.
const MAX_ENDED_STEPS: usize = 64;

/// Events that wait while a disk is full.
pub(crate) const MAX_OUTBOX: usize = 4 * MAX_FILES;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Sampled.
    Running,
    /// Has left the node; digests are to be taken.
    Ending,
    /// Digests are being taken.
    Digesting,
    /// All is known; the record can be closed.
    Digested,
    /// The record is closed; parts may be merged.
    Merging,
}

/// A job on this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) info: JobInfo,
    pub(crate) node: String,
    pub(crate) job_cpus: Option<u32>,
    pub(crate) memory_limit_bytes: Option<u64>,
    pub(crate) sample_ms: u32,
    /// Has a step asked for `--mizar=comm`?
    #[serde(default)]
    pub(crate) comm: bool,
    pub(crate) phase: Phase,
    pub(crate) steps: Vec<Step>,
    pub(crate) files: Vec<FileRecord>,
    pub(crate) script: Option<FileRecord>,
    /// Its GPUs here, as its record numbers them.
    #[serde(default)]
    pub(crate) gpus: Vec<GpuInfo>,
    /// Those as last read.
    #[serde(skip)]
    pub(crate) live_gpus: Vec<mizar_api::LiveGpu>,
    /// Found again after a restart: its record goes on in a new segment.
    #[serde(skip)]
    pub(crate) resumed: bool,
    /// Changed since it was last kept on disk.
    #[serde(skip)]
    pub(crate) unsaved: bool,
    /// What is said of ranks that hang, if any do.
    #[serde(skip)]
    pub(crate) hang: Option<String>,
    /// Events that the engine has not recorded yet.
    #[serde(skip)]
    pub(crate) outbox: Vec<Event>,
    /// Merges of the record that failed.
    #[serde(skip)]
    pub(crate) failed_merges: u32,
    /// When to try the next one, monotonic; none while one runs.
    #[serde(skip)]
    pub(crate) merge_due_ns: Option<i64>,
}

/// A step on this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) info: StepInfo,
    pub(crate) tasks: Vec<Task>,
    /// Slurm's own list of the step's GPUs on this node.
    #[serde(default)]
    pub(crate) slurm_gpus: Option<String>,
}

/// A task on this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) info: TaskInfo,
    /// When its first process began: with the pid, a name that is never reused.
    pub(crate) start_ticks: Option<u64>,
    /// Are processes of it left?
    pub(crate) present: bool,
    #[serde(skip)]
    pub(crate) live: Live,
    /// GPUs that its processes use, as the record numbers them.
    #[serde(skip)]
    pub(crate) gpus: Vec<u32>,
    /// How it spends its time and where it is, with `--mizar=comm`.
    #[serde(skip)]
    pub(crate) communication: Option<(LiveSplit, Option<LiveCall>)>,
}

/// The last reading of a task.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Live {
    pub(crate) cpus_busy: Option<f64>,
    pub(crate) memory_bytes: u64,
    pub(crate) io_bytes_per_s: Option<f64>,
    pub(crate) threads: u32,
}

/// Why a request cannot be done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RegistryError {
    #[error("job {0} is not watched on this node")]
    UnknownJob(JobId),
    #[error("step {step} of job {job} is not watched on this node")]
    UnknownStep { job: JobId, step: StepId },
    #[error("rank {rank} of step {step} of job {job} is not watched on this node")]
    UnknownTask {
        job: JobId,
        step: StepId,
        rank: Rank,
    },
    #[error("this node watches {limit} {what} already (`max_{what}`)")]
    Full { what: &'static str, limit: usize },
    #[error("job {job} is uid {known}'s here, not uid {claimed}'s")]
    OtherOwner {
        job: JobId,
        known: u32,
        claimed: u32,
    },
    #[error("job {0} has reported {MAX_FILES} files, or {MAX_FILES_BYTES} bytes of names, already")]
    TooManyFiles(JobId),
    #[error("the jobs of this node have reported {MAX_ALL_FILES} files already")]
    TooManyFilesHere,
}

/// All jobs.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) jobs: BTreeMap<JobId, Job>,
}

impl Registry {
    pub(crate) fn job_mut(&mut self, job: JobId) -> Result<&mut Job, RegistryError> {
        self.jobs
            .get_mut(&job)
            .filter(|known| known.phase != Phase::Merging)
            .ok_or(RegistryError::UnknownJob(job))
    }

    /// Takes a step in. `start_ticks` are those of its tasks, in order; `user` is the owner's
    /// login name. The same step again replaces the first: the plugin may have lost the answer.
    pub(crate) fn register(
        &mut self,
        step: StepRegistration,
        arrival: &Arrival<'_>,
    ) -> Result<(), RegistryError> {
        let tasks: usize = self.running_tasks();
        if tasks + step.tasks.len() > arrival.max_tasks {
            return Err(RegistryError::Full {
                what: "tasks",
                limit: arrival.max_tasks,
            });
        }
        let job_id = step.job;
        let known = self.jobs.get(&job_id).filter(|known| {
            known.phase != Phase::Merging && known.info.restart_count == step.restart_count
        });
        match known {
            Some(known) if known.info.uid != step.uid => {
                let (known, claimed) = (known.info.uid, step.uid);
                return Err(RegistryError::OtherOwner {
                    job: job_id,
                    known,
                    claimed,
                });
            }
            Some(_) => {}
            None if self.jobs.len() >= arrival.max_jobs => {
                return Err(RegistryError::Full {
                    what: "jobs",
                    limit: arrival.max_jobs,
                });
            }
            None => {
                self.jobs.insert(job_id, Job::new(&step, arrival));
            }
        }
        let job = self.job_mut(job_id)?;
        job.phase = Phase::Running;
        job.add_step(step, arrival);
        Ok(())
    }

    /// Is there room for the name of one more file?
    pub(crate) fn require_room_for_file(&self) -> Result<(), RegistryError> {
        let count: usize = self.jobs.values().map(|job| job.files.len()).sum();
        if count < MAX_ALL_FILES {
            Ok(())
        } else {
            Err(RegistryError::TooManyFilesHere)
        }
    }

    /// Tasks with processes left, all jobs that still run: others wait for their digests or
    /// their merge, and are not sampled.
    pub(crate) fn running_tasks(&self) -> usize {
        let steps = self.running().flat_map(|(_, job)| &job.steps);
        steps
            .flat_map(|step| &step.tasks)
            .filter(|task| task.present)
            .count()
    }

    /// Jobs that still run.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&JobId, &Job)> {
        self.jobs
            .iter()
            .filter(|(_, job)| job.phase == Phase::Running)
    }
}

/// What the daemon adds to a registration.
pub(crate) struct Arrival<'a> {
    pub(crate) now_ns: i64,
    pub(crate) node: &'a str,
    pub(crate) user: String,
    pub(crate) sample_ms: u32,
    pub(crate) start_ticks: Vec<Option<u64>>,
    pub(crate) max_jobs: usize,
    pub(crate) max_tasks: usize,
}

impl Job {
    fn new(step: &StepRegistration, arrival: &Arrival<'_>) -> Self {
        let variable = |name: &str| {
            let found = step.variables.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let info = JobInfo {
            id: step.job.0,
            array: step.array.map(|(job, task)| (job.0, task)),
            restart_count: step.restart_count,
            name: variable("SLURM_JOB_NAME"),
            uid: step.uid,
            user: arrival.user.clone(),
            gid: step.gid,
            partition: variable("SLURM_JOB_PARTITION"),
            account: variable("SLURM_JOB_ACCOUNT"),
            cluster: variable("SLURM_CLUSTER_NAME"),
            nodes: step.job_nodes.clone(),
            start_ns: arrival.now_ns,
            end_ns: None,
            time_limit_s: time_limit::from_variables(
                &variable("SLURM_JOB_START_TIME"),
                &variable("SLURM_JOB_END_TIME"),
            ),
        };
        let asked_ms = step.sample_ms.unwrap_or(arrival.sample_ms);
        Self {
            info,
            node: arrival.node.to_owned(),
            job_cpus: step.job_cpus,
            memory_limit_bytes: step.job_memory_mib.map(|mib| mib.saturating_mul(1 << 20)),
            sample_ms: asked_ms.clamp(*SAMPLE_MS_RANGE.start(), *SAMPLE_MS_RANGE.end()),
            comm: step.comm,
            phase: Phase::Running,
            steps: Vec::new(),
            files: Vec::new(),
            script: None,
            gpus: Vec::new(),
            live_gpus: Vec::new(),
            resumed: false,
            unsaved: false,
            hang: None,
            outbox: Vec::new(),
            failed_merges: 0,
            merge_due_ns: None,
        }
    }

    fn add_step(&mut self, step: StepRegistration, arrival: &Arrival<'_>) {
        let info = StepInfo {
            step: step.step,
            task_count: step.task_count,
            command: step.command,
            cwd: step.cwd,
            start_ns: arrival.now_ns,
            end_ns: None,
        };
        let mut events = vec![Event::Step(info.clone())];
        let start_ticks = arrival
            .start_ticks
            .iter()
            .copied()
            .chain(std::iter::repeat(None));
        let mut tasks = Vec::new();
        for (task, start_ticks) in step.tasks.into_iter().zip(start_ticks) {
            let info = TaskInfo {
                step: step.step,
                rank: task.rank,
                local_rank: task.local_rank,
                pid: task.pid,
                start_ns: arrival.now_ns,
                end_ns: None,
                status: None,
                visible_gpus: task.visible_gpus,
            };
            events.push(Event::Task(info.clone()));
            let present = start_ticks.is_some();
            tasks.push(Task {
                info,
                start_ticks,
                present,
                live: Live::default(),
                gpus: Vec::new(),
                communication: None,
            });
        }
        self.comm |= step.comm;
        self.steps.retain(|known| known.info.step != step.step);
        let slurm_gpus = crate::gpu::slurm_list(info.step, &step.variables);
        self.steps.push(Step {
            info,
            tasks,
            slurm_gpus,
        });
        self.forget_old_steps();
        self.post(events);
    }

    /// A job may run any number of steps, and the daemon must not grow with them. The batch
    /// step stays: its script is what the job is.
    fn forget_old_steps(&mut self) {
        let is_old = |step: &Step| step.info.end_ns.is_some() && step.info.step != StepId::BATCH;
        let mut excess = self.steps.iter().filter(|step| is_old(step)).count();
        self.steps.retain(|step| {
            let forget = is_old(step) && excess > MAX_ENDED_STEPS;
            excess -= usize::from(forget);
            !forget
        });
    }

    /// Leaves events for the engine; the oldest give way if they cannot be written for long.
    pub(crate) fn post(&mut self, events: impl IntoIterator<Item = Event>) {
        self.outbox.extend(events);
        let excess = self.outbox.len().saturating_sub(MAX_OUTBOX);
        self.outbox.drain(..excess);
    }

    pub(crate) fn step_mut(&mut self, step: StepId) -> Result<&mut Step, RegistryError> {
        let job = JobId(self.info.id);
        self.steps
            .iter_mut()
            .find(|known| known.info.step == step)
            .ok_or(RegistryError::UnknownStep { job, step })
    }

    /// A task ended; `status` is `None` if it was only seen to be gone.
    pub(crate) fn end_task(
        &mut self,
        step: StepId,
        rank: Rank,
        status: Option<i32>,
        now_ns: i64,
    ) -> Result<(), RegistryError> {
        let job = JobId(self.info.id);
        let task = self
            .step_mut(step)?
            .tasks
            .iter_mut()
            .find(|task| task.info.rank == rank);
        let task = task.ok_or(RegistryError::UnknownTask { job, step, rank })?;
        if task.info.end_ns.is_some() && (status.is_none() || task.info.status.is_some()) {
            return Ok(());
        }
        let time_ns = *task.info.end_ns.get_or_insert(now_ns);
        task.info.status = status.or(task.info.status);
        self.post([Event::TaskEnd {
            time_ns,
            step,
            rank,
            status,
        }]);
        Ok(())
    }

    pub(crate) fn task_exit(&mut self, exit: &TaskExit, now_ns: i64) -> Result<(), RegistryError> {
        self.end_task(exit.step, exit.rank, Some(exit.status), now_ns)
    }

    pub(crate) fn end_step(&mut self, step: StepId, now_ns: i64) -> Result<(), RegistryError> {
        let known = self.step_mut(step)?;
        if known.info.end_ns.is_some() {
            return Ok(());
        }
        known.info.end_ns = Some(now_ns);
        self.post([Event::StepEnd {
            time_ns: now_ns,
            step,
        }]);
        Ok(())
    }

    /// The job leaves the node: what has not ended ends now.
    pub(crate) fn end(&mut self, now_ns: i64) {
        let steps: Vec<StepId> = self.steps.iter().map(|step| step.info.step).collect();
        for step in steps {
            let ranks: Vec<Rank> = self
                .step_mut(step)
                .map(|known| known.tasks.iter().map(|task| task.info.rank).collect())
                .unwrap_or_default();
            for rank in ranks {
                // Both are known to exist.
                let _ = self.end_task(step, rank, None, now_ns);
            }
            let _ = self.end_step(step, now_ns);
        }
        if self.phase == Phase::Running {
            self.phase = Phase::Ending;
        }
    }

    /// A program used or made a file. Told again, it is the same file.
    pub(crate) fn add_file(&mut self, file: FileUse) -> Result<(), RegistryError> {
        let record = FileRecord {
            step: file.step,
            rank: file.rank,
            generated: file.role == FileRole::Generated,
            path: file.path,
            size_bytes: None,
            sha256: None,
            note: None,
        };
        if self.files.contains(&record) {
            return Ok(());
        }
        let names_bytes: usize = self.files.iter().map(|known| path_bytes(&known.path)).sum();
        if self.files.len() >= MAX_FILES || names_bytes + path_bytes(&record.path) > MAX_FILES_BYTES
        {
            return Err(RegistryError::TooManyFiles(JobId(self.info.id)));
        }
        self.files.push(record.clone());
        self.post([Event::File(record)]);
        Ok(())
    }
}

fn path_bytes(path: &std::path::Path) -> usize {
    path.as_os_str().len()
}
