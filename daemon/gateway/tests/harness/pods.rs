//! Pods for tests.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use serde_json::{Value, json};

/// The n-th UID.
pub(crate) fn uid(n: u32) -> String {
    format!("6b0c1f8e-1d2a-4c3b-9e4f-{n:012x}")
}

/// A create request of the plugin's shape, with one container.
pub(crate) fn create(n: u32, command: &[&str]) -> Value {
    json!({
        "pod": {
            "metadata": {"name": format!("pod-{n}"), "namespace": "ns", "uid": uid(n)},
            "spec": {"containers": [{"name": "main", "image": "docker://busybox:1", "command": command}]},
        },
        "container": [{"name": "main", "configMaps": null, "secrets": null}],
        "jobConfig": {}, "jobScript": "",
    })
}
