//! The communicator over `MPI_COMM_WORLD`.
//!
//! rsmpi finds and links the site's MPI; its raw functions are called here because its safe
//! layer aborts on errors, and errors are values in Mizar. A length travels before each
//! message, and long ones go in pieces, because MPI 3 counts in `int`.

mod ffi;

use std::os::raw::c_int;
use std::time::{Duration, Instant};

use crate::{Communicator, Result, Tag, check_peer, check_root};

/// The longest single MPI message: below 2^31 with room for the transport's own headers.
const CHUNK_BYTES: usize = 1 << 30;

/// Looks for a message before the processor is given away, and before the thread sleeps.
const LOOKS: u32 = 1 << 10;
const SLEEPS: u32 = 1 << 13;

/// How long a thread sleeps between looks.
const SLEEP: Duration = Duration::from_micros(50);

/// What a rank does between two looks whether others have come: the longer it waits, the less it
/// takes from them. MPI's own waits keep a processor busy, which others may need: ranks that share
/// it, threads that compute, the kernel's that write to disk.
#[derive(Debug, Default)]
struct Pause {
    looks: u32,
}

impl Pause {
    fn pause(&mut self) {
        self.looks = self.looks.saturating_add(1);
        match self.looks {
            0..LOOKS => std::hint::spin_loop(),
            LOOKS..SLEEPS => std::thread::yield_now(),
            _ => std::thread::sleep(SLEEP),
        }
    }

    /// Whether it is worth while to look at the clock.
    fn is_long(&self) -> bool {
        self.looks >= LOOKS
    }
}

/// All ranks that the launcher started. Not `Send`: only the thread that opened MPI calls it
/// (`MPI_THREAD_FUNNELED`).
#[derive(Debug)]
pub struct Mpi {
    world: ffi::World,
    rank: usize,
    size: usize,
    chunk_bytes: usize,
}

impl Mpi {
    /// Initialises MPI; dropping the value finalises it.
    ///
    /// # Errors
    /// [`CommError::OpenedBefore`](crate::CommError::OpenedBefore), or
    /// [`CommError::Mpi`](crate::CommError::Mpi) with what MPI says.
    pub fn open() -> Result<Self> {
        Self::open_with_chunks(CHUNK_BYTES)
    }

    /// As [`open`](Self::open), splitting messages longer than `chunk_bytes`: for tests.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_chunks(chunk_bytes: usize) -> Result<Self> {
        let world = ffi::World::open()?;
        let (rank, size) = world.rank_and_size()?;
        Ok(Self {
            world,
            rank,
            size,
            chunk_bytes: chunk_bytes.clamp(1, CHUNK_BYTES),
        })
    }

    /// The sum over all ranks as MPI makes it, to compare with ours: its bits may differ from run
    /// to run.
    ///
    /// # Errors
    /// [`CommError::Mpi`](crate::CommError::Mpi).
    pub fn sum_by_mpi(&self, from: &[f32], to: &mut [f32]) -> Result<()> {
        let length = from.len().min(to.len()).min(CHUNK_BYTES);
        self.world
            .all_reduce_sum(&from[..length], &mut to[..length])
    }

    /// Every rank's length in bytes, once all are here: what follows waits for nobody.
    fn lengths(&self, own: usize) -> Result<Vec<usize>> {
        self.world.barrier()?;
        let mut lengths = vec![0_u64; self.size];
        self.world.all_gather_length(own as u64, &mut lengths)?;
        Ok(lengths.into_iter().map(|length| length as usize).collect())
    }
}

/// Where each rank's bytes start in the concatenation of all, in MPI's `int`.
fn layout(lengths: &[usize]) -> (Vec<c_int>, Vec<c_int>) {
    let starts = lengths.iter().scan(0, |next, length| {
        *next += length;
        Some((*next - length) as c_int)
    });
    (
        lengths.iter().map(|&length| length as c_int).collect(),
        starts.collect(),
    )
}

