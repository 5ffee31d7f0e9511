//! `mizar doctor` as users run it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::process::{Command, Output};

fn doctor(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
    command.arg("doctor").args(arguments).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("USER", "ada");
    command
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_harmful_variable_is_a_fault_with_its_fix_and_source() {
    let mut command = doctor(&["--site", "lumi"]);
    let output = command.env("NCCL_NET_GDR_LEVEL", "3").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    assert!(
        text.contains("FAULT  environment: NCCL_NET_GDR_LEVEL=3"),
        "{text}"
    );
    assert!(
        text.contains("unset NCCL_NET_GDR_LEVEL (lumi-ai-factory"),
        "{text}"
    );
    assert!(text.contains("profile lumi (version 1"), "{text}");
}

/// A shell takes the lines as they are, quotes and all, and the doctor then asks for nothing more.
#[test]
fn what_export_prints_a_shell_can_set() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("site.toml");
    let body = "name='here'\nversion=3\nupdated='2026-01-01'\ndescribes='x'\nclusters=[]\nhosts=[]\n\
                [[setting]]\nvariable='MIZAR_ODD'\nvalue=\"it's $(id) `id`\"\nreason='r'\nsource='s'\n";
    std::fs::write(&profile, body).unwrap();
    let path = profile.to_str().unwrap();
    let output = doctor(&["--profile", path, "--export"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let script = text(&output) + "printf %s \"$MIZAR_ODD\"";
    let said = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(text(&said), "it's $(id) `id`");
    let mut again = doctor(&["--profile", path, "--export"]);
    let again = again.env("MIZAR_ODD", "it's $(id) `id`").output().unwrap();
    assert_eq!(text(&again).lines().count(), 1, "{}", text(&again));
}

#[test]
fn json_has_profile_facts_and_findings_but_no_environment() {
    let mut command = doctor(&["--json"]);
    command.env("SECRET_TOKEN", "hunter2");
    command.env("SLURM_CLUSTER_NAME", "vega");
    let text = text(&command.output().unwrap());
    assert!(!text.contains("hunter2"));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["schema"], "mizar-doctor/1");
    assert_eq!(value["profile"]["name"], "vega");
    assert!(value["facts"]["interfaces"]["lo"].is_string());
    let findings = value["findings"].as_array().unwrap();
    assert!(findings.iter().any(|f| f["export"][0] == "UCX_TLS"));
}

#[test]
fn a_wrong_site_or_profile_is_said() {
    let output = doctor(&["--site", "mars"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("there are generic, jupiter"), "{said}");
    let output = doctor(&["--profile", "/nonexistent.toml"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("cannot read the profile /nonexistent.toml"),
        "{said}"
    );
}
