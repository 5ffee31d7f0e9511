//! Hostile values in each field of pods. Whatever is taken becomes a job whose sbatch and containers
//! get it as a value or not at all: no command of it runs, no option of it is one, no file lies outside
//! of the job's folder.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;
#[path = "harness/hostile.rs"]
mod hostile;

use std::fs;
use std::path::Path;

use hostile::{put, site, words_are_harmless};
use serde_json::json;

#[test]
fn pods() {
    let site = site();
    let uid = |n: u32| format!("6b0c1f8e-1d2a-4c3b-9e4f-{n:012x}");
    let create = json!({"pod": {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"k": "v"}, "annotations": {"slurm-job.vk.io/flags": "--nodes=1", "k": "v"}},
        "spec": {"containers": [{"name": "c", "image": "busybox", "command": ["x"], "args": ["y"], "workingDir": "/w",
                "env": [{"name": "A", "value": "v"}, {"name": "F", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}],
                "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}],
                "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
                "volumeMounts": [{"name": "v", "mountPath": "/etc/v", "subPath": ""}, {"name": "h", "mountPath": "/data/h"}],
                "readinessProbe": {"httpGet": {"path": "/x", "port": 80, "host": "h", "scheme": "HTTP"}},
                "lifecycle": {"preStop": {"exec": {"command": ["z"]}}}}],
            "volumes": [{"name": "v", "configMap": {"name": "cm", "items": [{"key": "k", "path": "f"}]}},
                {"name": "h", "hostPath": {"path": "/data/h", "type": ""}}]}},
        "container": [{"name": "c", "configMaps": [{"metadata": {"name": "cm"}, "data": {"k": "x"}}],
            "secrets": [{"metadata": {"name": "s"}, "data": {"k": "eA=="}}], "projectedvolumemaps": null}],
        "jobConfig": {}, "jobScript": "", "jobscriptURL": ""});
    let pod = "pod/spec/containers/0";
    let mut fields: Vec<String> = [
        "metadata/name",
        "metadata/namespace",
        "metadata/uid",
        "metadata/labels/k",
        "metadata/labels/*",
        "metadata/annotations/*",
    ]
    .map(|field| format!("pod/{field}"))
    .into();
    for name in [
        "flags",
        "flavor",
        "pre-exec",
        "mpi-flags",
        "image-root",
        "singularity-mounts",
        "singularity-options",
        "singularity-commands",
        "enroot-mounts",
        "enroot-options",
    ] {
        fields.push(format!("pod/metadata/annotations/slurm-job.vk.io~1{name}"));
    }
    for field in [
        "name",
        "image",
        "workingDir",
        "args/0",
        "env/0/name",
        "env/0/value",
        "env/1/valueFrom/configMapKeyRef/key",
        "envFrom/0/prefix",
        "resources/limits/cpu",
        "resources/limits/memory",
        "resources/limits/*",
        "volumeMounts/0/name",
        "volumeMounts/0/mountPath",
        "volumeMounts/0/subPath",
        "readinessProbe/httpGet/path",
        "readinessProbe/httpGet/host",
        "readinessProbe/httpGet/scheme",
    ] {
        fields.push(format!("{pod}/{field}"));
    }
    for field in [
        "pod/spec/volumes/0/name",
        "pod/spec/volumes/0/configMap/name",
        "pod/spec/volumes/0/configMap/items/0/key",
        "pod/spec/volumes/0/configMap/items/0/path",
        "pod/spec/volumes/1/hostPath/path",
        "pod/spec/volumes/1/hostPath/type",
        "container/0/name",
        "container/0/configMaps/0/metadata/name",
        "container/0/configMaps/0/data/*",
        "container/0/configMaps/0/data/k",
        "container/0/secrets/0/metadata/name",
        "container/0/secrets/0/data/k",
        "jobScript",
        "jobscriptURL",
    ] {
        fields.push(field.to_owned());
    }
    let (mut number, mut taken) = (0, 0);
    let plain = put(&create, "/pod/metadata/uid", &uid(0));
    let (status, text) = site.gateway.ask("/create", &plain);
    assert_eq!(status, 200, "{text}");
    for value in site.hostile() {
        for field in &fields {
            number += 1;
            let changed = put(&create, "/pod/metadata/uid", &uid(number));
            let changed = put(&changed, &format!("/{field}"), &value);
            let status = site.ask("POST", "/create", &[], &changed.to_string());
            assert!(matches!(status, 200 | 400), "{field} {value:?}: {status}");
            taken += u32::from(status == 200);
        }
        for (path, body) in [
            (
                "/delete",
                json!({"metadata": {"uid": &value, "name": &value, "namespace": &value}}),
            ),
            (
                "/delete",
                json!({"metadata": {"uid": uid(900_000 + number), "name": &value, "namespace": &value}}),
            ),
            (
                "/getLogs",
                json!({"PodUID": &value, "ContainerName": "c", "Opts": {}}),
            ),
            (
                "/getLogs",
                json!({"PodUID": uid(1), "ContainerName": &value, "Opts": {"SinceTime": &value}}),
            ),
            (
                "/status",
                json!([{"metadata": {"uid": &value, "name": &value}}]),
            ),
        ] {
            let status = site.ask(
                "POST",
                path,
                &[("interlink-http-session", "s")],
                &body.to_string(),
            );
            assert!(
                matches!(status, 200 | 400 | 404),
                "{path} {value:?}: {status}"
            );
        }
    }
    assert!(taken > 100, "{taken} of {number}");
    site.check();
    words_are_harmless(&site);
    folders_hold_plain_files(&site.folder.path().join("work"));
}

/// Nothing in the jobs' folders leads out of them but the folders that the site lets pods mount.
fn folders_hold_plain_files(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            folders_hold_plain_files(&entry.path());
        } else {
            assert!(kind.is_file(), "{}", entry.path().display());
        }
    }
}
