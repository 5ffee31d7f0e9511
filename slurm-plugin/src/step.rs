//! What the plugin knows and does about one step on one node, from before its tasks are forked
//! until it leaves. Pure but for the daemon: what Slurm knows comes in as [`Facts`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use mizar_api::{ClientError, Request, SOCKET_VARIABLE, StepRegistration, TaskRegistration};
use mizar_core::ids::{JobId, Rank, StepId};
use mizar_core::nodelist;
use mizar_core::rendezvous::{self, MARK, Step, Task, Variable};

use crate::exchange::Daemon;
use crate::settings::Settings;

/// Programs that start the ranks of an `mpirun` or `mpiexec` inside a Slurm step of their own.
/// Slurm's ranks are theirs, not those of the MPI program, so they must not inherit them.
const LAUNCHERS: [&str; 6] = [
    "orted",
    "prted",
    "hydra_pmi_proxy",
    "hydra_bstrap_proxy",
    "pmi_proxy",
    "mpispawn",
];

/// Variables that go into the record; never the whole environment.
const RECORDED: [&str; 14] = [
    "SLURM_JOB_NAME",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_ACCOUNT",
    "SLURM_JOB_QOS",
    "SLURM_JOB_USER",
    // Since Slurm 23.02; their difference is the time limit.
    "SLURM_JOB_START_TIME",
    "SLURM_JOB_END_TIME",
    "SLURM_CLUSTER_NAME",
    "SLURM_SUBMIT_DIR",
    "SLURM_SUBMIT_HOST",
    "SLURM_CPUS_PER_TASK",
    "SLURM_JOB_GPUS",
    "SLURM_STEP_GPUS",
    "SLURM_STEP_TASKS_PER_NODE",
];

/// How much of a command line goes into a message: a shell may expand `*` to megabytes, and the
/// message has a limit ([`mizar_api::MAX_MESSAGE_BYTES`]) beyond which nobody would be watched.
const MAX_COMMAND_BYTES: usize = 32 * 1024;

/// What Slurm says about a step on this node, before its tasks exist.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) job: JobId,
    pub(crate) step: StepId,
    pub(crate) array: Option<(JobId, u32)>,
    pub(crate) restart_count: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) hostname: String,
    pub(crate) node_index: u32,
    pub(crate) node_count: u32,
    pub(crate) task_count: u32,
    /// The global rank of each task on this node.
    pub(crate) local_ranks: Vec<u32>,
    /// Those of the step on this node.
    pub(crate) cpus: Option<u32>,
    pub(crate) memory_mib: Option<u64>,
    pub(crate) command: Vec<String>,
    pub(crate) cwd: PathBuf,
}

/// Looks up a variable of the job's environment.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a step's tasks get.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// All tasks of this node.
    pub(crate) common: Vec<Variable>,
    /// Each task, by local rank.
    pub(crate) tasks: Vec<Vec<Variable>>,
}

/// How far Slurm's ranks are those of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The tasks are the ranks.
    Ranks,
    /// A batch script or an interactive shell, which will start ranks or become one.
    Script,
    /// An MPI launcher's daemon on each node.
    Launcher,
}

impl Facts {
    fn kind(&self) -> Kind {
        let program = self
            .command
            .first()
            .and_then(|path| path.rsplit('/').next());
        if matches!(self.step, StepId::BATCH | StepId::INTERACTIVE) {
            Kind::Script
        } else if program.is_some_and(|name| LAUNCHERS.contains(&name)) {
            Kind::Launcher
        } else {
            Kind::Ranks
        }
    }

    /// The step's node list. A batch script has its job's in the environment, but is one task
    /// on the first node.
    fn step_nodes(&self, lookup: Lookup<'_>) -> String {
        let job_nodes = lookup("SLURM_JOB_NODELIST").unwrap_or_default();
        match self.kind() {
            Kind::Script => nodelist::first(&job_nodes).unwrap_or(job_nodes),
            Kind::Ranks | Kind::Launcher => lookup("SLURM_STEP_NODELIST").unwrap_or(job_nodes),
        }
    }

    /// Slurm's name of this node; where the list does not tell, the host's.
    pub(crate) fn node(&self, lookup: Lookup<'_>) -> String {
        let index = usize::try_from(self.node_index).unwrap_or(usize::MAX);
        let nodes = nodelist::expand(&self.step_nodes(lookup)).unwrap_or_default();
        nodes
            .into_iter()
            .nth(index)
            .unwrap_or_else(|| self.hostname.clone())
    }

