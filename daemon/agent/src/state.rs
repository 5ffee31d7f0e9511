//! The registry on disk: one JSON file a job in the state folder, replaced atomically.
//!
//! Not fsynced: it must survive the daemon's death, not the node's, which ends its jobs too.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use mizar_core::ids::JobId;
use mizar_node::process::ProcessTable;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::Mode;

use crate::registry::{Job, Phase, Registry};

/// Where jobs are kept, for one daemon at a time.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
    _lock: Flock<File>,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("another mizard keeps its state in {0}; give this one another `state_dir`")]
    Taken(PathBuf),
    #[error("cannot use the state folder {folder}")]
    Io {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl State {
    /// Opens the folder, making it for the daemon's eyes only.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Io {
            folder: folder.to_owned(),
            source,
        };
        let private = Mode::S_IRWXU.bits();
        DirBuilder::new()
            .recursive(true)
            .mode(private)
            .create(folder)
            .map_err(failed)?;
        let file = File::create(folder.join("lock")).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self {
                folder: folder.to_owned(),
                _lock: lock,
            }),
            Err((_, Errno::EWOULDBLOCK)) => Err(StateError::Taken(folder.to_owned())),
            Err((_, code)) => Err(failed(code.into())),
        }
    }

    pub(crate) fn save(&self, job: &Job) -> io::Result<()> {
        let target = self.path(JobId(job.info.id));
        let aside = target.with_extension("part");
        let write = || {
            let mut file = File::create(&aside)?;
            file.write_all(&serde_json::to_vec(job).map_err(io::Error::other)?)?;
            std::fs::rename(&aside, &target)
        };
        write().inspect_err(|_| {
            let _ = std::fs::remove_file(&aside);
        })
    }

    pub(crate) fn remove(&self, job: JobId) {
        if let Err(error) = std::fs::remove_file(self.path(job))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%job, %error, "cannot remove the job's state file");
        }
    }

    /// Reads back what was saved. Jobs whose processes run on are found by pid and start time;
    /// a task whose pid now belongs to another process has ended.
    pub(crate) fn load(&self, processes: &mut ProcessTable, now_ns: i64) -> io::Result<Registry> {
        let mut registry = Registry::default();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let parsed = std::fs::read(&path)
                .and_then(|bytes| serde_json::from_slice::<Job>(&bytes).map_err(io::Error::other));
            match parsed {
                Ok(mut job) => {
                    find_again(&mut job, processes, now_ns);
                    registry.jobs.insert(JobId(job.info.id), job);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "state file is left aside");
                    let _ = std::fs::rename(&path, path.with_extension("damaged"));
                }
            }
        }
        Ok(registry)
    }

    fn path(&self, job: JobId) -> PathBuf {
        self.folder.join(format!("{job}.json"))
    }
}

fn find_again(job: &mut Job, processes: &mut ProcessTable, now_ns: i64) {
    job.resumed = true;
    if matches!(job.phase, Phase::Digesting | Phase::Digested) {
        job.phase = Phase::Ending;
    }
    for task in job.steps.iter_mut().flat_map(|step| &mut step.tasks) {
        let found =
            task.start_ticks.is_some() && processes.start_ticks(task.info.pid) == task.start_ticks;
        task.present = found;
        if !found && task.info.end_ns.is_none() {
            task.info.end_ns = Some(now_ns);
        }
    }
}
