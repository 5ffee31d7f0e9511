//! How far each container is: one small JSON file per container, replaced as a whole.
//!
//! The supervisor writes it, the gateway reads it. It belongs to the job's user, so what it says
//! is believed only where Slurm says nothing else.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::CONTAINERS;

/// Largest file that is read.
const MAX_BYTES: u64 = 64 << 10;

/// How far one container is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The start of the job that it is of: a requeued job starts anew.
    pub start: String,
    /// When it was started, in milliseconds since 1970.
    pub started_ms: Option<i64>,
    /// When it ended, in milliseconds since 1970.
    pub finished_ms: Option<i64>,
    /// How it ended: its exit code, or 128 plus the signal.
    pub exit_code: Option<i32>,
    /// Whether it is ready.
    pub ready: bool,
    /// What is worth telling.
    pub message: String,
}

/// The file of a container.
#[must_use]
pub fn path(folder: &Path, container: &str) -> PathBuf {
    folder.join(CONTAINERS).join(format!("{container}.json"))
}

/// The log of a container.
#[must_use]
pub fn log_path(folder: &Path, container: &str) -> PathBuf {
    folder.join(CONTAINERS).join(format!("{container}.log"))
}

/// Replaces the file of a container.
///
/// # Errors
/// If it cannot be written.
pub fn write(folder: &Path, container: &str, progress: &Progress) -> io::Result<()> {
    let path = path(folder, container);
    let part = path.with_extension("part");
    let text = serde_json::to_vec(progress)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(&text)?;
    std::fs::rename(part, path)
}

/// Reads the file of a container; whatever is no such file counts as none.
#[must_use]
pub fn read(folder: &Path, container: &str) -> Option<Progress> {
    let file = open_below(folder, &path(folder, container)).ok()?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_BYTES), &mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Opens a plain file that really lies below `folder`: the job can put links anywhere in it.
///
/// # Errors
/// If it cannot be opened, or lies elsewhere.
pub fn open_below(folder: &Path, path: &Path) -> io::Result<std::fs::File> {
    use std::os::fd::AsRawFd;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags((nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits())
        .open(path)?;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    if !file.metadata()?.is_file() || !real.starts_with(folder.canonicalize()?) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} leads out of its job's folder", path.display()),
        ));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_out_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(
            outside.path().join("a.json"),
            r#"{"start":"x","ready":true,"message":""}"#,
        )
        .unwrap();
        std::fs::create_dir(folder.path().join(CONTAINERS)).unwrap();
        std::os::unix::fs::symlink(outside.path().join("a.json"), path(folder.path(), "a"))
            .unwrap();
        assert_eq!(read(folder.path(), "a"), None);
        std::fs::remove_dir_all(folder.path().join(CONTAINERS)).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join(CONTAINERS)).unwrap();
        assert_eq!(read(folder.path(), "a"), None);
        std::fs::remove_file(folder.path().join(CONTAINERS)).unwrap();
        std::fs::create_dir(folder.path().join(CONTAINERS)).unwrap();
        let progress = Progress {
            exit_code: Some(3),
            ..Progress::default()
        };
        write(folder.path(), "a", &progress).unwrap();
        assert_eq!(read(folder.path(), "a"), Some(progress));
    }
}
