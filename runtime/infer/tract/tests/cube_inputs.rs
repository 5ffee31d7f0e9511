//! Models of several inputs over cubes, and such as give fewer cells than they see. What comes
//! out is plain arithmetic, done again here.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::{Path, PathBuf};

use mizar_array::dataset::{Attributes, DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{WriteOptions, Writer};
use mizar_comm::{Single, run_threads};
use mizar_infer::cube::{Feed, InferError, Missing, Options, Outcome, infer};
use mizar_infer::{Loader, Provider, Scaling};
use mizar_infer_tract::Tract;

const STEPS: usize = 5;
const ROWS: usize = 12;
const COLUMNS: usize = 10;

fn model(name: &str) -> PathBuf {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models");
    Path::new(models).join(name)
}

fn tas(step: usize, row: usize, column: usize) -> f32 {
    (step * 1000 + row * 17 + column * 3) as f32
}

fn orog(row: usize, column: usize) -> f32 {
    (row * 5 + column) as f32 * 0.5
}

/// A folder with `in.nc`: tas (time, lat, lon), orog (lat, lon), and a series over (time).
fn case() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let names = [("time", STEPS), ("lat", ROWS), ("lon", COLUMNS)];
    let units = ["days since 2000-01-01", "degrees_north", "degrees_east"];
    let variable = |name: &str, dtype, dims: &[usize], units: &str| Variable {
        name: name.to_owned(),
        dtype,
        dims: dims.to_vec(),
        attributes: Attributes::from_iter([("units".to_owned(), units.into())]),
    };
    let dimension = |(name, len): (&str, usize)| Dimension {
        name: name.to_owned(),
        len,
        unlimited: false,
    };
    let mut variables: Vec<Variable> = (0..3)
        .map(|dim| variable(names[dim].0, DType::F64, &[dim], units[dim]))
        .collect();
    variables.push(variable("orog", DType::F32, &[1, 2], "m"));
    variables.push(variable("tas", DType::F32, &[0, 1, 2], "K"));
    variables.push(variable("co2", DType::F32, &[0], "1e-6"));
    let dataset = Dataset {
        dimensions: names.into_iter().map(dimension).collect(),
        variables,
        ..Dataset::default()
    };
    let path = folder.path().join("in.nc");
    let mut writer = Writer::create(&path, &dataset, &WriteOptions::default()).unwrap();
    for (dim, (_, len)) in names.into_iter().enumerate() {
        let values: Vec<f64> = (0..len).map(|place| place as f64).collect();
        writer.write_f64(dim, &dataset.whole(dim), &values).unwrap();
    }
    let cells = || (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column)));
    let fixed: Vec<f32> = cells().map(|(row, column)| orog(row, column)).collect();
    writer.write_f32(3, &dataset.whole(3), &fixed).unwrap();
    let moving = (0..STEPS).flat_map(|step| cells().map(move |(row, column)| (step, row, column)));
    let moving: Vec<f32> = moving.map(|(s, row, column)| tas(s, row, column)).collect();
    writer.write_f32(4, &dataset.whole(4), &moving).unwrap();
    writer
        .write_f32(5, &dataset.whole(5), &[0.0; STEPS])
        .unwrap();
    writer.commit().unwrap();
    folder
}

fn run(folder: &Path, name: &str, options: &Options) -> Result<Outcome, InferError> {
    let mut loaded = Loader::new(1, Provider::Cpu)
        .with(Tract)
        .open(&model(name))
        .unwrap();
    let (input, output) = (folder.join("in.nc"), folder.join("out.nc"));
    infer(&Single, &input, &output, &mut loaded, options, &|_, _| {})
}

fn values(path: &Path, name: &str) -> Vec<f64> {
    let source = Source::open(path).unwrap();
    let index = source.dataset().variable_index(name).unwrap();
    source.read_whole(index).unwrap()
}

/// Compares a field by step, row and column; `None` is missing.
fn check(folder: &Path, name: &str, steps: usize, of: impl Fn(usize, usize, usize) -> Option<f32>) {
    let found = values(&folder.join("out.nc"), name);
    assert_eq!(found.len(), steps * ROWS * COLUMNS);
    for (place, found) in found.iter().enumerate() {
        let (row, column) = (place / COLUMNS % ROWS, place % COLUMNS);
        let step = place / COLUMNS / ROWS;
        match of(step, row, column) {
            Some(expected) => assert_eq!(*found, f64::from(expected), "{step} {row} {column}"),
            None => assert!(found.is_nan(), "{step} {row} {column}: {found}"),
        }
    }
}

