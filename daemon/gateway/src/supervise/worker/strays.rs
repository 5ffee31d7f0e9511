//! Processes that a script leaves behind. A batch job takes them with it; a worker lives on, so
//! they become its children, and end before the next call.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Between two looks, and how many there are at most: what cannot be killed is Slurm's to end.
const STEP: Duration = Duration::from_millis(1);
const LOOKS: u32 = 500;

/// Has orphans of this process's children become its own children.
pub(super) fn adopt() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Ends all children, and theirs, which become ours as they are orphaned. To be called when none
/// is waited for by anybody else.
pub(super) async fn end() {
    for _ in 0..LOOKS {
        for pid in children() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Err(Errno::ECHILD) => return,
                Err(_) => break,
                Ok(_) => {}
            }
        }
        tokio::time::sleep(STEP).await;
    }
    eprintln!("mizar-gateway: a process that a call left behind cannot be ended");
}

/// The children of all threads of this process.
fn children() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = tasks.flatten().map(|task| task.path().join("children"));
    let mut found = Vec::new();
    for list in lists {
        let text = std::fs::read_to_string(list).unwrap_or_default();
        let pids = text.split_whitespace().filter_map(|word| word.parse().ok());
        found.extend(pids.map(Pid::from_raw));
    }
    found
}
