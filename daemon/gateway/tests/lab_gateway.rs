//! Events on a real Slurm while gateway, slurmctld and the mizards of the nodes are killed at
//! random moments: every event has exactly one job of a service whose events are jobs, and exactly
//! one task or job of one whose bursts are job arrays.
//!
//! `MIZAR_FAULT_EVENTS` sets the number of events (200 unless told), `MIZAR_FAULT_SEED` the
//! moments; the seed is printed.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::{Dice, Gateway, program};
use mizar_lab::Lab;
use nix::sys::signal::Signal;
use serde_json::Value;

const DEFAULT_EVENTS: usize = 200;
const BATCH: usize = 10;

/// What ends a job in the ledger.
const FINAL: [&str; 5] = ["completed", "failed", "cancelled", "vanished", "dead"];

fn lab() -> Option<Lab> {
    // Many CPUs on paper, so that jobs wait for nothing but the machine itself.
    Lab::builder()
        .nodes(2)
        .cpus(32)
        .memory_mib(64_000)
        .mizar(true)
        .slurm_conf_extra(
            "MaxJobCount=20000\nMinJobAge=3600\nSchedulerParameters=batch_sched_delay=0,sched_interval=1,default_queue_depth=10000\n",
        )
        .start_or_skip()
}

fn gateway(lab: &Lab) -> Gateway {
    let dir = lab.dir().join("gateway");
    fs::create_dir(&dir).unwrap();
    let script = dir.join("job.sh");
    // O_APPEND keeps lines of concurrent jobs whole. A task that a slurmctld with an older state
    // starts again has another id then, as a job has the same: the array says what was submitted.
    program(
        &script,
        &format!(
            "#!/bin/sh\necho \"$1 ${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}\" >> {}/ran-$MIZAR_SERVICE\n",
            dir.display()
        ),
    );
    let service = |name: &str, more: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nscript = \"{}\"\nargs = [{{ name = \"id\", from = \"id\" }}]\n{more}sbatch = {{ time = \"5\", mem = 10, mizar = true }}\n",
            script.display()
        )
    };
    let services = service("fault", "") + &service("burst", "array = 8\n");
    let extra = format!(
        "[slurm]\nconf = \"{}\"\npoll_ms = 500\ngrace_ms = 3000\nbackoff_ms = 200\nsubmit_ms = 20000\n",
        lab.slurm_conf().display()
    );
    Gateway::prepare(&dir, &extra, &services)
}

