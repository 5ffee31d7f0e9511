//! How a job leaves the engine: digests, the record's last words, the merge.

use std::sync::Arc;

use mizar_core::clock::{monotonic_ns, unix_ns};
use mizar_core::ids::JobId;
use mizar_record::model::Event;

use crate::engine::Engine;
use crate::registry::Phase;
use crate::worker::Work;

/// Tries to write a job's last words before they are given up: over some ten minutes, for a
/// record without its end keeps all nodes' parts from being merged.
const MAX_FAILED_ENDS: u32 = 12;

impl Engine {
    /// Merges that the last daemon did not get to.
    pub(super) fn resume_merges(&self) {
        let registry = self.shared.registry();
        for job in registry
            .jobs
            .values()
            .filter(|job| job.phase == Phase::Merging)
        {
            let folder =
                mizar_record::folder::of_job(&self.shared.config.record_dir, JobId(job.info.id));
            self.send(Work::Merge {
                job: job.info.clone(),
                folder,
            });
        }
    }

    /// Tries again what failed, on a full disk for example.
    fn retry_merges(&self) {
        let now_ns = monotonic_ns();
        let mut registry = self.shared.registry();
        for job in registry
            .jobs
            .values_mut()
            .filter(|job| job.merge_due_ns.is_some_and(|due_ns| due_ns <= now_ns))
        {
            let id = JobId(job.info.id);
            let folder = mizar_record::folder::of_job(&self.shared.config.record_dir, id);
            let job_info = job.info.clone();
            if self.send(Work::Merge {
                job: job_info,
                folder,
            }) {
                job.merge_due_ns = None;
            }
        }
    }

    /// Moves jobs that have left through their last phases.
    pub(super) fn end_jobs(&mut self) {
        self.take_rings();
        let limit_ns = i64::from(self.shared.config.job_idle_end_s) * 1_000_000_000;
        let shared = Arc::clone(&self.shared);
        let mut ended = Vec::new();
        let mut registry = shared.registry();
        for (id, track) in &mut self.tracks {
            let Some(job) = registry.jobs.get_mut(id) else {
                continue;
            };
            let idle_ns = track
                .idle_since_ns
                .map_or(0, |since_ns| monotonic_ns() - since_ns);
            if job.phase == Phase::Running && idle_ns > limit_ns {
                tracing::info!(job = %id, "no process is left and no epilog came: the job has ended");
                job.end(unix_ns());
                shared.save(job);
                shared.ring();
            }
            if job.phase == Phase::Ending && job.outbox.is_empty() && self.gpus.farewell(*id) {
                // What its processes said last, even if they lived shorter than a period.
                super::communication::last_reading(track, &mut self.processes, &job.node);
                track.release(&mut self.processes);
                track.due_ns = i64::MAX;
                if self.shared.config.digest && !job.files.is_empty() {
                    let work = Work::Digest {
                        job: job.info.clone(),
                        files: job.files.clone(),
                    };
                    if self.queues.digests.try_send(work).is_ok() {
                        job.phase = Phase::Digesting;
                    }
                } else {
                    job.phase = Phase::Digested;
                }
            }
            if job.phase == Phase::Digested && job.outbox.is_empty() {
                ended.push(*id);
            }
        }
        drop(registry);
        for id in ended {
            self.close_job(id);
        }
        self.retry_merges();
    }

    fn close_job(&mut self, id: JobId) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if track.failed_ends == 0 {
            track.recorder.post([Event::End { time_ns: unix_ns() }]);
        } else if monotonic_ns() < track.end_due_ns {
            return;
        }
        if !track.recorder.finish(&self.shared.counters) && track.failed_ends < MAX_FAILED_ENDS {
            let wait_ms = i64::from(self.shared.config.flush_ms) << track.failed_ends.min(4);
            track.end_due_ns = monotonic_ns() + wait_ms * 1_000_000;
            track.failed_ends += 1;
            return;
        }
        let folder = track.recorder.folder();
        let job = track.recorder.job().clone();
        let Some(mut track) = self.tracks.remove(&id) else {
            return;
        };
        self.forget_gpus(id);
        if track.failed_ends >= MAX_FAILED_ENDS {
            tracing::error!(job = %id, "the end of the record could not be written and is given up");
        }
        track.recorder.close();
        let mut registry = self.shared.registry();
        if let Some(known) = registry
            .jobs
            .get_mut(&id)
            .filter(|job| job.phase == Phase::Digested)
        {
            known.phase = Phase::Merging;
            self.shared.save(known);
            drop(registry);
            if !self.send(Work::Merge { job, folder }) {
                tracing::warn!(job = %id, "too much is being merged; the record stays in parts");
                self.shared.registry().jobs.remove(&id);
                self.shared.state.remove(id);
            }
        }
    }
}