    /// The step as all its nodes see it, or what Slurm and the environment disagree on.
    fn layout(&self, lookup: Lookup<'_>) -> Result<Step, String> {
        let nodes = self.step_nodes(lookup);
        let first_node = nodelist::first(&nodes).map_err(|error| error.to_string())?;
        if self.kind() != Kind::Ranks {
            let (job, step) = (self.job, self.step);
            return Ok(Step {
                job,
                step,
                first_node,
                tasks_per_node: Vec::new(),
            });
        }
        let layout = lookup("SLURM_STEP_TASKS_PER_NODE").unwrap_or_default();
        let tasks_per_node =
            rendezvous::parse_tasks_per_node(&layout).map_err(|error| error.to_string())?;
        let step = Step {
            job: self.job,
            step: self.step,
            first_node,
            tasks_per_node,
        };
        let here = usize::try_from(self.node_index)
            .ok()
            .and_then(|i| step.tasks_per_node.get(i));
        let agrees = nodelist::count(&nodes).ok() == usize::try_from(self.node_count).ok()
            && step.world_size() == u64::from(self.task_count)
            && here.and_then(|count| usize::try_from(*count).ok()) == Some(self.local_ranks.len());
        agrees.then_some(step).ok_or_else(|| {
            format!(
                "{nodes} with {layout} tasks per node is not {} tasks on {} nodes, {} of them here",
                self.task_count,
                self.node_count,
                self.local_ranks.len()
            )
        })
    }

    /// What to set for the tasks, where the user has not; and why the rendezvous is missing,
    /// if it is.
    pub(crate) fn environment(
        &self,
        socket: &std::path::Path,
        lookup: Lookup<'_>,
    ) -> (Environment, Option<String>) {
        let inherited = lookup(MARK);
        let free = |(name, _): &Variable| {
            rendezvous::may_set(name, lookup(name).as_deref(), inherited.as_deref())
        };
        let mut common = vec![(SOCKET_VARIABLE, socket.display().to_string())];
        let mut tasks = vec![Vec::new(); self.local_ranks.len()];
        let mut problem = None;
        match (self.kind(), self.layout(lookup)) {
            (Kind::Launcher, _) => {}
            (Kind::Script, Ok(step)) => common.extend(step.meeting_place()),
            (Kind::Ranks, Ok(step)) => {
                common.extend(step.meeting_place());
                common.extend(step.of_node(self.node_index, &self.node(lookup)));
                for (variables, task) in tasks.iter_mut().zip(self.tasks()) {
                    *variables = step.of_task(task);
                }
            }
            (_, Err(reason)) => problem = Some(reason),
        }
        common.retain(free);
        for variables in &mut tasks {
            variables.retain(free);
            let ours = [common.as_slice(), variables.as_slice()].concat();
            variables.push((MARK, rendezvous::mark(&ours, inherited.as_deref())));
        }
        common.push(("MIZAR_JOB_ID", self.job.to_string()));
        common.push(("MIZAR_STEP_ID", self.step.to_string()));
        (Environment { common, tasks }, problem)
    }

    /// CPUs of the job on this node. Slurm's item counts those of the step alone, so the job's
    /// list decides where it has more.
    fn job_cpus(&self, lookup: Lookup<'_>) -> Option<u32> {
        let of_job = || {
            let nodes = nodelist::expand(&lookup("SLURM_JOB_NODELIST")?).ok()?;
            let node = self.node(lookup);
            let index = nodes.iter().position(|name| *name == node)?;
            let layout = lookup("SLURM_JOB_CPUS_PER_NODE")?;
            rendezvous::parse_tasks_per_node(&layout)
                .ok()?
                .get(index)
                .copied()
        };
        of_job().max(self.cpus)
    }

    fn tasks(&self) -> impl Iterator<Item = Task> + '_ {
        let node_index = self.node_index;
        (0..)
            .zip(&self.local_ranks)
            .map(move |(local_rank, rank)| Task {
                rank: Rank(*rank),
                local_rank,
                node_index,
            })
    }

    fn registration(&self, settings: Settings, lookup: Lookup<'_>) -> StepRegistration {
        let recorded = |name: &str| Some((name.to_owned(), lookup(name)?));
        StepRegistration {
            job: self.job,
            step: self.step,
            array: self.array,
            restart_count: self.restart_count,
            uid: self.uid,
            gid: self.gid,
            node: self.node(lookup),
            node_index: self.node_index,
            job_nodes: lookup("SLURM_JOB_NODELIST").unwrap_or_default(),
            step_nodes: self.step_nodes(lookup),
            // For a batch script Slurm counts the tasks that its steps will have.
            task_count: if self.kind() == Kind::Script {
                1
            } else {
                self.task_count
            },
            job_cpus: self.job_cpus(lookup),
            job_memory_mib: self.memory_mib,
            command: shortened(&self.command),
            cwd: self.cwd.clone(),
            variables: RECORDED.into_iter().filter_map(recorded).collect(),
            sample_ms: settings.sample_ms,
            comm: settings.comm,
            stepd_pid: std::process::id().cast_signed(),
            tasks: Vec::new(),
        }
    }
}

