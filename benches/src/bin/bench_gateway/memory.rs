//! What a long queue costs in memory: the peak of a gateway that takes events which nobody takes
//! from it, and of one that is started with them.

use std::fs;

use anyhow::{Context, ensure};
use mizar_benches::{Figure, Report};
use serde_json::Value;

use crate::Arguments;
use crate::client::{Client, batch};
use crate::gateway::{Gateway, cache};

/// The promise, for a million events.
const MOST_MB: f64 = 200.0;

/// Events in a request.
const BATCH: usize = 500;

/// Queues events, and starts another gateway with them.
pub(crate) fn memory(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(cache()?)?;
    let slurm = "bin_dir = \"/nonexistent\"\npoll_ms = 1000\n";
    let gateway = Gateway::start(folder.path(), slurm)?;
    let mut client = Client::connect(gateway.address)?;
    for request in 0..arguments.queued.div_ceil(BATCH) {
        client.post(&batch(0, request, BATCH))?;
        if request % 200 == 0 {
            eprintln!("bench_gateway: {} events are queued", request * BATCH);
        }
    }
    let taking = peak_mb(gateway.id())?;
    drop(gateway);
    let gateway = Gateway::start(folder.path(), slurm)?;
    let mut client = Client::connect(gateway.address)?;
    // What people look at while a queue is long.
    let overview: Value = serde_json::from_slice(&client.get("/v1/overview")?)?;
    client.get("/v1/jobs?limit=1000")?;
    client.get("/metrics")?;
    // Some are about to be submitted, to a Slurm that is not there.
    let counts = ["waiting", "submitting"].map(|name| overview["services"][0][name].as_u64());
    let queued: u64 = counts.into_iter().flatten().sum();
    ensure!(
        queued as usize >= arguments.queued,
        "only {queued} events are queued: {overview}"
    );
    let name = |what: &str| format!("peak memory {what} {} queued events", arguments.queued);
    for (what, peak) in [
        ("while taking", taking),
        ("started with", peak_mb(gateway.id())?),
    ] {
        report.add(Figure::new(name(what), peak, "MB").at_most(MOST_MB));
    }
    Ok(())
}

/// The most memory that a process ever had.
fn peak_mb(process: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = line.context("no VmHWM")?.trim().split(' ').next();
    let kb: f64 = words.unwrap_or_default().parse()?;
    Ok(kb / 1e3)
}
