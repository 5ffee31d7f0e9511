//! Every operator against `cdo` on CMIP6 files of several models, resolutions in time and
//! calendars, and on a global grid with missing values.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::Path;

use mizar_array::storage::Source;
use mizar_array::time_axis::{Calendar, TimeAxis};

use cube::{Sample, assert_close, attribute, cdo, cmip6, has, read, run, with_file, write_sample};

/// Calendars 365_day, 360_day, proleptic_gregorian and gregorian, monthly and daily, two
/// pressure levels each. (cdo does not know `julian`.)
const MODELS: [&str; 9] = [
    "ta_day_TaiESM1_",
    "ta_Amon_KACE-1-0-G_",
    "ta_day_KACE-1-0-G_",
    "ta_Amon_AWI-CM-1-1-MR_",
    "ta_Amon_MIROC6_",
    "ta_day_MIROC6_",
    "ta_Amon_ACCESS-CM2_",
    "ta_day_EC-Earth3-AerChem_",
    "ta_Amon_BCC-CSM2-MR_",
];

/// The command lines; `F` is the file, `YEAR` its first year.
const LINES: [&str; 28] = [
    "-selname,ta F",
    "-sellonlatbox,358,1.9,80,90 F",
    "-sellonlatbox,-180,180,90,88.2 F",
    "-seldate,YEAR-02-01,YEAR-04-30 F",
    "-seldate,YEAR-02-01T00:00:00,YEAR-05-16T12:00:00 F",
    "-selmon,1,6/8 F",
    "-timmean F",
    "-timmin F",
    "-timmax F",
    "-timsum F",
    "-timstd F",
    "-monmean F",
    "-yearmean F",
    "-ymonmean F",
    "-ymonsub F -ymonmean F",
    "-sub F -timmean F",
    "-sub F F",
    "-fldmean F",
    "-zonmean F",
    "-timmean -sellonlatbox,358,1.9,80,90 F",
    "-sellonlatbox,358,1.9,80,90 -timmean F",
    "-timstd -monmean F",
    "-yearmean -fldmean F",
    "-fldmean -timmean F",
    "-timmax -ymonsub F -ymonmean F",
    "-selmon,2 -monmean F",
    "-sub -timmax F -timmin F",
    "-zonmean -selmon,1 -seldate,YEAR-01-01,YEAR-06-30 F",
];

/// A group's time is the middle of its bounds here, and for cdo that of its middle steps: with
/// months of unequal length days apart.
const MIDDLE_DAYS: f64 = 2.5;

/// Runs a line both ways and compares data, times and bounds. `F` is `file`, for cdo `theirs`.
fn check_on(line: &str, file: &Path, theirs: &Path, folder: &Path) {
    check_lines_equal(&with_file(line, file), &with_file(line, theirs), folder);
}

fn check(line: &str, folder: &Path) {
    check_lines_equal(line, line, folder);
}

fn check_lines_equal(line: &str, cdo_line: &str, folder: &Path) {
    let (ours, theirs) = (folder.join("mizar.nc"), folder.join("cdo.nc"));
    run(&format!("-b F64 {line} {}", ours.display())).unwrap_or_else(|e| panic!("{line}: {e}"));
    cdo(&format!("{cdo_line} {}", theirs.display()));
    let output = Source::open(&theirs).unwrap();
    let data = output.dataset().data_variables();
    assert!(!data.is_empty(), "{line}");
    for index in data {
        let name = &output.dataset().variables[index].name;
        assert_close(
            &format!("{line}: {name}"),
            &read(&ours, name),
            &read(&theirs, name),
        );
    }
    let (times, cdo_times) = (read(&ours, "time"), read(&theirs, "time"));
    assert_eq!(times.0, cdo_times.0, "{line}: steps");
    for (time, cdo_time) in times.1.iter().zip(&cdo_times.1) {
        assert!(
            (time - cdo_time).abs() <= MIDDLE_DAYS,
            "{line}: {time}, cdo has {cdo_time}"
        );
    }
    // CDO gives a reduced axis the coordinate 0.
    for (name, reduced) in [
        ("lon", line.contains("fld") || line.contains("zon")),
        ("lat", line.contains("fld")),
    ] {
        if !reduced {
            assert_close(
                &format!("{line}: {name}"),
                &read(&ours, name),
                &read(&theirs, name),
            );
        }
    }
    check_axis(line, &ours, &theirs);
}

fn check_axis(line: &str, ours: &Path, theirs: &Path) {
    for name in ["units", "calendar"] {
        let calendar = |path| attribute(path, "time", name).unwrap();
        let parsed = |text: String| text.parse::<Calendar>();
        match name {
            "calendar" => assert_eq!(parsed(calendar(ours)), parsed(calendar(theirs)), "{line}"),
            _ => assert!(calendar(theirs).starts_with("days since"), "{line}"),
        }
    }
    let climatology = line.starts_with("-ymonmean");
    let kind = if climatology { "climatology" } else { "bounds" };
    let bounds = attribute(ours, "time", kind).unwrap_or_else(|| panic!("{line}: no {kind}"));
    if climatology {
        assert_eq!(attribute(ours, "time", "bounds"), None, "{line}");
    }
    if let Some(name) = attribute(theirs, "time", "bounds") {
        assert_close(
            &format!("{line}: {bounds}"),
            &read(ours, &bounds),
            &read(theirs, &name),
        );
    }
}

