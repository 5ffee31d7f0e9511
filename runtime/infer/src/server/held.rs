//! A model that is ready: one thread that runs it, and a queue before it.
//!
//! Requests that wait are run together as far as the model lets its first dimension free. A
//! request waits for company only while others are on their way, and never longer than the
//! latency bound.
//!
//! A request that takes less than it costs to wake another thread twice is run where it came in,
//! if the model is free: it neither waits nor keeps others waiting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::Settings;
use super::engine::{Answer, Engine};
use crate::{Loaded, ModelError, Port, Tensor, batch_of};

/// A request in the queue.
struct Job {
    inputs: Vec<Tensor>,
    reply: oneshot::Sender<Answer>,
}

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Too many wait.
    #[error("{0} requests wait for this model already: try again later")]
    Full(usize),
    /// Its thread is gone.
    #[error("the model has ended: load it again")]
    Ended,
    /// It does not run.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// A model that is ready.
pub(super) struct Held {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) backend: String,
    pub(super) platform: String,
    pub(super) notes: Vec<String>,
    pub(super) digest: String,
    /// What it counts for; the back ends do not tell what they use.
    pub(super) memory_bytes: u64,
    engine: Arc<Mutex<Engine>>,
    queue: SyncSender<Job>,
    queue_limit: usize,
    /// Requests that are on their way or wait.
    open: Arc<AtomicUsize>,
    last_used: Mutex<Instant>,
}

impl Held {
    /// Starts the thread of a model.
    pub(super) fn start(loaded: Loaded, settings: &Settings) -> std::io::Result<Self> {
        let Loaded {
            model,
            digest,
            size_bytes,
            ..
        } = loaded;
        let (queue, jobs) = sync_channel(settings.queue.max(1));
        let is_free = batch_of(model.inputs()) == Some(None);
        let (inputs, outputs) = (model.inputs().to_vec(), model.outputs().to_vec());
        let open = Arc::new(AtomicUsize::new(0));
        let held = Self {
            inputs,
            outputs,
            metadata: model.metadata().clone(),
            backend: model.backend().to_owned(),
            platform: model.platform().to_owned(),
            notes: model.notes().to_vec(),
            digest,
            memory_bytes: memory_of(size_bytes),
            engine: Arc::new(Mutex::new(Engine::new(model))),
            queue,
            queue_limit: settings.queue.max(1),
            open: Arc::clone(&open),
            last_used: Mutex::new(Instant::now()),
        };
        let worker = Worker {
            is_free,
            engine: Arc::clone(&held.engine),
            settings: settings.clone(),
            jobs,
            open,
            next: None,
        };
        std::thread::Builder::new()
            .name("model".to_owned())
            .spawn(move || worker.work())?;
        Ok(held)
    }

