//! The stream of changes: nothing lost or doubled over lost connections and a killed gateway,
//! listeners in bounded number, slow ones hung up on.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/listener.rs"]
mod listener;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use double::Double;
use harness::{Dice, Gateway, program};
use listener::Listener;
use rusqlite::Connection;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// A gateway whose services `a` and `b` take the events of the types `a` and `b`.
fn gateway(folder: &Path, limits: &str) -> Gateway {
    let double = Double::new(folder);
    let script = folder.join("job.sh");
    program(&script, "#!/bin/sh\n");
    let service = |name: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nscript = \"{}\"\nfilter = {{ type = \"{name}\" }}\n",
            script.display()
        )
    };
    let limits = format!(
        "[limits]\nheartbeat_ms = 200\n{limits}\n{}",
        double.config()
    );
    Gateway::prepare(folder, &limits, &(service("a") + &service("b")))
}

fn send(gateway: &Gateway, from: u32, to: u32) {
    let events: Vec<Value> = (from..to)
        .map(|n| {
            let kind = if n % 3 == 0 { "b" } else { "a" };
            json!({"specversion": "1.0", "id": n.to_string(), "source": "/t", "type": kind})
        })
        .collect();
    let head = [("content-type", "application/cloudevents-batch+json")];
    let body = json!(events).to_string();
    assert_eq!(gateway.post("/events", &head, body.as_bytes()).0, 202);
}

/// Number and state of the ledger's changes of a service.
fn truth(gateway: &Gateway, service: &str) -> Vec<(i64, String)> {
    let ledger = Connection::open(gateway.dir.join("state/ledger.sqlite")).unwrap();
    let mut list = ledger
        .prepare("SELECT id, state FROM changes WHERE service = ?1 ORDER BY id")
        .unwrap();
    let rows = list.query_map([service], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_listener_that_comes_and_goes_gets_every_change_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = gateway(folder.path(), "");
    gateway.start();
    let mut dice = Dice::throw();
    let mut seen: Vec<(i64, String)> = Vec::new();
    let mut listener = Listener::open(&gateway.url("/v1/events/stream?service=a"), None);
    let mut connections = 1;
    let started = Instant::now();
    for round in 0..6 {
        send(&gateway, round * 20, (round + 1) * 20);
        if round == 3 {
            // Whatever is on its way to the listener goes with it.
            gateway.kill();
            gateway.start();
        }
        for _ in 0..dice.between(1, 30) {
            match listener.next() {
                Some(event) => seen.extend(event.change()),
                None => break,
            }
        }
        let last = listener.last_id.clone();
        drop(listener);
        listener = Listener::open(&gateway.url("/v1/events/stream?service=a"), last.as_deref());
        connections += 1;
    }
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == 120 && jobs.iter().all(|job| job["state"] == "completed")
    });
    let expected = truth(&gateway, "a");
    while seen.len() < expected.len() {
        assert!(
            started.elapsed() < LIMIT,
            "{} of {}",
            seen.len(),
            expected.len()
        );
        let event = listener.next().expect("the gateway goes on");
        seen.extend(event.change());
    }
    assert_eq!(seen, expected, "over {connections} connections");
    // 80 jobs of this service, each received, submitted, completed at least.
    assert!(seen.len() >= 240, "{}", seen.len());
    // Nothing more comes but beats.
    for _ in 0..5 {
        assert_eq!(listener.next().unwrap().change(), None);
    }
}

