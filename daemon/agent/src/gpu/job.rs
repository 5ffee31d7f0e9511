//! The GPUs of one job: which they are, and what its record gets of each reading.

use std::collections::{BTreeMap, BTreeSet};

use mizar_api::LiveGpu;
use mizar_core::clock::{monotonic_ns, unix_ns};
use mizar_core::energy::{Fault, Meter, Rules, USUAL_REFRESH_S};
use mizar_core::ids::{Rank, StepId};
use mizar_gpu::{Device, Occurrence, ProcessUse, Reading, Snapshot};
use mizar_record::model::{Event, GpuEvent, GpuInfo, GpuProcessSample, GpuSample, UNKNOWN};

use super::attribution::{self, Allocation, Hints};
use super::rows;

/// Between looks at all process lists for a job of which nobody says which GPUs it has: twice
/// as long after each, for most such jobs have none.
const LOOK_PERIOD_NS: i64 = 30_000_000_000;
const LONGEST_LOOK_PERIOD_NS: i64 = 300_000_000_000;

/// The first of them, when the job's program has had time to open a GPU.
const FIRST_LOOK_NS: i64 = 3_000_000_000;

/// Power is not integrated over more periods than this; the same as in reports.
const GAP_PERIODS: i64 = 3;

/// A rank of a job.
pub(super) type Who = (StepId, Rank);

/// A job's GPUs.
pub(super) struct JobGpus {
    pub(super) hints: Vec<Hints>,
    /// Have the hints been looked at since they came?
    pub(super) resolved: bool,
    /// When to look for the job in all process lists, if nobody says which GPUs it has.
    pub(super) look_due_ns: Option<i64>,
    look_period_ns: i64,
    period_ns: i64,
    gpus: Vec<Assigned>,
    /// GPUs of an earlier run of the daemon that are not here any more.
    absent: Vec<GpuInfo>,
    /// The last readings, which the job's end waits for.
    pub(super) farewell: Option<Farewell>,
    gathered: Gathered,
}

/// The end of a job's readings.
pub(super) struct Farewell {
    pub(super) due_ns: i64,
    pub(super) missing: BTreeSet<usize>,
}

struct Assigned {
    device: usize,
    info: GpuInfo,
    meter: Meter,
    last_ns: Option<i64>,
    last: Option<Reading>,
    users: BTreeSet<Who>,
}

/// What waits for the job's record and for whoever looks.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) samples: Vec<GpuSample>,
    pub(crate) process_samples: Vec<GpuProcessSample>,
    pub(crate) events: Vec<Event>,
    /// GPUs that are new in the record.
    pub(crate) found: Vec<GpuInfo>,
}

impl Gathered {
    pub(crate) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.events.is_empty() && self.found.is_empty()
    }
}

impl JobGpus {
    pub(super) fn new(hints: Vec<Hints>, known: Vec<GpuInfo>, period_ns: i64) -> Self {
        Self {
            hints,
            resolved: false,
            look_due_ns: None,
            look_period_ns: LOOK_PERIOD_NS,
            period_ns,
            gpus: Vec::new(),
            absent: known,
            farewell: None,
            gathered: Gathered::default(),
        }
    }

    /// Finds the job's GPUs among the node's.
    pub(super) fn resolve(&mut self, devices: &[Device]) {
        self.resolved = true;
        for known in std::mem::take(&mut self.absent) {
            match devices.iter().position(|device| device.uuid == known.uuid) {
                Some(place) => self.gpus.push(self.assigned(place, known)),
                None => self.absent.push(known),
            }
        }
        let mut is_unknown = false;
        for hints in self.hints.clone() {
            match attribution::of_step(devices, &hints) {
                Allocation::None => {}
                Allocation::These(places) => self.assign(devices, &places),
                Allocation::Unknown => is_unknown = true,
            }
        }
        self.look_due_ns = (is_unknown && !devices.is_empty())
            .then(|| self.look_due_ns.unwrap_or(monotonic_ns() + FIRST_LOOK_NS));
    }

    pub(super) fn look_again(&mut self, now_ns: i64) {
        self.look_due_ns = self.look_due_ns.map(|_| now_ns + self.look_period_ns);
        self.look_period_ns = (2 * self.look_period_ns).min(LONGEST_LOOK_PERIOD_NS);
    }

    /// Takes GPUs in, and of instances the whole GPUs before them.
    pub(super) fn assign(&mut self, devices: &[Device], places: &[usize]) {
        for place in attribution::with_parents(devices, places) {
            if self.has(place) {
                continue;
            }
            let gpu = self.gpus.iter().map(|gpu| gpu.info.gpu);
            let gpu = gpu.chain(self.absent.iter().map(|info| info.gpu)).max();
            let number = |place: usize| self.number(place);
            let info = rows::info(&devices[place], gpu.map_or(0, |last| last + 1), number);
            self.tell(&info);
            self.gpus.push(self.assigned(place, info));
        }
        self.name_reported(devices);
    }

    fn tell(&mut self, info: &GpuInfo) {
        self.gathered.events.push(Event::Gpu(info.clone()));
        self.gathered.found.push(info.clone());
    }

    /// A die may have been taken in before those that it reports for had a number.
    fn name_reported(&mut self, devices: &[Device]) {
        for index in 0..self.gpus.len() {
            let device = &devices[self.gpus[index].device];
            let reported = device.reports_for.iter();
            let reported: Vec<u32> = reported.filter_map(|&place| self.number(place)).collect();
            if reported != self.gpus[index].info.reports_for {
                self.gpus[index].info.reports_for = reported;
                let info = self.gpus[index].info.clone();
                self.tell(&info);
            }
        }
    }

