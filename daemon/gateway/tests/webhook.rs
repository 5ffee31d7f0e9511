//! Webhooks against a receiver that fails: every change arrives, in order, signed, whatever is
//! answered or killed in between.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/receiver.rs"]
mod receiver;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use double::Double;
use harness::{Gateway, program};
use receiver::{Call, Receiver};
use ring::hmac;
use rusqlite::Connection;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const KEY: &str = "a-key-of-the-test-0123456789";

/// A gateway with the services `a` and `b`, and a webhook with these keys besides.
fn gateway(folder: &Path, receiver: &Receiver, keys: &str) -> Gateway {
    let double = Double::new(folder);
    let script = folder.join("job.sh");
    program(&script, "#!/bin/sh\n");
    for (name, text) in [("key", KEY), ("token", "a-token-of-the-receiver")] {
        std::fs::write(folder.join(name), format!("{text}\n")).unwrap();
        std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let service = |name: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nscript = \"{}\"\nfilter = {{ type = \"{name}\" }}\n",
            script.display()
        )
    };
    let config = format!(
        "{}[[webhooks]]\nname = \"hook\"\nurl = \"http://{}/in?x=1\"\nsecret_file = \"key\"\n\
         backoff_ms = 20\nbackoff_max_ms = 1500\n{keys}",
        double.config(),
        receiver.address
    );
    let mut gateway = Gateway::prepare(folder, &config, &(service("a") + &service("b")));
    gateway.start();
    gateway
}

fn send(gateway: &Gateway, kind: &str, from: u32, to: u32) {
    for n in from..to {
        let event =
            json!({"specversion": "1.0", "id": n.to_string(), "source": "/t", "type": kind});
        let head = [("content-type", "application/cloudevents+json")];
        assert_eq!(
            gateway
                .post("/events", &head, event.to_string().as_bytes())
                .0,
            202
        );
    }
}

