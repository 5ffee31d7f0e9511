//! A topic of Kafka, against the mock cluster that librdkafka brings (no Kafka): each record is one
//! job, whatever its compression, and a killed gateway goes on where its ledger stands.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
#[path = "harness/driven.rs"]
mod driven;
mod harness;
#[path = "harness/site.rs"]
mod site;

use std::time::Duration;

use driven::Driven;
use harness::event;
use serde_json::Value;
use site::Site;

fn connected(source: &Value) -> bool {
    source["state"] == "connected"
}

fn table(name: &str, address: &str, more: &str) -> String {
    format!("[[sources]]\nkind = \"kafka\"\nname = \"{name}\"\nbrokers = [\"{address}\"]\n{more}")
}

#[test]
fn each_record_is_one_job_over_kills() {
    let Some((mut kafka, address)) = Driven::start("kafka_server.py", "confluent_kafka") else {
        return;
    };
    let sources = [
        table("k", &address, "topic = \"events\"\n"),
        table("missing", &address, "topic = \"nosuch\"\n"),
    ];
    let extra = "[limits]\nbody_bytes = 4096\n";
    let mut site = Site::new(extra, &sources.concat());
    site.gateway.start();
    // What was there before anybody looked.
    site.wait_source("k", connected);
    site.exactly(1);
    for (partition, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().enumerate() {
        kafka.tell(&format!("put {} {codec} 21.5", partition % 4));
    }
    let jobs = site.exactly(6);
    assert_eq!(
        jobs.iter()
            .filter(|job| job["subject"] == "bucket/key")
            .count(),
        5
    );
    // What is sent twice and has an identity is one.
    for _ in 0..2 {
        kafka.tell(&format!("put 1 none {}", event("1")));
        kafka.tell("binary 2");
    }
    site.exactly(8);
    kafka.tell(r#"put 2 none {"specversion":"1.0","id":"3"}"#);
    kafka.tell(&format!("put 2 gzip {}", "x".repeat(5000)));
    kafka.tell("put 2 none after");
    site.exactly(9);
    assert_eq!(site.dead().len(), 2);
    // Fetched, not stored, killed; more while nobody is there; and nothing again after it.
    let lock = site.ledger();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    kafka.tell("put 3 none 22");
    std::thread::sleep(Duration::from_millis(700));
    site.gateway.kill();
    lock.execute_batch("ROLLBACK").unwrap();
    kafka.tell("many 60");
    site.gateway.start();
    site.exactly(70);
    let duplicates = site.source("k")["duplicates"].clone();
    site.gateway.kill();
    site.gateway.start();
    site.wait_source("k", connected);
    site.exactly(70);
    assert_eq!(
        site.source("k")["duplicates"],
        duplicates,
        "nothing is read again"
    );
    // The topic no longer has what comes next: said, and on with the oldest that it has.
    site.gateway.kill();
    let moved = "UPDATE source_items SET version = '5000' WHERE item = 'events/0'";
    assert_eq!(site.ledger().execute(moved, []).unwrap(), 1);
    site.gateway.start();
    kafka.tell("put 0 none new");
    site.exactly(71);
    assert!(site.gateway.log().contains("goes on with the oldest"));
    let told = site.wait_source("missing", |source| source["state"] == "failed");
    assert!(
        told["last_error"]
            .as_str()
            .unwrap()
            .contains("no topic nosuch"),
        "{told}"
    );
    drop(kafka);
    let told = site.wait_source("k", |source| source["state"] == "failed");
    assert!(
        told["last_error"].as_str().unwrap().contains(&address),
        "{told}"
    );
}
