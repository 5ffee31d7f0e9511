//! The daemon under a real Slurm with the real plugin: jobs over two nodes, and a daemon that
//! is killed under one.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;
use std::time::{Duration, Instant};

use mizar_core::ids::StepId;
use mizar_lab::{Lab, MizarOptions};
use mizar_record::model::JobRecord;
use mizar_record::reader::read_job;

/// Anything in a lab, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn lab() -> Option<Lab> {
    let options = MizarOptions::default()
        .key("sample_ms", "200")
        .key("flush_ms", "500");
    Lab::builder()
        .nodes(2)
        .cpus(4)
        .mizar_with(options)
        .start_or_skip()
}

fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn finished(folder: &Path) -> JobRecord {
    until("the record is merged and has its provenance", || {
        std::fs::exists(folder.join("prov.json"))
            .unwrap()
            .then_some(())
    });
    read_job(folder).unwrap()
}

#[test]
fn a_job_over_two_nodes_becomes_one_record() {
    let Some(lab) = lab() else { return };
    let script = "#!/bin/sh\n#SBATCH --job-name=two-nodes\nsrun --mizar sh -c 'sleep 1.5; exit $SLURM_PROCID'\n";
    let job = lab.sbatch(script, &["-N2", "-n4", "--mizar"]).unwrap();
    lab.wait_job(job, PATIENCE).unwrap();
    let folder = lab.record_dir().join(job.to_string());
    let record = finished(&folder);
    assert!(
        record.complete && record.missing_nodes.is_empty(),
        "{:?}",
        record.missing_nodes
    );
    assert_eq!(
        (record.job.name.as_str(), record.job.nodes.as_str()),
        ("two-nodes", "n[1-2]")
    );
    let names: Vec<&str> = record.nodes.iter().map(|node| node.node.as_str()).collect();
    assert_eq!(names, ["n1", "n2"]);
    let mut statuses = Vec::new();
    for node in &record.nodes {
        let tasks = node.tasks.iter().filter(|task| task.step == StepId(0));
        statuses.extend(tasks.map(|task| (task.rank.0, task.status)));
        assert!(node.task_samples.iter().filter(|row| row.step == 0).count() >= 4);
        assert!(
            node.task_samples
                .iter()
                .all(|row| row.rss_bytes > 0 || row.processes > 0)
        );
        assert!(
            node.node_samples.len() >= 4 && node.gaps.is_empty(),
            "{:?}",
            node.gaps
        );
        let step = node
            .steps
            .iter()
            .find(|step| step.step == StepId(0))
            .unwrap();
        assert!(
            step.end_ns.is_some() && step.command.join(" ").contains("sleep 1.5"),
            "{step:?}"
        );
    }
    statuses.sort_unstable();
    let expected: Vec<(u32, Option<i32>)> =
        (0..4).map(|rank| (rank, Some(rank as i32 * 256))).collect();
    assert_eq!(statuses, expected);
    let kept = record.nodes[0]
        .script
        .as_ref()
        .expect("the first node ran the script");
    assert_eq!(
        std::fs::read_to_string(&kept.path).unwrap(),
        script,
        "{kept:?}"
    );
    let prov = std::fs::read_to_string(folder.join("prov.json")).unwrap();
    assert!(prov.contains("two-nodes"));
}

#[test]
fn a_daemon_killed_under_a_job_finds_it_again() {
    let Some(mut lab) = lab() else { return };
    let script = "#!/bin/sh\nsrun --mizar sleep 6\n";
    let job = lab.sbatch(script, &["-N2", "-n2", "--mizar"]).unwrap();
    let folder = lab.record_dir().join(job.to_string());
    until("samples of the step on n2 are on disk", || {
        let record = read_job(&folder).ok()?;
        let node = record.nodes.iter().find(|node| node.node == "n2")?;
        (node.task_samples.len() > 3).then_some(())
    });
    lab.mizard("n2").unwrap().kill();
    lab.start_mizard("n2").unwrap();
    assert_eq!(lab.wait_job(job, PATIENCE).unwrap(), "COMPLETED");
    let record = finished(&folder);
    let node = record.nodes.iter().find(|node| node.node == "n2").unwrap();
    assert_eq!(node.gaps.len(), 1, "{:?}", node.gaps);
    assert!(
        node.task_samples
            .iter()
            .any(|row| row.time_ns > node.gaps[0].to_ns)
    );
    assert!(
        node.tasks.iter().all(|task| task.status == Some(0)),
        "{:?}",
        node.tasks
    );
}
