//! The Python tools that tests compare with: where they are, and how they are run.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The virtual environment, or `None` with a line that says what is missing.
pub(crate) fn venv() -> Option<PathBuf> {
    let cache = || {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        Some(
            std::env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(home)?
                .join("mizar/venv"),
        )
    };
    let folder = std::env::var_os("MIZAR_VENV")
        .map(PathBuf::from)
        .or_else(cache)?;
    if folder.join("bin/python").exists() {
        return Some(folder);
    }
    println!(
        "SKIP: no Python environment at {} (tests/tools/venv.sh makes it)",
        folder.display()
    );
    None
}

/// What `fixtures.py COMMAND ARGUMENTS` prints.
pub(crate) fn run(command: &str, arguments: &[String]) -> Option<Vec<u8>> {
    run_script("fixtures.py", command, arguments)
}

/// What another script of this folder prints.
pub(crate) fn run_script(script: &str, command: &str, arguments: &[String]) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(script);
    let python = venv()?.join("bin/python");
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
    let mut folders = vec![venv()?.join("lib")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_sample = path.to_string_lossy().contains("esmvaltool_sample_data");
            let may_hold_it = ["lib", "site-packages"]
                .iter()
                .any(|name| folder.file_name().is_some_and(|own| own == *name))
                || folder.ends_with("lib")
                || folder
                    .parent()
                    .is_some_and(|parent| parent.ends_with("lib"));
            if path.is_dir() && (is_sample || may_hold_it && !path.join("__init__.py").exists()) {
                folders.push(path);
            } else if is_sample && path.extension().is_some_and(|end| end == "nc") {
                files.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    if files.is_empty() {
        println!("SKIP: no CMIP6 files (the Python package esmvaltool-sample-data)");
        return None;
    }
    Some(files)
}
