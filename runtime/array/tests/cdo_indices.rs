//! Climate indices against `cdo`, on generated daily values of four years, some missing.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::{Path, PathBuf};

use mizar_array::dataset::DType;
use mizar_array::storage::Source;

use cube::{Sample, assert_close, cdo, has, read, run, with_file, write_sample};

/// Four years of daily values around 280; less 275 they serve as amounts.
fn daily(folder: &Path) -> PathBuf {
    let Sample {
        missing_every,
        dtype,
        ..
    } = Sample::default();
    daily_of(folder, missing_every, dtype)
}

fn daily_without_gaps(folder: &Path) -> PathBuf {
    // Of single precision cdo rounds percentiles, and a day near one counts or not.
    daily_of(folder, 0, DType::F64)
}

fn daily_of(folder: &Path, missing_every: usize, dtype: DType) -> PathBuf {
    let file = folder.join("daily.nc");
    let sample = Sample {
        steps: 1461,
        lats: 3,
        lons: 4,
        calendar: "standard",
        missing_every,
        dtype,
        ..Sample::default()
    };
    write_sample(&file, &sample);
    file
}

fn check(line: &str, file: &Path, folder: &Path) {
    check_beside(line, line, file, folder);
}

/// The same with another line for `cdo`, which may make variables of fewer names.
fn check_beside(line: &str, of_cdo: &str, file: &Path, folder: &Path) {
    let line = with_file(line, file);
    let (ours, theirs) = (folder.join("mizar.nc"), folder.join("cdo.nc"));
    run(&format!("-b F64 {line} {}", ours.display()))
        .unwrap_or_else(|e| panic!("{line}: {}", e.chain()));
    cdo(&format!("{} {}", with_file(of_cdo, file), theirs.display()));
    let output = Source::open(&theirs).unwrap();
    let data = output.dataset().data_variables();
    assert!(!data.is_empty(), "{line}");
    for index in data {
        let name = &output.dataset().variables[index].name;
        let context = format!("{line}: {name}");
        assert_close(&context, &read(&ours, name), &read(&theirs, name));
    }
}

#[test]
fn indices_of_one_input_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path());
    // Of any values: most is compared where the limit is in their midst.
    let temperatures = [
        "fd", "id", "su", "su,5", "tr", "hd", "hd,15,10", "cfd", "csu,5,3",
    ];
    for name in temperatures {
        check(&format!("-eca_{name} F"), &file, folder.path());
    }
    let amounts = [
        "rr1", "r10mm", "r20mm", "pd,5", "sdii", "rx1day", "rx5day", "rx5day,7", "cdd", "cwd",
        "cdd,2,3",
    ];
    for name in amounts {
        check(&format!("-eca_{name} -subc,275 F"), &file, folder.path());
    }
    for line in [
        "-eca_etr F -subc,3 F",
        "-eca_fd,freq=year F",
        "-eca_su,5,freq=month F",
        "-eca_sdii,1,freq=month -subc,275 F",
        "-strwin,11 -subc,270 F",
        "-strbre -subc,270 F",
    ] {
        check(line, &file, folder.path());
    }
    // Of the snow cdo takes the last year's day: one year is compared.
    let year = "-seltimestep,1/365 F";
    let line = format!("-fdns -subc,8 {year} -mulc,0.002 -subc,276 {year}");
    check(&line, &file, folder.path());
}

#[test]
fn indices_of_each_year_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path());
    for name in ["fd", "id", "su,5", "tr,1"] {
        check(&format!("-etccdi_{name} F"), &file, folder.path());
    }
    // cdo tells these of each year only if asked to.
    for name in ["r1mm", "r10mm", "r20mm", "sdii,1"] {
        let of_cdo = format!("-etccdi_{name},freq=year -subc,275 F");
        let line = format!("-etccdi_{name} -subc,275 F");
        check_beside(&line, &of_cdo, &file, folder.path());
    }
    // With --cdo runs end where cdo finds their end. Where `freq` follows cdo takes no number
    // but the default.
    for name in ["cdd,8", "cwd,1,5,freq=month", "csdi", "wsdi,6,freq=month"] {
        let reference = if name.starts_with('c') { "max" } else { "min" };
        let second = match name.contains("sdi") {
            true => format!("-yday{reference} -subc,275 F"),
            false => String::new(),
        };
        let line = format!("-etccdi_{name} -subc,275 F {second}");
        check_beside(&format!("--cdo {line}"), &line, &file, folder.path());
    }
}

