//! Writing: what netCDF4-python, xarray, ncdump and CDO find in files of ours, and what is left
//! when writing fails.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a region is a list of ranges, often of one"
)]

mod python;

use std::path::Path;
use std::process::Command;

use mizar_array::dataset::{AttrValue, Attributes, DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{Compression, WriteError, WriteOptions, Writer};
use serde_json::{Value, json};

fn attributes(pairs: &[(&str, AttrValue)]) -> Attributes {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn text(value: &str) -> AttrValue {
    AttrValue::from(value)
}

fn dimension(name: &str, len: usize, unlimited: bool) -> Dimension {
    Dimension {
        name: name.to_owned(),
        len,
        unlimited,
    }
}

fn variable(name: &str, dtype: DType, dims: &[usize], pairs: &[(&str, AttrValue)]) -> Variable {
    Variable {
        name: name.to_owned(),
        dtype,
        dims: dims.to_vec(),
        attributes: attributes(pairs),
    }
}

/// A small climate file with everything that NetCDF-4 can do and models use.
fn climate() -> Dataset {
    let mut dataset = Dataset {
        dimensions: vec![
            dimension("time", 3, true),
            dimension("lat", 40, false),
            dimension("lon", 60, false),
            dimension("bnds", 2, false),
            dimension("station", 2, false),
            dimension("length", 5, false),
        ],
        variables: vec![
            variable(
                "tas",
                DType::F32,
                &[0, 1, 2],
                &[
                    ("standard_name", text("air_temperature")),
                    ("units", text("K")),
                    ("_FillValue", AttrValue::F64(vec![1e20])),
                    ("coordinates", text("height")),
                ],
            ),
            variable(
                "time",
                DType::F64,
                &[0],
                &[
                    ("units", text("days since 1850-01-01")),
                    ("calendar", text("noleap")),
                    ("bounds", text("time_bnds")),
                    ("axis", text("T")),
                ],
            ),
            variable("time_bnds", DType::F64, &[0, 3], &[]),
            variable("lat", DType::F64, &[1], &[("units", text("degrees_north"))]),
            variable("lon", DType::F64, &[2], &[("units", text("degrees_east"))]),
            variable("height", DType::F64, &[], &[("units", text("m"))]),
            variable(
                "count",
                DType::I16,
                &[1, 2],
                &[("long_name", text("Größe"))],
            ),
            variable("names", DType::Char, &[4, 5], &[]),
            variable("labels", DType::Text, &[4], &[]),
            variable("bnds", DType::I32, &[0], &[]),
        ],
        attributes: attributes(&[
            ("Conventions", text("CF-1.8")),
            ("title", text("ein Würfel")),
            ("empty", text("")),
            (
                "list",
                AttrValue::TextList(vec!["a".to_owned(), "bé".to_owned()]),
            ),
            ("version", AttrValue::I32(vec![3])),
        ]),
    };
    let long = "a line of history\n".repeat(6000);
    dataset.attributes.set("history", long.as_str());
    dataset
}

/// The value of a cell of `tas`; one of each row is missing.
fn tas(step: usize, cell: usize) -> f32 {
    if cell % 60 == 7 {
        f32::NAN
    } else {
        (step * 10_000 + cell) as f32 / 8.0
    }
}

fn fill(writer: &mut Writer, dataset: &Dataset) {
    let index = |name| dataset.variable_index(name).unwrap();
    for step in [2, 0, 1] {
        let field: Vec<f32> = (0..2400).map(|cell| tas(step, cell)).collect();
        if step == 1 {
            // Not a whole chunk: two halves of a field.
            let (north, south) = field.split_at(1200);
            writer
                .write_f32(index("tas"), &[1..2, 20..40, 0..60], south)
                .unwrap();
            writer
                .write_f32(index("tas"), &[1..2, 0..20, 0..60], north)
                .unwrap();
        } else {
            writer
                .write_f32(index("tas"), &[step..step + 1, 0..40, 0..60], &field)
                .unwrap();
        }
    }
    writer
        .write_f64(index("time"), &[0..3], &[15.5, 45.0, 74.5])
        .unwrap();
    let bounds = [0.0, 31.0, 31.0, 59.0, 59.0, 90.0];
    writer
        .write_f64(index("time_bnds"), &[0..3, 0..2], &bounds)
        .unwrap();
    let lat: Vec<f64> = (0..40).map(|row| -87.75 + 4.5 * f64::from(row)).collect();
    let lon: Vec<f64> = (0..60).map(|column| 6.0 * f64::from(column)).collect();
    writer.write_f64(index("lat"), &[0..40], &lat).unwrap();
    writer.write_f64(index("lon"), &[0..60], &lon).unwrap();
    writer.write_f64(index("height"), &[], &[2.0]).unwrap();
    let count: Vec<f64> = (0..2400)
        .map(|cell| if cell == 5 { f64::NAN } else { 7.4 })
        .collect();
    writer
        .write_f64(index("count"), &[0..40, 0..60], &count)
        .unwrap();
    writer
        .write_text(index("names"), &["Bern".to_owned(), "Genf".to_owned()])
        .unwrap();
    writer
        .write_text(index("labels"), &["Zürich".to_owned(), String::new()])
        .unwrap();
    writer
        .write_f64(index("bnds"), &[0..3], &[1.0, 2.0, 3.0])
        .unwrap();
}

fn written(path: &Path, options: &WriteOptions) -> Dataset {
    let dataset = climate();
    let mut writer = Writer::create(path, &dataset, options).unwrap();
    assert!(!path.exists());
    fill(&mut writer, &dataset);
    writer.commit().unwrap();
    dataset
}

fn check_own_reading(path: &Path, dataset: &Dataset) {
    let source = Source::open(path).unwrap();
    let read = source.dataset();
    assert_eq!(read.dimensions, dataset.dimensions);
    assert_eq!(read.attributes, dataset.attributes);
    let names = |dataset: &Dataset| {
        dataset
            .variables
            .iter()
            .map(|variable| variable.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(read), names(dataset));
    for (found, given) in read.variables.iter().zip(&dataset.variables) {
        assert_eq!(
            (found.dtype, &found.dims),
            (given.dtype, &given.dims),
            "{}",
            given.name
        );
        assert_eq!(
            found.attributes.len(),
            given.attributes.len(),
            "{}",
            given.name
        );
    }
    let mut field = vec![0.0_f32; 3 * 2400];
    source
        .read_f32(0, &[0..3, 0..40, 0..60], &mut field)
        .unwrap();
    for (cell, &value) in field.iter().enumerate() {
        let expected = tas(cell / 2400, cell % 2400);
        assert!(
            value == expected || (value.is_nan() && expected.is_nan()),
            "{cell}: {value}"
        );
    }
    let index = |name| read.variable_index(name).unwrap();
    assert_eq!(source.read_text(index("names")).unwrap(), ["Bern", "Genf"]);
    assert_eq!(source.read_text(index("labels")).unwrap(), ["Zürich", ""]);
    let fill = read.variables[0].attributes.get("_FillValue");
    assert_eq!(fill, Some(&AttrValue::F32(vec![1e20])));
}

fn check_netcdf4_python(path: &Path) {
    let Some(seen) = python::run("look", &[path.to_str().unwrap().to_owned()]) else {
        return;
    };
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    assert_eq!(seen["dimensions"]["time"], json!([3, true]));
    assert_eq!(seen["dimensions"]["station"], json!([2, false]));
    let variables = &seen["variables"];
    // None for dimensions that have none: `station`, `length`.
    assert_eq!(
        variables.as_object().unwrap().len(),
        climate().variables.len()
    );
    assert_eq!(variables["tas"]["dims"], json!(["time", "lat", "lon"]));
    assert_eq!(variables["tas"]["dtype"], "float32");
    assert_eq!(
        variables["tas"]["attributes"]["_FillValue"],
        "np.float32(1e+20)"
    );
    assert_eq!(variables["time"]["values"], "[15.5, 45.0, 74.5]");
    assert_eq!(variables["time_bnds"]["dims"], json!(["time", "bnds"]));
    assert_eq!(variables["height"]["values"], "2.0");
    assert_eq!(variables["labels"]["values"], "['Zürich', '']");
    assert_eq!(variables["bnds"]["dims"], json!(["time"]));
    assert_eq!(variables["bnds"]["values"], "[1, 2, 3]");
    assert_eq!(variables["count"]["attributes"]["long_name"], "'Größe'");
    assert_eq!(seen["attributes"]["list"], "['a', 'bé']");
    assert_eq!(seen["attributes"]["empty"], "''");
    assert_eq!(seen["xarray"]["tas"], json!([3, 40, 60]));
}

/// The output of a program, or `None` with a line that says that it is not installed.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        println!("SKIP: {program} is not installed");
        return None;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program}: {}",
        text(&output.stderr)
    );
    Some(text(&output.stdout))
}