fn split(joined: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = joined;
    let mut part = |&length: &usize| {
        let (part, tail) = rest.split_at(length);
        rest = tail;
        part.to_vec()
    };
    lengths.iter().map(&mut part).collect()
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&self, to: usize, tag: Tag, bytes: &[u8]) -> Result<()> {
        check_peer(self.rank, self.size, to, "sent to")?;
        self.world
            .send(to as c_int, tag, &(bytes.len() as u64).to_le_bytes())?;
        bytes
            .chunks(self.chunk_bytes)
            .try_for_each(|part| self.world.send(to as c_int, tag, part))
    }

    fn receive(&self, from: usize, tag: Tag) -> Result<Vec<u8>> {
        check_peer(self.rank, self.size, from, "received from")?;
        let mut length = [0; 8];
        self.world.receive(from as c_int, tag, &mut length)?;
        let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
        bytes
            .chunks_mut(self.chunk_bytes)
            .try_for_each(|part| self.world.receive(from as c_int, tag, part))?;
        Ok(bytes)
    }

    fn receive_within(&self, from: usize, tag: Tag, limit: Duration) -> Result<Option<Vec<u8>>> {
        check_peer(self.rank, self.size, from, "received from")?;
        let deadline = Instant::now() + limit;
        let mut pause = Pause::default();
        while !self.world.has_message(from as c_int, tag)? {
            if pause.is_long() && Instant::now() >= deadline {
                return Ok(None);
            }
            pause.pause();
        }
        self.receive(from, tag).map(Some)
    }

    fn barrier(&self) -> Result<()> {
        self.world.barrier()
    }

    fn broadcast(&self, root: usize, buffer: &mut Vec<u8>) -> Result<()> {
        check_root(self.rank, self.size, root)?;
        let mut length = buffer.len() as u64;
        self.world.broadcast_length(root as c_int, &mut length)?;
        buffer.resize(length as usize, 0);
        buffer
            .chunks_mut(self.chunk_bytes)
            .try_for_each(|part| self.world.broadcast(root as c_int, part))
    }

    fn gather(&self, root: usize, bytes: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        check_root(self.rank, self.size, root)?;
        let lengths = self.lengths(bytes.len())?;
        let total: usize = lengths.iter().sum();
        if total > self.chunk_bytes {
            // Message by message, which splits them; the root keeps rank order.
            if self.rank != root {
                return self.send(root, crate::TAG_COLLECTIVE, bytes).map(|()| None);
            }
            let part = |from| match from {
                _ if from == root => Ok(bytes.to_vec()),
                _ => self.receive(from, crate::TAG_COLLECTIVE),
            };
            return (0..self.size).map(part).collect::<Result<_>>().map(Some);
        }
        if total == 0 {
            return Ok((self.rank == root).then(|| vec![Vec::new(); self.size]));
        }
        let (counts, starts) = layout(&lengths);
        let mut joined = vec![0; if self.rank == root { total } else { 0 }];
        self.world
            .gather(root as c_int, bytes, &mut joined, &counts, &starts)?;
        Ok((self.rank == root).then(|| split(&joined, &lengths)))
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let lengths = self.lengths(bytes.len())?;
        let total: usize = lengths.iter().sum();
        if total > self.chunk_bytes {
            let mut joined = self
                .gather(0, bytes)?
                .map_or_else(Vec::new, |parts| parts.concat());
            self.broadcast(0, &mut joined)?;
            return Ok(split(&joined, &lengths));
        }
        if total == 0 {
            return Ok(vec![Vec::new(); self.size]);
        }
        let (counts, starts) = layout(&lengths);
        let mut joined = vec![0; total];
        self.world
            .all_gather(bytes, &mut joined, &counts, &starts)?;
        Ok(split(&joined, &lengths))
    }

    fn abort(&self, code: i32) -> ! {
        self.world.abort(code);
        std::process::exit(code)
    }
}
