//! The exported functions: NVML's, and the label.
#![allow(
    unsafe_code,
    reason = "a C interface is exported, and writes where its callers point"
)]
#![allow(
    non_snake_case,
    missing_docs,
    unreachable_pub,
    clippy::missing_safety_doc,
    reason = "names and contracts are those of NVML's header"
)]

mod counters;
mod devices;
mod events;

use std::ffi::{CString, c_char, c_uint};
use std::panic::catch_unwind;
use std::sync::OnceLock;

use nvml_wrapper_sys::bindings::nvmlDevice_t;

use crate::play::{self, Call, INVALID, NOT_SUPPORTED, SUCCESS, Status};

/// Runs a function's body; a panic becomes an error of the library's.
fn guard(body: impl FnOnce() -> Result<(), Status> + std::panic::UnwindSafe) -> Status {
    const UNKNOWN: Status = 999;
    match catch_unwind(body) {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(status)) => status,
        Err(_) => UNKNOWN,
    }
}

/// A call on a device whose answer is one value.
fn answer<T>(
    device: nvmlDevice_t,
    name: &str,
    place: *mut T,
    value: impl FnOnce(Call) -> Result<T, Status>,
) -> Status {
    let body = || put(place, value(play::call(device as usize, name)?)?);
    guard(std::panic::AssertUnwindSafe(body))
}

fn put<T>(place: *mut T, value: T) -> Result<(), Status> {
    if place.is_null() {
        return Err(INVALID);
    }
    // SAFETY: not null; the caller vouches for room for one value, by NVML's contract.
    unsafe { place.write(value) };
    Ok(())
}

/// Writes a text with its end; too little room is an error.
fn put_text(place: *mut c_char, room: c_uint, text: &str) -> Result<(), Status> {
    let text = CString::new(text).map_err(|_| INVALID)?;
    let bytes = text.as_bytes_with_nul();
    if place.is_null() || bytes.len() > room as usize {
        return Err(play::INSUFFICIENT_SIZE);
    }
    // SAFETY: the caller vouches for `room` bytes, and no more are written.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), place, bytes.len()) };
    Ok(())
}

/// Fills a caller's table of `count` entries; says how many there are if it is too small.
fn put_all<T: Copy>(place: *mut T, count: *mut c_uint, all: &[T]) -> Result<(), Status> {
    if count.is_null() {
        return Err(INVALID);
    }
    // SAFETY: not null, and the caller's own number.
    let room = unsafe { count.replace(all.len() as c_uint) } as usize;
    if all.is_empty() {
        return Ok(());
    }
    if place.is_null() || room < all.len() {
        return Err(play::INSUFFICIENT_SIZE);
    }
    // SAFETY: the caller vouches for `room` entries, and no more are written.
    unsafe { std::ptr::copy_nonoverlapping(all.as_ptr(), place, all.len()) };
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn mizar_replay_label() -> *const c_char {
    static LABEL: OnceLock<CString> = OnceLock::new();
    let label = LABEL.get_or_init(|| CString::new(play::label()).unwrap_or_default());
    label.as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Status {
    play::start()
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(text: *mut c_char, room: c_uint) -> Status {
    guard(|| put_text(text, room, &play::trace()?.script().driver))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetNVMLVersion(text: *mut c_char, room: c_uint) -> Status {
    guard(|| put_text(text, room, &play::trace()?.script().library))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> Status {
    guard(|| put(count, play::trace()?.script().gpu.len() as c_uint))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    device: *mut nvmlDevice_t,
) -> Status {
    guard(|| {
        let gpu = index as usize;
        play::trace()?.gpu(gpu).ok_or(INVALID)?;
        put(device, handle(gpu, None))
    })
}

fn handle(gpu: usize, instance: Option<usize>) -> nvmlDevice_t {
    std::ptr::without_provenance_mut(play::Place { gpu, instance }.handle())
}

/// For what the script has no word for.
fn no_word<T>() -> Result<T, Status> {
    Err(NOT_SUPPORTED)
}
