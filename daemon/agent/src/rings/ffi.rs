//! A process's ring as mapped memory, and the descriptor that came with it.

#![allow(
    unsafe_code,
    reason = "memory shared with another process, and its descriptor"
)]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use mizar_api::ring::{RING_BYTES, Ring};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use nix::sys::stat::fstat;

/// Why a descriptor is no ring.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingError {
    /// It could shrink under the reader, who would be killed by it.
    #[error("the memory is not sealed against shrinking")]
    NotSealed,
    /// It has another size.
    #[error("the memory has {found} bytes; a ring has {RING_BYTES}")]
    Size {
        /// Its size.
        found: i64,
    },
    /// It is no ring, or one of another release.
    #[error("the memory holds no ring of this release")]
    Unknown,
    /// The kernel refused.
    #[error("the memory cannot be mapped")]
    Map(#[source] io::Error),
}

/// What the kernel lets through in one message (`SCM_MAX_FD`). With room for fewer it would cut
/// the message, and which descriptors it had opened would not be known.
const MAX_DESCRIPTORS: usize = 253;

/// Reads from a socket; a descriptor that comes along is kept in `file`, further ones are
/// closed.
pub(crate) fn receive(
    socket: RawFd,
    block: &mut [u8],
    file: &mut Option<OwnedFd>,
) -> io::Result<usize> {
    let mut pieces = [IoSliceMut::new(block)];
    let mut control = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<UnixAddr>(socket, &mut pieces, Some(&mut control), flags)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part {
            for descriptor in descriptors {
                // SAFETY: the kernel has just opened it for this process, and nobody else
                // knows of it.
                let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
                file.get_or_insert(descriptor);
            }
        }
    }
    Ok(message.bytes)
}

/// A ring that another process writes, mapped for reading; unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: NonNull<Ring>,
    /// Device and number of the memory: the same ring may be offered again.
    pub(crate) identity: (u64, u64),
}

// SAFETY: a `Ring` is read through atomic words only, by any thread, and the mapping is this
// value's own.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the memory behind a descriptor from anybody.
    pub(crate) fn new(memory: &OwnedFd) -> Result<Self, RingError> {
        let seals = fcntl(memory, FcntlArg::F_GET_SEALS).map_err(|_| RingError::NotSealed)?;
        if !SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_SHRINK) {
            return Err(RingError::NotSealed);
        }
        let status = fstat(memory).map_err(|code| RingError::Map(code.into()))?;
        if status.st_size != RING_BYTES as i64 {
            return Err(RingError::Size {
                found: status.st_size,
            });
        }
        // SAFETY: a new mapping, wherever the kernel likes, of memory that has this length and
        // can lose none of it.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                RING_BYTES,
                libc::PROT_READ,
                libc::MAP_SHARED,
                memory.as_raw_fd(),
                0,
            )
        };
        let address = NonNull::new(address.cast::<Ring>())
            .filter(|_| address != libc::MAP_FAILED)
            .ok_or_else(|| RingError::Map(io::Error::last_os_error()))?;
        let mapping = Self {
            address,
            identity: (status.st_dev, status.st_ino),
        };
        let is_known = mapping.ring().is_known();
        is_known.then_some(mapping).ok_or(RingError::Unknown)
    }

    /// The ring.
    pub(crate) fn ring(&self) -> &Ring {
        // SAFETY: aligned to pages, as long as a `Ring`, mapped as long as `self`; it consists
        // of atomic words, so any content is valid, and writes of others are no races. Only
        // functions that read are called on it.
        unsafe { self.address.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and not used after this.
        unsafe { libc::munmap(self.address.as_ptr().cast(), RING_BYTES) };
    }
}
