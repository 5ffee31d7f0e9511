//! `mizar infer --serve`: flags of the server, and what it says of itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mizar_infer::Loader;
use mizar_infer::server::{Address, Settings, serve};

use super::say;

/// Limits of a server.
#[derive(clap::Args)]
#[command(next_help_heading = "Options of --serve")]
pub(super) struct Limits {
    /// How long a request waits for others to run with, in milliseconds
    #[arg(long, value_name = "MS", default_value = "2")]
    latency_ms: u64,
    /// Items that run together at most
    #[arg(long, value_name = "COUNT", default_value = "64")]
    max_batch: usize,
    /// Requests that may wait for each model
    #[arg(long, value_name = "COUNT", default_value = "256")]
    queue: usize,
    /// Largest body of a request, in MiB
    #[arg(long, value_name = "MIB", default_value = "64")]
    max_body: usize,
    /// How long a body may take to arrive, in seconds
    #[arg(long, value_name = "S", default_value = "30")]
    body_limit: u64,
    /// Memory for all models, in MiB; each counts for twice its file
    #[arg(long, value_name = "MIB", default_value = "4096")]
    memory: u64,
    /// How long a request waits for a model that is still being loaded, in seconds
    #[arg(long, value_name = "S", default_value = "30")]
    load_limit: u64,
    /// A file with the token that clients over TCP must bring
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Serves until it is told to end.
pub(super) fn run(
    address: &str,
    models: &[PathBuf],
    args: &Limits,
    loader: Loader,
) -> anyhow::Result<ExitCode> {
    let settings = Settings {
        latency: Duration::from_millis(args.latency_ms),
        batch: args.max_batch.max(1),
        queue: args.queue.max(1),
        body_bytes: args.max_body.saturating_mul(1 << 20),
        body_limit: Duration::from_secs(args.body_limit),
        load_limit: Duration::from_secs(args.load_limit),
        memory_bytes: args.memory.saturating_mul(1 << 20),
        token: args.token_file.as_deref().map(token).transpose()?,
        ..Settings::default()
    };
    let listening = |place: &str| say(&format!("mizar infer: serving at {place}"));
    serve(
        &Address::parse(address),
        models,
        loader,
        settings,
        listening,
    )?;
    say("mizar infer: ended");
    Ok(ExitCode::SUCCESS)
}

fn token(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read the token in {}", path.display()))?;
    let token = text.trim();
    if token.is_empty() {
        bail!("{} holds no token", path.display());
    }
    Ok(token.to_owned())
}
