//! [`SlurmCli`] on a real Slurm: the conformance suite, and the accounting.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use mizar_lab::Lab;
use mizar_slurm::{
    CliSettings, Marker, Phase, Scheduler, SlurmCli, SubmitOutcome, SubmitRequest, conformance,
};

fn client(lab: &Lab) -> SlurmCli {
    SlurmCli::new(CliSettings {
        conf: Some(lab.slurm_conf()),
        ..CliSettings::default()
    })
}

#[test]
fn the_command_line_client_conforms() {
    let Some(lab) = Lab::builder().nodes(1).start_or_skip() else {
        return;
    };
    let folder = tempfile::tempdir_in(lab.dir()).unwrap();
    conformance::check(&client(&lab), folder.path());
    let none = Marker::new("conformance", &"0".repeat(32), 0).unwrap();
    assert_eq!(
        client(&lab).accounted(&[none]).unwrap(),
        [],
        "no accounting is no failure"
    );
}

#[test]
fn the_accounting_finds_jobs_by_marker() {
    let Some(lab) = Lab::builder().nodes(1).slurmdbd(true).start_or_skip() else {
        return;
    };
    let client = client(&lab);
    let folder = tempfile::tempdir_in(lab.dir()).unwrap();
    let script = folder.path().join("job.sh");
    std::fs::write(&script, "#!/bin/sh\nexit 3\n").unwrap();
    let marker = Marker::new("accounted", &"a".repeat(32), 2).unwrap();
    let request = SubmitRequest {
        marker: marker.clone(),
        script,
        arguments: vec![],
        options: vec![],
        directory: folder.path().to_owned(),
        environment: vec![],
        user: None,
        tasks: Vec::new(),
    };
    let SubmitOutcome::Submitted(id) = client.submit(&request) else {
        panic!("not accepted")
    };
    let other = Marker::new("accounted", &"b".repeat(32), 0).unwrap();
    let started = Instant::now();
    loop {
        let jobs = client.accounted(&[marker.clone(), other.clone()]).unwrap();
        let end = jobs.iter().find(|job| job.state.phase().is_final());
        if let Some(job) = end {
            assert_eq!((job.id, &job.marker, jobs.len()), (id, &marker, 1));
            assert_eq!((job.state.phase(), job.exit_code), (Phase::Failed, Some(3)));
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(40),
            "not accounted: {jobs:?}"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(client.accounted(&[other]).unwrap().is_empty());
}
