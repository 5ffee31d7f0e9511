//! Which file a function was loaded from.
#![allow(unsafe_code, reason = "the dynamic linker is asked")]

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The library that holds a function; `None` if the linker does not know.
#[must_use]
pub fn library_of(function: *const ()) -> Option<PathBuf> {
    // SAFETY: a structure of pointers, for which zeros are a value.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the address is only looked up; the structure is written.
    let found = unsafe { libc::dladdr(function.cast(), &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: not null; a string that lives as long as the library.
    let path = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
}
