//! Ranks on this machine, for tests: however many, whoever starts them, over loopback alone.

use std::path::Path;
use std::process::{Command, Output};

/// Whether there is an mpirun, with a line that says so if not.
#[must_use]
pub fn has_mpirun() -> bool {
    let found = Command::new("mpirun").arg("--version").output().is_ok();
    if !found {
        println!("SKIP: mpirun (package openmpi-bin)");
    }
    found
}

/// `mpirun` with more flags of its own, which starts a program on so many ranks.
#[must_use]
pub fn mpirun_command(ranks: usize, flags: &[&str], program: &Path) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe"])
        .args(flags)
        .args(["-n", &ranks.to_string()])
        .arg(program)
        .env("OMPI_MCA_mpi_yield_when_idle", "1")
        .env("OMPI_MCA_btl_tcp_if_include", "lo")
        .env("OMPI_MCA_oob_tcp_if_include", "lo");
    command
}

/// Runs a program on so many ranks to its end. `None`, with a line that says so, where there is no
/// mpirun.
///
/// # Panics
/// If mpirun is there and cannot be started.
pub fn mpirun(ranks: usize, program: &Path, prepare: impl FnOnce(&mut Command)) -> Option<Output> {
    has_mpirun().then(|| {
        let mut command = mpirun_command(ranks, &[], program);
        prepare(&mut command);
        command.output().expect("mpirun can be started")
    })
}
