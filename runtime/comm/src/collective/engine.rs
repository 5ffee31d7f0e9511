//! Collectives that go on while the caller computes: one thread owns the group and does what it
//! is asked in the order in which it is asked, which has to be the same on all ranks.
//!
//! Arrays belong to the operation until it is complete: it is given them and gives them back, so
//! nobody can touch them meanwhile, and an operation that nobody waits for harms nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Element, Group, Narrow};
use crate::{CommError, Communicator, ReduceOperation, Result};

type World = Group<Box<dyn Communicator>>;
/// Says whether the ranks are still together.
type Job = Box<dyn FnOnce(&mut World) -> bool + Send>;

/// The caller's end of a group that a thread of its own serves.
#[derive(Debug)]
pub struct Engine {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    rank: usize,
    size: usize,
    node_count: usize,
    traffic: Arc<Counters>,
}

/// What an engine has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Operations that were begun.
    pub collectives: u64,
    /// Bytes of the arrays that were given to them.
    pub bytes: u64,
    /// Time in operations that are complete, waiting for other ranks included.
    pub busy: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    collectives: AtomicU64,
    bytes: AtomicU64,
    busy_ns: AtomicU64,
}

/// An operation that was begun.
#[derive(Debug)]
#[must_use = "its result, or its failure, comes by `wait`"]
pub struct Pending<T> {
    result: Receiver<Result<Vec<T>>>,
    early: Option<Result<Vec<T>>>,
}

impl<T> Pending<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// [`CommError`] of the operation.
    pub fn wait(mut self) -> Result<Vec<T>> {
        if let Some(early) = self.early.take() {
            return early;
        }
        self.result.recv().unwrap_or(Err(CommError::EngineEnded))
    }

    /// Is it complete? Does not wait.
    pub fn is_complete(&mut self) -> bool {
        if self.early.is_none() {
            self.early = match self.result.try_recv() {
                Ok(result) => Some(result),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Err(CommError::EngineEnded)),
            };
        }
        self.early.is_some()
    }
}

impl Engine {
    /// Starts the thread, which opens the communicator (MPI wants to be called by the thread that
    /// opened it) and makes the group together with the other ranks.
    ///
    /// # Errors
    /// [`CommError`] of opening it or of making the group.
    pub fn start(
        open: impl FnOnce() -> Result<Box<dyn Communicator>> + Send + 'static,
        time_limit: Duration,
    ) -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (tell, told) = channel();
        let serve = move || {
            let opened = open().and_then(|comm| Group::new(comm, time_limit));
            match opened {
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
                Ok(mut group) => {
                    let shape = (group.rank(), group.size(), group.node_count());
                    let _ = tell.send(Ok(shape));
                    // Ends when the engine is dropped and all is done, or when the ranks have
                    // lost each other: what waits would only wait for its own time limit.
                    for job in queue {
                        if !job(&mut group) {
                            break;
                        }
                    }
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("mizar-comm".to_owned())
            .spawn(serve)
            .map_err(|source| CommError::NoThread { source })?;
        let (rank, size, node_count) = told.recv().unwrap_or(Err(CommError::EngineEnded))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            rank,
            size,
            node_count,
            traffic: Arc::default(),
        })
    }

    /// The caller's number.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many ranks there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many nodes they are on.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.node_count
    }

    /// What it has done so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let counters = &self.traffic;
        Traffic {
            collectives: counters.collectives.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            busy: Duration::from_nanos(counters.busy_ns.load(Ordering::Relaxed)),
        }
    }

    fn begin<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut World) -> Result<Vec<T>> + Send + 'static,
    ) -> Pending<T> {
        let (tell, result) = channel();
        let counters = Arc::clone(&self.traffic);
        counters.collectives.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let job: Job = Box::new(move |group| {
            let begin = Instant::now();
            let done = work(group);
            let busy_ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            counters.busy_ns.fetch_add(busy_ns, Ordering::Relaxed);
            let is_together = !matches!(&done, Err(error) if parts(error));
            // Nobody may wait for it any more.
            let _ = tell.send(done);
            is_together
        });
        if let Some(jobs) = &self.jobs {
            // A thread that is gone has dropped the other end of `result` too.
            let _ = jobs.send(job);
        }
        Pending {
            result,
            early: None,
        }
    }

    /// Begins [`Group::all_reduce`].
    pub fn all_reduce<T: Element>(
        &self,
        mut values: Vec<T>,
        operation: ReduceOperation,
    ) -> Pending<T> {
        self.begin(size_of_val(&values[..]), move |group| {
            group.all_reduce(&mut values, operation).map(|()| values)
        })
    }

    /// Begins [`Group::all_reduce_narrow`].
    pub fn all_reduce_narrow<W: Narrow>(&self, mut values: Vec<f32>) -> Pending<f32> {
        self.begin(values.len() * size_of::<W>(), move |group| {
            group.all_reduce_narrow::<W>(&mut values).map(|()| values)
        })
    }

    /// Begins [`Group::reduce_scatter`].
    pub fn reduce_scatter<T: Element>(
        &self,
        mut values: Vec<T>,
        operation: ReduceOperation,
    ) -> Pending<T> {
        self.begin(size_of_val(&values[..]), move |group| {
            group.reduce_scatter(&mut values, operation)
        })
    }

    /// Begins [`Group::all_gather`].
    pub fn all_gather<T: Element>(&self, part: Vec<T>) -> Pending<T> {
        self.begin(size_of_val(&part[..]), move |group| group.all_gather(&part))
    }

    /// Begins [`Group::broadcast`].
    pub fn broadcast<T: Element>(&self, root: usize, mut values: Vec<T>) -> Pending<T> {
        self.begin(size_of_val(&values[..]), move |group| {
            group.broadcast(root, &mut values).map(|()| values)
        })
    }

    /// Begins [`Group::all_to_all`].
    pub fn all_to_all<T: Element>(&self, values: Vec<T>) -> Pending<T> {
        self.begin(size_of_val(&values[..]), move |group| {
            group.all_to_all(&values)
        })
    }

    /// Returns once all ranks have called it and all that was begun before is done.
    ///
    /// # Errors
    /// [`CommError`] if a rank does not come.
    pub fn barrier(&self) -> Result<()> {
        let done: Pending<f32> = self.begin(0, |group| group.barrier().map(|()| Vec::new()));
        done.wait().map(drop)
    }
}

/// Is this the end of all that ranks do together?
fn parts(error: &CommError) -> bool {
    matches!(
        error,
        CommError::Lost { .. }
            | CommError::TimedOut { .. }
            | CommError::Mismatch { .. }
            | CommError::LengthMismatch { .. }
            | CommError::PeerFailed { .. }
            | CommError::Mpi { .. }
    )
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was told by the operation that had it.
            let _ = thread.join();
        }
    }
}
