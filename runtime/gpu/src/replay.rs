//! How a test double makes itself known: it exports one symbol more than the vendor's library.

use std::ffi::{CStr, c_char};

/// `const char *mizar_replay_label(void)`: what is replayed.
pub(crate) const SYMBOL: &[u8] = b"mizar_replay_label\0";

/// The type of [`SYMBOL`].
pub(crate) type LabelFunction = unsafe extern "C" fn() -> *const c_char;

/// The double's label; `None` for a vendor's own library.
pub(crate) fn label(library: &libloading::Library) -> Option<String> {
    ffi::call(library)
}

mod ffi {
    #![allow(
        unsafe_code,
        reason = "a symbol of a library opened at run time is called"
    )]

    use super::{CStr, LabelFunction, SYMBOL};

    pub(super) fn call(library: &libloading::Library) -> Option<String> {
        // SAFETY: the name is our own, so whoever exports it has given it our type.
        let function = unsafe { library.get::<LabelFunction>(SYMBOL) }.ok()?;
        // SAFETY: it takes nothing and returns a string that lives as long as the library.
        let text = unsafe { function() };
        if text.is_null() {
            return Some("unnamed recording".to_owned());
        }
        // SAFETY: checked not to be null; ends in a zero by the symbol's contract.
        Some(
            unsafe { CStr::from_ptr(text) }
                .to_string_lossy()
                .into_owned(),
        )
    }
}
