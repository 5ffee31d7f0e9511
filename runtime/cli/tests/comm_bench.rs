//! `mizar comm-bench` alone and under mpirun, as a user starts it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use std::process::{Command, Output};

const MIZAR: &str = env!("CARGO_BIN_EXE_mizar");

fn alone(arguments: &[&str]) -> Output {
    Command::new(MIZAR)
        .arg("comm-bench")
        .args(arguments)
        .output()
        .unwrap()
}

/// On so many ranks; `None` where there is no mpirun.
fn ranks(count: usize, arguments: &[&str]) -> Option<Output> {
    mizar_lab::mpirun(count, MIZAR.as_ref(), |command| {
        command.arg("comm-bench").args(arguments);
    })
}

#[test]
fn columns_are_those_of_nccl_tests() {
    let Some(output) = ranks(
        3,
        &[
            "-b",
            "12",
            "-e",
            "96K",
            "-f",
            "8",
            "-n",
            "3",
            "--compare-mpi",
        ],
    ) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(
        text.contains("comm-bench all_reduce: 3 ranks on 1 nodes"),
        "{text}"
    );
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 5, "{text}");
    for row in &rows {
        // size count type redop root (time algbw busbw wrong) twice, then MPI's time and ratio.
        assert_eq!(row.len(), 15, "{text}");
        assert_eq!(row[2..5], ["float", "sum", "-1"]);
        assert_eq!((row[8], row[12]), ("0", "0"));
        let (algorithm, bus): (f64, f64) = (row[6].parse().unwrap(), row[7].parse().unwrap());
        assert!((bus - algorithm * 4.0 / 3.0).abs() < 0.02, "{row:?}");
    }
    assert!(text.contains("# Out of bounds values : 0 OK"), "{text}");
}

#[test]
fn json_has_the_layout_of_nccl_tests() {
    let Some(output) = ranks(2, &["all_gather", "-e", "1K", "-t", "bfloat16", "--json"]) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let json: serde_json::Value = serde_json::from_str(&text).expect(&text);
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), 8);
    for row in results {
        assert_eq!(row["type"], "bfloat16");
        assert_eq!(row["redop"], "none");
        assert_eq!(row["in_place"]["nwrong"], 0);
        let figure = |name: &str| row["out_of_place"][name].as_f64().unwrap();
        assert!(figure("time") > 0.0);
        assert!((figure("bus_bw") - figure("alg_bw") / 2.0).abs() < 1e-9);
    }
    assert_eq!(json["out_of_bounds"]["okay"], true);
    // The environment may hold secrets.
    assert!(!text.contains("PATH"), "{text}");
}

#[test]
fn a_slow_bus_and_wrong_sizes_have_their_exit_codes() {
    let slow = alone(&["-e", "64", "--expect", "1e9"]);
    assert_eq!(slow.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&slow.stderr).contains("expected 1000000000.00"));
    assert!(alone(&["-e", "64"]).status.success());
    assert_eq!(alone(&["-e", "12X"]).status.code(), Some(2));
}