/// `LD_PRELOAD` with a library before the user's own; `None` if it is there already.
pub(crate) fn preload(library: &str, theirs: Option<&str>) -> Option<String> {
    let theirs = theirs.unwrap_or_default();
    // The linker takes either separator.
    if theirs.split([':', ' ']).any(|path| path == library) {
        return None;
    }
    match theirs {
        "" => Some(library.to_owned()),
        theirs => Some(format!("{library}:{theirs}")),
    }
}

/// The first arguments, as far as [`MAX_COMMAND_BYTES`] reach; `…` stands for the others.
fn shortened(command: &[String]) -> Vec<String> {
    let mut left = MAX_COMMAND_BYTES;
    let fits = |argument: &&String| {
        let fits = argument.len() <= left;
        left = left.saturating_sub(argument.len());
        fits
    };
    let mut shortened: Vec<String> = command.iter().take_while(fits).cloned().collect();
    if shortened.len() < command.len() {
        shortened.push("…".to_owned());
    }
    shortened
}

/// A step between the fork of its tasks and its end.
#[derive(Debug)]
pub(crate) struct RunningStep {
    registration: StepRegistration,
    ranks: Vec<u32>,
    pids: Vec<AtomicI32>,
    forked: AtomicU32,
    daemon: Daemon,
}

impl RunningStep {
    pub(crate) fn new(
        facts: &Facts,
        settings: Settings,
        lookup: Lookup<'_>,
        daemon: Daemon,
    ) -> Self {
        Self {
            registration: facts.registration(settings, lookup),
            ranks: facts.local_ranks.clone(),
            pids: facts
                .local_ranks
                .iter()
                .map(|_| AtomicI32::new(0))
                .collect(),
            forked: AtomicU32::new(0),
            daemon,
        }
    }

    /// Notes a task's first process; with the last of them, tells the daemon of all. `None`
    /// while tasks are missing.
    pub(crate) fn forked(
        &self,
        local_rank: usize,
        pid: i32,
        visible_gpus: Option<String>,
    ) -> Option<Result<(), ClientError>> {
        self.pids.get(local_rank)?.store(pid, Ordering::Relaxed);
        let forked = self.forked.fetch_add(1, Ordering::Relaxed) + 1;
        if usize::try_from(forked).ok() != Some(self.pids.len()) {
            return None;
        }
        let mut registration = self.registration.clone();
        registration.tasks = (0..)
            .zip(self.ranks.iter().zip(&self.pids))
            .map(|(local_rank, (rank, pid))| TaskRegistration {
                rank: Rank(*rank),
                local_rank,
                pid: pid.load(Ordering::Relaxed),
                visible_gpus: visible_gpus.clone(),
            })
            .collect();
        self.daemon
            .ask(Request::RegisterStep(Box::new(registration)))
    }

    pub(crate) fn task_exited(&self, rank: u32, status: i32) -> Option<Result<(), ClientError>> {
        let (job, step) = (self.registration.job, self.registration.step);
        let exit = mizar_api::TaskExit {
            job,
            step,
            rank: Rank(rank),
            status,
        };
        self.daemon.tell(Request::TaskExit(exit))
    }

    pub(crate) fn ended(&self) -> Option<Result<(), ClientError>> {
        let (job, step) = (self.registration.job, self.registration.step);
        self.daemon.tell(Request::StepEnd { job, step })
    }

    /// One line for the log of slurmd: that and why nobody watches, and what asking cost.
    pub(crate) fn unwatched(&self, error: &ClientError) -> String {
        let StepRegistration {
            job, step, node, ..
        } = &self.registration;
        let spent_ms = self.daemon.spent().as_secs_f64() * 1e3;
        format!(
            "step {job}.{step} is not watched on {node}, after {spent_ms:.1} ms: {}",
            mizar_core::chain(error)
        )
    }
}

#[cfg(test)]
mod tests;