fn feeds(texts: &[&str]) -> Vec<Feed> {
    texts
        .iter()
        .map(|text| Feed::parse(text).unwrap())
        .collect()
}

#[test]
fn inputs_take_the_variables_of_their_names_and_static_ones_at_every_step() {
    let folder = case();
    for tile in [None, Some((5, 4))] {
        let options = Options {
            tile,
            halo: (1, 1),
            ..Options::default()
        };
        run(folder.path(), "pair.onnx", &options).unwrap();
        let sum = |step, row, column| Some(tas(step, row, column) + 2.0 * orog(row, column));
        check(folder.path(), "y", STEPS, sum);
    }
    let source = Source::open(&folder.path().join("out.nc")).unwrap();
    let window = source.dataset().attributes.get_text("mizar_window");
    let expected = "tas NCHW, orog NCHW of 1 step, tiles of 5 x 4 cells, halo of 1 x 1 cells, \
                    blended";
    assert_eq!(window, Some(expected));
    assert_eq!(values(&folder.path().join("out.nc"), "lat").len(), ROWS);
}

#[test]
fn a_window_stands_beside_what_is_the_same_at_every_step() {
    let folder = case();
    let options = Options {
        feeds: feeds(&["z=orog", "x:NTCHW=tas"]),
        normalise: Some(Scaling::parse("1:1,0:2", "test").unwrap()),
        ..Options::default()
    };
    run(folder.path(), "window_and_static.onnx", &options).unwrap();
    let expected = |window: usize, row, column| {
        let sum: f32 = (window..window + 3)
            .map(|s| tas(s, row, column) - 1.0)
            .sum();
        Some(sum + orog(row, column) / 2.0)
    };
    check(folder.path(), "y", STEPS - 2, expected);
    assert_eq!(
        values(&folder.path().join("out.nc"), "time"),
        [2.0, 3.0, 4.0]
    );
}

#[test]
fn a_static_variable_may_be_a_channel_beside_others() {
    let folder = case();
    let options = Options {
        variables: vec!["orog".to_owned()],
        ..Options::default()
    };
    run(folder.path(), "identity.onnx", &options).unwrap();
    assert_eq!(
        values(&folder.path().join("out.nc"), "orog").len(),
        ROWS * COLUMNS
    );
    // A run over time needs a variable with time, wherever it stands.
    let options = Options {
        feeds: feeds(&["tas=orog", "orog=tas"]),
        ..Options::default()
    };
    run(folder.path(), "pair.onnx", &options).unwrap();
    let sum = |step, row, column| Some(orog(row, column) + 2.0 * tas(step, row, column));
    check(folder.path(), "y", STEPS, sum);
}

#[test]
fn errors_name_the_input_and_the_variable() {
    let folder = case();
    let message = |name: &str, feed: &[&str], variables: &[&str]| {
        let options = Options {
            feeds: feeds(feed),
            variables: variables.iter().map(|&name| name.to_owned()).collect(),
            ..Options::default()
        };
        let error = run(folder.path(), name, &options).unwrap_err();
        assert!(!folder.path().join("out.nc").exists());
        error.to_string()
    };
    let unnamed = message("window_and_static.onnx", &["x:NTCHW=tas"], &[]);
    assert!(unnamed.starts_with("input `z` of the model: "), "{unnamed}");
    assert!(
        unnamed.ends_with("say which with --feed z=NAME,..."),
        "{unnamed}"
    );
    let absent = message("pair.onnx", &["orog=height"], &[]);
    assert!(
        absent.starts_with("input `orog` of the model takes `height`, but "),
        "{absent}"
    );
    let unknown = message("pair.onnx", &["z=orog"], &[]);
    assert_eq!(
        unknown,
        "--feed z=...: the model has no such input; it has tas, orog"
    );
    let twice = message("pair.onnx", &["tas=tas", "tas=orog"], &[]);
    assert!(twice.contains("--feed tas=... is said twice"), "{twice}");
    let many = message("pair.onnx", &["orog=orog,tas"], &[]);
    let expected =
        "input `orog` of the model takes 1 channels, but orog, tas with all levels make 2";
    assert!(many.starts_with(expected), "{many}");
    let which = message("pair.onnx", &[], &["tas", "orog"]);
    assert!(
        which.starts_with("--variables cannot say which input"),
        "{which}"
    );
    let series = message("pair.onnx", &["orog=co2"], &[]);
    assert!(series.contains("`co2`"), "{series}");
    let letters = message("pair.onnx", &["orog:NTC=orog"], &[]);
    assert!(
        letters.contains("layout NTC has 3 letters, but input `orog`"),
        "{letters}"
    );
}

