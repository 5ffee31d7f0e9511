//! Every back end runs the one suite. For MPI this test starts itself again under `mpirun`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt;

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

#[test]
fn files_conform_and_leave_nothing() {
    let limit = std::time::Duration::from_secs(60);
    for size in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).unwrap();
        std::thread::scope(|scope| {
            for rank in 0..size {
                let comm = mizar_comm::Files::open(path, rank, size, limit).unwrap();
                scope.spawn(move || conformance::check(&comm, CHUNK_BYTES));
            }
        });
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    }
}

/// What others could write would be believed.
#[test]
fn a_folder_that_others_can_open_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path| mizar_comm::Files::open(path, 0, 1, std::time::Duration::ZERO);
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    assert!(open(folder.path()).is_ok());
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o770)).unwrap();
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
    assert!(open(&folder.path().join("none")).is_err());
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
