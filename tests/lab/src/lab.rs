//! A running lab: its daemons, its nodes, and how to reach them.

use crate::builder::LabBuilder;
use crate::config::{PARTITION, node_names};
use crate::database::Database;
use crate::guard::Guard;
use crate::node::{Node, NodeProcess};
use crate::plan::{MEMBER, Plan, START};
use crate::process::{Daemon, run, wait_until};
use crate::rest::{self, Rest};
use crate::{LabError, ffi};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long daemons may take to end by themselves.
const GRACE: Duration = Duration::from_millis(1500);

/// All daemons, in the order in which dropping them is harmless.
#[derive(Debug)]
pub(crate) struct Daemons {
    mizards: Vec<(String, NodeProcess)>,
    nodes: Vec<Node>,
    controller: Daemon,
    rest: Option<Rest>,
    database: Option<Database>,
    munged: Daemon,
}

impl Daemons {
    pub(crate) fn start(plan: &Plan) -> Result<Self, LabError> {
        let munged = plan.start_munged()?;
        let database = plan
            .builder
            .accounting
            .then(|| Database::start(plan))
            .transpose()?;
        let controller = plan.start_controller()?;
        let nodes = node_names(plan.builder.nodes);
        let nodes = nodes
            .iter()
            .map(|name| plan.start_node(name))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            mizards: Vec::new(),
            nodes,
            controller,
            rest: None,
            database,
            munged,
        })
    }

    fn node(&self, name: &str) -> Result<&Node, LabError> {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.ok_or_else(|| LabError::UnknownNode {
            node: name.to_owned(),
        })
    }

    /// Everything ends by itself within the grace period, or is killed: first what depends on
    /// others, then what they depend on.
    fn stop(mut self) {
        let deadline = Instant::now() + GRACE;
        for (_, mizard) in &mut self.mizards {
            mizard.terminate();
        }
        if let Some(rest) = &mut self.rest {
            rest.terminate();
        }
        self.controller.terminate();
        for (_, mizard) in &mut self.mizards {
            let _ = mizard.wait(deadline.saturating_duration_since(Instant::now()));
        }
        self.mizards.clear();
        self.nodes.clear();
        if let Some(rest) = &mut self.rest {
            rest.end_by(deadline);
        }
        self.controller.end_by(deadline);
        if let Some(database) = &mut self.database {
            database.terminate();
            database.end_by(Instant::now() + GRACE);
        }
        self.munged.terminate();
        self.munged.end_by(Instant::now() + GRACE);
    }
}

/// A private Slurm cluster. Dropping it stops it; so does the death of the process.
#[derive(Debug)]
pub struct Lab {
    // Fields drop in this order: the daemons, the guard, which then finds nothing left to
    // kill and removes the directory, and the plan with the lock and the ports.
    daemons: Option<Daemons>,
    guard: Option<Guard>,
    plan: Plan,
}

impl Lab {
    /// Starts describing a lab.
    #[must_use]
    pub fn builder() -> LabBuilder {
        LabBuilder::default()
    }

