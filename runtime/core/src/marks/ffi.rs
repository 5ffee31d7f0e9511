//! The preloaded library's two functions, looked up once.

#![allow(unsafe_code, reason = "functions of a C library that may be absent")]

use std::ffi::{CStr, c_char, c_double, c_int};
use std::sync::OnceLock;

use nix::libc;

pub(super) const BEGIN: c_int = 0;
pub(super) const END: c_int = 1;

type Mark = unsafe extern "C" fn(*const c_char, c_int);
type Figure = unsafe extern "C" fn(*const c_char, c_double);

fn address(name: &CStr) -> Option<usize> {
    // SAFETY: the name is a C string; the answer is an address or null.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize;
    (address != 0).then_some(address)
}

fn functions() -> Option<(Mark, Figure)> {
    static FUNCTIONS: OnceLock<Option<(Mark, Figure)>> = OnceLock::new();
    *FUNCTIONS.get_or_init(|| {
        let (mark, figure) = (address(c"mizar_mark")?, address(c"mizar_figure")?);
        // SAFETY: functions of these names have these types (`mizar.h`).
        unsafe {
            let mark = std::mem::transmute::<usize, Mark>(mark);
            Some((mark, std::mem::transmute::<usize, Figure>(figure)))
        }
    })
}

pub(super) fn is_active() -> bool {
    functions().is_some()
}

pub(super) fn mark(name: &CStr, kind: c_int) {
    if let Some((mark, _)) = functions() {
        // SAFETY: a C string, which the function only reads.
        unsafe { mark(name.as_ptr(), kind) }
    }
}

pub(super) fn figure(name: &CStr, value: f64) {
    if let Some((_, figure)) = functions() {
        // SAFETY: likewise.
        unsafe { figure(name.as_ptr(), value) }
    }
}
