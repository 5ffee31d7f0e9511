//! Models of `mizar train` over arrays and on the warm server: the numbers of the cube path to the last
//! bit, and NumPy's.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mizar_array::storage::Source;
use mizar_infer::npy::{self, Arrays};
use mizar_infer::{Tensor, Values, client};
use serde_json::json;
use serving::Server;
use wave::{CELLS, COLUMNS, ROWS, STEPS, is_sea, write_cube};

mod serving;
mod wave;

/// Fields as anomalies, relative to persistence, one month ahead.
const UNET: &str = "
model: {kind: unet, width: 4, depth: 1, edges: globe, activation: silu}
data: {files: [FOLDER/tas.nc], inputs: [tas], targets: [tas], history: 3, lead: 1,
       anomalies: true, relative_to: persistence}
train: {epochs: 1, batch_size: 8, learning_rate: 0.01, seed: 5}
output: {model: FOLDER/model.safetensors}
";

/// Cells with a mask, as anomalies or not, two months ahead.
const MLP: &str = "
model: {kind: mlp, hidden: [6], activation: tanh}
data: {files: [FOLDER/tas.nc], inputs: [tas], targets: [tas], sample: cell, history: 4, lead: 2,
       missing: mask, anomalies: ANOMALIES}
train: {epochs: 1, batch_size: 256, learning_rate: 0.01, seed: 5}
output: {model: FOLDER/model.safetensors}
";

