//! Reads devices on a thread of its own, with a deadline, because a call into a driver may
//! never return.
//!
//! One thread reads all devices that were asked for, one after the other. If one takes longer
//! than the deadline, that thread is left to its fate and another goes on with the rest; the
//! device counts as hung and is not asked again until the first thread comes back with it. So
//! there are never more threads than devices, and one more. Whoever asks never waits.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mizar_core::clock::monotonic_ns;

use crate::backend::{Backend, ReadError};
use crate::model::{Device, Occurrence, OccurrenceKind, Snapshot};

/// A lost device is asked no more often whether it is back.
const LOST_PERIOD_NS: i64 = 5_000_000_000;

/// Outcomes that wait for whoever collects them; more are dropped and counted.
const MAX_OUTCOMES: usize = 4096;

/// What came of asking.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A device was read.
    Read(usize, Box<Snapshot>),
    /// Something befell a device.
    Befell(usize, Occurrence),
}

/// Reads devices; numbers are places in [`Reader::devices`].
pub struct Reader {
    shared: Arc<Shared>,
    devices: Vec<Device>,
    deadline_ns: i64,
}

struct Shared {
    backends: Vec<Arc<dyn Backend>>,
    /// Each device's back end and its place there.
    places: Vec<(usize, usize)>,
    desk: Mutex<Desk>,
    bell: Condvar,
}

/// What threads and asker share.
#[derive(Default)]
struct Desk {
    queue: VecDeque<usize>,
    states: Vec<State>,
    /// What the present thread is at, and since when.
    current: Option<(usize, i64)>,
    /// Which thread is the present one.
    generation: u64,
    outcomes: Vec<Outcome>,
    dropped: u64,
    missed: u64,
    stopping: bool,
    /// Is a thread at work that can take more?
    running: bool,
    /// Back ends whose occurrences must not be asked for again: that call hung.
    deaf: Vec<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Well,
    Hung,
    /// Lost; ask again from then on.
    Lost(i64),
}

/// Beyond the devices: "ask back end N what happened".
fn occurrence_job(shared: &Shared, backend: usize) -> usize {
    shared.places.len() + backend
}

impl Reader {
    /// A reader of all devices of these back ends. No thread runs until something is asked.
    #[must_use]
    pub fn new(backends: Vec<Arc<dyn Backend>>, deadline: Duration) -> Self {
        let mut devices = Vec::new();
        let mut places = Vec::new();
        for (index, backend) in backends.iter().enumerate() {
            let base = devices.len();
            for (place, device) in backend.devices().iter().enumerate() {
                let mut device = device.clone();
                device.parent = device.parent.map(|parent| parent + base);
                device
                    .reports_for
                    .iter_mut()
                    .for_each(|other| *other += base);
                devices.push(device);
                places.push((index, place));
            }
        }
        let desk = Desk {
            states: vec![State::Well; devices.len()],
            deaf: vec![false; backends.len()],
            ..Desk::default()
        };
        Self {
            shared: Arc::new(Shared {
                backends,
                places,
                desk: Mutex::new(desk),
                bell: Condvar::new(),
            }),
            devices,
            deadline_ns: i64::try_from(deadline.as_nanos()).unwrap_or(i64::MAX),
        }
    }

    /// All devices.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Asks for readings; what is still being read or waits to be is not asked twice, and
    /// counts as missed.
    pub fn request(&self, devices: &[usize]) {
        let now_ns = monotonic_ns();
        let mut desk = self.shared.desk();
        for &device in devices
            .iter()
            .filter(|&&device| device < self.devices.len())
        {
            let waits = desk.queue.contains(&device);
            let is_read = desk.current.is_some_and(|(current, _)| current == device);
            match desk.states[device] {
                State::Hung => {}
                State::Lost(due_ns) if now_ns < due_ns => {}
                _ if waits || is_read => desk.missed += 1,
                _ => desk.queue.push_back(device),
            }
        }
        for backend in 0..self.shared.backends.len() {
            let job = occurrence_job(&self.shared, backend);
            let is_asked = desk.queue.contains(&job)
                || desk.current.is_some_and(|(current, _)| current == job);
            if !desk.deaf[backend] && !is_asked && !devices.is_empty() {
                desk.queue.push_back(job);
            }
        }
        self.attend(&mut desk, now_ns);
    }

    /// What has come since the last call.
    pub fn collect(&self) -> Vec<Outcome> {
        let mut desk = self.shared.desk();
        self.attend(&mut desk, monotonic_ns());
        std::mem::take(&mut desk.outcomes)
    }

