//! `mizard`, the daemon of a compute node: watches jobs, samples them, writes their records.
//!
//! One thread serves the socket and the metrics, one samples and writes, a few wait for child
//! processes that do what concerns the job owner's files. Exit codes: 0 stopped as asked, 1
//! failed, 2 wrong usage.

mod config;
mod devices;
mod digest;
mod engine;
mod finish;
mod gpu;
mod live;
mod metrics;
mod notify;
mod number;
mod omnistat;
mod own_cost;
mod privileges;
mod recorder;
mod registry;
mod rings;
mod serve;
mod shared;
mod socket;
mod state;
mod track;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use mizar_core::clock::unix_ns;
use mizar_node::process::ProcessTable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Overrides};
use crate::engine::Engine;
use crate::privileges::Owner;
use crate::serve::Service;
use crate::shared::Shared;
use crate::state::State;
use crate::worker::{Queues, Work};

/// Work that waits for a worker.
const MAX_WAITING_WORK: usize = 4096;

/// Open files that are asked for.
const WANTED_FILES: u64 = 16_384;

/// Watches the jobs of a compute node and writes their records.
#[derive(Debug, Parser)]
#[command(name = "mizard", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Configuration file [default: /etc/mizar/mizard.toml, which may be absent]
    #[arg(long, env = "MIZARD_CONFIG")]
    config: Option<PathBuf>,
    /// Print the configuration in effect and stop
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    overrides: Overrides,
    #[command(subcommand)]
    part: Option<Part>,
}

const EXAMPLES: &str = "\
Examples:
  mizard                                      as systemd starts it
  mizard --config /etc/mizar/mizard.toml --check-config
  mizard --socket /tmp/%n.sock --record-dir /shared/mizar --state-dir /tmp/state
  MIZARD_SAMPLE_MS=200 mizard                 five samples a second
Logging: MIZARD_LOG=debug (or info, warn, error)

Exit codes: 0 stopped as asked, 1 failed or configuration refused, 2 wrong command line.";

/// What the daemon starts as children.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Takes digests of files as their owner
    #[command(hide = true)]
    Digest {
        #[command(flatten)]
        owner: Owner,
        #[arg(long)]
        max_bytes: u64,
        #[arg(long)]
        timeout_s: u64,
    },
    /// Merges a record as its owner
    #[command(hide = true)]
    Finish {
        #[command(flatten)]
        owner: Owner,
        #[arg(long)]
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    environment::spare_file_locks();
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("MIZARD_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let by_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let log = log.with_ansi(false).with_target(false);
    // The journal has its own clock.
    if by_systemd {
        log.without_time().init()
    } else {
        log.init()
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mizard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.part {
        Some(Part::Digest {
            owner,
            max_bytes,
            timeout_s,
        }) => {
            privileges::become_owner(&owner)?;
            return Ok(digest::serve(max_bytes, Duration::from_secs(timeout_s))?);
        }
        Some(Part::Finish { owner, folder }) => {
            privileges::become_owner(&owner)?;
            return finish::run(&folder);
        }
        None => {}
    }
    raise_file_limit();
    let config = Config::load(arguments.config.as_deref(), arguments.overrides)?;
    if arguments.check_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(config))
}

/// Lets the daemon keep files of many processes open, as far as the site allows.
fn raise_file_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    // What is not allowed is not needed: readers go by the limit that is in effect.
    let _ = setrlimit(
        Resource::RLIMIT_NOFILE,
        soft.max(WANTED_FILES.min(hard)),
        hard,
    );
}

