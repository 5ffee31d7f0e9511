//! A daemon that is killed, stopped or started twice: what of its jobs is left.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::Duration;

use mizar_api::{FileRole, FileUse, Request};
use mizar_core::ids::{JobId, StepId};
use mizar_record::reader::read_job;
use support::{Daemon, Task, until};

const JOB: JobId = JobId(7);
const STEP: StepId = StepId(0);

#[test]
fn after_kill_9_running_jobs_are_found_again_and_reused_pids_are_not() {
    let mut daemon = Daemon::start("sample_ms = 100\nflush_ms = 100\n");
    let (kept, lost) = (Task::sleeping(), Task::sleeping());
    daemon.register(JOB, STEP, &[&kept, &lost]);
    until("samples are on disk", || {
        let record = read_job(&daemon.record(JOB)).ok()?;
        (record.nodes[0].task_samples.len() > 4).then_some(())
    });
    daemon.kill();
    // As if the pid of a task that ended meanwhile belonged to somebody else now.
    let state = daemon.folder().join("state/7.json");
    let mut saved: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    let ticks = &mut saved["steps"][0]["tasks"][1]["start_ticks"];
    *ticks = (ticks.as_u64().unwrap() - 1).into();
    std::fs::write(&state, saved.to_string()).unwrap();
    std::fs::write(daemon.folder().join("state/8.json"), "half a fi").unwrap();
    daemon.restart();
    let tasks = until("the first task is sampled again", || {
        let tasks = daemon.job(JOB)?.steps.pop()?.tasks;
        tasks[0].cpus_busy.is_some().then_some(tasks)
    });
    assert!(tasks[0].running && !tasks[1].running, "{tasks:?}");
    daemon.ask(Request::JobEnd { job: JOB }).unwrap();
    daemon.wait_for_record(JOB);
    let record = read_job(&daemon.record(JOB)).unwrap();
    let node = &record.nodes[0];
    assert_eq!(node.gaps.len(), 1, "{:?}", node.gaps);
    assert_eq!(node.gaps[0].reason, "daemon restarted");
    assert!(node.gaps[0].from_ns < node.gaps[0].to_ns);
    assert_eq!((node.tasks.len(), node.steps.len()), (2, 1));
    let after = node
        .task_samples
        .iter()
        .filter(|row| row.time_ns > node.gaps[0].to_ns)
        .count();
    assert!(after > 0 && after < node.task_samples.len());
}

#[test]
fn a_graceful_stop_keeps_what_was_measured_and_the_job() {
    let mut daemon = Daemon::start("sample_ms = 100\nflush_ms = 60000\n");
    let task = Task::sleeping();
    daemon.register(JOB, STEP, &[&task]);
    until("it is sampled", || {
        daemon.job(JOB)?.steps[0].tasks[0].cpus_busy
    });
    let status = daemon.terminate();
    assert!(status.success(), "{status}");
    assert!(!daemon.socket().exists());
    let record = read_job(&daemon.record(JOB)).unwrap();
    assert!(record.nodes[0].task_samples.len() >= 2 && !record.complete);
    daemon.restart();
    until("it is found again", || daemon.job(JOB));
}

#[test]
fn a_live_socket_is_refused_and_a_stale_one_replaced() {
    let mut daemon = Daemon::start("");
    let second = daemon.command().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains("another mizard answers at"), "{message}");
    daemon.kill();
    assert!(daemon.socket().exists(), "kill -9 leaves the socket");
    daemon.restart();
    daemon.ask(Request::Ping).unwrap();
    daemon.terminate();
    std::fs::write(daemon.socket(), "precious").unwrap();
    let third = daemon.command().output().unwrap();
    assert!(String::from_utf8_lossy(&third.stderr).contains("is no socket"));
    assert_eq!(std::fs::read(daemon.socket()).unwrap(), b"precious");
}

#[test]
fn two_daemons_do_not_share_a_state() {
    let daemon = Daemon::start("");
    let mut second = daemon.command();
    second
        .arg("--socket")
        .arg(daemon.folder().join("second.sock"));
    let output = second.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("another mizard keeps its state"),
        "{message}"
    );
    daemon.ask(Request::Ping).unwrap();
}

#[test]
fn a_requeued_job_begins_anew() {
    let daemon = Daemon::start("sample_ms = 100\nflush_ms = 100\n");
    let tasks = [Task::sleeping(), Task::sleeping()];
    daemon.register(JOB, STEP, &[&tasks[0], &tasks[1]]);
    until("the first run is on disk", || {
        (read_job(&daemon.record(JOB)).ok()?.nodes[0]
            .task_samples
            .len()
            > 2)
        .then_some(())
    });
    let mut again = support::registration(JOB, STEP, &[&tasks[0]]);
    again.restart_count = 1;
    daemon.ask(Request::RegisterStep(Box::new(again))).unwrap();
    let record = until("the second run is on disk", || {
        let record = read_job(&daemon.record(JOB)).ok()?;
        let sampled = record.job.restart_count == 1 && record.nodes[0].task_samples.len() > 2;
        sampled.then_some(record)
    });
    assert_eq!(record.nodes[0].tasks.len(), 1);
    assert!(record.nodes[0].task_samples.iter().all(|row| row.rank == 0));
}

#[test]
fn files_reported_before_a_kill_are_digested_after_it() {
    let mut daemon = Daemon::start("sample_ms = 100\nflush_ms = 100\n");
    let task = Task::sleeping();
    daemon.register(JOB, STEP, &[&task]);
    let path = daemon.folder().join("made.txt");
    std::fs::write(&path, "abc").unwrap();
    let role = FileRole::Generated;
    let file = FileUse {
        job: JOB,
        step: STEP,
        rank: None,
        role,
        path,
    };
    daemon.ask(Request::File(file)).unwrap();
    until("it is kept", || {
        let state = std::fs::read_to_string(daemon.folder().join("state/7.json")).ok()?;
        state.contains("made.txt").then_some(())
    });
    daemon.kill();
    daemon.restart();
    daemon.ask(Request::JobEnd { job: JOB }).unwrap();
    let prov = daemon.wait_for_prov(JOB);
    assert!(prov.contains("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
}

#[test]
fn no_acknowledged_step_is_lost_however_often_the_daemon_is_killed() {
    let seed = std::process::id();
    println!("seed {seed}");
    let mut random = seed | 1;
    let mut daemon = Daemon::start("sample_ms = 100\nflush_ms = 100\n");
    let task = Task::sleeping();
    let mut acknowledged = 0;
    for _ in 0..8 {
        for _ in 0..3 {
            daemon.register(JOB, StepId(acknowledged), &[&task]);
            acknowledged += 1;
        }
        // xorshift: anywhere between the answer and the second flush.
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        std::thread::sleep(Duration::from_millis(u64::from(random % 150)));
        daemon.kill();
        daemon.restart();
    }
    daemon.ask(Request::JobEnd { job: JOB }).unwrap();
    daemon.wait_for_prov(JOB);
    let record = read_job(&daemon.record(JOB)).unwrap();
    assert!(record.complete);
    let node = &record.nodes[0];
    let mut steps: Vec<u32> = node.steps.iter().map(|step| step.step.0).collect();
    steps.sort_unstable();
    assert_eq!(steps, (0..acknowledged).collect::<Vec<_>>());
    assert!(!node.gaps.is_empty());
}