    /// Runs it on a tensor for each input.
    pub(super) async fn ask(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, AskError> {
        crate::check_inputs(&self.inputs, &inputs)?;
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let _open = Open::new(&self.open);
        if let Some(answer) = self.run_here(&inputs) {
            return answer;
        }
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(Job { inputs, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(AskError::Full(self.queue_limit)),
            Err(TrySendError::Disconnected(_)) => return Err(AskError::Ended),
        }
        Ok(answer.await.map_err(|_| AskError::Ended)??)
    }

    /// Runs a request on this thread, if that takes next to nothing and the model is free.
    fn run_here(&self, inputs: &[Tensor]) -> Option<Result<Vec<Tensor>, AskError>> {
        match self.engine.try_lock() {
            Ok(mut engine) if engine.is_quick(inputs) => {
                Some(engine.run(inputs).map_err(AskError::Model))
            }
            Ok(_) | Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => Some(Err(AskError::Ended)),
        }
    }

    pub(super) fn last_used(&self) -> Instant {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests are on their way.
    pub(super) fn is_busy(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }
}

/// Weights as they are in the file, and once more as the back end arranges them.
pub(super) fn memory_of(size_bytes: u64) -> u64 {
    size_bytes.saturating_mul(2)
}

/// Counts a request while it lives, even if its client goes.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The thread of a model.
struct Worker {
    engine: Arc<Mutex<Engine>>,
    settings: Settings,
    jobs: Receiver<Job>,
    open: Arc<AtomicUsize>,
    /// Whether items of several requests may run together.
    is_free: bool,
    /// Taken from the queue, but not of the shape of those before.
    next: Option<Job>,
}

impl Worker {
    fn work(mut self) {
        while let Some(first) = self.next.take().or_else(|| self.jobs.recv().ok()) {
            let jobs = self.company(first);
            // Whoever gave up needs no answer.
            let mut jobs: Vec<Job> = jobs
                .into_iter()
                .filter(|job| !job.reply.is_closed())
                .collect();
            // If it does not work, one of them may be at fault: then each alone.
            if jobs.len() > 1
                && let Some(answers) = self.together(&jobs)
            {
                for (job, answer) in jobs.drain(..).zip(answers) {
                    let _ = job.reply.send(Ok(answer));
                }
            }
            for job in jobs {
                // Where it panicked under another thread it has ended.
                let Ok(mut engine) = self.engine.lock() else {
                    return;
                };
                let answer = engine.run(&job.inputs);
                drop(engine);
                let _ = job.reply.send(answer);
            }
        }
    }

    /// Those that run with a request.
    fn company(&mut self, first: Job) -> Vec<Job> {
        let mut jobs = vec![first];
        if !self.is_free {
            return jobs;
        }
        let mut rows = rows_of(&jobs[0]);
        let until = Instant::now() + self.settings.latency;
        while rows < self.settings.batch {
            let all_here = self.open.load(Ordering::Relaxed) <= jobs.len();
            let left = until.saturating_duration_since(Instant::now());
            let next = match all_here || left.is_zero() {
                true => self.jobs.try_recv().ok(),
                false => self.jobs.recv_timeout(left).ok(),
            };
            let Some(job) = next else { break };
            if rows + rows_of(&job) > self.settings.batch || !alike(&jobs[0], &job) {
                self.next = Some(job);
                break;
            }
            rows += rows_of(&job);
            jobs.push(job);
        }
        jobs
    }

    /// Runs requests as one; the outputs of each. `None` if that does not work.
    fn together(&mut self, jobs: &[Job]) -> Option<Vec<Vec<Tensor>>> {
        let ports = 0..jobs[0].inputs.len();
        let stacked = ports.map(|port| {
            let parts: Vec<&Tensor> = jobs.iter().map(|job| &job.inputs[port]).collect();
            Tensor::stack(&parts)
        });
        let inputs: Vec<Tensor> = stacked.collect::<Option<_>>()?;
        let total: usize = jobs.iter().map(rows_of).sum();
        let outputs = self.engine.lock().ok()?.run(&inputs).ok()?;
        if outputs
            .iter()
            .any(|output| output.shape().first() != Some(&total))
        {
            return None;
        }
        let mut start = 0;
        let mut answers = Vec::new();
        for job in jobs {
            let end = start + rows_of(job);
            let own: Option<Vec<Tensor>> = outputs.iter().map(|o| o.rows(start..end)).collect();
            answers.push(own?);
            start = end;
        }
        Some(answers)
    }
}

fn rows_of(job: &Job) -> usize {
    let first = job.inputs.first();
    let rows = first.and_then(|input| input.shape().first().copied());
    rows.unwrap_or(1)
}

/// Whether all inputs have the same shapes but for the first dimension, in which each request
/// must agree with itself.
fn alike(one: &Job, other: &Job) -> bool {
    let agrees = |job: &Job| {
        let rows = rows_of(job);
        let mut firsts = job.inputs.iter().map(|input| input.shape().first());
        rows > 0 && firsts.all(|first| first == Some(&rows))
    };
    let same = |(one, other): (&Tensor, &Tensor)| {
        one.shape().get(1..) == other.shape().get(1..)
            && one.values().element_type() == other.values().element_type()
    };
    agrees(one) && agrees(other) && one.inputs.iter().zip(&other.inputs).all(same)
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
