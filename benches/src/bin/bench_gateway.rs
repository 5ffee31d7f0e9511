//! What `mizar-gateway` takes in and hands on: durable events per second with their latency,
//! and submissions per second beside a plain loop of `sbatch`.
//!
//! Intake is measured with the submitters paused (Slurm is away), over loopback with
//! keep-alive connections, each client sending its next request when the last is answered; an
//! event counts once it was acknowledged, which is after its commit was synced. Submission is
//! measured on a lab whose partition is down, so that running jobs take no part of the CPUs.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use mizar_benches::{Figure, Report, percentile};
use mizar_lab::Lab;
use serde_json::{Value, json};

/// The promise: durable events per second, one event per request.
const LEAST_EVENTS_PER_SECOND: f64 = 1000.0;

/// The promise: the 99th percentile of a request with one event.
const MOST_P99_MS: f64 = 20.0;

/// The promise: submission keeps up with `sbatch` in a loop.
const LEAST_SUBMIT_RATIO: f64 = 1.0;

/// Time to be ready, and for the last submission.
const PATIENCE: Duration = Duration::from_secs(120);

/// Times intake and submission of the gateway.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of each intake measurement
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Clients at the same time
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Jobs to submit each way, enough that the last look counts for little; 0 leaves
    /// submission out
    #[arg(long, default_value_t = 1000)]
    jobs: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let method = format!(
        "{} keep-alive clients over loopback for {} s each; {} jobs into a stopped partition",
        arguments.clients, arguments.seconds, arguments.jobs
    );
    let mut report = Report::new("gateway", method);
    report.peer("slurm", "slurmctld", &["-V"]);
    intake(&arguments, &mut report)?;
    if arguments.jobs > 0 {
        submission(&arguments, &mut report)?;
    }
    std::process::exit(report.finish(arguments.json));
}

/// A gateway that ends with this value.
struct Gateway {
    child: Child,
    address: SocketAddr,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(dir: &Path, slurm: &str) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let script = dir.join("job.sh");
        fs::write(&script, "#!/bin/sh\ntrue\n")?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let services = format!(
            "[[service]]\nname = \"bench\"\nscript = \"{}\"\n",
            script.display()
        );
        fs::write(dir.join("services.toml"), services)?;
        let config = format!(
            "listen = \"{address}\"\nstate_dir = \"state\"\nwork_dir = \"work\"\n\
             services = [\"services.toml\"]\n[limits]\nqueue_events = 100000000\n[slurm]\n{slurm}"
        );
        fs::write(dir.join("gateway.toml"), config)?;
        let program = mizar_lab::binary("mizar-gateway");
        let child = Command::new(&program)
            .args(["serve", "--config"])
            .arg(dir.join("gateway.toml"))
            .env("MIZAR_LOG", "error")
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot run {}; build it first", program.display()))?;
        let mut gateway = Self { child, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(gateway.child.try_wait()?.is_none(), "the gateway ended");
            ensure!(started.elapsed() < PATIENCE, "the gateway is not ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(gateway)
    }
}

/// One keep-alive connection.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Posts a batch and returns the body of the answer, which must be 202.
    fn post(&mut self, body: &str) -> anyhow::Result<Vec<u8>> {
        let request = format!(
            "POST /events HTTP/1.1\r\nhost: bench\r\ncontent-type: application/cloudevents-batch+json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.exchange(&request)
    }

    fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n"))
    }

    fn exchange(&mut self, request: &str) -> anyhow::Result<Vec<u8>> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length, mut accepted) = (String::new(), 0, false);
        loop {
            line.clear();
            ensure!(
                self.stream.read_line(&mut line)? > 0,
                "the connection ended"
            );
            let lower = line.trim().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            accepted |= lower.starts_with("http/1.1 20");
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        ensure!(accepted, "refused: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

fn batch(client: usize, request: usize, size: usize) -> String {
    let events: Vec<Value> = (0..size)
        .map(|n| {
            json!({"specversion": "1.0", "id": format!("{client}-{request}-{n}"), "source": "/bench",
                "type": "bench", "subject": "incoming/tas_day_2026.nc", "data": {"bytes": 123_456_789, "n": n}})
        })
        .collect();
    Value::Array(events).to_string()
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

fn intake(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
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

/// A folder on a real disk: a temporary file system syncs for nothing.
fn cache() -> anyhow::Result<std::path::PathBuf> {
    let cache = mizar_lab::venv::cache().context("neither XDG_CACHE_HOME nor HOME is set")?;
    let folder = cache.join("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn submission(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let lab = Lab::builder()
        .nodes(1)
        .slurm_conf_extra("MaxJobCount=100000\nSchedulerParameters=batch_sched_delay=0\n")
        .start()
        .context("the lab")?;
    let mut sinfo = lab.command("sinfo");
    sinfo.args(["-h", "-o", "%R"]);
    let partition = String::from_utf8(lab.run_output(sinfo)?.stdout)?;
    let mut down = lab.command("scontrol");
    down.args([
        "update",
        &format!("PartitionName={}", partition.trim()),
        "State=DOWN",
    ]);
    lab.run_output(down)?;
    let folder = tempfile::tempdir_in(lab.dir())?;
    let conf = lab
        .env()
        .into_iter()
        .find(|(name, _)| name == "SLURM_CONF")
        .context("no conf")?
        .1;
    let slurm = format!("conf = \"{conf}\"\npoll_ms = 2000\n");
    let gateway = Gateway::start(folder.path(), &slurm)?;
    let script = folder.path().join("job.sh");

    let mut plain = lab.command("sh");
    plain
        .args(["-c", "n=0; while [ $n -lt $1 ]; do sbatch --parsable -o /dev/null \"$2\" || exit 1; n=$((n+1)); done", "sh"])
        .arg(arguments.jobs.to_string())
        .arg(&script)
        .stdout(Stdio::null());
    let started = Instant::now();
    ensure!(plain.status()?.success(), "the plain loop failed");
    let plain_rate = arguments.jobs as f64 / started.elapsed().as_secs_f64();

    let mut client = Client::connect(gateway.address)?;
    let started = Instant::now();
    client.post(&batch(0, 0, arguments.jobs))?;
    loop {
        let page: Value =
            serde_json::from_slice(&client.get("/v1/jobs?state=submitted&limit=1000")?)?;
        let submitted = page["jobs"].as_array().map_or(0, Vec::len);
        if submitted >= arguments.jobs.min(1000) {
            break;
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "only {submitted} jobs were submitted"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let rate = arguments.jobs as f64 / started.elapsed().as_secs_f64();
    report.add(Figure::new("sbatch in a shell loop", plain_rate, "1/s"));
    report.add(Figure::new(
        "submission from acknowledged events",
        rate,
        "1/s",
    ));
    report.add(
        Figure::new("submission over the loop", rate / plain_rate, "times")
            .at_least(LEAST_SUBMIT_RATIO),
    );
    Ok(())
}
