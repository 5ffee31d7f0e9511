//! Becoming the job's owner, for what is done with the owner's files.
//!
//! Called first thing in a child process of the daemon, before any file is touched.

use std::ffi::CString;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, geteuid, initgroups, setgroups, setresgid, setresuid};

/// Address space of a child: the events of a thousand nodes fit, a node's memory does not.
const MAX_CHILD_BYTES: u64 = 4 << 30;

/// Whose rights to take.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Owner {
    /// User id
    #[arg(long)]
    pub(crate) uid: u32,
    /// Group id
    #[arg(long)]
    pub(crate) gid: u32,
    /// Login name, for the supplementary groups
    #[arg(long, default_value = "")]
    pub(crate) user: String,
}

/// Why that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivilegeError {
    #[error("cannot become uid {uid}: the daemon runs as uid {euid}")]
    NotRoot { uid: u32, euid: u32 },
    #[error("cannot {action} of uid {uid}")]
    Call {
        action: &'static str,
        uid: u32,
        #[source]
        source: nix::Error,
    },
}

/// Takes the owner's rights for good, the lowest priority, and dies with the daemon.
pub(crate) fn become_owner(owner: &Owner) -> Result<(), PrivilegeError> {
    // Best effort: these two only make the child more polite.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    ffi::lower_priority();
    // What the child reads is the owner's to forge, and its memory counts as the daemon's: it
    // has a limit, and where memory is short it dies and not the daemon.
    let _ = setrlimit(Resource::RLIMIT_AS, MAX_CHILD_BYTES, MAX_CHILD_BYTES);
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let euid = geteuid().as_raw();
    if euid != 0 {
        return if euid == owner.uid {
            Ok(())
        } else {
            Err(PrivilegeError::NotRoot {
                uid: owner.uid,
                euid,
            })
        };
    }
    let failed = |action| {
        move |source| PrivilegeError::Call {
            action,
            uid: owner.uid,
            source,
        }
    };
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    match CString::new(owner.user.as_str()) {
        Ok(user) if !owner.user.is_empty() => initgroups(&user, gid),
        _ => setgroups(&[gid]),
    }
    .map_err(failed("take the groups"))?;
    setresgid(gid, gid, gid).map_err(failed("take the group"))?;
    setresuid(uid, uid, uid).map_err(failed("take the rights"))?;
    // The death signal is cleared by a change of rights.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    Ok(())
}

mod ffi {
    #![allow(
        unsafe_code,
        reason = "neither nix nor std can lower a process's priority"
    )]

    use nix::libc;

    /// Niceness of a process that must never be in a job's way.
    const LOWEST_PRIORITY: libc::c_int = 19;
    /// `IOPRIO_WHO_PROCESS` and `IOPRIO_CLASS_IDLE` shifted into place (linux/ioprio.h).
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_IDLE: libc::c_int = 3 << 13;

    pub(super) fn lower_priority() {
        // SAFETY: both calls take integers only and concern the calling process.
        unsafe {
            libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST_PRIORITY);
            libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_can_not_take_the_nodes_memory() {
        // Concerns this test's process alone.
        let owner = Owner {
            uid: geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            user: String::new(),
        };
        become_owner(&owner).unwrap();
        let limit = nix::sys::resource::getrlimit(Resource::RLIMIT_AS).unwrap();
        assert!(limit.0 <= MAX_CHILD_BYTES && limit.1 <= MAX_CHILD_BYTES);
        let victim = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_eq!(victim.trim(), "1000");
    }
}
