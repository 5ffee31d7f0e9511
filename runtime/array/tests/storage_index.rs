//! The chunk indexes of HDF5's newer file format, as h5py writes them.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod python;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mizar_array::storage::Source;

fn indexes(folder: &Path) -> Option<PathBuf> {
    python::run("indexes", &[folder.to_str().unwrap().to_owned()])?;
    Some(folder.join("indexes.nc"))
}

fn read(source: &Source, name: &str) -> Result<Vec<f64>, String> {
    let index = source.dataset().variable_index(name).unwrap();
    let whole = source.dataset().whole(index);
    let mut out = vec![7.0; whole.iter().map(ExactSizeIterator::len).product()];
    source
        .read_f64(index, &whole, &mut out)
        .map_err(|error| error.to_string())?;
    Ok(out)
}

/// The cells that were written to a variable with holes; all of others.
fn is_written(name: &str, cell: usize) -> bool {
    match name {
        "fixed_holes" => !(3..4000).contains(&cell),
        "growing_holes" => (5..7).contains(&cell) || (900..910).contains(&cell) || cell == 3999,
        "growing_pages" => (131_000..131_100).contains(&cell) || cell >= 139_000,
        "tree_empty" => false,
        _ => true,
    }
}

/// The HDF5 library alone takes minutes for these: its index is not the one that is used.
#[test]
fn every_index_leads_to_every_chunk_and_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = indexes(folder.path()) else {
        return;
    };
    let begin = Instant::now();
    let source = Source::open(&path).unwrap();
    let names: Vec<&str> = source
        .dataset()
        .variables
        .iter()
        .map(|variable| variable.name.as_str())
        .collect();
    assert_eq!(names.len(), 18, "{names:?}");
    for name in names {
        let found = read(&source, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (cell, &value) in found.iter().enumerate() {
            let expected = if is_written(name, cell) { cell + 1 } else { 0 };
            assert_eq!(value, expected as f64, "{name}, cell {cell}");
        }
    }
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
}

/// A changed byte in any block of an index is an error with variable and bytes, or is outside
/// of what is read.
#[test]
fn damage_in_an_index_is_an_error_with_variable_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = indexes(folder.path()) else {
        return;
    };
    let bytes = std::fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.nc");
    for signature in [
        "FAHD", "FADB", "EAHD", "EAIB", "EADB", "EASB", "BTHD", "BTLF", "BTIN",
    ] {
        let places: Vec<usize> = bytes
            .windows(4)
            .enumerate()
            .filter(|(_, window)| *window == signature.as_bytes())
            .map(|(place, _)| place)
            // Groups have B-trees too, of other types.
            .filter(|place| !signature.starts_with('B') || [10, 11].contains(&bytes[place + 5]))
            .collect();
        assert!(!places.is_empty(), "no {signature}");
        let mut copy = bytes.clone();
        for place in places {
            copy[place + 7] ^= 0x40;
        }
        std::fs::write(&damaged, copy).unwrap();
        let source = Source::open(&damaged).unwrap();
        let mut errors = 0;
        for variable in &source.dataset().variables {
            if let Err(error) = read(&source, &variable.name) {
                let expected = format!(
                    "damaged.nc is damaged: variable `{}`, bytes ",
                    variable.name
                );
                assert!(error.contains(&expected), "{signature}: {error}");
                errors += 1;
            }
        }
        assert!(errors > 0, "{signature}");
    }
}
