//! Exactly once, against a double of Slurm that fails on purpose, and a disk that fills up.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/site.rs"]
mod site;

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use harness::{Dice, event};
use serde_json::Value;
use site::{LIMIT, Site};

fn site(extra: &str) -> Site {
    Site::of(extra, "", "args = [{ name = \"id\", from = \"id\" }]\n")
}

fn all_in(jobs: &[Value], state: &str) -> bool {
    !jobs.is_empty() && jobs.iter().all(|job| job["state"] == state)
}

fn send(site: &Site, id: &str) {
    let body = event(id).to_string();
    let headers = [("content-type", "application/cloudevents+json")];
    assert_eq!(
        site.gateway.post("/events", &headers, body.as_bytes()).0,
        202
    );
}

#[test]
fn every_way_of_failing_ends_in_one_job() {
    for fault in [
        "hang",
        "hang-queued",
        "banner",
        "fail-queued",
        "refuse-queued",
        "away",
        "no-id",
    ] {
        let mut site = site("");
        site.double.faults(&[fault]);
        site.gateway.start();
        send(&site, "1");
        site.gateway
            .wait_jobs(LIMIT, |jobs| all_in(jobs, "completed"));
        assert_eq!(site.double.markers().len(), 1, "{fault}");
        let tries = if fault.ends_with("queued") || fault == "banner" {
            1
        } else {
            2
        };
        assert_eq!(site.double.calls().len(), tries, "{fault}");
    }
}

#[test]
fn a_refusal_is_a_dead_letter_and_can_be_retried() {
    let mut site = site("");
    site.double.faults(&["refuse"]);
    site.gateway.start();
    send(&site, "1");
    let jobs = site.gateway.wait_jobs(LIMIT, |jobs| all_in(jobs, "dead"));
    assert!(
        jobs[0]["reason"]
            .as_str()
            .unwrap()
            .contains("Invalid partition name")
    );
    let id = jobs[0]["id"].to_string();
    assert_eq!(site.gateway.command(&["retry", &id]).status.code(), Some(0));
    site.gateway
        .wait_jobs(LIMIT, |jobs| all_in(jobs, "completed"));
    assert_eq!(
        site.gateway.command(&["retry", &id]).status.code(),
        Some(4),
        "it ended well"
    );
    assert_eq!(
        site.gateway.command(&["retry", "77"]).status.code(),
        Some(4),
        "unknown"
    );
}

#[test]
fn uncertain_failures_are_capped() {
    let mut site = site("");
    site.double.faults(&["no-id", "hang", "no-id", "no-id"]);
    site.gateway.start();
    send(&site, "1");
    site.gateway.wait_jobs(LIMIT, |jobs| all_in(jobs, "dead"));
    assert_eq!(site.double.calls().len(), 3);
    let listed = site.gateway.command(&["dead-letters"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("dead"));
}

#[test]
fn nothing_is_decided_while_the_controller_is_away() {
    let mut site = site("");
    site.double.faults(&["fail-queued"]);
    site.double.set_away(true);
    site.gateway.start();
    send(&site, "1");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(site.double.calls().len() <= 1);
    site.double.set_away(false);
    site.gateway
        .wait_jobs(LIMIT, |jobs| all_in(jobs, "completed"));
    assert_eq!(
        (site.double.markers().len(), site.double.calls().len()),
        (1, 1)
    );
}

#[test]
fn a_lost_job_is_submitted_again_unless_it_started() {
    let mut site = site("");
    site.double.set_state("PENDING");
    site.gateway.start();
    send(&site, "never-started");
    send(&site, "started");
    let jobs = site
        .gateway
        .wait_jobs(LIMIT, |jobs| jobs.len() == 2 && all_in(jobs, "submitted"));
    let started = jobs
        .iter()
        .find(|job| job["event_id"] == "started")
        .unwrap();
    let marker = started["marker"].as_str().unwrap().to_owned();
    let hash = marker.rsplit(':').next().unwrap();
    let folder = site
        .gateway
        .dir
        .join("work/svc")
        .join(&hash[..2])
        .join(hash);
    fs::write(
        folder.join(format!("slurm-{}.out", started["slurm_job"])),
        "",
    )
    .unwrap();
    site.double.lose();
    site.double.set_state("COMPLETED");
    site.gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter().all(|job| {
            job["state"]
                == if job["event_id"] == "started" {
                    "vanished"
                } else {
                    "completed"
                }
        })
    });
    let markers = site.double.markers();
    assert_eq!(markers.len(), 1);
    assert!(markers[0].ends_with(".1"), "a new generation: {markers:?}");
}

#[test]
fn kill_9_at_any_moment_loses_and_doubles_nothing() {
    let mut dice = Dice::throw();
    let mut site = site("");
    let faults = [
        "",
        "",
        "fail-queued",
        "",
        "away",
        "",
        "",
        "hang-queued",
        "no-id",
        "",
        "",
        "",
    ];
    site.double.faults(&faults.repeat(3));
    let mut ids: Vec<String> = Vec::new();
    for round in 0..25 {
        site.gateway.start();
        let fresh: Vec<String> = (0..4).map(|n| format!("{round}-{n}")).collect();
        let until = std::time::Instant::now() + Duration::from_millis(dice.between(0, 250));
        site.gateway.send(&fresh);
        ids.extend(fresh);
        std::thread::sleep(until.saturating_duration_since(std::time::Instant::now()));
        site.gateway.kill();
    }
    site.gateway.start();
    let jobs = site.gateway.wait_jobs(Duration::from_secs(60), |jobs| {
        jobs.len() == ids.len() && all_in(jobs, "completed")
    });
    let events: HashSet<_> = jobs
        .iter()
        .map(|job| job["event_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(events, ids.iter().cloned().collect());
    let markers = site.double.markers();
    let distinct: HashSet<_> = markers.iter().collect();
    assert_eq!(
        (markers.len(), distinct.len()),
        (ids.len(), ids.len()),
        "one job per event"
    );
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let flags = nix::mount::MsFlags::empty();
    if nix::mount::mount(Some("tmpfs"), &small, Some("tmpfs"), flags, Some("size=1m")).is_err() {
        println!("SKIP: mounting a small file system needs root");
        return;
    }
    let mounted = Mounted(small.clone());
    let mut site = site(&format!("state_dir = \"{}\"\n", small.display()));
    site.double.set_away(true);
    site.gateway.start();
    let (mut acknowledged, mut refused) = (0, None);
    for round in 0..200 {
        let ids: Vec<String> = (0..50).map(|n| format!("{round}-{n}")).collect();
        match site.gateway.try_batch(&ids) {
            Some((202, _)) => acknowledged += ids.len(),
            Some((status, body)) => {
                refused = Some((status, body));
                break;
            }
            None => panic!("no answer"),
        }
    }
    let (status, body) = refused.expect("1 MiB is not enough for 10,000 events");
    assert_eq!(status, 507);
    assert!(body["error"].as_str().unwrap().contains("full"), "{body}");
    assert_eq!(site.gateway.get("/health").0, 200, "it goes on serving");
    // More space: everything acknowledged is there, and intake goes on.
    nix::mount::mount(
        None::<&str>,
        &small,
        None::<&str>,
        nix::mount::MsFlags::MS_REMOUNT,
        Some("size=64m"),
    )
    .unwrap();
    assert_eq!(
        site.gateway.try_batch(&["after".to_owned()]).unwrap().0,
        202
    );
    site.gateway.kill();
    site.gateway.start();
    assert_eq!(site.gateway.jobs().len(), acknowledged + 1);
    site.gateway.kill();
    drop(mounted);
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}
