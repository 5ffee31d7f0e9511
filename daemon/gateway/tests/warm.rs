//! Warm workers without Slurm: calls, their isolation, and every way in which one side is lost.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/site.rs"]
mod site;
#[path = "harness/workers.rs"]
mod workers;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use mizar_gateway::oscar::warm::wire::{Frame, FromGateway, FromWorker, PROTOCOL};
use mizar_gateway::oscar::warm::{SECRET_FILE, WORKER_FILE};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use workers::{LIMIT, Works, count};

const IDLE: fn(&serde_json::Value) -> bool = |view| count(view, "idle") == 1;

/// Waits for a file of a script.
fn wait_for(path: &Path) {
    let since = Instant::now();
    while !path.exists() {
        assert!(since.elapsed() < LIMIT, "{}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a process that wrote its id has gone.
fn wait_gone(path: &Path) {
    let pid: i32 = fs::read_to_string(path).unwrap().trim().parse().unwrap();
    let since = Instant::now();
    while Path::new(&format!("/proc/{pid}/stat")).exists() {
        assert!(since.elapsed() < LIMIT, "{pid} lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn calls_are_answered_as_batch_jobs_are_and_know_nothing_of_each_other() {
    let mut works = Works::new("", "");
    let script = r#"#!/bin/sh
echo "job $JOB_UUID of $OSCAR_SERVICE_NAME in $RESOURCE_ID"
find "$TMP_INPUT_DIR" "$TMP_OUTPUT_DIR" -type f | wc -l
case $(cat "$INPUT_FILE_PATH") in
  fail!) echo "it went wrong" >&2; exit 7;;
  one) tr a-z A-Z < "$INPUT_FILE_PATH" > "$TMP_OUTPUT_DIR/x";;
  stray!) setsid sleep 1000 > /dev/null 2>&1 & echo $! > "$TMP_OUTPUT_DIR/../../../stray"; exit 0;;
esac
"#;
    let token = works.define("plants", script, (1, 1));
    let worker = works.worker();
    works.until(IDLE);
    // What the clients of OSCAR send is base64.
    let first = works.run("plants", &token, "aGVsbG8=");
    let job = first.job.clone().unwrap();
    assert_eq!(
        (first.status, first.text.as_str()),
        (200, format!("job {job} of plants in n1\n1\n").as_str()),
        "{}",
        works.gateway.log()
    );
    assert!(job.starts_with("plants-") && first.timing.unwrap().starts_with("function;dur="));
    let one = works.run("plants", &token, "b25l");
    assert_eq!(
        (one.status, one.text.as_str()),
        (200, "T05F"),
        "one file comes as base64"
    );
    let failed = works.run("plants", &token, "fail!");
    assert_eq!(failed.status, 500);
    assert!(
        failed.text.ends_with("1\nit went wrong\n"),
        "{}",
        failed.text
    );
    assert_eq!(works.run("plants", &token, "stray!").status, 200);
    let again = works.run("plants", &token, "x");
    assert!(
        again.text.ends_with("\n1\n"),
        "nothing is left of the calls before: {}",
        again.text
    );
    wait_gone(&works.folder.path().join("stray"));
    // What may have come before is a batch job: the ledger knows whether it has.
    let jobs = works.gateway.jobs();
    assert!(
        jobs.iter().all(|job| job["service"] == "oscar-workers"),
        "{jobs:?}"
    );
    let secret = fs::read_to_string(worker.folder.join(SECRET_FILE)).unwrap();
    assert!(secret.len() == 64 && !works.gateway.log().contains(&secret));
    let metrics = works.gateway.get("/metrics").1;
    assert!(
        metrics.contains("mizar_gateway_calls_total{result=\"succeeded\"} 4"),
        "{metrics}"
    );
    assert!(
        metrics.contains("mizar_gateway_calls_total{result=\"failed\"} 1"),
        "{metrics}"
    );
    let status = works.gateway.command(&["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("plants"));
}

#[test]
fn a_call_whose_worker_is_killed_is_told_and_made_once() {
    let mut works = Works::new("", "");
    let marks = works.folder.path().join("marks");
    let script = format!(
        "echo $$ > {m}.pid; echo once >> {m}; exec sleep 1000",
        m = marks.display()
    );
    let token = works.define("plants", &script, (1, 1));
    let mut worker = works.worker();
    works.until(IDLE);
    let call = works.run_aside("plants", &token, "x");
    wait_for(&marks);
    worker.signal(Signal::SIGKILL);
    let answer = call.join().unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.text.contains("is not run again"), "{}", answer.text);
    worker.ended();
    // Slurm would end what a killed worker leaves.
    let left = fs::read_to_string(marks.with_extension("pid")).unwrap();
    let left = Pid::from_raw(left.trim().parse().unwrap());
    nix::sys::signal::kill(left, Signal::SIGKILL).unwrap();
    // Slurm says that the job has failed: its place is free.
    works.double.set_job_state(1, "COMPLETED");
    let _other = works.worker();
    works.until(IDLE);
    assert_eq!(fs::read_to_string(&marks).unwrap(), "once\n");
}

#[test]
fn a_function_that_nobody_waits_for_is_ended() {
    let mut works = Works::new("run_ms = 1500", "");
    let pid = works.folder.path().join("pid");
    let script = format!(
        "echo $$ > {p}.part; mv {p}.part {p}; [ -z \"$INPUT_FILE_PATH\" ] || exec sleep 1000",
        p = pid.display()
    );
    let token = works.define("plants", &script, (1, 1));
    let _worker = works.worker();
    works.until(IDLE);
    // A caller that hangs up.
    let mut caller = TcpStream::connect(works.gateway.address).unwrap();
    write!(caller, "POST /run/plants HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 1\r\n\r\nx").unwrap();
    wait_for(&pid);
    drop(caller);
    wait_gone(&pid);
    works.until(IDLE);
    // One whose time is over.
    fs::remove_file(&pid).unwrap();
    let late = works.run("plants", &token, "x");
    assert_eq!(late.status, 504, "{}", late.text);
    wait_gone(&pid);
    // The worker goes on.
    assert_eq!(works.run("plants", &token, "").status, 200);
    let metrics = works.gateway.get("/metrics").1;
    assert!(
        metrics.contains("result=\"hung_up\"} 1") && metrics.contains("result=\"late\"} 1"),
        "{metrics}"
    );
}

#[test]
fn too_many_calls_are_told_to_come_again() {
    let mut works = Works::new("", "queue_calls = 1\nstart_s = 600");
    let gate = works.folder.path().join("gate");
    let script = format!(
        "while ! [ -e {} ]; do sleep 0.05; done; echo done",
        gate.display()
    );
    let token = works.define("plants", &script, (1, 1));
    let _worker = works.worker();
    works.until(IDLE);
    let first = works.run_aside("plants", &token, "x");
    works.until(|view| count(view, "busy") == 1);
    let second = works.run_aside("plants", &token, "x");
    works.until(|view| view["services"][0]["queue"] == 1);
    let third = works.run("plants", &token, "x");
    assert_eq!(
        (third.status, third.retry_after.as_deref()),
        (503, Some("2")),
        "{}",
        third.text
    );
    fs::write(&gate, "").unwrap();
    for call in [first, second] {
        assert_eq!(call.join().unwrap().text, "done\n");
    }
    // A service that goes takes its waiting calls and its workers with it.
    works.remove("plants");
    works.until(|view| count(view, "idle") == 0);
    assert_eq!(works.run("plants", &token, "x").status, 401);
}

#[test]
fn a_killed_gateway_finds_its_workers_again_and_those_without_one_end() {
    let mut works = Works::new("", "reconnect_s = 3");
    let pid = works.folder.path().join("pid");
    let script = format!(
        "echo $$ > {p}.part; mv {p}.part {p}; case $(cat \"$INPUT_FILE_PATH\") in wait) exec sleep 1000;; esac; echo $JOB_UUID",
        p = pid.display()
    );
    let token = works.define("plants", &script, (1, 1));
    let mut worker = works.worker();
    works.until(IDLE);
    let agent = works.run_aside("plants", &token, "wait");
    wait_for(&pid);
    works.gateway.kill();
    assert!(agent.join().is_err(), "its caller hears nothing");
    wait_gone(&pid);
    works.gateway.start();
    works.until(IDLE);
    assert_eq!(works.run("plants", &token, "x").status, 200);
    assert!(works.wanted().is_empty(), "there is one already");
    assert_eq!(works.gateway.stop(), Some(0), "a clean stop keeps nobody");
    assert_eq!(worker.ended(), Some(0), "{}", worker.log());
    let told: serde_json::Value =
        serde_json::from_slice(&fs::read(worker.folder.join(WORKER_FILE)).unwrap()).unwrap();
    assert!(
        !Path::new(told["scratch"].as_str().unwrap()).exists(),
        "it leaves nothing"
    );
}

#[test]
fn who_has_not_the_secret_is_turned_away() {
    let mut works = Works::new("", "");
    works.define("plants", "echo", (1, 1));
    let since = Instant::now();
    while works.wanted().is_empty() {
        assert!(since.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(10));
    }
    let folder = works.wanted().remove(0);
    let told: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join(WORKER_FILE)).unwrap()).unwrap();
    let marker = told["marker"].as_str().unwrap().to_owned();
    let say = |stream: &mut TcpStream, message: &FromWorker| {
        let Frame::Text(text) = Frame::text(message) else {
            unreachable!()
        };
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        stream
            .write_all(&[&[1], &length[..], &text].concat())
            .unwrap();
    };
    let hear = |stream: &mut TcpStream| -> FromGateway {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut text = vec![0; length as usize];
        stream.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let hello = |protocol| FromWorker::Hello {
        protocol,
        marker: marker.clone(),
        node: "n".to_owned(),
        word: "0".repeat(32),
        age_ms: 0,
    };
    let mut stream = TcpStream::connect(works.listen).unwrap();
    say(&mut stream, &hello(PROTOCOL));
    let FromGateway::Welcome { proof, .. } = hear(&mut stream) else {
        panic!("no welcome")
    };
    // The gateway's own proof is not the worker's.
    say(&mut stream, &FromWorker::Proof { proof });
    assert!(matches!(
        hear(&mut stream),
        FromGateway::Refused { again: false, .. }
    ));
    let mut stream = TcpStream::connect(works.listen).unwrap();
    say(&mut stream, &hello(PROTOCOL + 1));
    assert!(matches!(
        hear(&mut stream),
        FromGateway::Refused { again: false, .. }
    ));
    for odd in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[1, 0xff, 0xff, 0xff, 0xff],
        &[0; 64],
    ] {
        let mut stream = TcpStream::connect(works.listen).unwrap();
        stream.write_all(odd).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0, "hung up on");
    }
    // A worker knows its gateway by the secret as well.
    let path = folder.join(SECRET_FILE);
    let secret = fs::read(&path).unwrap();
    fs::write(&path, "0".repeat(64)).unwrap();
    let mut stranger = works.start(folder.clone());
    assert_eq!(stranger.ended(), Some(1));
    assert!(
        stranger.log().contains("is not this worker's gateway"),
        "{}",
        stranger.log()
    );
    fs::write(&path, secret).unwrap();
    let _worker = works.start(folder);
    works.until(IDLE);
}

#[test]
fn a_changed_service_gets_workers_of_what_it_is_now() {
    let mut works = Works::new("", "");
    let token = works.define("plants", "echo old", (1, 1));
    let mut old = works.worker();
    works.until(IDLE);
    assert_eq!(works.run("plants", &token, "x").text, "old\n");
    works.define("plants", "echo new", (1, 1));
    assert_eq!(old.ended(), Some(0), "{}", old.log());
    works.double.set_job_state(1, "COMPLETED");
    let _new = works.worker();
    works.until(IDLE);
    assert_eq!(works.run("plants", &token, "x").text, "new\n");
}
