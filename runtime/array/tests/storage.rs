//! Reading, against what netCDF4-python and cftime read from the same files.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a region is a list of ranges, often of one"
)]

mod python;

use std::ops::Range;
use std::path::{Path, PathBuf};

use mizar_array::dataset::{AttrValue, DType};
use mizar_array::storage::{Source, StorageError};
use mizar_array::time_axis::{Calendar, TimeUnits};
use serde_json::Value;

/// A small generator of reproducible numbers, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }

    fn region(&mut self, shape: &[usize]) -> Vec<Range<usize>> {
        shape
            .iter()
            .map(|&len| {
                let (a, b) = (self.below(len + 1), self.below(len + 1));
                a.min(b)..a.max(b)
            })
            .collect()
    }
}

fn same(left: f64, right: f64) -> bool {
    left.to_bits() == right.to_bits() || (left.is_nan() && right.is_nan())
}

/// The cells of a region of a whole array, the slow and obvious way.
fn cut(whole: &[f64], shape: &[usize], region: &[Range<usize>]) -> Vec<f64> {
    let Some((range, rest)) = region.split_first() else {
        return vec![whole[0]];
    };
    let stride: usize = shape[1..].iter().product();
    range
        .clone()
        .flat_map(|index| cut(&whole[index * stride..][..stride], &shape[1..], rest))
        .collect()
}

fn read_values(path: &Value) -> Vec<f64> {
    std::fs::read(path.as_str().unwrap())
        .unwrap()
        .chunks_exact(8)
        .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

fn numbers(value: &Value) -> Vec<usize> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_u64().unwrap() as usize)
        .collect()
}

fn check_variable(source: &Source, expected: &Value, dice: &mut Dice) {
    let name = expected["name"].as_str().unwrap();
    let label = format!("{} {name}", source.path().display());
    let index = source
        .dataset()
        .variable_index(name)
        .unwrap_or_else(|| panic!("{label}"));
    let shape = numbers(&expected["shape"]);
    assert_eq!(source.dataset().shape(index), shape, "{label}");
    let dims: Vec<&str> = source.dataset().variables[index]
        .dims
        .iter()
        .map(|&dim| source.dataset().dimensions[dim].name.as_str())
        .collect();
    assert_eq!(serde_json::json!(dims), expected["dims"], "{label}");
    let values = read_values(&expected["values"]);
    let whole = source.dataset().whole(index);
    for round in 0..8 {
        let region = if round == 0 {
            whole.clone()
        } else {
            dice.region(&shape)
        };
        let expected = if region.iter().any(Range::is_empty) {
            Vec::new()
        } else {
            cut(&values, &shape, &region)
        };
        let mut doubles = vec![7.0; expected.len()];
        let mut singles = vec![7.0_f32; expected.len()];
        source.read_f64(index, &region, &mut doubles).unwrap();
        source.read_f32(index, &region, &mut singles).unwrap();
        for (cell, &expected) in expected.iter().enumerate() {
            let (double, single) = (doubles[cell], singles[cell]);
            assert!(
                same(double, expected),
                "{label} {region:?}: {double} is not {expected}"
            );
            assert!(
                same(single.into(), (expected as f32).into()),
                "{label} {region:?}: {single} is not {expected}"
            );
            if source.is_f32(index) {
                assert!(same(single.into(), double), "{label} is said to be single");
            }
        }
    }
}

