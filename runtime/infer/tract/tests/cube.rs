//! Models over cubes, on threads as ranks: blending, windows, missing values, failed items.
//! Golden fields are NumPy's and ONNX Runtime's (`runtime/infer/tests/models/make.py`).
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::{Path, PathBuf};

use mizar_array::dataset::{Attributes, DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{Format, WriteOptions, Writer};
use mizar_comm::{Single, run_threads};
use mizar_infer::cube::{Align, InferError, Layout, Missing, Options, Outcome, infer};
use mizar_infer::{Loader, Provider, Scaling, npy};
use mizar_infer_tract::Tract;

fn model(name: &str) -> PathBuf {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models");
    Path::new(models).join(name)
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).into()));
    pairs.collect()
}

/// Writes fields of (time, lat, lon) with coordinates.
fn write(path: &Path, shape: [usize; 3], variables: &[(&str, Vec<f32>)]) {
    let names = ["time", "lat", "lon"];
    let units = ["days since 2000-01-01", "degrees_north", "degrees_east"];
    let dimension = |(name, len): (&str, usize)| Dimension {
        name: name.to_owned(),
        len,
        unlimited: false,
    };
    let mut dataset = Dataset {
        dimensions: names.into_iter().zip(shape).map(dimension).collect(),
        attributes: attributes(&[("title", "fields of a test"), ("history", "made")]),
        ..Dataset::default()
    };
    for (dim, name) in names.iter().enumerate() {
        dataset.variables.push(Variable {
            name: (*name).to_owned(),
            dtype: DType::F64,
            dims: vec![dim],
            attributes: attributes(&[("units", units[dim])]),
        });
    }
    for (name, _) in variables {
        dataset.variables.push(Variable {
            name: (*name).to_owned(),
            dtype: DType::F32,
            dims: vec![0, 1, 2],
            attributes: attributes(&[("units", "K"), ("long_name", "something")]),
        });
    }
    let options = WriteOptions {
        format: Format::of_name(path),
        ..WriteOptions::default()
    };
    let mut writer = Writer::create(path, &dataset, &options).unwrap();
    for (dim, len) in shape.into_iter().enumerate() {
        let values: Vec<f64> = (0..len).map(|i| i as f64 * 1.5).collect();
        writer.write_f64(dim, &dataset.whole(dim), &values).unwrap();
    }
    for (index, (_, values)) in variables.iter().enumerate() {
        let whole = dataset.whole(3 + index);
        writer.write_f32(3 + index, &whole, values).unwrap();
    }
    writer.commit().unwrap();
}

fn noise(count: usize) -> Vec<f32> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 1000.0
    };
    (0..count).map(|_| next()).collect()
}

fn values(path: &Path, name: &str) -> Vec<f64> {
    let source = Source::open(path).unwrap();
    let index = source.dataset().variable_index(name);
    let known = || format!("{name} in {:?}", source.dataset().variables);
    source
        .read_whole(index.unwrap_or_else(|| panic!("{}", known())))
        .unwrap()
}

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new(shape: [usize; 3], variables: &[(&str, Vec<f32>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("in.nc"), shape, variables);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, name: &str, output: &str, options: &Options) -> Result<Outcome, InferError> {
        let loader = Loader::new(1, Provider::Cpu).with(Tract);
        let mut loaded = loader.open(&model(name)).unwrap();
        let (input, output) = (self.path("in.nc"), self.path(output));
        infer(&Single, &input, &output, &mut loaded, options, &|_, _| {})
    }
}

fn options() -> Options {
    Options {
        history: "today mizar infer".to_owned(),
        threads: 1,
        ..Options::default()
    }
}

#[test]
fn identity_and_constant_are_exact_whatever_the_tiles() {
    let shape = [3, 37, 50];
    let field = noise(3 * 37 * 50);
    let case = Case::new(shape, &[("tas", field.clone())]);
    for (tile, halo, wrap) in [
        (None, (0, 0), false),
        (Some((16, 16)), (3, 5), false),
        (Some((16, 16)), (3, 5), true),
        (Some((9, 64)), (4, 2), true),
        (Some((64, 64)), (8, 8), false),
    ] {
        let options = Options {
            tile,
            halo,
            wrap,
            ..options()
        };
        let outcome = case.run("identity.onnx", "out.nc", &options).unwrap();
        assert_eq!(outcome.failed, 0);
        let found = values(&case.path("out.nc"), "tas");
        let same = |(found, expected): (&f64, &f32)| *found == f64::from(*expected);
        assert!(
            found.iter().zip(&field).all(same),
            "{tile:?} {halo:?} {wrap}"
        );
        case.run("constant.onnx", "out.nc", &options).unwrap();
        let found = values(&case.path("out.nc"), "tas");
        assert!(
            found.iter().all(|value| *value == f64::from(3.7_f32)),
            "{tile:?}"
        );
    }
}

