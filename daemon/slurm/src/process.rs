//! Runs one of Slurm's commands: an argument vector, a scrubbed environment, a time limit for
//! the whole process group, and bounded output.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Most bytes kept of stdout: 100,000 jobs of 200 bytes each, and room to spare.
const MAX_STDOUT_BYTES: usize = 64 << 20;

/// Most bytes kept of stderr; the rest is read and dropped.
const MAX_STDERR_BYTES: usize = 64 << 10;

/// How long to go on reading after the command itself ended: a helper that it left behind may
/// hold the pipes for ever.
const DRAIN: Duration = Duration::from_millis(200);

/// How often a process that closed its pipes is asked whether it ended.
const WAIT_STEP: Duration = Duration::from_millis(2);

/// What a command left.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit status; none if it was killed at the limit.
    pub(crate) status: Option<ExitStatus>,
    /// What it wrote to stdout.
    pub(crate) stdout: String,
    /// Is that all of it? A list that was cut short must not be taken for a short list.
    pub(crate) complete: bool,
    /// What it wrote to stderr.
    pub(crate) stderr: String,
}

/// Runs `program` to its end or until `limit`, when its whole process group is killed.
pub(crate) fn run(
    program: &Path,
    arguments: &[String],
    environment: &[(String, String)],
    directory: Option<&Path>,
    limit: Duration,
) -> io::Result<Finished> {
    let shape = |command: &mut Command| {
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
    };
    run_with(program, arguments, environment, limit, shape)
}

/// As [`run`]; `shape` may change the command before it starts.
pub(crate) fn run_with(
    program: &Path,
    arguments: &[String],
    environment: &[(String, String)],
    limit: Duration,
    shape: impl FnOnce(&mut Command),
) -> io::Result<Finished> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    shape(&mut command);
    // After a change of user, which would undo it.
    ffi::die_with_parent(&mut command);
    let mut child = Group(command.spawn()?);
    collect(&mut child.0, Instant::now() + limit)
}

/// A child in its own process group, killed and reaped on drop unless it has been already.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        kill_group(&self.0);
        let _ = self.0.wait();
    }
}

