//! The example of a scaling job, submitted to a real Slurm of two nodes, and its report.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use mizar_lab::{Lab, MizarOptions, binary};
use mizar_suite::repository;

/// Nine short steps on two loaded cores.
const JOB: Duration = Duration::from_secs(180);

/// A program whose time is known: it sleeps, so that a loaded machine changes little.
const PROGRAM: &str = "#!/bin/sh\n\
    case $SLURM_STEP_NUM_TASKS in 1) exec sleep 6;; 2) exec sleep 3.3;; *) exec sleep 2;; esac\n";

#[test]
fn the_example_becomes_a_scalability_report() {
    let builder = Lab::builder().nodes(2).cpus(2);
    let Some(lab) = builder.mizar_with(MizarOptions::default()).start_or_skip() else {
        return;
    };
    let program = lab.dir().join("my-program");
    std::fs::write(&program, PROGRAM).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let example = std::fs::read_to_string(repository().join("examples/scaling.sbatch")).unwrap();
    let script = example.replace("./my-program", &program.display().to_string());
    assert_ne!(script, example);
    let job = lab
        .sbatch(&script, &[])
        .unwrap_or_else(|error| panic!("{error}"));
    let state = lab
        .wait_job(job, JOB)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        state,
        "COMPLETED",
        "{}",
        lab.job_output(job).unwrap_or_default()
    );

    let mut command = lab.command(binary("mizar"));
    command
        .args(["report", "--scaling", "--json", "--record-dir"])
        .arg(lab.record_dir())
        .arg(job.to_string());
    let output = lab.run_output(command).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let points = report["points"].as_array().unwrap();
    let ranks: Vec<u64> = points
        .iter()
        .map(|point| point["ranks"].as_u64().unwrap())
        .collect();
    assert_eq!(ranks, [1, 2, 4], "{report:#}");
    for (point, expected_s) in points.iter().zip([6.0, 3.3, 2.0]) {
        assert_eq!(point["run_count"], 3);
        assert_eq!(point["strategy"], "scaling");
        let time = &point["epoch_time_s"];
        assert_eq!(time["basis"], "replicates");
        // A step is registered and left a moment around its program.
        let found = time["value"].as_f64().unwrap();
        assert!(
            (found - expected_s).abs() < 1.5,
            "{found} s, expected {expected_s} s"
        );
    }
    assert_eq!(report["strategies"][0]["fits"][0]["law"], "amdahl");
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 9);
    assert!(
        runs.iter().all(|run| run["own_cpu_s"].is_number()),
        "{runs:#?}"
    );
    lab.stop();
}
