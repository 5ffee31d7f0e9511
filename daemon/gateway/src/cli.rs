//! The command line of `mizar-gateway`.
//!
//! Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the configuration is refused; 4 no such job,
//! or its state does not allow what was asked; 5 not drained in time; 6 not all of a workflow could be
//! mapped.

mod apply;
mod drain;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::ledger::{self, Reader, Selection, Setting, State};
use crate::sources::{self, Replayed};
use crate::tls::Tls;
use crate::way::Note;

/// Where the configuration is unless told.
const DEFAULT_CONFIG: &str = "/etc/mizar/gateway.toml";

const EXAMPLES: &str = "\
Examples:
  mizar-gateway --check-config --config gateway.toml   say what the configuration means
  mizar-gateway serve --config gateway.toml            take events until stopped
  mizar-gateway status                                 how many jobs are where
  mizar-gateway jobs --state failed --json             jobs, newest first
  mizar-gateway job 42                                 one job with its event
  mizar-gateway dead-letters                           events that never became a job, and
                                                       messages of sources that are no events
  mizar-gateway dead-letters --replay 3                take message 3 again; --discard 3 forgets it
  mizar-gateway set mean rate=5/s concurrency=20       from the next second on, also while serving
  mizar-gateway pause mean; mizar-gateway resume mean  keep events, submit nothing; go on
  mizar-gateway drain --limit-s 600                    take no events, submit what is here, wait for it
  mizar-gateway resume                                 take events again
  mizar-gateway replay mean --from 2026-01-02T00:00:00Z --to 2026-01-03T00:00:00Z
  mizar-gateway retry 42                               another job for the same event
  mizar-gateway apply -f workflow.yaml --check         what a workflow of DCNiOS becomes here

While it serves, http://ADDRESS/ is a page that shows and does the same, and
  curl -N -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8742/v1/events/stream?service=mean
follows what happens to jobs; Last-Event-ID goes on after a number. [[webhooks]] of the
configuration post it.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration refused, 4 no such job or not now,
5 not drained in time, 6 not all of a workflow could be mapped.";

