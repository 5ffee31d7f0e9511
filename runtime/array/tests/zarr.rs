//! Zarr stores: the values that zarr-python wrote, every codec and layout, and errors that name
//! variable, chunk and remedy.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a region is a list of ranges, often of one"
)]

mod python;

use std::path::{Path, PathBuf};

use mizar_array::storage::Source;
use serde_json::{Value, json};

fn stores() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    python::run_script("zarr_stores.py", "make", &[path])?;
    Some(folder)
}

fn whole(source: &Source, index: usize) -> Vec<f64> {
    let region = source.dataset().whole(index);
    let mut out = vec![0.0; region.iter().map(ExactSizeIterator::len).product()];
    source.read_f64(index, &region, &mut out).unwrap();
    out
}

#[test]
fn every_codec_and_layout_gives_what_was_written() {
    let Some(folder) = stores() else { return };
    let manifest = std::fs::read(folder.path().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut arrays = 0;
    for (store, expected) in manifest.as_object().unwrap() {
        let source = Source::open(&folder.path().join(format!("{store}.zarr"))).unwrap();
        let title = source.dataset().attributes.get_text("title").unwrap();
        assert!(title.starts_with("version"), "{title}");
        assert_eq!(source.notes(), ["group `inner` is ignored"], "{store}");
        let expected = expected.as_object().unwrap();
        assert_eq!(source.dataset().variables.len(), expected.len());
        for (name, values) in expected {
            let index = source.dataset().variable_index(name).unwrap();
            let found = whole(&source, index);
            let values = values.as_array().unwrap();
            assert_eq!(found.len(), values.len(), "{store} {name}");
            for (found, value) in found.iter().zip(values) {
                // JSON is read with an error in the last place.
                let is_same = value.as_f64().map_or(found.is_nan(), |value| {
                    (found - value).abs() <= 4.0 * f64::EPSILON * value.abs()
                });
                assert!(is_same, "{store} {name}: {found} {value}");
            }
            arrays += 1;
        }
    }
    assert!(arrays > 150, "{arrays}");
    for version in [2, 3] {
        let source = Source::open(&folder.path().join(format!("texts{version}.zarr"))).unwrap();
        let index = |name| source.dataset().variable_index(name).unwrap();
        let texts = |name| source.read_text(index(name)).unwrap();
        assert_eq!(texts("any"), ["a", "bcd", "ä€", ""], "version {version}");
        assert_eq!(texts("wide"), ["a", "bcd", "ä€", ""], "version {version}");
        assert_eq!(texts("bytes"), ["a", "bcd", "", "xyz"], "version {version}");
        let t = whole(&source, index("t"));
        assert!(t[0] == 1.0 && t[1].is_nan() && t[3] == 4.0, "{t:?}");
    }
    a_region_is_a_part_of_the_whole(folder.path());
}

fn a_region_is_a_part_of_the_whole(folder: &Path) {
    for (store, name) in [
        ("v2", "F_be_f4"),
        ("v3", "kind_f4"),
        ("v3_plain", "shard_start"),
    ] {
        let source = Source::open(&folder.join(format!("{store}.zarr"))).unwrap();
        let index = source.dataset().variable_index(name).unwrap();
        let all = whole(&source, index);
        for region in [
            [2..5, 3..9, 1..12],
            [6..7, 10..11, 0..13],
            [0..7, 4..4, 0..2],
        ] {
            let cells = region.iter().map(ExactSizeIterator::len).product();
            let mut out = vec![0.0_f32; cells];
            source.read_f32(index, &region, &mut out).unwrap();
            let mut expected = Vec::new();
            for time in region[0].clone() {
                for lat in region[1].clone() {
                    for lon in region[2].clone() {
                        expected.push(all[(time * 11 + lat) * 13 + lon] as f32);
                    }
                }
            }
            assert_eq!(out, expected, "{store} {name} {region:?}");
        }
    }
}

/// A store with one variable `t`, made by hand.
fn store(folder: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    let path = folder.join("hand.zarr");
    std::fs::create_dir_all(path.join("t/c")).unwrap();
    std::fs::write(
        path.join("zarr.json"),
        r#"{"zarr_format": 3, "node_type": "group"}"#,
    )
    .unwrap();
    let mut array = json!({
        "zarr_format": 3, "node_type": "array", "shape": [6], "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
        "chunk_key_encoding": {"name": "default"}, "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "dimension_names": ["time"],
    });
    change(&mut array);
    std::fs::write(path.join("t/zarr.json"), array.to_string()).unwrap();
    path
}

fn error_of(path: &Path) -> String {
    let source = match Source::open(path) {
        Ok(source) => source,
        Err(error) => return error.to_string(),
    };
    let mut out = [0.0; 6];
    source
        .read_f64(0, &[0..6], &mut out)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_damaged_chunk_is_an_error_with_variable_and_chunk() {
    let folder = tempfile::tempdir().unwrap();
    for (codec, bytes) in [
        ("gzip", &b"\x1f\x8b\x08garbage"[..]),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        (
            "blosc",
            &[2, 1, 1, 4, 255, 255, 255, 127, 16, 0, 0, 0, 24, 0, 0, 0],
        ),
        ("crc32c", &[0; 20]),
        ("bytes", &[0; 15]),
        ("bytes", &[0; 200_000]),
    ] {
        let path = store(folder.path(), |array| {
            if codec != "bytes" {
                let codecs = array["codecs"].as_array_mut().unwrap();
                codecs.push(json!({"name": codec, "configuration": {}}));
            }
        });
        std::fs::write(path.join("t/c/0"), bytes).unwrap();
        let error = error_of(&path);
        assert!(error.contains("hand.zarr is damaged"), "{codec}: {error}");
        assert!(
            error.contains("variable `t`, chunk `t/c/0`"),
            "{codec}: {error}"
        );
    }
}

#[test]
fn metadata_that_lies_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let grid = |chunk: Value| json!({"name": "regular", "configuration": {"chunk_shape": chunk}});
    type Change = Box<dyn Fn(&mut Value)>;
    let cases: Vec<(&str, Change)> = vec![
        (
            "chunks of",
            Box::new(move |a| a["chunk_grid"] = grid(json!([1_u64 << 40]))),
        ),
        (
            "without length",
            Box::new(move |a| a["chunk_grid"] = grid(json!([0]))),
        ),
        (
            "another rank",
            Box::new(move |a| a["chunk_grid"] = grid(json!([4, 4]))),
        ),
        (
            "larger than memory",
            Box::new(|a| a["shape"] = json!([u64::MAX / 2])),
        ),
        ("no list of lengths", Box::new(|a| a["shape"] = json!([-1]))),
        (
            "fill value",
            Box::new(|a| a["fill_value"] = json!("nothing")),
        ),
        (
            "`lzma`",
            Box::new(|a| a["codecs"][0]["name"] = json!("lzma")),
        ),
        (
            "no order",
            Box::new(|a| {
                a["codecs"] = json!([{"name": "transpose", "configuration": {"order": [1]}},
                                 {"name": "bytes"}]);
            }),
        ),
        (
            "not made of whole chunks",
            Box::new(|a| {
                a["codecs"] = json!([{"name": "sharding_indexed", "configuration": {
                "chunk_shape": [3], "codecs": [{"name": "bytes"}],
                "index_codecs": [{"name": "bytes"}]}}]);
            }),
        ),
    ];
    for (words, change) in cases {
        let error = error_of(&store(folder.path(), |array| change(array)));
        assert!(error.contains(words), "{words}: {error}");
        assert!(error.contains("`t`"), "{words}: {error}");
    }
    let path = store(folder.path(), |_| ());
    let root = json!({"zarr_format": 3, "node_type": "group", "consolidated_metadata": {
        "metadata": {"..": {"zarr_format": 3, "node_type": "array"}}}});
    std::fs::write(path.join("zarr.json"), root.to_string()).unwrap();
    let error = error_of(&path);
    assert!(
        error.contains("cannot be the name of a variable"),
        "{error}"
    );
    std::fs::write(path.join("zarr.json"), "{").unwrap();
    assert!(error_of(&path).contains("not JSON"));
}

/// A shard whose index points nowhere or claims too much.
#[test]
fn a_lying_shard_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = store(folder.path(), |array| {
        array["codecs"] = json!([{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [2], "codecs": [{"name": "bytes"}],
            "index_codecs": [{"name": "bytes"}]}}]);
    });
    for (start, length) in [(1_u64 << 60, 8_u64), (0, 1 << 40), (30, 8)] {
        let entry = [start.to_le_bytes(), length.to_le_bytes()].concat();
        std::fs::write(path.join("t/c/0"), [entry.clone(), entry].concat()).unwrap();
        let error = error_of(&path);
        assert!(error.contains("variable `t`, chunk `t/c/0`"), "{error}");
    }
    std::fs::write(path.join("t/c/0"), [0; 5]).unwrap();
    assert!(error_of(&path).contains("cut short"));
}