#[test]
fn blended_tiles_are_those_of_numpy() {
    let array = npy::read_one(&model("tiles_in.npy"))
        .unwrap()
        .into_values()
        .into_f32();
    let (shape, plane) = ([2, 30, 41], 30 * 41);
    let of = |channel: usize| -> Vec<f32> {
        let steps = (0..2).map(|step| (step * 2 + channel) * plane);
        steps
            .flat_map(|start| array[start..start + plane].to_vec())
            .collect()
    };
    let case = Case::new(shape, &[("wind", of(1)), ("tas", of(0))]);
    // Tile, variables, scaling and the name of the output are the model's.
    let options = Options {
        halo: (3, 3),
        ..options()
    };
    case.run("conv.onnx", "out.nc", &options).unwrap();
    let found = values(&case.path("out.nc"), "risk");
    let expected = npy::read_one(&model("tiles_out.npy"))
        .unwrap()
        .values()
        .to_f64();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 5e-6, "{found} for {expected}");
    }
}

#[test]
fn the_output_says_how_it_was_made_and_keeps_coordinates() {
    let case = Case::new([2, 4, 5], &[("tas", noise(40))]);
    for output in ["out.nc", "out.zarr"] {
        case.run("identity.onnx", output, &options()).unwrap();
        let source = Source::open(&case.path(output)).unwrap();
        let attributes = &source.dataset().attributes;
        let bytes = std::fs::read(model("identity.onnx")).unwrap();
        let digest = mizar_infer::digest(&bytes);
        assert_eq!(attributes.get_text("mizar_model_sha256"), Some(&*digest));
        assert_eq!(attributes.get_text("mizar_model"), Some("identity.onnx"));
        assert_eq!(
            attributes.get_text("mizar_backend"),
            Some("tract 0.23, cpu")
        );
        let window = "NCHW of 1 step, tiles of 4 x 5 cells";
        assert_eq!(attributes.get_text("mizar_window"), Some(window));
        assert_eq!(
            attributes.get_text("history"),
            Some("today mizar infer\nmade")
        );
        assert_eq!(values(&case.path(output), "lat"), [0.0, 1.5, 3.0, 4.5]);
        let tas = source.dataset().variable("tas").unwrap();
        assert_eq!(tas.attributes.get_text("long_name"), Some("something"));
    }
}

#[test]
fn ranks_change_no_bit() {
    let shape = [7, 40, 45];
    let case = Case::new(
        shape,
        &[("tas", noise(7 * 40 * 45)), ("wind", noise(7 * 40 * 45))],
    );
    let options = Options {
        halo: (4, 4),
        ..options()
    };
    let mut results = Vec::new();
    for ranks in 1..=3 {
        let output = case.path(&format!("out{ranks}.nc"));
        let outcomes = run_threads(ranks, |comm| {
            let loader = Loader::new(1, Provider::Cpu).with(Tract);
            let mut loaded = loader.open(&model("conv.onnx")).unwrap();
            let input = case.path("in.nc");
            infer(comm, &input, &output, &mut loaded, &options, &|_, _| {}).unwrap()
        });
        // Four rows and six columns of tiles, of two neighbours half the tile.
        assert_eq!(outcomes[0].items, 7 * 4 * 5, "{ranks} ranks");
        let bits: Vec<u64> = values(&output, "risk")
            .iter()
            .map(|v| v.to_bits())
            .collect();
        results.push(bits);
    }
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
}

#[test]
fn every_cell_is_a_series() {
    let (steps, cells) = (8, 6);
    let case = Case::new([steps, 2, 3], &[("a", noise(48)), ("b", noise(48))]);
    let scaled = |mean: f64| Scaling::parse(&format!("{mean}:5000"), "x").unwrap();
    let options = Options {
        normalise: Some(scaled(9000.0)),
        outputs: vec!["runoff:mm".to_owned()],
        align: Align::Last,
        ..options()
    };
    let outcome = case.run("series.onnx", "out.nc", &options).unwrap();
    assert_eq!((outcome.items, outcome.failed), (4 * 6, 0));
    assert_eq!(values(&case.path("out.nc"), "time"), [6.0, 7.5, 9.0, 10.5]);
    let found = values(&case.path("out.nc"), "runoff");
    // The same by hand: window 2, cell 4.
    let field = noise(48);
    let (window, cell) = (2, 4);
    let mut item = Vec::new();
    for step in window..window + 5 {
        let value = f64::from(field[step * cells + cell]);
        item.extend([((value - 9000.0) / 5000.0) as f32; 2]);
    }
    let mut loaded = Loader::new(1, Provider::Cpu)
        .with(Tract)
        .open(&model("series.onnx"))
        .unwrap();
    let item = mizar_infer::Tensor::new(vec![1, 5, 2], mizar_infer::Values::F32(item)).unwrap();
    let expected = loaded.model.run(&[item]).unwrap()[0].values().to_f64()[0];
    assert!((found[window * cells + cell] - expected).abs() < 1e-6);
}

