//! GPUs in `mizard`: opened when the first job comes that may have any, read while such jobs
//! run, each reading given to the jobs whose GPU it is.
//!
//! Invariants: the engine never waits for a driver: opening and reading have threads of their
//! own; without a job that may have GPUs no library is opened, and without one that has some
//! none is read. A GPU that jobs share is read at the rate of the fastest, and each job gets
//! the whole GPU's figures but only its own processes.

mod attribution;
mod job;
mod rows;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use mizar_core::clock::monotonic_ns;
use mizar_core::ids::{JobId, StepId};
use mizar_gpu::reader::{Outcome, Reader};
use mizar_gpu::{Device, Found, Libraries, ProcessUse};
use mizar_node::Roots;
use mizar_node::process::ProcessTable;

pub(crate) use self::attribution::Hints;
pub(crate) use self::job::Gathered;
use self::job::{Farewell, JobGpus, Who};
pub(crate) use self::view::{GpuView, render};
use crate::config::Config;
use crate::registry::Job;

/// After a search that found nothing the next one waits: drivers may come late.
const SEARCH_PERIOD_NS: i64 = 60_000_000_000;

/// Between looks whether a search is done.
const POLL_NS: i64 = 50_000_000;

/// A search longer than this is complained about, once.
const SLOW_SEARCH_NS: i64 = 30_000_000_000;

/// How long a job's end waits for its last readings.
const FAREWELL_NS: i64 = 500_000_000;

/// Readings of periods at least this long are fetched soon after they were asked for; those of
/// shorter ones with the next, which saves waking up.
const FETCH_PERIOD_NS: i64 = 500_000_000;
const FETCH_NS: i64 = 100_000_000;

/// All GPUs of the node.
pub(crate) struct Gpus {
    is_on: bool,
    libraries: Libraries,
    deadline: Duration,
    source: Source,
    jobs: BTreeMap<JobId, JobGpus>,
    fetch_due_ns: Option<i64>,
    last: HashMap<usize, mizar_gpu::Reading>,
}

enum Source {
    /// Not looked for, or in vain: again from then on.
    Closed {
        due_ns: i64,
    },
    Searching {
        found: Receiver<Found>,
        since_ns: i64,
        is_slow: bool,
    },
    Open(Reader),
}

/// What a collection brought for one job.
pub(crate) struct News {
    pub(crate) job: JobId,
    pub(crate) gathered: Gathered,
    pub(crate) live: Vec<mizar_api::LiveGpu>,
    pub(crate) users: BTreeMap<Who, Vec<u32>>,
}

