//! The whole loop on a real Slurm: an event over HTTP becomes an MPI job over two nodes that
//! computes on a CMIP6 file, watched by plugin and mizard; its state, record, report and
//! provenance come back and are read by programs that are not ours.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod loop_parts;

use loop_parts::{Gateway, Job, cmip6_sample, job_script, record_of};
use mizar_lab::{Lab, LabBuilder, MizarOptions, Signal, binary};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Two MPI steps on two loaded cores.
const JOB: Duration = Duration::from_secs(120);
/// Merging and digests after a job.
const RECORD: Duration = Duration::from_secs(30);

fn watched_lab() -> LabBuilder {
    let options = MizarOptions::default()
        .key("sample_ms", "200")
        .key("flush_ms", "400");
    Lab::builder().nodes(2).mizar_with(options)
}

/// Says why nothing was tested, or returns the input file.
fn requirements() -> Option<std::path::PathBuf> {
    for program in ["mizar", "mizar-gateway", "mizard"] {
        assert!(
            binary(program).exists(),
            "build {program} first: {}",
            binary(program).display()
        );
    }
    let sample = cmip6_sample();
    if sample.is_none() {
        println!("SKIP: the Python readers and the CMIP6 sample (tests/tools/venv.sh)");
    }
    sample
}

fn wait_for(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(
            start.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// `mizar report --json` of a job.
fn report(lab: &Lab, job: u32) -> Value {
    let mut command = Command::new(binary("mizar"));
    command.arg("report").arg(job.to_string()).arg("--json");
    command.arg("--record-dir").arg(lab.record_dir());
    let output = lab
        .run_output(command)
        .unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_cloud_event_becomes_a_watched_mpi_job() {
    let Some(sample) = requirements() else { return };
    let Some(lab) = watched_lab().start_or_skip() else {
        return;
    };
    let bucket = lab.dir().join("out/bucket");
    std::fs::create_dir_all(&bucket).unwrap();
    let input = bucket.join("ta_day.nc");
    std::fs::copy(sample, &input).unwrap();
    let results = lab.dir().join("out/results");

    let gateway = Gateway::start(&lab, &bucket, &results);
    let event = json!({
        "specversion": "1.0", "id": "arrival-1", "source": "urn:store:cmip6",
        "type": "org.example.object.created", "subject": "ta_day.nc",
        "data": {"model": "IPSL-CM6A-LR"},
    });
    let accepted = gateway.post(&event);
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    let again = gateway.post(&event);
    assert_eq!(again.status, 202, "{}", again.body);

    wait_for("the job's end in the ledger", JOB, || {
        gateway.jobs().first().is_some_and(Job::is_over)
    });
    let jobs = gateway.jobs();
    assert_eq!(jobs.len(), 1, "one event, one job: {jobs:?}");
    let log = gateway.log();
    assert_eq!(
        jobs[0].state,
        "completed",
        "{:?}\n{}\n{log}",
        jobs[0],
        gateway.output_of_jobs()
    );
    let job = jobs[0].slurm_job.unwrap();
    assert_eq!(lab.job_field(job, "JobState").unwrap(), "COMPLETED");

    let result = results.join("ta_day.climatology.nc");
    check_job(&lab, job, &input, &result);
}

/// Checks record, provenance and report of a job whose last step, of four ranks, made `result`
/// from `input`.
fn check_job(lab: &Lab, job: u32, input: &Path, result: &Path) {
    let folder = lab.record_dir().join(job.to_string());
    wait_for("the merged record", RECORD, || {
        folder.join("job.h5").exists() && folder.join("prov.json").exists()
    });
    let record = record_of(&folder);
    assert_eq!(record["attributes"]["schema"], "mizar-record/1");
    assert_eq!(record["attributes"]["job_id"], job.to_string());
    // A step that crashed while starting was tried once more: the last is the one that counts.
    let ranks = record["ranks"].as_array().unwrap();
    let step = ranks.iter().filter_map(|pair| pair[0].as_u64()).max();
    let step = step.unwrap_or_else(|| panic!("no rank was seen: {record:#}"));
    let of_step = |pair: &&Value| pair[0] == step;
    assert_eq!(ranks.iter().filter(of_step).count(), 4, "{record:#}");
    for node in ["n1", "n2"] {
        let rows = record["tables"][node]["task_samples"]
            .as_u64()
            .unwrap_or_default();
        assert!(rows >= 2, "{node} has {rows} samples: {record:#}");
    }
    // Script, four ranks, the batch step, the job: at least; three kinds of agents.
    assert!(record["activities"].as_u64().unwrap() >= 6, "{record:#}");
    assert!(record["agents"].as_u64().unwrap() >= 2, "{record:#}");
    for file in [input, result] {
        let digest = &record["files"][file.to_str().unwrap()];
        assert_eq!(
            digest.as_str().unwrap_or_default(),
            loop_parts::sha256_of(file),
            "{file:?}"
        );
    }

    let report = report(lab, job);
    assert_eq!(report["schema"], "mizar-report/1");
    assert_eq!(report["job"]["id"], job);
    assert_eq!(report["job"]["state"], "finished");
    assert_eq!(report["completeness"]["complete"], true, "{report:#}");
    assert!(
        report["cpu"]["used_s"].as_f64().unwrap() > 0.0,
        "{:#}",
        report["cpu"]
    );
    let ranks = report["ranks"].as_array().unwrap();
    let step = step.to_string();
    let of_step = |rank: &&Value| rank["step"] == step.as_str();
    assert_eq!(ranks.iter().filter(of_step).count(), 4, "{ranks:#?}");
}

/// The daemon's death is no business of the job's, and its successor carries on.
#[test]
fn a_job_outlives_its_mizards_and_is_watched_again() {
    if requirements().is_none() {
        return;
    }
    let Some(mut lab) = watched_lab().start_or_skip() else {
        return;
    };
    let script = "#!/bin/bash\n#SBATCH --mizar\nsrun --mpi=none sleep 6\n";
    let job = lab.sbatch(script, &["-N2"]).unwrap();
    let folder = lab.record_dir().join(job.to_string());
    wait_for("a record on both nodes", RECORD, || {
        ["n1", "n2"]
            .iter()
            .all(|node| folder.join(format!("{node}.0.h5")).exists())
    });
    std::thread::sleep(Duration::from_secs(1));
    for node in lab.node_names() {
        lab.mizard(&node).unwrap().signal(Signal::SIGKILL);
    }
    for node in lab.node_names() {
        lab.start_mizard(&node).unwrap();
    }
    assert_eq!(lab.wait_job(job, JOB).unwrap(), "COMPLETED");
    wait_for("the merged record", RECORD, || {
        folder.join("prov.json").exists()
    });
    assert!(
        folder.join("n1.1.h5").exists(),
        "the second mizard begins a segment of its own"
    );
    let report = report(&lab, job);
    assert_eq!(report["completeness"]["complete"], true, "{report:#}");
    let gaps = report["completeness"]["gaps"].as_array().unwrap();
    assert!(
        !gaps.is_empty(),
        "the time without a daemon is told: {report:#}"
    );
}

/// The script that people copy: an unmodified program under `srun --mizar`.
#[test]
fn an_unmodified_program_gets_a_rendezvous_and_a_record() {
    if requirements().is_none() {
        return;
    }
    let Some(lab) = watched_lab().start_or_skip() else {
        return;
    };
    let shown = "echo $RANK/$WORLD_SIZE on $MASTER_ADDR; sleep 1";
    let mut command = lab.command("srun");
    command.args(["--mizar", "--mpi=none", "-N2", "-n4", "sh", "-c", shown]);
    let output = lab.run_output(command).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0/4 on n1", "1/4 on n1", "2/4 on n1", "3/4 on n1"]);
    let folder = lab.record_dir().join("1");
    wait_for("the merged record", RECORD, || {
        folder.join("prov.json").exists()
    });
    assert_eq!(
        record_of(&folder)["ranks"],
        json!([[0, 0], [0, 1], [0, 2], [0, 3]])
    );
}

#[test]
fn the_job_script_is_plain_bash() {
    let status = Command::new("bash")
        .args(["-n", "-c", &job_script()])
        .status();
    assert!(status.unwrap().success());
}
