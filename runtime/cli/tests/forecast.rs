//! `mizar infer` of models that `mizar train` made: what it writes is what training measured.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]
#![allow(clippy::cast_precision_loss, reason = "small numbers")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mizar_array::storage::Source;
use mizar_models::Model;
use serde_json::Value;
use wave::{CELLS, STEPS, is_sea, write_cube};

mod wave;

/// Fields as anomalies, relative to persistence, one month ahead.
const UNET: &str = "
model: {kind: unet, width: 4, depth: 1, edges: globe, activation: silu}
data: {files: [FOLDER/tas.nc], inputs: [tas], targets: [tas], history: 3, lead: 1,
       anomalies: true, relative_to: persistence}
train: {epochs: 2, batch_size: 8, learning_rate: 0.01, seed: 5}
output: {model: FOLDER/model.safetensors}
";

/// Cells with a mask, two months ahead.
const MLP: &str = "
model: {kind: mlp, hidden: [6], activation: tanh}
data: {files: [FOLDER/tas.nc], inputs: [tas], targets: [tas], sample: cell, history: 4, lead: 2,
       missing: mask, operators: ['addc,1']}
train: {epochs: 2, batch_size: 256, learning_rate: 0.01, seed: 5}
output: {model: FOLDER/model.safetensors}
";

struct Case {
    folder: tempfile::TempDir,
    /// What training printed.
    trained: Value,
}

