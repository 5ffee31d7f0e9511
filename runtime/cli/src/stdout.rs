//! Printing to a pipe whose reader may leave early, as `head` does.

use std::io::{ErrorKind, Write as _};

/// Prints all of `text`; a reader that left is no failure.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    print_on(text).map(drop)
}

/// Prints all of `text`; is anybody still reading?
pub(crate) fn print_on(text: &str) -> std::io::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        outcome => outcome.map(|()| true),
    }
}
