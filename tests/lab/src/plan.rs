//! What a lab is made of, settled before anything starts, and how each daemon is started.

use crate::builder::LabBuilder;
use crate::config::SlurmConfig;
use crate::node::Node;
use crate::ports::Ports;
use crate::process::{Daemon, forget_outer_job, wait_until};
use crate::{LabError, packages};
use nix::fcntl::Flock;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A cold slurmctld and all nodes on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(60);
/// The mark by which the guard knows the lab's processes.
pub(crate) const MEMBER: &str = "MIZAR_LAB_MEMBER";

/// The directory of a lab and the lock on it.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    pub(crate) temporary: bool,
    pub(crate) lock: Option<Flock<std::fs::File>>,
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// What a lab is made of, settled before anything starts.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) builder: LabBuilder,
    pub(crate) home: Home,
    pub(crate) ports: Ports,
    pub(crate) user: String,
    pub(crate) namespaces: bool,
}

impl Plan {
    pub(crate) fn dir(&self) -> &Path {
        &self.home.dir
    }

    pub(crate) fn slurm_conf(&self) -> PathBuf {
        self.dir().join("etc/slurm.conf")
    }

    pub(crate) fn slurm_config(&self) -> SlurmConfig<'_> {
        SlurmConfig {
            dir: self.dir(),
            user: &self.user,
            nodes: self.builder.nodes,
            cpus: self.builder.cpus,
            memory_mib: self.builder.memory_mib,
            gpus: self.builder.gpus,
            controller_port: self.ports.controller(),
            first_node_port: self.ports.first_node(),
            database_port: self.builder.accounting.then(|| self.ports.database()),
            tokens: self.builder.rest,
            extra: &self.builder.slurm_conf_extra,
        }
    }

    /// A daemon's command with the lab's environment and mark.
    pub(crate) fn daemon(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program);
        command.env(MEMBER, self.dir()).current_dir(self.dir());
        command
    }

    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let program = program.as_ref();
        let found = program
            .to_str()
            .filter(|name| !name.contains('/'))
            .and_then(|name| packages::locate(name, &self.builder.search_path));
        let mut command = Command::new(found.as_deref().map_or(program, Path::as_os_str));
        forget_outer_job(&mut command).envs(self.env());
        command
    }

    pub(crate) fn env(&self) -> Vec<(String, String)> {
        // Ranks outnumber CPUs, so waiting ones must yield; only the loopback device connects
        // the nodes; over TCP alone Open MPI's start does not race.
        let mut env = vec![
            ("SLURM_CONF", self.slurm_conf().display().to_string()),
            ("OMPI_MCA_mpi_yield_when_idle", "1".into()),
            ("OMPI_MCA_btl", "self,tcp".into()),
            ("OMPI_MCA_btl_tcp_if_include", "lo".into()),
            ("OMPI_MCA_oob_tcp_if_include", "lo".into()),
        ];
        if nix::unistd::geteuid().is_root() {
            env.push(("OMPI_ALLOW_RUN_AS_ROOT", "1".into()));
            env.push(("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1".into()));
        }
        env.into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir().join("log").join(name)
    }

    pub(crate) fn start_munged(&self) -> Result<Daemon, LabError> {
        let munge = self.dir().join("munge");
        let option = |name: &str, file: &str| format!("--{name}={}", munge.join(file).display());
        let mut command = self.daemon("munged");
        // A home directory that its group may write is no reason not to start.
        command
            .args([
                "--foreground",
                "--force",
                "--num-threads=4",
                "--group-update-time=-1",
            ])
            .args([
                option("key-file", "munge.key"),
                option("socket", "munge.sock"),
            ])
            .args([
                option("pid-file", "munged.pid"),
                option("log-file", "munged.log"),
            ])
            .arg(option("seed-file", "munged.seed"));
        let mut munged = Daemon::start("munged", command, &self.log("munged.out"))?;
        let socket = munge.join("munge.sock");
        wait_until("munged", START, || {
            munged.check()?;
            Ok(std::os::unix::net::UnixStream::connect(&socket).is_ok())
        })?;
        Ok(munged)
    }

    pub(crate) fn start_controller(&self) -> Result<Daemon, LabError> {
        let mut command = self.daemon("slurmctld");
        command.arg("-D");
        Daemon::start("slurmctld", command, &self.log("slurmctld.out"))
    }

    pub(crate) fn start_node(&self, name: &str) -> Result<Node, LabError> {
        let hosts = self.dir().join("run/hosts");
        let hosts = self.namespaces.then_some(hosts.as_path());
        let log = self.log(&format!("slurmd.{name}.out"));
        Node::start(name, self.daemon("slurmd"), hosts, &log)
    }
}
