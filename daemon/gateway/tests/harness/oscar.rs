//! What a user of OSCAR does: services that ann makes and changes, and OSCAR's own client.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Gateway;

/// The line of the user file.
pub(crate) const LOGIN: &str = "ann:correct horse\n";

/// How ann proves who she is.
pub(crate) fn basic() -> String {
    format!("Basic {}", STANDARD.encode(LOGIN.trim_end()))
}

/// Makes or changes a service, and returns its token.
pub(crate) fn define(gateway: &Gateway, agent: &ureq::Agent, service: &Value) -> String {
    let (url, body) = (gateway.url("/system/services"), service.to_string());
    let made = agent.post(&url).header("authorization", basic());
    if made.send(&body).unwrap().status() != 201 {
        let changed = agent.put(&url).header("authorization", basic());
        assert_eq!(changed.send(&body).unwrap().status(), 204);
    }
    let name = service["name"].as_str().unwrap();
    let shown = agent
        .get(format!("{url}/{name}"))
        .header("authorization", basic())
        .call();
    let shown: Value = shown.unwrap().body_mut().read_json().unwrap();
    shown["token"].as_str().unwrap().to_owned()
}

/// Runs a script with OSCAR's own client, which ends with the word `done`.
pub(crate) fn run_client(python: &Path, script: &str, gateway: &Gateway, more: &[&OsStr]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(script);
    let output = Command::new(python)
        .arg(script)
        .args([&gateway.url(""), "ann", "correct horse"])
        .args(more)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.trim_end().ends_with("done"),
        "{text}{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        gateway.log()
    );
}