    fn assigned(&self, device: usize, info: GpuInfo) -> Assigned {
        let refresh_s = info
            .energy_refresh_ms
            .map_or(USUAL_REFRESH_S, |ms| f64::from(ms) * 1e-3);
        Assigned {
            device,
            info,
            meter: Meter::new(Rules::of_device(
                refresh_s,
                self.period_ns.saturating_mul(GAP_PERIODS),
            )),
            last_ns: None,
            last: None,
            users: BTreeSet::new(),
        }
    }

    fn number(&self, place: usize) -> Option<u32> {
        let gpu = self.gpus.iter().find(|gpu| gpu.device == place)?;
        Some(gpu.info.gpu)
    }

    pub(super) fn has(&self, device: usize) -> bool {
        self.gpus.iter().any(|gpu| gpu.device == device)
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = usize> {
        self.gpus.iter().map(|gpu| gpu.device)
    }

    /// A device was read; `who` are this job's ranks among its processes.
    pub(super) fn take(&mut self, device: usize, snapshot: &Snapshot, who: &[(Who, ProcessUse)]) {
        if let Some(farewell) = &mut self.farewell {
            farewell.missing.remove(&device);
        }
        let Some(gpu) = self.gpus.iter_mut().find(|gpu| gpu.device == device) else {
            return;
        };
        let reading = &snapshot.reading;
        let now_ns = reading.after.monotonic_ns;
        let interval_ns = gpu
            .last_ns
            .replace(now_ns)
            .map_or(0, |last_ns| now_ns - last_ns);
        let number = gpu.info.gpu;
        self.gathered
            .samples
            .push(rows::sample(number, reading, interval_ns));
        if let Some(fault) = gpu.meter.push(rows::energy_reading(reading, interval_ns)) {
            let event = fault_event(number, fault, reading.after.unix_ns);
            self.gathered.events.push(Event::GpuEvent(event));
        }
        gpu.last = Some(*reading);
        gpu.users = who.iter().map(|(who, _)| *who).collect();
        let rows = process_rows(number, reading.after.unix_ns, interval_ns, who);
        self.gathered.process_samples.extend(rows);
    }

    /// Something befell a device of the job.
    pub(super) fn befall(&mut self, device: usize, occurrence: &Occurrence) {
        use mizar_gpu::OccurrenceKind::{Hung, Vanished};
        let Some(gpu) = self.gpus.iter_mut().find(|gpu| gpu.device == device) else {
            return;
        };
        if matches!(occurrence.kind, Hung | Vanished) {
            gpu.last = None;
            gpu.users.clear();
            if let Some(farewell) = &mut self.farewell {
                farewell.missing.remove(&device);
            }
        }
        self.gathered.events.push(Event::GpuEvent(GpuEvent {
            time_ns: unix_ns(),
            gpu: gpu.info.gpu,
            kind: occurrence.kind.name().to_owned(),
            code: occurrence.code,
            text: occurrence.text.clone(),
        }));
    }

    /// Does the job's end wait for its last readings?
    pub(super) fn is_awaited(&self, now_ns: i64) -> bool {
        let farewell = self.farewell.as_ref();
        farewell.is_some_and(|farewell| !farewell.missing.is_empty() && now_ns < farewell.due_ns)
    }

    pub(super) fn gather(&mut self) -> Gathered {
        std::mem::take(&mut self.gathered)
    }

    pub(super) fn live(&self) -> Vec<LiveGpu> {
        let live = |gpu: &Assigned| rows::live(&gpu.info, gpu.last.as_ref());
        self.gpus.iter().map(live).collect()
    }

    /// The GPUs that each rank uses.
    pub(super) fn users(&self) -> BTreeMap<Who, Vec<u32>> {
        let mut users: BTreeMap<Who, Vec<u32>> = BTreeMap::new();
        for gpu in &self.gpus {
            for who in &gpu.users {
                users.entry(*who).or_default().push(gpu.info.gpu);
            }
        }
        users
    }
}

fn fault_event(gpu: u32, fault: Fault, time_ns: i64) -> GpuEvent {
    let (kind, text) = match fault {
        Fault::Frozen => (
            "counter_frozen",
            "the energy counter stands still although power is drawn; power is integrated",
        ),
        Fault::Backwards => (
            "counter_backwards",
            "the energy counter ran backwards or leapt; power is integrated over that interval",
        ),
    };
    GpuEvent {
        time_ns,
        gpu,
        kind: kind.to_owned(),
        code: None,
        text: text.to_owned(),
    }
}

/// A row for each rank: its processes together.
fn process_rows(
    gpu: u32,
    time_ns: i64,
    interval_ns: i64,
    who: &[(Who, ProcessUse)],
) -> Vec<GpuProcessSample> {
    let mut ranks: BTreeMap<Who, GpuProcessSample> = BTreeMap::new();
    for ((step, rank), used) in who {
        let row = ranks.entry((*step, *rank)).or_insert(GpuProcessSample {
            time_ns,
            interval_ns,
            memory_bytes: 0,
            step: step.0,
            rank: rank.0,
            gpu,
            busy: 0.0,
        });
        row.memory_bytes = match used.memory_bytes {
            Some(bytes) if row.memory_bytes != UNKNOWN => row.memory_bytes.saturating_add(bytes),
            _ => UNKNOWN,
        };
        // NaN, once in, stays.
        row.busy += used.busy.map_or(f32::NAN, |busy| busy as f32);
        if row.busy > 1.0 {
            row.busy = 1.0;
        }
    }
    ranks.into_values().collect()
}
