//! The global heap, where texts of any length and the names of dimensions lie, when it lies: the
//! HDF5 library reads outside of its memory then, or goes round for ever, so it is not asked.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::{Path, PathBuf};

use mizar_array::dataset::{AttrValue, DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{WriteOptions, Writer};

const TEXTS: [&str; 3] = ["Bern", "Zürich", ""];

/// A file with a text variable, a list of texts as attribute, and dimensions by reference.
fn file(folder: &Path) -> PathBuf {
    let path = folder.join("texts.nc");
    let mut dataset = Dataset {
        dimensions: vec![Dimension {
            name: "station".to_owned(),
            len: TEXTS.len(),
            unlimited: false,
        }],
        ..Dataset::default()
    };
    for (name, dtype) in [("names", DType::Text), ("t", DType::F32)] {
        dataset.variables.push(Variable {
            name: name.to_owned(),
            dtype,
            dims: vec![0],
            attributes: Default::default(),
        });
    }
    let listed = AttrValue::TextList(vec!["first".to_owned(), "second".to_owned()]);
    dataset.variables[1].attributes.set("list", listed);
    let mut writer = Writer::create(&path, &dataset, &WriteOptions::default()).unwrap();
    writer.write_text(0, &TEXTS.map(str::to_owned)).unwrap();
    let all = dataset.whole(1);
    writer.write_f64(1, &all, &[1.0, 2.0, 3.0]).unwrap();
    writer.commit().unwrap();
    path
}

/// Opens, and reads all texts.
fn read(path: &Path) -> Result<Vec<String>, String> {
    let source = Source::open(path).map_err(|error| error.to_string())?;
    let index = source.dataset().variable_index("names").unwrap();
    source.read_text(index).map_err(|error| error.to_string())
}

/// Where objects of the heap's collections lie: header, and content.
fn objects(bytes: &[u8]) -> Vec<(usize, usize)> {
    let number = |place: usize| u64::from_le_bytes(bytes[place..place + 8].try_into().unwrap());
    let mut found = Vec::new();
    for start in (0..bytes.len()).filter(|&start| bytes[start..].starts_with(b"GCOL")) {
        let end = start + number(start + 8) as usize;
        let mut place = start + 16;
        while place + 16 <= end && bytes[place] != 0 {
            found.push((place, place + 16));
            place += 16 + (number(place + 8) as usize).next_multiple_of(8);
        }
    }
    found
}

#[test]
fn texts_and_dimensions_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    assert_eq!(read(&path).unwrap(), TEXTS);
    let source = Source::open(&path).unwrap();
    let t = source.dataset().variable("t").unwrap();
    assert_eq!(t.dims, [0]);
    let list = AttrValue::TextList(vec!["first".to_owned(), "second".to_owned()]);
    assert_eq!(t.attributes.get("list"), Some(&list));
}

#[test]
fn an_object_that_lies_is_an_error_with_variable_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let valid = std::fs::read(&path).unwrap();
    let objects = objects(&valid);
    assert!(objects.len() >= 6, "{objects:?}");
    let damaged = folder.path().join("damaged.nc");
    let mut errors = 0;
    for &(header, _) in &objects {
        // The size: none, which the library never ends with, too little, and far too much.
        for size in [0, 1, 1 << 20, 1 << 40, u64::MAX] {
            let mut copy = valid.clone();
            copy[header + 8..header + 16].copy_from_slice(&size.to_le_bytes());
            std::fs::write(&damaged, copy).unwrap();
            match read(&damaged) {
                // Of an empty text too little is enough.
                Ok(texts) => assert_eq!(texts, TEXTS),
                Err(error) => {
                    let is_placed = ["names", "t"].iter().any(|name| {
                        error.contains(&format!("is damaged: variable `{name}`, bytes "))
                    });
                    assert!(is_placed, "size {size}: {error}");
                    errors += 1;
                }
            }
        }
    }
    assert!(errors >= 4 * objects.len(), "{errors}");
}

#[test]
fn a_reference_that_lies_is_an_error_with_variable_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let valid = std::fs::read(&path).unwrap();
    let heap = valid.windows(4).position(|four| four == b"GCOL").unwrap() as u64;
    let damaged = folder.path().join("damaged.nc");
    // References outside of the heap: a length, the heap's address, an index. Not those in
    // blocks with a checksum.
    let places: Vec<usize> = (4..valid.len() - 12)
        .filter(|place| !(heap as usize..heap as usize + 4096).contains(place))
        .filter(|&place| valid[place..].starts_with(&heap.to_le_bytes()))
        .collect();
    assert!(places.len() >= 2, "{places:?}");
    let mut errors = 0;
    for place in places {
        for (from, number) in [
            (place - 4, u32::MAX),
            (place - 4, 1 << 20),
            (place, 12),
            (place, u32::MAX),
            (place + 4, 1 << 8),
            (place + 8, 0),
            (place + 8, 0x7fff),
            (place + 8, u32::MAX),
        ] {
            let mut copy = valid.clone();
            copy[from..from + 4].copy_from_slice(&number.to_le_bytes());
            std::fs::write(&damaged, copy).unwrap();
            if let Err(error) = read(&damaged) {
                let by_library = error.contains("HDF5 cannot");
                let is_placed = error.contains("is damaged: variable `names`, bytes ");
                assert!(by_library || is_placed, "{error}");
                errors += usize::from(is_placed);
            }
        }
    }
    // Each of the two texts that are not empty.
    assert!(errors >= 2 * 7, "{errors}");
}

/// An address that points at itself is no scale.
#[test]
fn a_dimension_list_that_names_itself_makes_a_nameless_dimension() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let valid = std::fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.nc");
    let mut nameless = 0;
    for (header, content) in objects(&valid) {
        let is_address = valid[header + 8..content] == 8_u64.to_le_bytes();
        if !is_address {
            continue;
        }
        let mut copy = valid.clone();
        copy[content..content + 8].copy_from_slice(&(header as u64).to_le_bytes());
        std::fs::write(&damaged, copy).unwrap();
        let source = Source::open(&damaged).unwrap();
        nameless += usize::from(source.dataset().dimension_index("phony_dim_0").is_some());
    }
    assert!(nameless > 0);
}
