//! Chunks compressed by the filters that other programs bring as plugins: the values that h5py,
//! hdf5plugin and netCDF4-python wrote, without any plugin here; and what is said of the rest.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod python;

use std::collections::BTreeMap;
use std::path::Path;

use mizar_array::storage::{Source, StorageError};

fn folder_text(folder: &Path) -> Vec<String> {
    vec![folder.to_str().unwrap().to_owned()]
}

fn read(source: &Source, name: &str) -> Result<Vec<f64>, StorageError> {
    let index = source.dataset().variable_index(name).unwrap();
    let whole = source.dataset().whole(index);
    let mut out = vec![7.0; whole.iter().map(ExactSizeIterator::len).product()];
    source.read_f64(index, &whole, &mut out)?;
    Ok(out)
}

/// Address, size and filter mask of the first chunk of each variable of each file.
type Chunks = BTreeMap<String, BTreeMap<String, (usize, usize, u32)>>;

/// The folder with the files, and their chunks.
fn known() -> Option<(tempfile::TempDir, Chunks)> {
    let folder = tempfile::tempdir().unwrap();
    let names = python::run_script("filters.py", "known", &folder_text(folder.path()))?;
    Some((folder, serde_json::from_slice(&names).unwrap()))
}

#[test]
fn every_known_filter_gives_the_values_that_were_written() {
    let Some((folder, files)) = known() else {
        return;
    };
    for (file, chunks) in files {
        let source = Source::open(&folder.path().join(file)).unwrap();
        for name in chunks.into_keys() {
            let expected = std::fs::read(folder.path().join(format!("{name}.f64"))).unwrap();
            let expected: Vec<f64> = expected
                .as_chunks::<8>()
                .0
                .iter()
                .map(|bytes| f64::from_le_bytes(*bytes))
                .collect();
            let found = read(&source, &name).unwrap_or_else(|error| panic!("{name}: {error}"));
            let differs = found.iter().zip(&expected).position(|(a, b)| a != b);
            assert_eq!(differs, None, "{name} of {} cells", expected.len());
            assert_eq!(found.len(), expected.len(), "{name}");
        }
    }
}

/// A changed byte of a compressed chunk gives an error with the variable and the bytes of the
/// chunk, or other values; never a panic.
#[test]
fn a_damaged_chunk_is_an_error_with_variable_and_bytes_or_other_values() {
    let Some((folder, files)) = known() else {
        return;
    };
    let path = folder.path().join("filters.nc");
    let valid = std::fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.nc");
    let chunks: Vec<_> = files["filters.nc"]
        .iter()
        // What a filter cannot shrink is stored as it was.
        .filter(|(name, (_, _, mask))| !is_by_library(name) && *mask == 0)
        .collect();
    let mut named = std::collections::BTreeSet::new();
    let rounds = 24;
    for round in 0..rounds {
        let mut copy = valid.clone();
        for (start, size, _) in chunks.iter().map(|(_, chunk)| **chunk) {
            // Headers are at the start of chunks.
            let place = if round < rounds / 2 {
                round
            } else {
                size * round / rounds
            };
            copy[start + place % size] ^= [0xff, 0x01, 0x80][round % 3];
        }
        std::fs::write(&damaged, copy).unwrap();
        let source = Source::open(&damaged).unwrap();
        for (name, (start, size, _)) in &chunks {
            if let Err(error) = read(&source, name) {
                let text = error.to_string();
                let is_named = text.contains(&format!("variable `{name}`"));
                let bytes = format!(", bytes {start}..{}: ", start + size);
                let is_foreign = matches!(error, StorageError::NotReadable { .. });
                assert!(is_named && (is_foreign || text.contains(&bytes)), "{text}");
                named.insert(*name);
            }
        }
    }
    // Bits that are only put in order cannot be wrong.
    let silent = |name: &&&String| name.starts_with("bitshuffle_none");
    let expected = chunks.iter().filter(|(name, _)| !silent(&name)).count();
    assert_eq!(named.len(), expected, "{named:?}");
}

/// The filters that are part of the HDF5 library.
fn is_by_library(name: &str) -> bool {
    ["szip", "scaled", "scaled_whole", "nbit"].contains(&name)
}

#[test]
fn a_filter_that_is_not_known_is_named_with_its_variable_and_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = folder_text(folder.path());
    if python::run_script("filters.py", "foreign", &arguments).is_none() {
        return;
    }
    if std::env::var_os("HDF5_PLUGIN_PATH").is_some() {
        println!("SKIP: HDF5_PLUGIN_PATH is set, so that there may be plugins");
        return;
    }
    let source = Source::open(&folder.path().join("foreign.nc")).unwrap();
    for (name, id) in [("bzip2", 307), ("zfp", 32_013), ("blosc2", 32_026)] {
        let error = read(&source, name).unwrap_err();
        assert!(matches!(error, StorageError::NotReadable { .. }), "{error}");
        let text = error.to_string();
        for part in [
            &format!("{name} (HDF5 filter {id})"),
            &format!("variable `{name}`"),
            "foreign.nc is compressed",
            "set HDF5_PLUGIN_PATH",
        ] {
            assert!(text.contains(part), "`{part}` is not in `{text}`");
        }
    }
}