#[test]
fn missing_values_are_refused_filled_or_masked() {
    let mut field = noise(24);
    field[17] = f32::NAN;
    let case = Case::new([2, 3, 4], &[("tas", field.clone())]);
    let run = |missing| {
        let options = Options {
            missing,
            ..options()
        };
        let outcome = case.run("identity.onnx", "out.nc", &options)?;
        assert_eq!(outcome.failed, 0);
        Ok(values(&case.path("out.nc"), "tas"))
    };
    let refused: Result<Vec<f64>, InferError> = run(Missing::Refuse);
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("first at step 1, row 1, column 1"),
        "{message}"
    );
    assert!(!case.path("out.nc").exists());
    assert_eq!(run(Missing::Fill(-5.0)).unwrap()[17], -5.0);
    let masked = run(Missing::Mask).unwrap();
    assert!(masked[17].is_nan());
    assert_eq!(masked.iter().filter(|value| value.is_nan()).count(), 1);
}

#[test]
fn items_that_fail_are_named_counted_and_missing() {
    // A value of 3 is a place of the table, 1000 makes the run of its whole batch fail.
    let mut field = vec![3.0; 12];
    field[7] = 1000.0;
    let case = Case::new([1, 3, 4], &[("place", field)]);
    let outcome = case.run("table.onnx", "out.nc", &options()).unwrap();
    assert_eq!((outcome.items, outcome.failed), (12, 1));
    let failure = &outcome.failures[0];
    assert_eq!(
        (failure.steps.clone(), failure.rows.clone(), failure.columns),
        (0..1, 1..2, (3, 4))
    );
    let found = values(&case.path("out.nc"), "place");
    assert!(found[7].is_nan());
    assert_eq!(found.iter().filter(|value| **value == 30.0).count(), 11);

    // A root of a negative number is none.
    let mut field = vec![4.0; 12];
    field[5] = -1.0;
    let case = Case::new([1, 3, 4], &[("tas", field)]);
    let outcome = case.run("root.onnx", "out.nc", &options()).unwrap();
    assert_eq!((outcome.items, outcome.failed), (1, 1));
    assert!(
        outcome.failures[0].reason.contains("1 values"),
        "{outcome:?}"
    );
    assert!(values(&case.path("out.nc"), "tas")[5].is_nan());
}

#[test]
fn a_batch_of_fixed_size_is_filled_up() {
    let fields: Vec<(&str, Vec<f32>)> = ["a", "b", "c", "d"].map(|name| (name, noise(5))).into();
    let case = Case::new([1, 1, 5], &fields);
    let free = case.run("mlp.onnx", "free.nc", &options()).unwrap();
    let fixed = case
        .run("mlp_batch_3.onnx", "fixed.nc", &options())
        .unwrap();
    assert_eq!((free.items, fixed.items, fixed.batch), (5, 5, 3));
    for name in ["y_1", "y_2"] {
        let (free, fixed) = (
            values(&case.path("free.nc"), name),
            values(&case.path("fixed.nc"), name),
        );
        for (free, fixed) in free.iter().zip(&fixed) {
            assert!((free - fixed).abs() <= 1e-3 * free.abs(), "{free} {fixed}");
        }
    }
}

#[test]
fn what_does_not_fit_is_told_with_what_would() {
    let case = Case::new([2, 30, 40], &[("tas", noise(2400))]);
    let message = |name: &str, options: Options| {
        let error = case.run(name, "out.nc", &options).unwrap_err();
        assert!(!case.path("out.nc").exists());
        error.to_string()
    };
    let plain = message("mlp.onnx", options());
    assert!(plain.contains("takes 4 channels"), "{plain}");
    let absent = Options {
        variables: vec!["pr".to_owned()],
        ..options()
    };
    assert!(message("identity.onnx", absent).contains("no data variable `pr`; it has tas"));
    let halo = Options {
        tile: Some((10, 10)),
        halo: (5, 5),
        ..options()
    };
    assert!(message("identity.onnx", halo).contains("less than half"));
    let layout = Options {
        layout: Some(Layout::parse("NTC").unwrap()),
        ..options()
    };
    assert!(message("identity.onnx", layout).contains("has 3 letters"));
    let short = Options {
        variables: vec!["tas".to_owned()],
        ..options()
    };
    let short = message("series.onnx", short);
    assert!(short.contains("takes 2 channels"), "{short}");
}
