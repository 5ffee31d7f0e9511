//! `mizar-gateway apply`: a workflow of DCNiOS is taken over unchanged, and its events become jobs.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
#[path = "harness/driven.rs"]
mod driven;
mod harness;
#[path = "harness/site.rs"]
mod site;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use driven::Driven;
use harness::program;
use serde_json::Value;
use site::Site;

/// A site that includes the folder of workflows, with a script for the OSCAR service `plants`.
fn site() -> Site {
    let site = Site::new("include = [\"workflows\"]\n", "");
    fs::create_dir(site.path("scripts")).unwrap();
    program(&site.path("scripts/plants.sh"), "#!/bin/sh\n");
    site
}

fn workflow(site: &Site, url: &str, more: &str) -> Vec<String> {
    let text = format!(
        "nifi:\n  endpoint: https://nifi\n  user: u\n  password: p\n  Source:\n    dCache:\n    - name: \
         Detector\n      endpoint: {url}\n      user: ann\n      password: correct horse\n      folder: \
         /data/in\n      statefile: s\n{more}  Destination:\n    OSCAR:\n    - name: invoke\n      \
         endpoint: https://oscar\n      service: plants\n      token: hush-hush\n      components:\n      \
         - {{name: InvokeOSCAR, seconds: 0.01}}\n  connection:\n  - from: Detector\n    to: invoke\n"
    );
    let path = site.path("flow.yaml");
    fs::write(&path, text).unwrap();
    vec![
        "apply".to_owned(),
        "-f".to_owned(),
        path.display().to_string(),
    ]
}

fn apply(site: &Site, arguments: &[String], more: &[&str]) -> Output {
    let all: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    site.gateway.command(&all)
}

fn told(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(error)
    )
}

/// The rate of the workflow's service.
fn rate(site: &Site) -> Option<f64> {
    let query = "SELECT rate FROM flow WHERE service = 'invoke'";
    site.ledger()
        .query_row(query, [], |row| row.get(0))
        .unwrap()
}

#[test]
fn an_event_of_an_applied_workflow_becomes_a_job() {
    let Some((mut dcache, url)) = Driven::start("dcache_double.py", "http.server") else {
        return;
    };
    let mut site = site();
    let arguments = workflow(&site, &url, "");
    let output = apply(&site, &arguments, &["--check"]);
    let shown = told(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(
        shown.contains("kind = \"dcache\"") && shown.contains("user and password (mode 600)"),
        "{shown}"
    );
    assert!(
        !shown.contains("correct horse") && !shown.contains("hush"),
        "{shown}"
    );
    assert!(!site.path("workflows").exists(), "a check writes nothing");
    let output = apply(&site, &arguments, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let secret = site.path("workflows/flow.detector.secret");
    assert_eq!(
        fs::metadata(secret).unwrap().permissions().mode() & 0o777,
        0o600
    );
    site.gateway.start();
    site.wait_source("detector", |source| source["state"] == "connected");
    dcache.tell("put a.nc");
    // The site's own service wants everything.
    let jobs = site.exactly(2);
    let of_invoke = |jobs: &[Value]| {
        let found = jobs.iter().filter(|job| job["service"] == "invoke");
        found.cloned().collect::<Vec<_>>()
    };
    assert_eq!(of_invoke(&jobs)[0]["subject"], "/data/in/a.nc");
    // Events from elsewhere are not the workflow's.
    let event = harness::event("x").to_string();
    let kind = [("content-type", "application/cloudevents+json")];
    site.gateway.post("/events", &kind, event.as_bytes());
    assert_eq!(of_invoke(&site.exactly(3)).len(), 1);
    // 0.01 seconds between runs.
    assert_eq!(rate(&site), Some(100.0));
    // Applied again with another rate, while it serves.
    let path = site.path("flow.yaml");
    let slower = fs::read_to_string(&path)
        .unwrap()
        .replace("seconds: 0.01", "seconds: 2");
    fs::write(&path, slower).unwrap();
    let output = apply(&site, &arguments, &["--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["included"], &answer["rates_set"]),
        (&true.into(), &true.into()),
        "{answer}"
    );
    assert_eq!(rate(&site), Some(0.5));
    // What an operator said stays over a restart.
    assert!(
        site.gateway
            .command(&["set", "invoke", "rate=none"])
            .status
            .success()
    );
    site.gateway.stop();
    site.gateway.start();
    assert_eq!(rate(&site), None);
}

#[test]
fn what_is_left_out_is_named_and_what_clashes_is_not_written() {
    let site = site();
    let encode = "      alterations: [{action: Encode, Encoding: base32}]\n";
    let arguments = workflow(&site, "https://d:3880", encode);
    let output = apply(&site, &arguments, &["--json"]);
    assert_eq!(output.status.code(), Some(6), "{}", told(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["not_mapped"][0]["at"], "dCache `Detector`");
    assert_eq!(answer["secret_files"][0]["holds"], "user and password");
    assert!(!told(&output).contains("correct horse"));
    // The same names in another fragment: refused, and the first stays.
    let other = site.path("workflows/other.toml");
    let output = apply(&site, &arguments, &["--output", other.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("defined twice"), "{}", told(&output));
    assert!(!other.exists() && !site.path("workflows/other.detector.secret").exists());
    // A folder that nobody includes is told of.
    let away = site.path("away/flow.toml");
    let output = apply(
        &site,
        &arguments,
        &["--check", "--output", away.to_str().unwrap()],
    );
    assert_eq!(
        output.status.code(),
        Some(3),
        "it would clash: {}",
        told(&output)
    );
    fs::remove_dir_all(site.path("workflows")).unwrap();
    let output = apply(&site, &arguments, &["--output", away.to_str().unwrap()]);
    assert!(told(&output).contains("add include"), "{}", told(&output));
    // No workflow, and none at all.
    fs::write(site.path("flow.yaml"), "nifi: [").unwrap();
    assert_eq!(apply(&site, &arguments, &[]).status.code(), Some(1));
    fs::remove_file(site.path("flow.yaml")).unwrap();
    let output = apply(&site, &arguments, &[]);
    assert!(told(&output).contains("flow.yaml"), "{}", told(&output));
}
