//! Sources against real brokers: Mosquitto, the NATS server, RabbitMQ. Messages that come twice,
//! brokers that restart, gateways that are killed: one job for each message, none lost.

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

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use brokers::Broker;
use harness::{Dice, event};
use serde_json::Value;
use site::Site;

fn cloud_event(id: &str) -> Vec<u8> {
    event(id).to_string().into_bytes()
}

fn connected(source: &Value) -> bool {
    source["state"] == "connected"
}

/// How often each event of the jobs is there, by its id.
fn by_id(jobs: &[Value]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for job in jobs {
        let id = job["event_id"].as_str().unwrap().to_owned();
        *found.entry(id).or_default() += 1;
    }
    found
}

/// Has the gateway receive messages that it cannot store, and kills it.
fn kill_before_commit(site: &mut Site, send: impl FnOnce()) {
    let lock = site.ledger();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    send();
    std::thread::sleep(Duration::from_millis(700));
    site.gateway.kill();
    lock.execute_batch("ROLLBACK").unwrap();
}

fn mqtt_source(port: u16, version: u8) -> String {
    format!(
        "[[sources]]\nkind = \"mqtt\"\nname = \"mq\"\nbroker = \"127.0.0.1:{port}\"\nversion = {version}\n\
         topics = [\"site/+/new\", \"ce/#\"]\ncredentials_file = \"login\"\n"
    )
}

fn mqtt(version: u8) {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut broker) = Broker::mosquitto(folder.path()) else {
        return;
    };
    let runtime = senders::runtime();
    let extra = "[limits]\nbody_bytes = 4096\nnesting = 8\n";
    let mut site = Site::new(extra, &mqtt_source(broker.port, version));
    let port = broker.port;
    let send = |messages: &[(&str, Vec<u8>)]| runtime.block_on(senders::mqtt(port, messages));
    site.gateway.start();
    site.wait_source("mq", connected);
    // Two equal readings are two events; an event that comes twice is one.
    send(&[
        ("site/a/new", b"21.5".to_vec()),
        ("site/a/new", b"21.5".to_vec()),
        ("ce/x", cloud_event("1")),
        ("ce/x", cloud_event("1")),
        ("other", b"unasked".to_vec()),
    ]);
    let jobs = site.exactly(3);
    let reading = jobs.iter().find(|job| job["subject"] == "site/a/new");
    assert_eq!(site.event(reading.unwrap())["data"], 21.5);
    // No event, too large, and a topic that breaks a line: dead letters, and all goes on.
    send(&[
        ("ce/x", br#"{"specversion":"1.0","id":"2"}"#.to_vec()),
        ("ce/large", vec![b'x'; 5000]),
        ("ce/x", cloud_event("3")),
    ]);
    site.exactly(4);
    let dead = site.dead();
    assert_eq!(dead.len(), 2, "{dead:?}");
    assert!(dead[0]["reason"].as_str().unwrap().contains("5000 bytes"));
    assert_eq!(
        (&dead[0]["size_bytes"], &dead[0]["can_replay"]),
        (&5000.into(), &false.into())
    );
    assert!(dead[1]["reason"].as_str().unwrap().contains("source"));
    assert!(
        dead[1]["head"]
            .as_str()
            .unwrap()
            .starts_with("{\"specversion\"")
    );
    // Over HTTP: still no event, then discarded.
    let id = dead[1]["id"].as_i64().unwrap();
    let replay = format!("/v1/dead-letters/{id}/replay");
    assert_eq!(site.gateway.post(&replay, &[], b"").0, 409);
    assert!(site.gateway.get("/v1/sources").1.contains("\"dead\":2"));
    let forget = ureq::delete(site.gateway.url(&format!("/v1/dead-letters/{id}")));
    assert_eq!(forget.call().unwrap().status(), 204);
    // Too deep for now: with another limit it is an event.
    send(&[("site/deep/new", b"[[[[[[[[[[1]]]]]]]]]]".to_vec())]);
    site.wait_source("mq", |source| source["dead"] == 3);
    let dead = site.dead();
    assert_eq!(dead.len(), 2, "one was discarded, one is new: {dead:?}");
    let id = dead[0]["id"].to_string();
    let replayed = site.gateway.command(&["dead-letters", "--replay", &id]);
    assert_eq!(replayed.status.code(), Some(4), "still too deep");
    let config = fs::read_to_string(site.path("gateway.toml")).unwrap();
    let config = config.replace("nesting = 8", "nesting = 80");
    fs::write(site.path("gateway.toml"), config).unwrap();
    let replayed = site.gateway.command(&["dead-letters", "--replay", &id]);
    assert_eq!(replayed.status.code(), Some(0));
    assert_eq!(site.dead().len(), 1);
    site.exactly(5);
    // Received, not stored, killed: the broker gives it again.
    kill_before_commit(&mut site, || {
        send(&[("site/b/new", b"7".to_vec()), ("ce/x", cloud_event("4"))]);
    });
    // While nobody is there, and over a restart of the broker.
    send(&[("site/b/new", b"8".to_vec())]);
    broker.stop();
    site.gateway.start();
    let told = site.wait_source("mq", |source| source["state"] == "failed");
    assert!(
        told["last_error"].as_str().unwrap().contains("127.0.0.1"),
        "{told}"
    );
    broker.start();
    site.exactly(8);
    broker.stop();
    broker.start();
    site.wait_source("mq", connected);
    send(&[("site/b/new", b"9".to_vec())]);
    site.exactly(9);
    assert!(!site.gateway.log().contains("correct horse"));
}

