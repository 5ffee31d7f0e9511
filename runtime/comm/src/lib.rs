//! One [`Communicator`] over MPI, over threads of one process, or over nobody else.
//!
//! The array engine and the trainer speak to their peers only through this trait, so the same
//! code runs under `srun`, inside a test and on a laptop. [`world`] picks the back end: MPI is
//! initialised only where a launcher started the process under it, because a plain
//! `mizar cube` must not pay for `MPI_Init`.
//!
//! **Invariant:** a reduction gives the same bits whatever the back end, because values are
//! gathered in rank order and folded by us, never by `MPI_Allreduce`.
//!
//! Left out on purpose: any knowledge of what is sent; arrays of numbers, and operations that go
//! on meanwhile, are [`collective`]'s.

mod agree;
pub mod bench;
pub mod collective;
pub mod conformance;
mod files;
mod launch;
#[cfg(feature = "mpi")]
mod mpi;
mod random;
mod single;
mod threads;
mod watch;

use std::time::Duration;

pub use agree::{Shared, agree};
pub use files::Files;
pub use launch::{Launch, MODE_VARIABLE, world};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use single::Single;
pub use threads::{Threads, run_threads, threads};
pub use watch::{LostRank, Watch, end_process};

/// Names one stream of messages between two ranks; both sides must agree.
pub type Tag = u16;

/// Why ranks could not speak to each other.
#[derive(Debug, thiserror::Error)]
pub enum CommError {
    /// The rank does not exist here, or is the caller itself.
    #[error("rank {rank} cannot be {action} from rank {own} of {size}")]
    NoSuchRank {
        /// What was asked for.
        rank: usize,
        /// `sent to`, `received from`, or `a root`.
        action: &'static str,
        /// The caller.
        own: usize,
        /// How many there are.
        size: usize,
    },
    /// The peer is gone.
    #[error("rank {rank} ended early")]
    Lost {
        /// The peer.
        rank: usize,
    },
    /// Ranks disagree on the length of a reduction.
    #[error("rank {rank} brought {found} bytes to a reduction of {expected}")]
    LengthMismatch {
        /// The rank that differs.
        rank: usize,
        /// The caller's length in bytes.
        expected: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// An array cannot be cut into a part for each rank.
    #[error("{length} values cannot be cut into equal parts for {ranks} ranks")]
    Indivisible {
        /// How many values.
        length: usize,
        /// For how many ranks.
        ranks: usize,
    },
    /// A rank calls something else than the caller.
    #[error(
        "rank {rank} on {node} does {found}, here it is {expected}: ranks must call the same collectives in the same order"
    )]
    Mismatch {
        /// The rank that differs.
        rank: usize,
        /// Its node.
        node: String,
        /// What the caller calls.
        expected: String,
        /// What that rank calls.
        found: String,
    },
    /// A rank did not come.
    #[error(
        "rank {rank} on {node} did not come to {collective} within {limit_s} s: it hangs, computes on, or is lost"
    )]
    TimedOut {
        /// The rank that was waited for.
        rank: usize,
        /// Its node.
        node: String,
        /// What was to be done together.
        collective: &'static str,
        /// How long the caller waited.
        limit_s: f64,
    },
    /// Another rank could not go on.
    #[error("rank {rank} gave up: {message}")]
    PeerFailed {
        /// Which.
        rank: usize,
        /// What it says.
        message: String,
    },
    /// A folder where ranks would meet cannot be used.
    #[error("the folder {path} {reason}")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No memory to share.
    #[error(
        "{bytes} bytes of shared memory at {path} could not be had; is /dev/shm full or too small?"
    )]
    SharedMemory {
        /// The file of it.
        path: std::path::PathBuf,
        /// How much.
        bytes: usize,
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no thread.
    #[error("no thread for communication could be started")]
    NoThread {
        /// Why.
        source: std::io::Error,
    },
    /// The thread that communicates ended early: with a panic, or because the ranks had lost each
    /// other, which the operation before said.
    #[error("the thread that communicates has ended")]
    EngineEnded,
    /// MPI said no.
    #[error("{operation} failed: {message}")]
    Mpi {
        /// The MPI function.
        operation: &'static str,
        /// `MPI_Error_string`.
        message: String,
    },
    /// MPI was initialised or finalised before.
    #[error("MPI can be opened only once in a process")]
    OpenedBefore,
    /// The launcher says MPI, this build has none.
    #[error("started under MPI, but this build of Mizar has no MPI (feature `mpi`)")]
    NotBuilt,
    /// The value of [`MODE_VARIABLE`] means nothing.
    #[error("{MODE_VARIABLE}={found}: expected auto, single or mpi")]
    UnknownMode {
        /// The value.
        found: String,
    },
}