fn sum_of_nine(step: usize, row: usize, column: usize, wrap: bool) -> Option<f32> {
    let rows = row.checked_sub(1).filter(|_| row + 1 < ROWS)?..row + 2;
    if !wrap && (column == 0 || column + 1 == COLUMNS) {
        return None;
    }
    let columns = [column + COLUMNS - 1, column, column + 1].map(|column| column % COLUMNS);
    let cells = rows.flat_map(|row| columns.map(|column| tas(step, row, column)));
    Some(cells.sum())
}

#[test]
fn a_convolution_without_padding_gives_all_but_the_edges_of_the_grid() {
    let folder = case();
    for (tile, halo, wrap) in [
        (None, 0, false),
        (None, 0, true),
        (Some((5, 4)), 0, false),
        (Some((7, 6)), 1, true),
        // All but one row and column are seen by it.
        (Some((3, 3)), 0, true),
    ] {
        let options = Options {
            variables: vec!["tas".to_owned()],
            outputs: vec!["sum:K".to_owned()],
            tile,
            halo: (halo, halo),
            wrap,
            ..Options::default()
        };
        let outcome = run(folder.path(), "valid.onnx", &options).unwrap();
        assert_eq!(outcome.failed, 0, "{tile:?}");
        let expected = |step, row, column| sum_of_nine(step, row, column, wrap);
        check(folder.path(), "sum", STEPS, expected);
    }
}

#[test]
fn a_margin_changes_no_bit_with_ranks_and_masks() {
    let folder = case();
    let mut results = Vec::new();
    for ranks in 1..=3 {
        let output = folder.path().join(format!("out{ranks}.nc"));
        run_threads(ranks, |comm| {
            let mut loaded = Loader::new(1, Provider::Cpu)
                .with(Tract)
                .open(&model("valid.onnx"))
                .unwrap();
            let options = Options {
                variables: vec!["tas".to_owned()],
                missing: Missing::Mask,
                tile: Some((5, 5)),
                ..Options::default()
            };
            let input = folder.path().join("in.nc");
            infer(comm, &input, &output, &mut loaded, &options, &|_, _| {}).unwrap()
        });
        let bits = values(&output, "tas").into_iter().map(f64::to_bits);
        results.push(bits.collect::<Vec<u64>>());
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn what_may_be_a_margin_or_a_coarser_grid_is_not_guessed() {
    let folder = case();
    let message = |name: &str, margin| {
        let options = Options {
            variables: vec!["tas".to_owned()],
            tile: Some((4, 4)),
            margin,
            ..Options::default()
        };
        run(folder.path(), name, &options).map_err(|error| error.to_string())
    };
    let unknown = message("valid_4.onnx", None).unwrap_err();
    assert!(
        unknown.contains("may have lost a margin of 1x1 or"),
        "{unknown}"
    );
    message("valid_4.onnx", Some((1, 1))).unwrap();
    let expected = |step, row, column| sum_of_nine(step, row, column, false);
    check(folder.path(), "tas", STEPS, expected);
    // The same where the model takes other tiles too: one more tells.
    message("valid.onnx", None).unwrap();
    let coarse = message("coarse.onnx", None).unwrap_err();
    assert!(
        coarse.contains("`y`") && coarse.contains("2x2 times coarser"),
        "{coarse}"
    );
    let wrong = message("coarse.onnx", Some((2, 2))).unwrap_err();
    assert!(wrong.contains("not what a margin of 2x2 leaves"), "{wrong}");
}
