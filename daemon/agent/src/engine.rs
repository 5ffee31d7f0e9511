//! The one thread that samples and writes records.
//!
//! It sleeps until a sample or a flush is due or the bell rings, so an idle daemon costs
//! nothing. Jobs of one period are due together, on the grid of the wall clock, so that nodes
//! whose clocks agree sample at the same moments; they share one pass over /proc. GPUs are
//! read meanwhile by threads of their own ([`crate::gpu`]).

mod communication;
mod ending;
mod graphics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use mizar_core::clock::{monotonic_ns, unix_ns};
use mizar_core::ids::{JobId, StepId};
use mizar_node::energy::EnergyMeter;
use mizar_node::machine::{self, NETWORK_METHOD};
use mizar_node::process::ProcessTable;
use mizar_record::model::{Event, Methods};

use crate::devices::Devices;
use crate::gpu::Gpus;
use crate::own_cost;
use crate::recorder::{self, Preamble, Recorder};
use crate::registry::{Job, Phase};
use crate::rings::METHOD;
use crate::shared::{NodeView, Shared};
use crate::track::{Stamp, TaskNews, Track};
use crate::worker::{Queues, Work};

/// Between readings of the node while no job runs, for the metrics.
const IDLE_PERIOD_NS: i64 = 15_000_000_000;

/// Between two listings of /proc, however fast jobs are sampled: known processes are read each
/// time, new ones are met so often, and those of a new step at once.
const LIST_PERIOD_NS: i64 = 500_000_000;

/// Between two passes for new steps, however many come.
const MIN_PERIOD_NS: i64 = 100_000_000;

