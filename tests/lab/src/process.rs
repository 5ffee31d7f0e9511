//! Daemons that cannot outlive the process that started them.
//!
//! Every daemon gets a session of its own and the kernel's parent-death signal, so that even
//! `kill -9` of the owner takes it along. That signal is sent when the *thread* that forked
//! ends, hence one thread per process that forks for all labs and never ends.

use crate::LabError;
use crate::ffi;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

/// Between two looks at something that is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// How much of a daemon's log goes into an error.
const LOG_TAIL_BYTES: u64 = 2000;

type Job = Box<dyn FnOnce() + Send>;

/// Runs `spawn` on the thread that forks all daemons, and returns its result.
pub(crate) fn on_spawner<T: Send + 'static>(
    spawn: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        let run = move || jobs.into_iter().for_each(|job| job());
        // A failure to make the thread drops `jobs`, and the send below reports it.
        let _ = std::thread::Builder::new()
            .name("lab-spawner".into())
            .spawn(run);
        sender
    });
    let gone = || io::Error::other("the thread that starts daemons is gone");
    let (answer, result) = mpsc::channel();
    spawner
        .send(Box::new(move || {
            let _ = answer.send(spawn());
        }))
        .map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

/// A running daemon of the lab.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` with its output in `log`, tied to this process's life.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, LabError> {
        send_output_to(&mut command, log)?;
        ffi::tie_to_parent(&mut command);
        let child = on_spawner(move || command.spawn()).map_err(|source| LabError::Spawn {
            program: name.to_owned(),
            source,
        })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Takes over a child that was started by other means.
    pub(crate) fn adopt(name: &str, child: Child, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Returns how the daemon ended, or nothing while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        // An error means that somebody else reaped the child: it has ended.
        self.child
            .try_wait()
            .unwrap_or(Some(ExitStatus::from_raw(0)))
    }

    /// Fails if the daemon has ended.
    pub(crate) fn check(&mut self) -> Result<(), LabError> {
        let Some(status) = self.ended() else {
            return Ok(());
        };
        Err(LabError::DaemonEnded {
            daemon: self.name.clone(),
            status: status.to_string(),
            log: self.log.clone(),
            log_tail: tail(&self.log),
        })
    }

    pub(crate) fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(POLL);
        }
    }

    pub(crate) fn terminate(&mut self) {
        if self.ended().is_none() {
            ffi::signal(self.pid(), nix::sys::signal::Signal::SIGTERM);
        }
    }

    /// Kills the daemon and reaps it.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until `deadline` for the daemon to end, then kills it.
    pub(crate) fn end_by(&mut self, deadline: Instant) {
        if self
            .wait(deadline.saturating_duration_since(Instant::now()))
            .is_none()
        {
            self.kill();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends stdout and stderr of `command` to the end of `log`, and closes its stdin.
pub(crate) fn send_output_to(command: &mut Command, log: &Path) -> Result<(), LabError> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    let output = open().map_err(LabError::file("open", log))?;
    let error = output.try_clone().map_err(LabError::file("open", log))?;
    command.stdin(Stdio::null()).stdout(output).stderr(error);
    Ok(())
}

/// Removes what a surrounding Slurm job, MPI or site would have the command inherit.
pub(crate) fn forget_outer_job(command: &mut Command) -> &mut Command {
    const FOREIGN: [&str; 7] = [
        "SLURM", "SBATCH_", "SQUEUE_", "PMIX_", "PMI_", "OMPI_", "MIZARD_",
    ];
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if FOREIGN.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&key);
        }
    }
    command
}

/// The end of a log file, for an error message; empty if it cannot be read.
pub(crate) fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = std::fs::File::open(log)?;
        let size_bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(size_bytes.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_default()
}

/// Waits until `ready` says so; its error ends the wait at once.
pub(crate) fn wait_until(
    awaited: &str,
    timeout: Duration,
    mut ready: impl FnMut() -> Result<bool, LabError>,
) -> Result<(), LabError> {
    let start = Instant::now();
    while !ready()? {
        if start.elapsed() >= timeout {
            return Err(LabError::Timeout {
                awaited: awaited.to_owned(),
                seconds: timeout.as_secs_f64(),
                detail: String::new(),
            });
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Runs a command to its end; a failure carries what it wrote on stderr.
pub(crate) fn run(command: &mut Command) -> Result<std::process::Output, LabError> {
    let text = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| LabError::Spawn {
            program: text.clone(),
            source,
        })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(LabError::Command {
        command: text,
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The command as a person would type it, for messages only.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
