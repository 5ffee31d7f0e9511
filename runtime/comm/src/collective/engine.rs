//! Collectives that go on while the caller computes: one thread owns the group and does what it
//! is asked in the order in which it is asked, which has to be the same on all ranks.
//!
//! Arrays belong to the operation until it is complete: it is given them and gives them back, so
//! nobody can touch them meanwhile, and an operation that nobody waits for harms nobody.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Element, Group};
use crate::{CommError, Communicator, ReduceOperation, Result};

type World = Group<Box<dyn Communicator>>;
type Job = Box<dyn FnOnce(&mut World) + Send>;

/// The caller's end of a group that a thread of its own serves.
#[derive(Debug)]
pub struct Engine {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    rank: usize,
    size: usize,
    node_count: usize,
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
                    // Ends when the engine is dropped and all is done.
                    for job in queue {
                        job(&mut group);
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

    fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut World) -> Result<Vec<T>> + Send + 'static,
    ) -> Pending<T> {
        let (tell, result) = channel();
        let job: Job = Box::new(move |group| {
            // Nobody may wait for it any more.
            let _ = tell.send(work(group));
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
        self.begin(move |group| group.all_reduce(&mut values, operation).map(|()| values))
    }

    /// Begins [`Group::reduce_scatter`].
    pub fn reduce_scatter<T: Element>(
        &self,
        mut values: Vec<T>,
        operation: ReduceOperation,
    ) -> Pending<T> {
        self.begin(move |group| group.reduce_scatter(&mut values, operation))
    }

    /// Begins [`Group::all_gather`].
    pub fn all_gather<T: Element>(&self, part: Vec<T>) -> Pending<T> {
        self.begin(move |group| group.all_gather(&part))
    }

    /// Begins [`Group::broadcast`].
    pub fn broadcast<T: Element>(&self, root: usize, mut values: Vec<T>) -> Pending<T> {
        self.begin(move |group| group.broadcast(root, &mut values).map(|()| values))
    }

    /// Begins [`Group::all_to_all`].
    pub fn all_to_all<T: Element>(&self, values: Vec<T>) -> Pending<T> {
        self.begin(move |group| group.all_to_all(&values))
    }

    /// Returns once all ranks have called it and all that was begun before is done.
    ///
    /// # Errors
    /// [`CommError`] if a rank does not come.
    pub fn barrier(&self) -> Result<()> {
        let done: Pending<f32> = self.begin(|group| group.barrier().map(|()| Vec::new()));
        done.wait().map(drop)
    }
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