/// Turns cloud events into Slurm jobs, exactly once.
#[derive(Debug, Parser)]
#[command(name = "mizar-gateway", version, after_help = EXAMPLES)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG, env = "MIZAR_GATEWAY_CONFIG")]
    config: PathBuf,
    /// Check the configuration, print it as it is understood, and end.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take events, show the page and tell what happens to jobs, until SIGTERM.
    Serve,
    /// Show how many jobs are in each state, by which way they go to Slurm, and how each source of
    /// events and each webhook does.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List jobs, newest first.
    Jobs {
        /// Only of this service.
        #[arg(long)]
        service: Option<String>,
        /// Only in this state.
        #[arg(long, value_parser = parse_state)]
        state: Option<State>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one job and its event.
    Job {
        /// The job's number in the ledger.
        id: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List events that never became a job, and messages of sources that are no events.
    DeadLetters {
        /// Take a message as if it came now, after the limits or services have changed.
        #[arg(long, value_name = "ID", conflicts_with_all = ["discard", "json"])]
        replay: Option<i64>,
        /// Forget a message.
        #[arg(long, value_name = "ID", conflicts_with = "json")]
        discard: Option<i64>,
        /// At most so many of each.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Have another job made for an event whose job ended badly.
    Retry {
        /// The job's number in the ledger.
        id: i64,
    },
    /// Change how a service flows; it takes effect within a second.
    Set {
        /// The service.
        service: String,
        /// rate=5/s (s, min, h), concurrency=20, priority=-1000..1000, paused=true; `none` lifts a
        /// bound.
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<Setting>,
    },
    /// Keep a service's events and submit nothing.
    Pause {
        /// The service.
        service: String,
    },
    /// Submit a paused service's events again; without a service, take events again after a drain.
    Resume {
        /// The service.
        service: Option<String>,
    },
    /// Take no new events (senders are told to come again), submit what is here, and wait for that.
    ///
    /// Batches become jobs at once; events that wait for others of another kind stay. `resume`
    /// undoes it, a restart of the gateway does not.
    Drain {
        /// Wait until the jobs have ended in Slurm too.
        #[arg(long)]
        ended: bool,
        /// Do not wait.
        #[arg(long, conflicts_with_all = ["ended", "limit_s"])]
        no_wait: bool,
        /// Wait at most so many seconds, then end with code 5.
        #[arg(long, value_name = "SECONDS")]
        limit_s: Option<u64>,
    },
    /// Have another job made for each event of a time whose job has ended.
    Replay {
        /// The service.
        service: String,
        /// Events that came at this time or later (RFC 3339).
        #[arg(long, value_parser = parse_time)]
        from: i64,
        /// Events that came before this time (RFC 3339).
        #[arg(long, value_parser = parse_time)]
        to: i64,
    },
    /// Take over a workflow of DCNiOS: its sources, services, batches and rates.
    Apply(apply::Apply),
    /// Carry out a planned job; its batch script runs this.
    #[command(hide = true)]
    Supervise {
        /// The job's folder.
        folder: PathBuf,
    },
    /// Make the calls of a service as the gateway gives them; a worker's batch script runs this.
    #[command(hide = true)]
    Worker {
        /// The job's folder.
        folder: PathBuf,
    },
    /// Print a shell's completions or the manual page.
    #[command(hide = true)]
    Generate {
        /// `man`, or a shell: bash, zsh, fish.
        what: String,
    },
}

fn parse_state(word: &str) -> Result<State, String> {
    State::from_word(word).ok_or_else(|| {
        let known: Vec<_> = State::ALL.iter().map(|state| state.word()).collect();
        format!("known are {}", known.join(", "))
    })
}

/// Runs the command line and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mizar-gateway: {error:#}");
            let refused = error.chain().any(|cause| cause.is::<ConfigError>());
            ExitCode::from(if refused { 3 } else { 1 })
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    if cli.check_config {
        return check_config(&cli.config);
    }
    match &cli.command {
        None => {
            Cli::command().print_help()?;
            Ok(ExitCode::from(2))
        }
        Some(Command::Serve) => crate::serve::run(&cli.config).map(|()| ExitCode::SUCCESS),
        Some(Command::Generate { what }) => generate(what),
        Some(Command::Apply(wish)) => apply::run(&cli.config, wish),
        Some(Command::Supervise { folder }) => {
            let code = crate::supervise::run(folder)?;
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
        }
        Some(Command::Worker { folder }) => {
            let code = crate::supervise::worker::run(folder)?;
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
        }
        Some(Command::Set { service, settings }) => set(&cli.config, service, settings),
        Some(Command::Pause { service }) => set(&cli.config, service, &[Setting::Paused(true)]),
        Some(Command::Resume {
            service: Some(service),
        }) => set(&cli.config, service, &[Setting::Paused(false)]),
        Some(Command::Resume { service: None }) => drain::resume(&cli.config),
        Some(Command::Drain {
            ended,
            no_wait,
            limit_s,
        }) => {
            let until = match (no_wait, ended) {
                (true, _) => drain::Until::Told,
                (false, true) => drain::Until::Ended,
                (false, false) => drain::Until::Submitted,
            };
            drain::run(&cli.config, until, limit_s.map(Duration::from_secs))
        }
        Some(Command::Replay { service, from, to }) => replay(&cli.config, service, *from, *to),
        Some(Command::Retry { id }) => retry(&cli.config, *id),
        Some(Command::DeadLetters {
            replay: Some(id), ..
        }) => replay_message(&cli.config, *id),
        Some(Command::DeadLetters {
            discard: Some(id), ..
        }) => discard_message(&cli.config, *id),
        Some(Command::Status { json }) => {
            let config = Config::load(&cli.config)?;
            let way = Note::read(&config.state_dir);
            show::status(&Reader::open(&config.ledger_path())?, way, *json)
        }
        Some(command) => show::run(&open(&cli.config)?, command),
    }
}

fn open(config: &Path) -> Result<Reader> {
    Ok(Reader::open(&Config::load(config)?.ledger_path())?)
}

fn check_config(path: &Path) -> Result<ExitCode> {
    let config = Config::load(path)?;
    let services = config.load_services()?;
    let tokens = config.load_tokens()?;
    config.load_oscar_users()?;
    config.check_slurm_token()?;
    config.check_source_secrets()?;
    config.check_webhook_secrets()?;
    config.tls.as_ref().map(Tls::load).transpose()?;
    println!("{}", toml::to_string(&config)?);
    for service in &services {
        println!("# service {}: {}", service.name, service.script.display());
    }
    println!(
        "# tokens: {}",
        match &tokens {
            Some(tokens) => format!("{tokens:?}"),
            None if config.identity.issuers.is_empty() => "none, everybody is let in".to_owned(),
            None => "none".to_owned(),
        }
    );
    Ok(ExitCode::SUCCESS)
}

fn retry(config: &Path, id: i64) -> Result<ExitCode> {
    let mut connection = ledger::open_existing(&Config::load(config)?.ledger_path())?;
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let result = ledger::retry(&transaction, ledger::now_ms(), id)?;
    transaction.commit()?;
    match result {
        None => {
            eprintln!("mizar-gateway: there is no job {id}");
            Ok(ExitCode::from(4))
        }
        Some((state, false)) => {
            eprintln!(
                "mizar-gateway: job {id} is {}: only what ended badly is tried again",
                state.word()
            );
            Ok(ExitCode::from(4))
        }
        Some((state, true)) => {
            println!("job {id} was {}; it is submitted again", state.word());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs an operation on the ledger, beside a serving gateway.
fn write<T>(
    config: &Path,
    operation: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
) -> Result<T> {
    let mut connection = ledger::open_existing(&Config::load(config)?.ledger_path())?;
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let result = operation(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

/// Whether there is such a service; if not, says so.
fn is_service(config: &Path, service: &str) -> Result<bool> {
    let configured = Config::load(config)?.load_services()?;
    let known = configured.iter().any(|one| one.name == service)
        || service == crate::interlink::SERVICE
        || service == ledger::WORKERS
        || write(config, |ledger| ledger::is_known(ledger, service))?;
    if !known {
        eprintln!("mizar-gateway: there is no service `{service}`");
    }
    Ok(known)
}

fn set(config: &Path, service: &str, settings: &[Setting]) -> Result<ExitCode> {
    if !is_service(config, service)? {
        return Ok(ExitCode::from(4));
    }
    let flow = write(config, |ledger| {
        ledger::set_flow(ledger, ledger::now_ms(), service, settings)
    })?;
    println!("{service}: {}", serde_json::to_string(&flow)?);
    Ok(ExitCode::SUCCESS)
}

fn replay(config: &Path, service: &str, from_ms: i64, to_ms: i64) -> Result<ExitCode> {
    if !is_service(config, service)? {
        return Ok(ExitCode::from(4));
    }
    let count = write(config, |ledger| {
        ledger::replay(ledger, ledger::now_ms(), service, from_ms, to_ms)
    })?;
    println!("{service}: {count} events are submitted again");
    Ok(ExitCode::SUCCESS)
}

fn replay_message(config: &Path, id: i64) -> Result<ExitCode> {
    let read = Config::load(config)?;
    let services = read.load_services()?;
    let replayed = write(config, |ledger| {
        sources::replay(ledger, &services, &read.limits, id)
    })?;
    match replayed {
        Replayed::Taken(tally) => {
            println!(
                "message {id}: {} new jobs, {} known ones, {} events without a service",
                tally.accepted, tally.duplicates, tally.unmatched
            );
            Ok(ExitCode::SUCCESS)
        }
        Replayed::Missing => Ok(no_message(id)),
        Replayed::Refused(reason) => {
            eprintln!(
                "mizar-gateway: message {id} is still no event: {}",
                reason.escape_debug()
            );
            Ok(ExitCode::from(4))
        }
    }
}

fn discard_message(config: &Path, id: i64) -> Result<ExitCode> {
    if !write(config, |ledger| ledger::discard_dead_message(ledger, id))? {
        return Ok(no_message(id));
    }
    println!("message {id} is forgotten");
    Ok(ExitCode::SUCCESS)
}

fn no_message(id: i64) -> ExitCode {
    eprintln!("mizar-gateway: there is no message {id} among the dead letters");
    ExitCode::from(4)
}

/// Milliseconds since 1970 of a time.
fn parse_time(text: &str) -> Result<i64, String> {
    crate::http::parse_time(text)
        .ok_or_else(|| "expected a time as 2026-01-02T10:00:00Z".to_owned())
}

fn generate(what: &str) -> Result<ExitCode> {
    let mut command = Cli::command();
    if what == "man" {
        clap_mangen::Man::new(command).render(&mut std::io::stdout())?;
        return Ok(ExitCode::SUCCESS);
    }
    let shell: clap_complete::Shell = what
        .parse()
        .map_err(|_| anyhow::anyhow!("`{what}` is neither `man` nor a shell"))?;
    clap_complete::generate(shell, &mut command, "mizar-gateway", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}

/// Which jobs the dead letters are.
fn dead_letters(limit: u32) -> Selection {
    Selection {
        state: Some(State::Dead),
        only_present: true,
        limit,
        ..Selection::default()
    }
}
