//! `mizar train` as users run it: on cubes, by one rank and by two, refused, stopped and resumed.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]
#![allow(clippy::cast_precision_loss, reason = "small numbers")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mizar_lab::has_mpirun;
use mizar_models::Model;
use serde_json::Value;
use wave::{COLUMNS, ROWS, write_cube};

mod wave;

const CONFIG: &str = "
model: {kind: unet, width: 8, depth: 1, edges: globe, activation: silu, starts_at_zero: true}
data:
  files: [FOLDER/tas.nc]
  inputs: [tas]
  targets: [tas]
  history: 3
  lead: 1
  anomalies: true
  relative_to: persistence
train:
  epochs: 6
  batch_size: 8
  learning_rate: 0.01
  seed: 5
output:
  model: FOLDER/model.safetensors
  tensorboard: FOLDER/events
";

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_cube(&folder.path().join("tas.nc"), |_| false);
        let config = CONFIG.replace("FOLDER", &folder.path().display().to_string());
        std::fs::write(folder.path().join("train.yaml"), config).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, words: &[&str]) -> Vec<String> {
        let config = self.path("train.yaml").display().to_string();
        let words = words.iter().map(|word| (*word).to_owned());
        ["train".to_owned(), config]
            .into_iter()
            .chain(words)
            .collect()
    }

    fn alone(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
        command.args(self.arguments(words));
        command.output().unwrap()
    }

    fn ranks(&self, count: usize, words: &[&str]) -> Output {
        let mut command = mpirun(count);
        command.args(self.arguments(words)).output().unwrap()
    }

    /// The lines of the log of one kind.
    fn log(&self, event: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("model.jsonl")).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines = lines.filter(|line| line["event"] == event);
        lines.map(|line| line["value"].clone()).collect()
    }
}

