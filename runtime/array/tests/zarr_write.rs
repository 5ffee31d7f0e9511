//! Zarr stores that are written: what xarray, zarr-python and our own reader find in them, the
//! same bytes on any number of ranks, and what is left when writing fails.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;
mod python;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mizar_array::dataset::{AttrValue, DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{Compression, Format, WriteOptions, Writer};
use mizar_comm::run_threads;
use serde_json::{Value, json};

use cube::{Sample, cmip6, read, run, run_on, write_sample};

/// Operators of every way in which results come: streamed, reduced, in bands, from memory.
const OPERATORS: [&str; 14] = [
    "-timmean",
    "-monmean",
    "-ymonmean",
    "-yearmax",
    "-seasstd",
    "-fldmean",
    "-zonmean",
    "-mulc,2",
    "-sellonlatbox,350,40,-60,60",
    "-selmon,2,12",
    "-runmean,3",
    "-timsort",
    "-monpctl,90",
    "-gtc,285",
];

/// Runs an operator into `NAME.nc` and `NAME.zarr`.
fn run_both(operator: &str, input: &Path, folder: &Path, name: &str) {
    let input = input.display();
    for extension in ["nc", "zarr"] {
        let output = folder.join(name).with_extension(extension);
        run(&format!("{operator} {input} {}", output.display())).unwrap();
    }
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// How many pairs Python found to be the same.
fn same_pairs(folder: &Path) -> Option<usize> {
    let arguments = [text_of(folder).to_owned()];
    let printed = python::run_script("zarr_compare.py", "pairs", &arguments)?;
    Some(String::from_utf8(printed).unwrap().trim().parse().unwrap())
}

#[test]
fn xarray_finds_in_a_store_what_it_finds_in_a_file() {
    let Some(fixtures) = python::fixtures() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let inputs = tempfile::tempdir().unwrap();
    let sample = inputs.path().join("sample.nc");
    write_sample(&sample, &Sample::default());
    for (number, operator) in OPERATORS.iter().enumerate() {
        run_both(operator, &sample, folder.path(), &format!("sample{number}"));
    }
    let mut count = OPERATORS.len();
    // Packed data, texts, and the odd things of models.
    for name in ["packed.nc", "texts.nc"] {
        run_both("-copy", &fixtures.path().join(name), folder.path(), name);
        count += 1;
    }
    if let Some(model) = cmip6("ta_Amon") {
        for (number, operator) in ["-timmean", "-sellevidx,1"].iter().enumerate() {
            run_both(operator, &model, folder.path(), &format!("model{number}"));
            count += 1;
        }
    }
    assert_eq!(same_pairs(folder.path()), Some(count));
}

fn dimension(name: &str, len: usize) -> Dimension {
    Dimension {
        name: name.to_owned(),
        len,
        unlimited: false,
    }
}

fn variable(name: &str, dtype: DType, dims: &[usize]) -> Variable {
    Variable {
        name: name.to_owned(),
        dtype,
        dims: dims.to_vec(),
        attributes: std::iter::empty().collect(),
    }
}

/// One variable of each type that is a number, and texts.
fn every_type() -> (Dataset, Vec<DType>) {
    let numbers = vec![
        DType::I8,
        DType::U8,
        DType::I16,
        DType::U16,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::U64,
        DType::F32,
        DType::F64,
    ];
    let mut variables: Vec<Variable> = numbers
        .iter()
        .map(|&dtype| variable(&format!("{dtype:?}"), dtype, &[0, 1]))
        .collect();
    for (variable, dtype) in variables.iter_mut().zip(&numbers) {
        let fill = match dtype {
            DType::F32 | DType::F64 => f64::NAN,
            _ => 99.0,
        };
        if dtype.size_bytes() != 2 {
            variable.attributes.set("_FillValue", fill);
            variable.attributes.set("missing_value", fill);
        }
        variable.attributes.set("scale", f64::INFINITY);
    }
    variables.push(variable("rows", DType::Char, &[0, 2]));
    variables.push(variable("letter", DType::Char, &[]));
    variables.push(variable("labels", DType::Text, &[0]));
    variables.push(variable("scalar", DType::F64, &[]));
    variables.push(variable("never", DType::F32, &[0]));
    let dataset = Dataset {
        dimensions: vec![dimension("y", 3), dimension("x", 5), dimension("n", 6)],
        variables,
        attributes: std::iter::once(("title".to_owned(), AttrValue::from("Größe"))).collect(),
    };
    (dataset, numbers)
}

fn value(cell: usize) -> f64 {
    match cell % 7 {
        3 => f64::NAN,
        _ => cell as f64,
    }
}

#[test]
fn our_reader_gives_back_every_type() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, numbers) = every_type();
    for compression in [
        None,
        Some(Compression::None),
        Some(Compression::Deflate(5)),
        Some(Compression::Zstd(19)),
    ] {
        let path = folder.path().join("types.zarr");
        let options = WriteOptions {
            format: Format::Zarr3,
            compression,
            chunks: BTreeMap::from([(0, vec![2, 3]), (8, vec![1, 5]), (9, vec![9, 9])]),
            ..WriteOptions::default()
        };
        let mut writer = Writer::create(&path, &dataset, &options).unwrap();
        let index = |name: &str| dataset.variable_index(name).unwrap();
        // In two halves that are not chunks, the second first.
        for number in 0..numbers.len() {
            for rows in [2..3, 0..2] {
                let values: Vec<f64> = (rows.start * 5..rows.end * 5).map(value).collect();
                writer.write_f64(number, &[rows, 0..5], &values).unwrap();
            }
        }
        let texts = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        writer
            .write_text(index("rows"), &texts(&["Bern", "", "Zürich"][..2]))
            .unwrap_err();
        writer
            .write_text(index("rows"), &texts(&["Bern", "", "Genf"]))
            .unwrap();
        writer.write_text(index("letter"), &texts(&["x"])).unwrap();
        writer
            .write_text(index("labels"), &texts(&["ä€", "", "long enough"]))
            .unwrap();
        writer.write_f64(index("scalar"), &[], &[2.5]).unwrap();
        writer.commit().unwrap();

        let source = Source::open(&path).unwrap();
        let found = |name: &str| source.dataset().variable_index(name).unwrap();
        for dtype in &numbers {
            let name = format!("{dtype:?}");
            assert_eq!(source.dataset().variable(&name).unwrap().dtype, *dtype);
            let (shape, values) = read(&path, &name);
            assert_eq!(shape, [3, 5]);
            for (cell, &found) in values.iter().enumerate() {
                let expected = value(cell);
                let is_same = found == expected || found.is_nan() && expected.is_nan();
                assert!(is_same, "{name} {compression:?} {cell}: {found}");
            }
        }
        assert_eq!(
            source.read_text(found("rows")).unwrap(),
            ["Bern", "", "Genf"]
        );
        assert_eq!(source.read_text(found("letter")).unwrap(), ["x"]);
        let labels = source.read_text(found("labels")).unwrap();
        assert_eq!(labels, ["ä€", "", "long enough"]);
        assert_eq!(read(&path, "scalar"), (vec![], vec![2.5]));
        assert!(read(&path, "never").1.iter().all(|value| value.is_nan()));
        assert_eq!(source.dataset().attributes.get_text("title"), Some("Größe"));
    }
    // The last one replaced those before it.
    assert_eq!(mizar_lab::names_in(folder.path()), ["types.zarr"]);
}

