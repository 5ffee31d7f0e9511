//! Filters in CloudEvents SQL and jobs of several events, through the doors, against a double of
//! Slurm, with kills in between.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/site.rs"]
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use harness::Dice;
use serde_json::{Value, json};
use site::{LIMIT, Site};

/// A gateway with one service, which `rest` says.
fn site(rest: &str) -> Site {
    let mut site = Site::of("", "", rest);
    site.gateway.start();
    site
}

const BOTH: &str = r#"args = [{ name = "raw", from = "data.events.raw.subject" }]
[service.all_of]
within_s = 20
by = { from = "subject", capture = "run-([0-9]+)" }
[service.all_of.events]
raw = { suffix = ".raw" }
calibration = { sql = "type = 'calibrated' AND subject LIKE 'run-%'" }
"#;

fn event(id: &str, kind: &str, subject: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/t", "type": kind, "subject": subject})
}

impl Site {
    fn send(&self, events: &[Value]) -> Value {
        let headers = [("content-type", "application/cloudevents-batch+json")];
        let body = json!(events).to_string();
        let answer = self.gateway.post("/events", &headers, body.as_bytes());
        assert_eq!(answer.0, 202, "{}", answer.1);
        answer.1
    }

    /// The events of each job that was made of several.
    fn joined(&self) -> Vec<Vec<Value>> {
        let jobs = self.gateway.jobs();
        let made = jobs
            .iter()
            .filter(|job| job["type"] == "mizar.events.joined");
        made.map(|job| {
            let output = self
                .gateway
                .command(&["job", "--json", &job["id"].to_string()]);
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            match &told["event"]["data"]["events"] {
                Value::Array(list) => list.clone(),
                Value::Object(map) => map.values().cloned().collect(),
                other => panic!("{other}"),
            }
        })
        .collect()
    }
}

fn has(jobs: &[Value], state: &str, count: usize) -> bool {
    jobs.iter().filter(|job| job["state"] == state).count() == count
}

#[test]
fn a_filter_in_sql_is_asked_at_the_door() {
    let site = site("filter = { sql = \"type = 'x' AND subject LIKE 'raw/%' AND size > 3\" }\n");
    let with = |id: &str, kind: &str, subject: &str, size: Value| {
        let mut event = event(id, kind, subject);
        event["size"] = size;
        event
    };
    let answer = site.send(&[
        with("1", "x", "raw/a", json!(4)),
        with("2", "x", "raw/a", json!("5")),
        with("3", "x", "raw/a", json!(3)),
        with("4", "y", "raw/a", json!(4)),
        with("5", "x", "other", json!(4)),
        with("6", "x", "raw/a", json!("many")),
        event("7", "x", "raw/a"),
    ]);
    let wanted: Vec<bool> = answer["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["matched"] != json!([]))
        .collect();
    assert_eq!(wanted, [true, true, false, false, false, false, false]);
    // Attributes in headers are texts, and are taken as numbers.
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "8"),
        ("ce-source", "/t"),
        ("ce-type", "x"),
        ("ce-subject", "raw/b"),
        ("ce-size", "40"),
    ];
    let (status, answer) = site.gateway.post("/events", &headers, b"");
    assert_eq!(
        (
            status,
            answer["events"][0]["matched"][0]["service"].as_str()
        ),
        (202, Some("svc"))
    );
    let (_, text) = site.gateway.get("/v1/services");
    let shown: Value = serde_json::from_str(&text).unwrap();
    let sql = "type = 'x' AND subject LIKE 'raw/%' AND size > 3";
    assert_eq!(shown["services"][0]["filter"], json!({"sql": sql}));
    // A definition that is wrong says where.
    let services = fs::read_to_string(site.gateway.dir.join("services.toml")).unwrap();
    let wrong = services.replace("size > 3", "size >> 3");
    fs::write(site.gateway.dir.join("services.toml"), wrong).unwrap();
    let output = site.gateway.command(&["--check-config"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        told.contains("column 47") && told.contains("found `>`"),
        "{told}"
    );
}

