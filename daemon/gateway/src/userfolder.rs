//! Folders of jobs that run as somebody else than the gateway: `mizar-submit-as` makes them, as
//! that user, and where the gateway looks for a job's folder lies a link to it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use mizar_slurm::submit_as::Folder;
use mizar_slurm::{JobFile, Marker, SubmitAs};

use crate::shared::Shared;

/// Whose folder a job of `user` needs: none if the gateway's own.
#[must_use]
pub fn other<'a>(shared: &Shared, user: Option<&'a str>) -> Option<&'a str> {
    user.filter(|user| *user != shared.own_user)
}

/// Where the job of `marker` runs: in its user's folder, or in ours.
#[must_use]
pub fn place(shared: &Shared, marker: &Marker, user: Option<&str>) -> PathBuf {
    let ours = shared.folder(marker);
    let Some(user) = other(shared, user) else {
        return ours;
    };
    let work_dir = &shared.config.work_dir;
    let inner = ours.strip_prefix(work_dir).unwrap_or(&ours);
    SubmitAs::user_dir(work_dir, user).join(inner)
}

/// Why a folder is not there.
#[derive(Debug, thiserror::Error)]
pub enum UserFolderError {
    /// There is nobody who could make it.
    #[error("a job of `{user}` needs mizar-submit-as, which makes its folder: set slurm.submit_as")]
    NoHelper {
        /// The user.
        user: String,
    },
    /// The helper did not make it.
    #[error("cannot make the folder of a job of `{user}`")]
    Helper {
        /// The user.
        user: String,
        /// What it said.
        #[source]
        source: mizar_slurm::SubmitAsError,
    },
    /// The link to it.
    #[error("cannot link {} to a user's folder", .path.display())]
    Link {
        /// Where the link belongs.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Makes the folder of a job of `user`, with what it finds there.
///
/// # Errors
/// [`UserFolderError`].
pub fn make(
    shared: &Shared,
    marker: &Marker,
    user: &str,
    files: Vec<JobFile>,
    links: Vec<(String, String)>,
) -> Result<(), UserFolderError> {
    let socket = shared.config.slurm.submit_as.clone();
    let socket = socket.ok_or_else(|| UserFolderError::NoHelper {
        user: user.to_owned(),
    })?;
    let ours = shared.folder(marker);
    let theirs = place(shared, marker, Some(user));
    let path = ours.strip_prefix(&shared.config.work_dir).unwrap_or(&ours);
    let folder = Folder {
        path: path.display().to_string(),
        files,
        links,
    };
    SubmitAs::new(socket)
        .prepare(user, folder)
        .map_err(|source| UserFolderError::Helper {
            user: user.to_owned(),
            source,
        })?;
    link(&ours, &theirs).map_err(|source| UserFolderError::Link { path: ours, source })
}

/// Puts a link where the folder would be; an earlier try may have.
fn link(ours: &Path, theirs: &Path) -> io::Result<()> {
    if let Some(parent) = ours.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    match symlink(theirs, ours) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match std::fs::read_link(ours)? == *theirs {
                true => Ok(()),
                false => Err(error),
            }
        }
        other => other,
    }
}

/// Removes a job's folder; of another user's the link alone: what is in it is theirs.
///
/// # Errors
/// If the disk refuses.
pub fn remove(folder: &Path) -> io::Result<()> {
    let is_link = match folder.symlink_metadata() {
        Ok(found) => found.is_symlink(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let removed = match is_link {
        true => std::fs::remove_file(folder),
        false => std::fs::remove_dir_all(folder),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_goes_and_what_it_leads_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("svc/0a/x"), folder.path().join("theirs"));
        std::fs::create_dir(&theirs).unwrap();
        std::fs::write(theirs.join("result"), "1").unwrap();
        link(&ours, &theirs).unwrap();
        link(&ours, &theirs).unwrap();
        assert!(link(&ours, folder.path()).is_err(), "another user's");
        assert!(ours.join("result").exists());
        remove(&ours).unwrap();
        remove(&ours).unwrap();
        assert!(theirs.join("result").exists());
        remove(&theirs).unwrap();
        assert!(!theirs.exists());
    }
}
