//! STOMP against RabbitMQ's own plugin: what Rucio's hermes sends becomes one job each, whatever
//! comes twice or is killed.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/brokers.rs"]
mod brokers;
#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/senders.rs"]
mod senders;
#[path = "harness/site.rs"]
mod site;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use brokers::Broker;
use harness::{event, secret};
use serde_json::{Value, json};
use site::Site;

const TOPIC: &str = "/topic/rucio.events";

fn connected(source: &Value) -> bool {
    source["state"] == "connected"
}

/// Sends as hermes does: persistent, with a receipt, and away. Written without the gateway's codec.
fn hermes(port: u16, destination: &str, bodies: &[Vec<u8>]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let wait = |stream: &mut TcpStream, word: &str| {
        let (mut answer, mut byte) = (Vec::new(), [0]);
        loop {
            stream.read_exact(&mut byte).unwrap();
            match byte {
                [0] => break,
                [byte] => answer.push(byte),
            }
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.trim_start().starts_with(word), "{answer}");
    };
    let hello = "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n\0";
    stream.write_all(hello.as_bytes()).unwrap();
    wait(&mut stream, "CONNECTED");
    for body in bodies {
        let head = format!(
            "SEND\ndestination:{destination}\npersistent:true\nevent_type:x\nreceipt:r\ncontent-length:{}\n\n",
            body.len()
        );
        stream
            .write_all(&[head.as_bytes(), body, b"\0"].concat())
            .unwrap();
        wait(&mut stream, "RECEIPT");
    }
}

fn rucio(event_type: &str, name: &str, more: &Value) -> Vec<u8> {
    let mut payload = json!({"scope": "user.a", "name": name, "bytes": 10});
    let more = more.as_object().unwrap().clone();
    payload.as_object_mut().unwrap().extend(more);
    json!({"event_type": event_type, "payload": payload, "created_at": "2026-01-02 10:00:00"})
        .to_string()
        .into_bytes()
}

fn close(name: &str) -> Vec<u8> {
    rucio("close", name, &json!({"length": 2, "events": null}))
}

fn table(name: &str, port: u16, destination: &str, more: &str) -> String {
    format!(
        "[[sources]]\nkind = \"stomp\"\nname = \"{name}\"\nbroker = \"127.0.0.1:{port}\"\n\
         destination = \"{destination}\"\ncredentials_file = \"rabbit\"\nheartbeat_s = 1\n{more}"
    )
}

fn site(extra: &str, sources: &str) -> Site {
    let site = Site::new(extra, sources);
    secret(&site.path("rabbit"), "guest:guest\n");
    site
}

#[test]
fn messages_of_rucio_are_one_job_each_over_kills_of_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut broker) = Broker::rabbit_stomp(folder.path()) else {
        return;
    };
    let port = broker.more[0];
    let mut site = site(
        "[limits]\nbody_bytes = 4096\n",
        &table("rucio", port, TOPIC, ""),
    );
    site.gateway.start();
    site.wait_source("rucio", connected);
    // At least once: each twice, by other connections.
    let lock = |rse: &str| {
        rucio(
            "datasetlock_ok",
            "ds1",
            &json!({"rse": rse, "rule_id": "ab12"}),
        )
    };
    let sent = [close("ds1"), lock("X"), lock("Y")];
    for _ in 0..2 {
        hermes(port, TOPIC, &sent);
    }
    let jobs = site.exactly(3);
    let closed = jobs.iter().find(|job| job["type"] == "mizar.rucio.close");
    let closed = closed.unwrap();
    assert_eq!(closed["subject"], "user.a:ds1");
    let event = site.event(closed);
    assert_eq!(event["time"], "2026-01-02T10:00:00Z");
    assert_eq!(event["data"]["payload"]["length"], 2);
    // Received and stored by nobody: the gateway is killed, and more comes while it is away.
    let lock = site.ledger();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    hermes(port, TOPIC, &[close("ds2")]);
    std::thread::sleep(Duration::from_millis(500));
    site.gateway.kill();
    lock.execute_batch("ROLLBACK").unwrap();
    hermes(port, TOPIC, &[close("ds3"), close("ds3")]);
    // And then the broker.
    broker.kill();
    site.gateway.start();
    let told = site.wait_source("rucio", |source| source["state"] == "failed");
    assert!(
        told["last_error"].as_str().unwrap().contains("127.0.0.1"),
        "{told}"
    );
    broker.start();
    site.exactly(5);
    // It dies under an open subscription.
    broker.kill();
    site.wait_source("rucio", |source| source["state"] == "failed");
    broker.start();
    site.wait_source("rucio", connected);
    hermes(port, TOPIC, &[close("ds1"), close("ds4")]);
    site.exactly(6);
}

