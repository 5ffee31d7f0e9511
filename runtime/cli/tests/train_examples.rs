//! The shipped examples of training, shortened, by two ranks on CMIP6 data and generated showers:
//! what they promise is kept.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::{Path, PathBuf};
use std::process::Command;

use mizar_lab::venv;
use serde_json::Value;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// Trains an example by two ranks where MPI is there, and returns what it tells.
fn train(example: &str, set: &[String]) -> Value {
    let mizar = Path::new(env!("CARGO_BIN_EXE_mizar"));
    let mut command = match mizar_lab::has_mpirun() {
        true => mizar_lab::mpirun_command(2, &[], mizar),
        false => Command::new(mizar),
    };
    command
        .arg("train")
        .arg(examples().join(example))
        .arg("--json");
    command
        // Two ranks share the machine's cores with other tests.
        .env("RAYON_NUM_THREADS", "1");
    for assignment in set {
        command.args(["--set", assignment]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn last_validation(summary: &Value) -> f64 {
    let epochs = summary["epochs"].as_array().unwrap();
    epochs.last().unwrap()["validation_loss"].as_f64().unwrap()
}

fn beats_baselines(example: &str, input: &Path, set: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    let mut all = vec![
        format!("data.files=[{}]", input.display()),
        format!("output.model={}", model.display()),
    ];
    all.extend(set.iter().map(|assignment| (*assignment).to_owned()));
    let summary = train(example, &all);
    let loss = last_validation(&summary);
    for name in ["persistence", "climatology"] {
        let baseline = summary["baselines"][name].as_f64().unwrap();
        assert!(
            loss < baseline,
            "{example}: {loss} against {name} {baseline}"
        );
    }
    assert!(model.exists());
}

#[test]
fn every_configuration_is_one() {
    let mut seen = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !(name.starts_with("train_") && name.ends_with(".yaml")) {
            continue;
        }
        seen += 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
        let output = command
            .arg("train")
            .arg(&path)
            .arg("--check")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(seen, 3);
}

#[test]
fn the_lstm_beats_persistence_and_climatology_on_cmip6() {
    if let Some(input) = venv::cmip6("ta_Amon_TaiESM1_") {
        beats_baselines("train_lstm.yaml", &input, &["train.epochs=2"]);
    }
}

#[test]
fn the_unet_beats_persistence_and_climatology_on_cmip6() {
    if let Some(input) = venv::cmip6("ta_day_TaiESM1_") {
        beats_baselines("train_unet.yaml", &input, &["train.epochs=3"]);
    }
}

#[test]
fn the_gan_matches_the_energy_profile_of_showers() {
    let Some(python) = venv::python() else {
        println!("SKIP: the Python readers (tests/tools/venv.sh)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut showers = Command::new(python);
    showers
        .arg(examples().join("showers.py"))
        .arg("400")
        .arg(folder.path());
    assert!(showers.status().unwrap().success());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let set = [
        format!(
            "data.arrays=[{}, {}]",
            path("showers.npy"),
            path("energies.npy")
        ),
        format!("output.model={}", path("gan.safetensors")),
        "train.epochs=12".to_owned(),
    ];
    let summary = train("train_gan.yaml", &set);
    let off = last_validation(&summary);
    assert!(
        off < 0.2,
        "the layers' mean energies are off by {off} of the whole"
    );
}
