//! What a child does between fork and exec to become another user.
#![allow(
    unsafe_code,
    reason = "pre_exec runs in the forked child; it makes system calls only"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::unistd::{Gid, Uid};

/// Group of the gateway may read what a job writes, others nothing.
const UMASK: libc::mode_t = 0o027;

/// Who a child becomes.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    /// All groups, asked for before the fork: to ask takes locks.
    pub(super) groups: Vec<Gid>,
}

/// Has `command` give up every right but those of `identity`, for good, before its program runs.
pub(super) fn become_user(command: &mut Command, identity: &Identity) {
    let Identity { uid, gid, groups } = identity.clone();
    let raw: Vec<libc::gid_t> = groups.iter().map(|group| group.as_raw()).collect();
    // SAFETY: the closure makes system calls only, all async-signal-safe; `raw` was allocated
    // before the fork and is only read.
    unsafe {
        command.pre_exec(move || {
            let done = |result: libc::c_int| match result {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            };
            // Groups first: afterwards the right to set them is gone.
            done(libc::setgroups(raw.len(), raw.as_ptr()))?;
            done(libc::setresgid(gid.as_raw(), gid.as_raw(), gid.as_raw()))?;
            done(libc::setresuid(uid.as_raw(), uid.as_raw(), uid.as_raw()))?;
            // What could be taken back was not given up.
            if libc::setuid(0) == 0 || libc::getuid() == 0 || libc::geteuid() == 0 {
                return Err(io::Error::from_raw_os_error(libc::EPERM));
            }
            done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            libc::umask(UMASK);
            done(libc::chdir(c"/".as_ptr()))
        });
    }
}
