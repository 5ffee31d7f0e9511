//! The system's calls for files, where they block noticeably: outside of MPI, on the main thread,
//! for at least [`NOTICEABLE_NS`], on a regular file or a block device. A read from a socket or
//! a pipe that blocks is no I/O but waiting, and stays idle.
//!
//! C's `stdio` does not pass here (it calls the system inside of libc); Fortran's and Python's
//! files, HDF5 and NetCDF do.

use std::ffi::{c_int, c_void};

use libc::{iovec, off_t, size_t, ssize_t};
use mizar_api::calls::number;

use crate::ffi::symbols::Symbol;
use crate::hook;
use crate::session::{self, Outermost};

/// Shorter calls find their data in memory, or leave it there.
const NOTICEABLE_NS: u64 = 200_000;

const READ: usize = number("slow file read");
const WRITE: usize = number("slow file write");
const SYNC: usize = number("slow file sync");

/// Makes a call of the system, and counts it if it blocked. `errno` is the call's.
fn around(kind: usize, file: c_int, call: impl FnOnce() -> isize) -> isize {
    if !session::is_active() || !session::is_main() {
        return call();
    }
    let Some(_outermost) = Outermost::enter() else {
        return call();
    };
    let before = hook::unharmed(session::before_io).flatten();
    let result = call();
    let Some(before) = before else {
        return result;
    };
    let error = errno();
    hook::unharmed(|| {
        if session::since(before) >= NOTICEABLE_NS && is_storage(file) {
            let bytes = if kind == SYNC { 0 } else { result.max(0) };
            session::was_io(kind, before, bytes.cast_unsigned() as u64);
        }
    });
    set_errno(error);
    result
}

fn errno() -> c_int {
    // SAFETY: glibc's address of this thread's errno is always valid.
    unsafe { *libc::__errno_location() }
}

fn set_errno(error: c_int) {
    // SAFETY: likewise.
    unsafe { *libc::__errno_location() = error }
}

fn is_storage(file: c_int) -> bool {
    // SAFETY: an all-zero `stat` is valid, and is only written to.
    let status = unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        if libc::fstat(file, &raw mut status) != 0 {
            return false;
        }
        status
    };
    matches!(status.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFBLK)
}

/// What is done without the real function: nothing, as if it were not implemented.
fn nowhere() -> isize {
    set_errno(libc::ENOSYS);
    -1
}

macro_rules! transfers {
    ($($name:ident $kind:ident (file: c_int $(, $argument:ident: $type:ty)*) -> $result:ty;)*) => {$(
        // SAFETY (of the name): it takes the place of libc's function, as declared by POSIX,
        // and hands every argument on.
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(file: c_int $(, $argument: $type)*) -> $result {
            static REAL: Symbol = Symbol::new([
                concat!(stringify!($name), "\0"),
                concat!("__", stringify!($name), "\0"),
            ]);
            let Some(address) = REAL.address() else {
                return nowhere() as $result;
            };
            around($kind, file, || {
                // SAFETY: the function of that name, given what this one was given.
                unsafe {
                    let real: unsafe extern "C-unwind" fn(c_int $(, $type)*) -> $result =
                        std::mem::transmute(address);
                    real(file $(, $argument)*) as isize
                }
            }) as $result
        }
    )*};
}

transfers! {
    read READ (file: c_int, buffer: *mut c_void, size: size_t) -> ssize_t;
    write WRITE (file: c_int, buffer: *const c_void, size: size_t) -> ssize_t;
    pread READ (file: c_int, buffer: *mut c_void, size: size_t, offset: off_t) -> ssize_t;
    pread64 READ (file: c_int, buffer: *mut c_void, size: size_t, offset: off_t) -> ssize_t;
    pwrite WRITE (file: c_int, buffer: *const c_void, size: size_t, offset: off_t) -> ssize_t;
    pwrite64 WRITE (file: c_int, buffer: *const c_void, size: size_t, offset: off_t) -> ssize_t;
    readv READ (file: c_int, pieces: *const iovec, count: c_int) -> ssize_t;
    writev WRITE (file: c_int, pieces: *const iovec, count: c_int) -> ssize_t;
    fsync SYNC (file: c_int) -> c_int;
    fdatasync SYNC (file: c_int) -> c_int;
}