/// Waits for this many changes that were taken, and returns the calls.
fn wait_taken(gateway: &Gateway, receiver: &Receiver, count: usize) -> Vec<Call> {
    let started = Instant::now();
    loop {
        let calls = receiver.calls("POST");
        if taken(&calls).len() >= count {
            return calls;
        }
        assert!(
            started.elapsed() < LIMIT,
            "{} of {count}: {}",
            taken(&calls).len(),
            gateway.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Numbers of the changes that were answered well.
fn taken(calls: &[Call]) -> Vec<i64> {
    let good = calls
        .iter()
        .filter(|call| call.answer.starts_with("HTTP/1.1 2"));
    good.map(|call| {
        serde_json::from_str::<Value>(&call.body).unwrap()["id"]
            .as_i64()
            .unwrap()
    })
    .collect()
}

fn truth(gateway: &Gateway, service: &str) -> Vec<i64> {
    let ledger = Connection::open(gateway.dir.join("state/ledger.sqlite")).unwrap();
    let mut list = ledger
        .prepare("SELECT id FROM changes WHERE service = ?1 ORDER BY id")
        .unwrap();
    let rows = list.query_map([service], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn told(gateway: &Gateway) -> Value {
    let told: Value = serde_json::from_str(&gateway.get("/v1/webhooks").1).unwrap();
    told["webhooks"][0].clone()
}

/// Waits until the gateway says so of the webhook.
fn wait_told(gateway: &Gateway, done: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let told = told(gateway);
        if done(&told) {
            return told;
        }
        assert!(started.elapsed() < LIMIT, "{told}\n{}", gateway.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn all_done(gateway: &Gateway, count: usize) {
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == count && jobs.iter().all(|job| job["state"] == "completed")
    });
}

#[test]
fn a_receiver_that_fails_gets_every_change_in_order_and_signed() {
    let folder = tempfile::tempdir().unwrap();
    let (receiver, other) = (Receiver::start(), Receiver::start());
    let away = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{}/\r\nContent-Length: 0\r\n",
        other.address
    );
    receiver.answer(&[
        "HTTP/1.1 500 No\r\nContent-Length: 0\r\n",
        "",
        &away,
        "HTTP/1.1 429 Slower\r\nRetry-After: 1\r\nContent-Length: 0\r\n",
        // Not for ever.
        "HTTP/1.1 503 No\r\nRetry-After: 86400\r\nContent-Length: 0\r\n",
        "HTTP/1.1 400 Once\r\nContent-Length: 0\r\n",
    ]);
    let keys = "services = [\"a\"]\ntoken_file = \"token\"\norigin = \"gateway.site\"\n";
    let mut gateway = gateway(folder.path(), &receiver, keys);
    send(&gateway, "a", 0, 4);
    send(&gateway, "b", 4, 8);
    // Killed while the receiver fails, and once more after it has taken some.
    let started = Instant::now();
    while receiver.calls("POST").len() < 2 {
        assert!(started.elapsed() < LIMIT, "{}", gateway.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    gateway.kill();
    gateway.start();
    wait_taken(&gateway, &receiver, 3);
    gateway.kill();
    gateway.start();
    send(&gateway, "a", 8, 10);
    all_done(&gateway, 10);
    let expected = truth(&gateway, "a");
    let calls = wait_taken(&gateway, &receiver, expected.len());
    let mut in_order = taken(&calls);
    let count = in_order.len();
    in_order.dedup();
    assert_eq!(
        in_order, expected,
        "each at least once, in order, and nothing of others"
    );
    assert!(
        count <= expected.len() + 2,
        "one repeat at most for each kill"
    );
    assert!(
        receiver.calls("POST").len() > calls.len() - count,
        "failures were tried again"
    );
    assert_eq!(other.calls("POST").len(), 0, "a redirection was followed");
    let hello = &receiver.calls("OPTIONS");
    assert_eq!(hello.len(), 3, "one handshake for each start");
    assert_eq!(hello[0].header("webhook-request-origin"), "gateway.site");
    for call in &calls {
        check(call);
    }
    let told = wait_told(&gateway, |told| told["waiting"] == 0);
    assert_eq!(
        (&told["state"], &told["refused"], &told["dropped"]),
        (&json!("open"), &json!(0), &json!(0))
    );
    assert!(
        told["delivered"].as_u64().unwrap() >= expected.len() as u64 - 1,
        "{told}"
    );
    assert!(!gateway.log().contains(KEY) && !gateway.log().contains("a-token-of"));
}

/// A call is a CloudEvent in binary mode whose signature is right.
fn check(call: &Call) {
    let change: Value = serde_json::from_str(&call.body).unwrap();
    let state = change["state"].as_str().unwrap();
    for (name, value) in [
        ("ce-specversion", "1.0".to_owned()),
        ("ce-type", format!("mizar.job.{state}")),
        ("ce-source", "/mizar/gateway".to_owned()),
        ("ce-subject", format!("a/{}", change["job"])),
        ("ce-id", format!("{}-{}", change["id"], change["at_ms"])),
        ("content-type", "application/json".to_owned()),
        ("authorization", "Bearer a-token-of-the-receiver".to_owned()),
    ] {
        assert_eq!(call.header(name), value, "{name}");
    }
    let (id, time) = (call.header("webhook-id"), call.header("webhook-timestamp"));
    assert_eq!(id, call.header("ce-id"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let text = format!("{id}.{time}.{}", call.body);
    let signature = call
        .header("webhook-signature")
        .strip_prefix("v1,")
        .unwrap();
    hmac::verify(&key, text.as_bytes(), &STANDARD.decode(signature).unwrap()).unwrap();
}

#[test]
fn what_is_refused_or_too_much_is_passed_over_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    // Three answers to one change: it is not wanted as it is.
    receiver.answer(&["HTTP/1.1 422 No\r\nContent-Length: 0\r\n"; 3]);
    let mut gateway = gateway(folder.path(), &receiver, "queue_changes = 10\n");
    gateway.command(&["pause", "a"]);
    send(&gateway, "a", 0, 2);
    let told = wait_told(&gateway, |told| told["delivered"] == 1);
    assert_eq!(
        (&told["refused"], &told["state"]),
        (&json!(1), &json!("open"))
    );
    assert_eq!(taken(&receiver.calls("POST")), [2]);
    // Nobody there, and more changes than may wait.
    receiver.answer(&[""; 10_000]);
    send(&gateway, "a", 2, 30);
    let told = wait_told(&gateway, |told| {
        told["dropped"] == 18 && told["state"] == "failed"
    });
    assert_eq!(told["waiting"], json!(10), "{told}");
    assert!(told["last_error"].is_string(), "{told}");
    gateway.stop();
    // The receiver says that it is gone: nothing is sent until the next start.
    let gone = Receiver::start();
    gone.answer(&["HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n"; 1]);
    let path = gateway.dir.join("gateway.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config.replace(&receiver.address.to_string(), &gone.address.to_string());
    std::fs::write(&path, config).unwrap();
    gateway.start();
    wait_told(&gateway, |told| told["state"] == "gone");
    send(&gateway, "a", 30, 31);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(gone.calls("POST").len(), 1);
}

#[test]
fn without_a_permission_nothing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let no = "HTTP/1.1 200 OK\r\nAllow: POST\r\nContent-Length: 0\r\n";
    let other = "HTTP/1.1 200 OK\r\nWebHook-Allowed-Origin: other.site\r\nContent-Length: 0\r\n";
    receiver.answer_options(&["", no, other]);
    let last = "HTTP/1.1 200 OK\r\nWebHook-Allowed-Origin: mizar-gateway\r\n\
                WebHook-Allowed-Rate: 120\r\nContent-Length: 0\r\n";
    receiver.answer_options(&[last]);
    let gateway = gateway(folder.path(), &receiver, "");
    gateway.command(&["pause", "a"]);
    send(&gateway, "a", 0, 3);
    let began = Instant::now();
    let calls = wait_taken(&gateway, &receiver, 3);
    assert_eq!(receiver.calls("OPTIONS").len(), 4);
    assert_eq!(calls.len(), 3, "all after the permission");
    // 120 calls a minute are one each half second.
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(taken(&calls), truth(&gateway, "a"));
}
