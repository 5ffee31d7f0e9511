//! Hostile values in each field of events and of OSCAR's services and calls. Whatever is taken becomes a job whose sbatch and
//! container get it as a value or not at all: no command of it runs, no option of it is one, no file
//! lies outside of the job's folder.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;
#[path = "harness/hostile.rs"]
mod hostile;

use std::collections::BTreeSet;

use hostile::{put, site, words_are_harmless};
use serde_json::{Value, json};
#[test]
fn events() {
    let site = site();
    let event = json!({"specversion": "1.0", "id": "i", "source": "/s", "type": "t", "subject": "u",
        "time": "2026-01-02T10:00:00Z", "datacontenttype": "application/json", "dataschema": "/x",
        "extension": "e", "data": {"key": "v"}});
    let record = json!({"eventVersion": "2.0", "eventSource": "minio:s3", "awsRegion": "",
        "eventTime": "2026-01-02T10:00:00.000Z", "eventName": "s3:ObjectCreated:Put",
        "userIdentity": {"principalId": "u"}, "requestParameters": {"principalId": "u"},
        "responseElements": {"x-amz-request-id": "1"},
        "s3": {"bucket": {"name": "b", "arn": "a"}, "object": {"key": "k", "eTag": "e", "versionId": "v", "sequencer": "1"}}});
    let notification =
        json!({"EventName": "s3:ObjectCreated:Put", "Key": "b/k", "Records": [record]});
    let (mut number, mut taken) = (0, 0);
    let mut send = |path: &str, headers: &[(&str, &str)], body: &str| {
        let status = site.ask("POST", path, headers, body);
        assert!(status < 500, "{path} {status}: {body}");
        taken += u32::from(status == 202);
    };
    let mut subjects = Vec::new();
    for value in site.hostile() {
        for field in [
            "id",
            "source",
            "type",
            "subject",
            "time",
            "datacontenttype",
            "dataschema",
            "extension",
            "data/key",
            "data/*",
            "*",
        ] {
            number += 1;
            let mut changed = event.clone();
            changed["id"] = json!(number.to_string());
            let pointer = if field == "*" {
                "/*".to_owned()
            } else {
                format!("/{field}")
            };
            let changed = put(&changed, &pointer, &value);
            send(
                "/events",
                &[("content-type", "application/cloudevents+json")],
                &changed.to_string(),
            );
            if field == "subject" {
                subjects.push(value.clone());
            }
        }
        for field in [
            "EventName",
            "Key",
            "Records/0/awsRegion",
            "Records/0/eventSource",
            "Records/0/eventTime",
            "Records/0/eventName",
            "Records/0/userIdentity/principalId",
            "Records/0/requestParameters/principalId",
            "Records/0/responseElements/x-amz-request-id",
            "Records/0/s3/bucket/name",
            "Records/0/s3/bucket/arn",
            "Records/0/s3/object/key",
            "Records/0/s3/object/eTag",
            "Records/0/s3/object/versionId",
            "Records/0/s3/object/sequencer",
        ] {
            number += 1;
            let mut changed = notification.clone();
            changed["Records"][0]["s3"]["object"]["sequencer"] = json!(format!("{number:x}"));
            send(
                "/events/s3",
                &[],
                &put(&changed, &format!("/{field}"), &value).to_string(),
            );
        }
        // In a header only what is a header's.
        if value.bytes().all(|byte| (32..127).contains(&byte)) {
            for name in [
                "ce-id",
                "ce-source",
                "ce-type",
                "ce-subject",
                "ce-time",
                "ce-extension",
                "content-type",
            ] {
                number += 1;
                let id = number.to_string();
                let mut headers = vec![
                    ("ce-specversion", "1.0"),
                    ("ce-id", &id),
                    ("ce-source", "/s"),
                    ("ce-type", "t"),
                ];
                headers.retain(|(known, _)| *known != name);
                headers.push((name, &value));
                send("/events", &headers, "{}");
            }
        }
    }
    assert!(taken > 200, "{taken} of {number} were taken");
    let jobs = site.check();
    assert!(jobs.len() > 200, "{}", jobs.len());
    // A value that became an argument is what was sent, and one argument.
    let got: BTreeSet<String> = site.list("got").into_iter().collect();
    let allowed: BTreeSet<String> = site
        .hostile()
        .into_iter()
        .chain(["u", "k", "none"].map(str::to_owned))
        .collect();
    // A subject in a header may be in quotation marks, which are not of it.
    let unquoted: BTreeSet<String> = allowed.iter().map(|one| one.replace('"', "")).collect();
    for word in &got {
        let under = word.strip_prefix("/data/");
        let is_key = under.is_some_and(|key| !key.split('/').any(|part| part == ".."));
        assert!(
            allowed.contains(word) || unquoted.contains(word) || is_key,
            "the script got {word:?}"
        );
    }
    for subject in subjects
        .iter()
        // Refused are those that would end a line, or be an option of the script.
        .filter(|one| !one.chars().any(char::is_control) && !one.starts_with('-'))
    {
        assert!(got.contains(subject), "{subject:?} was lost");
    }
}

/// Fields of a service that reach its job's options, words, variables or files; a call for each of
/// the others would only take time.
const IN_JOB: [&str; 9] = [
    "image",
    "memory",
    "cpu",
    "annotations/slurm-job",
    "environment",
    "input/0/path",
    "output/0/path",
    "output/0/suffix",
    "storage_providers/minio/own",
];

