//! What becomes of the workers as time goes by: who has ended, who is too many, who is wanted.

use std::sync::Arc;
use std::time::Instant;

use super::service::{Phase, Worker};
use super::{Action, Pool};
use crate::ledger::{State, WorkerRow, place_of};

impl Pool {
    /// Weighs all workers against the ledger's rows of those that have not ended.
    pub fn step(&mut self, rows: &[WorkerRow], is_draining: bool, now: Instant) -> Vec<Action> {
        self.is_draining = is_draining;
        let mut actions = self.forget_ended(rows, now);
        for row in rows {
            self.know(row, now);
            // Its service was removed while it was being made.
            if !row.is_deleted && !self.services.contains_key(&row.serves) {
                let (job, reason) = (row.job, "its service was removed");
                actions.push(Action::Cancel { job, reason });
            }
        }
        for service in self.services.values_mut() {
            service.queue.retain(|call| !call.reply.is_closed());
            service.late(&self.bounds, is_draining, now, &mut actions);
            service.shrink(&self.bounds, is_draining, now);
        }
        if !is_draining {
            self.grow(now, &mut actions);
        }
        for service in self.services.values_mut() {
            let waits = service.not_before.is_some_and(|at| at > now);
            if service.workers.is_empty()
                && waits
                && let Some(problem) = service.problem.clone()
            {
                service.refuse_all(&problem);
            }
        }
        actions
    }

    /// Takes over a worker of the ledger: our own new one, or one of a gateway before us.
    pub(super) fn know(&mut self, row: &WorkerRow, now: Instant) {
        if let Some(worker) = self.worker(row.job) {
            if row.is_deleted && !worker.is_cancelled {
                worker.is_cancelled = true;
                if !matches!(worker.phase, Phase::Busy) {
                    worker.leave(now);
                }
            }
            return;
        }
        let Some(service) = self.services.get_mut(&row.serves) else {
            return;
        };
        let document: serde_json::Value = serde_json::from_str(&row.document).unwrap_or_default();
        let phase = match (row.is_deleted, row.state) {
            (true, _) => Phase::Leaving,
            (_, State::Running) => Phase::Away,
            _ => Phase::Starting,
        };
        let worker = Worker {
            place: place_of(&row.document),
            revision: document["data"]["revision"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            phase,
            since: now,
            born: None,
            node: String::new(),
            calls: 0,
            is_cancelled: row.is_deleted,
        };
        service.workers.insert(row.job, worker);
        self.homes.insert(row.job, row.serves.clone());
    }

    fn forget_ended(&mut self, rows: &[WorkerRow], now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        for service in self.services.values_mut() {
            let jobs = service.workers.keys().copied();
            let gone = jobs.filter(|job| rows.iter().all(|row| row.job != *job));
            for job in gone.collect::<Vec<_>>() {
                let Some(mut worker) = service.workers.remove(&job) else {
                    continue;
                };
                self.homes.remove(&job);
                let never_came = matches!(worker.phase, Phase::Starting);
                worker.leave(now);
                if never_came {
                    service.failed(now);
                }
                actions.push(Action::Ended { job, never_came });
            }
        }
        actions
    }

    fn grow(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let mut total: usize = self.services.values().map(|one| one.workers.len()).sum();
        let mut starving = false;
        for service in self.services.values_mut() {
            let Some(kept) = service.kept.clone() else {
                continue;
            };
            let wanted = service.wanted(&self.bounds, now);
            for _ in 0..wanted {
                if total >= self.bounds.workers {
                    starving = true;
                    break;
                }
                let taken = |place: &u32| {
                    let new = actions.iter().any(|action| {
                        matches!(action, Action::Start { kept: other, place: other_place }
                        if other.definition.name == kept.definition.name && other_place == place)
                    });
                    new || service
                        .workers
                        .values()
                        .any(|worker| worker.place == *place)
                };
                let Some(place) = (0..u32::MAX).find(|place| !taken(place)) else {
                    break;
                };
                actions.push(Action::Start {
                    kept: Arc::clone(&kept),
                    place,
                });
                total += 1;
            }
        }
        if starving {
            self.give_way(now);
        }
    }

    /// Ends the worker that was idle for longest, above its service's least: another service has
    /// none left for its calls.
    fn give_way(&mut self, now: Instant) {
        if self.services.values().any(|one| {
            one.workers
                .values()
                .any(|worker| matches!(worker.phase, Phase::Leaving))
        }) {
            return;
        }
        let spare = self
            .services
            .values_mut()
            .filter(|one| one.useful() > one.least(&self.bounds));
        let idle = spare.flat_map(|one| one.workers.values_mut());
        let idle = idle.filter(|worker| matches!(worker.phase, Phase::Idle(_)));
        if let Some(worker) = idle.min_by_key(|worker| worker.since) {
            worker.leave(now);
        }
    }
}
