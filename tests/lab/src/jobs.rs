//! Submitting jobs to a lab and waiting for them.

use crate::process::{POLL, describe, run};
use crate::{Lab, LabError};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Slurm's number of a job.
pub type JobId = u32;

/// States in which a job is not over.
const UNFINISHED: [&str; 10] = [
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "COMPLETING",
    "SUSPENDED",
    "STOPPED",
    "SIGNALING",
    "STAGE_OUT",
    "RESIZING",
    "REQUEUED",
];
/// Between two questions to slurmctld, each a process.
const ASK_EVERY: Duration = Duration::from_millis(100);

impl Lab {
    /// Submits a batch script and returns the job's number. The job's working directory is
    /// `out` in the lab's directory, so its output is `out/slurm-<job>.out`.
    ///
    /// # Errors
    /// [`LabError::Command`] with sbatch's message.
    pub fn sbatch(&self, script: &str, arguments: &[&str]) -> Result<JobId, LabError> {
        let mut command = self.command("sbatch");
        command
            .arg("--parsable")
            .args(arguments)
            .current_dir(self.dir().join("out"));
        let text = describe(&command);
        let spawn_error = |source| LabError::Spawn {
            program: text.clone(),
            source,
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(spawn_error)?;
        if let Some(mut input) = child.stdin.take() {
            // An sbatch that refuses its arguments does not read the script.
            let _ = input.write_all(script.as_bytes());
        }
        let output = child.wait_with_output().map_err(spawn_error)?;
        if !output.status.success() {
            return Err(LabError::Command {
                command: text,
                status: output.status.to_string(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let number = answer
            .split(';')
            .next()
            .and_then(|number| number.parse().ok());
        number.ok_or(LabError::Answer {
            command: text,
            answer,
            expected: "a job number",
        })
    }

    /// Waits until a job is over and returns its state, such as `COMPLETED` or `FAILED`.
    ///
    /// # Errors
    /// [`LabError::Timeout`] with the last state seen; [`LabError::Command`] if slurmctld
    /// does not know the job.
    pub fn wait_job(&self, job: JobId, timeout: Duration) -> Result<String, LabError> {
        let start = Instant::now();
        loop {
            let state = self.job_field(job, "JobState")?;
            if !UNFINISHED.contains(&state.as_str()) {
                return Ok(state);
            }
            if start.elapsed() >= timeout {
                return Err(LabError::Timeout {
                    awaited: format!("the end of job {job}"),
                    seconds: timeout.as_secs_f64(),
                    detail: format!("; its state is {state}"),
                });
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// Returns a field of `scontrol show job`, such as `JobState` or `ExitCode`; empty if the
    /// job has none of that name. Values with spaces are cut at the first.
    ///
    /// # Errors
    /// [`LabError::Command`] if slurmctld does not know the job.
    pub fn job_field(&self, job: JobId, field: &str) -> Result<String, LabError> {
        let mut command = self.command("scontrol");
        command.args(["show", "job", "-o", &job.to_string()]);
        let output = run(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut pairs = text
            .split_whitespace()
            .filter_map(|word| word.split_once('='));
        Ok(pairs
            .find(|(key, _)| *key == field)
            .map(|(_, value)| value.to_owned())
            .unwrap_or_default())
    }

    /// Returns what a batch job wrote, if its script did not choose another file.
    ///
    /// # Errors
    /// [`LabError::File`].
    pub fn job_output(&self, job: JobId) -> Result<String, LabError> {
        let path = self.dir().join(format!("out/slurm-{job}.out"));
        std::fs::read_to_string(&path).map_err(LabError::file("read", path))
    }

    /// Waits until no job is queued or running and all nodes are idle.
    ///
    /// # Errors
    /// [`LabError::Timeout`].
    pub fn wait_idle(&self, timeout: Duration) -> Result<(), LabError> {
        let start = Instant::now();
        let ask = |program: &str, arguments: &[&str]| -> Result<String, LabError> {
            let mut command: Command = self.command(program);
            command.args(arguments);
            Ok(String::from_utf8_lossy(&run(&mut command)?.stdout)
                .trim()
                .to_owned())
        };
        loop {
            let queue = ask("squeue", &["-h"])?;
            let states = ask("sinfo", &["-h", "-N", "-o", "%N=%T"])?;
            if queue.is_empty() && states.lines().all(|line| line.ends_with("=idle")) {
                return Ok(());
            }
            if start.elapsed() >= timeout {
                return Err(LabError::Timeout {
                    awaited: "the cluster to be idle".into(),
                    seconds: timeout.as_secs_f64(),
                    detail: format!("; queue:\n{queue}\nnodes:\n{states}"),
                });
            }
            std::thread::sleep(ASK_EVERY.max(POLL));
        }
    }
}