#[test]
fn a_listener_begins_where_it_says_and_is_told_of_a_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = gateway(folder.path(), "listeners = 3\n");
    gateway.start();
    send(&gateway, 0, 3);
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter().all(|job| job["state"] == "completed")
    });
    let url = |query: &str| gateway.url(&format!("/v1/events/stream{query}"));
    // From now on, with the number to come back with.
    let mut now = Listener::open(&url(""), None);
    let first = now.next().unwrap();
    let newest: i64 = first.id.unwrap().parse().unwrap();
    assert_eq!((first.name, first.data), (None, None));
    assert_eq!(
        newest,
        truth(&gateway, "a")
            .last()
            .unwrap()
            .0
            .max(truth(&gateway, "b").last().unwrap().0)
    );
    // All of both services.
    let mut all = Listener::open(&url("?service=b,a&after=0"), None);
    let told: Vec<Value> = std::iter::from_fn(|| all.next())
        .filter_map(|event| event.data)
        .take(usize::try_from(newest).unwrap())
        .collect();
    let one = told.iter().find(|one| one["state"] == "completed").unwrap();
    assert_eq!(
        (&one["event_source"], &one["was"]),
        (&json!("/t"), &json!("submitted")),
        "{one}"
    );
    // A listener that begins now gets what comes, and nothing of before.
    send(&gateway, 3, 4);
    let change = std::iter::from_fn(|| now.next()).find_map(|event| event.change());
    assert_eq!(change, Some((newest + 1, "received".to_owned())));
    // Bounded in number; a place is free again once its listener is gone.
    let third = Listener::open(&url(""), None);
    let answer = ureq::get(url(""))
        .config()
        .http_status_as_error(false)
        .build()
        .call();
    assert_eq!(answer.unwrap().status(), 503);
    drop((now, all, third));
    let started = Instant::now();
    while ureq::get(url("")).call().is_err() {
        assert!(started.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(100));
    }
    gateway.stop();
    // Part of the changes is forgotten, and one listener knows a number of another ledger.
    let ledger = Connection::open(gateway.dir.join("state/ledger.sqlite")).unwrap();
    ledger
        .execute("DELETE FROM changes WHERE id <= 4", [])
        .unwrap();
    gateway.start();
    for (after, is_loss) in [("3", true), ("4", false), ("99999", true)] {
        let mut listener = Listener::open(&gateway.url("/v1/events/stream"), Some(after));
        let first = listener.next().unwrap();
        assert_eq!(first.name.as_deref() == Some("loss"), is_loss, "{after}");
        assert_eq!(first.id.as_deref(), Some("4"), "{after}");
        let next = std::iter::from_fn(|| listener.next()).find_map(|event| event.change());
        assert_eq!(next.unwrap().0, 5, "{after}");
    }
    for (query, id) in [("?colour=red", None), ("?after=x", None), ("", Some("-?"))] {
        let mut request = ureq::get(gateway.url(&format!("/v1/events/stream{query}")));
        if let Some(id) = id {
            request = request.header("last-event-id", id);
        }
        let answer = request.config().http_status_as_error(false).build().call();
        assert_eq!(answer.unwrap().status(), 400, "{query}");
    }
    // It ends with the gateway, not the gateway with it.
    let mut listener = Listener::open(&gateway.url("/v1/events/stream"), None);
    let stopped = Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(
        stopped.elapsed() < Duration::from_secs(8),
        "{:?}",
        stopped.elapsed()
    );
    while listener.next().is_some() {}
}

#[test]
fn a_listener_that_takes_nothing_is_hung_up_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = gateway(folder.path(), "stall_ms = 300\n");
    gateway.start();
    gateway.stop();
    // More than the buffers of any connection hold.
    let ledger = Connection::open(gateway.dir.join("state/ledger.sqlite")).unwrap();
    ledger
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             INSERT INTO changes (job, service, generation, state, reason, at_ms)
             SELECT i, 'a', 0, 'failed', hex(zeroblob(1000)), 1 FROM n",
            [],
        )
        .unwrap();
    gateway.start();
    let mut slow = TcpStream::connect(gateway.address).unwrap();
    slow.write_all(b"GET /v1/events/stream?after=0 HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let started = Instant::now();
    let metric = |gateway: &Gateway, line: &str| gateway.get("/metrics").1.contains(line);
    while !metric(&gateway, "mizar_gateway_stream_listeners_dropped_total 1") {
        assert!(started.elapsed() < LIMIT, "{}", gateway.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(metric(&gateway, "mizar_gateway_stream_listeners 0"));
    // What was on its way comes, then the end: by far not all.
    let mut rest = Vec::new();
    slow.set_read_timeout(Some(LIMIT)).unwrap();
    let _ = slow.read_to_end(&mut rest);
    assert!(
        rest.len() < 30_000_000,
        "{} bytes were buffered",
        rest.len()
    );
    // One that reads gets all of it.
    let mut quick = Listener::open(&gateway.url("/v1/events/stream?after=0"), None);
    let count = std::iter::from_fn(|| quick.next()).filter_map(|event| event.change());
    assert_eq!(count.take(20_000).count(), 20_000);
}
