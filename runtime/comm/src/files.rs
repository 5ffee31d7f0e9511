//! A communicator over files in one private folder, for processes that no launcher of ours joined.
//!
//! Meant for what is said once, at the start: who is there, and where the shared memory is. Used by
//! `runtime/collective`, whose callers (Python) know each other already and name a folder.
//!
//! The folder must belong to the user and be closed to all others: what lies in it is believed.

use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{CommError, Communicator, Result, Tag};

/// Between looks for a message.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Ranks that meet in a folder.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    rank: usize,
    size: usize,
    time_limit: Duration,
    /// Messages so far, by peer, tag and whether they were sent.
    counts: Mutex<HashMap<(usize, Tag, bool), u64>>,
}

impl Files {
    /// Rank `rank` of `size`, which all name the same folder. Nothing else may be in it.
    ///
    /// # Errors
    /// [`CommError::Folder`] if it is not the user's alone.
    pub fn open(folder: &Path, rank: usize, size: usize, time_limit: Duration) -> Result<Self> {
        let failed = |reason: String| CommError::Folder {
            path: folder.to_owned(),
            reason,
        };
        let status =
            std::fs::symlink_metadata(folder).map_err(|error| failed(error.to_string()))?;
        if !status.is_dir() || status.uid() != nix::unistd::geteuid().as_raw() {
            return Err(failed("is not a folder of this user".to_owned()));
        }
        if status.permissions().mode() & 0o077 != 0 {
            return Err(failed(
                "is open to other users: chmod 700 closes it".to_owned(),
            ));
        }
        if rank >= size {
            return Err(failed(format!("has no place for rank {rank} of {size}")));
        }
        Ok(Self {
            folder: folder.to_owned(),
            rank,
            size,
            time_limit,
            counts: Mutex::default(),
        })
    }

    /// The file of the next message between two ranks, which is not counted yet.
    fn next(&self, peer: usize, tag: Tag, is_sent: bool) -> PathBuf {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let number = counts.get(&(peer, tag, is_sent)).copied().unwrap_or(0);
        let (from, to) = match is_sent {
            true => (self.rank, peer),
            false => (peer, self.rank),
        };
        self.folder.join(format!("{from}-{to}-{tag}-{number}"))
    }

    fn count(&self, peer: usize, tag: Tag, is_sent: bool) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((peer, tag, is_sent)).or_insert(0) += 1;
    }

    fn check(&self, peer: usize, action: &'static str) -> Result<()> {
        match peer < self.size && peer != self.rank {
            true => Ok(()),
            false => Err(CommError::NoSuchRank {
                rank: peer,
                action,
                own: self.rank,
                size: self.size,
            }),
        }
    }

    fn failed(&self, error: &std::io::Error) -> CommError {
        CommError::Folder {
            path: self.folder.clone(),
            reason: error.to_string(),
        }
    }
}

impl Communicator for Files {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&self, to: usize, tag: Tag, bytes: &[u8]) -> Result<()> {
        self.check(to, "sent to")?;
        let path = self.next(to, tag, true);
        let part = path.with_extension("part");
        std::fs::write(&part, bytes).map_err(|error| self.failed(&error))?;
        std::fs::rename(&part, &path).map_err(|error| self.failed(&error))?;
        self.count(to, tag, true);
        Ok(())
    }

    fn receive(&self, from: usize, tag: Tag) -> Result<Vec<u8>> {
        let found = self.receive_within(from, tag, self.time_limit)?;
        found.ok_or_else(|| CommError::TimedOut {
            rank: from,
            node: self.folder.display().to_string(),
            collective: "meeting",
            limit_s: self.time_limit.as_secs_f64(),
        })
    }

    fn receive_within(&self, from: usize, tag: Tag, limit: Duration) -> Result<Option<Vec<u8>>> {
        self.check(from, "received from")?;
        let path = self.next(from, tag, false);
        let begin = Instant::now();
        loop {
            match std::fs::read(&path) {
                Ok(bytes) => {
                    let _ = std::fs::remove_file(&path);
                    self.count(from, tag, false);
                    return Ok(Some(bytes));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failed(&error)),
            }
            if begin.elapsed() >= limit {
                return Ok(None);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