/// Sends all events in batches, each until it is acknowledged.
fn send_all(gateway: &Arc<Mutex<Gateway>>, ids: &[String]) {
    for batch in ids.chunks(BATCH) {
        loop {
            let answer = gateway.lock().unwrap().try_batch(batch);
            if matches!(answer, Some((202, _))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn every_event_has_exactly_one_job_whatever_is_killed() {
    let Some(mut lab) = lab() else { return };
    let count = std::env::var("MIZAR_FAULT_EVENTS")
        .ok()
        .and_then(|text| text.parse().ok());
    let count: usize = count.unwrap_or(DEFAULT_EVENTS);
    let mut dice = Dice::throw();
    let ids: Vec<String> = (0..count).map(|n| format!("event-{n}")).collect();
    let gateway = Arc::new(Mutex::new(gateway(&lab)));
    gateway.lock().unwrap().start();
    let started = Instant::now();
    let sent = Arc::new(AtomicBool::new(false));
    let sender = {
        let (gateway, ids, sent) = (Arc::clone(&gateway), ids.clone(), Arc::clone(&sent));
        std::thread::spawn(move || {
            send_all(&gateway, &ids);
            sent.store(true, Ordering::SeqCst);
        })
    };
    let (mut gateway_kills, mut controller_kills, mut mizard_kills) = (0, 0, 0);
    // Goes on while events come in and jobs are made of them, and until each has been killed
    // some times.
    let least = Duration::from_millis(20 * count as u64);
    while !sent.load(Ordering::SeqCst)
        || started.elapsed() < least
        || gateway_kills < 4
        || controller_kills < 2
        || mizard_kills < 2
    {
        std::thread::sleep(Duration::from_millis(dice.between(100, 1500)));
        match dice.between(0, 4) {
            0 | 1 => {
                let mut gateway = gateway.lock().unwrap();
                gateway.kill();
                gateway.start();
                gateway_kills += 1;
            }
            2 => {
                lab.kill_slurmctld();
                std::thread::sleep(Duration::from_millis(dice.between(0, 800)));
                lab.start_slurmctld().unwrap();
                controller_kills += 1;
            }
            _ => {
                let node = if dice.between(0, 2) == 0 { "n1" } else { "n2" };
                let mizard = lab.mizard(node).unwrap();
                mizard.signal(Signal::SIGKILL);
                while mizard.ended().is_none() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                std::thread::sleep(Duration::from_millis(dice.between(0, 800)));
                lab.start_mizard(node).unwrap();
                mizard_kills += 1;
            }
        }
    }
    sender.join().unwrap();
    let limit = Duration::from_secs(120 + count as u64 / 5);
    let gateway = gateway.lock().unwrap();
    let asked = Cell::new(Instant::now());
    let jobs = gateway.wait_jobs(limit, |jobs| {
        operate(&lab);
        if asked.get().elapsed() > ASK_EVERY {
            ask_nodes(&lab);
            asked.set(Instant::now());
        }
        jobs.iter()
            .all(|job| FINAL.contains(&job["state"].as_str().unwrap()))
    });
    for service in ["fault", "burst"] {
        let own = jobs.iter().filter(|job| job["service"] == service);
        check(&lab, &gateway, &ids, service, &own.collect::<Vec<_>>());
    }
    let tasks = jobs.iter().filter(|job| job["slurm_task"].is_number());
    assert!(tasks.count() > count / 10, "bursts became arrays");
    println!(
        "{count} events, {gateway_kills} kills of the gateway, {controller_kills} of slurmctld, {mizard_kills} of mizard, {:.0} s",
        started.elapsed().as_secs_f64()
    );
}

/// How often [`ask_nodes`] is done while jobs do not end.
const ASK_EVERY: Duration = Duration::from_secs(20);

/// Has slurmctld ask its nodes what runs there. A job whose end was told while slurmctld was dead
/// runs for ever in its eyes until it asks, which it does by itself only after many minutes.
fn ask_nodes(lab: &Lab) {
    let mut reconfigure = lab.command("scontrol");
    reconfigure.arg("reconfigure");
    let _ = lab.run_output(reconfigure);
}

/// Does what an operator does after slurmctld lost its state: it meets its own jobs again
/// ("Duplicate jobid"), drains their nodes and holds the jobs.
fn operate(lab: &Lab) {
    for node in lab.node_names() {
        let mut drained = lab.command("sinfo");
        drained.args(["-h", "-t", "drain", "-o", "%N", "-n", &node]);
        if lab
            .run_output(drained)
            .is_ok_and(|found| !found.stdout.is_empty())
        {
            let mut resume = lab.command("scontrol");
            resume.args(["update", &format!("NodeName={node}"), "State=RESUME"]);
            let _ = lab.run_output(resume);
        }
    }
    let mut held = lab.command("squeue");
    held.args(["-h", "-t", "pending", "-o", "%A %r"]);
    let Ok(held) = lab.run_output(held) else {
        return;
    };
    for line in String::from_utf8_lossy(&held.stdout).lines() {
        if let Some((job, _)) = line.split_once(" launch failed") {
            let mut release = lab.command("scontrol");
            release.args(["release", job]);
            let _ = lab.run_output(release);
        }
    }
}

/// Compares ledger, queue, and what the jobs themselves wrote.
fn check(lab: &Lab, gateway: &Gateway, ids: &[String], service: &str, jobs: &[&Value]) {
    let ledger: BTreeMap<&str, &Value> = jobs
        .iter()
        .map(|job| (job["event_id"].as_str().unwrap(), *job))
        .collect();
    assert_eq!(ledger.len(), jobs.len(), "one row per event");
    assert_eq!(
        ledger.keys().copied().collect::<BTreeSet<_>>(),
        ids.iter().map(String::as_str).collect()
    );
    let mut ran: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut starts = 0;
    for line in fs::read_to_string(gateway.dir.join(format!("ran-{service}")))
        .unwrap()
        .lines()
    {
        let (event, job) = line.split_once(' ').unwrap();
        ran.entry(event.to_owned())
            .or_default()
            .insert(job.to_owned());
        starts += 1;
    }
    let mut queue = lab.command("squeue");
    queue.args(["-h", "-t", "all", "--Format=JobID:|,Comment:|"]);
    let queue = String::from_utf8(lab.run_output(queue).unwrap().stdout).unwrap();
    let mut marked: HashMap<String, Vec<&str>> = HashMap::new();
    for line in queue.lines() {
        let mut fields = line.split('|');
        let (id, marker) = (fields.next().unwrap(), fields.next().unwrap());
        let event = marker.split('.').next().unwrap().to_owned();
        marked.entry(event).or_default().push(id);
    }
    let (mut vanished, mut generations) = (0, 0);
    for (event, row) in &ledger {
        let state = row["state"].as_str().unwrap();
        let marker = row["marker"].as_str().unwrap();
        generations += usize::from(marker.contains('.'));
        let jobs = ran.get(*event).map_or(0, BTreeSet::len);
        let in_queue = marked
            .get(marker.split('.').next().unwrap())
            .map_or(0, Vec::len);
        assert!(in_queue <= 1, "{event} has {in_queue} jobs in Slurm: {row}");
        match state {
            // Slurm may have forgotten it since: a slurmctld killed after the ledger saw the
            // end comes back with an older state.
            "completed" => assert_eq!(jobs, 1, "{event}: {row}"),
            // slurmctld forgot a job that had started; Slurm ends such a job, or it ended.
            "vanished" => {
                vanished += 1;
                assert!(jobs <= 1, "{event} ran as {:?}: {row}", ran.get(*event));
            }
            // A restarted slurmctld may end a job whose node it has not heard of.
            "failed" | "cancelled" => assert!(jobs <= 1, "{event}: {row}"),
            _ => panic!("{event} is {state}: {row}"),
        }
    }
    println!(
        "{service}: ledger {}, events that ran {}, starts {starts}, forgotten before start {generations}, after start {vanished}",
        ledger.len(),
        ran.len()
    );
}
