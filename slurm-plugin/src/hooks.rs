//! What the plugin does at each of Slurm's hooks, by context.
//!
//! | Context | Hooks | Does |
//! |---|---|---|
//! | srun, sbatch, salloc | `init`, the option | checks `--mizar=…` before anything is queued |
//! | slurmstepd | `user_init` | works out the environment, sets what all tasks share |
//! | the task, forked | `task_init` | sets its ranks; allocates little, locks nothing |
//! | slurmstepd | `task_post_fork` | with the last task, registers the step |
//! | slurmstepd | `task_exit`, `exit` | reports ends |
//! | slurmd's helper | `job_epilog` | reports the job's end |
//! | slurmd | – | nothing |
//!
//! State lives in statics because Slurm has one plugin in a process, and one step in a
//! slurmstepd. A hook returns `false` only to refuse an option.

use std::ffi::CString;
use std::sync::{Mutex, OnceLock, PoisonError};

use mizar_api::{ClientError, Request};
use mizar_core::ids::{JobId, StepId};
use mizar_core::rendezvous::Variable;

use crate::exchange::Daemon;
use crate::ffi::{self, Context, Item32, SharedFlag, Spank};
use crate::settings::{Choice, Site};
use crate::step::{Facts, RunningStep, preload};

static SITE: OnceLock<Site> = OnceLock::new();
static CHOICE: Mutex<Option<Choice>> = Mutex::new(None);
static STEP: OnceLock<State> = OnceLock::new();

/// What a task ends with when a required daemon is missing (`sysexits.h`).
const EX_UNAVAILABLE: i32 = 69;

/// The tasks that one slurmstepd may have: far more than any node has CPUs.
const MAX_LOCAL_TASKS: u32 = 16_384;

/// The step of this slurmstepd; written once before the tasks are forked, so that they read it
/// without a lock.
#[derive(Debug)]
struct State {
    running: RunningStep,
    /// By local rank.
    task_variables: Vec<Vec<(CString, CString)>>,
    /// Raised when a required daemon is missing; tells the tasks, forked by then, to end.
    refused: Option<SharedFlag>,
}

/// Registers `--mizar` where users submit or tasks run, and reads the site's arguments.
pub(crate) fn init(spank: &Spank, arguments: &[String]) -> bool {
    log_panics();
    if matches!(
        ffi::context(),
        Context::Local | Context::Allocator | Context::Remote
    ) {
        spank.register_option();
    }
    let (site, problems) = Site::parse(arguments);
    for problem in &problems {
        ffi::log_error(problem);
    }
    // A second init in one process (none is known) would keep the first arguments.
    let _ = SITE.set(site);
    panic_if_tested("init");
    true
}

/// Sends the message of a panic to Slurm's log, in one line, instead of standard error. Concerns
/// this library alone: it has its own copy of the standard library.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.to_string().replace('\n', " ");
        ffi::log_error(&format!(
            "internal error, the job goes on without it: {message}"
        ));
    }));
}

/// Notes the user's choice; refuses a wrong one where it is made. What reaches slurmstepd was
/// checked at submission, or was written into the environment by hand: then it is only logged.
pub(crate) fn option_chosen(argument: Option<&str>, remote: bool) -> bool {
    match Choice::parse(argument) {
        Ok(choice) => {
            *CHOICE.lock().unwrap_or_else(PoisonError::into_inner) = Some(choice);
            true
        }
        Err(refusal) => {
            ffi::log_error(&refusal);
            remote
        }
    }
}

/// Prepares the step in slurmstepd, as the user and in the job's folder.
pub(crate) fn user_init(spank: &Spank) -> bool {
    let Some(site) = SITE.get() else { return true };
    let choice = *CHOICE.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = site.settings(choice);
    if !settings.enabled || ffi::context() != Context::Remote {
        return true;
    }
    let Some(facts) = facts(spank).filter(|facts| facts.step != StepId::EXTERN) else {
        return true;
    };
    let lookup = |name: &str| spank.variable(name);
    let socket = site.socket(&facts.node(&lookup));
    let (environment, problem) = facts.environment(&socket, &lookup);
    if let Some(problem) = problem {
        ffi::log_info(&format!(
            "step {}.{} gets no rendezvous: {problem}",
            facts.job, facts.step
        ));
    }
    for (name, value) in environment.common.into_iter().filter_map(c_texts) {
        spank.set_variable(&name, &value);
    }
    if settings.comm {
        preload_library(spank, site.comm_library());
    }
    let daemon = Daemon::new(socket, site.budget());
    let state = State {
        running: RunningStep::new(&facts, settings, &lookup, daemon),
        task_variables: environment
            .tasks
            .into_iter()
            .map(|variables| variables.into_iter().filter_map(c_texts).collect())
            .collect(),
        refused: settings.require.then(SharedFlag::new).flatten(),
    };
    // slurmstepd calls this once.
    let _ = STEP.set(state);
    true
}

/// Puts the library that counts communication before the user's own; without it the step runs
/// on, not counted. A path with a space or a colon is two to the linker.
fn preload_library(spank: &Spank, library: &std::path::Path) {
    let text = library.to_str().filter(|text| !text.contains([' ', ':']));
    let Some(text) = text.filter(|_| library.is_file()) else {
        ffi::log_info(&format!(
            "--mizar=comm: there is no {} here (`comm_lib=`); communication is not counted",
            library.display()
        ));
        return;
    };
    let theirs = spank.variable("LD_PRELOAD");
    let value = preload(text, theirs.as_deref());
    if let Some(value) = value.and_then(|value| CString::new(value).ok()) {
        spank.set_variable(c"LD_PRELOAD", &value);
    }
}

