//! The C interface itself: pointers become slices here and nowhere else.
#![allow(unsafe_code, reason = "a C interface")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::group::{Kind, NodeGroup};

thread_local! {
    static ERROR: RefCell<CString> = RefCell::default();
}

/// Runs a call; what goes wrong is kept as text for the thread.
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(call));
    let problem = match done {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(problem)) => problem,
        Err(_) => "an error in libmizar_collective.so itself: please report it".to_owned(),
    };
    let text = CString::new(problem.replace('\0', " ")).unwrap_or_default();
    ERROR.set(text);
    None
}

fn status(done: Option<()>) -> c_int {
    c_int::from(done.is_none())
}

/// The memory of the caller's numbers.
///
/// # Safety
/// `values` are `count` numbers of the kind, used by nobody else meanwhile.
unsafe fn bytes<'a>(values: *mut c_void, count: usize, kind: Kind) -> Result<&'a mut [u8], String> {
    let length = count.checked_mul(kind.bytes());
    let length = length.filter(|&length| isize::try_from(length).is_ok());
    let length = length.ok_or_else(|| format!("{count} numbers are more than there can be"))?;
    match (length, values.is_null()) {
        (0, _) => Ok(&mut []),
        (_, true) => Err("there are no numbers".to_owned()),
        // SAFETY: not null; the caller promises the length, and bytes need no alignment.
        (_, false) => Ok(unsafe { std::slice::from_raw_parts_mut(values.cast(), length) }),
    }
}

/// Why the last call of this thread failed. Valid until its next call.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mizar_group_error() -> *const c_char {
    ERROR.with_borrow(|text| text.as_ptr())
}

/// Makes the group of `size` ranks of this node that meet in `folder`; all call it together. A
/// null pointer tells of an error.
///
/// # Safety
/// `folder` is a string that ends with a zero.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mizar_group_create(
    folder: *const c_char,
    rank: u32,
    size: u32,
    time_limit_s: f64,
) -> *mut NodeGroup {
    let made = guarded(|| {
        if folder.is_null() {
            return Err("no folder was named".to_owned());
        }
        // SAFETY: the caller promises a string that ends with a zero.
        let folder = unsafe { CStr::from_ptr(folder) };
        let folder = folder.to_str().map_err(|_| "the folder is not UTF-8")?;
        let limit = Duration::try_from_secs_f64(time_limit_s)
            .map_err(|_| format!("{time_limit_s} s is no time limit"))?;
        NodeGroup::meet(Path::new(folder), rank as usize, size as usize, limit)
    });
    made.map_or(std::ptr::null_mut(), |group| Box::into_raw(Box::new(group)))
}

/// Replaces `count` numbers of `kind` (1: f32, 2: f64, 3: f16, 4: bf16) by their sum over all
/// ranks, or with `mean` by that over `mean`.
///
/// # Safety
/// `group` came from [`mizar_group_create`]; `values` are `count` such numbers, aligned.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mizar_group_all_reduce(
    group: *mut NodeGroup,
    values: *mut c_void,
    count: usize,
    kind: c_int,
    mean: f64,
) -> c_int {
    status(guarded(|| {
        // SAFETY: the caller promises a group of ours, used by one thread at a time.
        let group = unsafe { group.as_mut() }.ok_or("there is no group")?;
        let kind = Kind::of(kind)?;
        // SAFETY: the caller promises so many numbers of the kind.
        let bytes = unsafe { bytes(values, count, kind) }?;
        group.all_reduce(bytes, kind, mean)
    }))
}

/// Replaces numbers by those of rank `root`.
///
/// # Safety
/// As [`mizar_group_all_reduce`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mizar_group_broadcast(
    group: *mut NodeGroup,
    values: *mut c_void,
    count: usize,
    kind: c_int,
    root: u32,
) -> c_int {
    status(guarded(|| {
        // SAFETY: as above.
        let group = unsafe { group.as_mut() }.ok_or("there is no group")?;
        let kind = Kind::of(kind)?;
        // SAFETY: as above.
        let bytes = unsafe { bytes(values, count, kind) }?;
        group.broadcast(bytes, kind, root as usize)
    }))
}

/// Returns once all have called it.
///
/// # Safety
/// As [`mizar_group_all_reduce`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mizar_group_barrier(group: *mut NodeGroup) -> c_int {
    status(guarded(|| {
        // SAFETY: as above.
        let group = unsafe { group.as_mut() }.ok_or("there is no group")?;
        group.barrier()
    }))
}

/// Lets go of a group. A null pointer is none.
///
/// # Safety
/// `group` came from [`mizar_group_create`] and is not used again.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mizar_group_free(group: *mut NodeGroup) {
    if !group.is_null() {
        // SAFETY: the caller promises that it is ours and is let go once.
        let group = unsafe { Box::from_raw(group) };
        let _ = guarded(|| {
            drop(group);
            Ok(())
        });
    }
}
