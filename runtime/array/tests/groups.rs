//! NetCDF-4 files with groups: what lies in them is computed, selected and passed through, as
//! netCDF4-python and NumPy see it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;
mod python;

use std::path::Path;

use mizar_array::storage::Source;

fn python(command: &str, paths: &[&Path]) -> Option<String> {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let printed = python::run_script("groups.py", command, &paths)?;
    Some(String::from_utf8(printed).unwrap().trim().to_owned())
}

#[test]
fn groups_are_computed_selected_and_passed_through() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.nc");
    if python("make", &[&input]).is_none() {
        return;
    }
    let run = |operators: &str, name: &str| {
        let output = folder.path().join(name);
        cube::run(&format!(
            "{operators} {} {}",
            input.display(),
            output.display()
        ))
        .unwrap();
        output
    };
    let copy = run("-copy", "copy.nc");
    assert_eq!(python("same", &[&input, &copy]).unwrap(), "same");
    // And what we made of it, once more.
    let again = folder.path().join("again.nc");
    cube::run(&format!("-copy {} {}", copy.display(), again.display())).unwrap();
    assert_eq!(python("same", &[&input, &again]).unwrap(), "same");
    assert_eq!(
        python("mean", &[&input, &run("-timmean", "mean.nc")]).unwrap(),
        "mean"
    );
    let one = run("-sellevel,15 -selname,ocean/thetao", "one.nc");
    assert_eq!(python("only", &[&one]).unwrap(), "only");
}

#[test]
fn names_of_groups_lead_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.nc");
    if python("make", &[&input]).is_none() {
        return;
    }
    let stem = folder.path().join("out_");
    cube::run(&format!(
        "-splitname {} {}",
        input.display(),
        stem.display()
    ))
    .unwrap();
    let part = Source::open(&folder.path().join("out_ocean_thetao.nc")).unwrap();
    assert!(part.dataset().variable_index("ocean/thetao").is_some());
    // A Zarr store has no place for what lies in a group, but for all else.
    let zarr = folder.path().join("out.zarr");
    let refused = cube::run(&format!("-copy {} {}", input.display(), zarr.display()));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("lies in a group"), "{refused}");
    assert!(!zarr.exists());
    cube::run(&format!(
        "-selname,tas {} {}",
        input.display(),
        zarr.display()
    ))
    .unwrap();
    assert!(zarr.exists());
}

#[test]
fn a_group_within_itself_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.nc");
    if python("cycle", &[&input]).is_none() {
        return;
    }
    let source = Source::open(&input).unwrap();
    let variables = source.dataset().variables.iter();
    let names: Vec<&str> = variables.map(|variable| variable.name.as_str()).collect();
    assert_eq!(names, ["a/b/x"]);
    assert_eq!(source.notes().len(), 2, "{:?}", source.notes());
}
