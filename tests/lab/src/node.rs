//! A node of the lab: a `slurmd` in namespaces of its own, and what else runs inside them.
//!
//! Without the right to create namespaces a node is a plain `slurmd -N`: then all nodes share
//! the machine's name, processes and /dev/shm, and `spawn` starts a plain process.

use crate::process::{Daemon, on_spawner, send_output_to, wait_until};
use crate::{LabError, ffi};
use nix::sys::signal::Signal;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    slurmd: Daemon,
    /// Process 1 of the node's PID namespace, as the owner sees it.
    init: Option<u32>,
}

impl Node {
    /// Starts `slurmd` (a command without `-N`) as node `name`.
    pub(crate) fn start(
        name: &str,
        mut slurmd: Command,
        hosts_file: Option<&Path>,
        log: &Path,
    ) -> Result<Self, LabError> {
        slurmd.args(["-D", "-N", name]);
        let Some(hosts_file) = hosts_file else {
            let slurmd = Daemon::start(&format!("slurmd of {name}"), slurmd, log)?;
            return Ok(Self {
                name: name.to_owned(),
                slurmd,
                init: None,
            });
        };
        send_output_to(&mut slurmd, log)?;
        let title = format!("slurmd of {name}");
        let failed = |source| LabError::Spawn {
            program: title.clone(),
            source,
        };
        let (reader, report) = std::io::pipe().map_err(failed)?;
        let hostname = c_string(Path::new(name)).map_err(failed)?;
        let hosts_file = c_string(hosts_file).map_err(failed)?;
        ffi::in_new_node(
            &mut slurmd,
            ffi::NewNode {
                hostname,
                hosts_file,
                report: report.into(),
            },
        );
        let child = on_spawner(move || slurmd.spawn()).map_err(failed)?;
        let init = read_pid(reader).map_err(failed)?;
        let slurmd = Daemon::adopt(&title, child, log);
        Ok(Self {
            name: name.to_owned(),
            slurmd,
            init: Some(init),
        })
    }

    pub(crate) fn check(&mut self) -> Result<(), LabError> {
        self.slurmd.check()
    }

    /// Kills the node like a power cut: nothing inside it gets to say goodbye.
    pub(crate) fn kill(&mut self) {
        match self.init {
            Some(init) if self.slurmd.ended().is_none() => ffi::signal(init, Signal::SIGKILL),
            _ => {}
        }
        self.slurmd.kill();
    }

    /// Starts `command` inside the node, with its output in `log`.
    pub(crate) fn spawn(&self, mut command: Command, log: &Path) -> Result<NodeProcess, LabError> {
        send_output_to(&mut command, log)?;
        let name = crate::process::describe(&command);
        let failed = |source| LabError::Spawn {
            program: name.clone(),
            source,
        };
        let Some(init) = self.init else {
            ffi::tie_to_parent(&mut command);
            let child = on_spawner(move || command.spawn()).map_err(failed)?;
            let pid = child.id();
            return Ok(NodeProcess {
                pid,
                keeper: Daemon::adopt(&name, child, log),
            });
        };
        let (reader, report) = std::io::pipe().map_err(failed)?;
        enter(&mut command, init, Some(report.into())).map_err(failed)?;
        let child = on_spawner(move || command.spawn()).map_err(failed)?;
        let keeper = Daemon::adopt(&name, child, log);
        let pid = read_pid(reader).map_err(failed)?;
        Ok(NodeProcess { pid, keeper })
    }

    /// Prepares `command` to run inside the node; its output stays where the caller has it.
    pub(crate) fn enter(&self, command: &mut Command) -> Result<(), LabError> {
        let Some(init) = self.init else { return Ok(()) };
        let program = crate::process::describe(command);
        enter(command, init, None).map_err(|source| LabError::Spawn { program, source })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes `command` enter the namespaces of `init` and write its process id to `report`.
fn enter(command: &mut Command, init: u32, report: Option<OwnedFd>) -> std::io::Result<()> {
    let open = |space: &str| -> std::io::Result<OwnedFd> {
        Ok(File::open(format!("/proc/{init}/ns/{space}"))?.into())
    };
    let work_dir = match command.get_current_dir() {
        Some(dir) => dir.to_owned(),
        None => std::env::current_dir()?,
    };
    let node = ffi::InNode {
        uts: open("uts")?,
        mount: open("mnt")?,
        pid: open("pid")?,
        work_dir: c_string(&work_dir)?,
        report,
    };
    ffi::in_node(command, node);
    Ok(())
}

/// A process that runs inside a node, and ends with it at the latest.
///
/// Dropping it kills the process.
#[derive(Debug)]
pub struct NodeProcess {
    pid: u32,
    /// The process that waits for it; the process itself without namespaces.
    keeper: Daemon,
}

impl NodeProcess {
    /// Returns the process id as this process, outside the node, sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the file that its stdout and stderr go to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.keeper.log().to_owned()
    }

    /// Sends it a signal; does nothing once it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.keeper.ended().is_none() {
            ffi::signal(self.pid, signal);
        }
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        // The keeper ends right after it; without a keeper this is the process.
        self.keeper.end_by(Instant::now() + Duration::from_secs(2));
    }

    /// Returns how it ended, or nothing while it runs. A deadly signal shows as exit code 128
    /// plus its number when nodes have namespaces.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.keeper.ended()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// [`LabError::Timeout`] if it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, LabError> {
        let mut status = None;
        wait_until("the end of a process", timeout, || {
            status = self.keeper.ended();
            Ok(status.is_some())
        })?;
        Ok(status.unwrap_or_default())
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_pid(mut reader: std::io::PipeReader) -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

fn c_string(path: &Path) -> std::io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(std::io::Error::other)
}