#[test]
fn services_and_calls_of_oscar() {
    let site = site();
    let definition = json!({"name": "svc", "image": "busybox", "script": "true", "memory": "64Mi", "cpu": "1",
        "log_level": "INFO", "visibility": "private", "isolation_level": "SERVICE", "vo": "v", "cluster_id": "c",
        "total_memory": "", "total_cpu": "", "ephemeral_storage_request": "", "interlink_node_name": "",
        "allowed_users": ["u"], "image_pull_secrets": ["p"],
        "annotations": {"slurm-job.vk.io/flags": "--nodes=1", "k": "v"}, "labels": {"k": "v"},
        "environment": {"variables": {"A": "v"}, "secrets": {"B": "v"}},
        "input": [{"storage_provider": "minio.default", "path": "b/in", "suffix": ["s"], "prefix": ["p"]}],
        "output": [{"storage_provider": "minio.default", "path": "b/out", "suffix": ["s"], "prefix": ["p"]}],
        "storage_providers": {"minio": {"own": {"endpoint": "https://x", "region": "r", "access_key": "a", "secret_key": "s"}}},
        "clusters": {"c": {"endpoint": "https://x", "auth_user": "u", "auth_password": "p"}}});
    let fields = [
        "name",
        "image",
        "memory",
        "cpu",
        "log_level",
        "visibility",
        "isolation_level",
        "vo",
        "cluster_id",
        "total_memory",
        "total_cpu",
        "ephemeral_storage_request",
        "interlink_node_name",
        "allowed_users/0",
        "image_pull_secrets/0",
        "annotations/slurm-job.vk.io~1flags",
        "annotations/k",
        "annotations/*",
        "labels/k",
        "labels/*",
        "environment/variables/A",
        "environment/variables/*",
        "environment/secrets/B",
        "environment/secrets/*",
        "input/0/storage_provider",
        "input/0/path",
        "input/0/suffix/0",
        "input/0/prefix/0",
        "output/0/storage_provider",
        "output/0/path",
        "output/0/suffix/0",
        "output/0/prefix/0",
        "storage_providers/*",
        "storage_providers/minio/*",
        "storage_providers/minio/own/endpoint",
        "storage_providers/minio/own/region",
        "storage_providers/minio/own/access_key",
        "storage_providers/minio/own/secret_key",
        "clusters/c/endpoint",
        "clusters/*",
    ];
    let admin = ("authorization", "Basic YWRtaW46Y29ycmVjdCBob3JzZQ==");
    let (mut made, mut values, mut number) = (0, Vec::new(), 0);
    let call = |name: &str, headers: &[(&str, &str)], body: &str| {
        let shown = site
            .agent
            .get(site.gateway.url(&format!("/system/services/{name}")))
            .header(admin.0, admin.1)
            .call();
        let shown: Value = shown.unwrap().body_mut().read_json().unwrap();
        let token = format!("Bearer {}", shown["token"].as_str().unwrap());
        let headers = [headers, &[("authorization", &token)]].concat();
        let status = site.ask("POST", &format!("/job/{name}"), &headers, body);
        assert!(status < 500, "{headers:?} {status}");
        status
    };
    for value in site.hostile() {
        for field in fields {
            number += 1;
            let name = format!("svc-{number}");
            let mut changed = definition.clone();
            changed["name"] = json!(name);
            let changed = put(&changed, &format!("/{field}"), &value);
            let status = site.ask("POST", "/system/services", &[admin], &changed.to_string());
            assert!(status < 500 || status == 501, "{field} {value:?}: {status}");
            if status == 201 {
                made += 1;
                assert_eq!(changed["name"], name, "a name {value:?} was taken");
                if IN_JOB.iter().any(|start| field.starts_with(start)) {
                    assert_eq!(call(&name, &[], "body"), 201);
                }
                if field == "environment/variables/A" {
                    values.push(value.clone());
                }
            }
        }
    }
    assert!(made > 100, "{made} of {number}");
    let plain = put(&definition, "/name", "plain");
    assert_eq!(
        site.ask("POST", "/system/services", &[admin], &plain.to_string()),
        201
    );
    for value in site.hostile() {
        let event = json!({"Records": [{"eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put", "eventTime": &value,
            "requestParameters": {"principalId": &value}, "userIdentity": {"principalId": &value},
            "s3": {"bucket": {"name": &value}, "object": {"key": &value, "sequencer": "1"}}}]});
        let delegated = json!({"storage_provider": &value, "event": event.to_string()});
        for body in [value.clone(), event.to_string(), delegated.to_string()] {
            call("plain", &[], &body);
        }
        if value.bytes().all(|byte| (32..127).contains(&byte)) {
            for name in [
                "x-delegated-job-id",
                "idempotency-key",
                "x-delegated-from",
                "user-agent",
            ] {
                call("plain", &[(name, &value)], "body");
            }
        }
        let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for path in [
            "/job/",
            "/run/",
            "/system/services/",
            "/system/logs/",
            "/system/logs/plain/",
        ] {
            for method in ["GET", "POST", "DELETE"] {
                let status = site.ask(method, &format!("{path}{escaped}"), &[admin], "");
                assert!(
                    (400..500).contains(&status),
                    "{method} {path}{value:?}: {status}"
                );
            }
        }
    }
    let jobs = site.check();
    assert!(jobs.len() > 200, "{}", jobs.len());
    let got: BTreeSet<String> = site.list("values").into_iter().collect();
    let allowed: BTreeSet<String> = values.iter().cloned().chain(["v".to_owned()]).collect();
    assert_eq!(got, allowed, "variables are what was sent");
    words_are_harmless(&site);
}