fn check_programs(path: &Path) {
    let path = path.to_str().unwrap();
    if let Some(header) = output("ncdump", &["-h", path]) {
        for line in [
            "time = UNLIMITED ; // (3 currently)",
            "float tas(time, lat, lon) ;",
            "tas:_FillValue = 1.e+20f ;",
            "string labels(station) ;",
            "char names(station, length) ;",
            "int bnds(time) ;",
            ":version = 3 ;",
        ] {
            assert!(header.contains(line), "`{line}` is not in {header}");
        }
    }
    if let Some(summary) = output("cdo", &["-s", "sinfo", path]) {
        for part in [
            "points=2400 (60x40)",
            "1850-01-16 12:00:00",
            "F32",
            "365_day",
        ] {
            let is_calendar = part == "365_day" && summary.contains("noleap");
            assert!(
                summary.contains(part) || is_calendar,
                "`{part}` is not in {summary}"
            );
        }
    }
    if let Some(number) = output(
        "cdo",
        &[
            "-s",
            "outputf,%.6f",
            "-timsum",
            "-fldsum",
            "-selname,tas",
            path,
        ],
    ) {
        let expected: f64 = (0..3)
            .flat_map(|step| (0..2400).map(move |cell| f64::from(tas(step, cell))))
            .filter(|value| !value.is_nan())
            .sum();
        let found: f64 = number.trim().parse().unwrap();
        assert!(
            (found - expected).abs() <= 1e-6 * expected,
            "{found} is not {expected}"
        );
    }
}

