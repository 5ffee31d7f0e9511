//! Files that are not what they should be: every one gives an error that names it, or the right
//! answer; never a panic, and never memory by what a damaged header claims.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a region is a list of ranges, often of one"
)]

mod python;

use std::path::Path;

use mizar_array::dataset::{AttrValue, Attributes, DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{WriteOptions, Writer};

/// The most that reading a damaged file of some KiB may allocate at once.
const READ_CELLS_MAX: usize = 1 << 20;

/// Opens and reads all there is, as far as it goes; the error if there was one.
fn read_everything(path: &Path) -> Result<Vec<Vec<u64>>, String> {
    let source = Source::open(path).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for (index, variable) in source.dataset().variables.iter().enumerate() {
        if variable.dtype.is_text() {
            source.read_text(index).map_err(|error| error.to_string())?;
            continue;
        }
        let whole = source.dataset().whole(index);
        let cells = whole.iter().map(ExactSizeIterator::len).product();
        if cells > READ_CELLS_MAX {
            // The caller would not ask for so much of so small a file.
            continue;
        }
        let mut out = vec![0.0; cells];
        source
            .read_f64(index, &whole, &mut out)
            .map_err(|error| error.to_string())?;
        found.push(out.iter().map(|value| value.to_bits()).collect());
    }
    Ok(found)
}

fn names(path: &Path, error: &str) {
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(name), "`{error}` does not name {name}");
}

#[test]
fn what_is_not_netcdf_is_called_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let zarr = folder.path().join("store.zarr");
    std::fs::create_dir(&zarr).unwrap();
    std::fs::write(zarr.join(".zarray"), "{}").unwrap();
    for (name, bytes, expected) in [
        ("empty.nc", &b""[..], "is empty"),
        (
            "text.nc",
            b"hello, world, this is not it",
            "is not a NetCDF file",
        ),
        ("one.nc", b"\x89", "is not a NetCDF file"),
        (
            "classic.nc",
            b"CDF\x01\0\0\0\0\0\0\0\0",
            "header, bytes 12..16: they lie beyond the end of the file",
        ),
        ("unknown.nc", b"CDF\x03\0\0\0\0", "is not a NetCDF file"),
        ("data.grb", b"GRIB\0\0\0\x02", "is GRIB"),
        ("zip.nc", b"\x1f\x8b\x08\0\0", "gzip"),
        ("header.nc", b"\x89HDF\r\n\x1a\n", "header.nc"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = Source::open(&path).unwrap_err().to_string();
        names(&path, &error);
        assert!(error.contains(expected), "`{expected}` is not in `{error}`");
    }
    for (path, expected) in [
        (folder.path().join("absent.nc"), "cannot open"),
        (folder.path().to_owned(), "is a folder"),
        (zarr, "is a single Zarr array"),
        ("/dev/null".into(), "not a regular file"),
    ] {
        let error = Source::open(&path).unwrap_err().to_string();
        names(&path, &error);
        assert!(error.contains(expected), "`{expected}` is not in `{error}`");
    }
}

/// A file of ours with chunks, filters, text and attributes, some KiB in size.
fn small_file(path: &Path) {
    let mut dataset = Dataset {
        dimensions: vec![
            Dimension {
                name: "time".to_owned(),
                len: 4,
                unlimited: true,
            },
            Dimension {
                name: "cell".to_owned(),
                len: 300,
                unlimited: false,
            },
        ],
        ..Dataset::default()
    };
    for (name, dtype, dims) in [
        ("t", DType::F32, vec![0, 1]),
        ("time", DType::F64, vec![0]),
        ("cell", DType::I32, vec![1]),
        ("names", DType::Text, vec![0]),
    ] {
        let mut attributes = Attributes::default();
        attributes.set("units", "K");
        attributes.set("scale", AttrValue::F64(vec![1.0, 2.0]));
        let name = name.to_owned();
        dataset.variables.push(Variable {
            name,
            dtype,
            dims,
            attributes,
        });
    }
    let mut writer = Writer::create(path, &dataset, &WriteOptions::default()).unwrap();
    let values: Vec<f64> = (0..1200).map(|cell| f64::from(cell) * 0.25).collect();
    writer.write_f64(0, &[0..4, 0..300], &values).unwrap();
    writer.write_f64(1, &[0..4], &values[..4]).unwrap();
    writer
        .write_f64(2, &[0..300], &(0..300).map(f64::from).collect::<Vec<_>>())
        .unwrap();
    writer
        .write_text(3, &["a", "b", "c", "d"].map(str::to_owned))
        .unwrap();
    writer.commit().unwrap();
}

#[test]
fn a_file_cut_short_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.nc");
    small_file(&whole);
    let bytes = std::fs::read(&whole).unwrap();
    let expected = read_everything(&whole).unwrap();
    let cut = folder.path().join("cut.nc");
    for length in (1..bytes.len()).step_by(97) {
        std::fs::write(&cut, &bytes[..length]).unwrap();
        match read_everything(&cut) {
            Ok(found) => assert_eq!(found, expected, "cut at {length}"),
            Err(error) => names(&cut, &error),
        }
    }
}

/// Flips bytes in a child process each: the HDF5 library itself crashes on some damage, which
/// no caller can prevent; such a child counts apart.
#[test]
fn flipped_bytes_never_panic() {
    if let Some(path) = std::env::var_os("MIZAR_TEST_DAMAGED") {
        let path = Path::new(&path);
        if let Err(error) = read_everything(path) {
            names(path, &error);
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.nc");
    small_file(&whole);
    let bytes = std::fs::read(&whole).unwrap();
    let damaged = folder.path().join("damaged.nc");
    let mut state = 20_261_123_u64;
    let mut next = |end: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    let (mut crashed, rounds) = (0, 60);
    for round in 0..rounds {
        let mut copy = bytes.clone();
        for _ in 0..=next(4) {
            let place = next(copy.len());
            copy[place] = next(256) as u8;
        }
        std::fs::write(&damaged, &copy).unwrap();
        let output = std::process::Command::new("prlimit")
            .arg("--as=4294967296")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "flipped_bytes_never_panic", "--nocapture"])
            .env("MIZAR_TEST_DAMAGED", &damaged)
            .output()
            .unwrap();
        if output.status.code().is_none() {
            crashed += 1;
        } else {
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "round {round}: {complaint}");
        }
    }
    println!("{crashed} of {rounds} damaged files crash the HDF5 library itself");
    assert!(crashed * 20 <= rounds, "{crashed} crashes");
}

#[test]
fn a_chunk_that_does_not_inflate_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chunk.nc");
    small_file(&path);
    let mut bytes = std::fs::read(&path).unwrap();
    // The zlib header of a chunk, as libdeflate writes it at level 1.
    let place = bytes
        .windows(2)
        .position(|pair| pair == [0x78, 0x01])
        .unwrap();
    bytes[place] ^= 0xff;
    bytes[place + 20] ^= 0xff;
    std::fs::write(&path, &bytes).unwrap();
    let error = read_everything(&path).unwrap_err();
    names(&path, &error);
    assert!(
        error.contains("is damaged") || error.contains("HDF5 cannot"),
        "{error}"
    );
}