#[test]
fn percentiles_of_a_base_period_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // cdo's percents are of all days, also of those without a value.
    let file = daily_without_gaps(folder.path());
    let (least, most) = (
        folder.path().join("least.nc"),
        folder.path().join("most.nc"),
    );
    let extremes = format!("{} {}", least.display(), most.display());
    // cdo leaves out what is beyond the bounds that it is given: these are wide.
    for (bound, path) in [("subc,99 -ydaymin", &least), ("addc,99 -ydaymax", &most)] {
        cdo(&format!("-{bound} {} {}", file.display(), path.display()));
    }
    // 2004 is a leap year; 2001 is outside.
    for name in ["tx90p", "tx10p", "tn90p", "tn10p"] {
        let line = format!("-etccdi_{name},5,2002,2004 F");
        check_beside(&line, &format!("{line} {extremes}"), &file, folder.path());
    }
    for (end, path) in [("min", &least), ("max", &most)] {
        let line = format!("-tim{end} {} {}", file.display(), path.display());
        cdo(&line);
    }
    // cdo takes no window, wants a word after the years, and takes dry days for wet.
    for name in ["r95p", "r99p"] {
        let line = format!("-etccdi_{name},2002,2004");
        let of_cdo = format!("{line},m F {extremes}");
        check_beside(&format!("--cdo {line} F"), &of_cdo, &file, folder.path());
        // Of values of at least 1 all days are wet.
        check_beside(&format!("{line} F"), &of_cdo, &file, folder.path());
    }
}

#[test]
fn a_percentile_of_precipitation_is_one_of_wet_days() {
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path());
    let (all, wet) = (folder.path().join("all.nc"), folder.path().join("wet.nc"));
    let index = "-b F64 -etccdi_r95p,2001,2003";
    let amounts = format!("-subc,281 {}", file.display());
    run(&format!("{index} {amounts} {}", all.display())).unwrap();
    // Dry days taken away beforehand change nothing.
    let only_wet = format!("-setrtomiss,-99,0.999999 {amounts}");
    run(&format!("{index} {only_wet} {}", wet.display())).unwrap();
    let (all, wet) = (read(&all, "r95pETCCDI"), read(&wet, "r95pETCCDI"));
    assert_close("r95p", &all, &wet);
    assert!(all.1.iter().any(|&value| value > 0.0), "{all:?}");
    let by_cdo = folder.path().join("by_cdo.nc");
    run(&format!("--cdo {index} {amounts} {}", by_cdo.display())).unwrap();
    assert_ne!(all, read(&by_cdo, "r95pETCCDI"), "dry days count");
}

#[test]
fn growing_seasons_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // cdo gives a cell without values a season of 0 days.
    let file = daily_without_gaps(folder.path());
    let land = "-setmisstoc,1 -gtc,0 -seltimestep,1 F";
    // cdo tells of the southern season before the first year too, and forgets the last.
    for name in ["eca_gsl", "eca_gsl,3,8", "eca_gsl,10,2,0.9"] {
        let line = format!("-{name} F {land}");
        let of_cdo = format!("-seltimestep,2/4 {line}");
        let line = format!("-seltimestep,1/3 {line}");
        check_beside(&line, &of_cdo, &file, folder.path());
    }
    // Water, which cdo gives 0 days.
    let output = folder.path().join("water.nc");
    let line = with_file(&format!("-eca_gsl F -mulc,0.4 {land}"), &file);
    run(&format!("{line} {}", output.display())).unwrap();
    let (_, values) = read(&output, "thermal_growing_season_length");
    assert!(values.iter().all(|value| value.is_nan()), "{values:?}");
}

#[test]
fn indices_with_a_reference_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path());
    // cdo forgets the first of two parameters of cwdi.
    let year = "-seltimestep,1/365 F";
    let names = [
        "hwdi,2,3", "cwdi,2", "cwdi,6,3", "hwfi,2", "cwfi,2", "hwfi", "tx90p", "tx10p", "tn90p",
        "tn10p", "tg90p", "tg10p",
    ];
    for name in names {
        let line = format!("-eca_{name} {year} -addc,560 -mulc,-1 {year}");
        check(&line, &file, folder.path());
    }
    // Of a reference of several years cdo takes the last one's day.
    for reference in ["-subc,2 F", "-subc,1 -seldate,2001-01-01,2003-12-31 F"] {
        let line = format!("-eca_tx90p -del29feb F -del29feb {reference}");
        check_beside(&format!("--cdo {line}"), &line, &file, folder.path());
    }
    for percent in [75, 90, 95, 99] {
        for end in ["p", "ptot"] {
            let reference = format!("-addc,3 -mulc,0.2 -subc,275 {year}");
            let line = format!("-eca_r{percent}{end} -subc,275 {year} {reference}");
            check(&line, &file, folder.path());
        }
    }
}

#[test]
fn a_reference_of_other_years_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path());
    let (file, output) = (file.display(), folder.path().join("out.nc"));
    let line = |reference: &str| {
        let output = output.display();
        format!("-b F64 -eca_tx90p {file} {reference} {output}")
    };
    let error = run(&line(&format!("-shifttime,4year {file}"))).unwrap_err();
    assert!(
        error.to_string().contains("ydaymean or ydaypctl"),
        "{error}"
    );
    // The same days are compared one by one: none is beyond itself.
    run(&line(&file.to_string())).unwrap();
    let (_, values) = read(
        &output,
        "very_warm_days_percent_wrt_90th_percentile_of_reference_period",
    );
    assert!(
        values.iter().all(|&value| value == 0.0 || value.is_nan()),
        "{values:?}"
    );
    run(&line(&format!("-subc,1 {file}"))).unwrap();
    let (_, values) = read(
        &output,
        "very_warm_days_percent_wrt_90th_percentile_of_reference_period",
    );
    assert!(
        values.iter().all(|&value| value == 100.0 || value.is_nan()),
        "{values:?}"
    );
}