#[test]
fn poison_is_buried_and_what_has_an_id_is_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::rabbit_stomp(folder.path()) else {
        return;
    };
    let (amqp, [plain, tls]) = (broker.port, broker.more[..].try_into().unwrap());
    let trust = format!(
        "tls = true\nca_file = \"{}\"\n",
        folder.path().join("server.pem").display()
    );
    let sources = [
        table(
            "q",
            tls,
            "/amq/queue/events",
            &format!("{trust}prefetch = 5\n"),
        ),
        table("untrusted", tls, "/queue/other", "tls = true\n"),
        table("clear-in-tls", tls, "/queue/other", ""),
        table("missing", plain, "/amq/queue/nosuch", ""),
    ];
    let runtime = senders::runtime();
    let _entered = runtime.enter();
    let (_connection, channel) = runtime.block_on(senders::amqp(amqp, "events"));
    let send = |id: Option<&str>, body: &[u8]| {
        runtime.block_on(senders::amqp_send(&channel, "events", id, body));
    };
    let mut site = site("[limits]\nbody_bytes = 4096\n", &sources.concat());
    site.gateway.start();
    site.wait_source("q", connected);
    let cloud_event = |id: &str| event(id).to_string().into_bytes();
    for body in [&b"21.5"[..], b"21.5", &cloud_event("1"), &cloud_event("1")] {
        send(None, body);
    }
    site.exactly(3);
    for _ in 0..2 {
        send(Some("named"), b"x");
    }
    site.exactly(4);
    send(None, br#"{"specversion":"1.0","id":"2"}"#);
    send(None, &[b'x'; 100_000]);
    send(None, b"\0 and \xff");
    for number in 0..20 {
        send(None, &cloud_event(&format!("many-{number}")));
    }
    let jobs = site.exactly(25);
    let binary = jobs
        .iter()
        .find(|job| site.event(job)["data_base64"] == "ACBhbmQg/w==");
    assert!(binary.is_some());
    let dead = site.dead();
    assert_eq!(dead.len(), 2, "{dead:?}");
    assert_eq!(
        (&dead[0]["size_bytes"], &dead[0]["can_replay"]),
        (&100_000.into(), &false.into())
    );
    assert!(dead[0]["reason"].as_str().unwrap().contains("100000 bytes"));
    assert!(dead[1]["reason"].as_str().unwrap().contains("source"));
    // Heart-beats go on while the ledger is busy for longer than the broker waits for one.
    let lock = site.ledger();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    send(Some("late"), b"late");
    std::thread::sleep(Duration::from_secs(5));
    lock.execute_batch("ROLLBACK").unwrap();
    site.exactly(26);
    let told = site.source("q");
    assert!(
        connected(&told) && !told["last_error"].to_string().contains("127.0.0.1"),
        "{told}"
    );
    for (name, expected) in [
        ("untrusted", "UnknownIssuer"),
        ("clear-in-tls", "127.0.0.1"),
        ("missing", "nosuch"),
    ] {
        let told = site.wait_source(name, |source| source["state"] == "failed");
        assert!(
            told["last_error"].as_str().unwrap().contains(expected),
            "{told}"
        );
    }
    assert!(!site.gateway.log().contains("guest:guest"));
}
