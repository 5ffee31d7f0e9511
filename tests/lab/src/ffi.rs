//! The system calls that need `unsafe`: what runs between fork and exec.
//!
//! Only async-signal-safe calls are made there, on data prepared beforehand. A node of the
//! lab is three processes: a *keeper* (the child that the owner sees; it waits and passes the
//! exit status on), the node's *init* (process 1 of its PID namespace; it sets the namespaces
//! up and reaps orphans) and the daemon itself. The end of any of them ends all.
#![allow(
    unsafe_code,
    reason = "fork, namespaces and the parent-death signal have no safe form"
)]

use nix::sys::signal::Signal;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Files that a daemon may have open; slurmd wants more than many login limits give.
const OPEN_FILES: libc::rlim_t = 65_536;
/// What a shell adds to the number of a deadly signal to make an exit code.
const SIGNALLED: libc::c_int = 128;

/// Sends a signal to one process; a process that is gone is no error.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }
}

/// Has the kernel kill `command`'s process when the thread that spawns it ends.
pub(crate) fn tie_to_parent(command: &mut Command) {
    // SAFETY: the closure only makes async-signal-safe system calls.
    unsafe { command.pre_exec(become_daemon) };
}

/// Puts `command` in a session of its own.
pub(crate) fn own_session(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and takes nothing.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            unblock_signals();
            Ok(())
        })
    };
}

/// What a new node's namespaces need, prepared before the fork.
pub(crate) struct NewNode {
    pub(crate) hostname: CString,
    pub(crate) hosts_file: CString,
    /// Where the keeper writes the process id of the node's init.
    pub(crate) report: OwnedFd,
}

/// Runs `command` as the first daemon of new UTS, mount and PID namespaces.
pub(crate) fn in_new_node(command: &mut Command, node: NewNode) {
    let setup = move || -> io::Result<()> {
        become_daemon()?;
        let flags = libc::CLONE_NEWUTS | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
        // SAFETY: unshare takes flags only; this process has one thread.
        check(unsafe { libc::unshare(flags) })?;
        fork_and_keep(Some(node.report.as_raw_fd()))?;
        die_with_parent();
        furnish(&node)?;
        fork_and_keep(None)
    };
    // SAFETY: `setup` only makes async-signal-safe system calls on prepared data; after each
    // fork the parent side never returns.
    unsafe { command.pre_exec(setup) };
}

/// A node's namespaces, opened before the fork.
pub(crate) struct InNode {
    pub(crate) uts: OwnedFd,
    pub(crate) mount: OwnedFd,
    pub(crate) pid: OwnedFd,
    /// Entering a mount namespace forgets the working directory.
    pub(crate) work_dir: CString,
    /// Where the keeper writes the process id of the command, if anybody reads it.
    pub(crate) report: Option<OwnedFd>,
}

/// Runs `command` inside the namespaces of a running node.
pub(crate) fn in_node(command: &mut Command, node: InNode) {
    let setup = move || -> io::Result<()> {
        become_daemon()?;
        for space in [&node.uts, &node.pid, &node.mount] {
            // SAFETY: the descriptor is open and names a namespace.
            check(unsafe { libc::setns(space.as_raw_fd(), 0) })?;
        }
        // SAFETY: `work_dir` is a NUL-terminated string that outlives the call.
        check(unsafe { libc::chdir(node.work_dir.as_ptr()) })?;
        fork_and_keep(node.report.as_ref().map(AsRawFd::as_raw_fd))?;
        die_with_parent();
        Ok(())
    };
    // SAFETY: as in `in_new_node`.
    unsafe { command.pre_exec(setup) };
}

/// Returns true if this process may create the namespaces of a node.
pub(crate) fn namespaces_allowed() -> bool {
    let mut probe = Command::new("/bin/true");
    let setup = || {
        let flags = libc::CLONE_NEWUTS | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
        // SAFETY: unshare takes flags only; this process has one thread.
        check(unsafe { libc::unshare(flags) })
    };
    // SAFETY: unshare is a plain system call.
    unsafe { probe.pre_exec(setup) };
    probe.status().is_ok_and(|status| status.success())
}

