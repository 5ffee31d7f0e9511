//! The operators as a Rust program uses them.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use cube::{Sample, read, run, write_sample};
use mizar_array::Datacube;

#[test]
fn a_program_computes_what_the_command_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.nc"), folder.path().join("out.nc"));
    write_sample(&input, &Sample::default());
    let file = Datacube::open(&input);
    let climatology = file.operator("ymonmean").unwrap();
    let anomaly = file.operator_with("ymonsub", [climatology]).unwrap();
    let series = anomaly.operator("-fldmean").unwrap();
    let computed = series.compute().unwrap();
    let found = computed.values("tas").unwrap();
    let name = input.display();
    run(&format!(
        "-b F64 -fldmean -ymonsub {name} -ymonmean {name} {}",
        output.display()
    ))
    .unwrap();
    let (shape, values) = read(&output, "tas");
    assert_eq!(found.shape, shape);
    assert_eq!(found.dimensions, ["time", "lat", "lon"]);
    assert_eq!(found.values, values);
    series.write(&output).unwrap();
    assert_eq!(read(&output, "tas").1.len(), values.len());
}

#[test]
fn what_does_not_fit_is_told_at_once() {
    let file = Datacube::open("in.nc");
    let message = |word: &str| file.operator(word).unwrap_err().to_string();
    assert!(message("timmaen").contains("did you mean `timmean`"));
    assert!(
        message("sub").contains("needs 2 inputs"),
        "{}",
        message("sub")
    );
    let missing = file.operator("timmean").unwrap().compute().unwrap_err();
    assert!(missing.to_string().contains("in.nc"), "{missing}");
}
