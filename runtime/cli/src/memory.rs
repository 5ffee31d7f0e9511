//! How freed memory is kept for what comes next.
//!
//! Called by commands that compute over large arrays step by step. Each step asks for the memory that
//! the step before gave back; the C library gives much of it to the system in between, and each of
//! its pages then costs a fault and zeros.

/// Freed memory that the process keeps at its end.
const KEPT_BYTES: i32 = 64 << 20;

/// Allocations up to this size are kept when they are freed: the largest that glibc allows.
const KEPT_ONE_BYTES: i32 = 32 << 20;

/// Has the allocator keep memory that is freed. Where it is not glibc's, nothing happens.
pub(crate) fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    ffi::keep_freed(KEPT_BYTES, KEPT_ONE_BYTES);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod ffi {
    #![allow(unsafe_code, reason = "a setting of the C library's allocator")]

    use nix::libc;

    pub(super) fn keep_freed(all_bytes: i32, one_bytes: i32) {
        // SAFETY: mallopt sets numbers under the allocator's own lock, and refuses those that it
        // cannot use.
        unsafe {
            libc::mallopt(libc::M_TRIM_THRESHOLD, all_bytes);
            libc::mallopt(libc::M_MMAP_THRESHOLD, one_bytes);
        }
    }
}
