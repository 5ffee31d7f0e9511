//! What the threads of the daemon share: the registry behind one lock, the bell that wakes
//! the engine, and the counters of the daemon's own behaviour.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::Config;
use crate::registry::{Job, Registry};
use crate::rings::Arrival;
use crate::state::State;

/// Rings that wait for the engine; more are refused.
const MAX_ARRIVALS: usize = 4096;

/// Shared by socket, metrics, engine and workers.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) state: State,
    registry: Mutex<Registry>,
    bell: Mutex<bool>,
    rung: Condvar,
    stopping: AtomicBool,
    pub(crate) counters: Counters,
    /// The last reading of the node, for metrics.
    pub(crate) node: Mutex<Option<NodeView>>,
    /// The GPUs of running jobs as last read, likewise.
    pub(crate) gpus: Mutex<Vec<crate::gpu::GpuView>>,
    /// Rings on their way to the engine.
    arrivals: Mutex<Vec<Arrival>>,
}

/// Counts of what happened since the daemon began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) refused_requests: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
    pub(crate) samples: AtomicU64,
    pub(crate) late_samples: AtomicU64,
    pub(crate) missed_samples: AtomicU64,
    pub(crate) missed_gpu_readings: AtomicU64,
    pub(crate) record_errors: AtomicU64,
    pub(crate) dropped_rows: AtomicU64,
    pub(crate) sampling_ns: AtomicU64,
}

/// The node as the metrics show it.
#[derive(Clone, Debug)]
pub(crate) struct NodeView {
    pub(crate) usage: mizar_node::machine::NodeUse,
    pub(crate) energy: mizar_node::energy::Energy,
    pub(crate) energy_method: String,
}

impl Shared {
    pub(crate) fn new(config: Config, state: State, registry: Registry) -> Self {
        Self {
            config,
            state,
            registry: Mutex::new(registry),
            bell: Mutex::new(true),
            rung: Condvar::new(),
            stopping: AtomicBool::new(false),
            counters: Counters::default(),
            node: Mutex::new(None),
            gpus: Mutex::default(),
            arrivals: Mutex::default(),
        }
    }

    /// The registry. Held for moments only: never across record, network or pipe I/O.
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic elsewhere must not end the daemon: every change leaves the registry whole.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a ring for the engine; false if too many wait.
    pub(crate) fn hand_over(&self, arrival: Arrival) -> bool {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = arrivals.len() < MAX_ARRIVALS;
        if has_room {
            arrivals.push(arrival);
        }
        has_room
    }

    /// The rings that have come since.
    pub(crate) fn take_arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes the engine.
    pub(crate) fn ring(&self) {
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rung.notify_one();
    }

    /// Waits for the bell, at most this long.
    pub(crate) fn wait(&self, limit: Duration) {
        let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rung.wait_timeout_while(bell, limit, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Asks all threads to finish.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ring();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Keeps a job on disk; a failure is logged and costs only the memory over a restart.
    pub(crate) fn save(&self, job: &Job) {
        if let Err(error) = self.state.save(job) {
            tracing::warn!(job = job.info.id, %error, "cannot keep the job's state");
        }
    }
}