#[test]
fn mqtt_5_gives_one_event_each() {
    mqtt(5);
}

#[test]
fn mqtt_3_gives_one_event_each() {
    mqtt(4);
}

#[test]
fn a_message_that_was_stored_and_not_acknowledged_is_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::mosquitto(folder.path()) else {
        return;
    };
    let runtime = senders::runtime();
    let mut site = Site::new("", &mqtt_source(broker.port, 5));
    site.gateway.start();
    site.wait_source("mq", connected);
    site.gateway.kill();
    // The broker has sent these and not heard of them again, as after a kill that came between:
    // a client of the same session takes them and goes away.
    runtime.block_on(senders::mqtt(
        broker.port,
        &[("site/a/new", b"1".to_vec()), ("site/a/new", b"1".to_vec())],
    ));
    let packets = runtime.block_on(async {
        use rumqttc::v5::mqttbytes::v5::Packet;
        use rumqttc::v5::{AsyncClient, Event, MqttOptions};
        let mut options = MqttOptions::new("mizar-mq", "127.0.0.1", broker.port);
        options
            .set_credentials("ann", "correct horse")
            .set_clean_start(false)
            .set_session_expiry_interval(Some(u32::MAX))
            .set_manual_acks(true);
        let (_client, mut events) = AsyncClient::new(options, 10);
        let mut packets = Vec::new();
        while packets.len() < 2 {
            if let Event::Incoming(Packet::Publish(message)) = events.poll().await.unwrap() {
                packets.push(message.pkid);
            }
        }
        packets
    });
    // What the gateway writes in the transaction of the first one's event.
    let content = {
        use sha2::{Digest, Sha256};
        let mut hasher = Sha256::new();
        for part in [&b"site/a/new"[..], b"1"] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        mizar_core::hex(&hasher.finalize()[..16])
    };
    site.ledger()
        .execute(
            "INSERT INTO source_items VALUES ('mq', ?1, ?2)",
            [format!("packet:{}", packets[0]), content],
        )
        .unwrap();
    site.gateway.start();
    // The first is acknowledged and no event; the second, equal but for its number, is one.
    site.exactly(1);
    site.gateway.kill();
    site.gateway.start();
    site.exactly(1);
}

