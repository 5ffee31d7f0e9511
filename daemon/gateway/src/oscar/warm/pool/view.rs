//! The pool as people and Prometheus see it.

use std::time::Instant;

use serde::Serialize;

use super::Pool;
use super::service::Phase;

/// How many of what there are, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Workers that have not come yet, or are away.
    pub starting: i64,
    /// Workers without a call.
    pub idle: i64,
    /// Workers with one.
    pub busy: i64,
    /// Workers that are to end.
    pub leaving: i64,
    /// Calls that wait.
    pub queue: i64,
}

/// A service's workers, for people.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceView {
    /// The service.
    pub service: String,
    /// Least workers.
    pub min: usize,
    /// Most workers.
    pub max: usize,
    /// Calls that wait.
    pub queue: usize,
    /// Why no worker came.
    pub problem: Option<String>,
    /// The workers.
    pub workers: Vec<WorkerView>,
}

/// A worker, for people.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    /// The job in the ledger.
    pub job: i64,
    /// Its place in its service.
    pub place: u32,
    /// starting, idle, busy, away or leaving.
    pub state: &'static str,
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// Where it runs.
    pub node: String,
    /// Calls that it had.
    pub calls: u64,
}

impl Pool {
    /// How many of what there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for service in self.services.values() {
            counts.queue += i64::try_from(service.queue.len()).unwrap_or(i64::MAX);
            for worker in service.workers.values() {
                let count = match worker.phase {
                    Phase::Starting | Phase::Away => &mut counts.starting,
                    Phase::Idle(_) => &mut counts.idle,
                    Phase::Busy => &mut counts.busy,
                    Phase::Leaving => &mut counts.leaving,
                };
                *count += 1;
            }
        }
        counts
    }

    /// All of it, for people.
    #[must_use]
    pub fn view(&self, now: Instant) -> Vec<ServiceView> {
        let all = self.services.iter().filter(|(_, service)| {
            !service.workers.is_empty() || !service.queue.is_empty() || service.scale.min > 0
        });
        all.map(|(name, service)| ServiceView {
            service: name.clone(),
            min: service.least(&self.bounds),
            max: service.most(&self.bounds),
            queue: service.queue.len(),
            problem: service.problem.clone(),
            workers: service
                .workers
                .iter()
                .map(|(&job, worker)| WorkerView {
                    job,
                    place: worker.place,
                    state: worker.phase.word(),
                    for_ms: u64::try_from(now.saturating_duration_since(worker.since).as_millis())
                        .unwrap_or(u64::MAX),
                    node: worker.node.clone(),
                    calls: worker.calls,
                })
                .collect(),
        })
        .collect()
    }
}
