//! A quick run of `make conformance`: every operator beside CDO's on a few generated files. An
//! undeclared difference fails it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::process::Command;

use mizar_lab::{binary, venv};
use mizar_suite::repository;

#[test]
fn no_operator_differs_from_cdo_but_on_purpose() {
    let Some(python) = venv::python() else {
        return;
    };
    if Command::new("cdo").arg("--version").output().is_err() {
        println!("SKIP: cdo (Debian package cdo)");
        return;
    }
    let script = repository().join("tests/conformance/conformance.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg("--quick")
        .arg("--mizar")
        .arg(binary("mizar"));
    let output = command.output().unwrap();
    let (table, problems) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{table}\n{problems}");
    assert!(problems.contains(" passed, 0 failed"), "{problems}");
}
