//! A small climate that a small network can learn, as a file.
#![allow(dead_code, reason = "each suite needs other parts")]

use std::path::Path;

use mizar_array::dataset::{Attributes, DType, Dataset, Dimension, Variable};
use mizar_array::write::{WriteOptions, Writer};

pub(crate) const STEPS: usize = 120;
pub(crate) const ROWS: usize = 6;
pub(crate) const COLUMNS: usize = 10;
pub(crate) const CELLS: usize = ROWS * COLUMNS;

/// For a file with a mask: the third row is sea.
pub(crate) fn is_sea(index: usize) -> bool {
    index % CELLS / COLUMNS == 2
}

/// A wave that travels east by one column a month, over a yearly cycle: neither persistence nor
/// climatology knows what comes, three steps tell.
pub(crate) fn temperature(step: usize, row: usize, column: usize) -> f64 {
    let year = (step as f64 * std::f64::consts::TAU / 12.0).sin();
    let wave = ((column as f64 - step as f64) * std::f64::consts::TAU / 10.0 + row as f64).sin();
    280.0 + 5.0 * year + 4.0 * wave
}

/// A file of `tas` by month, row and column, without the values whose number says so.
pub(crate) fn write_cube(path: &Path, is_missing: impl Fn(usize) -> bool) {
    let dimension = |name: &str, len| Dimension {
        name: name.to_owned(),
        len,
        unlimited: false,
    };
    let attributes = |pairs: &[(&str, &str)]| -> Attributes {
        let mut all: Attributes = std::iter::empty().collect();
        for (name, value) in pairs {
            all.set(name, *value);
        }
        all
    };
    let variable = |name: &str, dims: &[usize], pairs: &[(&str, &str)]| Variable {
        name: name.to_owned(),
        dtype: DType::F64,
        dims: dims.to_vec(),
        attributes: attributes(pairs),
    };
    let dataset = Dataset {
        dimensions: vec![
            dimension("time", STEPS),
            dimension("lat", ROWS),
            dimension("lon", COLUMNS),
        ],
        variables: vec![
            variable(
                "time",
                &[0],
                &[
                    ("units", "months since 2000-01-15"),
                    ("calendar", "360_day"),
                    ("axis", "T"),
                ],
            ),
            variable("lat", &[1], &[("units", "degrees_north")]),
            variable("lon", &[2], &[("units", "degrees_east")]),
            variable("tas", &[0, 1, 2], &[("units", "K")]),
        ],
        attributes: attributes(&[]),
    };
    let counted = |len: usize, step: f64| (0..len).map(|i| i as f64 * step).collect::<Vec<_>>();
    let mut tas = Vec::new();
    for step in 0..STEPS {
        for row in 0..ROWS {
            tas.extend((0..COLUMNS).map(|column| temperature(step, row, column)));
        }
    }
    for (index, value) in tas.iter_mut().enumerate() {
        if is_missing(index) {
            *value = f64::NAN;
        }
    }
    let mut writer = Writer::create(path, &dataset, &WriteOptions::default()).unwrap();
    let contents = [
        counted(STEPS, 1.0),
        counted(ROWS, 10.0),
        counted(COLUMNS, 36.0),
        tas,
    ];
    for (index, values) in contents.iter().enumerate() {
        writer
            .write_f64(index, &dataset.whole(index), values)
            .unwrap();
    }
    writer.commit().unwrap();
}