/// What the crate's functions return.
pub type Result<T> = std::result::Result<T, CommError>;

/// How [`Communicator::all_reduce`] folds two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOperation {
    /// The sum.
    Sum,
    /// The smaller; NaN loses.
    Minimum,
    /// The larger; NaN loses.
    Maximum,
}

impl ReduceOperation {
    fn fold(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Sum => left + right,
            Self::Minimum => left.min(right),
            Self::Maximum => left.max(right),
        }
    }
}

/// A fixed group of ranks, numbered from 0, that exchange bytes.
///
/// All but [`send`](Self::send), [`receive`](Self::receive), [`rank`](Self::rank),
/// [`size`](Self::size) and [`abort`](Self::abort) are collective: every rank calls them, in
/// the same order. A rank must not send to itself.
pub trait Communicator {
    /// The caller's number.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// Hands `bytes` to `to`. May return before they arrive.
    ///
    /// # Errors
    /// [`CommError`] if the peer does not exist or is gone.
    fn send(&self, to: usize, tag: Tag, bytes: &[u8]) -> Result<()>;

    /// Waits for the next message of `from` with this tag.
    ///
    /// # Errors
    /// [`CommError`] if the peer does not exist or is gone.
    fn receive(&self, from: usize, tag: Tag) -> Result<Vec<u8>>;

    /// As [`receive`](Self::receive), but gives up after `limit`: `None`.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    fn receive_within(&self, from: usize, tag: Tag, limit: Duration) -> Result<Option<Vec<u8>>>;

    /// Ends all ranks at once with this exit code; the last resort.
    fn abort(&self, code: i32) -> !;

    /// Returns once all ranks have called it.
    ///
    /// # Errors
    /// [`CommError`] if a rank is gone.
    fn barrier(&self) -> Result<()> {
        self.gather(0, &[])?;
        self.broadcast(0, &mut Vec::new())
    }

    /// Replaces `buffer` on every rank by that of `root`.
    ///
    /// # Errors
    /// [`CommError`] if `root` does not exist or a rank is gone.
    fn broadcast(&self, root: usize, buffer: &mut Vec<u8>) -> Result<()> {
        check_root(self.rank(), self.size(), root)?;
        if self.rank() != root {
            *buffer = self.receive(root, TAG_COLLECTIVE)?;
            return Ok(());
        }
        for to in (0..self.size()).filter(|&to| to != root) {
            self.send(to, TAG_COLLECTIVE, buffer)?;
        }
        Ok(())
    }

    /// Brings every rank's bytes to `root`, in rank order; others get `None`.
    ///
    /// # Errors
    /// [`CommError`] if `root` does not exist or a rank is gone.
    fn gather(&self, root: usize, bytes: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        check_root(self.rank(), self.size(), root)?;
        if self.rank() != root {
            self.send(root, TAG_COLLECTIVE, bytes)?;
            return Ok(None);
        }
        let part = |from| {
            if from == root {
                Ok(bytes.to_vec())
            } else {
                self.receive(from, TAG_COLLECTIVE)
            }
        };
        (0..self.size()).map(part).collect::<Result<_>>().map(Some)
    }