#[test]
fn jetstream_gives_one_event_each() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut broker) = Broker::nats(folder.path()) else {
        return;
    };
    let runtime = senders::runtime();
    let url = format!("nats://127.0.0.1:{}", broker.port);
    let sources = format!(
        "[[sources]]\nkind = \"nats\"\nname = \"js\"\nservers = [\"{url}\"]\nstream = \"S\"\nsubject = \"s.>\"\nack_wait_s = 2\n\
         [[sources]]\nkind = \"nats\"\nname = \"core\"\nservers = [\"{url}\"]\nsubject = \"core.>\"\n"
    );
    let mut site = Site::new("[limits]\nbody_bytes = 4096\n", &sources);
    let _entered = runtime.enter();
    let connect = || runtime.block_on(async_nats::connect(url.clone())).unwrap();
    let mut client = connect();
    let stream = async_nats::jetstream::stream::Config {
        name: "S".to_owned(),
        subjects: vec!["s.>".to_owned()],
        // So short that the server forgets ids, and the gateway has to know them.
        duplicate_window: Duration::from_millis(100),
        ..Default::default()
    };
    runtime
        .block_on(async_nats::jetstream::new(client.clone()).create_stream(stream))
        .unwrap();
    let send = |client: &async_nats::Client, id: Option<&str>, body: &[u8]| {
        runtime.block_on(async {
            let mut headers = async_nats::HeaderMap::new();
            if let Some(id) = id {
                headers.insert("Nats-Msg-Id", id);
            }
            let context = async_nats::jetstream::new(client.clone());
            let sent = context.publish_with_headers("s.a", headers, body.to_vec().into());
            sent.await.unwrap().await.unwrap();
        });
    };
    site.gateway.start();
    site.wait_source("js", connected);
    site.wait_source("core", connected);
    for body in [&b"21.5"[..], b"21.5", &cloud_event("1"), &cloud_event("1")] {
        send(&client, None, body);
    }
    site.exactly(3);
    for _ in 0..2 {
        send(&client, Some("named"), b"x");
        std::thread::sleep(Duration::from_millis(300));
    }
    site.exactly(4);
    send(&client, None, br#"{"Records":[{"eventSource":"x"}]}"#);
    send(&client, None, &[b'x'; 5000]);
    runtime.block_on(async {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "binary"),
            ("ce-source", "/y"),
            ("ce-type", "t"),
        ] {
            headers.insert(name, value);
        }
        let sent = client.publish_with_headers("core.a", headers, "{}".into());
        sent.await.unwrap();
        client.flush().await.unwrap();
    });
    let jobs = site.exactly(5);
    assert!(by_id(&jobs).contains_key("binary"));
    assert_eq!(site.dead().len(), 2);
    kill_before_commit(&mut site, || send(&client, None, b"7"));
    send(&client, None, b"8");
    broker.stop();
    site.gateway.start();
    site.wait_source("js", |source| source["state"] == "failed");
    broker.start();
    site.exactly(7);
    broker.stop();
    site.wait_source("js", |source| source["state"] == "failed");
    broker.start();
    site.wait_source("js", connected);
    client = connect();
    send(&client, None, b"9");
    site.exactly(8);
}

#[test]
fn amqp_gives_one_event_each() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut broker) = Broker::rabbit(folder.path()) else {
        return;
    };
    let runtime = senders::runtime();
    let port = broker.port;
    let sources = format!(
        "[[sources]]\nkind = \"amqp\"\nname = \"q\"\nbroker = \"127.0.0.1:{port}\"\nqueue = \"events\"\nprefetch = 5\n"
    );
    let mut site = Site::new("[limits]\nbody_bytes = 4096\n", &sources);
    let _entered = runtime.enter();
    let open = || runtime.block_on(senders::amqp(port, "events"));
    let (connection, channel) = open();
    let send = |channel: &amqprs::channel::Channel, id: Option<&str>, body: &[u8]| {
        runtime.block_on(senders::amqp_send(channel, "events", id, body));
    };
    site.gateway.start();
    site.wait_source("q", connected);
    for body in [&b"21.5"[..], b"21.5", &cloud_event("1"), &cloud_event("1")] {
        send(&channel, None, body);
    }
    site.exactly(3);
    for _ in 0..2 {
        send(&channel, Some("named"), b"x");
    }
    site.exactly(4);
    send(&channel, None, br#"{"specversion":"0.3","id":"2"}"#);
    send(&channel, None, &[b'x'; 5000]);
    for number in 0..20 {
        send(&channel, None, &cloud_event(&format!("many-{number}")));
    }
    site.exactly(24);
    assert_eq!(site.dead().len(), 2);
    kill_before_commit(&mut site, || send(&channel, Some("7"), b"7"));
    send(&channel, Some("8"), b"8");
    let _ = runtime.block_on(connection.close());
    broker.stop();
    site.gateway.start();
    site.wait_source("q", |source| source["state"] == "failed");
    broker.start();
    site.exactly(26);
    let (_connection, channel) = open();
    send(&channel, Some("9"), b"9");
    site.exactly(27);
    // The site takes the queue away, and makes it anew.
    let delete = amqprs::channel::QueueDeleteArguments::new("events");
    runtime.block_on(channel.queue_delete(delete)).unwrap();
    let told = site.wait_source("q", |source| source["state"] == "failed");
    assert!(
        told["last_error"].as_str().unwrap().contains("queue"),
        "{told}"
    );
    let (_connection, channel) = open();
    send(&channel, Some("10"), b"10");
    site.exactly(28);
}

