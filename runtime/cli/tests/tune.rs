//! `mizar tune` with workers of this machine, one of which is killed.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn tune(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
    command.arg("tune").arg("study.toml").args(arguments);
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    tune(folder, arguments).output().unwrap()
}

fn write_study(folder: &Path, script: &str, rest: &str) {
    let text = format!(
        "command = ['sh', '-c', '''{script}''', 'trial', '{{rate}}', '{{budget}}', '{{dir}}']\n\
         metric = 'loss'\nseed = 5\n{rest}\n[space.rate]\nlow = 0.0\nhigh = 1.0\n"
    );
    std::fs::write(folder.join("study.toml"), text).unwrap();
}

/// The loss is the distance of the rate from 0.5, less with more budget.
const LOSS: &str = r#"awk -v r="$1" -v b="$2" "BEGIN { d = r - 0.5; printf \"{\\\"loss\\\": %.9f}\n\", d * d + 1 / b }""#;

fn json(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&run(folder, &["--json"]).stdout).unwrap()
}

#[test]
fn asha_gives_the_best_trials_more_and_results_are_files() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_study(
        folder,
        LOSS,
        "method = 'asha'\nasha = { min = 1, max = 9, factor = 3 }\nbudget = { trials = 9 }",
    );
    let output = run(folder, &["--local", "2"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let found = json(folder);
    let trials = found["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 9);
    let rungs = |rung: u64| trials.iter().filter(|t| t["rung"] == rung).count();
    // Which third is the best is known only at the end: an early leader may have gone on too.
    assert!(rungs(2) >= 1 && rungs(1) + rungs(2) >= 3, "{found:#}");
    let distance =
        |trial: &serde_json::Value| (trial["values"]["rate"].as_f64().unwrap() - 0.5).abs();
    let nearest = trials.iter().map(distance).fold(1.0, f64::min);
    let best = distance(&trials[0]);
    assert!(best <= 2.0 * nearest + 0.2, "{best} {nearest}");
    let results = folder.join("study.toml.tune");
    assert_eq!(
        std::fs::read_to_string(results.join("results.csv"))
            .unwrap()
            .lines()
            .count(),
        10
    );
    assert!(
        std::fs::read_to_string(results.join("results.svg"))
            .unwrap()
            .contains("<circle")
    );
    // Nothing is begun twice.
    let before = std::fs::read(results.join("ledger.jsonl")).unwrap();
    assert!(run(folder, &["--local", "1"]).status.success());
    assert_eq!(std::fs::read(results.join("ledger.jsonl")).unwrap(), before);
}

/// The first run waits until it is killed together with its worker.
#[test]
fn a_worker_that_is_killed_loses_only_its_trial_which_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let script = r#"echo $PPID > "$3/worker"; [ -e go ] || { touch waits; exec sleep 60; }; echo "{\"loss\": $1}""#;
    write_study(folder, script, "budget = { trials = 3 }");
    let mut first = tune(folder, &["--local", "1"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = std::time::Instant::now();
    while !folder.join("waits").exists() {
        assert!(started.elapsed().as_secs() < 30, "no trial begins");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let trial = folder.join("study.toml.tune/trial-0000");
    let worker = std::fs::read_to_string(trial.join("worker")).unwrap();
    kill(
        Pid::from_raw(worker.trim().parse().unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    assert!(!first.wait().unwrap().success());
    assert_eq!(json(folder)["lost"], 1);
    std::fs::write(folder.join("go"), "").unwrap();
    assert!(run(folder, &["--local", "2"]).status.success());
    let found = json(folder);
    assert_eq!(found["trials"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&found["running"], &found["failed"]),
        (&0.into(), &0.into())
    );
    assert!(
        found["trials"]
            .as_array()
            .unwrap()
            .iter()
            .all(|t| t["state"] == "measured"),
        "{found:#}"
    );
}

#[test]
fn what_cannot_be_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_study(folder, "exit 1", "budget = {}");
    let said = String::from_utf8(run(folder, &[]).stderr).unwrap();
    assert!(said.contains("budget has no limit"), "{said}");
    write_study(folder, "echo bad >&2; exit 4", "budget = { trials = 2 }");
    let output = run(folder, &["--local", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        table.matches("failed: exit code 4: bad").count(),
        2,
        "{table}"
    );
    write_study(folder, "exit 1", "budget = { trials = 3 }");
    let said = String::from_utf8(run(folder, &[]).stderr).unwrap();
    assert!(said.contains("holds results of another study"), "{said}");
}
