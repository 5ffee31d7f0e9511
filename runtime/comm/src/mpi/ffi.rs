//! The calls into MPI: one safe function for each, all on `MPI_COMM_WORLD`.

#![allow(unsafe_code, reason = "the calls into MPI")]

use std::os::raw::{c_char, c_int, c_void};
use std::ptr;

use mpi::ffi;

use super::Pause;
use crate::{CommError, Result, Tag};

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

    /// Waits for all ranks without a processor of its own, as MPI's blocking calls would.
    pub(super) fn barrier(&self) -> Result<()> {
        // SAFETY: MPI writes the request and uses no other memory of ours.
        self.wait("MPI_Ibarrier", |request| unsafe {
            ffi::MPI_Ibarrier(self.comm, request)
        })
    }

    /// Starts an operation and looks now and then whether it is complete.
    fn wait(
        &self,
        operation: &'static str,
        start: impl FnOnce(*mut ffi::MPI_Request) -> c_int,
    ) -> Result<()> {
        // SAFETY: rsmpi's shim initialises this constant when the library is loaded.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        check(operation, start(&raw mut request))?;
        let (mut is_complete, mut pause) = (0, Pause::default());
        loop {
            // SAFETY: the request is that of `start`; one that failed is complete.
            check(operation, unsafe {
                let status = ffi::RSMPI_STATUS_IGNORE;
                ffi::MPI_Test(&raw mut request, &raw mut is_complete, status)
            })?;
            if is_complete != 0 {
                return Ok(());
            }
            pause.pause();
        }
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

    /// As [`broadcast`](Self::broadcast), waiting as [`barrier`](Self::barrier) does.
    pub(super) fn broadcast_length(&self, root: c_int, length: &mut u64) -> Result<()> {
        // SAFETY: MPI reads or writes one u64, which outlives the wait.
        self.wait("MPI_Ibcast", |request| unsafe {
            let to = (&raw mut *length).cast::<c_void>();
            ffi::MPI_Ibcast(to, 1, ffi::RSMPI_UINT64_T, root, self.comm, request)
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
