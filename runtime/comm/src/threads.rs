//! Ranks that are threads of one process: for tests, and for programs without MPI.
//!
//! A rank that returns or panics hangs up its channels, so its peers get
//! [`CommError::Lost`] instead of waiting for ever.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::{CommError, Communicator, Result, Tag, check_peer};

type Message = (Tag, Vec<u8>);

/// One rank of a group made by [`threads`] or [`run_threads`].
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    /// To each rank, itself included (unused).
    senders: Vec<Sender<Message>>,
    /// From each rank, with the messages that came before the tag that was waited for.
    receivers: Vec<(Receiver<Message>, RefCell<VecDeque<Message>>)>,
}

/// Runs `body` once a rank, each on its own thread, and returns the results in rank order.
///
/// # Panics
/// With the panic of a rank, once all have ended.
pub fn run_threads<T: Send>(size: usize, body: impl Fn(&Threads) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let body = &body;
        let run = |rank: Threads| scope.spawn(move || body(&rank));
        let handles: Vec<_> = threads(size).into_iter().map(run).collect();
        let join = |handle: std::thread::ScopedJoinHandle<'_, T>| handle.join();
        let ended: Vec<_> = handles.into_iter().map(join).collect();
        let unwind = |panic| std::panic::resume_unwind(panic);
        ended
            .into_iter()
            .map(|result| result.unwrap_or_else(unwind))
            .collect()
    })
}

/// The ranks of a group, each for a thread of its own: for an
/// [`Engine`](crate::collective::Engine), which keeps its communicator.
#[must_use]
pub fn threads(size: usize) -> Vec<Threads> {
    let mut senders: Vec<Vec<_>> = (0..size).map(|_| Vec::with_capacity(size)).collect();
    let mut receivers: Vec<Vec<_>> = (0..size).map(|_| Vec::with_capacity(size)).collect();
    for from in &mut senders {
        for to in &mut receivers {
            let (sender, receiver) = channel();
            from.push(sender);
            to.push((receiver, RefCell::default()));
        }
    }
    let ranks = senders.into_iter().zip(receivers).enumerate();
    ranks
        .map(|(rank, (senders, receivers))| Threads {
            rank,
            senders,
            receivers,
        })
        .collect()
}

impl Threads {
    /// The next message of `from` with this tag, of those that `next` brings; `None` if it
    /// brings none any more.
    fn take(
        &self,
        from: usize,
        tag: Tag,
        next: impl Fn(&Receiver<Message>) -> std::result::Result<Option<Message>, ()>,
    ) -> Result<Option<Vec<u8>>> {
        let (receiver, early) = &self.receivers[from];
        let mut early = early.borrow_mut();
        if let Some(place) = early.iter().position(|(found, _)| *found == tag) {
            return Ok(early.remove(place).map(|(_, bytes)| bytes));
        }
        loop {
            match next(receiver) {
                Ok(Some((found, bytes))) if found == tag => return Ok(Some(bytes)),
                Ok(Some(other)) => early.push_back(other),
                Ok(None) => return Ok(None),
                Err(()) => return Err(CommError::Lost { rank: from }),
            }
        }
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.senders.len()
    }

    fn send(&self, to: usize, tag: Tag, bytes: &[u8]) -> Result<()> {
        check_peer(self.rank, self.size(), to, "sent to")?;
        self.senders[to]
            .send((tag, bytes.to_vec()))
            .map_err(|_| CommError::Lost { rank: to })
    }

    fn receive(&self, from: usize, tag: Tag) -> Result<Vec<u8>> {
        check_peer(self.rank, self.size(), from, "received from")?;
        self.take(from, tag, |receiver| {
            receiver.recv().map(Some).map_err(|_| ())
        })
        .and_then(|bytes| bytes.ok_or(CommError::Lost { rank: from }))
    }

    fn receive_within(&self, from: usize, tag: Tag, limit: Duration) -> Result<Option<Vec<u8>>> {
        check_peer(self.rank, self.size(), from, "received from")?;
        let deadline = Instant::now() + limit;
        self.take(from, tag, |receiver| {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(message) => Ok(Some(message)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(()),
            }
        })
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_that_ends_early_is_an_error_for_those_who_wait() {
        let results = run_threads(3, |rank| {
            if rank.rank() == 1 {
                Ok(())
            } else {
                rank.barrier()
            }
        });
        assert!(results[1].is_ok());
        assert!(
            matches!(results[0], Err(CommError::Lost { rank: 1 })),
            "{results:?}"
        );
        assert!(
            matches!(results[2], Err(CommError::Lost { rank: 0 })),
            "{results:?}"
        );
    }
}
