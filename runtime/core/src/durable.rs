//! Files and folders that are either whole or absent: write aside, fsync, rename, fsync the
//! folder that holds them.
//!
//! Every result under its final name goes through here, so that a full disk or a killed
//! process leaves the old file or none, never half of one. Folders are in [`folder`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod folder;

pub use folder::PendingFolder;

/// How long a process that has abandoned its files may take to end.
const ENDING: Duration = Duration::from_secs(1);

/// What this process has begun and not finished, for [`abandon_all`].
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every file and folder that is being written, for a process that is about to end
/// without dropping its [`PendingFile`]s and [`PendingFolder`]s; they can no longer be committed.
pub fn abandon_all() {
    for path in std::mem::take(&mut *unfinished()) {
        if std::fs::remove_file(&path).is_err() {
            folder::remove(&path);
        }
    }
}

/// A file being written beside its final name.
///
/// [`commit`](Self::commit) makes it appear; dropping it removes what was written.
#[derive(Debug)]
pub struct PendingFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl PendingFile {
    /// Starts a new file that will replace `target`, in the same folder.
    ///
    /// # Errors
    /// Whatever the file system says about creating a file there.
    pub fn create(target: &Path) -> io::Result<Self> {
        let temporary = temporary_beside(target)?;
        // Held over both, so that `abandon_all` never meets a file that is not listed.
        let mut listed = unfinished();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        listed.insert(temporary.clone());
        drop(listed);
        Ok(Self {
            file,
            temporary,
            target: target.to_owned(),
            committed: false,
        })
    }

    /// Where the bytes are until [`commit`](Self::commit): for libraries that open by path.
    #[must_use]
    pub fn temporary_path(&self) -> &Path {
        &self.temporary
    }

    /// Has a library make the file anew at its path. [`abandon_all`] comes before or after, never
    /// between: a file that was removed does not come back.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] if the file is abandoned already.
    pub fn made_by<T>(&self, make: impl FnOnce(&Path) -> T) -> io::Result<T> {
        let listed = unfinished();
        if !listed.contains(&self.temporary) {
            drop(listed);
            // Whoever abandoned it ends the process now, by the signal that the caller should see.
            std::thread::sleep(ENDING);
            let text = "the program is being stopped";
            return Err(io::Error::new(io::ErrorKind::Interrupted, text));
        }
        Ok(make(&self.temporary))
    }

    /// Flushes to disk and renames over the final name.
    ///
    /// # Errors
    /// The first failing fsync or rename; the final name is then untouched.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.target)?;
        self.committed = true;
        sync_parent(&self.target)
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        unfinished().remove(&self.temporary);
        if !self.committed {
            // Nothing can be done about a temporary file that will not go away.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `bytes` as the whole of `target`, durably and atomically.
///
/// # Errors
/// The first failing step; `target` is then as it was.
pub fn write(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = PendingFile::create(target)?;
    file.write_all(bytes)?;
    file.commit()
}

fn temporary_beside(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} names no file", target.display()),
        )
    })?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(
        ".{}.{:x}.part",
        std::process::id(),
        crate::clock::monotonic_ns()
    ));
    Ok(target.with_file_name(temporary))
}

fn sync_parent(target: &Path) -> io::Result<()> {
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_dropped_file_leaves_the_old_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("result.nc");
        write(&target, b"old").unwrap();
        let mut pending = PendingFile::create(&target).unwrap();
        pending.write_all(b"half of the ne").unwrap();
        drop(pending);
        assert_eq!(std::fs::read(&target).unwrap(), b"old");
        assert_eq!(names_in(folder.path()), ["result.nc"]);
    }

    #[test]
    fn what_is_abandoned_cannot_appear() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("result.nc");
        let pending = PendingFile::create(&target).unwrap();
        let made = pending.made_by(|path| std::fs::write(path, b"by a library"));
        assert!(made.unwrap().is_ok());
        abandon_all();
        assert!(names_in(folder.path()).is_empty());
        assert!(
            pending
                .made_by(|path| std::fs::write(path, b"again"))
                .is_err()
        );
        assert!(names_in(folder.path()).is_empty());
        assert!(pending.commit().is_err());
        assert!(names_in(folder.path()).is_empty());
    }

    #[test]
    fn a_committed_file_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("result.nc");
        write(&target, b"old").unwrap();
        write(&target, b"new").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
        assert_eq!(names_in(folder.path()), ["result.nc"]);
    }
}