#[test]
fn a_and_b_become_one_job_with_both() {
    let site = site(BOTH);
    let answer = site.send(&[
        event("r1", "t", "run-1.raw"),
        event("c2", "calibrated", "run-2"),
        event("n", "t", "no-run.raw"),
    ]);
    assert_eq!(
        answer["events"][2]["matched"],
        json!([]),
        "it belongs to nothing"
    );
    site.send(&[
        event("c1", "calibrated", "run-1"),
        event("c1", "calibrated", "run-1"),
    ]);
    let jobs = site
        .gateway
        .wait_jobs(LIMIT, |jobs| has(jobs, "completed", 1));
    assert!(
        has(&jobs, "joined", 2) && has(&jobs, "gathering", 1),
        "{jobs:?}"
    );
    assert_eq!(site.double.markers().len(), 1);
    assert!(
        site.double.calls()[0].ends_with(" run-1.raw"),
        "{:?}",
        site.double.calls()
    );
    let made = jobs.iter().find(|job| job["state"] == "completed").unwrap();
    assert_eq!(made["subject"], "1");
    let member = jobs.iter().find(|job| job["event_id"] == "r1").unwrap();
    assert_eq!(member["joined"], made["id"]);
    let both: BTreeSet<_> = site.joined()[0]
        .iter()
        .map(|event| event["id"].to_string())
        .collect();
    assert_eq!(both, ["\"c1\"".to_owned(), "\"r1\"".to_owned()].into());
}

#[test]
fn a_passed_window_is_a_dead_letter_that_can_be_tried_again() {
    let site = site(&BOTH.replace("within_s = 20", "within_s = 1"));
    site.send(&[event("r1", "t", "run-1.raw")]);
    let jobs = site.gateway.wait_jobs(LIMIT, |jobs| has(jobs, "dead", 1));
    let reason = jobs[0]["reason"].as_str().unwrap();
    assert_eq!(reason, "within 1 s no event came for `calibration` of `1`");
    let listed = site.gateway.command(&["dead-letters"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("no event came"));
    let retried = site.gateway.command(&["retry", "1"]);
    assert!(retried.status.success());
    site.send(&[event("c1", "calibrated", "run-1")]);
    site.gateway.wait_jobs(LIMIT, |jobs| {
        has(jobs, "completed", 1) && has(jobs, "joined", 2)
    });
    assert_eq!(site.double.markers().len(), 1);
}

#[test]
fn a_batch_is_a_job_when_full_or_after_its_time() {
    let site = site("filter = { prefix = \"in/\" }\nbatch = { events = 5, after_s = 1 }\n");
    let events: Vec<_> = (0..13)
        .map(|n| event(&n.to_string(), "t", &format!("in/{n}")))
        .collect();
    let began = Instant::now();
    site.send(&events);
    let jobs = site
        .gateway
        .wait_jobs(LIMIT, |jobs| has(jobs, "joined", 13));
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "the last three waited"
    );
    assert_eq!(jobs.len(), 16);
    let mut sizes: Vec<_> = site.joined().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [3, 5, 5]);
    site.gateway
        .wait_jobs(LIMIT, |jobs| has(jobs, "completed", 3));
    assert_eq!(site.double.markers().len(), 3);
}

#[test]
fn kill_9_at_any_moment_joins_every_event_once() {
    let mut dice = Dice::throw();
    let mut site = site(BOTH);
    let mut expected = BTreeMap::new();
    for round in 0..15 {
        if round > 0 {
            site.gateway.start();
        }
        let mut events = Vec::new();
        for pair in 0..3 {
            let run = round * 3 + pair;
            events.push(event(&format!("r{run}"), "t", &format!("run-{run}.raw")));
            events.push(event(
                &format!("c{run}"),
                "calibrated",
                &format!("run-{run}"),
            ));
            expected.insert(run.to_string(), [format!("c{run}"), format!("r{run}")]);
        }
        if dice.between(0, 2) == 0 {
            events.reverse();
        }
        let until = Instant::now() + Duration::from_millis(dice.between(0, 200));
        let body = |events: &[Value]| json!(events).to_string();
        let headers = [("content-type", "application/cloudevents-batch+json")];
        // Half of them, then all of them, some for the second time.
        for part in [&events[..3], &events[..]] {
            let post = || {
                site.gateway
                    .try_post("/events", &headers, body(part).as_bytes())
            };
            let answer = post().or_else(post);
            assert!(
                matches!(answer, Some((202, _))),
                "{answer:?}: {}",
                site.gateway.log()
            );
        }
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        site.gateway.kill();
    }
    site.gateway.start();
    let jobs = site.gateway.wait_jobs(Duration::from_secs(60), |jobs| {
        has(jobs, "completed", expected.len()) && has(jobs, "joined", 2 * expected.len())
    });
    assert_eq!(jobs.len(), 3 * expected.len());
    let mut found = BTreeMap::new();
    for members in site.joined() {
        let mut ids: Vec<String> = members
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        found.insert(ids[0][1..].to_owned(), [ids[0].clone(), ids[1].clone()]);
    }
    assert_eq!(found, expected);
    let markers = site.double.markers();
    let distinct: BTreeSet<_> = markers.iter().collect();
    assert_eq!(
        (markers.len(), distinct.len()),
        (expected.len(), expected.len())
    );
}
