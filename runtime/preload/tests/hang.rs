//! Ranks that do not meet are named, with node and collective, soon after the threshold.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ffi::OsStr;
use std::process::{Child, Stdio};
use std::time::Instant;

use mizar_record::hang;
use support::{Site, open_mpi, until};

/// An `mpirun` whose ranks die with it.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn verdict(how: &str, expected: &[&str]) {
    let Some(mpi) = open_mpi() else { return };
    let site = Site::start("sample_ms = 100\nflush_ms = 60000\nhang_s = 2\n");
    let program = mpi.compile("hang.c", site.folder());
    let mut command = site.ranks(&mpi, &[program.as_os_str(), OsStr::new(how)]);
    let run = Run(command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap());
    until("a rank waits", || {
        let tasks = site.live()?.steps.pop()?.tasks;
        let call = tasks.iter().find(|task| task.rank.0 == 0)?.call.clone()?;
        (call.name == "MPI_Allreduce" && call.sequence == 4).then_some(())
    });
    let since = Instant::now();
    let text = until("the hang is judged", || site.live()?.hang);
    // The wait was seen after one of the two seconds; a sample or two later it is judged.
    assert!(since.elapsed().as_secs_f64() < 3.0, "{:?}", since.elapsed());
    for part in expected {
        assert!(text.contains(part), "{text}");
    }
    // Who looks from another node reads it at once, long before the next flush.
    let record = until("it is in the record", || {
        let folder = site.folder().join("records/42");
        let record = mizar_record::reader::read_job(&folder).ok()?;
        (!record.nodes[0].hangs.is_empty()).then_some(record)
    });
    let word = hang::last_words(&record.nodes[0])[0];
    assert_eq!((word.waiting.len(), word.step.0), (2, 0));
    drop(run);
    // A job that was ended while it hung has hung to its end.
    let record = site.finish();
    assert_eq!(hang::last_words(&record.nodes[0]).len(), 1);
}

#[test]
fn different_collectives_are_a_hang() {
    verdict(
        "differ",
        &[
            "rank 0 on vm waits in MPI_Allreduce, collective 4",
            "rank 1 on vm waits in MPI_Barrier, collective 4",
        ],
    );
}

#[test]
fn a_rank_that_does_not_come_is_named() {
    verdict(
        "absent",
        &[
            "rank 0 on vm waits in MPI_Allreduce, collective 4",
            "rank 1 on vm is in no call, after collective 3",
        ],
    );
}