#[test]
fn every_kind_of_file_reads_as_netcdf_reads_it() {
    let Some(folder) = python::fixtures() else {
        return;
    };
    let manifest = std::fs::read(folder.path().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut dice = Dice(1);
    for file in manifest.as_array().unwrap() {
        let source = Source::open(Path::new(file["path"].as_str().unwrap())).unwrap();
        for variable in file["variables"].as_array().unwrap() {
            if variable["name"] == "with_zstd" {
                names_the_filter_it_lacks(&source);
            } else {
                check_variable(&source, variable, &mut dice);
            }
        }
        for dimension in file["dimensions"].as_array().unwrap() {
            let name = dimension["name"].as_str().unwrap();
            let index = source
                .dataset()
                .dimension_index(name)
                .unwrap_or_else(|| panic!("{name}"));
            let found = &source.dataset().dimensions[index];
            assert_eq!(found.len as u64, dimension["len"], "{name}");
            assert_eq!(found.unlimited, dimension["unlimited"], "{name}");
        }
        source.check_unchanged().unwrap();
    }
    reads_texts_and_attributes(&folder.path().join("texts.nc"));
    says_how_it_is_stored(&folder.path().join("all_types.nc"));
    many_threads_read_at_once(&folder.path().join("all_types.nc"));
    refuses_what_is_not_there(&folder.path().join("texts.nc"));
    for version in ["classic", "64bit_offset", "64bit_data"] {
        let path = folder.path().join(format!("netcdf3_{version}.nc"));
        many_threads_read_at_once(&path);
        reads_texts_of_netcdf3(&path);
        counts_records_that_the_writer_did_not(&path);
    }
    counts_records_that_the_writer_did_not(&folder.path().join("scipy_1.nc"));
}

fn reads_texts_of_netcdf3(path: &Path) {
    let source = Source::open(path).unwrap();
    let dataset = source.dataset();
    let index = |name| dataset.variable_index(name).unwrap();
    let texts = |name| source.read_text(index(name)).unwrap();
    assert_eq!(texts("letters"), ["abc   ", "de", ""]);
    assert_eq!(texts("record_letters")[6], "step 6");
    let attributes = &dataset.attributes;
    assert_eq!(attributes.get_text("title"), Some("Größe"));
    assert_eq!(attributes.get_text("empty"), Some(""));
    assert_eq!(attributes.get("two_i2"), Some(&AttrValue::I16(vec![3, 4])));
    if path.ends_with("netcdf3_64bit_data.nc") {
        assert_eq!(attributes.get("two_u8"), Some(&AttrValue::U64(vec![3, 4])));
    }
    assert_eq!(source.chunk_shape(index("record_f4")), Some(vec![1, 3, 5]));
    assert_eq!(source.chunk_shape(index("fixed_f4")), None);
    assert_eq!(
        source.stored_bytes(index("record_i2"), &[0..2, 0..3, 1..2]),
        12
    );
    assert!(source.is_f32(index("packed")) && !source.is_f32(index("record_f8")));
}

/// A number of records of -1: the writer was a stream, and the file's size tells.
fn counts_records_that_the_writer_did_not(path: &Path) {
    let everything = |path: &Path| {
        let source = Source::open(path).unwrap();
        let dataset = source.dataset();
        let numbers = (0..dataset.variables.len())
            .filter(|&index| !dataset.variables[index].dtype.is_text())
            .map(|index| {
                let whole = dataset.whole(index);
                let cells = whole.iter().map(ExactSizeIterator::len).product();
                let mut out = vec![0.0; cells];
                source.read_f64(index, &whole, &mut out).unwrap();
                out.into_iter().map(f64::to_bits).collect::<Vec<_>>()
            });
        numbers.collect::<Vec<_>>()
    };
    let mut bytes = std::fs::read(path).unwrap();
    let count_bytes = if bytes[3] == 5 { 8 } else { 4 };
    bytes[4..4 + count_bytes].fill(0xff);
    let streamed = path.with_extension("streamed.nc");
    std::fs::write(&streamed, bytes).unwrap();
    assert_eq!(
        everything(path),
        everything(&streamed),
        "{}",
        path.display()
    );
}

/// Unless this machine has the plugin.
fn names_the_filter_it_lacks(source: &Source) {
    let index = source.dataset().variable_index("with_zstd").unwrap();
    let whole = source.dataset().whole(index);
    if let Err(error) = source.read_f64(index, &whole, &mut [0.0; 7 * 13]) {
        let text = error.to_string();
        assert!(text.contains("zstd (HDF5 filter 32015)"), "{text}");
    }
}

fn reads_texts_and_attributes(path: &Path) {
    let source = Source::open(path).unwrap();
    let dataset = source.dataset();
    let texts = |name| {
        source
            .read_text(dataset.variable_index(name).unwrap())
            .unwrap()
    };
    assert_eq!(dataset.variable("letters").unwrap().dtype, DType::Char);
    assert_eq!(texts("letters"), ["abc   ", "de", ""]);
    assert_eq!(dataset.variable("strings").unwrap().dtype, DType::Text);
    // UTF-8 is kept; what is none, even for a letter that is cut in two, is Latin-1.
    assert_eq!(texts("foreign"), ["Züric", "Genève", "abcdeÃ"]);
    assert_eq!(texts("strings"), ["Bern", "Zürich", ""]);
    // A variable named as a dimension that it does not have.
    assert_eq!(
        dataset.shape(dataset.variable_index("lonely").unwrap()),
        [3]
    );
    let attributes = &dataset.attributes;
    assert_eq!(attributes.get_text("utf8"), Some("Größe"));
    assert_eq!(attributes.get_text("empty"), Some(""));
    assert_eq!(attributes.get_text("string"), Some("one"));
    let list = ["a", "bc", "déf"].map(str::to_owned).to_vec();
    assert_eq!(attributes.get("list"), Some(&AttrValue::TextList(list)));
    assert_eq!(attributes.get("one_i1"), Some(&AttrValue::I8(vec![3])));
    assert_eq!(attributes.get("two_u8"), Some(&AttrValue::U64(vec![3, 4])));
    assert_eq!(
        attributes.get("two_f4"),
        Some(&AttrValue::F32(vec![3.0, 4.0]))
    );
    let names: Vec<&str> = attributes.iter().map(|(name, _)| name).collect();
    assert_eq!(names[..4], ["empty", "utf8", "string", "list"]);
    let own: Vec<&str> = dataset
        .variable("y")
        .unwrap()
        .attributes
        .iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(own, ["CLASS_OF_ITS_OWN"]);
    assert!(source.notes().is_empty(), "{:?}", source.notes());
    // A dimension of a group.
    let hidden = dataset.dimension_index("inner/hidden").unwrap();
    assert_eq!(dataset.dimensions[hidden].len, 2);
    assert!(matches!(
        source.read_f64(
            dataset.variable_index("strings").unwrap(),
            &[0..3],
            &mut [0.0; 3]
        ),
        Err(StorageError::WrongKind { .. })
    ));
    assert!(matches!(
        source.read_text(dataset.variable_index("y").unwrap()),
        Err(StorageError::WrongKind { .. })
    ));
}

fn says_how_it_is_stored(path: &Path) {
    let source = Source::open(path).unwrap();
    let index = |name| source.dataset().variable_index(name).unwrap();
    assert_eq!(
        source.chunk_shape(index("f4_little_1")),
        Some(vec![2, 3, 5])
    );
    assert_eq!(source.chunk_shape(index("contiguous")), None);
    assert_eq!(
        source.stored_bytes(index("contiguous"), &[0..7, 0..13]),
        7 * 13 * 4
    );
    assert_eq!(
        source.stored_bytes(index("never_written_chunked"), &[0..5, 0..7]),
        0
    );
    let stored = source.stored_bytes(index("holes"), &[0..7, 0..13]);
    assert!((1..100).contains(&stored), "{stored}");
}

fn many_threads_read_at_once(path: &Path) {
    let source = Source::open(path).unwrap();
    let read = |index: usize| {
        let whole = source.dataset().whole(index);
        let mut out = vec![0.0; whole.iter().map(ExactSizeIterator::len).product()];
        source.read_f64(index, &whole, &mut out).unwrap();
        out.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
    };
    let variables = &source.dataset().variables;
    let readable: Vec<usize> = (0..variables.len())
        .filter(|&index| variables[index].name != "with_zstd")
        .filter(|&index| !variables[index].dtype.is_text())
        .collect();
    let alone: Vec<_> = readable.iter().map(|&index| read(index)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (alone, read, readable) = (&alone, &read, &readable);
            scope.spawn(move || {
                for step in 0..readable.len() {
                    let turn = (step * 7 + thread * 13) % readable.len();
                    assert_eq!(read(readable[turn]), alone[turn]);
                }
            });
        }
    });
}

