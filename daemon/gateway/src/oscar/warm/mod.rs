//! Warm workers: Slurm jobs that wait for the synchronous calls of one service each, so that a call
//! costs a message and the function's own time, not a job's way through Slurm.
//!
//! A worker is a job of the ledger like any other ([`worker_job`], [`crate::ledger::add_worker`]):
//! it is submitted once, found again by its marker, and its place is free only when its end was
//! seen. On its node it runs `mizar-gateway worker` ([`crate::supervise::worker`]), which connects
//! to the gateway ([`link`]), proves itself ([`proof`]) and takes one call at a time ([`wire`]).
//! [`pool`] decides who takes which call and how many workers there are; [`keeper`] has that done.
//!
//! Invariants:
//! - a call is given to one worker, once. If that worker is lost, the caller hears of it and
//!   nobody runs the call again;
//! - a call that nobody waits for any more is ended: a caller that hung up, or whose time is over;
//! - calls are counted and logged, and not kept: no ledger, no output, no retry. Calls that must
//!   not be made twice (with a name of their own, or about stored objects) are batch jobs with
//!   somebody waiting, as without workers.

mod call;
mod keeper;
mod link;
pub mod pool;
pub mod proof;
mod settings;
pub mod wire;
mod worker_job;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

pub(super) use call::run;
pub use settings::WarmSettings;
pub use worker_job::{SECRET_FILE, WORKER_FILE, WorkerFile, plan, scale_of};

use crate::shared::Shared;
use pool::{Bounds, Pool, ServiceView};
use proof::Key;

/// Longest answer of a call.
pub const MAX_REPLY_BYTES: u64 = 256 << 20;

/// The gateway's side of all warm workers.
#[derive(Debug)]
pub struct Warm {
    settings: WarmSettings,
    key: Key,
    pool: Mutex<Pool>,
    /// Rings when there may be something to do before its time.
    bell: Notify,
    /// The services may not be those that the pool knows.
    is_stale: AtomicBool,
    calls: AtomicU64,
}

impl Warm {
    /// For a configuration with the table; None without it.
    ///
    /// # Errors
    /// If the key of the workers cannot be read or made.
    pub fn new(shared: &Shared) -> io::Result<Option<Arc<Self>>> {
        let oscar = shared.config.oscar.as_ref();
        let Some(settings) = oscar.and_then(|oscar| oscar.warm.clone()) else {
            return Ok(None);
        };
        let whole = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let bounds = Bounds {
            workers: whole(settings.workers),
            per_service: whole(settings.workers_per_service),
            queue: settings.queue_calls,
            idle: Duration::from_secs(settings.idle_s),
            start: Duration::from_secs(settings.start_s),
            life: Duration::from_secs(settings.lifetime_s),
            calls: settings.calls_per_worker,
            reconnect: settings.reconnect(),
        };
        Ok(Some(Arc::new(Self {
            key: Key::load(&shared.config.state_dir)?,
            pool: Mutex::new(Pool::new(bounds)),
            bell: Notify::new(),
            is_stale: AtomicBool::new(true),
            calls: AtomicU64::new(0),
            settings,
        })))
    }

    /// Listens for workers and keeps them, until `stop`.
    ///
    /// # Errors
    /// If the address is taken.
    pub async fn start(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        stop: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        let listener = TcpListener::bind(self.settings.listen).await?;
        let (warm, gateway) = (Arc::clone(self), Arc::clone(shared));
        spawn_vital(link::listen(listener, warm, gateway));
        let (warm, gateway) = (Arc::clone(self), Arc::clone(shared));
        spawn_vital(keeper::keep(warm, gateway, stop.clone()));
        Ok(())
    }

    /// The services were changed: workers of what they were end, and others come.
    pub fn services_changed(&self) {
        self.is_stale.store(true, Ordering::SeqCst);
        self.bell.notify_one();
    }

    /// The services with workers, for people.
    #[must_use]
    pub fn view(&self) -> Vec<ServiceView> {
        self.pool().view(Instant::now())
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that nothing replaces: its panic is the end of the process, as that of a vital thread.
fn spawn_vital(task: impl Future<Output = ()> + Send + 'static) {
    let task = tokio::spawn(task);
    tokio::spawn(async move {
        if task.await.is_err_and(|error| error.is_panic()) {
            std::process::abort();
        }
    });
}
