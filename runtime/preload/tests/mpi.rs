//! Real MPI programs under a real `mizard`: counts and bytes exactly, times within tolerances.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ffi::OsStr;

use support::{Site, calls, open_mpi, succeed};

/// Calls, and bytes of the two ranks, of `counts.c`; by hand.
const COUNTS: [(&str, u64, [u64; 2]); 22] = [
    // 10 × 3 doubles, and 3 more in place.
    ("MPI_Allreduce", 11, [264, 264]),
    // The root gives 5 integers.
    ("MPI_Bcast", 1, [20, 0]),
    // The root (rank 1) gives 2 doubles to each of 2.
    ("MPI_Scatter", 1, [0, 32]),
    // In place: 4 doubles of the receiver's buffer are this rank's.
    ("MPI_Allgather", 1, [32, 32]),
    // 1 and 2 doubles.
    ("MPI_Gatherv", 1, [8, 16]),
    // 1 + 2 doubles.
    ("MPI_Alltoallv", 1, [24, 24]),
    ("MPI_Alltoall", 1, [16, 16]),
    ("MPI_Reduce_scatter_block", 1, [32, 32]),
    ("MPI_Sendrecv", 1, [8, 8]),
    ("MPI_Isend", 4, [64, 64]),
    ("MPI_Irecv", 4, [0, 0]),
    ("MPI_Waitall", 1, [0, 0]),
    ("MPI_Waitany", 2, [0, 0]),
    ("MPI_Wait", 3, [0, 0]),
    ("MPI_Iallreduce", 1, [8, 8]),
    ("MPI_Comm_split", 1, [0, 0]),
    ("MPI_Barrier", 2, [0, 0]),
    ("MPI_File_open", 1, [0, 0]),
    ("MPI_File_write_at_all", 1, [48, 48]),
    ("MPI_File_close", 1, [0, 0]),
    ("MPI_Finalize", 1, [0, 0]),
    ("MPI_Init", 1, [0, 0]),
];

#[test]
fn every_call_and_every_byte_is_counted_once() {
    let Some(mpi) = open_mpi() else { return };
    let site = Site::start("sample_ms = 100\n");
    let program = mpi.compile("counts.c", site.folder());
    let file = site.folder().join("written");
    succeed(&mut site.ranks(&mpi, &[program.as_os_str(), file.as_os_str()]));
    let record = site.finish();
    for (name, count, bytes) in COUNTS {
        for rank in [0, 1] {
            let found = calls(&record, rank, name).map(|(calls, bytes, _)| (calls, bytes));
            assert_eq!(found, Some((count, bytes[rank as usize])), "{name} {rank}");
        }
    }
    let of = |rank, name| calls(&record, rank, name).map(|(calls, bytes, _)| (calls, bytes));
    assert_eq!(
        (of(0, "MPI_Send"), of(1, "MPI_Recv")),
        (Some((1, 7)), Some((1, 0)))
    );
    assert_eq!((of(1, "MPI_Send"), of(0, "MPI_Recv")), (None, None));
    assert!(of(0, "MPI_Testall").unwrap().0 >= 1);
    assert_eq!(std::fs::metadata(file).unwrap().len(), 96);
}

#[test]
fn time_is_divided_as_it_was_spent() {
    let Some(mpi) = open_mpi() else { return };
    let site = Site::start("sample_ms = 200\n");
    let program = mpi.compile("split.c", site.folder());
    let out = site.folder().join("known");
    succeed(&mut site.ranks(&mpi, &[program.as_os_str(), out.as_os_str()]));
    let record = site.finish();
    for rank in [0, 1] {
        let text = std::fs::read_to_string(format!("{}.{rank}", out.display())).unwrap();
        let known: serde_json::Value = serde_json::from_str(&text).unwrap();
        let known = |name: &str| known[name].as_f64().unwrap();
        let rows = &record.nodes[0].split_samples;
        let last = rows.iter().rfind(|row| row.rank == rank).unwrap();
        let s = |ns: u64| ns as f64 / 1e9;
        let in_mpi = known("init") + known("wait") + known("finalize");
        // What is in flight and not computed is exposed.
        let (compute, hidden, idle, exposed) = match rank {
            0 => (1.5, 0.5, None, in_mpi + known("under") - 0.5),
            _ => (0.0, 0.0, Some(2.5), in_mpi),
        };
        println!("{rank}: {known:?} {last:?}", known = text);
        let near = |what: &str, found: f64, expected: f64, tolerance: f64| {
            let error = (found - expected).abs();
            assert!(error <= tolerance, "{rank} {what}: {found} for {expected}");
        };
        near("compute", s(last.compute_ns), compute, 0.10);
        near("hidden", s(last.hidden_ns), hidden, 0.05);
        // The first barrier is measured by nobody.
        near("exposed", s(last.exposed_ns), exposed, 0.20);
        if let Some(idle) = idle {
            near("idle", s(last.idle_ns), idle, 0.10);
        }
        // The parts make the whole, as the clock of the readings has it.
        let sum: u64 = last.compute_ns + last.exposed_ns + last.io_ns + last.idle_ns;
        let reported = rows.iter().filter(|row| row.rank == rank).count();
        assert!(reported >= 5 && sum > 2_500_000_000, "{reported} {sum}");
        // Cumulative figures never fall.
        let mine: Vec<_> = rows.iter().filter(|row| row.rank == rank).collect();
        assert!(mine.is_sorted_by(|a, b| a.exposed_ns <= b.exposed_ns
            && a.compute_ns <= b.compute_ns
            && a.hidden_ns <= b.hidden_ns));
    }
}

#[test]
fn without_a_daemon_the_program_is_as_ever() {
    let Some(mpi) = open_mpi() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = mpi.compile("counts.c", folder.path());
    let hung = folder.path().join("hung");
    // Nobody accepts, and the queue is full.
    let listener = std::os::unix::net::UnixListener::bind(&hung).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _full = std::os::unix::net::UnixStream::connect(&hung).unwrap();
    for socket in [folder.path().join("nobody"), hung] {
        let mut command = std::process::Command::new(&mpi.run[0]);
        command.args(&mpi.run[1..]).args(["-n", "2"]).arg(&program);
        command
            .env("LD_PRELOAD", support::library())
            .env("MIZAR_SOCKET", socket)
            .env("MIZAR_JOB_ID", "42")
            .env("MIZAR_STEP_ID", "0");
        let output = succeed(&mut command);
        assert_eq!(output.stderr, b"", "{output:?}");
    }
}

#[test]
fn a_killed_rank_keeps_what_it_had() {
    let Some(mpi) = open_mpi() else { return };
    let site = Site::start("sample_ms = 100\n");
    let program = mpi.compile("split.c", site.folder());
    let mut run = site.ranks(&mpi, &[program.as_os_str(), OsStr::new("/nowhere")]);
    let mut child = run.stderr(std::process::Stdio::null()).spawn().unwrap();
    let pid = support::until("a rank is seen", || {
        let tasks = site.live()?.steps.pop()?.tasks;
        let split = tasks.iter().find(|task| task.rank.0 == 0)?.split?;
        (split.compute > 0.5).then_some(child.id())
    });
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid as i32),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    child.wait().unwrap();
    let record = site.finish();
    let rows = &record.nodes[0].split_samples;
    let last = rows.iter().rfind(|row| row.rank == 0).unwrap();
    assert!(last.compute_ns > 50_000_000, "{last:?}");
}
