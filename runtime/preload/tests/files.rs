//! The system's files: what blocks on a file is I/O, what blocks on a pipe is waiting.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::Path;

use support::{Site, calls, succeed};

#[test]
fn a_file_that_blocks_is_io_and_a_pipe_is_not() {
    let site = Site::start("sample_ms = 100\n");
    let own = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut python = site.command("/usr/bin/python3");
    python
        .arg(own("tests/programs/files.py"))
        .arg(site.folder().join("data"))
        .env("PYTHONPATH", own("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SLURM_PROCID", "0");
    let text = String::from_utf8(succeed(&mut python).stdout).unwrap();
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let [written, took_s] = numbers[..] else {
        panic!("{text}");
    };
    let record = site.finish();
    let (count, bytes, _) = calls(&record, 0, "slow file write").unwrap();
    assert_eq!((count, bytes as f64), (1, written));
    assert_eq!(calls(&record, 0, "slow file read"), None);
    let last = record.nodes[0].split_samples.last().unwrap();
    let s = |ns: u64| ns as f64 / 1e9;
    // A sync of what the kernel has written meanwhile may take no time worth counting.
    assert!((s(last.io_ns) - took_s).abs() < 0.05, "{took_s} {last:?}");
    assert!(s(last.idle_ns) >= 0.4, "{last:?}");
    assert_eq!((last.exposed_ns, last.hidden_ns), (0, 0));
}