    /// Brings every rank's bytes to every rank, in rank order.
    ///
    /// # Errors
    /// [`CommError`] if a rank is gone.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let parts = self.gather(0, bytes)?;
        let mut packed = parts.map_or_else(Vec::new, |parts| pack(&parts));
        self.broadcast(0, &mut packed)?;
        Ok(unpack(&packed))
    }

    /// Folds `values` over all ranks, element by element and in rank order, on every rank: the
    /// bits are the same on all of them and for every back end.
    ///
    /// # Errors
    /// [`CommError::LengthMismatch`] if ranks bring different lengths, or a rank is gone.
    fn all_reduce(&self, values: &mut [f64], operation: ReduceOperation) -> Result<()> {
        let own: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let parts = self.all_gather(&own)?;
        for (rank, part) in parts.iter().enumerate() {
            if part.len() != own.len() {
                let (expected, found) = (own.len(), part.len());
                return Err(CommError::LengthMismatch {
                    rank,
                    expected,
                    found,
                });
            }
            for (value, bytes) in values.iter_mut().zip(part.as_chunks::<8>().0) {
                let incoming = f64::from_le_bytes(*bytes);
                *value = if rank == 0 {
                    incoming
                } else {
                    operation.fold(*value, incoming)
                };
            }
        }
        Ok(())
    }
}

/// What points to a communicator is one.
macro_rules! through {
    ($pointer:ty) => {
        impl<C: Communicator + ?Sized> Communicator for $pointer {
            fn rank(&self) -> usize {
                (**self).rank()
            }
            fn size(&self) -> usize {
                (**self).size()
            }
            fn send(&self, to: usize, tag: Tag, bytes: &[u8]) -> Result<()> {
                (**self).send(to, tag, bytes)
            }
            fn receive(&self, from: usize, tag: Tag) -> Result<Vec<u8>> {
                (**self).receive(from, tag)
            }
            fn receive_within(
                &self,
                from: usize,
                tag: Tag,
                limit: Duration,
            ) -> Result<Option<Vec<u8>>> {
                (**self).receive_within(from, tag, limit)
            }
            fn abort(&self, code: i32) -> ! {
                (**self).abort(code)
            }
            fn barrier(&self) -> Result<()> {
                (**self).barrier()
            }
            fn broadcast(&self, root: usize, buffer: &mut Vec<u8>) -> Result<()> {
                (**self).broadcast(root, buffer)
            }
            fn gather(&self, root: usize, bytes: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
                (**self).gather(root, bytes)
            }
            fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
                (**self).all_gather(bytes)
            }
            fn all_reduce(&self, values: &mut [f64], operation: ReduceOperation) -> Result<()> {
                (**self).all_reduce(values, operation)
            }
        }
    };
}
through!(Box<C>);
through!(&C);

/// The stream that collectives made of messages use; callers' tags must differ from it.
const TAG_COLLECTIVE: Tag = Tag::MAX;

fn check_root(own: usize, size: usize, root: usize) -> Result<()> {
    if root < size {
        return Ok(());
    }
    Err(CommError::NoSuchRank {
        rank: root,
        action: "a root",
        own,
        size,
    })
}

fn check_peer(own: usize, size: usize, peer: usize, action: &'static str) -> Result<()> {
    if peer < size && peer != own {
        return Ok(());
    }
    Err(CommError::NoSuchRank {
        rank: peer,
        action,
        own,
        size,
    })
}

fn pack(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        packed.extend_from_slice(&(part.len() as u64).to_le_bytes());
        packed.extend_from_slice(part);
    }
    packed
}

/// Undoes [`pack`]; what it reads was packed by the root of the same program.
fn unpack(mut packed: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = packed.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (part, rest) = rest.split_at(length.min(rest.len()));
        parts.push(part.to_vec());
        packed = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn parts_survive_packing(parts: Vec<Vec<u8>>) {
            proptest::prop_assert_eq!(unpack(&pack(&parts)), parts);
        }
    }
}
