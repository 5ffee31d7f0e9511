//! `mizar cube`: the edge over `mizar_array`. Parses CDO's command line, opens the world of
//! ranks, shows progress, and tells mizard what was read and written.
//!
//! Only rank 0 prints. A failure on any rank ends all with exit code 1 and one message.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

mod meter;

use anyhow::Context as _;
use mizar_api::{Client, FileRole, FileUse, Request, SOCKET_VARIABLE};
use mizar_array::command::{self, Command, CommandError};
use mizar_array::engine;
use mizar_array::storage::{is_remote, without_secrets};
use mizar_array::{CubeError, plan};
use mizar_comm::Communicator;

use crate::{interrupt, plot};
use meter::Meter;

/// One write to standard error: a launcher joins what its ranks write piece by piece.
macro_rules! say {
    ($($message:tt)*) => {{
        use std::io::Write as _;
        let line = format!($($message)*) + "\n";
        let _ = std::io::stderr().write_all(line.as_bytes());
    }};
}

/// The command line is wrong.
const EXIT_USAGE: u8 = 2;
/// It could not be done.
const EXIT_FAILED: u8 = 1;

/// All that telling mizard may cost.
const DAEMON_LIMIT: Duration = Duration::from_millis(50);

/// Arguments of `mizar cube`: CDO's own command line, which the array engine parses.
#[derive(clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Args {
    /// CDO's command line: options, operators, inputs and the output
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CDO ARGUMENTS"
    )]
    arguments: Vec<OsString>,
}

/// Runs `mizar cube`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let words = match texts(args.arguments) {
        Ok(words) => words,
        Err(error) => return Ok(usage(&error)),
    };
    match command::parse(&words) {
        Ok(command::Request::Run(command)) => {
            if let Some(picture) = &command.options.plot {
                plot::check_name(picture)?;
            }
            interrupt::leave_nothing_half_made().context("cannot wait for signals")?;
            let world = mizar_comm::world().context("cannot join the other ranks")?;
            let watch = mizar_comm::Watch::start(world.as_ref(), end_without)
                .context("cannot join the other ranks")?;
            let commands = std::slice::from_ref(command.as_ref());
            let code = compute(commands, &words, world.as_ref());
            drop(watch);
            Ok(code)
        }
        Ok(command::Request::Pipeline(call)) => run_pipeline(&call, &words),
        Ok(command::Request::Overview) => Ok(print(command::overview())),
        Ok(command::Request::Operators) => Ok(print(&command::operator_list())),
        Ok(command::Request::Operator(operator)) => Ok(print(&command::operator_help(operator))),
        Err(error) => Ok(usage(&error)),
    }
}