#[test]
fn three_sources_and_a_gateway_that_is_killed_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(mosquitto), Some(nats)) = (
        Broker::mosquitto(folder.path()),
        Broker::nats(folder.path()),
    ) else {
        return;
    };
    let mut dice = Dice::throw();
    let runtime = senders::runtime();
    let url = format!("nats://127.0.0.1:{}", nats.port);
    let sources = format!(
        "{}[[sources]]\nkind = \"nats\"\nname = \"js\"\nservers = [\"{url}\"]\nstream = \"S\"\nack_wait_s = 2\n\
         [[sources]]\nkind = \"directory\"\nname = \"in\"\npath = \"in\"\nsettle_ms = 200\nrescan_s = 1\n",
        mqtt_source(mosquitto.port, 5)
    );
    let mut site = Site::new("", &sources);
    let files = site.path("in");
    fs::create_dir(&files).unwrap();
    let faults = ["", "", "fail-queued", "", "away", "", "no-id", "", ""];
    site.double.faults(&faults.repeat(3));
    let _entered = runtime.enter();
    let client = runtime.block_on(async_nats::connect(url)).unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = async_nats::jetstream::stream::Config {
        name: "S".to_owned(),
        subjects: vec!["s.>".to_owned()],
        ..Default::default()
    };
    runtime.block_on(context.create_stream(stream)).unwrap();
    // The session begins with the first connection.
    site.gateway.start();
    site.wait_source("mq", connected);
    let mut expected = BTreeMap::new();
    let (rounds, each) = (12, 4);
    for round in 0..rounds {
        if round > 0 {
            site.gateway.start();
        }
        let names: Vec<String> = (0..each).map(|n| format!("{round}-{n}")).collect();
        for name in &names {
            expected.insert(format!("mq-{name}"), 1);
            expected.insert(format!("js-{name}"), 1);
        }
        let sending = runtime.spawn(send_twice(
            mosquitto.port,
            context.clone(),
            files.clone(),
            names,
        ));
        // In the middle of it, or a little later.
        std::thread::sleep(Duration::from_millis(dice.between(0, 400)));
        site.gateway.kill();
        runtime.block_on(sending).unwrap();
    }
    site.gateway.start();
    let count = 3 * rounds * each;
    let jobs = site.exactly(count);
    let mut found = by_id(&jobs);
    let of_files: Vec<_> = found
        .extract_if(.., |id, _| !id.starts_with("mq-") && !id.starts_with("js-"))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(of_files.len(), rounds * each);
    let markers = site.double.markers();
    let distinct: std::collections::HashSet<_> = markers.iter().collect();
    assert_eq!(
        (markers.len(), distinct.len()),
        (count, count),
        "one job for each"
    );
}

/// Sends events of these names to both brokers, each twice, and makes files of these names.
async fn send_twice(
    port: u16,
    context: async_nats::jetstream::Context,
    files: std::path::PathBuf,
    names: Vec<String>,
) {
    for name in &names {
        let message = ("ce/x", cloud_event(&format!("mq-{name}")));
        senders::mqtt(port, &[message.clone(), message]).await;
        for _ in 0..2 {
            let body = cloud_event(&format!("js-{name}"));
            let sent = context.publish("s.a", body.into());
            sent.await.unwrap().await.unwrap();
        }
        let path = files.join(name);
        fs::write(&path, "x").unwrap();
        // Closed twice, and the same: one file.
        drop(fs::File::options().append(true).open(&path).unwrap());
    }
}

#[test]
fn a_full_queue_stops_the_sources_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::mosquitto(folder.path()) else {
        return;
    };
    let runtime = senders::runtime();
    let extra = "[limits]\nqueue_events = 5\n";
    let mut site = Site::new(extra, &mqtt_source(broker.port, 4));
    site.gateway.start();
    site.wait_source("mq", connected);
    site.double.set_away(true);
    site.gateway.command(&["pause", "svc"]);
    let send = |from: usize, to: usize| {
        for number in from..to {
            let message = ("ce/x", cloud_event(&number.to_string()));
            runtime.block_on(senders::mqtt(broker.port, &[message]));
        }
    };
    send(0, 10);
    site.wait_source("mq", |source| source["accepted"].as_i64() >= Some(5));
    send(10, 30);
    let told = site.wait_source("mq", |source| source["state"] == "paused");
    assert!(
        told["last_error"]
            .as_str()
            .unwrap()
            .contains("wait for submission")
    );
    let stored = site.gateway.jobs().len();
    assert!((5..30).contains(&stored), "{stored}");
    site.double.set_away(false);
    site.gateway.command(&["resume", "svc"]);
    site.exactly(30);
}
