//! The ring's memory.

use std::os::fd::{AsRawFd, OwnedFd};

use mizar_api::ring::{RING_BYTES, Ring};

/// Maps a ring for writing, for the life of the process.
pub(crate) fn map_ring(memory: &OwnedFd) -> Option<&'static Ring> {
    // SAFETY: a new mapping, wherever the kernel likes, of a file that has this length and is
    // sealed against shrinking.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            RING_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            memory.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping is aligned to pages, at least as long as a `Ring`, never unmapped, and
    // all zero, which is a valid `Ring`: it consists of atomic words only.
    Some(unsafe { &*address.cast::<Ring>() })
}