fn refuses_what_is_not_there(path: &Path) {
    let source = Source::open(path).unwrap();
    let y = source.dataset().variable_index("y").unwrap();
    for (region, length) in [
        (vec![0..3], 3),
        (vec![0..2], 1),
        (vec![], 1),
        (vec![0..1, 0..1], 1),
    ] {
        let result = source.read_f64(y, &region, &mut vec![0.0; length]);
        assert!(
            matches!(result, Err(StorageError::Region { .. })),
            "{region:?}"
        );
    }
}

#[test]
fn cmip6_files_hold_what_netcdf_finds_in_them() {
    let Some(files) = python::cmip6_files() else {
        return;
    };
    let Some(expected) = python::run("sums", &files) else {
        return;
    };
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let mut variables = 0;
    for file in expected.as_array().unwrap() {
        let source = Source::open(Path::new(file["path"].as_str().unwrap())).unwrap();
        for variable in file["variables"].as_array().unwrap() {
            let index = source
                .dataset()
                .variable_index(variable[0].as_str().unwrap())
                .unwrap();
            assert_eq!(source.dataset().shape(index), numbers(&variable[1]));
            let whole = source.dataset().whole(index);
            let mut out = vec![0.0; whole.iter().map(ExactSizeIterator::len).product()];
            source.read_f64(index, &whole, &mut out).unwrap();
            let missing = out.iter().filter(|value| value.is_nan()).count();
            let sum = out
                .iter()
                .filter(|value| !value.is_nan())
                .fold(0_u64, |sum, value| sum.wrapping_add(value.to_bits()));
            let label = format!("{} {}", file["path"], variable[0]);
            assert_eq!(missing as u64, variable[2], "{label}");
            assert_eq!(sum.to_string(), variable[3].as_str().unwrap(), "{label}");
            variables += 1;
        }
    }
    println!("{} files, {variables} variables", files.len());
}

