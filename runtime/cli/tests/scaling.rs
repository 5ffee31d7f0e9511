//! `mizar report --scaling` as users run it, on records on disk.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;

use mizar_report::scaling::synthetic::{Training, record};
use support::{mizar, refused, said, write};

/// Jobs 101 and on: 1, 2 and 4 ranks, twice each.
fn jobs(record_dir: &Path) -> Vec<String> {
    let mut numbers = Vec::new();
    for ranks in [1, 2, 4] {
        for factor in [0.99, 1.01] {
            let time = factor * 12.0 * (0.1 + 0.9 / f64::from(ranks));
            let training = Training {
                id: 101 + numbers.len() as u32,
                name: "solver-n4",
                ranks_per_node: ranks,
                epochs_s: [2.0, 1.0, 1.0, 1.0, 1.0].map(|share| share * time).into(),
                gpu_watts: Some(250.0),
                ..Training::default()
            };
            write(&record(&training), record_dir);
            numbers.push(training.id.to_string());
        }
    }
    numbers
}

#[test]
fn jobs_become_a_report_tables_plots_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = jobs(folder.path());
    let record_dir = folder.path().to_str().unwrap();
    let with = |more: &[&str]| {
        let mut arguments = vec!["report", "--scaling", "--record-dir", record_dir];
        arguments.extend(jobs.iter().map(String::as_str));
        arguments.extend(more);
        mizar(&arguments, folder.path())
    };
    let text = said(&with(&[]));
    assert!(
        text.starts_with("Scalability of 6 runs in 3 sizes"),
        "{text}"
    );
    let json = said(&with(&["--json", "--deadline", "1h", "--epochs", "500"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], "mizar-scaling/1");
    assert_eq!(json["points"][2]["ranks"], 4);
    let efficiency = json["points"][2]["efficiency"]["value"].as_f64().unwrap();
    assert!(
        (efficiency - 1.0 / (1.0 + 0.1 * 3.0)).abs() < 1e-6,
        "{efficiency}"
    );
    assert_eq!(json["strategies"][0]["name"], "solver");
    // Two ranks take 3300 s, but two runs 2 % apart may be 13 % off: only four are sure.
    assert_eq!(json["strategies"][0]["advice"]["deadline_ranks"], 4);

    let at = |name: &str| folder.path().join("out").join(name);
    let (page, tables, plots) = (at("scaling.html"), at("tables"), at("plots"));
    let named = said(&with(&[
        "--html",
        page.to_str().unwrap(),
        "--csv",
        tables.to_str().unwrap(),
        "--svg",
        plots.to_str().unwrap(),
    ]));
    for file in named.lines() {
        assert!(Path::new(file).is_file(), "{file}");
    }
    let times = std::fs::read_to_string(tables.join("epoch_time.csv")).unwrap();
    assert!(
        times.starts_with("strategy,global_world_size,avg_epoch_time,"),
        "{times}"
    );
    assert_eq!(times.lines().count(), 4);
    assert!(plots.join("absolute_epoch_time.svg").is_file());
    assert!(
        std::fs::read_to_string(page)
            .unwrap()
            .contains("class=\"plot\"")
    );
}

#[test]
fn strategies_can_be_named_and_what_cannot_be_compared_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = jobs(folder.path());
    let record_dir = folder.path().to_str().unwrap();
    let named = [format!("ddp={}", jobs[0]), format!("zero={}", jobs[1])];
    let arguments = [
        "report",
        "--scaling",
        "--json",
        "--record-dir",
        record_dir,
        &named[0],
        &named[1],
    ];
    let json: serde_json::Value =
        serde_json::from_str(&said(&mizar(&arguments, folder.path()))).unwrap();
    assert_eq!(json["strategies"][1]["name"], "zero");

    write(
        &record(&Training {
            id: 200,
            diverged: true,
            ..Training::default()
        }),
        folder.path(),
    );
    let arguments = ["report", "--scaling", "--record-dir", record_dir, "200"];
    let message = refused(&mizar(&arguments, folder.path()));
    assert!(
        message.contains("no run can be compared\njob 200 step 0: its ranks hold different models"),
        "{message}"
    );
    let message = refused(&mizar(
        &["report", "1", "2", "--record-dir", record_dir],
        folder.path(),
    ));
    assert!(
        message.contains("with --scaling, several are compared"),
        "{message}"
    );
}

#[test]
fn wrong_flags_are_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [
        &["--csv", "x"][..],
        &["--scaling", "--target", "0"],
        &["--scaling", "--target", "101"],
        &["--scaling", "--deadline", "soon"],
        &["--scaling", "--deadline", "-1h"],
        &["--scaling", "--baseline", "0"],
        &["--scaling", "--epochs", "5"],
    ] {
        let mut arguments = vec!["report", "1"];
        arguments.extend(flags);
        assert_eq!(
            mizar(&arguments, folder.path()).status.code(),
            Some(2),
            "{flags:?}"
        );
    }
}
