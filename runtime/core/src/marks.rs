//! Marks of a Rust program: sections and figures of merit, which appear in the job's record under
//! `--mizar=comm`. Without the preloaded library all of this does nothing.
//!
//! ```
//! use mizar_core::marks;
//! {
//!     let _epoch = marks::section("epoch");
//!     marks::figure("loss", 0.25);
//! } // the section ends here
//! ```

mod ffi;

use std::ffi::CString;

/// A section of the program, which ends with the value.
#[derive(Debug)]
#[must_use = "the section ends when this is dropped"]
pub struct Section {
    name: Option<CString>,
}

/// A section begins. Sections may be nested; a name has up to 64 bytes.
pub fn section(name: &str) -> Section {
    // A name with a NUL is none; nobody is told.
    let name = CString::new(name).ok().filter(|_| ffi::is_active());
    if let Some(name) = &name {
        ffi::mark(name, ffi::BEGIN);
    }
    Section { name }
}

impl Drop for Section {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            ffi::mark(name, ffi::END);
        }
    }
}

/// Notes a figure of merit.
pub fn figure(name: &str, value: f64) {
    if let Some(name) = CString::new(name).ok().filter(|_| ffi::is_active()) {
        ffi::figure(&name, value);
    }
}

/// Is there anything that takes marks?
#[must_use]
pub fn is_active() -> bool {
    ffi::is_active()
}

#[cfg(test)]
mod tests {
    #[test]
    fn without_the_library_nothing_happens() {
        assert!(!super::is_active());
        let section = super::section("epoch");
        super::figure("loss", 1.0);
        super::figure("a\0b", f64::NAN);
        assert!(section.name.is_none());
    }
}
