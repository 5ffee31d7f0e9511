//! The HTTP front as clients meet it: formats, refusals, limits, tokens, questions.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use double::Double;
use harness::{Gateway, event, program};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");

fn gateway(folder: &tempfile::TempDir, extra: &str) -> (Gateway, Double) {
    let double = Double::new(folder.path());
    let script = folder.path().join("job.sh");
    program(&script, "#!/bin/sh\n");
    let services = format!(
        r#"
[[service]]
name = "plain"
script = "{script}"
filter = {{ type = "test" }}
args = [{{ name = "n", from = "data.n", type = "int", default = "0" }}]
[[service]]
name = "files"
script = "{script}"
filter = {{ bucket = "b", suffix = ".nc" }}
args = [{{ name = "key", from = "s3.key", type = "path", under = "/data" }}]
sbatch = {{ time = "10", nodes = 2 }}
"#,
        script = script.display()
    );
    let mut gateway = Gateway::prepare(
        folder.path(),
        &format!("{extra}{}", double.config()),
        &services,
    );
    gateway.start();
    (gateway, double)
}

fn s3(name: &str, key: &str) -> Value {
    json!({"eventSource": "minio:s3", "eventName": name, "awsRegion": "",
        "responseElements": {"x-amz-request-id": "R", "x-amz-id-2": "I"},
        "s3": {"bucket": {"name": "b"}, "object": {"key": key, "sequencer": "1"}}})
}

#[test]
fn events_in_every_form_become_jobs_once() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, double) = gateway(&folder, "");
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "b%31"),
        ("ce-source", "/s"),
        ("ce-type", "test"),
        ("content-type", "application/json"),
    ];
    let (status, body) = gateway.post("/events", &binary, br#"{"n": 5}"#);
    assert_eq!((status, &body["events"][0]["id"]), (202, &json!("b1")));
    assert_eq!(body["events"][0]["matched"][0]["service"], "plain");
    let (_, body) = gateway.post("/events", &binary, br#"{"n": 5}"#);
    assert_eq!(body["events"][0]["matched"][0]["duplicate"], true);
    assert_eq!(
        gateway
            .post("/events", &[STRUCTURED], event("s").to_string().as_bytes())
            .0,
        202
    );
    assert_eq!(
        gateway
            .try_batch(&["x".into(), "y".into(), "x".into()])
            .unwrap()
            .0,
        202
    );
    let note = json!({"EventName": "s3:ObjectCreated:Put", "Key": "b/in/a b.nc", "Records": [
        s3("s3:ObjectCreated:Put", "in%2Fa+b.nc"), s3("s3:ObjectCreated:Put", "in%2F"),
        s3("s3:ObjectRemoved:Delete", "in%2Fgone.nc"), s3("s3:ObjectCreated:Put", "in%2Fother.txt")]});
    // The type is ignored: clients lie about it.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (path, duplicate) in [("/events", false), ("/events/s3", true)] {
        let (status, body) = gateway.post(path, &form, note.to_string().as_bytes());
        assert_eq!((status, &body["skipped"]), (202, &json!(1)));
        let matched: Vec<_> = body["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["matched"].as_array().unwrap().len())
            .collect();
        assert_eq!(matched, [1, 0, 0]);
        assert_eq!(body["events"][0]["matched"][0]["duplicate"], duplicate);
    }
    let jobs = gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == 5 && jobs.iter().all(|j| j["state"] == "completed")
    });
    assert_eq!(double.markers().len(), 5);
    let calls = double.calls();
    let files = calls
        .iter()
        .find(|call| call.contains("mizar:files:"))
        .unwrap();
    assert!(files.ends_with("/job.sh /data/in/a b.nc"), "{files}");
    assert!(files.contains(" --nodes=2 --time=10 "), "{files}");
    let job = jobs.iter().find(|job| job["service"] == "files").unwrap();
    let (status, text) = gateway.get(&format!("/v1/jobs/{}", job["id"]));
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, &shown["event"]["subject"]),
        (200, &json!("in/a b.nc"))
    );
    assert_eq!(gateway.get("/v1/jobs?state=completed&limit=2").0, 200);
    assert_eq!(gateway.get("/v1/jobs?state=happy").0, 400);
    assert_eq!(gateway.get("/v1/jobs/999").0, 404);
    assert!(gateway.get("/v1/services").1.contains("\"plain\""));
    let hash = job["marker"].as_str().unwrap().rsplit(':').next().unwrap();
    let file = folder
        .path()
        .join("work/files")
        .join(&hash[..2])
        .join(hash)
        .join("event.json");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let metrics = gateway.get("/metrics").1;
    assert!(
        metrics.contains("mizar_gateway_events_total{result=\"accepted\"} 5"),
        "{metrics}"
    );
}

#[test]
fn unusable_values_make_dead_letters_and_never_options() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, double) = gateway(&folder, "");
    for key in ["..%2F..%2Fetc.nc", "%2Fetc%2Fx.nc"] {
        let note = json!({"Records": [s3("s3:ObjectCreated:Put", key)]});
        assert_eq!(
            gateway
                .post("/events/s3", &[], note.to_string().as_bytes())
                .0,
            202
        );
    }
    let jobs = gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == 2 && jobs.iter().all(|j| j["state"] == "dead")
    });
    assert!(
        jobs[0]["reason"]
            .as_str()
            .unwrap()
            .contains("argument `key`"),
        "{jobs:?}"
    );
    assert_eq!(double.calls().len(), 0);
}