/// A session of its own, no blocked signals, many open files, death with the parent.
fn become_daemon() -> io::Result<()> {
    // SAFETY: plain system calls; `limit` outlives them.
    unsafe {
        libc::setsid();
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max.min(OPEN_FILES);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
    unblock_signals();
    die_with_parent();
    Ok(())
}

/// Rust passes the signal mask on to children since 1.66: a caller that waits for signals
/// with all of them blocked would make daemons that no SIGTERM stops.
fn unblock_signals() {
    // SAFETY: `set` is initialised by sigemptyset before it is read.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

fn die_with_parent() {
    // SAFETY: prctl with a number; it cannot fail for a valid signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Gives the calling process, process 1 of its namespaces, a node's name and mounts.
fn furnish(node: &NewNode) -> io::Result<()> {
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let guarded = libc::MS_NOSUID | libc::MS_NODEV;
    // SAFETY: all strings are NUL-terminated and outlive the calls.
    unsafe {
        check(libc::mount(
            c"none".as_ptr(),
            c"/".as_ptr(),
            std::ptr::null(),
            private,
            std::ptr::null(),
        ))?;
        check(libc::mount(
            c"proc".as_ptr(),
            c"/proc".as_ptr(),
            c"proc".as_ptr(),
            guarded | libc::MS_NOEXEC,
            std::ptr::null(),
        ))?;
        check(libc::mount(
            c"shm".as_ptr(),
            c"/dev/shm".as_ptr(),
            c"tmpfs".as_ptr(),
            guarded,
            c"mode=1777,size=1g".as_ptr().cast(),
        ))?;
        check(libc::mount(
            node.hosts_file.as_ptr(),
            c"/etc/hosts".as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        ))?;
        let name = node.hostname.as_bytes();
        check(libc::sethostname(name.as_ptr().cast(), name.len()))
    }
}

/// Forks; only the child returns. The parent reports the child's process id, closes what it
/// inherited, reaps every child it gets and ends like the one it forked.
fn fork_and_keep(report: Option<RawFd>) -> io::Result<()> {
    // SAFETY: the process has one thread: it was forked by `Command` itself.
    let child = check_value(unsafe { libc::fork() })?;
    if child == 0 {
        return Ok(());
    }
    // SAFETY: system calls on plain values; `bytes` and `status` outlive them. The descriptors
    // belong to this process alone, which ends with `_exit` and runs no destructor.
    unsafe {
        if let Some(report) = report {
            let bytes = child.to_ne_bytes();
            libc::write(report, bytes.as_ptr().cast(), bytes.len());
        }
        close_inherited();
        loop {
            let mut status = 0;
            let reaped = libc::waitpid(-1, &raw mut status, 0);
            if reaped == child && libc::WIFEXITED(status) {
                libc::_exit(libc::WEXITSTATUS(status));
            } else if reaped == child && libc::WIFSIGNALED(status) {
                libc::_exit(SIGNALLED + libc::WTERMSIG(status));
            } else if reaped < 0 && *libc::__errno_location() != libc::EINTR {
                libc::_exit(SIGNALLED);
            }
        }
    }
}

/// Closes everything but the standard streams. `Command::spawn` waits for the other end of a
/// pipe that would otherwise stay open here.
fn close_inherited() {
    const FIRST: libc::c_uint = 3;
    const MOST_WITHOUT_CLOSE_RANGE: libc::c_int = 4096;
    // SAFETY: the callers never use a descriptor again.
    unsafe {
        if libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) != 0 {
            for descriptor in FIRST as libc::c_int..MOST_WITHOUT_CLOSE_RANGE {
                libc::close(descriptor);
            }
        }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    check_value(result).map(drop)
}

fn check_value(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