    pub(crate) fn assemble(plan: Plan, daemons: Daemons, guard: Guard) -> Self {
        Self {
            daemons: Some(daemons),
            guard: Some(guard),
            plan,
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    fn daemons(&mut self) -> &mut Daemons {
        self.daemons
            .as_mut()
            .expect("daemons are taken only by stop, which takes the lab")
    }

    pub(crate) fn await_nodes(&mut self) -> Result<(), LabError> {
        let count = self.plan.builder.nodes as usize;
        let mut query = self.command("sinfo");
        query.args(["-h", "-N", "-t", "idle", "-o", "%N"]);
        let log = self.plan.log("slurmctld.log");
        let daemons = self.daemons();
        let ready = wait_until("all nodes to be idle", START, || {
            daemons.controller.check()?;
            daemons.nodes.iter_mut().try_for_each(Node::check)?;
            let idle = query.output().ok().filter(|output| output.status.success());
            Ok(idle.is_some_and(|output| {
                output.stdout.iter().filter(|byte| **byte == b'\n').count() == count
            }))
        });
        ready.map_err(|error| match error {
            LabError::Timeout {
                awaited, seconds, ..
            } => {
                let detail = format!("; {} ends:\n{}", log.display(), crate::process::tail(&log));
                LabError::Timeout {
                    awaited,
                    seconds,
                    detail,
                }
            }
            other => other,
        })
    }

    /// Starts slurmrestd, if it is wanted.
    pub(crate) fn start_rest(&mut self) -> Result<(), LabError> {
        if self.plan.builder.rest {
            let started = Rest::start(&self.plan)?;
            self.daemons().rest = Some(started);
        }
        Ok(())
    }

    /// Returns the socket of the slurmrestd that takes its owner at his word.
    #[must_use]
    pub fn rest_socket(&self) -> PathBuf {
        rest::socket(&self.plan)
    }

    /// Returns the address of the slurmrestd that wants tokens of `scontrol token`.
    #[must_use]
    pub fn rest_address(&self) -> String {
        rest::address(&self.plan)
    }

    /// Kills (SIGKILL) the slurmrestd on the unix socket; without one does nothing.
    pub fn kill_slurmrestd(&mut self) {
        if let Some(rest) = &mut self.daemons().rest {
            rest.kill_local();
        }
    }

    /// Starts the slurmrestd on the unix socket again, if the lab has one.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start_slurmrestd(&mut self) -> Result<(), LabError> {
        let daemons = self.daemons.as_mut();
        match daemons.and_then(|daemons| daemons.rest.as_mut()) {
            Some(rest) => rest.start_local(&self.plan),
            None => Ok(()),
        }
    }

    /// Returns the directory that holds everything of the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.plan.dir()
    }

    /// Returns the runtime directory of a node: its `mizard` has the socket there.
    #[must_use]
    pub fn node_dir(&self, node: &str) -> PathBuf {
        self.dir().join("run").join(node)
    }

    /// Returns the names of all nodes.
    #[must_use]
    pub fn node_names(&self) -> Vec<String> {
        node_names(self.plan.builder.nodes)
    }

    /// Returns true if nodes have namespaces of their own (hostname, processes, /dev/shm).
    #[must_use]
    pub fn has_namespaces(&self) -> bool {
        self.plan.namespaces
    }

    /// Returns a TCP port of this lab that none of its daemons uses; `index` 0 to 12.
    #[must_use]
    pub fn spare_port(&self, index: u16) -> u16 {
        self.plan.ports.spare(index)
    }