#[test]
fn every_program_reads_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (name, options) in [
        ("default.nc", WriteOptions::default()),
        (
            "plain.nc",
            WriteOptions {
                compression: Some(Compression::None),
                shuffle: false,
                ..WriteOptions::default()
            },
        ),
        (
            "small.nc",
            WriteOptions {
                compression: Some(Compression::Deflate(9)),
                shuffle: false,
                ..WriteOptions::default()
            },
        ),
    ] {
        let path = folder.path().join(name);
        let dataset = written(&path, &options);
        check_own_reading(&path, &dataset);
        check_netcdf4_python(&path);
        check_programs(&path);
    }
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 3, "nothing else is left");
}

/// The library that writes has no such filter; that of netCDF4-python has.
#[test]
fn netcdf4_python_reads_zstandard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zstd.nc");
    let options = WriteOptions {
        compression: Some(Compression::Zstd(5)),
        chunks: [(0, vec![2, 16, 60])].into(),
        ..WriteOptions::default()
    };
    written(&path, &options);
    check_netcdf4_python(&path);
    let arguments = [path.to_str().unwrap().to_owned()];
    let Some(sums) = python::run("sums", &arguments) else {
        return;
    };
    let plain = folder.path().join("plain.nc");
    written(&plain, &WriteOptions::default());
    let arguments = [plain.to_str().unwrap().to_owned()];
    let expected = python::run("sums", &arguments).unwrap();
    let sums = String::from_utf8(sums).unwrap();
    let expected = String::from_utf8(expected).unwrap();
    assert_eq!(
        sums.replace("zstd.nc", ""),
        expected.replace("plain.nc", "")
    );
}

#[test]
fn our_files_can_be_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nc");
    written(&path, &WriteOptions::default());
    let path = path.to_str().unwrap();
    let twice = folder.path().join("b.nc");
    if output(
        "cdo",
        &[
            "-s",
            "cat",
            "-selname,tas",
            path,
            "-selname,tas",
            path,
            twice.to_str().unwrap(),
        ],
    )
    .is_some()
    {
        let source = Source::open(&twice).unwrap();
        let time = source.dataset().dimension_index("time").unwrap();
        assert_eq!(source.dataset().dimensions[time].len, 6);
    }
}

