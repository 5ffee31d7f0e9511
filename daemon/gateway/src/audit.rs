//! The audit log: one line of JSON for each call that changes something or is refused. Who, how,
//! from where, what, and what came of it; never a body, a query, a token or a password.
//!
//! A line is in the file before its call is answered, by one write at its end, so that a killed
//! gateway has told all that it answered; a thread syncs the file within [`SYNC_EVERY`], which is
//! what a power cut can take. A file that cannot be written is told in the log and by a metric, and
//! calls go on. SIGHUP opens the file anew, for programs that rotate logs.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest time until a line is on disk.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Longest text of a line: paths are whatever callers send.
const MAX_TEXT_BYTES: usize = 512;

/// Most jobs and services that a line names.
pub const MAX_TOUCHED: usize = 20;

/// The table `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The file, made with mode 600.
    pub file: PathBuf,
}

/// What a call was.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line<'a> {
    /// When it came (RFC 3339).
    pub time: String,
    /// Its number, which the answer's `x-request-id` has too.
    pub id: &'a str,
    /// Who called, and without `how` who was refused as nobody's; none if that was not proved.
    pub caller: Option<&'a str>,
    /// How that was proved.
    pub how: Option<&'a str>,
    /// The Unix user of the caller's jobs, if it is not the gateway's own.
    pub user: Option<&'a str>,
    /// The address that it came from: a proxy's, where one is in front.
    pub peer: Option<String>,
    /// `events`, `interlink`, `oscar` or `api`.
    pub door: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// Services, jobs and pods that it made or changed.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub touched: &'a [String],
    /// The status of the answer.
    pub status: u16,
    /// `done`, `refused` or `failed`.
    pub outcome: &'a str,
}

/// An open log.
pub struct AuditLog {
    path: PathBuf,
    file: Mutex<Arc<File>>,
    is_dirty: AtomicBool,
    is_failing: AtomicBool,
}

impl AuditLog {
    /// Opens the log, and starts the thread that syncs it, which ends with it.
    ///
    /// # Errors
    /// If the file cannot be opened, or others may read it.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        let log = Arc::new(Self {
            path: path.to_owned(),
            file: Mutex::new(Arc::new(open(path)?)),
            is_dirty: AtomicBool::new(false),
            is_failing: AtomicBool::new(false),
        });
        let watched = Arc::downgrade(&log);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || keep_synced(&watched))?;
        Ok(log)
    }

    /// Writes a line; false if that failed.
    pub fn write(&self, line: &Line<'_>) -> bool {
        let line = Line {
            path: shortened(line.path),
            method: shortened(line.method),
            ..line.clone()
        };
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        let file = self.current();
        let written = (&*file).write_all(&text);
        self.is_dirty.store(true, Ordering::SeqCst);
        self.told(written)
    }

    /// Opens the file anew; the old one is kept if that fails.
    pub fn reopen(&self) {
        self.sync();
        match open(&self.path) {
            Ok(file) => *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(file),
            Err(error) => {
                tracing::error!(%error, file = %self.path.display(), "cannot open the audit log anew");
            }
        }
    }

    /// Has all lines on disk.
    pub fn sync(&self) {
        if self.is_dirty.swap(false, Ordering::SeqCst) {
            self.told(self.current().sync_data());
        }
    }

    fn current(&self) -> Arc<File> {
        Arc::clone(&self.file.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says once that it fails, and once that it does not any more.
    fn told(&self, result: io::Result<()>) -> bool {
        let file = self.path.display();
        match result {
            Ok(()) if self.is_failing.swap(false, Ordering::SeqCst) => {
                tracing::info!(%file, "the audit log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                if !self.is_failing.swap(true, Ordering::SeqCst) {
                    tracing::error!(%error, %file, "cannot write the audit log");
                }
                return false;
            }
        }
        true
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let problem = format!("{} has mode {mode:o}; make it 600", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    Ok(file)
}

fn keep_synced(log: &Weak<AuditLog>) {
    loop {
        std::thread::sleep(SYNC_EVERY);
        let Some(log) = log.upgrade() else { return };
        log.sync();
    }
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_follow_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        std::fs::write(&path, "before\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(AuditLog::open(&path).is_err(), "others may read it");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let log = AuditLog::open(&path).unwrap();
        let long = format!("/a\n\"b\"/{}", "ü".repeat(600));
        let line = |id| Line {
            id,
            path: &long,
            status: 403,
            ..Line::default()
        };
        assert!(log.write(&line("1")));
        let old = folder.path().join("audit.1");
        std::fs::rename(&path, &old).unwrap();
        assert!(log.write(&line("2")));
        log.reopen();
        assert!(log.write(&line("3")));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let (first, second) = (read(&old), read(&path));
        assert_eq!((first.lines().count(), second.lines().count()), (3, 1));
        assert!(first.starts_with("before\n"));
        for text in first.lines().skip(1).chain(second.lines()) {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert!(value["path"].as_str().unwrap().len() <= MAX_TEXT_BYTES && text.len() < 1000);
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::os::unix::fs::symlink(&old, folder.path().join("link")).unwrap();
        assert!(AuditLog::open(&folder.path().join("link")).is_err());
    }
}
