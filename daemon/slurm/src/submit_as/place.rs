//! Folders of users' jobs. As root only the two uppermost are made, `_users` and the user's own,
//! each checked on an open descriptor; everything below is made by a process of the user.
//!
//! A user's folder is theirs, and its group the gateway's (which must be a group of its own):
//! new files inherit it, so that the gateway can read a job's output, and others cannot.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

use super::{Folder, MAX_ORDER_BYTES, USERS_DIR};
use crate::jobfile::{self, Modes};

/// Of `_users`: everybody may pass, nobody may look.
const USERS_MODE: Mode = Mode::from_bits_truncate(0o711);

/// Of a user's folder; with the set-group-id bit.
const USER_MODE: Mode = Mode::from_bits_truncate(0o2750);

/// Bits of "others may write".
const WRITABLE: u32 = 0o022;

const FLAGS: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Makes sure that `user` has a folder below `work_dir`, and returns its path.
///
/// # Errors
/// If what is there belongs to somebody else.
pub(super) fn of_user(work_dir: &Path, user: &str, uid: Uid, group: Gid) -> io::Result<PathBuf> {
    let path = work_dir.join(USERS_DIR).join(user);
    let odd = |what: &str| io::Error::new(io::ErrorKind::PermissionDenied, what.to_owned());
    // The site's own path, which may lead over links.
    let base = open(
        work_dir,
        OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    make(&base, USERS_DIR)?;
    let users = openat(&base, USERS_DIR, FLAGS, Mode::empty())?;
    let found = fstat(&users)?;
    if found.st_uid != 0 || found.st_mode & WRITABLE != 0 {
        return Err(odd("the folder `_users` must be root's alone"));
    }
    fchmod(&users, USERS_MODE)?;
    make(&users, user)?;
    let own = openat(&users, user, FLAGS, Mode::empty())?;
    let found = fstat(&own)?;
    if found.st_uid == 0 {
        // Made just now, or left so by a kill: nobody but root can have put it into `_users`.
        fchown(&own, Some(uid), Some(group))?;
        fchmod(&own, USER_MODE)?;
    } else if found.st_uid != uid.as_raw() {
        return Err(odd("the user's folder belongs to somebody else"));
    }
    Ok(path)
}

fn make(parent: &impl AsFd, name: &str) -> io::Result<()> {
    match mkdirat(parent, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes a job's folder as stdin says, below the folder `user_dir`. It runs as the user.
///
/// # Errors
/// If the order leads elsewhere, or the disk refuses.
pub fn prepare_from_stdin(user_dir: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    let input = io::stdin().lock();
    input
        .take(u64::from(MAX_ORDER_BYTES))
        .read_to_end(&mut text)?;
    prepare(user_dir, &serde_json::from_slice(&text)?)
}

fn prepare(user_dir: &Path, folder: &Folder) -> io::Result<()> {
    let base = jobfile::inside(user_dir, &folder.path)?;
    jobfile::make(&base, &folder.files, &folder.links, Modes::GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobFile;

    #[test]
    fn a_folder_lies_below_its_users() {
        let user_dir = tempfile::tempdir().unwrap();
        let mut folder = Folder {
            path: "svc/0a/0abc".to_owned(),
            files: vec![JobFile::new("event.json", "{}")],
            links: vec![],
        };
        prepare(user_dir.path(), &folder).unwrap();
        let made = user_dir.path().join("svc/0a/0abc/event.json");
        assert_eq!(std::fs::read_to_string(made).unwrap(), "{}");
        for path in ["/tmp/x", "../x"] {
            folder.path = path.to_owned();
            assert!(prepare(user_dir.path(), &folder).is_err(), "{path}");
        }
    }
}
