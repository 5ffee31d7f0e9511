//! What `mizar-gateway` takes in and hands on, a file for each case.

mod client;
mod gateway;
mod intake;
mod memory;
mod pods;
mod run;
mod submission;

use std::time::Duration;

use clap::Parser;
use mizar_benches::Report;

/// Time to be ready, and for the last submission.
const PATIENCE: Duration = Duration::from_secs(120);

/// Times intake, submission, pods and synchronous calls of the gateway.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of each intake measurement; 0 leaves intake out
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Clients at the same time
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Jobs to submit each way, enough that the last look counts for little, and ten times as many
    /// events as job arrays; 0 leaves submission out
    #[arg(long, default_value_t = 1000)]
    jobs: usize,
    /// Pods that are asked about; 0 leaves them out
    #[arg(long, default_value_t = 1000)]
    pods: usize,
    /// Synchronous calls to a warm worker; 0 leaves them out
    #[arg(long, default_value_t = 500)]
    calls: usize,
    /// Events that wait in the queue while its memory is measured; 0 leaves it out
    #[arg(long, default_value_t = 1_000_000)]
    queued: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let method = format!(
        "{} keep-alive clients over loopback for {} s each; {} jobs into a stopped partition; {} \
         running pods; {} synchronous calls; {} queued events",
        arguments.clients,
        arguments.seconds,
        arguments.jobs,
        arguments.pods,
        arguments.calls,
        arguments.queued
    );
    let mut report = Report::new("gateway", method);
    report.peer("slurm", "slurmctld", &["-V"]);
    if arguments.seconds > 0.0 {
        intake::intake(&arguments, &mut report)?;
    }
    if arguments.jobs > 0 {
        submission::submission(&arguments, &mut report)?;
    }
    if arguments.pods > 0 {
        pods::pods(&arguments, &mut report)?;
    }
    if arguments.calls > 0 {
        run::run(&arguments, &mut report)?;
    }
    if arguments.queued > 0 {
        memory::memory(&arguments, &mut report)?;
    }
    std::process::exit(report.finish(arguments.json));
}
