//! NetCDF-3 files: the same answers as from NetCDF-4, and errors that name variable and bytes.
//! (Values against netCDF4-python are in `storage.rs`.)
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a region is a list of ranges, often of one"
)]

mod classic;
mod cube;

use std::path::Path;

use mizar_array::storage::Source;

use classic::{CELLS, RECORDS, value};
use cube::{Sample, cdo, has, read, run, write_sample};

/// Everything a file holds, or the error.
fn read_all(path: &Path) -> Result<Vec<Vec<u64>>, String> {
    let say = |error: mizar_array::storage::StorageError| error.to_string();
    let source = Source::open(path).map_err(say)?;
    let dataset = source.dataset();
    let mut all = Vec::new();
    for (index, variable) in dataset.variables.iter().enumerate() {
        if variable.dtype.is_text() {
            source.read_text(index).map_err(say)?;
            continue;
        }
        let whole = dataset.whole(index);
        let mut out = vec![0.0; whole.iter().map(ExactSizeIterator::len).product()];
        source.read_f64(index, &whole, &mut out).map_err(say)?;
        all.push(out.into_iter().map(f64::to_bits).collect());
    }
    Ok(all)
}

#[test]
fn a_file_made_by_hand_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hand.nc");
    for version in [1, 2, 5] {
        std::fs::write(&path, classic::file(version).bytes).unwrap();
        let source = Source::open(&path).unwrap();
        let index = |name| source.dataset().variable_index(name).unwrap();
        let mut out = [0.0_f32; RECORDS * CELLS];
        source
            .read_f32(index("t"), &[0..RECORDS, 0..CELLS], &mut out)
            .unwrap();
        for (place, &found) in out.iter().enumerate() {
            assert_eq!(found, value(place / CELLS, place % CELLS));
        }
        let mut out = [0.0; 2];
        source.read_f64(index("time"), &[3..5], &mut out).unwrap();
        assert_eq!(out, [3.0, 4.0]);
        assert_eq!(source.read_text(index("names")).unwrap()[2], "cz");
        let title = source.dataset().attributes.get_text("title");
        assert_eq!(title, Some("made by hand"));
    }
}

/// Cut anywhere, it is an error with the bytes that are missing, and with the variable once the
/// header is whole.
#[test]
fn a_cut_is_an_error_with_variable_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.nc");
    for version in [1, 2, 5] {
        let whole = classic::file(version);
        for length in 4..whole.bytes.len() {
            std::fs::write(&path, &whole.bytes[..length]).unwrap();
            let error = read_all(&path).unwrap_err();
            assert!(error.contains("cut.nc is damaged"), "{length}: {error}");
            assert!(error.contains(", bytes "), "{length}: {error}");
            assert!(error.contains("cut short"), "{length}: {error}");
            let is_header = length < whole.header_bytes;
            assert_eq!(error.contains("header, "), is_header, "{length}: {error}");
            assert_eq!(
                error.contains("variable `"),
                !is_header,
                "{length}: {error}"
            );
        }
    }
}

#[test]
fn offsets_that_lie_are_errors_with_variable_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lies.nc");
    for version in [1, 2, 5] {
        let whole = classic::file(version);
        let size = whole.bytes.len();
        for (variable, name) in ["x", "names", "t", "time"].into_iter().enumerate() {
            for (begin, problem) in [
                (0_u64, "they overlap the header"),
                (whole.header_bytes as u64 - 1, "they overlap the header"),
                (size as u64 - 1, "beyond the end of the file"),
                (u64::MAX - 3, "beyond the end of the file"),
            ] {
                let mut bytes = whole.bytes.clone();
                let place = whole.begins[variable];
                let number = &begin.to_be_bytes()[8 - whole.offset_bytes..];
                bytes[place..place + whole.offset_bytes].copy_from_slice(number);
                std::fs::write(&path, bytes).unwrap();
                let error = read_all(&path).unwrap_err();
                let begin = begin & (u64::MAX >> (64 - 8 * whole.offset_bytes));
                let expected = format!("variable `{name}`, bytes {begin}..");
                assert!(error.contains(&expected), "`{expected}` not in `{error}`");
                assert!(error.contains(problem), "{error}");
            }
        }
        // More records than there are.
        let mut bytes = whole.bytes.clone();
        let least = if version == 5 { 11 } else { 7 };
        bytes[least - 1] = 1;
        std::fs::write(&path, bytes).unwrap();
        let error = read_all(&path).unwrap_err();
        assert!(error.contains("variable `t`, bytes "), "{error}");
        assert!(error.contains("cut short"), "{error}");
    }
}

/// Written to after it was opened: noticed by its end, or by its time.
#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shrinks.nc");
    let whole = classic::file(2);
    std::fs::write(&path, &whole.bytes).unwrap();
    let source = Source::open(&path).unwrap();
    source.check_unchanged().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(whole.bytes.len() as u64 - 40).unwrap();
    assert!(source.check_unchanged().is_err());
    let t = source.dataset().variable_index("t").unwrap();
    let mut out = [0.0; RECORDS * CELLS];
    let error = source
        .read_f64(t, &[0..RECORDS, 0..CELLS], &mut out)
        .unwrap_err()
        .to_string();
    assert!(error.contains("variable `t`, bytes "), "{error}");
}

#[test]
fn operators_give_the_same_bits_as_from_netcdf4() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (four, three) = (folder.path().join("4.nc"), folder.path().join("3.nc"));
    let (of_four, of_three) = (folder.path().join("o4.nc"), folder.path().join("o3.nc"));
    let sample = Sample {
        steps: 100,
        ..Sample::default()
    };
    write_sample(&four, &sample);
    for format in ["nc1", "nc2", "nc5"] {
        cdo(&format!(
            "-f {format} -copy {} {}",
            four.display(),
            three.display()
        ));
        assert_eq!(&std::fs::read(&three).unwrap()[..3], b"CDF");
        for line in [
            "-timmean",
            "-monmean",
            "-fldmean",
            "-sellonlatbox,0,90,0,45",
        ] {
            run(&format!(
                "-b F64 {line} {} {}",
                four.display(),
                of_four.display()
            ))
            .unwrap();
            run(&format!(
                "{line} {} {}",
                three.display(),
                of_three.display()
            ))
            .unwrap();
            let bits = |path| {
                let (shape, values) = read(path, "tas");
                let values = values.into_iter().map(f64::to_bits);
                (shape, values.collect::<Vec<_>>())
            };
            assert!(bits(&of_four) == bits(&of_three), "{format} {line}");
        }
    }
}