impl Gpus {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            is_on: config.gpu,
            libraries: config.libraries(),
            deadline: Duration::from_millis(config.gpu_deadline_ms.into()),
            source: Source::Closed { due_ns: 0 },
            jobs: BTreeMap::new(),
            fetch_due_ns: None,
            last: HashMap::new(),
        }
    }

    /// A job or steps of it are new.
    pub(crate) fn adopt(&mut self, id: JobId, job: &Job, roots: &Roots) {
        if !self.is_on {
            return;
        }
        let hints: Vec<Hints> = job.steps.iter().map(|step| hints(step, roots)).collect();
        if !hints.iter().any(attribution::may_have) {
            return;
        }
        let period_ns = i64::from(job.sample_ms) * 1_000_000;
        let known = || JobGpus::new(Vec::new(), job.gpus.clone(), period_ns);
        let gpus = self.jobs.entry(id).or_insert_with(known);
        gpus.hints = hints;
        gpus.resolved = false;
        self.search();
        self.resolve();
    }

    /// The job's record is closed, or begins anew.
    pub(crate) fn forget(&mut self, id: JobId) {
        self.jobs.remove(&id);
    }

    fn devices(&self) -> &[Device] {
        match &self.source {
            Source::Open(reader) => reader.devices(),
            _ => &[],
        }
    }

    /// Starts to look for libraries, unless that is done or was in vain just now.
    fn search(&mut self) {
        let now_ns = monotonic_ns();
        if !matches!(self.source, Source::Closed { due_ns } if due_ns <= now_ns) {
            return;
        }
        let (sender, found) = sync_channel(1);
        let libraries = self.libraries.clone();
        let spawned = std::thread::Builder::new()
            .name("gpu-search".to_owned())
            // Nobody listens any more if the daemon stops meanwhile.
            .spawn(move || drop(sender.send(mizar_gpu::open(&libraries))));
        self.source = match spawned {
            Ok(_) => Source::Searching {
                found,
                since_ns: now_ns,
                is_slow: false,
            },
            Err(error) => {
                tracing::warn!(%error, "no thread to look for GPUs with");
                Source::Closed {
                    due_ns: now_ns + SEARCH_PERIOD_NS,
                }
            }
        };
    }

    /// Takes in what the search has found.
    fn poll(&mut self) {
        let now_ns = monotonic_ns();
        let Source::Searching {
            found,
            since_ns,
            is_slow,
        } = &mut self.source
        else {
            return;
        };
        match found.try_recv() {
            Ok(found) => self.take_found(found),
            Err(TryRecvError::Empty) => {
                if now_ns - *since_ns > SLOW_SEARCH_NS && !*is_slow {
                    *is_slow = true;
                    tracing::warn!("the GPU driver has not answered for 30 s; jobs go on without");
                }
            }
            Err(TryRecvError::Disconnected) => {
                tracing::error!("the search for GPUs has panicked; there are none");
                self.source = Source::Closed { due_ns: i64::MAX };
            }
        }
    }

    fn take_found(&mut self, found: Found) {
        for note in &found.notes {
            // Of interest only to who misses GPUs.
            if found.backends.is_empty() {
                tracing::info!(note, "no GPUs from here");
            } else {
                tracing::debug!(note, "no GPUs from here");
            }
        }
        if found.backends.is_empty() {
            let due_ns = monotonic_ns() + SEARCH_PERIOD_NS;
            self.source = Source::Closed { due_ns };
            return;
        }
        let reader = Reader::new(found.backends, self.deadline);
        for device in reader.devices() {
            tracing::info!(
                name = device.name,
                uuid = device.uuid,
                source = device.source,
                energy = device.energy.method,
                replayed = device.replayed,
                "GPU"
            );
        }
        self.source = Source::Open(reader);
        self.resolve();
    }

    fn resolve(&mut self) {
        let Source::Open(reader) = &self.source else {
            return;
        };
        for gpus in self.jobs.values_mut().filter(|gpus| !gpus.resolved) {
            gpus.resolve(reader.devices());
        }
    }

    /// Asks for readings of the GPUs of these jobs, which are due.
    pub(crate) fn request(&mut self, due: &[JobId], period_ns: i64) {
        self.poll();
        let Source::Open(reader) = &self.source else {
            return;
        };
        let now_ns = monotonic_ns();
        let mut devices = BTreeSet::new();
        for id in due {
            let Some(gpus) = self.jobs.get_mut(id) else {
                continue;
            };
            devices.extend(gpus.devices());
            if gpus.look_due_ns.is_some_and(|due_ns| due_ns <= now_ns) {
                gpus.look_again(now_ns);
                devices.extend(0..reader.devices().len());
            }
        }
        if devices.is_empty() {
            return;
        }
        let devices: Vec<usize> = devices.into_iter().collect();
        reader.request(&devices);
        self.fetch_due_ns = (period_ns >= FETCH_PERIOD_NS).then_some(now_ns + FETCH_NS);
    }

    /// What readings have come, for each job. `ranks` tells whose a first process is.
    pub(crate) fn collect(
        &mut self,
        processes: &ProcessTable,
        ranks: impl FnOnce() -> HashMap<i32, (JobId, Who)>,
    ) -> Vec<News> {
        self.poll();
        if self
            .fetch_due_ns
            .is_some_and(|due_ns| due_ns <= monotonic_ns())
        {
            self.fetch_due_ns = None;
        }
        let Source::Open(reader) = &self.source else {
            return Vec::new();
        };
        let outcomes = reader.collect();
        if !outcomes.is_empty() {
            let ranks = ranks();
            let who_is = |used: &ProcessUse| ranks.get(&processes.task(used.pid)?).copied();
            for outcome in &outcomes {
                match outcome {
                    Outcome::Befell(device, occurrence) => {
                        for gpus in self.jobs.values_mut() {
                            gpus.befall(*device, occurrence);
                        }
                        self.last.remove(device);
                    }
                    Outcome::Read(device, snapshot) => {
                        let used = by_job(snapshot.processes.as_deref(), who_is);
                        deliver(&mut self.jobs, reader.devices(), *device, snapshot, &used);
                        self.last.insert(*device, snapshot.reading);
                    }
                }
            }
        }
        self.news()
    }

    fn news(&mut self) -> Vec<News> {
        let news = self.jobs.iter_mut().map(|(id, gpus)| News {
            job: *id,
            gathered: gpus.gather(),
            live: gpus.live(),
            users: gpus.users(),
        });
        news.filter(|news| !news.gathered.is_empty()).collect()
    }

    /// Asks for the last readings of a job that ends; true once they have come or are given up.
    pub(crate) fn farewell(&mut self, id: JobId) -> bool {
        let (Source::Open(reader), Some(gpus)) = (&self.source, self.jobs.get_mut(&id)) else {
            return true;
        };
        let now_ns = monotonic_ns();
        let is_new = gpus.farewell.is_none();
        let devices: BTreeSet<usize> = gpus.devices().collect();
        let farewell = gpus.farewell.get_or_insert_with(|| Farewell {
            due_ns: now_ns + FAREWELL_NS,
            missing: devices.clone(),
        });
        if is_new {
            reader.request(&devices.into_iter().collect::<Vec<usize>>());
        }
        farewell.missing.is_empty() || farewell.due_ns <= now_ns
    }

    /// Readings that were due while the last was not done, so far.
    pub(crate) fn missed(&self) -> u64 {
        match &self.source {
            Source::Open(reader) => reader.missed(),
            _ => 0,
        }
    }

    /// When this must be looked at again although no job is due.
    pub(crate) fn due_ns(&self) -> Option<i64> {
        let now_ns = monotonic_ns();
        match &self.source {
            Source::Closed { .. } => None,
            Source::Searching { .. } => Some(now_ns + POLL_NS),
            Source::Open(reader) => {
                let is_ending = self.jobs.values().any(|gpus| gpus.is_awaited(now_ns));
                let soon = is_ending.then_some(now_ns + POLL_NS / 10);
                let dues = [self.fetch_due_ns, reader.check_due_ns(), soon];
                dues.into_iter().flatten().min()
            }
        }
    }

    /// The GPUs of running jobs, for the metrics.
    pub(crate) fn view(&self) -> Vec<GpuView> {
        view::of(self.devices(), &self.last, |device| {
            let owners = self.jobs.iter().filter(|(_, gpus)| gpus.has(device));
            owners.map(|(id, _)| *id).collect()
        })
    }
}

