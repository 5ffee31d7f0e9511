//! What the suites of `mizar cube` share: running a command line through the library, running
//! `cdo`, files to run them on, and reading results back.
#![allow(dead_code, reason = "each suite uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mizar_array::command::{self, Request};
use mizar_array::dataset::{AttrValue, Attributes, DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{WriteOptions, Writer};
use mizar_array::{CubeError, engine, plan};
use mizar_comm::{Communicator, Single};

/// Runs a command line (without paths with blanks) on this rank.
pub(crate) fn run_on(comm: &dyn Communicator, threads: usize, line: &str) -> Result<(), CubeError> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let command = match command::parse(&words)? {
        Request::Run(command) => command,
        other => panic!("{line}: {other:?}"),
    };
    let plan = mizar_comm::agree(comm, plan::compile(&command, "today mizar cube a test"))?;
    engine::execute(&plan, comm, threads, &|_| {}).map(drop)
}

/// Runs a command line alone with two threads.
pub(crate) fn run(line: &str) -> Result<(), CubeError> {
    run_on(&Single, 2, line)
}

/// Whether a program is here; says what is skipped if not.
pub(crate) fn has(program: &str, package: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        println!("SKIP: {program} (Debian package {package})");
    }
    found
}

/// The line with the file's path for each word `F`; a path may have such a letter itself.
pub(crate) fn with_file(line: &str, file: &Path) -> String {
    let file = file.display().to_string();
    let words = line.split(' ');
    let words = words.map(|word| if word == "F" { &file } else { word });
    words.collect::<Vec<&str>>().join(" ")
}

/// Runs cdo in double precision, one thread of HDF5 at a time.
pub(crate) fn cdo(line: &str) {
    let output = Command::new("cdo")
        .args(["-s", "-L", "-O", "--double", "-b", "F64"])
        .args(line.split_whitespace())
        // Percentiles of up to half as many values are exact.
        .env("CDO_PCTL_NBINS", "5001")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cdo {line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The CMIP6 sample file whose name begins so, of Python's esmvaltool-sample-data.
pub(crate) fn cmip6(prefix: &str) -> Option<PathBuf> {
    mizar_lab::venv::cmip6(prefix)
}

/// The sample file whose name begins so, of Python's iris-sample-data.
pub(crate) fn iris(prefix: &str) -> Option<PathBuf> {
    let files = mizar_lab::venv::files("iris_sample_data", prefix, "");
    files?.into_iter().next()
}

/// What [`write_sample`] makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) steps: usize,
    pub(crate) lats: usize,
    pub(crate) lons: usize,
    /// One value in so many is missing; 0 for none.
    pub(crate) missing_every: usize,
    pub(crate) dtype: DType,
    pub(crate) calendar: &'static str,
    /// The same value everywhere.
    pub(crate) constant: Option<f64>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            steps: 430,
            lats: 18,
            lons: 24,
            missing_every: 7,
            dtype: DType::F32,
            calendar: "noleap",
            constant: None,
        }
    }
}

