//! Durable events per second with their latency.
//!
//! Measured with the submitters paused (Slurm is away), over loopback with keep-alive
//! connections, each client sending its next request when the last is answered; an event counts
//! once it was acknowledged, which is after its commit was synced.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::bail;
use mizar_benches::{Figure, Report, percentile};

use crate::Arguments;
use crate::client::{Client, batch};
use crate::gateway::{Gateway, cache};

/// The promise: durable events per second, one event per request.
const LEAST_EVENTS_PER_SECOND: f64 = 1000.0;

/// The promise: the 99th percentile of a request with one event.
const MOST_P99_MS: f64 = 20.0;

/// The promise: events in hundreds per second, of those that the disk alone would take.
const LEAST_OF_DISK: f64 = 0.5;

/// The promise: the 99th percentile of a request with a hundred events at a rate of [`PACE`].
const MOST_P99_PACED_MS: f64 = 10.0;

/// Events per second of a detector, in hundreds.
const PACE: u32 = 2000;

/// Events in a request of the batches.
const BATCH: usize = 100;

/// Measures intake, one event per request and then a hundred, and these at a given pace.
pub(crate) fn intake(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(cache()?)?;
    // Before and after: a disk has moods.
    let mut disk = synced(folder.path(), arguments.seconds / 2.0)?;
    for size in [1, BATCH] {
        let (_folder, gateway) = away()?;
        let begin = Instant::now();
        let clients: Vec<_> = (0..arguments.clients)
            .map(|client| {
                let (address, seconds) = (gateway.address, arguments.seconds);
                std::thread::spawn(move || send(address, client, size, seconds))
            })
            .collect();
        let times = joined(clients)?;
        let rate = (times.len() * size) as f64 / begin.elapsed().as_secs_f64();
        let name = |what: &str| format!("{what}, {size} per request");
        let (p50, p99) = (percentile(&times, 50.0), percentile(&times, 99.0));
        if size == BATCH {
            disk = disk.midpoint(synced(folder.path(), arguments.seconds / 2.0)?);
            report.add(Figure::new(
                "the same bytes appended to a file and synced one request after the other",
                disk,
                "1/s",
            ));
            report.add(
                Figure::new("durable events of those of the disk", rate / disk, "times")
                    .at_least(LEAST_OF_DISK),
            );
        }
        let rate = Figure::new(name("durable events"), rate, "1/s");
        let p99 = Figure::new(name("p99 of a request"), p99, "ms");
        let promised = size == 1;
        report.add(if promised {
            rate.at_least(LEAST_EVENTS_PER_SECOND)
        } else {
            rate
        });
        report.add(Figure::new(name("p50 of a request"), p50, "ms"));
        report.add(if promised {
            p99.at_most(MOST_P99_MS)
        } else {
            p99
        });
    }
    paced(arguments, report)
}

/// A gateway that hands nothing on, in a folder of its own.
fn away() -> anyhow::Result<(tempfile::TempDir, Gateway)> {
    let folder = tempfile::tempdir_in(cache()?)?;
    let slurm = "bin_dir = \"/nonexistent\"\npoll_ms = 600000\n";
    let gateway = Gateway::start(folder.path(), slurm)?;
    Ok((folder, gateway))
}

/// Events per second that the disk takes in hundreds if each hundred is synced.
fn synced(folder: &Path, seconds: f64) -> anyhow::Result<f64> {
    let path = folder.join("synced");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let (begin, mut count) = (Instant::now(), 0_usize);
    while begin.elapsed().as_secs_f64() < seconds {
        file.write_all(batch(0, count, BATCH).as_bytes())?;
        file.sync_data()?;
        count += 1;
    }
    Ok((count * BATCH) as f64 / begin.elapsed().as_secs_f64())
}

/// Sends hundreds at a pace; a request's time counts from when it was due, whatever those before
/// it took.
fn paced(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let (_folder, gateway) = away()?;
    let every = Duration::from_secs(BATCH as u64) / PACE;
    let begin = Instant::now();
    let clients: Vec<_> = (0..arguments.clients)
        .map(|client| {
            let (address, seconds, step) = (gateway.address, arguments.seconds, arguments.clients);
            std::thread::spawn(move || -> anyhow::Result<Vec<f64>> {
                let mut connection = Client::connect(address)?;
                let mut times = Vec::new();
                for n in 0_u32.. {
                    let place = client as u32 + n * step as u32;
                    let due = begin + every * place;
                    if due.duration_since(begin).as_secs_f64() > seconds {
                        break;
                    }
                    let body = batch(client, n as usize, BATCH);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    connection.post(&body)?;
                    times.push(due.elapsed().as_secs_f64() * 1000.0);
                }
                Ok(times)
            })
        })
        .collect();
    let times = joined(clients)?;
    let name = |what: &str| format!("{what} of a request, {BATCH} per request at {PACE} events/s");
    report.add(Figure::new(name("p50"), percentile(&times, 50.0), "ms"));
    report.add(Figure::new(name("p99"), percentile(&times, 99.0), "ms").at_most(MOST_P99_PACED_MS));
    Ok(())
}

/// The times of all clients, once they have ended.
fn joined(clients: Vec<JoinHandle<anyhow::Result<Vec<f64>>>>) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    for client in clients {
        match client.join() {
            Ok(sent) => times.extend(sent?),
            Err(_) => bail!("a client panicked"),
        }
    }
    Ok(times)
}

/// Sends for some seconds; returns each request's time in milliseconds.
fn send(address: SocketAddr, client: usize, size: usize, seconds: f64) -> anyhow::Result<Vec<f64>> {
    let mut connection = Client::connect(address)?;
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed().as_secs_f64() < seconds {
        let body = batch(client, times.len(), size);
        let started = Instant::now();
        connection.post(&body)?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}