#[test]
fn cmip6_files_have_their_axes_and_dates() {
    use mizar_array::dataset::Axis;
    let Some(files) = python::cmip6_files() else {
        return;
    };
    for path in files.iter().map(PathBuf::from) {
        let source = Source::open(&path).unwrap();
        let dataset = source.dataset();
        let data = dataset.data_variables();
        let names: Vec<&str> = data
            .iter()
            .map(|&index| dataset.variables[index].name.as_str())
            .collect();
        assert!(names.contains(&"ta"), "{}: {names:?}", path.display());
        let ta = dataset.variable_index("ta").unwrap();
        let time = dataset.coordinate(ta, Axis::Time).unwrap();
        assert!(
            dataset.coordinate(ta, Axis::Level).is_some(),
            "{}",
            path.display()
        );
        assert!(
            dataset.coordinate(ta, Axis::Latitude).is_some(),
            "{}",
            path.display()
        );
        assert!(
            dataset.coordinate(ta, Axis::Longitude).is_some(),
            "{}",
            path.display()
        );
        assert_eq!(dataset.axis_position(ta, Axis::Time), Some(0));
        let attributes = &dataset.variables[time].attributes;
        let units: TimeUnits = attributes.get_text("units").unwrap().parse().unwrap();
        let calendar: Calendar = attributes
            .get_text("calendar")
            .unwrap_or_default()
            .parse()
            .unwrap();
        let mut values = vec![0.0; dataset.shape(time)[0]];
        source
            .read_f64(time, &dataset.whole(time), &mut values)
            .unwrap();
        for value in values {
            let year = units.date(value, calendar).unwrap().year;
            assert!((1800..2400).contains(&year), "{}: {year}", path.display());
        }
    }
}

#[test]
fn dates_are_those_of_cftime() {
    let Some(expected) = python::run("dates", &[]) else {
        return;
    };
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let rows = expected.as_array().unwrap();
    assert!(rows.len() > 500, "{}", rows.len());
    for row in rows {
        let units: TimeUnits = row[0].as_str().unwrap().parse().unwrap();
        let calendar: Calendar = row[1].as_str().unwrap().parse().unwrap();
        let value = f64::from_bits(row[2].as_str().unwrap().parse().unwrap());
        let date = units.date(value, calendar).unwrap();
        let fields = [
            i64::from(date.year),
            date.month.into(),
            date.day.into(),
            date.hour.into(),
            date.minute.into(),
            date.second.into(),
        ];
        let expected: Vec<i64> = row[3]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| field.as_i64().unwrap())
            .collect();
        // The last microsecond is a matter of rounding.
        let close = (i64::from(date.microsecond) - expected[6]).abs() <= 10;
        assert!(
            fields == expected[..6] && close || near_a_second(&date, &expected),
            "{row} {date}"
        );
    }
}

/// Whether two times differ only because one was rounded up to a whole second.
fn near_a_second(date: &mizar_array::time_axis::DateTime, expected: &[i64]) -> bool {
    let is_near = |microsecond: i64| !(20..999_980).contains(&microsecond);
    is_near(date.microsecond.into()) && is_near(expected[6])
}
