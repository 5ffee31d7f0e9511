//! Printing to a pipe whose reader may leave early, as `head` does.

use std::io::{ErrorKind, Write as _};

/// Prints all of `text`; a reader that left is no failure.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
