//! The communicator over `MPI_COMM_WORLD`.
//!
//! rsmpi finds and links the site's MPI; its raw functions are called here because its safe
//! layer aborts on errors, and errors are values in Mizar. A length travels before each
//! message, and long ones go in pieces, because MPI 3 counts in `int`.

use std::os::raw::c_int;
use std::time::{Duration, Instant};

use crate::{CommError, Communicator, Result, Tag, check_peer, check_root};

/// The longest single MPI message: below 2^31 with room for the transport's own headers.
const CHUNK_BYTES: usize = 1 << 30;

/// Looks for a message before the processor is given away, and before the thread sleeps.
const LOOKS: u32 = 1 << 10;
const SLEEPS: u32 = 1 << 14;

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
    /// [`CommError::OpenedBefore`], or [`CommError::Mpi`] with what MPI says.
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
    /// [`CommError::Mpi`].
    pub fn sum_by_mpi(&self, from: &[f32], to: &mut [f32]) -> Result<()> {
        let length = from.len().min(to.len()).min(CHUNK_BYTES);
        self.world
            .all_reduce_sum(&from[..length], &mut to[..length])
    }

    /// Every rank's length in bytes.
    fn lengths(&self, own: usize) -> Result<Vec<usize>> {
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
        let mut looks = 0_u32;
        while !self.world.has_message(from as c_int, tag)? {
            looks = looks.saturating_add(1);
            match looks {
                0..LOOKS => std::hint::spin_loop(),
                _ if Instant::now() >= deadline => return Ok(None),
                LOOKS..SLEEPS => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(100)),
            }
        }
        self.receive(from, tag).map(Some)
    }

    fn barrier(&self) -> Result<()> {
        self.world.barrier()
    }

    fn broadcast(&self, root: usize, buffer: &mut Vec<u8>) -> Result<()> {
        check_root(self.rank, self.size, root)?;
        let mut length = (buffer.len() as u64).to_le_bytes();
        self.world.broadcast(root as c_int, &mut length)?;
        buffer.resize(u64::from_le_bytes(length) as usize, 0);
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

mod ffi {
    #![allow(unsafe_code, reason = "the calls into MPI")]

    use std::os::raw::{c_char, c_int, c_void};
    use std::ptr;

    use mpi::ffi;

    use super::{CommError, Result, Tag};

    /// Longer than `MPI_MAX_ERROR_STRING` of Open MPI (256) and MPICH (512).
    const ERROR_STRING_BYTES: usize = 1024;

    /// `MPI_COMM_WORLD` between `MPI_Init_thread` and `MPI_Finalize`.
    #[derive(Debug)]
    pub(super) struct World {
        comm: ffi::MPI_Comm,
    }

    fn check(operation: &'static str, code: c_int) -> Result<()> {
        if code == ffi::MPI_SUCCESS as c_int {
            return Ok(());
        }
        let mut text = [0_u8; ERROR_STRING_BYTES];
        let mut length: c_int = 0;
        // SAFETY: MPI writes at most MPI_MAX_ERROR_STRING bytes, which fit `text`.
        unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast::<c_char>(), &mut length) };
        let text = &text[..usize::try_from(length).unwrap_or(0).min(ERROR_STRING_BYTES)];
        Err(CommError::Mpi {
            operation,
            message: String::from_utf8_lossy(text).into_owned(),
        })
    }

    /// The datatype of bytes.
    fn bytes_type() -> ffi::MPI_Datatype {
        // SAFETY: rsmpi's shim initialises this constant when the library is loaded.
        unsafe { ffi::RSMPI_UINT8_T }
    }

    /// Where MPI reads from. The dangling address of an empty slice of bytes is 1, which is
    /// `MPI_IN_PLACE` for Open MPI: null instead.
    fn start(bytes: &[u8]) -> *const c_void {
        if bytes.is_empty() {
            ptr::null()
        } else {
            bytes.as_ptr().cast()
        }
    }

    /// Where MPI writes to; as [`start`].
    fn start_mut(bytes: &mut [u8]) -> *mut c_void {
        if bytes.is_empty() {
            ptr::null_mut()
        } else {
            bytes.as_mut_ptr().cast()
        }
    }

    impl World {
        pub(super) fn open() -> Result<Self> {
            let (mut before, mut provided): (c_int, c_int) = (0, 0);
            // SAFETY: MPI_Initialized may be called at any time; it writes one int.
            check("MPI_Initialized", unsafe {
                ffi::MPI_Initialized(&mut before)
            })?;
            if before != 0 {
                return Err(CommError::OpenedBefore);
            }
            // SAFETY: null arguments are allowed since MPI 2; MPI was not initialised before.
            check("MPI_Init_thread", unsafe {
                let funnelled = ffi::RSMPI_THREAD_FUNNELED;
                ffi::MPI_Init_thread(ptr::null_mut(), ptr::null_mut(), funnelled, &mut provided)
            })?;
            // SAFETY: rsmpi's shim initialises these constants when the library is loaded.
            let (comm, handler) = unsafe { (ffi::RSMPI_COMM_WORLD, ffi::RSMPI_ERRORS_RETURN) };
            // SAFETY: both handles are predefined and MPI is initialised.
            check("MPI_Comm_set_errhandler", unsafe {
                ffi::MPI_Comm_set_errhandler(comm, handler)
            })?;
            Ok(Self { comm })
        }

        pub(super) fn rank_and_size(&self) -> Result<(usize, usize)> {
            let (mut rank, mut size): (c_int, c_int) = (0, 0);
            // SAFETY: the communicator is valid; each call writes one int.
            check("MPI_Comm_rank", unsafe {
                ffi::MPI_Comm_rank(self.comm, &mut rank)
            })?;
            // SAFETY: as above.
            check("MPI_Comm_size", unsafe {
                ffi::MPI_Comm_size(self.comm, &mut size)
            })?;
            Ok((rank as usize, size as usize))
        }

        pub(super) fn barrier(&self) -> Result<()> {
            // SAFETY: the communicator is valid.
            check("MPI_Barrier", unsafe { ffi::MPI_Barrier(self.comm) })
        }

        pub(super) fn send(&self, to: c_int, tag: Tag, bytes: &[u8]) -> Result<()> {
            // SAFETY: MPI reads exactly `bytes`, and is done with it when the call returns.
            check("MPI_Send", unsafe {
                let count = bytes.len() as c_int;
                ffi::MPI_Send(
                    start(bytes),
                    count,
                    bytes_type(),
                    to,
                    c_int::from(tag),
                    self.comm,
                )
            })
        }

        pub(super) fn receive(&self, from: c_int, tag: Tag, bytes: &mut [u8]) -> Result<()> {
            // SAFETY: MPI writes at most `bytes`; a longer message is its error, not ours.
            check("MPI_Recv", unsafe {
                let count = bytes.len() as c_int;
                let (kind, status) = (bytes_type(), ffi::RSMPI_STATUS_IGNORE);
                ffi::MPI_Recv(
                    start_mut(bytes),
                    count,
                    kind,
                    from,
                    c_int::from(tag),
                    self.comm,
                    status,
                )
            })
        }

        pub(super) fn has_message(&self, from: c_int, tag: Tag) -> Result<bool> {
            let mut found: c_int = 0;
            // SAFETY: the communicator is valid; MPI writes one int and no status.
            check("MPI_Iprobe", unsafe {
                let status = ffi::RSMPI_STATUS_IGNORE;
                ffi::MPI_Iprobe(from, c_int::from(tag), self.comm, &mut found, status)
            })?;
            Ok(found != 0)
        }

        pub(super) fn broadcast(&self, root: c_int, bytes: &mut [u8]) -> Result<()> {
            // SAFETY: MPI reads or writes exactly `bytes`; all ranks pass the same length.
            check("MPI_Bcast", unsafe {
                let count = bytes.len() as c_int;
                ffi::MPI_Bcast(start_mut(bytes), count, bytes_type(), root, self.comm)
            })
        }

        pub(super) fn all_gather_length(&self, own: u64, all: &mut [u64]) -> Result<()> {
            // SAFETY: MPI reads one u64 and writes one a rank: `all` is as long as the size.
            check("MPI_Allgather", unsafe {
                let kind = ffi::RSMPI_UINT64_T;
                let from = (&raw const own).cast::<c_void>();
                let to = all.as_mut_ptr().cast::<c_void>();
                ffi::MPI_Allgather(from, 1, kind, to, 1, kind, self.comm)
            })
        }

        pub(super) fn all_reduce_sum(&self, from: &[f32], to: &mut [f32]) -> Result<()> {
            // SAFETY: both arrays are as long as the count; MPI reads one and writes the other.
            check("MPI_Allreduce", unsafe {
                ffi::MPI_Allreduce(
                    from.as_ptr().cast(),
                    to.as_mut_ptr().cast(),
                    from.len() as c_int,
                    ffi::RSMPI_FLOAT,
                    ffi::RSMPI_SUM,
                    self.comm,
                )
            })
        }

        pub(super) fn gather(
            &self,
            root: c_int,
            own: &[u8],
            joined: &mut [u8],
            counts: &[c_int],
            starts: &[c_int],
        ) -> Result<()> {
            // SAFETY: at the root `joined` holds the sum of `counts`, and `starts` are their
            // running sums; elsewhere MPI ignores the three.
            check("MPI_Gatherv", unsafe {
                ffi::MPI_Gatherv(
                    start(own),
                    own.len() as c_int,
                    bytes_type(),
                    start_mut(joined),
                    counts.as_ptr(),
                    starts.as_ptr(),
                    bytes_type(),
                    root,
                    self.comm,
                )
            })
        }

        pub(super) fn all_gather(
            &self,
            own: &[u8],
            joined: &mut [u8],
            counts: &[c_int],
            starts: &[c_int],
        ) -> Result<()> {
            // SAFETY: `joined` holds the sum of `counts`, and `starts` are their running sums.
            check("MPI_Allgatherv", unsafe {
                ffi::MPI_Allgatherv(
                    start(own),
                    own.len() as c_int,
                    bytes_type(),
                    start_mut(joined),
                    counts.as_ptr(),
                    starts.as_ptr(),
                    bytes_type(),
                    self.comm,
                )
            })
        }

        pub(super) fn abort(&self, code: c_int) {
            // SAFETY: the communicator is valid.
            unsafe { ffi::MPI_Abort(self.comm, code) };
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            if std::thread::panicking() {
                // The peers wait for us in a collective: MPI_Finalize would wait for them.
                self.abort(101);
            }
            // SAFETY: opened once, by `open`, and nothing uses it after this.
            unsafe { ffi::MPI_Finalize() };
        }
    }
}
