//! `mizar report`, `mizar ps` and `mizar plot` as users run them, on records and files on disk.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::process::Command;

use mizar_report::synthetic::{Shape, record};
use support::{begun_before_now, mizar, refused, said, write};

#[test]
fn a_finished_job_is_reported_as_text_json_and_page() {
    let folder = tempfile::tempdir().unwrap();
    let job = record(&Shape {
        memory_limit_gib: Some(32),
        ..Shape::default()
    });
    let (path, _) = write(&job, folder.path());
    let record_dir = folder.path().to_str().unwrap();

    let text = said(&mizar(
        &["report", "1234", "--record-dir", record_dir],
        folder.path(),
    ));
    assert!(
        text.contains("CPU efficiency  100.0 % (4.00 of 4 CPUs busy)"),
        "{text}"
    );
    assert!(text.contains("#SBATCH --mem="), "{text}");

    let json = said(&mizar(
        &["report", path.to_str().unwrap(), "--json"],
        folder.path(),
    ));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], "mizar-report/1");
    assert_eq!(json["cpu"]["used_s"], 240.0);
    assert_eq!(json["ranks"].as_array().unwrap().len(), 4);
    assert_eq!(
        json["provenance"]["outputs"][0]["path"],
        "/scratch/alice/out.nc"
    );

    let page = folder.path().join("report.html");
    let arguments = [
        "report",
        "1234",
        "--record-dir",
        record_dir,
        "--html",
        page.to_str().unwrap(),
    ];
    assert_eq!(
        said(&mizar(&arguments, folder.path())).trim(),
        page.to_str().unwrap()
    );
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("data-figure=\"cpu.efficiency\" data-value=\"1.0\""));
}

#[test]
fn a_running_job_is_in_ps_and_has_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = record(&Shape {
        running: true,
        ..Shape::default()
    });
    begun_before_now(&mut job, 61_000_000_000);
    let (_, _open) = write(&job, folder.path());
    let record_dir = folder.path().to_str().unwrap();

    let text = said(&mizar(&["ps", "--record-dir", record_dir], folder.path()));
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("2.00 of 2"), "{text}");
    let json = said(&mizar(
        &["ps", "1234", "--json", "--record-dir", record_dir],
        folder.path(),
    ));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rows"][1]["node"], "n2");
    assert_eq!(json["rows"][1]["source"], "record");
    let none = said(&mizar(
        &["ps", "77", "--record-dir", record_dir],
        folder.path(),
    ));
    assert!(
        none.starts_with("Job 77 is not running, or not watched.\n"),
        "{none}"
    );

    let report = said(&mizar(
        &["report", "1234", "--record-dir", record_dir],
        folder.path(),
    ));
    assert!(
        report.starts_with("Job 1234 · synthetic · running\n"),
        "{report}"
    );
}

#[test]
fn what_is_not_there_is_said_with_where_it_was_sought() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    let message = refused(&mizar(
        &["report", "5", "--record-dir", nowhere],
        folder.path(),
    ));
    assert!(
        message.contains(nowhere) && message.contains("MIZAR_RECORD_DIR"),
        "{message}"
    );
    let message = refused(&mizar(&["report", "five"], folder.path()));
    assert!(
        message.contains("`five` is neither a job's number nor"),
        "{message}"
    );
    let message = refused(&mizar(&["ps", "--record-dir", nowhere], folder.path()));
    assert!(
        message.contains("nobody.sock") && message.contains(nowhere),
        "{message}"
    );
}

#[test]
fn every_page_that_the_manual_names_exists() {
    let folder = tempfile::tempdir().unwrap();
    let manual = said(&mizar(&["man"], folder.path()));
    let named: Vec<String> = manual
        .lines()
        .filter_map(|line| line.strip_prefix("mizar\\-")?.strip_suffix("(1)"))
        .map(|name| name.replace("\\-", "-"))
        .collect();
    assert_eq!(
        named,
        [
            "cube",
            "infer",
            "ps",
            "top",
            "report",
            "plot",
            "comm-bench",
            "tune",
            "doctor",
            "train",
            "completions",
            "man"
        ]
    );
    // `make install` writes each page.
    let makefile = include_str!("../../../Makefile");
    let loop_line = format!("for command in {};", named.join(" "));
    assert!(makefile.contains(&loop_line), "{loop_line}");
    for name in named {
        let page = said(&mizar(&["man", &name], folder.path()));
        assert!(page.contains(&format!(".TH mizar-{name} 1")), "{page}");
    }
    let cube = said(&mizar(&["man", "cube"], folder.path()));
    assert!(
        cube.contains("Exit codes") && cube.contains("ymonsub"),
        "{cube}"
    );
    let message = refused(&mizar(&["man", "cub"], folder.path()));
    assert!(
        message.contains("there are pages on cube, infer, ps"),
        "{message}"
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    for arguments in [&["man"][..], &["completions", "bash"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mizar"))
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
}

#[test]
fn a_cmip6_field_becomes_a_map_and_a_wrong_file_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("map.svg");
    let picture = picture.to_str().unwrap();
    let text = folder.path().join("notes.nc");
    std::fs::write(&text, "not a NetCDF file").unwrap();
    let message = refused(&mizar(
        &["plot", text.to_str().unwrap(), "-o", picture],
        folder.path(),
    ));
    assert!(message.contains("notes.nc"), "{message}");
    let Some(sample) = mizar_lab::venv::cmip6("") else {
        return;
    };
    let sample = sample.to_str().unwrap();
    said(&mizar(
        &["plot", sample, "ta", "-o", picture],
        folder.path(),
    ));
    let drawn = std::fs::read_to_string(picture).unwrap();
    assert!(
        drawn.contains("Air Temperature (ta)") && drawn.contains(">K<"),
        "{drawn}"
    );
    let message = refused(&mizar(
        &["plot", sample, "nope", "-o", picture],
        folder.path(),
    ));
    assert!(
        message.contains("no variable `nope`; the file has ta"),
        "{message}"
    );
}

#[test]
fn watching_ends_when_nobody_reads_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut watching = Command::new(env!("CARGO_BIN_EXE_mizar"))
        .args(["ps", "--watch", "1", "--record-dir"])
        .arg(folder.path())
        .env("MIZAR_SOCKET", folder.path().join("nobody.sock"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(watching.stdout.take());
    for _ in 0..200 {
        if let Some(status) = watching.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    watching.kill().unwrap();
    watching.wait().unwrap();
    panic!("it goes on without a reader");
}
