//! More inputs than a process may open by its soft limit, and more than by its hard one.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::Path;
use std::process::Command;

use mizar_array::dataset::{DType, Dataset, Dimension, Variable};
use mizar_array::write::{WriteOptions, Writer};

const FILES: usize = 60;

/// A file with one step of a series.
fn step(path: &Path, step: usize) {
    let mut dataset = Dataset {
        dimensions: vec![Dimension {
            name: "time".to_owned(),
            len: 1,
            unlimited: true,
        }],
        ..Dataset::default()
    };
    for (name, dtype) in [("time", DType::F64), ("t", DType::F32)] {
        let mut variable = Variable {
            name: name.to_owned(),
            dtype,
            dims: vec![0],
            attributes: Default::default(),
        };
        if name == "time" {
            variable.attributes.set("units", "days since 2000-01-01");
        }
        dataset.variables.push(variable);
    }
    let mut writer = Writer::create(path, &dataset, &WriteOptions::default()).unwrap();
    for variable in 0..2 {
        let all = dataset.whole(variable);
        writer.write_f64(variable, &all, &[step as f64]).unwrap();
    }
    writer.commit().unwrap();
}

/// Joins the files in a child with these limits of open files; what it complains of.
fn joined_under(folder: &Path, limits: &str) -> Option<String> {
    let output = Command::new("prlimit")
        .arg(format!("--nofile={limits}"))
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_series_of_many_files_raises_the_limit_of_open_files",
        ])
        .arg("--nocapture")
        .env("MIZAR_TEST_JOIN", folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let complaint = said.lines().find_map(|line| line.strip_prefix("failed: "));
    complaint.map(str::to_owned)
}

#[test]
fn a_series_of_many_files_raises_the_limit_of_open_files() {
    if let Some(folder) = std::env::var_os("MIZAR_TEST_JOIN") {
        let folder = folder.into_string().unwrap();
        if let Err(error) = cube::run(&format!("-mergetime {folder}/step*.nc {folder}/all.nc")) {
            println!("\nfailed: {}", error.chain());
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        step(&folder.path().join(format!("step{number:03}.nc")), number);
    }
    // Room for the files only by the hard limit.
    assert_eq!(joined_under(folder.path(), "60:1024"), None);
    let joined = mizar_array::storage::Source::open(&folder.path().join("all.nc")).unwrap();
    let t = joined.dataset().variable_index("t").unwrap();
    let expected: Vec<f64> = (0..FILES).map(|step| step as f64).collect();
    assert_eq!(joined.read_whole(t).unwrap(), expected);
    let complaint = joined_under(folder.path(), "60:60").unwrap();
    assert!(complaint.contains("60 files are open"), "{complaint}");
    assert!(complaint.contains("ulimit -n"), "{complaint}");
    assert!(complaint.contains("cannot open "), "{complaint}");
}
