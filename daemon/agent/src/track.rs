//! What the engine keeps of one job while it is sampled: its tasks, cgroups, clocks, record.

use std::collections::HashMap;

use mizar_core::ids::{Rank, StepId};
use mizar_node::Roots;
use mizar_node::cgroup::StepCgroup;
use mizar_node::energy::Energy;
use mizar_node::machine::NodeUse;
use mizar_node::process::{ProcessTable, TreeUse};
use mizar_record::model::{NodeSample, StepSample, TaskSample};

use crate::devices::DeviceTrack;
use crate::recorder::Recorder;
use crate::registry::{Job, Live};
use crate::rings::JobRings;

/// A job being sampled.
pub(crate) struct Track {
    pub(crate) recorder: Recorder,
    pub(crate) restart_count: u32,
    pub(crate) period_ns: i64,
    pub(crate) due_ns: i64,
    pub(crate) flush_due_ns: i64,
    /// Flushes at the end that did not succeed.
    pub(crate) failed_ends: u32,
    /// When to try that again.
    pub(crate) end_due_ns: i64,
    /// Has the batch script been asked for?
    pub(crate) script_asked: bool,
    /// Since when no task has had a process, monotonic.
    pub(crate) idle_since_ns: Option<i64>,
    /// The rings of its processes.
    pub(crate) rings: JobRings,
    tasks: Vec<TaskTrack>,
    steps: HashMap<StepId, StepTrack>,
    last_node_ns: Option<i64>,
    energy_base: Option<f64>,
    pub(crate) devices: DeviceTrack,
}

struct TaskTrack {
    step: StepId,
    rank: Rank,
    pid: i32,
    last: Option<(i64, TreeUse)>,
    /// Has it had a second reading, and with it rates?
    is_rated: bool,
}

struct StepTrack {
    cgroup: Option<StepCgroup>,
    last_ns: Option<i64>,
}

/// What a sample found out about a task, for the registry.
pub(crate) struct TaskNews {
    pub(crate) step: StepId,
    pub(crate) rank: Rank,
    pub(crate) live: Live,
    pub(crate) first_runs: bool,
    pub(crate) present: bool,
    /// Are these its first rates?
    pub(crate) first_rates: bool,
}

/// The clocks of one sample, read when its readings were done.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) unix_ns: i64,
    pub(crate) monotonic_ns: i64,
}

impl Stamp {
    fn since(self, last_ns: Option<i64>) -> i64 {
        last_ns.map_or(0, |last_ns| self.monotonic_ns - last_ns)
    }
}

impl Track {
    pub(crate) fn new(job: &Job, recorder: Recorder, now_ns: i64) -> Self {
        Self {
            recorder,
            restart_count: job.info.restart_count,
            period_ns: i64::from(job.sample_ms) * 1_000_000,
            due_ns: now_ns,
            flush_due_ns: now_ns,
            failed_ends: 0,
            end_due_ns: 0,
            script_asked: job.script.is_some(),
            idle_since_ns: None,
            rings: JobRings::default(),
            tasks: Vec::new(),
            steps: HashMap::new(),
            last_node_ns: None,
            energy_base: None,
            devices: DeviceTrack::default(),
        }
    }

    /// Takes in the tasks of the registry that have processes and are not sampled yet.
    pub(crate) fn adopt(&mut self, job: &mut Job, processes: &mut ProcessTable, roots: &Roots) {
        for step in &mut job.steps {
            let step_id = step.info.step;
            for task in step.tasks.iter_mut().filter(|task| task.present) {
                let pid = task.info.pid;
                if self.tasks.iter().any(|known| known.pid == pid) {
                    continue;
                }
                if !processes.watch(pid, task.start_ticks) {
                    task.present = false;
                    continue;
                }
                let found = self.steps.entry(step_id).or_insert_with(|| StepTrack {
                    cgroup: None,
                    last_ns: None,
                });
                if found.cgroup.is_none() {
                    found.cgroup = StepCgroup::of_process(roots, pid);
                }
                let rank = task.info.rank;
                self.tasks.push(TaskTrack {
                    step: step_id,
                    rank,
                    pid,
                    last: None,
                    is_rated: false,
                });
            }
        }
    }

    /// Forgets all processes.
    pub(crate) fn release(&mut self, processes: &mut ProcessTable) {
        for task in self.tasks.drain(..) {
            processes.unwatch(task.pid);
        }
    }

    /// The first process of each task, and whose it is.
    pub(crate) fn ranks(&self) -> impl Iterator<Item = (i32, (StepId, Rank))> {
        let tasks = self.tasks.iter();
        tasks.map(|task| (task.pid, (task.step, task.rank)))
    }

