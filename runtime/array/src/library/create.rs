//! Files being made: arrays, attributes, references, and writes of regions and whole chunks.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Failure, Handle, Outcome, locked};

/// A file being made.
#[derive(Debug)]
pub(crate) struct NewFile {
    handle: Handle,
}
