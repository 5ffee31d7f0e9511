//! The one process that outlives its lab: it removes the temporary directory.
//!
//! The kernel kills the daemons when the owner dies (`process`), but it removes no files and,
//! without PID namespaces, no job steps. The guard holds the read end of a pipe; end of file
//! means that the owner is gone. It is a few lines of shell because it must be a program of
//! its own that exists wherever a test runs; the directory reaches it as an argument.

use crate::{LabError, ffi};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// `$1` is the lab's directory, `$2` its slurm.conf, `$3` is `remove` or `keep`. What belongs
/// to the lab is known by its environment: daemons by a mark, tasks by job and slurm.conf.
/// A slurmstepd overwrites its environment with its title, but works in the lab's directory.
const SCRIPT: &str = r#"
read -r _ || :
members=$(grep -lszxF "MIZAR_LAB_MEMBER=$1" /proc/[0-9]*/environ)
tasks=$(grep -lszxF "SLURM_CONF=$2" /proc/[0-9]*/environ)
tasks=$([ -z "$tasks" ] || grep -lsz '^SLURM_JOB_ID=' $tasks)
for file in $(grep -lsxF slurmstepd /proc/[0-9]*/comm); do
  case $(readlink "${file%comm}cwd") in "$1"|"$1"/*) members="$members $file";; esac
done
for file in $members $tasks; do
  pid=${file#/proc/}; kill -9 "${pid%/*}" 2>/dev/null
done
[ "$3" = remove ] || exit 0
for try in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1"; [ -e "$1" ] || exit 0; sleep 0.2; done
"#;

/// A running guard; dropping it makes it clean up, and waits until it has.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    pub(crate) fn start(dir: &Path, slurm_conf: &Path, remove: bool) -> Result<Self, LabError> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "mizar-lab-guard"])
            .arg(dir)
            .arg(slurm_conf);
        command.arg(if remove { "remove" } else { "keep" });
        // A guard inside a job of another lab must not carry that job's marks.
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        ffi::own_session(&mut command);
        let spawned = command.spawn();
        let mut child = spawned.map_err(|source| LabError::Spawn {
            program: "/bin/sh".into(),
            source,
        })?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.child.wait();
    }
}
