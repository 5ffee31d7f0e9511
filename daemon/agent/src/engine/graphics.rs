//! GPUs in the engine's rounds: asked when jobs are due, collected when their readings have
//! come, put into records and the registry.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use mizar_core::ids::JobId;

use crate::engine::Engine;
use crate::gpu::News;
use crate::registry::Job;

impl Engine {
    /// Asks for the GPUs of the jobs that are due; does not wait for them.
    pub(super) fn request_gpus(&mut self, due: &[JobId]) {
        let tracks = due.iter().filter_map(|id| self.tracks.get(id));
        let period_ns = tracks.map(|track| track.period_ns).min();
        self.gpus.request(due, period_ns.unwrap_or(i64::MAX));
    }

    /// A job's record is closed: its GPUs are no longer shown as its own.
    pub(super) fn forget_gpus(&mut self, id: JobId) {
        self.gpus.forget(id);
        self.show_gpus();
    }

    fn show_gpus(&self) {
        *self
            .shared
            .gpus
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = self.gpus.view();
    }

    /// Takes what readings have come.
    pub(super) fn collect_gpus(&mut self) {
        let tracks = &self.tracks;
        let ranks = || {
            let ranks = tracks
                .iter()
                .flat_map(|(id, track)| track.ranks().map(|(pid, who)| (pid, (*id, who))));
            ranks.collect::<HashMap<_, _>>()
        };
        let news = self.gpus.collect(&self.processes, ranks);
        if news.is_empty() {
            return;
        }
        self.show_gpus();
        let missed = &self.shared.counters.missed_gpu_readings;
        missed.store(self.gpus.missed(), Ordering::Relaxed);
        let shared = std::sync::Arc::clone(&self.shared);
        let mut registry = shared.registry();
        for news in news {
            if let Some(track) = self.tracks.get_mut(&news.job) {
                let rows = &mut track.recorder.rows;
                rows.gpu_samples.extend(&news.gathered.samples);
                rows.gpu_process_samples
                    .extend(&news.gathered.process_samples);
                track.recorder.post(news.gathered.events.clone());
            }
            if let Some(job) = registry.jobs.get_mut(&news.job) {
                let is_new = !news.gathered.found.is_empty();
                show(job, news);
                if is_new {
                    shared.save(job);
                }
            }
        }
    }
}

/// What `mizar ps` sees of it, and what a restart must know.
fn show(job: &mut Job, news: News) {
    for found in news.gathered.found {
        job.gpus.retain(|known| known.gpu != found.gpu);
        job.gpus.push(found);
    }
    job.live_gpus = news.live;
    for step in &mut job.steps {
        for task in &mut step.tasks {
            let used = news.users.get(&(step.info.step, task.info.rank));
            task.gpus = used.cloned().unwrap_or_default();
        }
    }
}