/// Runs a pipeline, or prints what it would run.
fn run_pipeline(call: &command::PipelineCall, words: &[String]) -> anyhow::Result<ExitCode> {
    let file = call.file.display();
    let text =
        std::fs::read_to_string(&call.file).with_context(|| format!("cannot read {file}"))?;
    let commands = match command::parse_pipeline(&text, &call.values, &call.options) {
        Ok(commands) => commands,
        Err(error) => {
            say!(
                "mizar cube: {:#}",
                anyhow::Error::new(error).context(file.to_string())
            );
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    if call.check {
        let lines = commands
            .iter()
            .map(|command| command::command_line(command, &call.options));
        return Ok(print(&lines.map(|line| line + "\n").collect::<String>()));
    }
    interrupt::leave_nothing_half_made().context("cannot wait for signals")?;
    let world = mizar_comm::world().context("cannot join the other ranks")?;
    let watch = mizar_comm::Watch::start(world.as_ref(), end_without)
        .context("cannot join the other ranks")?;
    let code = compute(&commands, words, world.as_ref());
    drop(watch);
    Ok(code)
}

fn texts(arguments: Vec<OsString>) -> Result<Vec<String>, CommandError> {
    let text = |argument: OsString| {
        argument.into_string().map_err(|a| CommandError::NotText {
            found: format!("{a:?}"),
        })
    };
    arguments.into_iter().map(text).collect()
}

/// A closed pipe (`| head`) is no failure.
pub(crate) fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Every rank parses the same line: those that know their number let the first speak.
fn usage(error: &CommandError) -> ExitCode {
    let rank = ["PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    if rank.is_none_or(|rank| rank == "0") {
        say!("mizar cube: {error}");
    }
    ExitCode::from(EXIT_USAGE)
}

fn compute(commands: &[Command], words: &[String], comm: &dyn Communicator) -> ExitCode {
    let started = Instant::now();
    // A parsed line or pipeline has at least one.
    let Some(command) = commands.first() else {
        return ExitCode::from(EXIT_USAGE);
    };
    let is_first = comm.rank() == 0;
    let failed = |error: CubeError| {
        if let CubeError::Differs { report } = &error {
            if is_first {
                print(report);
            }
        } else if is_first {
            say!("mizar cube: {}", error.chain());
        }
        ExitCode::from(if error.is_usage() {
            EXIT_USAGE
        } else {
            EXIT_FAILED
        })
    };
    let compiled = plan::compile_all(commands, &history(words));
    let plan = match mizar_comm::agree(comm, compiled) {
        Ok(plan) => plan,
        Err(error) => return failed(error),
    };
    if is_first && !command.options.silent {
        plan.warnings
            .iter()
            .for_each(|warning| say!("mizar cube: warning: {warning}"));
    }
    let threads = command.options.threads.unwrap_or_else(default_threads);
    if command.options.plan {
        if is_first {
            print(&engine::estimate(&plan, comm.size(), threads).to_string());
        }
        return ExitCode::SUCCESS;
    }
    let meter = Meter::new(is_first && !command.options.silent);
    let read = Mutex::new(std::collections::HashMap::new());
    let outcome = engine::execute(&plan, comm, threads, &|progress| {
        if let Ok(mut read) = read.lock() {
            let bytes = read.entry(progress.variable.to_owned()).or_insert(0);
            *bytes = progress.read_bytes.max(*bytes);
        }
        meter.show(progress);
    });
    meter.clear();
    match outcome {
        Ok(text) => {
            if is_first {
                match &text {
                    Some(text) => drop(print(text)),
                    None if command.options.json => {
                        let read = read.lock().map_or(0, |read| read.values().sum());
                        print(&summary(&plan, started, read, comm.size(), threads));
                    }
                    None => {}
                }
                tell_daemon(plan.inputs(), plan.outputs());
                if let Err(error) = draw(command, &plan) {
                    say!("mizar cube: the result is written, but not its picture: {error:#}");
                    return ExitCode::from(EXIT_FAILED);
                }
            }
            ExitCode::SUCCESS
        }
        Err(error) => failed(error),
    }
}

/// What `--json` tells of a run.
fn summary(
    plan: &plan::Plan,
    started: Instant,
    read_bytes: u64,
    ranks: usize,
    threads: usize,
) -> String {
    let paths = |paths: &mut dyn Iterator<Item = &Path>| -> Vec<String> {
        paths.map(|path| path.display().to_string()).collect()
    };
    let value = serde_json::json!({
        "inputs": paths(&mut plan.inputs()),
        "outputs": paths(&mut plan.outputs()),
        "seconds": started.elapsed().as_secs_f64(),
        "read_bytes": read_bytes,
        "ranks": ranks,
        "threads": threads,
        "warnings": plan.warnings,
    });
    format!("{value:#}\n")
}

/// The picture that `--plot` asks for: of the first file that is written.
fn draw(command: &Command, plan: &plan::Plan) -> anyhow::Result<()> {
    match (&command.options.plot, plan.outputs().next()) {
        (Some(picture), Some(output)) => plot::first(output, picture),
        _ => Ok(()),
    }
}

/// Ends this rank because another is gone: it may be waiting for it, and the result would not
/// be whole.
fn end_without(lost: mizar_comm::LostRank) {
    mizar_core::durable::abandon_all();
    if lost.tells {
        say!(
            "mizar cube: rank {} on {} was lost (killed, out of memory, or its node is gone): \
             the run ends, no output is written",
            lost.rank,
            lost.host
        );
    }
    mizar_comm::end_process(i32::from(EXIT_FAILED));
}

/// `<date> mizar cube <arguments>`, as CDO and NCO write theirs; signed links are secrets, which
/// everybody who gets the result could read.
fn history(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| without_secrets(word)).collect();
    format!("{} mizar cube {}", date_now(), words.join(" "))
}

/// The date in UTC, as `ctime` writes it.
pub(crate) fn date_now() -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since_1970.unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day last (Hinnant's civil_from_days).
    let shifted = days + 719_468;
    let (cycle, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = cycle * 400 + year + u64::from(month >= 10);
    let (weekday, name) = (
        DAYS[(days % 7) as usize],
        MONTHS[((month + 2) % 12) as usize],
    );
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{weekday} {name} {day:02} {hour:02}:{minute:02}:{:02} {year}",
        second % 60
    )
}

/// What Slurm gave this task, else all CPUs that this process may use.
pub(crate) fn default_threads() -> usize {
    let of_slurm = std::env::var("SLURM_CPUS_PER_TASK")
        .ok()
        .and_then(|text| text.parse().ok());
    let of_machine = || std::thread::available_parallelism().map_or(1, usize::from);
    of_slurm
        .filter(|&threads| threads > 0)
        .unwrap_or_else(of_machine)
}

/// Best effort: provenance must neither fail nor delay a run.
pub(crate) fn tell_daemon<'a>(
    inputs: impl Iterator<Item = &'a Path>,
    outputs: impl Iterator<Item = &'a Path>,
) {
    let Some(socket) = std::env::var_os(SOCKET_VARIABLE) else {
        return;
    };
    let id = |name: &str| std::env::var(name).ok();
    let Some(job) = id("SLURM_JOB_ID").and_then(|text| text.parse().ok()) else {
        return;
    };
    let step = id("SLURM_STEP_ID").and_then(|text| text.parse().ok());
    let step = step.unwrap_or(mizar_core::ids::StepId::BATCH);
    let started = Instant::now();
    // The daemon knows files of this machine, and takes their digests.
    let used = inputs.filter(|path| !is_remote(path));
    let used = used.map(|path| (FileRole::Used, path.to_owned()));
    let made = outputs.map(|path| (FileRole::Generated, path.to_owned()));
    let uses: Vec<(FileRole, PathBuf)> = used.chain(made).collect();
    for (role, path) in uses {
        let Ok(path) = std::path::absolute(path) else {
            continue;
        };
        let left = DAEMON_LIMIT.saturating_sub(started.elapsed());
        let file = FileUse {
            job,
            step,
            rank: None,
            role,
            path,
        };
        if left.is_zero() || Client::new(&socket, left).ask(Request::File(file)).is_err() {
            return;
        }
    }
}
