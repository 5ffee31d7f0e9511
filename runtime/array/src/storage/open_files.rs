//! How many files a process may have open: more than the usual 1,024 where that is allowed.
//!
//! Every input stays open while it is read, a NetCDF-4 file twice (by us and by the library), so
//! a long series of files meets the soft limit. Called when a file is opened; the limit is left
//! as it is until it is met.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::StorageError;

/// What the HDF5 library says when there is no descriptor left.
const TOO_MANY: &str = "Too many open files";

/// Opens by `open`; where that fails for want of descriptors, raises the soft limit to the hard
/// one and tries again.
pub(super) fn retried<T>(
    path: &Path,
    mut open: impl FnMut() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let opened = open();
    if !opened.as_ref().is_err_and(is_too_many) {
        return opened;
    }
    let opened = if raise() { open() } else { opened };
    opened.map_err(|error| match is_too_many(&error) {
        true => StorageError::TooManyFiles {
            path: path.to_owned(),
            limit: limits().0,
        },
        false => error,
    })
}

fn is_too_many(error: &StorageError) -> bool {
    match error {
        StorageError::Io { source, .. } => source.raw_os_error() == Some(Errno::EMFILE as i32),
        StorageError::Hdf5 { detail, .. } => detail.contains(TOO_MANY),
        _ => false,
    }
}

/// The soft and the hard limit.
fn limits() -> (u64, u64) {
    getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0))
}

/// Raises the soft limit to the hard one; whether that made room.
fn raise() -> bool {
    let (soft, hard) = limits();
    soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
}
