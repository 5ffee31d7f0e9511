//! NCCL's calls and bytes. All results here are those of a double (`programs/fake_nccl.c`): no GPU
//! and no real NCCL take part.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Site, calls, succeed};

#[test]
fn calls_and_bytes_are_counted_with_a_double_of_nccl() {
    let site = Site::start("sample_ms = 100\n");
    let source = |name: &str| -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/programs")
            .join(name)
    };
    let library = site.folder().join("libnccl.so.2");
    let program = site.folder().join("nccl");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library);
    succeed(compiler.arg(source("fake_nccl.c")));
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(&program).arg(source("nccl.c"));
    let place = format!("-Wl,-rpath,{}", site.folder().display());
    succeed(compiler.arg(&library).arg(place));
    // As it is, and counted: the same.
    succeed(&mut Command::new(&program));
    succeed(site.command(&program).env("SLURM_PROCID", "1"));
    let record = site.finish();
    for (name, count, bytes) in [
        ("ncclCommInitRank", 1, 0),
        // 5 × 10 floats.
        ("ncclAllReduce", 5, 200),
        // 3 doubles to each of 4.
        ("ncclReduceScatter", 1, 96),
        // 7 halves.
        ("ncclAllGather", 1, 14),
        // 2 floats where it is the root.
        ("ncclBroadcast", 2, 8),
        ("ncclGroupEnd", 1, 0),
    ] {
        let found = calls(&record, 1, name).map(|(calls, bytes, _)| (calls, bytes));
        assert_eq!(found, Some((count, bytes)), "{name}");
    }
    let last = record.nodes[0].split_samples.last().unwrap();
    assert!(last.exposed_ns >= 250_000_000, "{last:?}");
}
