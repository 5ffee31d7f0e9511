//! The user's own words: sections of a program, and figures of merit.

use mizar_core::clock::unix_ns;

use crate::session;

/// A section begins.
pub(crate) const BEGIN: u32 = 0;
/// A section ends.
pub(crate) const END: u32 = 1;
/// A figure.
const FIGURE: u32 = 2;

/// A section begins or ends; anything else than [`BEGIN`] and [`END`] says nothing.
pub(crate) fn mark(name: &str, kind: u32) {
    if kind == BEGIN || kind == END {
        add(name, kind, f64::NAN);
    }
}

/// A figure of merit.
pub(crate) fn figure(name: &str, value: f64) {
    add(name, FIGURE, value);
}

fn add(name: &str, kind: u32, value: f64) {
    // A control character could break what shows the name.
    let is_fit = !name.is_empty() && !name.chars().any(char::is_control);
    if is_fit && session::start() {
        session::mark(name, kind, value, unix_ns());
    }
}
