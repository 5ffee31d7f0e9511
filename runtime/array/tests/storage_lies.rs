//! Structures that lie on purpose, with right checksums: cycles, counts and sizes of 2^40, places
//! far away. An error names the variable and the bytes, at once and in little memory.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod python;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use mizar_array::storage::Source;

/// What reading all of these files may take at most.
const ADDRESS_SPACE_BYTES: u64 = 1 << 30;
const PEAK_KIB_MAX: u64 = 192 << 10;
const SECONDS_MAX: u32 = 60;

/// Opens a file and reads all it has; the first error if there was one.
fn read(path: &Path) -> Result<(), String> {
    let source = Source::open(path).map_err(|error| error.to_string())?;
    for (index, variable) in source.dataset().variables.iter().enumerate() {
        let _ = source.stored_bytes(index, &source.dataset().whole(index));
        let read = match variable.dtype.is_text() {
            true => source.read_text(index).map(drop),
            false => source.read_whole(index).map(drop),
        };
        read.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The most memory that this process has had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Every file with the variable that is wrong, and whether reading must fail.
type Cases = BTreeMap<String, (Option<String>, bool)>;

fn child(folder: &Path) {
    let cases = std::fs::read(folder.join("cases.json")).unwrap();
    let cases: Cases = serde_json::from_slice(&cases).unwrap();
    let mut problems = Vec::new();
    for (file, (variable, must_fail)) in cases {
        println!("{file}");
        let owner = match variable {
            Some(name) => format!("variable `{name}`, bytes "),
            None => "header, bytes ".to_owned(),
        };
        let expected = format!("{file} is damaged: {owner}");
        match read(&folder.join(&file)) {
            Ok(()) if must_fail => problems.push(format!("{file} is read without an error")),
            Err(error) if must_fail && !error.contains(&expected) => problems.push(error),
            // What need not fail may be refused by the library.
            Err(error) if !error.contains(&file) => problems.push(error),
            _ => {}
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let peak = peak_kib();
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
}

#[test]
fn lies_are_errors_with_variable_and_bytes_at_once_and_in_little_memory() {
    if let Some(folder) = std::env::var_os("MIZAR_TEST_LIES") {
        return child(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let arguments = [folder.path().to_str().unwrap().to_owned()];
    let Some(cases) = python::run_script("damage.py", "make", &arguments) else {
        return;
    };
    let count = serde_json::from_slice::<Cases>(&cases).unwrap().len();
    assert!(count >= 45, "{count} files");
    std::fs::write(folder.path().join("cases.json"), cases).unwrap();
    let output = Command::new("timeout")
        .arg(SECONDS_MAX.to_string())
        .arg("prlimit")
        .arg(format!("--as={ADDRESS_SPACE_BYTES}"))
        .arg("--core=0")
        .arg(std::env::current_exe().unwrap())
        .args(["--nocapture", "--exact"])
        .arg("lies_are_errors_with_variable_and_bytes_at_once_and_in_little_memory")
        .env("MIZAR_TEST_LIES", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} after {said} {complaint}",
        output.status
    );
}