fn kill_group(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn collect(child: &mut Child, deadline: Instant) -> io::Result<Finished> {
    let mut stdout = Pipe::new(child.stdout.take(), MAX_STDOUT_BYTES);
    let mut stderr = Pipe::new(child.stderr.take(), MAX_STDERR_BYTES);
    let mut status = None;
    let mut until = deadline;
    loop {
        if status.is_none() {
            status = child.try_wait()?;
            if status.is_some() {
                until = deadline.min(Instant::now() + DRAIN);
            }
        }
        let open = stdout.source.is_some() || stderr.source.is_some();
        let now = Instant::now();
        if (status.is_some() && !open) || now >= until {
            break;
        }
        if open {
            // Wakes up now and then to see that the command ended though a helper keeps the pipe.
            read_ready(
                &mut stdout,
                &mut stderr,
                (until - now).min(Duration::from_millis(50)),
            )?;
        } else {
            std::thread::sleep(WAIT_STEP);
        }
    }
    let complete = if status.is_some() {
        // All that the command wrote lies in its pipes by now, however late this thread is.
        while read_ready(&mut stdout, &mut stderr, Duration::ZERO)?
            && Instant::now() < deadline + DRAIN
        {}
        stdout.source.is_none() || !read_ready(&mut stdout, &mut stderr, Duration::ZERO)?
    } else {
        kill_group(child);
        child.wait()?;
        false
    };
    Ok(Finished {
        status,
        complete: complete && !stdout.cut,
        stdout: stdout.text(),
        stderr: stderr.text(),
    })
}

/// One end of a pipe and what came out of it.
struct Pipe<R> {
    source: Option<R>,
    bytes: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl<R: Read + AsFd> Pipe<R> {
    fn new(source: Option<R>, limit: usize) -> Self {
        Self {
            source,
            bytes: Vec::new(),
            limit,
            cut: false,
        }
    }

    /// Reads once; the caller knows that a read does not block.
    fn read(&mut self) -> io::Result<()> {
        let Some(source) = &mut self.source else {
            return Ok(());
        };
        let mut chunk = [0; 16 << 10];
        match source.read(&mut chunk) {
            Ok(0) => self.source = None,
            Ok(count) => {
                let room = self.limit - self.bytes.len();
                self.cut |= count > room;
                self.bytes.extend_from_slice(&chunk[..count.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

fn read_ready<A: Read + AsFd, B: Read + AsFd>(
    first: &mut Pipe<A>,
    second: &mut Pipe<B>,
    wait: Duration,
) -> io::Result<bool> {
    let ready = {
        let mut polled = Vec::with_capacity(2);
        let both = [
            first.source.as_ref().map(AsFd::as_fd),
            second.source.as_ref().map(AsFd::as_fd),
        ];
        for fd in both.into_iter().flatten() {
            polled.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        let wait_ms = u16::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        match poll(&mut polled, PollTimeout::from(wait_ms)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut flags = polled.iter().map(|fd| fd.any().unwrap_or(false));
        [
            first.source.is_some() && flags.next().unwrap_or(false),
            second.source.is_some() && flags.next().unwrap_or(false),
        ]
    };
    if ready[0] {
        first.read()?;
    }
    if ready[1] {
        second.read()?;
    }
    Ok(ready[0] || ready[1])
}

/// The one call that must happen between fork and exec.
mod ffi {
    #![allow(
        unsafe_code,
        reason = "pre_exec runs in the forked child; it makes one system call"
    )]

    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// Has the kernel kill the command when the thread that started it ends, so that a killed
    /// gateway leaves no submission command that goes on trying behind its back. Callers on
    /// short-lived threads lose their command with the thread.
    pub(super) fn die_with_parent(command: &mut Command) {
        let parent = std::process::id();
        // SAFETY: the closure only makes the prctl, getppid and error-code calls, all of which
        // are async-signal-safe; it neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
                // The parent may have died before the call above.
                if u32::try_from(nix::unistd::getppid().as_raw()) != Ok(parent) {
                    return Err(std::io::Error::from_raw_os_error(nix::libc::ESRCH));
                }
                Ok(())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit_ms: u64) -> Finished {
        let arguments = ["-c".to_owned(), script.to_owned()];
        let environment = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        run(
            Path::new("/bin/sh"),
            &arguments,
            &environment,
            None,
            Duration::from_millis(limit_ms),
        )
        .unwrap()
    }

    #[test]
    fn output_and_status_come_back() {
        let done = shell("echo out; echo err >&2; exit 3", 5_000);
        assert_eq!(
            (done.stdout.as_str(), done.stderr.as_str()),
            ("out\n", "err\n")
        );
        assert_eq!(done.status.unwrap().code(), Some(3));
    }

    #[test]
    fn a_hang_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        let started = Instant::now();
        // The helper in the background holds a lock for as long as it lives.
        let done = shell(
            &format!("flock {} sleep 60 & sleep 60", lock.display()),
            500,
        );
        assert!(done.status.is_none());
        let file = std::fs::File::create(&lock).unwrap();
        let free = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive);
        assert!(free.is_ok());
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "the helper survived"
        );
    }

    #[test]
    fn a_helper_that_keeps_the_pipe_delays_nothing() {
        let started = Instant::now();
        let done = shell("echo 7; sleep 3 &", 60_000);
        assert_eq!(done.stdout, "7\n");
        assert_eq!(done.status.unwrap().code(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn output_that_waits_in_the_pipe_is_read_however_late_it_is() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "head -c 60000 /dev/zero"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // As after a long while off the CPU: the command has ended, the time is over.
        while nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(Pid::from_raw(child.id() as i32)),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        )
        .is_err()
        {}
        let done = collect(&mut child, Instant::now()).unwrap();
        assert!(done.status.is_some_and(|status| status.success()));
        assert!(done.complete && done.stdout.len() == 60_000);
    }

    #[test]
    fn output_beyond_the_limit_is_not_all_of_it() {
        let done = shell("head -c 68000000 /dev/zero", 60_000);
        assert!(done.status.is_some_and(|status| status.success()));
        assert!(!done.complete);
    }

    #[test]
    fn much_output_does_not_block() {
        let done = shell(
            "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero",
            20_000,
        );
        assert_eq!(done.stdout.len(), 300_000);
        assert_eq!(done.stderr.len(), MAX_STDERR_BYTES);
    }

    #[test]
    fn the_callers_environment_does_not_leak() {
        assert_eq!(shell("env | grep -c CARGO", 5_000).stdout, "0\n");
    }
}