#[test]
fn letters_fit_their_rows_in_utf_8_or_else_in_latin_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.nc");
    let dataset = Dataset {
        dimensions: vec![dimension("row", 2, false), dimension("length", 6, false)],
        variables: vec![variable("letters", DType::Char, &[0, 1], &[])],
        ..Dataset::default()
    };
    let mut writer = Writer::create(&path, &dataset, &WriteOptions::default()).unwrap();
    let too_long = ["Größen".to_owned(), "€€€".to_owned()];
    assert!(writer.write_text(0, &too_long).is_err());
    let rows = ["Zürs".to_owned(), "Größe".to_owned()];
    writer.write_text(0, &rows).unwrap();
    writer.commit().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let stored = [&b"Z\xc3\xbcrs\0"[..], b"Gr\xf6\xdfe\0"].concat();
    assert!(bytes.windows(12).any(|window| window == stored));
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nc");
    std::fs::write(&path, b"the old one").unwrap();
    let dataset = climate();
    let mut writer = Writer::create(&path, &dataset, &WriteOptions::default()).unwrap();
    fill(&mut writer, &dataset);
    drop(writer);
    assert_eq!(std::fs::read(&path).unwrap(), b"the old one");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_netcdf_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nc");
    let mut twice = climate();
    twice.variables.push(twice.variables[0].clone());
    let named = |name: &str| {
        let mut dataset = climate();
        dataset.variables[0].name = name.to_owned();
        dataset
    };
    let names = ["a//b", "/a", "a/", "../a", "a/./b", "", "count/a"].map(named);
    let mut dims = climate();
    dims.variables[0].dims = vec![17];
    for dataset in [twice, dims].into_iter().chain(names) {
        let result = Writer::create(&path, &dataset, &WriteOptions::default());
        assert!(matches!(result, Err(WriteError::Structure { .. })));
    }
    let mut fill = climate();
    fill.variables[6].attributes.set("_FillValue", 1e20);
    let result = Writer::create(&path, &fill, &WriteOptions::default());
    assert!(matches!(result, Err(WriteError::Value { .. })));
    let dataset = climate();
    let mut writer = Writer::create(&path, &dataset, &WriteOptions::default()).unwrap();
    assert!(matches!(
        writer.write_f64(0, &[0..1], &[0.0]),
        Err(WriteError::Region { .. })
    ));
    let count = dataset.variable_index("count").unwrap();
    let result = writer.write_f64(count, &[0..1, 0..1], &[40_000.0]);
    assert!(matches!(result, Err(WriteError::Value { .. })));
    drop(writer);
    let missing = folder.path().join("no/such/folder.nc");
    let result = Writer::create(&missing, &dataset, &WriteOptions::default());
    assert!(matches!(result, Err(WriteError::Io { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A folder on a file system of this size, seen by the calling thread alone.
fn small_disk(size_bytes: usize) -> Option<tempfile::TempDir> {
    use nix::mount::{MsFlags, mount};
    let folder = tempfile::tempdir().unwrap();
    let none: Option<&str> = None;
    let options = format!("size={size_bytes}");
    let mounted = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
        .and_then(|()| {
            let options = Some(options.as_str());
            mount(
                Some("tmpfs"),
                folder.path(),
                Some("tmpfs"),
                MsFlags::empty(),
                options,
            )
        });
    match mounted {
        Ok(()) => Some(folder),
        Err(error) => {
            println!("SKIP: no privilege to mount a small file system ({error})");
            None
        }
    }
}

#[test]
fn a_full_disk_leaves_nothing_under_the_final_name() {
    let Some(folder) = small_disk(400 << 10) else {
        return;
    };
    let path = folder.path().join("a.nc");
    for compression in [Compression::Deflate(1), Compression::None] {
        let options = WriteOptions {
            compression: Some(compression),
            shuffle: false,
            ..WriteOptions::default()
        };
        let mut dataset = climate();
        dataset.dimensions[0].len = 300;
        let mut writer = Writer::create(&path, &dataset, &options).unwrap();
        let mut state = 1_u32;
        let noise: Vec<f32> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as f32
        })
        .take(300 * 2400)
        .collect();
        let result = writer
            .write_f32(0, &[0..300, 0..40, 0..60], &noise)
            .and_then(|()| writer.commit())
            .unwrap_err();
        assert!(result.to_string().contains("a.nc"), "{result}");
        assert!(result.to_string().contains("No space left"), "{result}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
    // The library still works.
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("b.nc");
    let dataset = written(&path, &WriteOptions::default());
    check_own_reading(&path, &dataset);
}