/// In the task, before it becomes the user's program.
pub(crate) fn task_init(spank: &Spank) -> bool {
    let Some(state) = STEP.get() else { return true };
    if state.refused.as_ref().is_some_and(SharedFlag::is_raised) {
        ffi::end_task(EX_UNAVAILABLE);
    }
    let local_rank = spank
        .item(Item32::LocalTaskId)
        .and_then(|rank| usize::try_from(rank).ok());
    let variables = local_rank.and_then(|rank| state.task_variables.get(rank));
    for (name, value) in variables.into_iter().flatten() {
        spank.set_variable(name, value);
    }
    true
}

/// In slurmstepd, for each task, while the tasks wait for all of them to be forked.
pub(crate) fn task_post_fork(spank: &Spank) -> bool {
    let (Some(state), Some(local_rank), Some(pid)) = (
        STEP.get(),
        spank.item(Item32::LocalTaskId),
        spank.item(Item32::TaskPid),
    ) else {
        return true;
    };
    let gpus = [
        "CUDA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "SLURM_STEP_GPUS",
    ]
    .iter()
    .find_map(|name| spank.variable(name));
    let local_rank = usize::try_from(local_rank).unwrap_or(usize::MAX);
    let outcome = state.running.forked(local_rank, pid.cast_signed(), gpus);
    if let (Some(Err(error)), Some(refused)) = (&outcome, &state.refused) {
        ffi::log_error(&format!(
            "--mizar=require: {}; the step is not started",
            mizar_core::chain(error)
        ));
        refused.raise();
    }
    log_failure(state, outcome);
    true
}

/// In slurmstepd, when a task has ended.
pub(crate) fn task_exit(spank: &Spank) -> bool {
    if let (Some(state), Some(rank), Some(status)) = (
        STEP.get(),
        spank.item(Item32::GlobalTaskId),
        spank.item(Item32::ExitStatus),
    ) {
        log_failure(state, state.running.task_exited(rank, status.cast_signed()));
    }
    true
}

/// At the end of whatever loaded the plugin; of interest in slurmstepd alone.
pub(crate) fn exit() -> bool {
    if let Some(state) = STEP.get() {
        log_failure(state, state.running.ended());
    }
    true
}

/// Tells the daemon that the job left this node. Slurm calls no `init` before this, and does
/// not say here what a step asked for, so the daemon hears of every job; it knows its own.
pub(crate) fn job_epilog(spank: &Spank, arguments: &[String]) {
    log_panics();
    let (site, _) = Site::parse(arguments);
    let site = SITE.get_or_init(|| site);
    panic_if_tested("job_epilog");
    let Some(job) = spank.item(Item32::JobId).map(JobId) else {
        return;
    };
    let node = std::env::var("SLURMD_NODENAME").unwrap_or_else(|_| hostname());
    let daemon = Daemon::new(site.socket(&node), site.budget());
    if let Some(Err(error)) = daemon.tell(Request::JobEnd { job }) {
        let line = format!(
            "the end of job {job} is not reported: {}",
            mizar_core::chain(&error)
        );
        // Where no daemon runs, that is no news at each job's end.
        match error {
            ClientError::Unreachable { .. } => ffi::log_debug(&line),
            _ => ffi::log_info(&line),
        }
    }
}

/// The failure that makes the plugin give the daemon up; later ones are not even tried.
fn log_failure(state: &State, outcome: Option<Result<(), ClientError>>) {
    if let Some(Err(error)) = outcome {
        ffi::log_info(&state.running.unwatched(&error));
    }
}

/// What Slurm says about the step; `None` if it is not one that runs tasks here.
fn facts(spank: &Spank) -> Option<Facts> {
    let local_tasks = spank.item(Item32::LocalTaskCount)?;
    if local_tasks > MAX_LOCAL_TASKS {
        return None;
    }
    let array_job = spank
        .item(Item32::ArrayJobId)
        .filter(|job| *job != 0)
        .map(JobId);
    Some(Facts {
        job: JobId(spank.item(Item32::JobId)?),
        step: StepId(spank.item(Item32::StepId)?),
        array: array_job.zip(spank.item(Item32::ArrayTaskId)),
        restart_count: spank.item(Item32::RestartCount).unwrap_or(0),
        uid: spank.item(Item32::Uid)?,
        gid: spank.item(Item32::Gid)?,
        hostname: hostname(),
        node_index: spank.item(Item32::NodeIndex)?,
        node_count: spank.item(Item32::NodeCount)?,
        task_count: spank.item(Item32::TaskCount)?,
        local_ranks: (0..local_tasks)
            .map(|local_rank| spank.global_rank(local_rank))
            .collect::<Option<_>>()?,
        cpus: spank.cpus(),
        memory_mib: spank.memory_mib(),
        command: spank.arguments(),
        cwd: std::env::current_dir().unwrap_or_default(),
    })
}

/// The host's name up to the first dot, as Slurm names nodes by default.
fn hostname() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// A value with a NUL cannot be set, and cannot come from Slurm.
fn c_texts((name, value): Variable) -> Option<(CString, CString)> {
    Some((CString::new(name).ok()?, CString::new(value).ok()?))
}

/// Panics in the hook that plugstack.conf's `test-panic=` names: for tests alone.
pub(crate) fn panic_if_tested(hook: &str) {
    let tested = SITE.get().and_then(|site| site.test_panic.as_deref());
    assert!(tested != Some(hook), "test-panic={hook}");
}
