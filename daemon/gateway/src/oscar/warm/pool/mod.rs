//! Which worker takes which call, and how many workers there are: decided here, from what is told,
//! without a clock, a disk or a connection. [`growth`] weighs all workers,
//! [`service`] is about one service, [`view`] what people and metrics see.
//!
//! A call waits in its service's queue or is at one worker; it is never given to a second. The
//! last worker to become free takes the next call, so that those above need get old and end.

mod growth;
mod service;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::oneshot;

use self::service::{Phase, Service, Worker};
pub use self::view::{Counts, ServiceView, WorkerView};
use super::wire::Reply;
use super::worker_job::revision_of;
use crate::ledger::WorkerRow;
use crate::oscar::store::Kept;

/// The site's bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most workers together.
    pub workers: usize,
    /// Most workers of a service.
    pub per_service: usize,
    /// Most calls of a service that wait.
    pub queue: usize,
    /// How long a worker above the least may be idle.
    pub idle: Duration,
    /// How long a worker may take to come.
    pub start: Duration,
    /// How old a worker gets.
    pub life: Duration,
    /// How many calls a worker gets.
    pub calls: u64,
    /// How long a worker looks for a lost gateway.
    pub reconnect: Duration,
}

/// A call that waits or is being made.
#[derive(Debug)]
pub struct Call {
    /// Its number on the wire.
    pub number: u64,
    /// Its name, as jobs of OSCAR are named.
    pub name: String,
    /// The body as it came.
    pub payload: Bytes,
    /// When it came.
    pub since: Instant,
    /// Who waits for it; gone if the caller hung up or its time is over.
    pub reply: oneshot::Sender<Outcome>,
}

/// What became of a call.
#[derive(Debug)]
pub enum Outcome {
    /// It ran to its end.
    Ended {
        /// How.
        reply: Reply,
        /// What it gave.
        output: Vec<u8>,
        /// How long it waited for a worker.
        waited: Duration,
        /// The worker's job in the ledger.
        worker: i64,
    },
    /// Its worker was lost while it may have run; nobody runs it again.
    Lost(String),
    /// It never began.
    Refused(String),
}

/// What a worker does next.
#[derive(Debug)]
pub enum Order {
    /// A call.
    Run(Call),
    /// Nothing more.
    End,
}

/// What the keeper has to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Have a worker made.
    Start {
        /// Of this service.
        kept: Arc<Kept>,
        /// In this place.
        place: u32,
    },
    /// Have a worker's job cancelled, whatever it is at.
    Cancel {
        /// The job in the ledger.
        job: i64,
        /// Why.
        reason: &'static str,
    },
    /// A worker's job has ended.
    Ended {
        /// The job in the ledger.
        job: i64,
        /// Whether it ended before it ever came.
        never_came: bool,
    },
}

/// Too many calls wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// All services' workers and queues.
#[derive(Debug)]
pub struct Pool {
    bounds: Bounds,
    services: BTreeMap<String, Service>,
    homes: BTreeMap<i64, String>,
    is_draining: bool,
}

