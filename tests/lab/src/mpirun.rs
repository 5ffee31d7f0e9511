//! Ranks on this machine, for tests: however many, whoever starts them, over loopback alone.

use std::path::Path;
use std::process::{Command, Output};

/// Runs a program on so many ranks to its end. `None`, with a line that says so, where there is no
/// mpirun.
///
/// # Panics
/// If mpirun is there and cannot be started.
pub fn mpirun(ranks: usize, program: &Path, prepare: impl FnOnce(&mut Command)) -> Option<Output> {
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe", "-n"])
        .arg(ranks.to_string())
        .arg(program)
        .env("OMPI_MCA_mpi_yield_when_idle", "1")
        .env("OMPI_MCA_btl_tcp_if_include", "lo")
        .env("OMPI_MCA_oob_tcp_if_include", "lo");
    prepare(&mut command);
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIP: mpirun (package openmpi-bin)");
            None
        }
        other => Some(other.expect("mpirun can be started")),
    }
}