/// Every file under a folder, with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().to_owned();
                    found.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

/// Ranks write their own chunks, parts of chunks meet on the first: not a byte may differ.
#[test]
fn any_number_of_ranks_writes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.nc");
    write_sample(
        &input,
        &Sample {
            steps: 400,
            lats: 45,
            lons: 72,
            ..Sample::default()
        },
    );
    for line in [
        "-mulc,2",
        "--chunks time=1 -addc,1",
        "--chunks time=50,lat=10,lon=25 -z zip_1 -sellonlatbox,350,100,-60,60",
        "--chunks time=7 -timsort",
        "-monmean",
        "-runmean,3",
    ] {
        // Chunks that nobody chose are as wide as the bands of a rank.
        let has_bands = line == "-runmean,3";
        let mut stores = Vec::new();
        let mut values = Vec::new();
        for extension in ["zarr", "nc"] {
            for (ranks, threads) in [(1, 2), (2, 1), (3, 2)] {
                let results = folder.path().join("results");
                std::fs::create_dir(&results).unwrap();
                let output = results.join("out").with_extension(extension);
                let line = format!("{line} {} {}", input.display(), output.display());
                for result in run_threads(ranks, |comm| run_on(comm, threads, &line)) {
                    result.unwrap_or_else(|error| panic!("{line}: {}", error.chain()));
                }
                assert_eq!(mizar_lab::names_in(&results).len(), 1, "{line}");
                let bits = |value: f64| value.to_bits();
                let found = read(&output, "tas").1.into_iter().map(bits);
                values.push(found.collect::<Vec<u64>>());
                if extension == "zarr" {
                    stores.push(contents(&output));
                }
                std::fs::remove_dir_all(&results).unwrap();
            }
        }
        let is_same = stores.iter().all(|store| *store == stores[0]);
        assert!(is_same || has_bands, "{line}");
        assert!(values.iter().all(|found| *found == values[0]), "{line}");
    }
}

