//! Marks from Python and C, with the library and without, under a real `mizard`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use mizar_record::model::JobRecord;
use support::{Site, succeed};

fn own(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Marks of the record: name, kind, value, in order.
fn marks(record: &JobRecord) -> Vec<(String, u32, f64)> {
    let node = &record.nodes[0];
    let name = |id| node.names.iter().find(|name| name.id == id).unwrap();
    let rows = node.mark_samples.iter();
    rows.map(|row| (name(row.name).name.clone(), row.kind, row.value))
        .collect()
}

fn said(command: &mut Command) -> String {
    String::from_utf8(succeed(command).stdout).unwrap()
}

#[test]
fn python_marks_epochs_and_figures_and_does_nothing_without_the_library() {
    let script = own("tests/programs/marks.py");
    let python = |command: &mut Command| {
        let command = command.arg(&script).env("PYTHONPATH", own("python"));
        said(command.env("PYTHONDONTWRITEBYTECODE", "1"))
    };
    assert_eq!(python(&mut Command::new("/usr/bin/python3")), "quiet\n");
    let site = Site::start("sample_ms = 100\n");
    let mut command = site.command("/usr/bin/python3");
    assert_eq!(python(command.env("SLURM_PROCID", "1")), "active\n");
    let record = site.finish();
    let found = marks(&record);
    let names: Vec<(&str, u32)> = found.iter().map(|mark| (mark.0.as_str(), mark.1)).collect();
    let epoch = [
        ("epoch", 0),
        ("données", 0),
        ("données", 1),
        ("epoch", 1),
        ("loss", 2),
    ];
    let expected = [&epoch[..], &epoch[..], &[("failing", 0), ("failing", 1)]].concat();
    assert_eq!(names, expected);
    assert_eq!((found[4].2, found[9].2), (0.5, 0.25));
    let rows = &record.nodes[0].mark_samples;
    assert!(rows.iter().all(|row| row.rank == 1 && row.step == 0));
    let length_ns = rows[3].time_ns - rows[0].time_ns;
    assert!(
        (100_000_000..400_000_000).contains(&length_ns),
        "{length_ns}"
    );
    // A program that only marks has no split.
    assert!(record.nodes[0].split_samples.is_empty());
}

#[test]
fn a_c_program_needs_nothing_but_the_header() {
    let site = Site::start("sample_ms = 100\n");
    let program = site.folder().join("marks");
    let mut compiler = Command::new("cc");
    compiler
        .arg("-I")
        .arg(own("include"))
        .arg("-o")
        .arg(&program);
    succeed(compiler.arg(own("tests/programs/marks.c")));
    assert_eq!(said(&mut Command::new(&program)), "quiet\n");
    assert_eq!(
        said(site.command(&program).env("PMI_RANK", "0")),
        "active\n"
    );
    let names: Vec<(String, u32)> = marks(&site.finish())
        .into_iter()
        .map(|mark| (mark.0, mark.1))
        .collect();
    let expected = [("solve", 0), ("residual", 2), ("solve", 1)];
    assert_eq!(names, expected.map(|(name, kind)| (name.to_owned(), kind)));
}

#[test]
fn a_forked_child_leaves_its_parents_ring_alone() {
    let site = Site::start("sample_ms = 100\n");
    let script = "import mizar, os\n\
        mizar.begin('parent')\n\
        if os.fork() == 0:\n    mizar.begin('child'); os._exit(0)\n\
        os.wait(); mizar.end('parent')";
    let mut python = site.command("/usr/bin/python3");
    python.args(["-c", script]).env("PYTHONPATH", own("python"));
    succeed(python.env("SLURM_PROCID", "0"));
    let names: Vec<String> = marks(&site.finish())
        .into_iter()
        .map(|mark| mark.0)
        .collect();
    assert_eq!(names, ["parent", "parent"]);
}
