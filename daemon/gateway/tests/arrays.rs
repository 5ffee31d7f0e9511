//! Bursts as job arrays, against a double of Slurm that fails on purpose: each event is one task,
//! or one job, and never both.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/site.rs"]
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::Dice;
use serde_json::Value;
use site::{LIMIT, Site};

const MOST: usize = 4;

fn site() -> Site {
    let service = format!("args = [{{ name = \"id\", from = \"id\" }}]\narray = {MOST}\n");
    Site::of("", "", &service)
}

fn ids(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| format!("event-{n}")).collect()
}

fn all_in(jobs: &[Value], state: &str) -> bool {
    !jobs.is_empty() && jobs.iter().all(|job| job["state"] == state)
}

/// How many jobs of Slurm each `--array` of the calls asked for; 1 for a plain job.
fn sizes(site: &Site) -> Vec<usize> {
    let size = |call: &String| {
        let spec = call
            .split(' ')
            .find_map(|word| word.strip_prefix("--array="));
        spec.map_or(1, |spec| {
            let (first, last) = spec.split_once('-').unwrap();
            last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap()
        })
    };
    site.double.calls().iter().map(size).collect()
}

#[test]
fn a_burst_is_few_submissions_and_each_event_has_its_own_end() {
    let mut site = site();
    site.double.set_state("PENDING");
    site.gateway.start();
    site.gateway.send(&ids(0, 9));
    site.gateway
        .wait_jobs(LIMIT, |jobs| jobs.len() == 9 && all_in(jobs, "submitted"));
    let made = sizes(&site);
    let mut sorted = made.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 4, 4]);
    // Slurm's states of three tasks of one array.
    let first = 1 + made.iter().take_while(|size| **size == 1).count();
    for (n, state) in (first..).zip(["FAILED", "RUNNING", "CANCELLED"]) {
        site.double.set_job_state(n, state);
    }
    let jobs = site.gateway.wait_jobs(LIMIT, |jobs| {
        let has = |state: &str| jobs.iter().any(|job| job["state"] == state);
        has("failed") && has("running") && has("cancelled")
    });
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for job in &jobs {
        *states.entry(job["state"].as_str().unwrap()).or_default() += 1;
    }
    let expected = [
        ("cancelled", 1),
        ("failed", 1),
        ("running", 1),
        ("submitted", 6),
    ];
    assert_eq!(states, expected.into());
    // A failed event that is tried again has a job of its own.
    let failed = jobs.iter().find(|job| job["state"] == "failed").unwrap();
    assert!(failed["slurm_task"].is_number(), "{failed}");
    let id = failed["id"].to_string();
    assert_eq!(site.gateway.command(&["retry", &id]).status.code(), Some(0));
    site.gateway.wait_jobs(LIMIT, |jobs| {
        let again = jobs.iter().find(|job| job["id"] == failed["id"]).unwrap();
        again["state"] == "submitted" && again["slurm_task"].is_null()
    });
    assert_eq!(sizes(&site).len(), 4);
}

#[test]
fn every_way_of_failing_ends_in_one_task_each() {
    for (fault, tries) in [
        ("hang", 2),
        ("hang-queued", 1),
        ("banner", 1),
        ("fail-queued", 1),
        ("refuse-queued", 1),
        ("away", 2),
        ("no-id", 2),
    ] {
        let mut site = site();
        site.double.faults(&[fault]);
        site.gateway.start();
        site.gateway.send(&ids(0, MOST));
        site.gateway.wait_jobs(LIMIT, |jobs| {
            jobs.len() == MOST && all_in(jobs, "completed")
        });
        let tasks: BTreeSet<String> = site.double.markers().into_iter().collect();
        assert_eq!(
            (tasks.len(), site.double.markers().len()),
            (MOST, MOST),
            "{fault}"
        );
        assert_eq!(sizes(&site), vec![MOST; tries], "{fault}");
    }
}

#[test]
fn a_refused_array_comes_apart_and_only_what_is_refused_alone_is_dead() {
    let mut site = site();
    site.double.faults(&["refuse-array", "", "refuse", ""]);
    site.gateway.start();
    site.gateway.send(&ids(0, MOST));
    let jobs = site.gateway.wait_jobs(LIMIT, |jobs| {
        let ended = |job: &&Value| job["state"] == "completed" || job["state"] == "dead";
        jobs.iter().filter(ended).count() == MOST
    });
    assert_eq!(jobs.iter().filter(|job| job["state"] == "dead").count(), 1);
    assert_eq!(sizes(&site), [MOST, 1, 1, 1, 1]);
}

#[test]
fn a_task_that_is_cancelled_alone_is_not_made_again_and_a_lost_array_is() {
    let mut site = site();
    site.double.set_state("PENDING");
    site.gateway.start();
    site.gateway.send(&ids(0, MOST));
    site.gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == MOST && all_in(jobs, "submitted")
    });
    site.double.lose_one(2);
    let jobs = site.gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter().any(|job| job["state"] == "cancelled")
    });
    let gone: Vec<&Value> = jobs
        .iter()
        .filter(|job| job["state"] == "cancelled")
        .collect();
    assert_eq!(gone.len(), 1, "{jobs:?}");
    assert_eq!(gone[0]["slurm_task"], 1);
    assert!(
        gone[0]["reason"]
            .as_str()
            .unwrap()
            .contains("cancelled in Slurm")
    );
    site.double.lose();
    site.double.set_state("COMPLETED");
    site.gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter()
            .filter(|job| job["state"] == "completed")
            .count()
            == MOST - 1
    });
    assert_eq!(
        sizes(&site),
        [MOST, MOST - 1],
        "the three that were lost, together"
    );
}

#[test]
fn kill_9_at_any_moment_loses_and_doubles_nothing() {
    let mut dice = Dice::throw();
    let mut site = site();
    let faults = [
        "",
        "",
        "fail-queued",
        "",
        "away",
        "",
        "hang-queued",
        "no-id",
        "",
        "",
        "refuse-array",
        "",
    ];
    site.double.faults(&faults.repeat(2));
    let mut sent = 0;
    for _ in 0..25 {
        site.gateway.start();
        let until = std::time::Instant::now() + Duration::from_millis(dice.between(0, 250));
        let fresh = ids(sent, 6);
        site.gateway.send(&fresh);
        sent += fresh.len();
        std::thread::sleep(until.saturating_duration_since(std::time::Instant::now()));
        site.gateway.kill();
    }
    site.gateway.start();
    site.gateway.wait_jobs(Duration::from_secs(60), |jobs| {
        jobs.len() == sent && all_in(jobs, "completed")
    });
    let markers = site.double.markers();
    let distinct: BTreeSet<&String> = markers.iter().collect();
    assert_eq!(
        (markers.len(), distinct.len()),
        (sent, sent),
        "one task or job per event"
    );
    assert!(
        sizes(&site).iter().any(|size| *size > 1),
        "there were arrays"
    );
}