impl Sample {
    fn value(&self, step: usize, cell: usize) -> f64 {
        let cells = self.lats * self.lons;
        // A fixed scramble of the place, so that files are the same everywhere.
        let scrambled = ((step * cells + cell) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise = (scrambled >> 40) as f64 / (1_u64 << 24) as f64;
        // A land mask that never has a value, and single gaps.
        let gap = self.missing_every > 0
            && ((scrambled >> 20).is_multiple_of(self.missing_every as u64) || cell % 97 == 5);
        if gap {
            return f64::NAN;
        }
        let season = (step as f64 / 365.0 * std::f64::consts::TAU).sin();
        self.constant
            .unwrap_or(280.0 + 10.0 * season + 5.0 * noise + cell as f64 / cells as f64)
    }
}

/// Daily fields on a global grid, with time bounds and a scalar coordinate.
pub(crate) fn write_sample(path: &Path, sample: &Sample) {
    let text = |text: &str| AttrValue::from(text);
    let variable = |name: &str, dtype, dims: &[usize], pairs: &[(&str, AttrValue)]| Variable {
        name: name.to_owned(),
        dtype,
        dims: dims.to_vec(),
        attributes: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
    };
    let dimension = |name: &str, len, unlimited| Dimension {
        name: name.to_owned(),
        len,
        unlimited,
    };
    let fill = match sample.dtype {
        DType::F32 => AttrValue::from(1e20_f32),
        _ => AttrValue::from(1e20),
    };
    let axis =
        |name: &str, units: &str| [("standard_name", text(name)), ("units", text(units))].to_vec();
    let mut time = axis("time", "days since 2001-01-01");
    time.extend([
        ("calendar", text(sample.calendar)),
        ("bounds", text("time_bnds")),
    ]);
    let dataset = Dataset {
        dimensions: vec![
            dimension("time", sample.steps, true),
            dimension("lat", sample.lats, false),
            dimension("lon", sample.lons, false),
            dimension("bnds", 2, false),
        ],
        variables: vec![
            variable("time", DType::F64, &[0], &time),
            variable("time_bnds", DType::F64, &[0, 3], &[]),
            variable("lat", DType::F64, &[1], &axis("latitude", "degrees_north")),
            variable("lon", DType::F64, &[2], &axis("longitude", "degrees_east")),
            variable(
                "height",
                DType::F64,
                &[],
                &[("units", text("m")), ("axis", text("Z"))],
            ),
            variable(
                "tas",
                sample.dtype,
                &[0, 1, 2],
                &[
                    ("standard_name", text("air_temperature")),
                    ("units", text("K")),
                    ("coordinates", text("height")),
                    ("cell_methods", text("area: mean")),
                    ("_FillValue", fill),
                ],
            ),
        ],
        attributes: Attributes::from_iter([("history".to_owned(), text("made by a test"))]),
    };
    let mut writer = Writer::create(path, &dataset, &WriteOptions::default()).unwrap();
    let mut write = |index: usize, values: Vec<f64>| {
        writer
            .write_f64(index, &dataset.whole(index), &values)
            .unwrap();
    };
    let steps = || (0..sample.steps).map(|step| step as f64);
    write(0, steps().map(|day| day + 0.5).collect());
    write(1, steps().flat_map(|day| [day, day + 1.0]).collect());
    let width = 180.0 / sample.lats as f64;
    write(
        2,
        (0..sample.lats)
            .map(|row| -90.0 + width * (row as f64 + 0.5))
            .collect(),
    );
    write(
        3,
        (0..sample.lons)
            .map(|i| 360.0 / sample.lons as f64 * i as f64)
            .collect(),
    );
    write(4, vec![2.0]);
    let cells = sample.lats * sample.lons;
    let value = |place: usize| sample.value(place / cells, place % cells);
    write(5, (0..sample.steps * cells).map(value).collect());
    writer.commit().unwrap();
}

/// A numeric variable of a file: its shape and values, missing ones as NaN.
pub(crate) fn read(path: &Path, name: &str) -> (Vec<usize>, Vec<f64>) {
    let source = Source::open(path).unwrap();
    let index = source.dataset().variable_index(name);
    let index = index.unwrap_or_else(|| panic!("{} has no {name}", path.display()));
    let shape = source.dataset().shape(index);
    let mut values = vec![0.0; shape.iter().product()];
    source
        .read_f64(index, &source.dataset().whole(index), &mut values)
        .unwrap();
    (shape, values)
}

/// An attribute of a variable, as text.
pub(crate) fn attribute(path: &Path, variable: &str, name: &str) -> Option<String> {
    let source = Source::open(path).unwrap();
    let text = source
        .dataset()
        .variable(variable)?
        .attributes
        .get_text(name)?;
    Some(text.to_owned())
}

/// Fails unless two variables agree in shape and to 1e-6, missing values included.
pub(crate) fn assert_close(
    context: &str,
    ours: &(Vec<usize>, Vec<f64>),
    theirs: &(Vec<usize>, Vec<f64>),
) {
    const TOLERANCE: f64 = 1e-6;
    // Differences of equal temperatures are rounding: about 1e-13 K.
    const SMALLEST: f64 = 1e-6;
    assert_eq!(ours.0, theirs.0, "{context}: shapes");
    for (cell, (a, b)) in ours.1.iter().zip(&theirs.1).enumerate() {
        let close = (a - b).abs() <= TOLERANCE * b.abs().max(SMALLEST);
        assert!(
            close || (a.is_nan() && b.is_nan()),
            "{context}: cell {cell}: {a}, cdo has {b}"
        );
    }
}