impl Case {
    fn new(config: &str, is_missing: impl Fn(usize) -> bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_cube(&folder.path().join("tas.nc"), is_missing);
        let config = config.replace("FOLDER", &folder.path().display().to_string());
        let path = folder.path().join("train.yaml");
        std::fs::write(&path, config).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_mizar"))
            .args(["train", path.to_str().unwrap(), "--json", "--quiet"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let trained = serde_json::from_slice(&output.stdout).unwrap();
        Self { folder, trained }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn infer(&self, mut command: Command, input: &str, output: &str, more: &[&str]) -> Output {
        command.arg("infer").arg(self.path("model.safetensors"));
        command.arg("-i").arg(self.path(input));
        command.arg("-o").arg(self.path(output));
        command.args(more).output().unwrap()
    }

    fn alone(&self, input: &str, output: &str, more: &[&str]) -> Output {
        self.infer(
            Command::new(env!("CARGO_BIN_EXE_mizar")),
            input,
            output,
            more,
        )
    }

    /// The loss of a forecast over the steps of validation, in its units.
    fn validation_loss(&self, output: &str, (history, lead): (usize, usize), add: f64) -> f64 {
        let model = Model::load(&self.path("model.safetensors")).unwrap();
        let std = model.header.outputs[0].std;
        let (truth, forecast) = (read(&self.path("tas.nc")), read(&self.path(output)));
        let begin = STEPS - STEPS.div_ceil(5);
        let offset = history - 1 + lead;
        let errors: Vec<f64> = (begin * CELLS..STEPS * CELLS)
            .filter(|&index| !truth[index].is_nan())
            .map(|index| (forecast[index - offset * CELLS] - truth[index] - add) / std)
            .collect();
        errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64
    }
}

fn read(path: &Path) -> Vec<f64> {
    let source = Source::open(path).unwrap();
    let index = source.dataset().variable_index("tas").unwrap();
    source.read_whole(index).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn fields_have_the_loss_that_training_printed_on_any_number_of_ranks() {
    let case = Case::new(UNET, |_| false);
    let picture = case.path("last.png");
    let output = case.alone(
        "tas.nc",
        "one.nc",
        &["--json", "--plot", picture.to_str().unwrap()],
    );
    assert!(output.status.success(), "{}", said(&output));
    let trained = case.trained["validation_loss"].as_f64().unwrap();
    let found = case.validation_loss("one.nc", (3, 1), 0.0);
    assert!((found / trained - 1.0).abs() < 1e-5, "{found} {trained}");

    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["steps"], STEPS - 2);
    assert_eq!(summary["steps_past_the_end"], 1);
    assert_eq!(summary["digest"], case.trained["digest"]);
    let skill = &summary["skill"][0];
    assert_eq!(skill["values"], ((STEPS - 3) * CELLS) as u64);
    let rmse = |of: usize| skill["rmse"][of]["rmse"].as_f64().unwrap();
    assert_eq!(skill["rmse"][1]["forecast"], "persistence");
    // The wave moves on by a column: what persistence misses is known.
    let truth = read(&case.path("tas.nc"));
    let missed: f64 = (3 * CELLS..STEPS * CELLS)
        .map(|index| (truth[index] - truth[index - CELLS]).powi(2))
        .sum();
    let persistence = (missed / ((STEPS - 3) * CELLS) as f64).sqrt();
    assert!((rmse(1) / persistence - 1.0).abs() < 1e-5);
    assert!(rmse(0) < rmse(1), "{skill}");
    assert_eq!(&std::fs::read(&picture).unwrap()[1..4], b"PNG");

    let source = Source::open(&case.path("one.nc")).unwrap();
    let dataset = source.dataset();
    let time = source.read_whole(dataset.variable_index("time").unwrap());
    let expected: Vec<f64> = (3..=STEPS).map(|month| month as f64).collect();
    assert_eq!(time.unwrap(), expected);
    let digest = dataset.attributes.get_text("mizar_model_sha256");
    assert_eq!(digest, case.trained["digest"].as_str());
    let tas = dataset.variable("tas").unwrap();
    assert_eq!(tas.attributes.get_text("units"), Some("K"));

    if mizar_lab::has_mpirun() {
        let two = mizar_lab::mpirun_command(2, &[], Path::new(env!("CARGO_BIN_EXE_mizar")));
        let output = case.infer(two, "tas.nc", "two.nc", &[]);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(read(&case.path("two.nc")), read(&case.path("one.nc")));
    }
}

#[test]
fn masked_cells_of_an_mlp_are_those_of_numpy() {
    let case = Case::new(MLP, is_sea);
    let output = case.alone("tas.nc", "out.nc", &[]);
    assert!(output.status.success(), "{}", said(&output));
    let trained = case.trained["validation_loss"].as_f64().unwrap();
    let found = case.validation_loss("out.nc", (4, 2), 1.0);
    assert!((found / trained - 1.0).abs() < 1e-5, "{found} {trained}");
    let forecast = read(&case.path("out.nc"));
    assert_eq!(forecast.len(), (STEPS - 3) * CELLS);
    for (index, value) in forecast.iter().enumerate() {
        assert_eq!(value.is_nan(), is_sea(index), "{index}");
    }
    let Some(python) = mizar_lab::venv::python_with("netCDF4, numpy") else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forecast_mlp.py");
    let mut numpy = Command::new(python);
    numpy.arg(script).arg(case.path("model.safetensors"));
    let output = numpy
        .args([case.path("tas.nc"), case.path("out.nc")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let case = Case::new(UNET, |_| false);
    let refused = |input: &str, more: &[&str], part: &str| {
        let output = case.alone(input, "out.nc", more);
        assert!(!output.status.success(), "{part}");
        let text = said(&output);
        assert!(text.contains(part), "{text:?} lacks {part:?}");
        assert!(!text.contains("panicked"), "{text}");
        assert!(!case.path("out.nc").exists());
    };
    let cube = |words: &[&str], output: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
        command.arg("cube").args(words);
        command.arg(case.path("tas.nc")).arg(case.path(output));
        assert!(command.status().unwrap().success());
    };
    cube(&["-setunit,degC"], "units.nc");
    refused(
        "units.nc",
        &[],
        "`tas` is in `degC`, and the model knows it in `K`",
    );
    cube(&["-chname,tas,ts"], "name.nc");
    refused("name.nc", &[], "has no variable `tas`");
    cube(&["-selindexbox,1,4,1,4"], "part.nc");
    refused(
        "part.nc",
        &[],
        "16 cells, but the model's climatology of `tas` has 60",
    );
    cube(&["-seltimestep,1,2"], "short.nc");
    refused(
        "short.nc",
        &[],
        "it has 2 steps, and the model looks back on 3",
    );
    refused("no.nc", &[], "no.nc");
    refused("tas.nc", &["--tile", "4x4"], "says itself what it sees");
    write_cube(&case.path("hole.nc"), |index| index == 50 * CELLS);
    refused("hole.nc", &[], "the first at step 50");
    let output = case.alone("tas.nc", "tas.nc", &[]);
    assert!(
        said(&output).contains("is the input too"),
        "{}",
        said(&output)
    );

    let model = std::fs::read(case.path("model.safetensors")).unwrap();
    let change = |change: &dyn Fn(&mut Model), part: &str| {
        let mut model = Model::load(&case.path("model.safetensors")).unwrap();
        let whole = std::fs::read(case.path("model.safetensors")).unwrap();
        change(&mut model);
        model.save(&case.path("model.safetensors")).unwrap();
        refused("tas.nc", &[], part);
        std::fs::write(case.path("model.safetensors"), whole).unwrap();
    };
    change(&|model| model.header.inputs.clear(), "names no inputs");
    change(
        &|model| model.header.outputs.clear(),
        "names no inputs, outputs",
    );
    change(
        &|model| {
            let two = model.header.outputs[0].clone();
            let second = mizar_models::Channel { channel: 1, ..two };
            model.header.outputs.push(second);
        },
        "`tas` has 1 levels, and the model knows 2",
    );
    change(
        &|model| {
            let (shape, values) = model.climatology.get_mut("tas").unwrap();
            shape[0] = 6;
            values.truncate(values.len() / 2);
        },
        "not by 12 months",
    );
    // A bit of the climatology, and a digit of the header.
    for place in [
        model
            .windows(15)
            .position(|w| w == b"climatology.tas")
            .map(|_| model.len() - 5),
        model
            .windows(8)
            .position(|w| w == b"\\\"std\\\":")
            .map(|at| at + 8),
    ] {
        let mut flipped = model.clone();
        flipped[place.unwrap()] ^= 1;
        std::fs::write(case.path("model.safetensors"), flipped).unwrap();
        refused("tas.nc", &[], "is damaged");
    }
    std::fs::write(case.path("model.safetensors"), &model).unwrap();
    let mut damaged = model.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (bytes, part) in [
        (&model[..model.len() - 8], "no whole safetensors file"),
        (&model[..100], "no whole safetensors file"),
        (b"", "no whole safetensors file"),
    ] {
        std::fs::write(case.path("model.safetensors"), bytes).unwrap();
        refused("tas.nc", &[], part);
    }
    std::fs::write(case.path("model.safetensors"), damaged).unwrap();
    refused("tas.nc", &[], "is damaged");
}

/// Steps of no even distance: there is no date for what lies past the end.
#[test]
fn what_cannot_be_dated_is_left_out_and_said() {
    let case = Case::new(UNET, |_| false);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
    command.args(["cube", "-seltimestep,1/20,22,23,25"]);
    command.arg(case.path("tas.nc")).arg(case.path("gaps.nc"));
    assert!(command.status().unwrap().success());
    let output = case.alone("gaps.nc", "out.nc", &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("1 more could not be dated"),
        "{}",
        said(&output)
    );
    assert_eq!(read(&case.path("out.nc")).len(), 20 * CELLS);
}