fn mpirun(ranks: usize) -> Command {
    mizar_lab::mpirun_command(ranks, &[], Path::new(env!("CARGO_BIN_EXE_mizar")))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeeded(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[test]
fn a_unet_beats_both_baselines_and_its_file_tells_all() {
    let case = Case::new();
    let output = case.alone(&["--json"]);
    let summary = succeeded(&output);
    let epochs = summary["epochs"].as_array().unwrap();
    let last = epochs.last().unwrap()["validation_loss"].as_f64().unwrap();
    for name in ["persistence", "climatology"] {
        let baseline = summary["baselines"][name].as_f64().unwrap();
        assert!(last < 0.5 * baseline, "{last} against {name} {baseline}");
    }
    let said = stderr(&output);
    assert!(
        said.contains("epoch 6/6") && said.contains("(persistence "),
        "{said}"
    );

    let model = Model::load(&case.path("model.safetensors")).unwrap();
    assert_eq!(model.header.digest, summary["digest"]);
    assert_eq!(model.header.inputs[0].variable, "tas");
    assert_eq!(model.header.inputs[0].units, "K");
    assert_eq!(model.header.history, 3);
    assert_eq!(model.climatology["tas"].0, [12, 1, ROWS * COLUMNS]);
    assert_eq!(model.header.provenance["seed"], 5);
    assert!(
        model.header.provenance["data"]
            .as_str()
            .unwrap()
            .contains("sha256:")
    );

    assert_eq!(case.log("epoch").len(), 6);
    assert_eq!(
        case.log("step").len() as u64,
        summary["steps"].as_u64().unwrap()
    );
    assert_eq!(case.log("baselines")[0], summary["baselines"]);
    assert_eq!(std::fs::read_dir(case.path("events")).unwrap().count(), 1);
}

/// The last line of `--json` is what a search goes by.
#[test]
fn a_search_finds_the_better_learning_rate() {
    let case = Case::new();
    let program = env!("CARGO_BIN_EXE_mizar");
    let words = case.arguments(&["--json", "--quiet", "--epochs", "2"]);
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let study = format!(
        "command = [{program:?}, {}, '--set', 'train.learning_rate={{rate}}', '--set', \
         'output.model={{dir}}/model.safetensors']\nmetric = 'validation_loss'\n\
         budget = {{ trials = 2 }}\n[space.rate]\nvalues = [1e-7, 5e-3]\n",
        words.join(", ")
    );
    let path = case.path("study.toml");
    // Of a few seeds the first that draws both.
    for seed in 0..8 {
        std::fs::write(&path, format!("seed = {seed}\n{study}")).unwrap();
        let folder = case.path(&format!("study-{seed}"));
        let mut tune = Command::new(program);
        tune.arg("tune").arg(&path).arg("--folder").arg(&folder);
        let found = succeeded(&tune.args(["--local", "1", "--json"]).output().unwrap());
        let trials = found["trials"].as_array().unwrap();
        let rates: Vec<f64> = trials
            .iter()
            .map(|trial| trial["values"]["rate"].as_f64().unwrap())
            .collect();
        if rates[0] != rates[1] {
            assert_eq!(rates, [5e-3, 1e-7], "{found:#}");
            assert!(folder.join("trial-0000/model.safetensors").exists());
            return;
        }
    }
    panic!("no seed drew both");
}

#[test]
fn two_ranks_learn_what_one_does_whatever_the_strategy() {
    if !has_mpirun() {
        return;
    }
    let case = Case::new();
    let words = ["--json", "--quiet", "--epochs", "2"];
    let losses = |summary: &Value| -> Vec<f64> {
        let epochs = summary["epochs"].as_array().unwrap().iter();
        epochs
            .map(|epoch| epoch["validation_loss"].as_f64().unwrap())
            .collect()
    };
    let alone = losses(&succeeded(&case.alone(&words)));
    let first = succeeded(&case.ranks(2, &words));
    assert_eq!(first["ranks"], 2);
    let again = succeeded(&case.ranks(2, &words));
    assert_eq!(
        again["digest"], first["digest"],
        "a run can be repeated to the bit"
    );
    for strategy in ["ddp", "zero3"] {
        let words = [&words[..], &["--strategy", strategy]].concat();
        let together = losses(&succeeded(&case.ranks(2, &words)));
        for (one, two) in alone.iter().zip(&together) {
            assert!(
                (one - two).abs() < 1e-3 * one,
                "{strategy}: {alone:?} {together:?}"
            );
        }
    }
}

#[test]
fn what_is_wrong_is_said_once_and_nothing_is_written() {
    let case = Case::new();
    let missing = case.path("missing.nc");
    write_cube(&missing, |index| index == 3 * ROWS * COLUMNS);
    let missing = format!("data.files=[{}]", missing.display());
    let cases: [(&[&str], i32, &str); 6] = [
        (
            &["--set", "train.epoch=3"],
            2,
            "train: unknown field `epoch`: did you mean `epochs`?",
        ),
        (&["--strategy", "zero4"], 2, "did you mean `zero1`?"),
        (
            &[
                "--set",
                "data.inputs=[tos]",
                "--set",
                "data.relative_to=none",
            ],
            1,
            "tos",
        ),
        (&["--set", &missing], 1, "1 of 7200 values of `tas`"),
        (&["--set", "data.history=200"], 1, "too few for history 200"),
        (
            &["--set", "model={kind: lstm, hidden: 4}"],
            1,
            "the model does not fit the data: the model takes inputs of shape (samples, steps, 10)",
        ),
    ];
    let ranks = if has_mpirun() { 2 } else { 1 };
    for (words, code, expected) in cases {
        let output = case.alone(words);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(expected), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!case.path("model.safetensors").exists());
    }
    if ranks == 2 {
        let output = case.ranks(2, &["--set", &missing]);
        let said = stderr(&output);
        assert!(!output.status.success());
        assert_eq!(said.matches("mizar train:").count(), 1, "{said}");
    }
    let masked = case.alone(&[
        "--set",
        &missing,
        "--set",
        "data.missing=mask",
        "--epochs",
        "1",
    ]);
    succeeded(&masked);
}

#[test]
fn the_checked_configuration_is_one() {
    let case = Case::new();
    let output = case.alone(&["--check", "--set", "train.ema=0.9"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("ema = 0.9") && text.contains("batch_size = 8"),
        "{text}"
    );
    std::fs::write(case.path("checked.toml"), &text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
    command
        .arg("train")
        .arg(case.path("checked.toml"))
        .arg("--check");
    assert_eq!(
        String::from_utf8(command.output().unwrap().stdout).unwrap(),
        text
    );
}

#[test]
fn a_signal_stops_with_a_checkpoint_that_is_gone_on_from() {
    use nix::sys::signal::{Signal, kill};

    let case = Case::new();
    let kept = format!("train.checkpoint.dir={}", case.path("kept").display());
    let words = [
        "--set",
        &kept,
        "--set",
        "train.resume=auto",
        "--epochs",
        "100000",
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
    command.args(case.arguments(&words)).stderr(Stdio::piped());
    let run = command.spawn().unwrap();
    // The log tells that it is under way.
    let log = case.path("model.jsonl");
    let is_under_way = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("\"event\":\"step\"")
    };
    let began = std::time::Instant::now();
    while !is_under_way() {
        assert!(began.elapsed().as_secs() < 60, "it does not begin");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let id = nix::unistd::Pid::from_raw(i32::try_from(run.id()).unwrap());
    kill(id, Signal::SIGTERM).unwrap();
    let output = run.wait_with_output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("goes on from"), "{said}");
    assert!(!case.path("model.safetensors").exists());
    let done = case.log("step").last().unwrap()["step"].as_u64().unwrap();
    let epochs = case.log("step").last().unwrap()["epoch"].as_u64().unwrap() + 2;

    let epochs = epochs.to_string();
    let words = [
        "--set",
        &kept,
        "--set",
        "train.resume=auto",
        "--epochs",
        &epochs,
        "--json",
    ];
    let output = case.alone(&words);
    let summary = succeeded(&output);
    assert!(
        stderr(&output).contains(&format!("(step {done})")),
        "{}",
        stderr(&output)
    );
    assert!(summary["steps"].as_u64().unwrap() > done);
}