/// Thick chunks of which blocks give parts, more of them than memory may hold.
#[test]
fn chunks_that_do_not_fit_in_memory_have_the_same_values() {
    let folder = tempfile::tempdir().unwrap();
    let (steps, cells) = (900, 40_000);
    let dataset = Dataset {
        dimensions: vec![dimension("t", steps), dimension("c", cells)],
        variables: vec![variable("v", DType::F32, &[0, 1])],
        attributes: std::iter::empty().collect(),
    };
    for format in [Format::Zarr3, Format::NetCdf4] {
        let path = folder
            .path()
            .join("thick")
            .with_extension(format.extension());
        let options = WriteOptions {
            format,
            compression: Some(Compression::Zstd(1)),
            chunks: BTreeMap::from([(0, vec![steps, 500])]),
            ..WriteOptions::default()
        };
        let options = match format {
            Format::NetCdf4 => WriteOptions {
                compression: Some(Compression::Deflate(1)),
                ..options
            },
            Format::Zarr3 => options,
        };
        let value = |step: usize, cell: usize| (step * 7 + cell % 1000) as f32;
        let mut writer = Writer::create(&path, &dataset, &options).unwrap();
        for from in (0..steps).step_by(300) {
            let block: Vec<f32> = (from..from + 300)
                .flat_map(|step| (0..cells).map(move |cell| value(step, cell)))
                .collect();
            writer
                .write_f32(0, &[from..from + 300, 0..cells], &block)
                .unwrap();
        }
        writer.commit().unwrap();
        let source = Source::open(&path).unwrap();
        let mut row = vec![0.0_f32; cells];
        for step in [0, 299, 300, 899] {
            source
                .read_f32(0, &[step..step + 1, 0..cells], &mut row)
                .unwrap();
            let wrong = (0..cells).find(|&cell| row[cell] != value(step, cell));
            assert_eq!(wrong, None, "{format:?}, step {step}");
        }
        drop(source);
        match format {
            Format::NetCdf4 => std::fs::remove_file(&path).unwrap(),
            Format::Zarr3 => std::fs::remove_dir_all(&path).unwrap(),
        }
    }
}

#[test]
fn only_stores_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.nc");
    write_sample(&input, &Sample::default());
    let output = folder.path().join("out.zarr");
    let line = format!("-timmean {} {}", input.display(), output.display());
    // A folder that is no store may hold anything.
    std::fs::create_dir(&output).unwrap();
    std::fs::write(output.join("thesis.tex"), "the only copy").unwrap();
    let error = run(&line).unwrap_err().chain();
    assert!(error.contains("cannot replace"), "{error}");
    assert!(
        error.contains("no Zarr store: it is not replaced"),
        "{error}"
    );
    assert_eq!(mizar_lab::names_in(&output), ["thesis.tex"]);
    std::fs::remove_file(output.join("thesis.tex")).unwrap();
    // An empty one, a store, and with `-f zarr` a file.
    run(&line).unwrap();
    run(&line).unwrap();
    assert_eq!(read(&output, "tas").0, [1, 18, 24]);
    let file = folder.path().join("copy.nc");
    std::fs::copy(&input, &file).unwrap();
    run(&format!(
        "-f zarr -timmean {} {}",
        input.display(),
        file.display()
    ))
    .unwrap();
    assert!(file.join("zarr.json").exists());
    // The store is an input of its own successor.
    let grown = format!("-cat {} {}", input.display(), output.display());
    run(&grown).unwrap();
    assert_eq!(read(&output, "tas").0, [431, 18, 24]);
    let own = format!("-mulc,2 {} {}", output.display(), output.display());
    assert!(run(&own).unwrap_err().is_usage());
    assert_eq!(
        mizar_lab::names_in(folder.path()),
        ["copy.nc", "in.nc", "out.zarr"]
    );
}

#[test]
fn chunks_and_codecs_are_those_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.nc");
    write_sample(&input, &Sample::default());
    let output = folder.path().join("out.zarr");
    for (options, chunk, codecs) in [
        ("", [430, 18, 24], &["bytes", "zstd"][..]),
        (
            "--chunks time=10,lat=all,lon=5 -z zip_4",
            [10, 18, 5],
            &["bytes", "gzip"],
        ),
        ("-k lines -z none", [1, 1, 24], &["bytes"]),
        (
            "--chunkspec t=20 -z zstd_9",
            [20, 18, 24],
            &["bytes", "zstd"],
        ),
    ] {
        run(&format!(
            "{options} -mulc,2 {} {}",
            input.display(),
            output.display()
        ))
        .unwrap();
        let arguments = [text_of(&output).to_owned()];
        let Some(printed) = python::run_script("zarr_compare.py", "chunks", &arguments) else {
            return;
        };
        let found: Value = serde_json::from_slice(&printed).unwrap();
        assert_eq!(found["tas"], json!([chunk, codecs]), "{options}");
        assert_eq!(found["lat"][0], json!([18]), "coordinates are whole");
    }
    let prefix = folder.path().join("part");
    run(&format!(
        "-f zarr -splitname {} {}",
        input.display(),
        prefix.display()
    ))
    .unwrap();
    assert!(folder.path().join("parttas.zarr/zarr.json").exists());
}
