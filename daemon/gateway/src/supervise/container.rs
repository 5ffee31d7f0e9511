//! One container: started, watched, told to end, killed, and its log kept.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::plan::Container;
use super::probe::{self, Health};
use super::progress::{self, Progress};
use super::{Run, STOPPED, log, tell};
use crate::ledger::now_ms;

/// How long output is read after a container ended: what it left behind may hold the pipe.
const DRAIN: Duration = Duration::from_secs(2);

/// A command that does not exist, and one that cannot be run, as shells have it.
const NOT_FOUND: i32 = 127;
const NOT_RUNNABLE: i32 = 126;

/// Runs one container to its end and returns its exit code.
pub async fn run_container(
    run: &Run,
    container: &Container,
    mut stopped: watch::Receiver<bool>,
) -> i32 {
    let mut progress = Progress {
        start: run.start.clone(),
        started_ms: Some(now_ms()),
        ready: container.readiness.is_none() && container.startup.is_none(),
        ..Progress::default()
    };
    if *stopped.borrow() {
        return finish(run, container, progress, STOPPED, "the job was told to end");
    }
    tell(run, &container.name, &progress);
    let (child, pump) = match start(run, container) {
        Ok(started) => started,
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_RUNNABLE,
            };
            let program = container.argv.first().map_or("nothing", String::as_str);
            let message = format!("cannot start {program}: {error}");
            return finish(run, container, progress, code, &message);
        }
    };
    let mut child = Group(child);
    if let Some(check) = &container.post_start {
        let (check, env) = (check.clone(), container.env.clone());
        tokio::spawn(async move { probe::ask(&check, &env, probe::HOOK_LIMIT).await });
    }
    let (told, mut health) = watch::channel(Health::default());
    let watching = tokio::spawn(probe::watch(container.clone(), told));
    let mut message = String::new();
    let status = loop {
        tokio::select! {
            status = child.0.wait() => break status,
            _ = stopped.changed() => {
                "told to end".clone_into(&mut message);
                break end(run, container, &mut child.0).await;
            }
            Ok(()) = health.changed() => {
                let seen = health.borrow_and_update().clone();
                if let Some(problem) = seen.failed {
                    message = problem;
                    break end(run, container, &mut child.0).await;
                }
                if seen.ready != progress.ready {
                    progress.ready = seen.ready;
                    tell(run, &container.name, &progress);
                }
            }
        }
    };
    watching.abort();
    drop(child);
    let _ = tokio::time::timeout(DRAIN, tokio::task::spawn_blocking(move || pump.join())).await;
    let code = status.map_or(1, code_of);
    // A container that its probe or its owner ended has not ended well, whatever it says.
    let code = if code == 0 && !message.is_empty() {
        STOPPED
    } else {
        code
    };
    finish(run, container, progress, code, &message)
}

fn finish(
    run: &Run,
    container: &Container,
    mut progress: Progress,
    code: i32,
    message: &str,
) -> i32 {
    progress.ready = false;
    progress.finished_ms = Some(now_ms());
    progress.exit_code = Some(code);
    message.clone_into(&mut progress.message);
    tell(run, &container.name, &progress);
    code
}

/// The exit code, or 128 plus the signal.
#[must_use]
pub fn code_of(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1)
}

type Pump = std::thread::JoinHandle<io::Result<()>>;

fn start(run: &Run, container: &Container) -> io::Result<(Child, Pump)> {
    let (program, arguments) = container
        .argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no command"))?;
    let (output, input) = io::pipe()?;
    let log = log_file(run, container)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(container.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .process_group(0);
    if let Some(directory) = &container.directory {
        command.current_dir(directory);
    }
    let child = command.spawn()?;
    // Our ends of the pipe go with the command; the pump ends with the container's.
    drop(command);
    let pump = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || log::record(output, log))?;
    Ok((child, pump))
}

fn log_file(run: &Run, container: &Container) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(progress::log_path(&run.folder, &container.name))
}

/// Asks a container to end, and kills it after the time of grace.
async fn end(run: &Run, container: &Container, child: &mut Child) -> io::Result<ExitStatus> {
    let deadline = tokio::time::Instant::now() + run.grace;
    if let Some(check) = &container.pre_stop {
        let _ =
            tokio::time::timeout_at(deadline, probe::ask(check, &container.env, run.grace)).await;
    }
    send(child, Signal::SIGTERM);
    match tokio::time::timeout_at(deadline, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            send(child, Signal::SIGKILL);
            child.wait().await
        }
    }
}

fn send(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = killpg(Pid::from_raw(pid), signal);
    }
}

/// A container's process group, killed on drop if its first process still lives.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        send(&self.0, Signal::SIGKILL);
    }
}