/// The sampler.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    queues: Queues,
    processes: ProcessTable,
    energy: EnergyMeter,
    gpus: Gpus,
    devices: Devices,
    tracks: BTreeMap<JobId, Track>,
    idle_due_ns: i64,
    last_pass_ns: i64,
    /// When /proc was listed last.
    listed_ns: Option<i64>,
    /// Since when the jobs found again have not been sampled.
    unsampled_since_ns: BTreeMap<JobId, i64>,
    buffer: Vec<u8>,
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, queues: Queues, processes: ProcessTable) -> Self {
        let energy = EnergyMeter::discover(&shared.config.roots());
        tracing::info!(method = energy.method(), "energy of the node");
        Self {
            gpus: Gpus::new(&shared.config),
            shared,
            queues,
            processes,
            energy,
            devices: Devices::default(),
            tracks: BTreeMap::new(),
            idle_due_ns: 0,
            last_pass_ns: monotonic_ns() - MIN_PERIOD_NS,
            listed_ns: None,
            unsampled_since_ns: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Works until the daemon stops; then leaves every segment closed and readable.
    pub(crate) fn run(mut self) {
        self.resume_merges();
        self.unsampled_since_ns = self.last_written();
        while !self.shared.is_stopping() {
            self.take_changes();
            self.take_rings();
            self.sample();
            self.collect_gpus();
            self.flush();
            self.end_jobs();
            let wait_ns = (self.next_due_ns() - monotonic_ns()).max(0);
            self.shared
                .wait(Duration::from_nanos(wait_ns.unsigned_abs()));
        }
        self.take_changes();
        for track in self.tracks.values_mut() {
            track.recorder.flush(&self.shared.counters);
            track.recorder.close();
        }
    }

    /// Asks the records, which may lie on a slow file system, before the registry is taken:
    /// meanwhile the plugin is answered.
    fn last_written(&self) -> BTreeMap<JobId, i64> {
        let resumed: Vec<(JobId, String)> = {
            let registry = self.shared.registry();
            let resumed = registry.jobs.iter().filter(|(_, job)| job.resumed);
            resumed.map(|(id, job)| (*id, job.node.clone())).collect()
        };
        let record_dir = &self.shared.config.record_dir;
        let written = |(id, node): (JobId, String)| {
            Some((id, recorder::last_written_ns(record_dir, id, &node)?))
        };
        resumed.into_iter().filter_map(written).collect()
    }

    fn next_due_ns(&self) -> i64 {
        let due = self
            .tracks
            .values()
            .map(|track| track.due_ns.min(track.flush_due_ns))
            .min();
        let due = due.unwrap_or(self.idle_due_ns);
        self.gpus.due_ns().map_or(due, |gpus_ns| due.min(gpus_ns))
    }

    fn send(&self, work: Work) -> bool {
        match self.queues.work.try_send(work) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(work)) => {
                tracing::error!(?work, "no worker is left");
                true
            }
        }
    }

    /// Brings the tracks up to the registry: new jobs, new tasks, events to record.
    fn take_changes(&mut self) {
        let shared = Arc::clone(&self.shared);
        let roots = shared.config.roots();
        let mut earlier_runs = Vec::new();
        let mut registry = shared.registry();
        for (id, job) in &mut registry.jobs {
            if job.phase == Phase::Merging {
                continue;
            }
            let is_new = self
                .tracks
                .get(id)
                .is_none_or(|track| track.restart_count != job.info.restart_count);
            if is_new {
                if let Some(mut old) = self.tracks.remove(id) {
                    old.release(&mut self.processes);
                    self.gpus.forget(*id);
                    earlier_runs.push(old.recorder);
                }
                self.tracks.insert(*id, self.begin(job));
            }
            let Some(track) = self.tracks.get_mut(id) else {
                continue;
            };
            let events = std::mem::take(&mut job.outbox);
            if is_new || events.iter().any(|event| matches!(event, Event::Task(_))) {
                track.adopt(job, &mut self.processes, &roots);
                self.gpus.adopt(*id, job, &roots);
                self.listed_ns = None;
                // The first reading of a new task is taken at once, but a storm of short steps
                // is not let to make a storm of passes.
                track.due_ns = track
                    .due_ns
                    .min(self.last_pass_ns + MIN_PERIOD_NS.min(track.period_ns));
            }
            // Files can wait; what people look at cannot.
            if events.iter().any(|event| !matches!(event, Event::File(_))) {
                track.flush_due_ns = monotonic_ns();
            }
            track.recorder.post(events);
        }
        drop(registry);
        for mut recorder in earlier_runs {
            recorder.post([Event::End { time_ns: unix_ns() }]);
            recorder.finish(&shared.counters);
        }
        self.ask_for_scripts();
    }

    fn begin(&self, job: &mut Job) -> Track {
        let roots = self.shared.config.roots();
        let pid = job
            .steps
            .iter()
            .flat_map(|step| &step.tasks)
            .find(|task| task.present);
        let cgroup = pid
            .and_then(|task| mizar_node::cgroup::StepCgroup::of_process(&roots, task.info.pid))
            .map_or(String::new(), |cgroup| {
                format!("; steps from {}", cgroup.method())
            });
        let methods = Methods {
            cpu: format!("process tree from /proc, ended children included{cgroup}"),
            memory: format!("resident memory of the process tree, shared pages in each{cgroup}"),
            io: "/proc/<pid>/io of the process tree".to_owned(),
            energy: self.energy.method(),
            energy_refresh_ms: self.energy.refresh_ms(),
            network: NETWORK_METHOD.to_owned(),
            communication: if job.comm {
                METHOD.to_owned()
            } else {
                String::new()
            },
        };
        let preamble = Preamble {
            job: job.info.clone(),
            node: job.node.clone(),
            job_cpus: job.job_cpus,
            memory_limit_bytes: job.memory_limit_bytes,
            sample_ms: job.sample_ms,
            methods,
        };
        let mut recorder = Recorder::new(preamble, self.shared.config.record_dir.clone());
        if std::mem::take(&mut job.resumed) {
            let to_ns = unix_ns();
            let from_ns = self
                .unsampled_since_ns
                .get(&JobId(job.info.id))
                .map_or(job.info.start_ns, |written_ns| *written_ns)
                .min(to_ns);
            let reason = "daemon restarted".to_owned();
            recorder.post([Event::Gap {
                from_ns,
                to_ns,
                reason,
            }]);
            recorder.post(job.retell());
        }
        Track::new(job, recorder, monotonic_ns())
    }

    /// The batch script exists as long as the job runs.
    fn ask_for_scripts(&mut self) {
        let registry = self.shared.registry();
        let mut asked = Vec::new();
        for (id, track) in self
            .tracks
            .iter_mut()
            .filter(|(_, track)| !track.script_asked)
        {
            let Some(job) = registry.jobs.get(id) else {
                continue;
            };
            let batch = job
                .steps
                .iter()
                .find(|step| step.info.step == StepId::BATCH);
            let Some(source) = batch.and_then(|step| step.info.command.first()) else {
                continue;
            };
            let (job, source, folder) = (job.info.clone(), source.into(), track.recorder.folder());
            asked.push((
                *id,
                Work::Script {
                    job,
                    source,
                    folder,
                },
            ));
        }
        drop(registry);
        for (id, work) in asked {
            let Some(track) = self.tracks.get_mut(&id) else {
                continue;
            };
            // The flush makes the folder that the copy goes into.
            if track.recorder.flush(&self.shared.counters) {
                track.script_asked = self.queues.work.try_send(work).is_ok();
            }
        }
    }

    /// Samples the jobs that are due, all from one pass.
    fn sample(&mut self) {
        let (begin_ns, begin_unix_ns) = (monotonic_ns(), unix_ns());
        let due: Vec<JobId> = self
            .tracks
            .iter()
            .filter(|(_, track)| track.due_ns <= begin_ns)
            .map(|(id, _)| *id)
            .collect();
        if due.is_empty() && (begin_ns < self.idle_due_ns || !self.tracks.is_empty()) {
            return;
        }
        self.idle_due_ns = begin_ns + IDLE_PERIOD_NS;
        self.last_pass_ns = begin_ns;
        // Before the processes, so that both look at the same moment.
        self.request_gpus(&due);
        self.list_processes(begin_ns);
        let uses = if due.is_empty() {
            Default::default()
        } else {
            self.processes.read()
        };
        let usage = machine::read(&self.shared.config.roots(), &mut self.buffer);
        let energy = self.energy.read(monotonic_ns());
        let stamp = Stamp {
            unix_ns: unix_ns(),
            monotonic_ns: monotonic_ns(),
        };
        self.show_node(NodeView {
            usage,
            energy,
            energy_method: self.energy.method(),
        });
        let own = own_cost::read(stamp.unix_ns);
        let mut news = Vec::new();
        let mut ring_news = Vec::new();
        for id in due {
            let Some(track) = self.tracks.get_mut(&id) else {
                continue;
            };
            let of_job = track.sample_tasks(&uses, stamp, &mut self.processes);
            // Who looks from another node reads the record: it shows a young job's use as soon
            // as there is any, not a whole flush period later.
            if of_job.iter().any(|task| task.first_rates) {
                track.flush_due_ns = begin_ns;
            }
            news.push((id, of_job));
            track.sample_steps(stamp, &mut self.buffer);
            track.sample_node(&usage, energy, stamp);
            ring_news.extend(self.read_rings(id, stamp));
            let Some(track) = self.tracks.get_mut(&id) else {
                continue;
            };
            track.recorder.rows.own_cost.extend(own);
            if track.devices.is_due(stamp.monotonic_ns) {
                let roots = self.shared.config.roots();
                let (stamp, counters) = self.devices.read(&roots, &mut self.buffer);
                track.devices.sample(&mut track.recorder, stamp, counters);
            }
            let late = begin_ns - track.due_ns > track.period_ns / 2;
            self.shared.counters.samples.fetch_add(1, Ordering::Relaxed);
            self.shared
                .counters
                .late_samples
                .fetch_add(u64::from(late), Ordering::Relaxed);
            let missed = ((begin_ns - track.due_ns) / track.period_ns).max(0);
            let counter = &self.shared.counters.missed_samples;
            counter.fetch_add(missed.unsigned_abs(), Ordering::Relaxed);
            track.due_ns = begin_ns + until_grid_ns(begin_unix_ns, track.period_ns);
        }
        self.tell(news, stamp.unix_ns);
        self.tell_of_rings(ring_news);
        let spent_ns = (monotonic_ns() - begin_ns).unsigned_abs();
        self.shared
            .counters
            .sampling_ns
            .fetch_add(spent_ns, Ordering::Relaxed);
    }

    fn list_processes(&mut self, now_ns: i64) {
        let is_due = self
            .listed_ns
            .is_none_or(|listed_ns| now_ns - listed_ns >= LIST_PERIOD_NS);
        if self.processes.watched() == 0 || !is_due {
            return;
        }
        self.listed_ns = Some(now_ns);
        if let Err(error) = self.processes.pass() {
            tracing::error!(%error, "cannot list processes");
        }
    }

    fn show_node(&self, view: NodeView) {
        *self
            .shared
            .node
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(view);
    }

    /// Puts what the sample found into the registry; tasks that are gone end now, unless the
    /// plugin has said so already.
    fn tell(&self, news: Vec<(JobId, Vec<TaskNews>)>, now_ns: i64) {
        let mut registry = self.shared.registry();
        for (id, news) in news {
            let Ok(job) = registry.job_mut(id) else {
                continue;
            };
            let mut changed = false;
            for item in news {
                let Ok(step) = job.step_mut(item.step) else {
                    continue;
                };
                let Some(task) = step
                    .tasks
                    .iter_mut()
                    .find(|task| task.info.rank == item.rank)
                else {
                    continue;
                };
                task.live = item.live;
                changed |= task.present != item.present;
                task.present = item.present;
                if !item.first_runs && task.info.end_ns.is_none() {
                    changed |= job.end_task(item.step, item.rank, None, now_ns).is_ok();
                }
            }
            if changed {
                self.shared.save(job);
                self.shared.ring();
            }
        }
    }

    fn flush(&mut self) {
        let now_ns = monotonic_ns();
        let period_ns = i64::from(self.shared.config.flush_ms) * 1_000_000;
        let mut flushed = Vec::new();
        for (id, track) in &mut self.tracks {
            if track.flush_due_ns <= now_ns || track.recorder.is_full() {
                track.recorder.flush(&self.shared.counters);
                track.flush_due_ns = (now_ns / period_ns + 1) * period_ns;
                flushed.push(*id);
            }
        }
        if flushed.is_empty() {
            return;
        }
        let mut registry = self.shared.registry();
        for id in flushed {
            if let Ok(job) = registry.job_mut(id)
                && std::mem::take(&mut job.unsaved)
            {
                self.shared.save(job);
            }
        }
    }
}

/// Until the next point of the wall clock's grid: all nodes sample then. A point that is
/// nearly reached counts as this one, for the two clocks do not run quite alike.
fn until_grid_ns(unix_ns: i64, period_ns: i64) -> i64 {
    const EARLY_PART: i64 = 8;
    let point = (unix_ns + period_ns / EARLY_PART) / period_ns + 1;
    point * period_ns - unix_ns
}

#[cfg(test)]
mod tests {
    use super::until_grid_ns;

    #[test]
    fn samples_are_due_on_the_wall_clocks_grid() {
        const S: i64 = 1_000_000_000;
        let unix_ns = 1_795_000_000 * S;
        assert_eq!(until_grid_ns(unix_ns, S), S);
        assert_eq!(until_grid_ns(unix_ns + 300_000_000, S), 700_000_000);
        // Awake a little too early: not twice for one point.
        assert_eq!(until_grid_ns(unix_ns - 1_000, S), S + 1_000);
        assert_eq!(until_grid_ns(unix_ns + 3_000_000, S / 100), 7_000_000);
    }
}