fn first_year(path: &Path) -> i32 {
    let source = Source::open(path).unwrap();
    let attributes = &source.dataset().variable("time").unwrap().attributes;
    let axis = TimeAxis {
        values: read(path, "time").1,
        units: attributes.get_text("units").unwrap().parse().unwrap(),
        calendar: attributes.get_text("calendar").unwrap().parse().unwrap(),
    };
    axis.date(0).unwrap().year
}

/// Some files mark missing values by NetCDF's default alone, which cdo takes for data: it gets
/// a copy that is marked.
fn check_lines(file: &Path, folder: &Path) {
    let marked = folder.join("marked.nc");
    cdo(&format!(
        "-setrtomiss,9e36,1e37 {} {}",
        file.display(),
        marked.display()
    ));
    let year = first_year(file).to_string();
    for line in LINES {
        check_on(&line.replace("YEAR", &year), file, &marked, folder);
    }
}

#[test]
fn every_operator_agrees_with_cdo_on_cmip6() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for model in MODELS {
        if let Some(file) = cmip6(model) {
            check_lines(&file, folder.path());
        }
    }
}

/// The file marks missing values by NetCDF's default alone, which cdo takes for data: it is
/// told of them.
#[test]
fn missing_values_by_default_are_skipped_on_cmip6() {
    let Some(file) = cmip6("ta_day_KACE-1-0-G_").filter(|_| has("cdo", "cdo")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("mizar.nc"), folder.path().join("cdo.nc"));
    for operator in ["timmean", "timstd", "monmean", "fldmean", "timmax"] {
        let file = file.display();
        run(&format!("-b F64 -{operator} {file} {}", ours.display())).unwrap();
        cdo(&format!(
            "-{operator} -setrtomiss,9e36,1e37 {file} {}",
            theirs.display()
        ));
        assert_close(operator, &read(&ours, "ta"), &read(&theirs, "ta"));
    }
}

#[test]
fn boxes_wrap_and_statistics_skip_on_a_global_grid_like_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.nc");
    for calendar in ["noleap", "standard", "360_day", "proleptic_gregorian"] {
        write_sample(
            &file,
            &Sample {
                calendar,
                ..Sample::default()
            },
        );
        let name = file.display();
        for line in [
            "-timmean",
            "-timstd",
            "-ymonmean",
            "-monmean",
            "-fldmean",
            "-zonmean",
            "-sellonlatbox,350,10,-30,30",
            "-sellonlatbox,-180,180,-90,90",
            "-sellonlatbox,0,360,-90,90",
            "-sellonlatbox,170,190,20,-20",
            "-sellonlatbox,-75,-15,10,80",
            "-fldmean -sellonlatbox,-75,-15,10,80",
        ] {
            check(&format!("{line} {name}"), folder.path());
        }
        check(&format!("-ymonsub {name} -ymonmean {name}"), folder.path());
    }
}

#[test]
fn metadata_is_kept_and_completed() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.nc"), folder.path().join("out.nc"));
    write_sample(&input, &Sample::default());
    let (input, target) = (input.display(), output.display());
    for (line, methods) in [
        ("-timmax", "area: mean time: maximum"),
        ("-timstd", "area: mean time: standard_deviation"),
        (
            "-ymonmean",
            "area: mean time: mean within years time: mean over years",
        ),
        ("-fldmean", "area: mean area: mean"),
        ("-zonmean", "area: mean lon: mean"),
        ("-timsum -monmean", "area: mean time: mean time: sum"),
        ("-sellonlatbox,0,90,0,45", "area: mean"),
    ] {
        run(&format!("{line} {input} {target}")).unwrap();
        assert_eq!(
            attribute(&output, "tas", "cell_methods").unwrap(),
            methods,
            "{line}"
        );
        assert_eq!(attribute(&output, "tas", "units").unwrap(), "K", "{line}");
        assert_eq!(
            attribute(&output, "tas", "coordinates").unwrap(),
            "height",
            "{line}"
        );
        assert_eq!(read(&output, "height"), (vec![], vec![2.0]), "{line}");
        let source = Source::open(&output).unwrap();
        let time = source.dataset().dimension_index("time").unwrap();
        assert!(
            source.dataset().dimensions[time].unlimited,
            "{line}: time stays unlimited"
        );
        let history = source.dataset().attributes.get_text("history").unwrap();
        assert_eq!(history, "today mizar cube a test\nmade by a test", "{line}");
        let tas = source.dataset().variable("tas").unwrap();
        assert_eq!(tas.dtype, mizar_array::dataset::DType::F32, "{line}");
        assert_eq!(
            tas.attributes.get_f64("_FillValue"),
            Some(f64::from(1e20_f32)),
            "{line}"
        );
    }
}

#[test]
fn time_stamps_are_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.nc"), folder.path().join("out.nc"));
    write_sample(
        &input,
        &Sample {
            steps: 31,
            ..Sample::default()
        },
    );
    for (stamp, expected) in [("first", 0.5), ("middle", 15.5), ("last", 30.5)] {
        let (input, output) = (input.display(), output.display());
        run(&format!(
            "--timestat_date {stamp} -monmean {input} {output}"
        ))
        .unwrap();
        let output = folder.path().join("out.nc");
        assert_eq!(read(&output, "time").1, [expected], "{stamp}");
        assert_eq!(read(&output, "time_bnds").1, [0.0, 31.0], "{stamp}");
    }
}
