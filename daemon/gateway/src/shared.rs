//! What the parts of a serving gateway share: ledger, services, metrics, and the stop flag.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use mizar_slurm::{Capacity, Marker, Scheduler};
use tokio::sync::watch;

use crate::config::Config;
use crate::interlink::Remembered;
use crate::ledger::{LedgerError, Reader, Writer, is_draining};
use crate::metrics::Metrics;
use crate::reconcile::Policy;
use crate::service::Service;

/// State of a serving gateway, shared by its threads and tasks.
pub struct Shared {
    /// The checked configuration.
    pub config: Config,
    /// The services, in the order of their files.
    pub services: Vec<Service>,
    /// Writes the ledger.
    pub writer: Writer,
    /// Reads the ledger.
    pub reader: Reader,
    /// The name of the gateway's own user.
    pub own_user: String,
    /// Slurm.
    pub scheduler: Box<dyn Scheduler>,
    /// What Prometheus sees.
    pub metrics: Metrics,
    /// Events that wait for submission, as far as known.
    pub backlog: AtomicU64,
    /// Slurm did not answer; submission pauses until it does.
    pub away: AtomicBool,
    /// What was answered about pods the last time.
    pub pods: Remembered,
    /// Rings when a submitter may have something to do.
    pub work: Bell,
    /// Rings when the poller should look before its time.
    pub look: Bell,
    capacity: Mutex<Option<Capacity>>,
    stopping: AtomicBool,
    draining: watch::Sender<bool>,
    drain_look: Mutex<()>,
}

impl Shared {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        config: Config,
        services: Vec<Service>,
        writer: Writer,
        reader: Reader,
        scheduler: Box<dyn Scheduler>,
    ) -> Self {
        Self {
            config,
            services,
            writer,
            reader,
            own_user: mizar_slurm::cli::own_user(),
            scheduler,
            metrics: Metrics::default(),
            backlog: AtomicU64::new(0),
            away: AtomicBool::new(false),
            pods: Remembered::default(),
            work: Bell::default(),
            look: Bell::default(),
            capacity: Mutex::new(None),
            stopping: AtomicBool::new(false),
            draining: watch::Sender::new(false),
            drain_look: Mutex::new(()),
        }
    }

    /// Has the threads end after what they are at.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.work.ring();
        self.look.ring();
    }

    /// Whether to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Whether no events are to be taken; the ledger knows it first.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Asks the ledger whether events are to be taken, and tells all parts.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be asked; nothing changes then.
    pub fn look_at_drain(&self) -> Result<(), LedgerError> {
        // One after the other, so that an older answer does not undo a newer one.
        let _one = self
            .drain_look
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let draining = self.reader.read(is_draining)?;
        let changed = |before: &mut bool| std::mem::replace(before, draining) != draining;
        if self.draining.send_if_modified(changed) {
            self.metrics.draining.set(i64::from(draining));
            tracing::info!(draining, "drain");
        }
        Ok(())
    }

    /// Hears of changes of [`Shared::is_draining`].
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// What the machine has, as the poller saw it last.
    #[must_use]
    pub fn capacity(&self) -> Option<Capacity> {
        let seen = self.capacity.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers what the machine has.
    pub fn set_capacity(&self, seen: Capacity) {
        *self.capacity.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    /// The folder of an event's job: its event file, its working directory, its output.
    #[must_use]
    pub fn folder(&self, marker: &Marker) -> PathBuf {
        let hash = marker.hash();
        let name = match marker.generation() {
            0 => hash.to_owned(),
            generation => format!("{hash}.{generation}"),
        };
        self.config
            .work_dir
            .join(marker.service())
            .join(&hash[..2])
            .join(name)
    }

    /// The bounds of retries.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let whole = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let slurm = &self.config.slurm;
        Policy {
            grace_ms: whole(slurm.grace_ms),
            backoff_ms: whole(slurm.backoff_ms),
            backoff_max_ms: whole(slurm.backoff_max_ms),
            max_attempts: slurm.max_attempts,
        }
    }
}

/// Wakes one waiting thread; a ring that nobody waits for is remembered.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    /// Rings.
    pub fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for a ring, at most `limit`.
    pub fn wait(&self, limit: Duration) {
        let guard = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) = self
            .changed
            .wait_timeout_while(guard, limit, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}