/// The daemon's life.
async fn serve(config: Config) -> anyhow::Result<()> {
    // Records are for their owners, whose folder keeps others out; files in it are readable.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = socket::bind(&config.socket)?;
    std::fs::create_dir_all(&config.record_dir)
        .with_context(|| format!("cannot make {}", config.record_dir.display()))?;
    warn_if_open(&config.record_dir);
    let state = State::open(&config.state_dir)?;
    let mut processes = ProcessTable::new(&config.roots());
    let registry = state
        .load(&mut processes, unix_ns())
        .context("cannot read the state")?;
    let found = registry.jobs.len();
    let shared = Arc::new(Shared::new(config, state, registry));
    let metrics = serve_metrics(&shared).await?;
    let (work, merges) = sync_channel(MAX_WAITING_WORK);
    let (digests, files) = sync_channel(MAX_WAITING_WORK);
    start_workers(&shared, "worker", worker::WORKERS, merges)?;
    start_workers(&shared, "digester", worker::DIGESTERS, files)?;
    let engine = start_engine(&shared, Queues { work, digests }, processes)?;
    let mut engine = tokio::task::spawn_blocking(move || engine.join());
    let service = Arc::new(Service::new(Arc::clone(&shared)));
    let socket = tokio::spawn(socket::serve(listener, service, Arc::clone(&shared)));
    let config = &shared.config;
    tracing::info!(
        node = config.node, socket = %config.socket.display(), jobs = found,
        records = %config.record_dir.display(), "mizard {} is ready", mizar_core::VERSION
    );
    notify::systemd("READY=1");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // Whoever started it starts it again, and running jobs are found again.
        _ = &mut engine => anyhow::bail!("the sampler has panicked"),
    }
    tracing::info!("stopping; running jobs are found again at the next start");
    notify::systemd("STOPPING=1");
    socket.abort();
    metrics.inspect(tokio::task::JoinHandle::abort);
    let _ = std::fs::remove_file(&shared.config.socket);
    shared.stop();
    if engine.await?.is_err() {
        anyhow::bail!("the sampler had panicked");
    }
    Ok(())
}

/// Who may rename a job's folder may put a link in its place.
fn warn_if_open(record_dir: &std::path::Path) {
    const OTHERS_WRITE: u32 = 0o022;
    let mode = std::fs::metadata(record_dir)
        .map_or(0, |status| std::os::unix::fs::MetadataExt::mode(&status));
    if mode & OTHERS_WRITE != 0 {
        tracing::warn!(
            record_dir = %record_dir.display(),
            "others than its owner may write to `record_dir`: make it 0755"
        );
    }
}

async fn serve_metrics(
    shared: &Arc<Shared>,
) -> anyhow::Result<Option<tokio::task::JoinHandle<()>>> {
    let Some(address) = shared.config.metrics_address() else {
        return Ok(None);
    };
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve metrics at {address} (`metrics_listen`)"))?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    let router = metrics::router(Arc::clone(shared));
    Ok(Some(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    })))
}

/// Workers end with the process: a child of theirs may be stuck.
fn start_workers(
    shared: &Arc<Shared>,
    name: &str,
    count: usize,
    receiver: Receiver<Work>,
) -> anyhow::Result<()> {
    let queue = Arc::new(Mutex::new(receiver));
    for index in 0..count {
        let (shared, queue) = (Arc::clone(shared), Arc::clone(&queue));
        std::thread::Builder::new()
            .name(format!("{name}-{index}"))
            .spawn(move || worker::run(&shared, &queue))?;
    }
    Ok(())
}

fn start_engine(
    shared: &Arc<Shared>,
    queues: Queues,
    processes: ProcessTable,
) -> anyhow::Result<JoinHandle<()>> {
    let engine = Engine::new(Arc::clone(shared), queues, processes);
    Ok(std::thread::Builder::new()
        .name("sampler".to_owned())
        .spawn(move || engine.run())?)
}

mod environment {
    #![allow(
        unsafe_code,
        reason = "changing the environment is unsafe once threads exist"
    )]

    /// HDF5 locks files it opens and fails where the file system has no locks (Lustre without
    /// `flock`). Segments are created exclusively, so the lock protects nothing.
    pub(super) fn spare_file_locks() {
        const VARIABLE: &str = "HDF5_USE_FILE_LOCKING";
        if std::env::var_os(VARIABLE).is_none() {
            // SAFETY: called first thing in `main`, while there is one thread.
            unsafe { std::env::set_var(VARIABLE, "FALSE") }
        }
    }
}
