//! Jobs of several events on a real Slurm: each runs once, with all its events, although the
//! gateway is killed between the first and the last, and a drained gateway leaves none behind.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use harness::{Gateway, program};
use mizar_lab::Lab;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);

const RUNS: usize = 4;

fn gateway(lab: &Lab) -> Gateway {
    let dir = lab.dir().join("gateway");
    fs::create_dir(&dir).unwrap();
    let script = dir.join("job.sh");
    // A file for each job: several append to one at once.
    program(
        &script,
        "#!/bin/sh\necho \"$SLURM_JOB_ID\" >> \"$1/starts\"\ncat \"$MIZAR_EVENT_FILE\" > \"$1/$SLURM_JOB_ID.json\"\n",
    );
    let service = |name: &str, rest: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nscript = \"{}\"\nargs = [{{ name = \"out\", value = \"{}/{name}\" }}]\nsbatch = {{ time = \"5\", mem = 10 }}\n{rest}",
            script.display(),
            dir.display()
        )
    };
    let services = service(
        "pair",
        "[service.all_of]\nwithin_s = 600\nby = { from = \"subject\", capture = \"run-([0-9]+)\" }\n[service.all_of.events]\na = { type = \"a\" }\nb = { sql = \"type = 'b'\" }\n",
    ) + &service(
        "many",
        "filter = { sql = \"type IN ('a', 'b')\" }\nbatch = { events = 5, after_s = 600 }\n",
    );
    for name in ["pair", "many"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    let extra = format!(
        "[slurm]\nconf = \"{}\"\npoll_ms = 500\ngrace_ms = 3000\n",
        lab.slurm_conf().display()
    );
    Gateway::prepare(&dir, &extra, &services)
}

fn send(gateway: &Gateway, kind: &str) {
    let events: Vec<_> = (0..RUNS)
        .map(|run| {
            json!({"specversion": "1.0", "id": format!("{kind}{run}"), "source": "/t", "type": kind,
                "subject": format!("run-{run}")})
        })
        .collect();
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let (status, answer) = gateway.post("/events", &headers, json!(events).to_string().as_bytes());
    assert_eq!(status, 202, "{answer}");
}

/// The ids of the events of each job that ran; each was started once.
fn ran(gateway: &Gateway, service: &str) -> Vec<BTreeSet<String>> {
    let folder = gateway.dir.join(service);
    let starts = fs::read_to_string(folder.join("starts")).unwrap();
    let jobs: BTreeSet<&str> = starts.lines().collect();
    assert_eq!(jobs.len(), starts.lines().count(), "{starts}");
    let events = jobs.into_iter().map(|job| {
        let text = fs::read_to_string(folder.join(format!("{job}.json"))).unwrap();
        let event: Value = serde_json::from_str(&text).unwrap();
        let events = match &event["data"]["events"] {
            Value::Array(list) => list.clone(),
            Value::Object(map) => map.values().cloned().collect(),
            other => panic!("{other}"),
        };
        let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
        events.iter().map(id).collect()
    });
    events.collect()
}

#[test]
fn jobs_of_several_events_run_once_with_all_of_them() {
    let Some(lab) = Lab::builder()
        .nodes(1)
        .cpus(8)
        .memory_mib(8_000)
        .start_or_skip()
    else {
        return;
    };
    let mut gateway = gateway(&lab);
    gateway.start();
    send(&gateway, "a");
    gateway.kill();
    gateway.start();
    send(&gateway, "b");
    send(&gateway, "a");
    gateway.kill();
    gateway.start();
    // Eight events in batches of five: the other three go when nothing more can come.
    let drain = gateway.command(&["drain", "--ended", "--limit-s", "120"]);
    let told = String::from_utf8_lossy(&drain.stdout).into_owned();
    assert_eq!(drain.status.code(), Some(0), "{told}\n{}", gateway.log());
    assert!(told.ends_with("drained\n"), "{told}");
    let made = RUNS + 2;
    gateway.wait_jobs(LIMIT, |jobs| {
        let count = |state: &str| jobs.iter().filter(|job| job["state"] == state).count();
        count("completed") == made && count("joined") == 4 * RUNS && jobs.len() == made + 4 * RUNS
    });
    let pairs = ran(&gateway, "pair");
    let expected: BTreeSet<BTreeSet<String>> = (0..RUNS)
        .map(|run| [format!("a{run}"), format!("b{run}")].into())
        .collect();
    assert_eq!(pairs.len(), RUNS);
    assert_eq!(pairs.into_iter().collect::<BTreeSet<_>>(), expected);
    let batches = ran(&gateway, "many");
    let mut sizes: Vec<_> = batches.iter().map(BTreeSet::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [3, 5]);
    let all: BTreeSet<_> = batches.into_iter().flatten().collect();
    assert_eq!(all.len(), 2 * RUNS, "each event once");
}