    /// Returns what a command needs in its environment to use this lab.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        self.plan.env()
    }

    /// Returns where the configuration of this Slurm is.
    #[must_use]
    pub fn slurm_conf(&self) -> PathBuf {
        self.plan.slurm_conf()
    }

    /// Has the partition start jobs or let them wait: `UP`, `DOWN`.
    ///
    /// # Errors
    /// [`LabError`], of the command that does it.
    pub fn set_partition(&self, state: &str) -> Result<(), LabError> {
        let mut update = self.command("scontrol");
        let (name, state) = (
            format!("PartitionName={PARTITION}"),
            format!("State={state}"),
        );
        update.args(["update", &name, &state]);
        self.run_output(update).map(drop)
    }

    /// Returns a command with the lab's environment, free of any surrounding Slurm job's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.plan.command(program)
    }

    /// Runs a command; if it fails, its stderr is in the error.
    ///
    /// # Errors
    /// [`LabError::Spawn`] or [`LabError::Command`].
    pub fn run_output(&self, mut command: Command) -> Result<Output, LabError> {
        run(&mut command)
    }

    /// Starts `command` inside a node's namespaces. Its output goes to
    /// `log/<program>.<node>.log`, or the file that [`NodeProcess::log`] tells.
    ///
    /// # Errors
    /// [`LabError::UnknownNode`], or why it does not start.
    pub fn spawn_on_node(&self, node: &str, mut command: Command) -> Result<NodeProcess, LabError> {
        let program = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default();
        let log = self
            .plan
            .log(&format!("{}.{node}.log", program.to_string_lossy()));
        command.env("SLURMD_NODENAME", node).env(MEMBER, self.dir());
        self.running().node(node)?.spawn(command, &log)
    }

    /// Runs `command` inside a node's namespaces and returns its output.
    ///
    /// # Errors
    /// [`LabError::UnknownNode`], [`LabError::Spawn`] or [`LabError::Command`].
    pub fn run_on_node(&self, node: &str, mut command: Command) -> Result<Output, LabError> {
        command.env("SLURMD_NODENAME", node);
        self.running().node(node)?.enter(&mut command)?;
        run(&mut command)
    }

    fn running(&self) -> &Daemons {
        self.daemons
            .as_ref()
            .expect("daemons are taken only by stop, which takes the lab")
    }

    /// Kills a node like a power cut, with everything that runs on it.
    ///
    /// # Errors
    /// [`LabError::UnknownNode`].
    pub fn kill_node(&mut self, node: &str) -> Result<(), LabError> {
        let daemons = self.daemons();
        daemons.node(node)?;
        daemons
            .nodes
            .iter_mut()
            .filter(|known| known.name == node)
            .for_each(Node::kill);
        Ok(())
    }

    /// Starts a killed node again.
    ///
    /// # Errors
    /// [`LabError::UnknownNode`], or why it does not start.
    pub fn start_node(&mut self, node: &str) -> Result<(), LabError> {
        self.kill_node(node)?;
        let started = self.plan.start_node(node)?;
        let slot = self
            .daemons()
            .nodes
            .iter_mut()
            .find(|known| known.name == node);
        slot.map(|slot| *slot = started)
            .ok_or_else(|| LabError::UnknownNode {
                node: node.to_owned(),
            })
    }

    /// Returns the process id of slurmctld.
    #[must_use]
    pub fn slurmctld_pid(&self) -> u32 {
        self.running().controller.pid()
    }

    /// Kills slurmctld (SIGKILL). It saves its state every few seconds: like on any site, it
    /// may forget jobs that were submitted after the last time.
    pub fn kill_slurmctld(&mut self) {
        self.daemons().controller.kill();
    }

    /// Starts slurmctld again with its saved state, and waits until it answers.
    ///
    /// # Errors
    /// Why it does not start or answer.
    pub fn start_slurmctld(&mut self) -> Result<(), LabError> {
        self.daemons().controller.kill();
        let started = self.plan.start_controller()?;
        self.daemons().controller = started;
        let mut query = self.command("squeue");
        query.arg("-h");
        let controller = &mut self.daemons().controller;
        wait_until("slurmctld", START, || {
            controller.check()?;
            Ok(query.output().is_ok_and(|output| output.status.success()))
        })
    }

    /// Replaces plugstack.conf; every srun, sbatch and job that starts from now on reads it.
    ///
    /// # Errors
    /// [`LabError::File`].
    pub fn set_plugstack(&self, text: &str) -> Result<(), LabError> {
        let path = self.dir().join("etc/plugstack.conf");
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text).map_err(LabError::file("write", &fresh))?;
        std::fs::rename(&fresh, &path).map_err(LabError::file("replace", &path))
    }

    /// Keeps a node's mizard, killing the one before it.
    pub(crate) fn keep_mizard(&mut self, node: &str, mizard: NodeProcess) {
        let mizards = &mut self.daemons().mizards;
        mizards.retain(|(name, _)| name != node);
        mizards.push((node.to_owned(), mizard));
    }

    /// Returns the `mizard` of a node, to signal it or kill it.
    ///
    /// # Errors
    /// [`LabError::UnknownNode`] if the node has none.
    pub fn mizard(&mut self, node: &str) -> Result<&mut NodeProcess, LabError> {
        let found = self
            .daemons()
            .mizards
            .iter_mut()
            .find(|(name, _)| name == node);
        found
            .map(|(_, mizard)| mizard)
            .ok_or_else(|| LabError::UnknownNode {
                node: node.to_owned(),
            })
    }

    /// Stops the lab; a temporary directory is removed.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(daemons) = self.daemons.take() {
            daemons.stop();
        }
        self.guard.take();
    }
}

/// Returns true if this process may create what a node with its own namespaces needs.
#[must_use]
pub fn namespaces_available() -> bool {
    ffi::namespaces_allowed()
}