/// The processes of a reading by job, with their ranks.
fn by_job(
    processes: Option<&[ProcessUse]>,
    who_is: impl Fn(&ProcessUse) -> Option<(JobId, Who)>,
) -> BTreeMap<JobId, Vec<(Who, ProcessUse)>> {
    let mut jobs: BTreeMap<JobId, Vec<(Who, ProcessUse)>> = BTreeMap::new();
    for used in processes.into_iter().flatten() {
        if let Some((job, who)) = who_is(used) {
            jobs.entry(job).or_default().push((who, *used));
        }
    }
    jobs
}

/// Gives a reading to each job whose GPU it is, and finds that a job uses a GPU of which
/// nobody said so.
fn deliver(
    jobs: &mut BTreeMap<JobId, JobGpus>,
    devices: &[Device],
    device: usize,
    snapshot: &mizar_gpu::Snapshot,
    used: &BTreeMap<JobId, Vec<(Who, ProcessUse)>>,
) {
    let is_divided = devices.iter().any(|other| other.parent == Some(device));
    for (id, gpus) in jobs {
        let mut who: Vec<(Who, ProcessUse)> = used.get(id).cloned().unwrap_or_default();
        if is_divided {
            // An instance's own list has them too.
            who.retain(|(_, used)| used.instance.is_none());
        }
        if !gpus.has(device) && gpus.look_due_ns.is_some() && !who.is_empty() {
            gpus.assign(devices, &[device]);
        }
        gpus.take(device, snapshot, &who);
    }
}

fn hints(step: &crate::registry::Step, roots: &Roots) -> Hints {
    let present = step.tasks.iter().find(|task| task.present);
    let is_named = step.slurm_gpus.is_some();
    Hints {
        slurm: step.slurm_gpus.clone(),
        visible: step
            .tasks
            .iter()
            .map(|task| task.info.visible_gpus.clone())
            .collect(),
        allowed: present
            .filter(|_| !is_named)
            .and_then(|task| mizar_node::device_cgroup::allowed(roots, task.info.pid)),
    }
}

/// Slurm's list of a step's GPUs among its variables. `SLURM_JOB_GPUS` is that of the node
/// where the batch script runs, and srun hands it on to others: only the batch step's counts.
pub(crate) fn slurm_list(step: StepId, variables: &[(String, String)]) -> Option<String> {
    let find = |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name)?;
        Some(found.1.clone()).filter(|value| !value.is_empty())
    };
    let is_named = step >= StepId::INTERACTIVE;
    find("SLURM_STEP_GPUS").or_else(|| find("SLURM_JOB_GPUS").filter(|_| is_named))
}
