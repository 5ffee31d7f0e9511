//! Folders that are either whole or absent, as stores of many files are.
//!
//! Several processes may fill one folder: the first creates it, the others
//! [`join`](PendingFolder::join) it, and each syncs the files that it wrote.

use std::fs::{DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::{sync_parent, temporary_beside, unfinished};

/// A folder being filled beside its final name.
///
/// [`commit`](Self::commit) makes it appear; dropping it removes what was written.
#[derive(Debug)]
pub struct PendingFolder {
    temporary: PathBuf,
    target: PathBuf,
    role: Role,
}

/// What dropping a [`PendingFolder`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It is removed.
    Owner,
    /// Nothing: another process owns it.
    Guest,
    /// Nothing: it has its final name.
    Done,
}

impl PendingFolder {
    /// Starts a new folder that will replace `target`, beside it.
    ///
    /// # Errors
    /// Whatever the file system says about creating a folder there.
    pub fn create(target: &Path) -> io::Result<Self> {
        let temporary = temporary_beside(target)?;
        // Held over both, so that `abandon_all` never meets a folder that is not listed.
        let mut listed = unfinished();
        DirBuilder::new().create(&temporary)?;
        listed.insert(temporary.clone());
        drop(listed);
        Ok(Self {
            temporary,
            target: target.to_owned(),
            role: Role::Owner,
        })
    }

    /// Fills a folder that another process [`create`](Self::create)d at
    /// [`temporary_path`](Self::temporary_path), and which only that one commits. If this process
    /// ends by [`abandon_all`](super::abandon_all), the folder goes with it.
    #[must_use]
    pub fn join(temporary: PathBuf, target: &Path) -> Self {
        unfinished().insert(temporary.clone());
        Self {
            temporary,
            target: target.to_owned(),
            role: Role::Guest,
        }
    }

    /// Where the files go until [`commit`](Self::commit).
    #[must_use]
    pub fn temporary_path(&self) -> &Path {
        &self.temporary
    }

    /// Puts the folder in the place of whatever stands under the final name, which is removed.
    /// The caller has synced the files in it; the folders are synced here. For a guest this does
    /// nothing.
    ///
    /// # Errors
    /// The first failing fsync or rename; the final name is then untouched.
    pub fn commit(mut self) -> io::Result<()> {
        if self.role == Role::Guest {
            return Ok(());
        }
        sync_folders(&self.temporary)?;
        let replaced = self.put_in_place()?;
        self.role = Role::Done;
        sync_parent(&self.target)?;
        if let Some(replaced) = replaced {
            // The new one is in place: the old one may only cost space.
            let _ = std::fs::remove_file(&replaced);
            remove(&replaced);
        }
        Ok(())
    }

    /// Renames; tells where the old one is now, if there was one.
    fn put_in_place(&self) -> io::Result<Option<PathBuf>> {
        if std::fs::symlink_metadata(&self.target).is_err() {
            std::fs::rename(&self.temporary, &self.target)?;
            return Ok(None);
        }
        let exchange = RenameFlags::RENAME_EXCHANGE;
        if renameat2(AT_FDCWD, &self.temporary, AT_FDCWD, &self.target, exchange).is_ok() {
            return Ok(Some(self.temporary.clone()));
        }
        // A file system that cannot exchange two names: for a moment there is none.
        let aside = temporary_beside(&self.target)?;
        std::fs::rename(&self.target, &aside)?;
        if let Err(error) = std::fs::rename(&self.temporary, &self.target) {
            std::fs::rename(&aside, &self.target)?;
            return Err(error);
        }
        Ok(Some(aside))
    }
}

impl Drop for PendingFolder {
    fn drop(&mut self) {
        unfinished().remove(&self.temporary);
        if self.role == Role::Owner {
            remove(&self.temporary);
        }
    }
}

/// Removes a folder that others may still write into: under another name they no longer find it.
pub(super) fn remove(folder: &Path) {
    let gone = folder.with_extension("gone");
    let found = match std::fs::rename(folder, &gone) {
        Ok(()) => gone.as_path(),
        Err(_) => folder,
    };
    // Nothing can be done about a folder that will not go away.
    let _ = std::fs::remove_dir_all(found);
}

/// Makes the names of all files in a folder durable.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::abandon_all;
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn filled(target: &Path, text: &str) -> PendingFolder {
        let pending = PendingFolder::create(target).unwrap();
        std::fs::create_dir(pending.temporary_path().join("inner")).unwrap();
        std::fs::write(pending.temporary_path().join("inner/file"), text).unwrap();
        pending
    }

    #[test]
    fn a_committed_folder_replaces_what_was_there() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("store");
        let read = || std::fs::read_to_string(target.join("inner/file")).unwrap();
        filled(&target, "one").commit().unwrap();
        assert_eq!(read(), "one");
        filled(&target, "two").commit().unwrap();
        assert_eq!(read(), "two");
        std::fs::remove_dir_all(&target).unwrap();
        std::fs::write(&target, "a file").unwrap();
        filled(&target, "three").commit().unwrap();
        assert_eq!(read(), "three");
        assert_eq!(names_in(parent.path()), ["store"]);
    }

    #[test]
    fn a_dropped_folder_leaves_the_old_one_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("store");
        filled(&target, "old").commit().unwrap();
        let pending = filled(&target, "half of the ne");
        let guest = PendingFolder::join(pending.temporary_path().to_owned(), &target);
        drop(guest);
        assert!(pending.temporary_path().exists(), "it is not the guest's");
        drop(pending);
        assert_eq!(names_in(parent.path()), ["store"]);
        assert_eq!(
            std::fs::read_to_string(target.join("inner/file")).unwrap(),
            "old"
        );
    }

    #[test]
    fn what_is_abandoned_cannot_appear() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("store");
        let pending = filled(&target, "one");
        let temporary = pending.temporary_path().to_owned();
        let guest = PendingFolder::join(temporary.clone(), &target);
        abandon_all();
        assert!(names_in(parent.path()).is_empty());
        assert!(std::fs::write(temporary.join("inner/late"), "x").is_err());
        assert!(pending.commit().is_err());
        drop(guest);
        assert!(names_in(parent.path()).is_empty());
    }
}