/// Arrays: what goes in has two dimensions.
const ARRAYS: &str = "
model: {kind: mlp, hidden: [6], activation: tanh}
data: {arrays: [FOLDER/samples.npz]}
train: {epochs: 1, batch_size: 16, learning_rate: 0.01, seed: 5}
output: {model: FOLDER/model.safetensors}
";

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn of_cube(config: &str, is_missing: impl Fn(usize) -> bool) -> Self {
        let case = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        write_cube(&case.path("tas.nc"), is_missing);
        case.train(config);
        let output = case.infer(&["-i", "tas.nc", "-o", "cube.nc"]);
        assert!(output.status.success(), "{}", said(&output));
        case
    }

    fn train(&self, config: &str) -> String {
        let config = config.replace("FOLDER", &self.folder.path().display().to_string());
        std::fs::write(self.path("train.yaml"), config).unwrap();
        let output = self.mizar(&["train", "train.yaml", "--quiet"]);
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn mizar(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
        command.args(words).current_dir(self.folder.path());
        command.output().unwrap()
    }

    fn infer(&self, words: &[&str]) -> Output {
        self.mizar(&[&["infer", "model.safetensors"], words].concat())
    }

    fn serve(&self) -> Server {
        Server::start(&[self.path("model.safetensors").to_str().unwrap()], &[])
    }

    fn write(&self, name: &str, arrays: &[(&str, &Tensor)]) {
        npy::write(&self.path(name), arrays).unwrap();
    }

    fn array(&self, name: &str) -> Tensor {
        match npy::read(&self.path(name)).unwrap() {
            Arrays::One(array) => array,
            Arrays::Named(mut named) => named.remove(0).1,
        }
    }

    /// The whole of `tas` in a file.
    fn tas(&self, name: &str) -> Vec<f32> {
        let source = Source::open(&self.path(name)).unwrap();
        let index = source.dataset().variable_index("tas").unwrap();
        let values = source.read_whole(index).unwrap();
        values.into_iter().map(|value| value as f32).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn floats(shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(shape.to_vec(), Values::F32(values)).unwrap()
}

fn counts(shape: &[usize], values: impl IntoIterator<Item = usize>) -> Tensor {
    let values = values.into_iter().map(|value| value as i64).collect();
    Tensor::new(shape.to_vec(), Values::I64(values)).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// All NaN are one.
fn known_bits(values: &[f32]) -> Vec<Option<u32>> {
    let known = |value: &f32| (!value.is_nan()).then_some(value.to_bits());
    values.iter().map(known).collect()
}

fn month(step: usize) -> usize {
    step % 12 + 1
}

/// Every window of 3 months as a sample; the months of its steps and of its forecast.
fn fields(case: &Case) -> [Tensor; 3] {
    let (rows, tas) = (STEPS - 2, case.tas("tas.nc"));
    let window = |row: usize| tas[row * CELLS..(row + 3) * CELLS].to_vec();
    let months = (0..rows).flat_map(|row| (row..row + 3).map(month));
    [
        floats(
            &[rows, 3, ROWS, COLUMNS],
            (0..rows).flat_map(window).collect(),
        ),
        counts(&[rows, 3], months),
        counts(&[rows], (0..rows).map(|row| month(row + 3))),
    ]
}

#[test]
fn fields_are_those_of_the_cube_path_to_the_last_bit() {
    let case = Case::of_cube(UNET, |_| false);
    let expected = bits(&case.tas("cube.nc"));
    let [tas, months, target] = fields(&case);
    let named = [
        ("forecast_month", &target),
        ("tas", &tas),
        ("month", &months),
    ];
    case.write("in.npz", &named);
    let output = case.infer(&["-i", "in.npz", "-o", "out.npy", "--batch", "50"]);
    assert!(output.status.success(), "{}", said(&output));
    let out = case.array("out.npy");
    assert_eq!(out.shape(), [STEPS - 2, ROWS, COLUMNS]);
    assert_eq!(bits(&out.into_values().into_f32()), expected);

    let server = case.serve();
    let (status, described) = server.get("/v2/models/model");
    assert_eq!(
        (status, &described["platform"]),
        (200, &json!("mizar_safetensors"))
    );
    let inputs = json!([
        { "name": "tas", "datatype": "FP32", "shape": [-1, 3, -1, -1] },
        { "name": "month", "datatype": "INT64", "shape": [-1, 3] },
        { "name": "forecast_month", "datatype": "INT64", "shape": [-1] },
    ]);
    assert_eq!(described["inputs"], inputs);
    let told = &described["parameters"]["metadata"];
    assert_eq!(
        (&told["mizar.outputs"], &told["mizar.lead"]),
        (&json!("tas:K"), &json!("1"))
    );
    let values = told["mizar.values"].as_str().unwrap();
    assert!(
        values.starts_with("physical units in, physical units out"),
        "{values}"
    );

    // A cube by the server: the same file.
    let warm = ["--warm", server.socket.to_str().unwrap()];
    let output = case.infer(&[&warm[..], &["-i", "tas.nc", "-o", "warm.nc"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(bits(&case.tas("warm.nc")), expected);

    // Single samples from several clients at once run together.
    let model = case.path("model.safetensors");
    std::thread::scope(|scope| {
        for first in 0..4 {
            let (server, model, expected) = (&server, &model, &expected);
            let inputs = [&tas, &months, &target];
            scope.spawn(move || {
                let mut remote = client::load(&server.socket, model).unwrap().model;
                for row in (first..STEPS - 2).step_by(4) {
                    let one = inputs.map(|input| input.rows(row..row + 1).unwrap());
                    let out = remote.run(&one).unwrap().remove(0).into_values().into_f32();
                    assert_eq!(
                        bits(&out),
                        expected[row * CELLS..(row + 1) * CELLS],
                        "{row}"
                    );
                }
            });
        }
    });

    // What does not fit is the client's fault, and says why.
    let mut remote = client::load(&server.socket, &model).unwrap().model;
    let some = |rows: usize| [tas.rows(0..rows), months.rows(0..1), target.rows(0..1)];
    let mut refused = |inputs: [Option<Tensor>; 3], part: &str| {
        let error = remote
            .run(&inputs.map(Option::unwrap))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("refuses (400)") && error.contains(part),
            "{error}"
        );
    };
    refused(some(2), "`month`: 1 samples, but `tas` has 2");
    let odd = Some(counts(&[1, 3], [1, 2, 13]));
    refused(
        [some(1)[0].clone(), odd, some(1)[2].clone()],
        "13 is no month",
    );
    let small = Some(floats(&[1, 3, 2, 5], vec![280.0; 30]));
    refused(
        [small, some(1)[1].clone(), some(1)[2].clone()],
        "its fields have 10 cells",
    );
    let hole = Some(floats(&[1, 3, ROWS, COLUMNS], vec![f32::NAN; 3 * CELLS]));
    refused(
        [hole, some(1)[1].clone(), some(1)[2].clone()],
        "sample 0 has a missing value",
    );
}

/// Cells of every window of 4 months, in the order in which the file has them; months; places.
fn cells(case: &Case) -> [Tensor; 4] {
    let (rows, tas) = (STEPS - 3, case.tas("tas.nc"));
    let all = || (0..rows * CELLS).map(|sample| (sample / CELLS, sample % CELLS));
    let series = |(row, cell): (usize, usize)| {
        let tas = &tas;
        (row..row + 4).map(move |step| tas[step * CELLS + cell])
    };
    [
        floats(&[rows * CELLS, 4], all().flat_map(series).collect()),
        counts(
            &[rows * CELLS, 4],
            all().flat_map(|(row, _)| (row..row + 4).map(month)),
        ),
        counts(&[rows * CELLS], all().map(|(row, _)| month(row + 5))),
        counts(&[rows * CELLS], all().map(|(_, cell)| cell)),
    ]
}

#[test]
fn masked_cells_are_those_of_the_cube_path_and_of_numpy() {
    for anomalies in ["true", "false"] {
        let case = Case::of_cube(&MLP.replace("ANOMALIES", anomalies), is_sea);
        let expected = known_bits(&case.tas("cube.nc"));
        let [tas, months, target, place] = cells(&case);
        let rows = tas.shape()[0];
        match anomalies {
            "true" => {
                let named = [
                    ("tas", &tas),
                    ("month", &months),
                    ("forecast_month", &target),
                ];
                case.write("in.npz", &[&named[..], &[("cell", &place)]].concat());
            }
            _ => case.write("in.npz", &[("tas", &tas)]),
        }
        let warm = case.serve();
        for more in [&[][..], &["--warm", warm.socket.to_str().unwrap()]] {
            let words = ["-i", "in.npz", "-o", "out.npz"];
            let output = case.infer(&[&words[..], more].concat());
            assert!(output.status.success(), "{}", said(&output));
            let out = case.array("out.npz");
            assert_eq!(out.shape(), [rows]);
            let found = known_bits(&out.into_values().into_f32());
            assert_eq!(
                found.iter().filter(|bits| bits.is_none()).count(),
                rows / ROWS
            );
            assert_eq!(found, expected, "{more:?}");
        }
        if anomalies == "false" {
            numpy(&case, "in.npz", "out.npz");
        }
    }
}

/// The same network computed by NumPy alone.
fn numpy(case: &Case, input: &str, output: &str) {
    let Some(python) = mizar_lab::venv::python_with("numpy") else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/infer_arrays.py");
    let mut command = Command::new(python);
    command.arg(script).current_dir(case.folder.path());
    let output = command
        .args(["model.safetensors", input, output])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn models_of_arrays_are_those_of_numpy_wherever_they_run() {
    let case = Case {
        folder: tempfile::tempdir().unwrap(),
    };
    let values: Vec<f32> = (0..90 * 6)
        .map(|i| ((i * i % 97) as f32 - 48.0) / 20.0)
        .collect();
    let sums = values
        .chunks(6)
        .flat_map(|six| [six[0] + six[3], six[1] * six[5]]);
    let targets = floats(&[90, 2], sums.collect());
    let inputs = floats(&[90, 2, 3], values);
    case.write("samples.npz", &[("inputs", &inputs), ("targets", &targets)]);
    case.train(ARRAYS);
    case.write("x.npy", &[("", &inputs)]);
    let server = case.serve();
    let (_, described) = server.get("/v2/models/model");
    assert_eq!(described["inputs"][0]["shape"], json!([-1, 2, 3]));
    assert_eq!(described["outputs"][0]["shape"], json!([-1, 2]));
    let told = &described["parameters"]["metadata"]["mizar.values"];
    assert!(told.as_str().unwrap().contains("arrays"), "{told}");
    let mut all = Vec::new();
    for (input, more) in [
        ("x.npy", &[][..]),
        ("samples.npz", &[]),
        ("x.npy", &["--batch", "7"]),
        ("x.npy", &["--warm", server.socket.to_str().unwrap()]),
    ] {
        let output = case.infer(&[&["-i", input, "-o", "y.npz"], more].concat());
        assert!(output.status.success(), "{}", said(&output));
        numpy(&case, "samples.npz", "y.npz");
        all.push(bits(&case.array("y.npz").into_values().into_f32()));
    }
    assert!(all.iter().all(|one| *one == all[0]), "batches change bits");

    let refused = |words: &[&str], part: &str| {
        let output = case.infer(words);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(part), "{}", said(&output));
        assert!(!case.path("z.npy").exists());
    };
    write_cube(&case.path("tas.nc"), |_| false);
    refused(
        &["-i", "tas.nc", "-o", "z.nc"],
        "it was trained on arrays: give it such",
    );
    let files = ["-i", "x.npy", "-o", "z.npy"];
    let with = |more: [&'static str; 2]| [&files[..], &more].concat();
    refused(
        &with(["--backend", "tract"]),
        "run by burn alone, not by tract: leave out --backend",
    );
    refused(
        &with(["--provider", "cuda"]),
        "not on cuda: leave out --provider",
    );
    refused(&with(["--tile", "4x4"]), "says itself what it sees");
    refused(&with(["--plot", "z.png"]), "not of arrays");
    case.write("x.npy", &[("", &targets)]);
    refused(
        &files,
        "input `inputs` takes the shape [?, 2, 3], not [90, 2]",
    );
    case.write("odd.npz", &[("x", &inputs)]);
    refused(
        &["-i", "odd.npz", "-o", "z.npy"],
        "there is no array `inputs`",
    );
    std::fs::write(case.path("cut.npz"), b"PK").unwrap();
    refused(&["-i", "cut.npz", "-o", "z.npy"], "no archive of NumPy");
}

#[test]
fn months_that_a_climatology_lacks_are_named() {
    let case = Case {
        folder: tempfile::tempdir().unwrap(),
    };
    write_cube(&case.path("all.nc"), |_| false);
    let cut = case.mizar(&["cube", "-seltimestep,1/10", "all.nc", "tas.nc"]);
    assert!(cut.status.success(), "{}", said(&cut));
    // Ten months are learnt from.
    let trained = case.train(&UNET.replace("persistence}", "persistence, validation: 0.0}"));
    let months = "November and December";
    assert!(
        trained.contains(&format!("warning: the training period has no {months}")),
        "{trained}"
    );
    let output = case.infer(&["-i", "all.nc", "-o", "out.nc"]);
    assert!(output.status.success(), "{}", said(&output));
    let warning = format!("warning: the model was trained without any {months}");
    assert_eq!(
        said(&output).matches(&warning).count(),
        1,
        "{}",
        said(&output)
    );
    let forecast = case.tas("out.nc");
    // The first is of April, the eighth of November.
    assert!(forecast[..7 * CELLS].iter().all(|value| value.is_finite()));
    assert!(
        forecast[7 * CELLS..8 * CELLS]
            .iter()
            .all(|value| value.is_nan())
    );
    let server = case.serve();
    let (_, described) = server.get("/v2/models/model");
    let note = described["parameters"]["notes"][0].as_str().unwrap();
    assert!(note.contains(months), "{note}");
}
