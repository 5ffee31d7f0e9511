//! Every back end runs the one suite. For MPI this test starts itself again under `mpirun`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use mizar_comm::{Single, conformance, run_threads};

#[cfg(feature = "mpi")]
const CHILD_VARIABLE: &str = "MIZAR_TEST_CONFORMANCE_RANK";
/// Small, so that the suite's short messages are split.
const CHUNK_BYTES: usize = 64;

#[test]
fn single_conforms() {
    conformance::check(&Single, CHUNK_BYTES);
}

#[test]
fn threads_conform() {
    for size in 1..=4 {
        run_threads(size, |rank| conformance::check(rank, CHUNK_BYTES));
    }
}

/// Runs the suite when it is a rank of [`mpi_conforms`], else nothing.
#[cfg(feature = "mpi")]
#[test]
fn mpi_rank() {
    if std::env::var_os(CHILD_VARIABLE).is_none() {
        return;
    }
    let comm = mizar_comm::Mpi::open_with_chunks(CHUNK_BYTES).unwrap();
    conformance::check(&comm, CHUNK_BYTES);
    assert!(matches!(
        mizar_comm::Mpi::open(),
        Err(mizar_comm::CommError::OpenedBefore)
    ));
}

#[cfg(feature = "mpi")]
#[test]
fn mpi_conforms() {
    for size in 2..=4 {
        let program = std::env::current_exe().unwrap();
        let output = mizar_lab::mpirun(size, &program, |command| {
            command
                .args(["--exact", "mpi_rank", "--nocapture"])
                .env(CHILD_VARIABLE, "1");
        });
        let Some(output) = output else { return };
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{size} ranks:\n{text}\n{errors}");
        assert_eq!(
            text.matches("1 passed").count(),
            size,
            "{size} ranks:\n{text}\n{errors}"
        );
    }
}
