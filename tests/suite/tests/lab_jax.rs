//! The example of JAX, run over two nodes of a real Slurm: its rendezvous is the plugin's.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use mizar_lab::{Lab, MizarOptions, venv};
use mizar_suite::repository;

/// Three programs that import JAX, on two loaded cores.
const JOB: Duration = Duration::from_secs(240);

/// The loss that a task ends with, by rank.
fn losses(output: &str) -> Vec<f64> {
    let mut found: Vec<(u32, f64)> = Vec::new();
    for line in output.lines().filter(|line| line.starts_with("task ")) {
        let mut words = line.split(' ');
        let rank = words.nth(1).unwrap().parse().unwrap();
        found.push((rank, words.next_back().unwrap().parse().unwrap()));
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, loss)| loss).collect()
}

#[test]
fn jax_finds_its_tasks_on_two_nodes() {
    let Some(python) = venv::python_with("jax") else {
        println!("SKIP: the Python environment with JAX (make venv)");
        return;
    };
    let builder = Lab::builder().nodes(2).mizar_with(MizarOptions::default());
    let Some(lab) = builder.start_or_skip() else {
        return;
    };
    let example = std::fs::read_to_string(repository().join("examples/jax.sbatch")).unwrap();
    let folder = repository().join("examples").display().to_string();
    let script = example
        .replace(
            "python \"$SLURM_SUBMIT_DIR/",
            &format!("'{}' \"{folder}/", python.display()),
        )
        .replace("\"$@\"", "60");
    // The same on one task, to compare with: the batch is the same.
    let one = script
        .lines()
        .last()
        .unwrap()
        .replace("srun ", "srun -N1 -n1 ");
    let script = format!("{script}{one}\n");
    let job = lab
        .sbatch(&script, &[])
        .unwrap_or_else(|error| panic!("{error}"));
    let state = lab
        .wait_job(job, JOB)
        .unwrap_or_else(|error| panic!("{error}"));
    let output = lab.job_output(job).unwrap_or_default();
    assert_eq!(state, "COMPLETED", "{output}");
    let (of_two, of_one) = output
        .split_once("tasks 1 devices")
        .unwrap_or_else(|| panic!("{output}"));
    let (two, one) = (losses(of_two), losses(of_one));
    assert_eq!((two.len(), one.len()), (2, 1), "{output}");
    assert!(of_two.contains("tasks 2 devices 2"), "{output}");
    assert_eq!(two[0], two[1], "{output}");
    assert!((two[0] - one[0]).abs() < 1e-4 * one[0], "{output}");
    let first: f64 = of_two
        .split("loss ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(two[0] < 0.8 * first, "it learns: {output}");
    lab.stop();
}