    /// Adds a row a task, and says what is new. Tasks without processes are let go.
    pub(crate) fn sample_tasks(
        &mut self,
        uses: &HashMap<i32, TreeUse>,
        stamp: Stamp,
        processes: &mut ProcessTable,
    ) -> Vec<TaskNews> {
        let mut news = Vec::with_capacity(self.tasks.len());
        for task in &mut self.tasks {
            let Some(usage) = uses.get(&task.pid) else {
                continue;
            };
            let interval_ns = stamp.since(task.last.map(|(last_ns, _)| last_ns));
            if usage.processes > 0 {
                self.recorder
                    .rows
                    .task_samples
                    .push(row(task, usage, stamp, interval_ns));
            }
            let live = live(usage, task.last.map(|(_, last)| last), interval_ns);
            let is_rated = task.is_rated || live.cpus_busy.is_some();
            news.push(TaskNews {
                step: task.step,
                rank: task.rank,
                live,
                first_runs: usage.first_runs,
                present: usage.processes > 0,
                first_rates: is_rated && !task.is_rated,
            });
            task.is_rated = is_rated;
            task.last = Some((stamp.monotonic_ns, *usage));
        }
        self.tasks.retain(|task| {
            let gone = uses
                .get(&task.pid)
                .is_some_and(|usage| usage.processes == 0);
            if gone {
                processes.unwatch(task.pid);
            }
            !gone
        });
        self.steps
            .retain(|step, _| self.tasks.iter().any(|task| task.step == *step));
        let idle = self.tasks.is_empty();
        self.idle_since_ns = if idle {
            self.idle_since_ns.or(Some(stamp.monotonic_ns))
        } else {
            None
        };
        news
    }

    /// Adds a row for each step that has a cgroup and tasks.
    pub(crate) fn sample_steps(&mut self, stamp: Stamp, buffer: &mut Vec<u8>) {
        for (step, track) in &mut self.steps {
            let Some(cgroup) = &track.cgroup else {
                continue;
            };
            if !self.tasks.iter().any(|task| task.step == *step) {
                continue;
            }
            let usage = cgroup.read(buffer);
            self.recorder.rows.step_samples.push(StepSample {
                time_ns: stamp.unix_ns,
                interval_ns: stamp.since(track.last_ns),
                step: step.0,
                reserved: 0,
                cpu_ns: usage.cpu_ns,
                memory_bytes: usage.memory_bytes,
                memory_peak_bytes: usage.memory_peak_bytes,
                oom_kills: usage.oom_kills,
                read_bytes: usage.read_bytes,
                write_bytes: usage.write_bytes,
            });
            track.last_ns = Some(stamp.monotonic_ns);
        }
    }

    /// Adds the node's row; energy counts from the job's first.
    pub(crate) fn sample_node(&mut self, usage: &NodeUse, energy: Energy, stamp: Stamp) {
        if self.energy_base.is_none() && !energy.joules.is_nan() {
            self.energy_base = Some(energy.joules);
        }
        let base = self.energy_base.unwrap_or(f64::NAN);
        self.recorder.rows.node_samples.push(NodeSample {
            time_ns: stamp.unix_ns,
            interval_ns: stamp.since(self.last_node_ns),
            cpu_busy_ns: usage.cpu_busy_ns,
            cpu_total_ns: usage.cpu_total_ns,
            memory_used_bytes: usage.memory_used_bytes,
            memory_total_bytes: usage.memory_total_bytes,
            net_rx_bytes: usage.net_rx_bytes,
            net_tx_bytes: usage.net_tx_bytes,
            energy_joules: energy.joules - base,
            power_watts: energy.watts,
        });
        self.last_node_ns = Some(stamp.monotonic_ns);
    }
}

fn row(task: &TaskTrack, usage: &TreeUse, stamp: Stamp, interval_ns: i64) -> TaskSample {
    TaskSample {
        time_ns: stamp.unix_ns,
        interval_ns,
        step: task.step.0,
        rank: task.rank.0,
        cpu_ns: usage.cpu_ns,
        rss_bytes: usage.rss_bytes,
        read_bytes: usage.read_bytes,
        write_bytes: usage.write_bytes,
        rchar_bytes: usage.rchar_bytes,
        wchar_bytes: usage.wchar_bytes,
        threads: usage.threads,
        processes: usage.processes,
    }
}

fn live(usage: &TreeUse, last: Option<TreeUse>, interval_ns: i64) -> Live {
    let seconds = interval_ns as f64 * 1e-9;
    let last = last.filter(|_| interval_ns > 0);
    let moved = |usage: &TreeUse| match (usage.rchar_bytes, usage.wchar_bytes) {
        (mizar_node::UNKNOWN, _) | (_, mizar_node::UNKNOWN) => None,
        (read, written) => Some(read.saturating_add(written)),
    };
    Live {
        cpus_busy: last
            .map(|last| usage.cpu_ns.saturating_sub(last.cpu_ns) as f64 / interval_ns as f64),
        memory_bytes: usage.rss_bytes,
        io_bytes_per_s: last
            .and_then(|last| Some(moved(usage)?.saturating_sub(moved(&last)?) as f64 / seconds)),
        threads: usage.threads,
    }
}
