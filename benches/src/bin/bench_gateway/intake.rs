//! Durable events per second with their latency.
//!
//! Measured with the submitters paused (Slurm is away), over loopback with keep-alive
//! connections, each client sending its next request when the last is answered; an event counts
//! once it was acknowledged, which is after its commit was synced.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::bail;
use mizar_benches::{Figure, Report, percentile};

use crate::Arguments;
use crate::client::{Client, batch};
use crate::gateway::{Gateway, cache};

/// The promise: durable events per second, one event per request.
const LEAST_EVENTS_PER_SECOND: f64 = 1000.0;

/// The promise: the 99th percentile of a request with one event.
const MOST_P99_MS: f64 = 20.0;

/// Measures intake, one event per request and then a hundred.
pub(crate) fn intake(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    for size in [1, 100] {
        let folder = tempfile::tempdir_in(cache()?)?;
        let gateway = Gateway::start(
            folder.path(),
            "bin_dir = \"/nonexistent\"\npoll_ms = 600000\n",
        )?;
        let begin = Instant::now();
        let clients: Vec<_> = (0..arguments.clients)
            .map(|client| {
                let (address, seconds) = (gateway.address, arguments.seconds);
                std::thread::spawn(move || send(address, client, size, seconds))
            })
            .collect();
        let mut times = Vec::new();
        for client in clients {
            match client.join() {
                Ok(sent) => times.extend(sent?),
                Err(_) => bail!("a client panicked"),
            }
        }
        let rate = (times.len() * size) as f64 / begin.elapsed().as_secs_f64();
        let name = |what: &str| format!("{what}, {size} per request");
        let (p50, p99) = (percentile(&times, 50.0), percentile(&times, 99.0));
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
    Ok(())
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
