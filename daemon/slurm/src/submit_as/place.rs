//! Folders of users' jobs. As root only the two uppermost are made, `_users` and the user's own,
//! each checked on an open descriptor; everything below is made by a process of the user.
//!
//! A user's folder is theirs, and its group the gateway's (which must be a group of its own):
//! new files inherit it, so that the gateway can read a job's output, and others cannot.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

use super::{Folder, MAX_ORDER_BYTES, USERS_DIR, is_inner};

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
    let inside = |base: &Path, path: &str| match is_inner(path) {
        true => Ok(base.join(path)),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{path}` leads out of the folder"),
        )),
    };
    let base = inside(user_dir, &folder.path)?;
    make_folder(&base)?;
    for file in &folder.files {
        let path = inside(&base, &file.path)?;
        match &file.data {
            None => make_folder(&path)?,
            Some(data) => {
                make_folder(path.parent().unwrap_or(&base))?;
                let bytes = STANDARD
                    .decode(data)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                write(
                    &path,
                    &bytes,
                    if file.is_executable { 0o750 } else { 0o640 },
                )?;
            }
        }
    }
    for (from, to) in &folder.links {
        let path = inside(&base, from)?;
        make_folder(path.parent().unwrap_or(&base))?;
        if path.symlink_metadata().is_err() {
            symlink(to, &path)?;
        }
    }
    Ok(())
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// Writes a file aside and renames it; what an earlier try left is replaced.
fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.part"));
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&part)?;
    file.write_all(bytes)?;
    // Slurm keeps the job over a power cut, which would leave it empty files.
    file.sync_all()?;
    drop(file);
    fs::rename(part, path)
}

#[cfg(test)]
mod tests {
    use super::super::File;
    use super::*;

    #[test]
    fn a_folder_is_made_as_ordered_and_again() {
        let user_dir = tempfile::tempdir().unwrap();
        let file = |path: &str, data: Option<&str>| File {
            path: path.to_owned(),
            data: data.map(|text| STANDARD.encode(text)),
            is_executable: path.ends_with(".sh"),
        };
        let mut folder = Folder {
            path: "svc/0a/0abc".to_owned(),
            files: vec![
                file("event.json", Some("{}")),
                file("in/job.sh", Some("#!/bin/sh\n")),
                file("out", None),
            ],
            links: vec![("in/node".to_owned(), "/scratch".to_owned())],
        };
        for _ in 0..2 {
            prepare(user_dir.path(), &folder).unwrap();
            let base = user_dir.path().join("svc/0a/0abc");
            assert_eq!(fs::read_to_string(base.join("event.json")).unwrap(), "{}");
            assert!(base.join("out").is_dir());
            assert_eq!(
                fs::read_link(base.join("in/node")).unwrap(),
                Path::new("/scratch")
            );
        }
        folder.files.push(file("../../x", Some("")));
        assert!(prepare(user_dir.path(), &folder).is_err());
        folder.files.clear();
        folder.path = "/tmp/x".to_owned();
        assert!(prepare(user_dir.path(), &folder).is_err());
    }
}
