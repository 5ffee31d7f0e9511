//! A drained gateway takes nothing, finishes what it has, and goes on when told.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/site.rs"]
mod site;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Gateway, agent, event};
use serde_json::{Value, json};
use site::{LIMIT, Site};

/// Status and Retry-After of an answer to an event.
fn send(gateway: &Gateway, id: &str) -> (u16, Option<String>) {
    let agent = agent(LIMIT);
    let answer = agent
        .post(gateway.url("/events"))
        .header("content-type", "application/cloudevents+json")
        .send(event(id).to_string().as_bytes())
        .unwrap();
    let after = answer.headers().get("retry-after");
    let after = after.map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), after)
}

fn told(gateway: &Gateway) -> Value {
    let (status, text) = gateway.get("/v1/drain");
    assert_eq!(status, 200);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_drain_ends_when_all_is_submitted() {
    let folder = "[[sources]]\nkind = \"directory\"\nname = \"in\"\npath = \"in\"\n";
    let mut site = Site::new("", folder);
    fs::create_dir(site.path("in")).unwrap();
    site.gateway.start();
    site.wait_source("in", |source| source["state"] == "connected");
    assert_eq!(told(&site.gateway)["draining"], false);
    // A slow service, so that there is something to wait for.
    assert!(
        site.gateway
            .command(&["set", "svc", "rate=4/s"])
            .status
            .success()
    );
    let ids: Vec<String> = (0..6).map(|n| n.to_string()).collect();
    assert_eq!(site.gateway.try_batch(&ids).unwrap().0, 202);
    let mut drain = Command::new(harness::PROGRAM)
        .args(["drain", "--ended", "--config"])
        .arg(site.gateway.dir.join("gateway.toml"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while told(&site.gateway)["draining"] == false {
        assert!(since.elapsed() < LIMIT);
    }
    // From that moment on, whether the gateway's parts have heard of it or not.
    assert_eq!(send(&site.gateway, "refused"), (503, Some("30".to_owned())));
    site.wait_source("in", |source| source["state"] == "paused");
    let (_, overview) = site.gateway.get("/v1/overview");
    assert!(overview.contains(r#""draining":true"#), "{overview}");
    fs::write(site.path("in/file"), "x").unwrap();
    assert_eq!(drain.wait().unwrap().code(), Some(0));
    let output = drain.wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let last: Vec<&str> = output.lines().rev().take(2).collect();
    let empty = "0 are in Slurm, 0 are being submitted, 0 wait for submission";
    assert_eq!(last, ["drained", empty], "{output}");
    assert!(output.lines().count() >= 4, "progress is told: {output}");
    let jobs = site.gateway.jobs();
    assert_eq!(jobs.len(), 6);
    assert!(
        jobs.iter().all(|job| job["state"] == "completed"),
        "{jobs:?}"
    );
    // A restart does not undo it.
    assert_eq!(site.gateway.stop(), Some(0));
    site.gateway.start();
    assert_eq!(send(&site.gateway, "refused").0, 503);
    let status = site.gateway.command(&["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("no events are taken"));
    assert!(site.gateway.command(&["resume"]).status.success());
    let since = Instant::now();
    while send(&site.gateway, "taken").0 != 202 {
        assert!(
            since.elapsed() < Duration::from_secs(2),
            "within a second or so"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    // What came to the source meanwhile is not lost.
    let jobs = site.exactly(8);
    assert!(
        jobs.iter().any(|job| job["source"] == "/sources/in"),
        "{jobs:?}"
    );
}

#[test]
fn a_drain_over_http_and_one_that_is_late() {
    let mut site = Site::new("", "");
    site.gateway.start();
    assert!(site.gateway.command(&["pause", "svc"]).status.success());
    assert_eq!(send(&site.gateway, "1").0, 202);
    let (status, answer) = site.gateway.post("/v1/drain", &[], b"");
    assert_eq!(status, 202);
    let left = json!({"waiting": 1, "paused": 1, "submitting": 0, "in_slurm": 0, "gathering": 0});
    assert_eq!(answer["left"], left);
    assert_eq!(answer["empty"], false);
    assert_eq!(send(&site.gateway, "2").0, 503);
    assert_eq!(site.gateway.get("/health").0, 200);
    assert!(
        site.gateway
            .get("/metrics")
            .1
            .contains("mizar_gateway_draining 1")
    );
    let late = site.gateway.command(&["drain", "--limit-s", "1"]);
    assert_eq!(late.status.code(), Some(5));
    let told = String::from_utf8_lossy(&late.stdout).into_owned();
    assert!(told.contains("1 of them in paused services"), "{told}");
    assert!(
        site.gateway
            .command(&["drain", "--no-wait"])
            .status
            .success()
    );
    site.gateway.stop();
    let away = site.gateway.command(&["drain"]);
    assert_eq!(away.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&away.stderr).contains("no gateway answers"));
    site.gateway.start();
    assert!(site.gateway.command(&["resume", "svc"]).status.success());
    assert!(site.gateway.command(&["drain"]).status.success());
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let answer = agent.delete(site.gateway.url("/v1/drain")).call().unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(send(&site.gateway, "3").0, 202);
    site.exactly(2);
}

#[test]
fn not_one_event_is_taken_after_a_drain_began() {
    let mut site = Site::new("", "");
    site.gateway.start();
    let gateway = &site.gateway;
    let acknowledged: usize = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                scope.spawn(move || {
                    let mut taken = 0;
                    loop {
                        match send(gateway, &format!("{sender}-{taken}")).0 {
                            202 => taken += 1,
                            503 => return taken,
                            other => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        let drained = gateway.command(&["drain"]);
        assert!(drained.status.success());
        let counted = gateway.jobs().len();
        let taken = senders.into_iter().map(|one| one.join().unwrap()).sum();
        assert_eq!(
            counted, taken,
            "what was there when it ended is all there is"
        );
        taken
    });
    assert!(acknowledged > 0);
    site.exactly(acknowledged);
    assert_eq!(site.double.markers().len(), acknowledged);
}