impl Pool {
    /// Without a worker.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            services: BTreeMap::new(),
            homes: BTreeMap::new(),
            is_draining: false,
        }
    }

    /// Hears of a service as it is now; workers of what it was end after their call.
    pub fn define(&mut self, kept: &Kept, now: Instant) {
        let revision = revision_of(kept);
        let service = self.services.entry(kept.definition.name.clone());
        service.or_default().define(kept, revision, now);
    }

    /// Whether a service was defined and not removed.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.services
            .get(name)
            .is_some_and(|service| service.kept.is_some())
    }

    /// Hears which services there are; the calls of others are refused.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool, now: Instant) {
        for (name, service) in &mut self.services {
            if is_there(name) {
                continue;
            }
            service.kept = None;
            service.refuse_all("the service was removed");
            service.end_idle(now, |_, _| true);
        }
        self.services
            .retain(|_, service| service.kept.is_some() || !service.workers.is_empty());
    }

    /// Takes a call for a service that was defined; whether it has to wait.
    ///
    /// # Errors
    /// [`Full`] if it cannot even wait.
    pub fn offer(&mut self, name: &str, mut call: Call) -> Result<bool, Full> {
        let Some(service) = self.services.get_mut(name) else {
            let _ = call
                .reply
                .send(Outcome::Refused("the service was removed".to_owned()));
            return Ok(false);
        };
        while let Some(worker) = service.freshest_idle() {
            let (phase, now) = (
                std::mem::replace(&mut worker.phase, Phase::Busy),
                Instant::now(),
            );
            worker.since = now;
            let Phase::Idle(order) = phase else { break };
            match order.send(Order::Run(call)) {
                Ok(()) => return Ok(false),
                // Its connection ended at this very moment.
                Err(Order::Run(back)) => {
                    worker.set(Phase::Away, now);
                    call = back;
                }
                Err(Order::End) => return Ok(false),
            }
        }
        service.queue.retain(|one| !one.reply.is_closed());
        if service.queue.len() >= self.bounds.queue {
            return Err(Full);
        }
        service.queue.push_back(call);
        Ok(true)
    }

    /// A worker has proved itself. None if there is no place for it.
    pub fn join(&mut self, row: &WorkerRow, node: &str, age: Duration, now: Instant) -> Option<()> {
        self.know(row, now);
        let worker = self.worker(row.job)?;
        match worker.phase {
            Phase::Starting | Phase::Away => {}
            Phase::Idle(_) | Phase::Busy | Phase::Leaving => return None,
        }
        node.clone_into(&mut worker.node);
        worker.born = Some(now.checked_sub(age).unwrap_or(now));
        worker.set(Phase::Busy, now);
        let service = self.services.get_mut(self.homes.get(&row.job)?)?;
        (service.failures, service.not_before, service.problem) = (0, None, None);
        Some(())
    }

    /// A worker is free: its next order, perhaps there already.
    pub fn next(&mut self, job: i64, had_a_call: bool, now: Instant) -> oneshot::Receiver<Order> {
        let (order, ordered) = oneshot::channel();
        let (bounds, is_draining) = (self.bounds, self.is_draining);
        let home = self
            .homes
            .get(&job)
            .and_then(|name| self.services.get_mut(name));
        let Some(service) = home else {
            let _ = order.send(Order::End);
            return ordered;
        };
        let (revision, is_removed) = (service.revision.clone(), service.kept.is_none());
        let Some(worker) = service.workers.get_mut(&job) else {
            let _ = order.send(Order::End);
            return ordered;
        };
        worker.calls += u64::from(had_a_call);
        let is_done = is_draining
            || is_removed
            || worker.is_cancelled
            || worker.revision != revision
            || worker.calls >= bounds.calls
            || worker.age(now) >= bounds.life;
        if is_done {
            worker.set(Phase::Idle(order), now);
            worker.leave(now);
            return ordered;
        }
        while let Some(call) = service.queue.pop_front() {
            if !call.reply.is_closed() {
                worker.set(Phase::Busy, now);
                let _ = order.send(Order::Run(call));
                return ordered;
            }
        }
        worker.set(Phase::Idle(order), now);
        ordered
    }

    /// A worker's connection ended; `back` is a call that it was given and never told of.
    pub fn left(&mut self, job: i64, back: Option<Call>, now: Instant) {
        let home = self
            .homes
            .get(&job)
            .and_then(|name| self.services.get_mut(name));
        let Some(service) = home else {
            if let Some(call) = back {
                let _ = call
                    .reply
                    .send(Outcome::Lost("the worker ended".to_owned()));
            }
            return;
        };
        if let Some(worker) = service.workers.get_mut(&job)
            && !matches!(worker.phase, Phase::Leaving)
        {
            worker.set(Phase::Away, now);
        }
        if let Some(call) = back {
            service.queue.push_front(call);
        }
    }

    /// Says why a service's worker never came.
    pub fn blame(&mut self, serves: &str, problem: String) {
        if let Some(service) = self.services.get_mut(serves) {
            service.problem = Some(problem);
        }
    }

    /// A cancellation did not reach the ledger: it is asked for again.
    pub fn not_cancelled(&mut self, job: i64) {
        if let Some(worker) = self.worker(job) {
            worker.is_cancelled = false;
        }
    }

    fn worker(&mut self, job: i64) -> Option<&mut Worker> {
        let service = self.services.get_mut(self.homes.get(&job)?)?;
        service.workers.get_mut(&job)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
