//! `mizar-lab` as a person uses it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use mizar_lab::Lab;
use std::path::Path;
use std::process::{Command, Output};

fn mizar_lab(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizar-lab"));
    command
        .args(arguments)
        .arg("--dir")
        .arg(dir)
        .env_remove("MIZAR_LAB_DIR");
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert!(
        !output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_lab_is_started_used_and_stopped() {
    if Lab::builder().start_or_skip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("lab");
    let up = ["up", "--nodes", "2", "--without-mizar"];
    let first = told(&mizar_lab(&dir, &up));
    assert!(first.contains("up: 2 nodes"), "{first}");
    let second = told(&mizar_lab(&dir, &up));
    assert!(second.starts_with("already up: 2 nodes"), "{second}");

    let file = told(&mizar_lab(&dir, &["env"]));
    let script = ". \"$1\"; srun -N2 --mpi=none printenv SLURMD_NODENAME | sort";
    let output = Command::new("sh")
        .args(["-c", script, "sh", file.trim()])
        .output()
        .unwrap();
    assert_eq!(told(&output), "n1\nn2\n");
    let status = told(&mizar_lab(&dir, &["status"]));
    assert!(
        status.contains("2 nodes in") && status.contains("NODELIST"),
        "{status}"
    );

    assert!(told(&mizar_lab(&dir, &["down"])).starts_with("down"));
    assert!(told(&mizar_lab(&dir, &["down"])).starts_with("no lab runs in"));
    assert!(refused(&mizar_lab(&dir, &["env"])).contains("start one: mizar-lab up"));
}

#[test]
fn a_killed_lab_can_be_started_again() {
    if Lab::builder().start_or_skip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let up = ["up", "--nodes", "1", "--without-mizar"];
    told(&mizar_lab(folder.path(), &up));
    let state = std::fs::read_to_string(folder.path().join("lab.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let owner = nix::unistd::Pid::from_raw(i32::try_from(state["pid"].as_i64().unwrap()).unwrap());
    nix::sys::signal::kill(owner, nix::sys::signal::Signal::SIGKILL).unwrap();
    let text = told(&mizar_lab(folder.path(), &up));
    assert!(text.contains("up: 1 nodes"), "{text}");
    told(&mizar_lab(folder.path(), &["down"]));
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    if Lab::builder().start_or_skip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = refused(&mizar_lab(
        folder.path(),
        &["up", "--nodes", "5000", "--without-mizar"],
    ));
    assert!(
        text.contains("the number of nodes must be between 1 and 80, not 5000"),
        "{text}"
    );
    let spoken = folder.path().join("it's a lab");
    let text = refused(&mizar_lab(&spoken, &["up", "--without-mizar"]));
    assert!(
        text.contains("cannot be written in Slurm's configuration"),
        "{text}"
    );
    std::fs::remove_dir_all(spoken).unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    let text = refused(&mizar_lab(folder.path(), &["up", "--without-mizar"]));
    assert!(text.contains("was not made by a lab"), "{text}");
    assert!(text.lines().count() <= 2, "{text}");
}
