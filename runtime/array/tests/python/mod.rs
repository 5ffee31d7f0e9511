//! The Python tools that tests compare with: where they are, and how they are run.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::Path;
use std::process::Command;

/// What `fixtures.py COMMAND ARGUMENTS` prints.
pub(crate) fn run(command: &str, arguments: &[String]) -> Option<Vec<u8>> {
    run_script("fixtures.py", command, arguments)
}

/// What another script of this folder prints.
pub(crate) fn run_script(script: &str, command: &str, arguments: &[String]) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(script);
    let python = mizar_lab::venv::python()?;
    let output = Command::new(python)
        .arg("-W")
        .arg("ignore")
        .arg(path)
        .arg(command)
        .args(arguments)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} {command}: {complaint}");
    Some(output.stdout)
}

/// A folder with the files and values that `fixtures.py make` makes.
pub(crate) fn fixtures() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    run("make", &[folder.path().to_str().unwrap().to_owned()])?;
    Some(folder)
}

/// The CMIP6 files of the Python package `esmvaltool-sample-data`.
pub(crate) fn cmip6_files() -> Option<Vec<String>> {
    let files = mizar_lab::venv::files("esmvaltool_sample_data", "", ".nc")?;
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    Some(files.into_iter().map(text).collect())
}
