//! Webhooks whose receivers are slow: others do not wait, and several calls may be on their way, in
//! order for each job.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/receiver.rs"]
mod receiver;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use double::Double;
use harness::{Gateway, event, program};
use receiver::{Call, Receiver};
use rusqlite::Connection;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// A gateway with one service and a webhook for each receiver, with these keys.
fn gateway(folder: &Path, hooks: &[(&str, &Receiver, &str)]) -> Gateway {
    let double = Double::new(folder);
    let script = folder.join("job.sh");
    program(&script, "#!/bin/sh\n");
    std::fs::write(folder.join("key"), "a-key-of-the-test-0123456789\n").unwrap();
    std::fs::set_permissions(folder.join("key"), PermissionsExt::from_mode(0o600)).unwrap();
    let services = format!(
        "[[service]]\nname = \"a\"\nscript = \"{}\"\n",
        script.display()
    );
    let mut config = double.config();
    for (name, receiver, keys) in hooks {
        config += &format!(
            "[[webhooks]]\nname = \"{name}\"\nurl = \"http://{}/\"\nsecret_file = \"key\"\n\
             handshake = false\nbackoff_ms = 20\nbackoff_max_ms = 200\n{keys}\n",
            receiver.address
        );
    }
    let mut gateway = Gateway::prepare(folder, &config, &services);
    gateway.start();
    gateway
}

fn send(gateway: &Gateway, from: u32, to: u32) {
    let events: Vec<Value> = (from..to).map(|n| event(&n.to_string())).collect();
    let head = [("content-type", "application/cloudevents-batch+json")];
    let body = json!(events).to_string();
    assert_eq!(gateway.post("/events", &head, body.as_bytes()).0, 202);
}

/// Change and job of each call that was answered well, as they came.
fn taken(receiver: &Receiver) -> Vec<(i64, i64)> {
    let good = |call: &&Call| call.answer.starts_with("HTTP/1.1 2");
    let calls = receiver.calls("POST");
    let told = calls.iter().filter(good).map(|call| {
        let told: Value = serde_json::from_str(&call.body).unwrap();
        (told["id"].as_i64().unwrap(), told["job"].as_i64().unwrap())
    });
    told.collect()
}

fn wait_until(gateway: &Gateway, limit: Duration, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < limit, "{}", gateway.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All changes that the ledger has, and for each job in order.
fn truth(gateway: &Gateway) -> BTreeMap<i64, Vec<i64>> {
    let ledger = Connection::open(gateway.dir.join("state/ledger.sqlite")).unwrap();
    let mut list = ledger
        .prepare("SELECT job, id FROM changes ORDER BY id")
        .unwrap();
    let rows = list
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let mut found: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for row in rows {
        let (job, id): (i64, i64) = row.unwrap();
        found.entry(job).or_default().push(id);
    }
    found
}

#[test]
fn a_slow_receiver_keeps_no_other_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (slow, quick) = (Receiver::start(), Receiver::start());
    slow.slow(Duration::from_secs(3));
    let gateway = gateway(folder.path(), &[("slow", &slow, ""), ("quick", &quick, "")]);
    send(&gateway, 0, 10);
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == 10 && jobs.iter().all(|job| job["state"] == "completed")
    });
    let count = truth(&gateway).values().map(Vec::len).sum::<usize>();
    // Forty calls of three seconds would take two minutes.
    wait_until(&gateway, Duration::from_secs(20), || {
        taken(&quick).len() >= count
    });
    assert!(taken(&slow).len() < count / 2, "{}", taken(&slow).len());
    assert_eq!((slow.most_open(), quick.most_open()), (1, 1));
}

#[test]
fn several_calls_at_once_keep_the_order_of_each_job() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    receiver.slow(Duration::from_millis(50));
    // Some fail, one ends without an answer, and one change is refused for what it is.
    let mut answers = vec![receiver::GOOD; 300];
    for (index, answer) in answers.iter_mut().enumerate() {
        *answer = match index % 29 {
            7 => "HTTP/1.1 500 No\r\nContent-Length: 0\r\n",
            19 => "",
            _ => continue,
        };
    }
    receiver.answer(&answers);
    let mut gateway = gateway(folder.path(), &[("hook", &receiver, "parallel = 4")]);
    send(&gateway, 0, 40);
    wait_until(&gateway, LIMIT, || taken(&receiver).len() >= 30);
    gateway.kill();
    gateway.start();
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == 40 && jobs.iter().all(|job| job["state"] == "completed")
    });
    let expected = truth(&gateway);
    let all: BTreeSet<i64> = expected.values().flatten().copied().collect();
    wait_until(&gateway, LIMIT, || {
        let told: BTreeSet<i64> = taken(&receiver).into_iter().map(|(id, _)| id).collect();
        told == all
    });
    let (mut seen, mut of_job) = (BTreeSet::new(), BTreeMap::<i64, Vec<i64>>::new());
    let taken = taken(&receiver);
    for (id, job) in &taken {
        // What came again after the kill or a failure is known by its id.
        if seen.insert(*id) {
            of_job.entry(*job).or_default().push(*id);
        }
    }
    assert_eq!(of_job, expected, "in order for each job");
    assert!(
        (2..=4).contains(&receiver.most_open()),
        "{}",
        receiver.most_open()
    );
    // A page at most came again after the kill; a failure alone repeats nothing that was taken.
    assert!(
        taken.len() <= all.len() + 100,
        "{} of {}",
        taken.len(),
        all.len()
    );
    let told = || -> Value {
        let told: Value = serde_json::from_str(&gateway.get("/v1/webhooks").1).unwrap();
        told["webhooks"][0].clone()
    };
    wait_until(&gateway, LIMIT, || told()["waiting"] == 0);
    assert_eq!(
        (&told()["refused"], &told()["dropped"]),
        (&json!(0), &json!(0))
    );
}
