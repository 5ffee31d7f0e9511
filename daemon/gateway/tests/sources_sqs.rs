//! SQS against moto, which checks signatures: notifications of a bucket, raw and by a topic, become
//! one job each, whatever comes twice, expires or is killed.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
#[path = "harness/driven.rs"]
mod driven;
mod harness;
#[path = "harness/site.rs"]
mod site;

use std::time::{Duration, Instant};

use driven::Driven;
use harness::{event, secret};
use serde_json::Value;
use site::{LIMIT, Site};

fn connected(source: &Value) -> bool {
    source["state"] == "connected"
}

/// The server, a site that reads its queue, and the secret.
fn start(more: &str) -> Option<(Driven, Site, String)> {
    let (moto, first) = Driven::start("sqs_server.py", "moto.server, boto3")?;
    let [url, id, key] = first.split(' ').collect::<Vec<_>>()[..].try_into().unwrap();
    let sources = format!(
        "[[sources]]\nkind = \"sqs\"\nname = \"q\"\nqueue_url = \"{url}\"\n\
         region = \"eu-north-1\"\nkey_file = \"keys\"\nwait_s = 1\n{more}"
    );
    let site = Site::new("[limits]\nbody_bytes = 4096\n", &sources);
    secret(&site.path("keys"), &format!("{id}\n{key}\n"));
    Some((moto, site, key.to_owned()))
}

/// Waits until the queue has so many messages.
fn left(moto: &mut Driven, count: usize) {
    let since = Instant::now();
    while moto.ask("count") != count.to_string() {
        assert!(since.elapsed() < LIMIT, "{} are left", moto.ask("count"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_bucket_s_notifications_are_one_job_each() {
    let Some((mut moto, mut site, key)) = start("") else {
        return;
    };
    // The store's test event is deleted, and means no job.
    assert_ne!(moto.ask("count"), "0");
    site.gateway.start();
    site.wait_source("q", connected);
    left(&mut moto, 0);
    moto.tell("put raw/a b+ü.nc one");
    moto.tell("put topic/b.nc one");
    moto.tell("put other/c.nc one");
    let jobs = site.exactly(2);
    let mut subjects: Vec<_> = jobs
        .iter()
        .map(|job| job["subject"].as_str().unwrap())
        .collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["raw/a b+ü.nc", "topic/b.nc"]);
    assert!(
        jobs.iter()
            .all(|job| job["type"] == "com.amazonaws.s3.ObjectCreated:Put")
    );
    // Written anew is news; a CloudEvent that is sent twice is not; equal readings are two.
    moto.tell("put raw/a b+ü.nc two");
    for _ in 0..2 {
        moto.tell(&format!("send {}", event("1")));
        moto.tell("send 21.5");
    }
    site.exactly(6);
    // What is no event is buried and deleted, and all goes on.
    moto.tell(r#"send {"Records":[{"eventSource":"x"}]}"#);
    moto.tell(&format!("send {}", "x".repeat(5000)));
    moto.tell("put raw/last.nc one");
    site.exactly(7);
    assert_eq!(site.dead().len(), 2);
    left(&mut moto, 0);
    assert!(!site.gateway.log().contains(&key));
    // A long poll does not hold a gateway that is told to stop.
    let since = Instant::now();
    site.gateway.stop();
    assert!(since.elapsed() < Duration::from_secs(5));
    drop(moto);
    site.gateway.start();
    let told = site.wait_source("q", |source| source["state"] == "failed");
    assert!(
        told["last_error"].as_str().unwrap().contains("127.0.0.1"),
        "{told}"
    );
}

#[test]
fn a_queue_is_found_by_its_name() {
    let Some((mut moto, first)) = Driven::start("sqs_server.py", "moto.server, boto3") else {
        return;
    };
    let [url, id, key] = first.split(' ').collect::<Vec<_>>()[..].try_into().unwrap();
    let server = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let table = |name: &str, queue: &str| {
        format!(
            "[[sources]]\nkind = \"sqs\"\nname = \"{name}\"\nqueue_name = \"{queue}\"\n\
             endpoint = \"{server}\"\nregion = \"eu-north-1\"\nkey_file = \"keys\"\nwait_s = 1\n"
        )
    };
    let sources = table("q", "events") + &table("none", "nowhere");
    let mut site = Site::new("", &sources);
    secret(&site.path("keys"), &format!("{id}\n{key}\n"));
    site.gateway.start();
    site.wait_source("q", connected);
    left(&mut moto, 0);
    moto.tell("put raw/a.nc one");
    site.exactly(1);
    left(&mut moto, 0);
    let told = site.wait_source("none", |source| source["state"] == "failed");
    let error = told["last_error"].as_str().unwrap();
    assert!(
        error.contains("NonExistentQueue") || error.contains("QueueDoesNotExist"),
        "{error}"
    );
}

/// A gateway whose source is connected and whose ledger is held by another, until that rolls back.
fn busy(more: &str) -> Option<(Driven, Site, rusqlite::Connection)> {
    let (mut moto, mut site, _) = start(more)?;
    site.gateway.start();
    site.wait_source("q", connected);
    left(&mut moto, 0);
    let lock = site.ledger();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    Some((moto, site, lock))
}

#[test]
fn a_busy_ledger_keeps_its_messages_and_a_killed_gateway_gets_them_again() {
    let Some((mut moto, mut site, lock)) = busy("visibility_s = 2\n") else {
        return;
    };
    for number in 0..5 {
        moto.tell(&format!("put raw/{number}.nc one"));
    }
    // Twice as long as they are hidden: without extension they would be handed out again.
    std::thread::sleep(Duration::from_millis(4500));
    let handed = moto.ask("handed");
    lock.execute_batch("ROLLBACK").unwrap();
    site.exactly(5);
    left(&mut moto, 0);
    // At most a poll's worth is held, each once.
    assert!(handed.parse::<u32>().unwrap() <= 5, "{handed}");
    assert_eq!(site.source("q")["duplicates"], 0);
    // Killed before they are stored: they come again.
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    moto.tell("put raw/5.nc one");
    std::thread::sleep(Duration::from_millis(500));
    site.gateway.kill();
    lock.execute_batch("ROLLBACK").unwrap();
    site.gateway.start();
    site.exactly(6);
    left(&mut moto, 0);
}

#[test]
fn a_receipt_that_expired_makes_no_second_job() {
    let Some((mut moto, site, lock)) = busy("") else {
        return;
    };
    for number in 0..5 {
        moto.tell(&format!("put raw/{number}.nc one"));
        moto.tell(&format!("send {number}"));
    }
    std::thread::sleep(Duration::from_millis(1000));
    moto.tell("lose");
    lock.execute_batch("ROLLBACK").unwrap();
    site.exactly(10);
    left(&mut moto, 0);
    let told = site.source("q");
    assert!(
        told["duplicates"].as_i64() > Some(0),
        "they came again: {told}"
    );
    assert!(connected(&told), "{told}");
    // Keys that are not valid are told, without the secret.
    secret(&site.path("keys"), "nobody\nhush-hush\n");
    let told = site.wait_source("q", |source| source["state"] == "failed");
    let error = told["last_error"].as_str().unwrap();
    assert!(
        error.contains("InvalidClientTokenId") && !error.contains("hush"),
        "{error}"
    );
}
