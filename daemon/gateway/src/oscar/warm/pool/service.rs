//! One service's workers and calls: who is free, who is late, who is too many.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::wire::SILENCE;
use super::super::worker_job::{Scale, scale_of};
use super::{Action, Bounds, Call, Order, Outcome};
use crate::oscar::store::Kept;

/// A queue shorter than its starting workers, or younger than this, makes no further worker: a
/// burst of short calls is over before one would have started.
const GROW_AFTER: Duration = Duration::from_millis(100);

/// How long a worker that was told to end may take until its job is cancelled.
const LEAVE: Duration = Duration::from_secs(15);

/// First and longest wait after a worker that never came.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) enum Phase {
    /// Its job waits, or it has not said anything yet.
    Starting,
    Idle(oneshot::Sender<Order>),
    Busy,
    /// The connection was lost; it may come back.
    Away,
    /// It was told to end, or its job was cancelled.
    Leaving,
}

impl Phase {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle(_) => "idle",
            Self::Busy => "busy",
            Self::Away => "away",
            Self::Leaving => "leaving",
        }
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) place: u32,
    pub(super) revision: String,
    pub(super) phase: Phase,
    pub(super) since: Instant,
    pub(super) born: Option<Instant>,
    pub(super) node: String,
    pub(super) calls: u64,
    pub(super) is_cancelled: bool,
}

impl Worker {
    pub(super) fn set(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.since) = (phase, now);
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        let born = self.born.unwrap_or(now);
        now.saturating_duration_since(born)
    }

    pub(super) fn leave(&mut self, now: Instant) {
        // Whoever waits for an order gets the last one.
        if let Phase::Idle(order) = std::mem::replace(&mut self.phase, Phase::Leaving) {
            let _ = order.send(Order::End);
        }
        self.since = now;
    }
}

#[derive(Debug, Default)]
pub(super) struct Service {
    /// None once it was removed.
    pub(super) kept: Option<Arc<Kept>>,
    pub(super) revision: String,
    pub(super) scale: Scale,
    pub(super) workers: BTreeMap<i64, Worker>,
    pub(super) queue: VecDeque<Call>,
    pub(super) failures: u32,
    pub(super) not_before: Option<Instant>,
    pub(super) problem: Option<String>,
}

impl Service {
    /// Takes a definition over; workers of another end after their call.
    pub(super) fn define(&mut self, kept: &Kept, revision: String, now: Instant) {
        if self.kept.is_some() && self.revision == revision {
            return;
        }
        self.scale = scale_of(&kept.definition).unwrap_or_default();
        self.kept = Some(Arc::new(kept.clone()));
        self.revision = revision;
        (self.failures, self.not_before, self.problem) = (0, None, None);
        self.end_idle(now, |worker, revision| worker.revision != revision);
    }

    pub(super) fn most(&self, bounds: &Bounds) -> usize {
        match self.scale.max {
            0 => bounds.per_service,
            max => max.min(bounds.per_service),
        }
    }

    pub(super) fn least(&self, bounds: &Bounds) -> usize {
        if self.kept.is_none() {
            return 0;
        }
        self.scale.min.min(self.most(bounds))
    }

    /// Workers that take calls, or will.
    pub(super) fn useful(&self) -> usize {
        let all = self.workers.values();
        all.filter(|worker| {
            worker.revision == self.revision
                && !matches!(worker.phase, Phase::Leaving)
                && !worker.is_cancelled
        })
        .count()
    }

    pub(super) fn freshest_idle(&mut self) -> Option<&mut Worker> {
        let revision = &self.revision;
        let all = self.workers.values_mut();
        all.filter(|worker| matches!(worker.phase, Phase::Idle(_)) && worker.revision == *revision)
            .max_by_key(|worker| worker.since)
    }

    pub(super) fn end_idle(&mut self, now: Instant, which: impl Fn(&Worker, &str) -> bool) {
        for worker in self.workers.values_mut() {
            if matches!(worker.phase, Phase::Idle(_)) && which(worker, &self.revision) {
                worker.leave(now);
            }
        }
    }

    pub(super) fn refuse_all(&mut self, reason: &str) {
        for call in self.queue.drain(..) {
            let _ = call.reply.send(Outcome::Refused(reason.to_owned()));
        }
    }

    pub(super) fn failed(&mut self, now: Instant) {
        let doublings = self.failures.min(10);
        self.failures += 1;
        self.not_before = Some(now + (BACKOFF * (1 << doublings)).min(BACKOFF_MAX));
        let text = "its worker's job ended before it came";
        self.problem.get_or_insert_with(|| text.to_owned());
    }

    /// Cancels the jobs of workers that nobody waits for any more.
    pub(super) fn late(
        &mut self,
        bounds: &Bounds,
        is_draining: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let mut too_late = false;
        for (&job, worker) in &mut self.workers {
            if worker.is_cancelled {
                continue;
            }
            let since = now.saturating_duration_since(worker.since);
            let is_old = worker.revision != self.revision || self.kept.is_none();
            let reason = match worker.phase {
                Phase::Starting if is_draining => "the gateway is drained",
                Phase::Starting if is_old => "its service was changed before it came",
                Phase::Starting if since >= bounds.start => {
                    too_late = true;
                    "it did not come in time"
                }
                // The gateway notices a silent connection later than the worker may.
                Phase::Away if since >= bounds.reconnect + SILENCE => "it was lost",
                Phase::Leaving if since >= LEAVE => "it did not end",
                _ => continue,
            };
            worker.is_cancelled = true;
            worker.set(Phase::Leaving, now);
            actions.push(Action::Cancel { job, reason });
        }
        if too_late {
            self.failed(now);
            self.problem =
                Some("no worker could be started in time: the machine is full".to_owned());
        }
    }

    pub(super) fn shrink(&mut self, bounds: &Bounds, is_draining: bool, now: Instant) {
        if is_draining || self.kept.is_none() {
            return self.end_idle(now, |_, _| true);
        }
        // An old one may not get a call now: Slurm would end its job during it.
        self.end_idle(now, |worker, revision| {
            worker.revision != revision || worker.age(now) >= bounds.life
        });
        let mut spare = self.useful().saturating_sub(self.least(bounds));
        let mut idle: Vec<&mut Worker> = self.workers.values_mut().collect();
        idle.retain(|worker| {
            matches!(worker.phase, Phase::Idle(_))
                && now.saturating_duration_since(worker.since) >= bounds.idle
        });
        idle.sort_by_key(|worker| worker.since);
        for worker in idle {
            if spare == 0 {
                return;
            }
            worker.leave(now);
            spare -= 1;
        }
    }

    /// How many workers to start.
    pub(super) fn wanted(&self, bounds: &Bounds, now: Instant) -> usize {
        if self.not_before.is_some_and(|at| at > now) {
            return 0;
        }
        let is_coming = |worker: &&Worker| matches!(worker.phase, Phase::Starting | Phase::Away);
        let coming = self.workers.values().filter(is_coming).count();
        let is_here = |worker: &Worker| matches!(worker.phase, Phase::Idle(_) | Phase::Busy);
        let waited = self
            .queue
            .front()
            .map(|call| now.saturating_duration_since(call.since));
        let is_due = waited.is_some_and(|waited| waited >= GROW_AFTER)
            || !self.workers.values().any(is_here);
        let for_calls = if is_due {
            self.queue.len().saturating_sub(coming)
        } else {
            0
        };
        let for_least = self.least(bounds).saturating_sub(self.useful());
        for_calls
            .max(for_least)
            .min(self.most(bounds).saturating_sub(self.workers.len()))
    }
}
