//! A `mizard` of a benchmark's own with tasks to watch, and what both cost.
//!
//! Tasks are sleeping shells with a child each, so that what is measured is the daemon and not
//! the work. CPU time is the scheduler's own count in nanoseconds, summed over the daemon's
//! threads; its children at the end of a job are not part of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use mizar_api::{Client, Request, Response, StepRegistration, TaskRegistration};
use mizar_core::ids::{JobId, Rank, StepId};

/// The job that is watched.
pub const JOB: JobId = JobId(1);

/// Everything but a measurement itself takes no longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with the value.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A task to watch: two processes.
#[derive(Debug)]
pub struct Task(Running);

impl Task {
    /// A shell and a child that ends with the shell's input, so nothing is left behind.
    ///
    /// # Errors
    /// If there is no shell, or no room for another process.
    pub fn start() -> anyhow::Result<Self> {
        let child = Command::new("sh")
            .args(["-c", "exec 3<&0; cat <&3 & wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self(Running(child)))
    }
}

/// The daemon.
#[derive(Debug)]
pub struct Daemon {
    process: Running,
    client: Client,
    folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts it with these lines in its configuration, which no file of the site adds to.
    ///
    /// # Errors
    /// If it does not start or does not answer.
    pub fn start(binary: &Path, keys: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("mizard.sock");
        let config = folder.path().join("mizard.toml");
        std::fs::write(&config, keys)?;
        let child = Command::new(binary)
            .args(["--node", "bench", "--metrics-listen", ""])
            .arg("--socket")
            .arg(&socket)
            .arg("--record-dir")
            .arg(folder.path().join("records"))
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .env("MIZARD_CONFIG", config)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let daemon = Self {
            process: Running(child),
            client: Client::new(&socket, Duration::from_secs(5)),
            folder,
        };
        wait_for(|| daemon.client.ask(Request::Ping).is_ok())?;
        Ok(daemon)
    }

    /// Registers a step of these tasks, as the plugin would, and waits until all have rates.
    /// `gpus` is Slurm's list of those of the step.
    ///
    /// # Errors
    /// If the daemon refuses, or does not get to sample them.
    pub fn watch(&self, tasks: &[Task], gpus: Option<&str>) -> anyhow::Result<()> {
        let step = registration(tasks, gpus);
        self.client.ask(Request::RegisterStep(Box::new(step)))?;
        wait_for(|| self.sampled_twice())
    }

    fn sampled_twice(&self) -> bool {
        match self.client.ask(Request::Jobs { job: Some(JOB) }) {
            Ok(Response::Jobs { jobs }) => {
                let steps = jobs.iter().flat_map(|job| &job.steps);
                let mut tasks = steps.flat_map(|step| &step.tasks);
                tasks.all(|task| task.cpus_busy.is_some())
            }
            _ => false,
        }
    }

    /// The share of one core that it uses over a time.
    ///
    /// # Errors
    /// If it is gone.
    pub fn share(&self, time: Duration) -> anyhow::Result<f64> {
        let (before, start) = (self.spent_ns()?, Instant::now());
        std::thread::sleep(time);
        Ok((self.spent_ns()? - before) as f64 * 1e-9 / start.elapsed().as_secs_f64())
    }

    fn spent_ns(&self) -> anyhow::Result<u64> {
        match cpu_ns(self.process.0.id()) {
            0 => anyhow::bail!("mizard is gone"),
            spent => Ok(spent),
        }
    }

    /// Its resident memory.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .context("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    /// Ends the job, and gives the size of its finished record.
    ///
    /// # Errors
    /// If the record is not finished in time.
    pub fn finish(&self) -> anyhow::Result<u64> {
        self.client.ask(Request::JobEnd { job: JOB })?;
        let record = self.record();
        wait_for(|| record.exists())?;
        Ok(std::fs::metadata(record)?.len())
    }

    /// The job's merged record, once it is finished.
    fn record(&self) -> PathBuf {
        let records = self.folder.path().join("records");
        records.join(JOB.to_string()).join("job.h5")
    }
}

/// The CPU time of all threads that a process has; 0 if it is gone.
#[must_use]
pub fn cpu_ns(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let spent = |thread: std::io::Result<std::fs::DirEntry>| {
        // A thread may end between the two.
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads.map_or(0, |threads| threads.filter_map(spent).sum())
}

fn registration(tasks: &[Task], gpus: Option<&str>) -> StepRegistration {
    let task = |(index, task): (usize, &Task)| TaskRegistration {
        rank: Rank(index as u32),
        local_rank: index as u32,
        pid: task.0.0.id() as i32,
        visible_gpus: gpus.is_none().then(|| "NoDevFiles".to_owned()),
    };
    let slurm = gpus.map(|list| ("SLURM_STEP_GPUS".to_owned(), list.to_owned()));
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
        variables: slurm.into_iter().collect(),
        sample_ms: None,
        comm: false,
        stepd_pid: 1,
        tasks: tasks.iter().enumerate().map(task).collect(),
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
