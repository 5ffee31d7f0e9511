//! The library's own functions, declared in `mizar.h`.

use std::ffi::{CStr, c_char, c_double, c_int};

use crate::{hook, marks};

/// Marks the beginning (0) or the end (1) of a section of the program.
// SAFETY (of the name): the library's own.
#[unsafe(no_mangle)]
unsafe extern "C" fn mizar_mark(name: *const c_char, begin_or_end: c_int) {
    hook::unharmed(|| {
        // SAFETY: the header asks for a C string or null.
        let Some(name) = (unsafe { text(name) }) else {
            return;
        };
        marks::mark(&name, u32::try_from(begin_or_end).unwrap_or(u32::MAX));
    });
}

/// Notes a figure of merit.
// SAFETY (of the name): the library's own.
#[unsafe(no_mangle)]
unsafe extern "C" fn mizar_figure(name: *const c_char, value: c_double) {
    hook::unharmed(|| {
        // SAFETY: the header asks for a C string or null.
        let Some(name) = (unsafe { text(name) }) else {
            return;
        };
        marks::figure(&name, value);
    });
}

/// # Safety
/// `name` is null or a C string.
unsafe fn text(name: *const c_char) -> Option<String> {
    if name.is_null() {
        return None;
    }
    // SAFETY: by the contract of this function.
    let name = unsafe { CStr::from_ptr(name) };
    Some(name.to_string_lossy().into_owned())
}
