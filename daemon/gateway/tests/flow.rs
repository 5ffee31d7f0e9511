//! A service's flow, changed while the gateway serves, by command and over HTTP.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;

use std::time::{Duration, Instant};

use double::Double;
use harness::{Gateway, program};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_flow_is_changed_while_serving() {
    let folder = tempfile::tempdir().unwrap();
    let double = Double::new(folder.path());
    let script = folder.path().join("job.sh");
    program(&script, "#!/bin/sh\n");
    let services = format!(
        "[[service]]\nname = \"svc\"\nscript = \"{}\"\n",
        script.display()
    );
    let mut gateway = Gateway::prepare(folder.path(), &double.config(), &services);
    gateway.start();
    assert!(gateway.command(&["pause", "svc"]).status.success());
    let ids: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    assert_eq!(gateway.try_batch(&ids).unwrap().0, 202);
    let set = |body: Value| gateway.put("/v1/services/svc/flow", &body);
    let (status, text) = set(json!({"rate": "10/s", "paused": false}));
    assert_eq!(
        (status, text.as_str()),
        (200, r#"{"paused":false,"priority":0,"rate":10.0}"#)
    );
    assert_eq!(
        double.markers().len(),
        0,
        "nothing was submitted while it was paused"
    );
    let started = Instant::now();
    while double.markers().len() < 20 {
        assert!(started.elapsed() < LIMIT, "{}", gateway.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // At most the second's worth that the bucket holds, and ten for each second since. A loaded
    // machine may be slower, never faster.
    let (seconds, found) = (started.elapsed().as_secs_f64(), double.markers().len());
    assert!(
        found as f64 <= 11.0 + 10.0 * (seconds + 0.5),
        "{found} in {seconds} s"
    );
    let output = gateway.command(&["set", "svc", "rate=none", "priority=3"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "svc: {\"priority\":3,\"paused\":false}\n"
    );
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter().all(|job| job["state"] == "completed")
    });
    let replay = gateway.post(
        "/v1/services/svc/replay",
        &[],
        br#"{"from": "2020-01-01T00:00:00Z", "to": "2120-01-01T00:00:00Z"}"#,
    );
    assert_eq!(replay, (202, json!({"replayed": 40})));
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter()
            .all(|job| job["state"] == "completed" && job["attempts"] == 2)
    });
    assert_eq!(double.markers().len(), 80);
    assert_eq!(
        gateway
            .command(&["set", "nothing", "rate=1/s"])
            .status
            .code(),
        Some(4)
    );
    assert_eq!(
        gateway.command(&["set", "svc", "rate=fast"]).status.code(),
        Some(2)
    );
    assert_eq!(gateway.put("/v1/services/nothing/flow", &json!({})).0, 404);
    for odd in [json!({"rate": 0}), json!({"colour": "red"}), json!([])] {
        assert_eq!(gateway.put("/v1/services/svc/flow", &odd).0, 400, "{odd}");
    }
    let (_, text) = gateway.get("/v1/services/svc/flow");
    assert_eq!(text, r#"{"paused":false,"priority":3}"#);
}
