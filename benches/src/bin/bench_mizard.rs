//! What `mizard` costs a node: its share of one core and its memory while it samples 50 tasks
//! once a second and writes their record.
//!
//! The tasks are a job of sleeping shells with a child each, so that what is measured is the
//! daemon and not the work. CPU time is the scheduler's own count in nanoseconds, summed over
//! the daemon's threads; its children at the end of a job are not part of the promise.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use mizar_api::{Client, Request, Response, StepRegistration, TaskRegistration};
use mizar_benches::{Figure, Report};
use mizar_core::ids::{JobId, Rank, StepId};

/// The promises.
const MOST_CORE_PERCENT: f64 = 0.5;
const MOST_MEMORY_MB: f64 = 50.0;

/// The job that is watched.
const JOB: JobId = JobId(1);

/// Everything but the measurement itself takes no longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures the cost of mizard at 1 Hz.
#[derive(Debug, Parser)]
struct Arguments {
    /// Tasks to watch
    #[arg(long, default_value_t = 50)]
    tasks: u32,
    /// Seconds to measure
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A process that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let method = format!(
        "{} tasks of 2 processes at 1 Hz for {} s; CPU time from /proc/<pid>/task/*/schedstat",
        arguments.tasks, arguments.seconds
    );
    let mut report = Report::new("mizard", method);
    let binary = mizar_lab::binary("mizard");
    report.peer("mizard", &binary.display().to_string(), &["--version"]);
    measure(&binary, &arguments, &mut report)?;
    std::process::exit(report.finish(arguments.json));
}

fn measure(binary: &Path, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("mizard.sock");
    let daemon = Command::new(binary)
        .args([
            "--node",
            "bench",
            "--metrics-listen",
            "",
            "--sample-ms",
            "1000",
        ])
        .arg("--socket")
        .arg(&socket)
        .arg("--record-dir")
        .arg(folder.path().join("records"))
        .arg("--state-dir")
        .arg(folder.path().join("state"))
        .env("MIZARD_CONFIG", write_config(folder.path())?)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let daemon = Running(daemon);
    let client = Client::new(&socket, Duration::from_secs(5));
    wait_for(|| client.ask(Request::Ping).is_ok())?;
    let idle = share(&daemon, Duration::from_secs(5))?;
    let tasks = (0..arguments.tasks)
        .map(|_| start_task())
        .collect::<anyhow::Result<Vec<_>>>()?;
    client.ask(Request::RegisterStep(Box::new(registration(&tasks))))?;
    wait_for(|| sampled_twice(&client))?;
    let watching = share(&daemon, Duration::from_secs(arguments.seconds))?;
    let memory_mb = resident_bytes(&daemon)? as f64 * 1e-6;
    let name = format!("mizard with {} tasks", arguments.tasks);
    report.add(Figure::new(name, 100.0 * watching, "% of a core").at_most(MOST_CORE_PERCENT));
    report.add(Figure::new("resident memory", memory_mb, "MB").at_most(MOST_MEMORY_MB));
    report.add(Figure::new(
        "mizard without jobs",
        100.0 * idle,
        "% of a core",
    ));
    Ok(())
}

/// An empty file, so that no configuration of the site takes part.
fn write_config(folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let path = folder.join("mizard.toml");
    std::fs::write(&path, "")?;
    Ok(path)
}

/// A shell and a child that ends with the shell's input, so nothing is left behind.
fn start_task() -> anyhow::Result<Running> {
    let child = Command::new("sh")
        .args(["-c", "exec 3<&0; cat <&3 & wait"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Running(child))
}

fn registration(tasks: &[Running]) -> StepRegistration {
    let task = |(index, task): (usize, &Running)| TaskRegistration {
        rank: Rank(index as u32),
        local_rank: index as u32,
        pid: task.0.id() as i32,
        visible_gpus: None,
    };
    StepRegistration {
        job: JOB,
        step: StepId(0),
        array: None,
        restart_count: 0,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        node: "bench".to_owned(),
        node_index: 0,
        job_nodes: "bench".to_owned(),
        step_nodes: "bench".to_owned(),
        task_count: tasks.len() as u32,
        job_cpus: None,
        job_memory_mib: None,
        command: vec!["cat".to_owned()],
        cwd: "/".into(),
        variables: Vec::new(),
        sample_ms: None,
        comm: false,
        stepd_pid: 1,
        tasks: tasks.iter().enumerate().map(task).collect(),
    }
}

fn sampled_twice(client: &Client) -> bool {
    match client.ask(Request::Jobs { job: Some(JOB) }) {
        Ok(Response::Jobs { jobs }) => {
            let mut tasks = jobs
                .iter()
                .flat_map(|job| &job.steps)
                .flat_map(|step| &step.tasks);
            tasks.all(|task| task.cpus_busy.is_some())
        }
        _ => false,
    }
}

fn wait_for(ready: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "mizard does not answer as it should"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The share of one core that the daemon uses over a time.
fn share(daemon: &Running, time: Duration) -> anyhow::Result<f64> {
    let (before, start) = (cpu_ns(daemon)?, Instant::now());
    std::thread::sleep(time);
    Ok((cpu_ns(daemon)? - before) as f64 * 1e-9 / start.elapsed().as_secs_f64())
}

fn cpu_ns(daemon: &Running) -> anyhow::Result<u64> {
    let mut sum = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", daemon.0.id()))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text
            .split(' ')
            .next()
            .context("schedstat is empty")?
            .parse::<u64>()?;
    }
    Ok(sum)
}

fn resident_bytes(daemon: &Running) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.0.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}
