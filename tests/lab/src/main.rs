//! `mizar-lab`: a private real Slurm for a person at a shell.
//!
//! `up` starts a second process of this program, `serve`, that owns the lab and survives the
//! command; `down` asks it to end. Exit codes: 0 done, 1 failed, 2 wrong arguments.

mod serve;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use serve::Serving;
use std::path::PathBuf;

/// A private real Slurm cluster on this machine, for tests and demos.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the cluster and leave it running.
    Up(Up),
    /// Stop the cluster; logs and job records stay.
    Down(Place),
    /// Print the path of a file to source for srun, sbatch, squeue and mizar.
    Env(Place),
    /// Show nodes and jobs.
    Status(Place),
    /// Own the cluster until SIGTERM (what `up` leaves running).
    #[command(hide = true)]
    Serve(Up),
}

#[derive(Debug, Args)]
struct Place {
    /// Directory of the cluster.
    #[arg(long, env = "MIZAR_LAB_DIR", default_value_os_t = default_dir(), value_parser = absolute)]
    dir: PathBuf,
}

fn absolute(text: &str) -> std::io::Result<PathBuf> {
    std::path::absolute(text)
}

#[derive(Debug, Args)]
struct Up {
    #[command(flatten)]
    place: Place,
    /// Number of nodes.
    #[arg(long, default_value_t = 2)]
    nodes: u32,
    /// CPUs that each node claims; the machine may have fewer.
    #[arg(long, default_value_t = 4)]
    cpus: u32,
    /// Memory that each node claims, in MiB.
    #[arg(long, default_value_t = 4000)]
    memory_mib: u32,
    /// Simulated GPUs per node: device nodes without a driver.
    #[arg(long, default_value_t = 0)]
    gpus: u32,
    /// Add slurmdbd with a private MariaDB, so that sacct works.
    #[arg(long)]
    dbd: bool,
    /// Plain Slurm: no plugin, no mizard.
    #[arg(long)]
    without_mizar: bool,
    /// A key of every mizard's configuration, with a TOML value; repeatable.
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "without_mizar")]
    mizard: Vec<String>,
}

/// `~/.cache/mizar/lab`, or below `XDG_CACHE_HOME`.
fn default_dir() -> PathBuf {
    let cache = mizar_lab::venv::cache();
    cache.map_or_else(
        || std::env::temp_dir().join("mizar/lab"),
        |cache| cache.join("lab"),
    )
}

fn main() -> std::process::ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mizar-lab: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(up) => serve::up(&up),
        Command::Serve(up) => serve::serve(&up),
        Command::Down(place) => serve::down(&place.dir),
        Command::Env(place) => {
            Serving::running(&place.dir)?;
            println!("{}", serve::env_file(&place.dir).display());
            Ok(())
        }
        Command::Status(place) => status(&place),
    }
}

fn status(place: &Place) -> anyhow::Result<()> {
    let serving = Serving::running(&place.dir)?;
    println!(
        "{} nodes in {}, process {}",
        serving.nodes,
        place.dir.display(),
        serving.pid
    );
    for arguments in [&["sinfo", "-N", "-l"][..], &["squeue"]] {
        let mut command = std::process::Command::new(arguments[0]);
        command
            .args(&arguments[1..])
            .envs(serving.env.iter().map(|(key, value)| (key, value)));
        let status = command
            .status()
            .with_context(|| format!("cannot run {}", arguments[0]))?;
        if !status.success() {
            bail!("{} failed ({status})", arguments[0]);
        }
    }
    Ok(())
}