#[test]
fn what_is_not_an_event_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, _double) = gateway(&folder, "[limits]\nbody_bytes = 5000\nbatch_events = 3\n");
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let long =
        json!({"specversion":"1.0","id":"1","source":"/s","type":"t","data":"x".repeat(6000)});
    let binary = ("ce-specversion", "1.0");
    let batch = ("content-type", "application/cloudevents-batch+json");
    let ok = event("1");
    for (headers, body, expected) in [
        (vec![], "hello".to_owned(), 415),
        (vec![], "{}".to_owned(), 415),
        (
            vec![("content-type", "application/cloudevents+avro")],
            "x".to_owned(),
            415,
        ),
        (vec![STRUCTURED], "{".to_owned(), 400),
        (vec![STRUCTURED], "{}".to_owned(), 400),
        (vec![STRUCTURED], deep, 400),
        (vec![STRUCTURED], long.to_string(), 413),
        (vec![binary, ("ce-id", "%FF")], String::new(), 400),
        (
            vec![binary, ("ce-datacontenttype", "x")],
            String::new(),
            400,
        ),
        (vec![batch], json!([ok, ok, ok, ok]).to_string(), 413),
        (vec![batch], json!([ok, {"id": "2"}]).to_string(), 400),
        (vec![batch], "[]".to_owned(), 202),
        (
            vec![],
            r#"{"Service":"Amazon S3","Event":"s3:TestEvent"}"#.to_owned(),
            202,
        ),
    ] {
        let (status, answer) = gateway.post("/events", &headers, body.as_bytes());
        assert_eq!(status, expected, "{headers:?} {answer}");
        assert!(status == 202 || answer["error"].is_string());
    }
    assert_eq!(gateway.jobs().len(), 0, "a batch is all or nothing");
    assert_eq!(gateway.get("/events").0, 405);
    assert_eq!(gateway.get("/nothing").0, 404);
}

/// Sends raw bytes and returns what comes back until the connection ends.
fn raw(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn slow_and_oversized_senders_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let limits = "[limits]\nbody_bytes = 5000\nheader_ms = 300\nrequest_ms = 500\n";
    let (gateway, _double) = gateway(&folder, limits);
    let head = "POST /events HTTP/1.1\r\nhost: x\r\n";
    let declared = raw(
        &gateway,
        format!("{head}content-length: 99999999\r\n\r\n").as_bytes(),
    );
    assert!(declared.starts_with("HTTP/1.1 413"), "{declared}");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    let chunked = raw(&gateway, chunked.as_bytes());
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    let slow = raw(
        &gateway,
        format!("{head}connection: close\r\ncontent-length: 10\r\n\r\nabc").as_bytes(),
    );
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    let started = std::time::Instant::now();
    raw(&gateway, b"POST /events HT");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "unfinished headers end the connection"
    );
    assert_eq!(gateway.get("/health").0, 200);
}

#[test]
fn a_full_queue_pushes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, double) = gateway(&folder, "[limits]\nqueue_events = 10\n");
    double.set_away(true);
    std::thread::sleep(Duration::from_millis(500));
    let ids = |from: usize| (from..from + 10).map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(gateway.try_batch(&ids(0)).unwrap().0, 202);
    assert_eq!(gateway.try_batch(&ids(10)).unwrap().0, 429);
    double.set_away(false);
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == 10 && jobs.iter().all(|j| j["state"] == "completed")
    });
    assert_eq!(gateway.try_batch(&ids(10)).unwrap().0, 202);
}

#[test]
fn tokens_are_asked_for_and_never_logged() {
    let folder = tempfile::tempdir().unwrap();
    let token = "secret-token-0123456789";
    let file = folder.path().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let (mut gateway, _double) = gateway(&folder, "token_file = \"token\"\n");
    let body = event("1").to_string();
    let (status, _) = gateway.post("/events", &[STRUCTURED], body.as_bytes());
    assert_eq!(status, 401);
    for path in ["/v1/jobs", "/metrics", "/v1/services", "/nothing"] {
        assert_eq!(gateway.get(path).0, 401, "{path}");
    }
    assert_eq!(gateway.get("/health").0, 200);
    let query = format!("/events?access_token={token}");
    assert_eq!(gateway.post(&query, &[STRUCTURED], body.as_bytes()).0, 202);
    let wrong = [
        STRUCTURED,
        ("authorization", "Bearer secret-token-0123456780"),
    ];
    assert_eq!(gateway.post("/events", &wrong, body.as_bytes()).0, 401);
    gateway.token(token);
    assert_eq!(
        gateway.post("/events", &[STRUCTURED], body.as_bytes()).0,
        202
    );
    assert_eq!(gateway.stop(), Some(0), "a stop is graceful");
    assert!(!gateway.log().contains(token));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = gateway.command(&["--check-config"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("make it 600"));
}

#[test]
fn the_webhook_handshake_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, _double) = gateway(&folder, "");
    let answer = raw(&gateway, b"OPTIONS /events HTTP/1.1\r\nhost: x\r\nconnection: close\r\nwebhook-request-origin: sender.example\r\n\r\n").to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    for line in [
        "webhook-allowed-origin: sender.example",
        "webhook-allowed-rate: *",
        "allow: options, post",
    ] {
        assert!(answer.contains(line), "{answer}");
    }
}

#[test]
fn two_gateways_cannot_share_a_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, _double) = gateway(&folder, "");
    let second = gateway.command(&["serve"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another gateway serves"));
}