    /// Is anything still to come?
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let desk = self.shared.desk();
        desk.current.is_some() || !desk.queue.is_empty()
    }

    /// When [`Reader::collect`] should be called to notice a hang, by the monotonic clock.
    #[must_use]
    pub fn check_due_ns(&self) -> Option<i64> {
        let desk = self.shared.desk();
        desk.current
            .map(|(_, since_ns)| since_ns + self.deadline_ns)
    }

    /// Readings that were asked for while an earlier one was not done, so far.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.shared.desk().missed
    }

    /// Notices a hang, and sees to it that a thread is at work if there is work.
    fn attend(&self, desk: &mut Desk, now_ns: i64) {
        if let Some((job, since_ns)) = desk.current
            && now_ns - since_ns > self.deadline_ns
        {
            desk.current = None;
            desk.generation += 1;
            desk.running = false;
            self.shared.hang(desk, job, self.deadline_ns);
        }
        if desk.queue.is_empty() {
            return;
        }
        if desk.running {
            self.shared.bell.notify_one();
            return;
        }
        let (shared, generation) = (Arc::clone(&self.shared), desk.generation);
        let spawned = std::thread::Builder::new()
            .name("gpu-reader".to_owned())
            .spawn(move || shared.work(generation));
        desk.running = spawned.is_ok();
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to read GPUs with; this interval is a gap");
            desk.missed += desk.queue.len() as u64;
            desk.queue.clear();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.desk().stopping = true;
        self.shared.bell.notify_all();
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Every change leaves the desk whole.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hang(&self, desk: &mut Desk, job: usize, deadline_ns: i64) {
        let seconds = deadline_ns as f64 * 1e-9;
        if let Some(state) = desk.states.get_mut(job) {
            *state = State::Hung;
            let text = format!("the driver has not answered for {seconds:.1} s; left alone");
            desk.tell(job, OccurrenceKind::Hung, text);
        } else if let Some(deaf) = desk.deaf.get_mut(job - self.places.len()) {
            *deaf = true;
            tracing::warn!("the driver does not answer what happened to GPUs; no longer asked");
        }
    }

    /// A thread's life: until the reader is dropped, or the thread itself was given up.
    fn work(&self, generation: u64) {
        loop {
            let mut desk = self.desk();
            let job = loop {
                if desk.stopping || desk.generation != generation {
                    return;
                }
                if let Some(job) = desk.queue.pop_front() {
                    break job;
                }
                desk = self.bell.wait(desk).unwrap_or_else(PoisonError::into_inner);
            };
            desk.current = Some((job, monotonic_ns()));
            drop(desk);
            let done = self.perform(job);
            let mut desk = self.desk();
            if desk.generation == generation {
                desk.current = None;
                desk.take(job, done);
            } else {
                // Given up meanwhile: another thread has taken over.
                desk.recover(job, self.places.len());
                return;
            }
        }
    }

    fn perform(&self, job: usize) -> Done {
        match self.places.get(job) {
            Some(&(backend, place)) => Done::Read(self.backends[backend].read(place).map(Box::new)),
            None => {
                let backend = job - self.places.len();
                let found = self.backends[backend].occurrences();
                let place_of = |(place, occurrence): (usize, Occurrence)| {
                    let known = self.places.iter().position(|at| *at == (backend, place));
                    known.map(|device| (device, occurrence))
                };
                Done::Befell(found.into_iter().filter_map(place_of).collect())
            }
        }
    }
}

enum Done {
    Read(Result<Box<Snapshot>, ReadError>),
    Befell(Vec<(usize, Occurrence)>),
}

impl Desk {
    fn take(&mut self, job: usize, done: Done) {
        match done {
            Done::Read(Ok(snapshot)) => {
                if matches!(self.states[job], State::Lost(_)) {
                    self.tell(job, OccurrenceKind::Back, "it answers again".to_owned());
                }
                self.states[job] = State::Well;
                self.put(Outcome::Read(job, snapshot));
            }
            Done::Read(Err(ReadError::Vanished(why))) => {
                if !matches!(self.states[job], State::Lost(_)) {
                    self.tell(job, OccurrenceKind::Vanished, why);
                }
                self.states[job] = State::Lost(monotonic_ns() + LOST_PERIOD_NS);
            }
            Done::Read(Err(ReadError::Failed(why))) => {
                tracing::debug!(device = job, why, "a GPU could not be read");
                self.missed += 1;
            }
            Done::Befell(found) => {
                for (device, occurrence) in found {
                    self.put(Outcome::Befell(device, occurrence));
                }
            }
        }
    }

    /// A call that hung has returned.
    fn recover(&mut self, job: usize, device_count: usize) {
        if job < device_count {
            self.states[job] = State::Well;
            let text = "the driver answers again".to_owned();
            self.tell(job, OccurrenceKind::Back, text);
        } else if let Some(deaf) = self.deaf.get_mut(job - device_count) {
            *deaf = false;
        }
    }

    fn tell(&mut self, device: usize, kind: OccurrenceKind, text: String) {
        let occurrence = Occurrence {
            kind,
            code: None,
            text,
        };
        self.put(Outcome::Befell(device, occurrence));
    }

    fn put(&mut self, outcome: Outcome) {
        if self.outcomes.len() < MAX_OUTCOMES {
            self.outcomes.push(outcome);
        } else {
            self.dropped += 1;
        }
    }
}
