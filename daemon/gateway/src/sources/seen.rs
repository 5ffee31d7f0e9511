//! A file of a folder at one moment: what makes it another version, how old that is, and its name in
//! the ledger. Used by the source of folders.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::message::digest;
use crate::ledger::now_ms;

/// The last part of a path.
pub(super) fn own_name(path: &OsStr) -> &OsStr {
    let bytes = path.as_bytes();
    let from = bytes.iter().rposition(|&byte| byte == b'/');
    OsStr::from_bytes(&bytes[from.map_or(0, |at| at + 1)..])
}

/// A file at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) size: u64,
    pub(super) modified_ns: i128,
    changed_ns: i128,
    pub(super) inode: u64,
}

impl Seen {
    /// What makes it another version.
    pub(super) fn version(&self) -> String {
        let parts = [
            self.size.to_string(),
            self.modified_ns.to_string(),
            self.inode.to_string(),
        ];
        digest(parts.iter().map(String::as_bytes))
    }

    /// Whether it has been as it is for long, by its own times.
    pub(super) fn is_old(&self, settle: Duration) -> bool {
        let newest = self.modified_ns.max(self.changed_ns) / 1_000_000;
        i128::from(now_ms()) - newest >= settle.as_millis().cast_signed()
    }
}

/// What a look at a file found; None if it is no file, or gone.
pub(super) fn look(path: &Path) -> Option<Seen> {
    let found = std::fs::symlink_metadata(path).ok()?;
    let nanoseconds = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
    found.is_file().then(|| Seen {
        size: found.len(),
        modified_ns: nanoseconds(found.mtime(), found.mtime_nsec()),
        changed_ns: nanoseconds(found.ctime(), found.ctime_nsec()),
        inode: found.ino(),
    })
}

/// The name in the ledger: that of the file, or after a slash its bytes where they are no text.
pub(super) fn item(name: &OsStr) -> String {
    match name.to_str() {
        Some(name) => name.to_owned(),
        None => format!("/{}", mizar_core::hex(name.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_any_bytes_are_told_apart() {
        assert_eq!(item(OsStr::new("ä")), "ä");
        assert_eq!(item(OsStr::from_bytes(b"\xff")), "/ff");
    }

    #[test]
    fn a_path_has_a_last_part() {
        for (path, name) in [("a", "a"), ("a/b", "b"), ("a/b/.c", ".c")] {
            assert_eq!(own_name(OsStr::new(path)), OsStr::new(name));
        }
    }
}
