//! The operators over time against `cdo`: all on a generated daily series with missing values
//! and a leap day, and many on CMIP6 files of several calendars.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::{Path, PathBuf};

use mizar_array::storage::Source;

use cube::{Sample, assert_close, attribute, cdo, cmip6, has, read, run, with_file, write_sample};

const STATISTICS: [&str; 10] = [
    "min", "max", "range", "sum", "mean", "avg", "std", "std1", "var", "var1",
];

/// The statistics that a grouping is tested with: all for one, as they do not depend on it.
fn statistics(grouping: &str) -> &'static [&'static str] {
    match grouping {
        "yday" | "timsel" => &STATISTICS,
        _ => &["max", "mean", "avg", "var1"],
    }
}

/// Daily fields of a little more than three years, so that there is a 29 February.
fn daily(folder: &Path, calendar: &'static str) -> PathBuf {
    let file = folder.join("daily.nc");
    let sample = Sample {
        steps: 1200,
        lats: 3,
        lons: 4,
        calendar,
        ..Sample::default()
    };
    write_sample(&file, &sample);
    file
}

/// Runs a line both ways on a file, `F` in the line, and compares every data variable, and
/// bounds and times as far as cdo has them and means the same.
fn check(line: &str, file: &Path, folder: &Path) {
    check_pair(line, line, file, folder);
}

fn check_pair(line: &str, cdo_line: &str, file: &Path, folder: &Path) {
    let (ours, theirs) = (folder.join("mizar.nc"), folder.join("cdo.nc"));
    run(&format!(
        "-b F64 {} {}",
        with_file(line, file),
        ours.display()
    ))
    .unwrap_or_else(|e| panic!("{line}: {}", e.chain()));
    cdo(&format!(
        "{} {}",
        with_file(cdo_line, file),
        theirs.display()
    ));
    compare(line, &ours, &theirs);
}

fn compare(line: &str, ours: &Path, theirs: &Path) {
    let output = Source::open(theirs).unwrap();
    let data = output.dataset().data_variables();
    assert!(!data.is_empty(), "{line}");
    for index in data {
        let name = &output.dataset().variables[index].name;
        let context = format!("{line}: {name}");
        assert_close(&context, &read(ours, name), &read(theirs, name));
    }
    let (times, their_times) = (read(ours, "time"), read(theirs, "time"));
    assert_eq!(times.0, their_times.0, "{line}: steps");
    let is_climatology = ["-yhour", "-yday", "-ymon", "-yseas", "-dhour"];
    if is_climatology.iter().any(|start| line.starts_with(start)) {
        // cdo writes wrong dates for the seasons of all years.
        if !line.starts_with("-yseas") {
            assert_close(&format!("{line}: time"), &times, &their_times);
        }
        assert_eq!(attribute(ours, "time", "bounds"), None, "{line}");
    } else if let Some(bounds) = attribute(theirs, "time", "bounds")
        // Those of the first step.
        && !line.contains("count")
        && !line.contains("regres")
        && !line.contains("consec")
    {
        let own = attribute(ours, "time", "bounds").unwrap_or_else(|| panic!("{line}: no bounds"));
        let context = format!("{line}: {own}");
        assert_close(&context, &read(ours, &own), &read(theirs, &bounds));
    }
}

#[test]
fn every_reduction_of_a_daily_series_agrees_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path(), "standard");
    for grouping in ["tim", "mon", "year", "seas", "yday", "ymon", "yseas"] {
        for statistic in statistics(grouping) {
            check(&format!("-{grouping}{statistic} F"), &file, folder.path());
        }
    }
    for statistic in STATISTICS {
        check(&format!("-timsel{statistic},7,3,2 F"), &file, folder.path());
    }
    for line in [
        "-timcount F",
        "-moncount F",
        "-yearcount F",
        "-seascount F",
        "-timminidx F",
        "-timmaxidx F",
        "-yearminidx F",
        "-yearmaxidx F",
        "-yearmonmean -monmean F",
        "-yearmonavg -monmean F",
        "-seasmonmean -monmean F",
        "-seasmonavg -monmean F",
        "-timselmean,30 F",
        "-timselmean,5000 F",
    ] {
        check(line, &file, folder.path());
    }
}

#[test]
fn reductions_within_days_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let daily = daily(folder.path(), "standard");
    let file = folder.path().join("hourly.nc");
    // Steps without bounds, whose stamps leave the days' edges alone.
    cdo(&format!(
        "-settaxis,2003-11-20,00:30:00,3hour {} {}",
        daily.display(),
        file.display()
    ));
    // (cdo's range of hours of the day has one step for each of the input.)
    for grouping in ["hour", "day", "dhour", "yhour"] {
        for statistic in statistics(grouping) {
            check(&format!("-{grouping}{statistic} F"), &file, folder.path());
        }
    }
    check("-daycount F", &file, folder.path());
    check("-hourcount F", &file, folder.path());
}

#[test]
fn reductions_of_cmip6_files_of_all_calendars_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for model in [
        "ta_day_TaiESM1_",
        "ta_day_KACE-1-0-G_",
        "ta_day_EC-Earth3-AerChem_",
        "ta_Amon_MIROC6_",
        "ta_Amon_KACE-1-0-G_",
    ] {
        let Some(file) = cmip6(model) else {
            continue;
        };
        // Some files mark missing values by NetCDF's default alone, which cdo takes for data.
        let marked = folder.path().join("marked.nc");
        cdo(&format!(
            "-setrtomiss,9e36,1e37 {} {}",
            file.display(),
            marked.display()
        ));
        let mut lines = vec![
            "-seasmean F",
            "-yearmax F",
            "-ymonstd1 F",
            "-yseasmean F",
            "-timvar F",
            "-timrange F",
            "-timselsum,5 F",
            "-timminidx F",
        ];
        match model.contains("_day_") {
            true => lines.extend(["-ydaymean F", "-ydaystd F", "-daymean F"]),
            false => lines.extend(["-yearmonmean F", "-seasmonmean F"]),
        }
        for line in lines {
            check(line, &marked, folder.path());
        }
    }
}

#[test]
fn lines_of_least_squares_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path(), "standard");
    let path = |name: &str| folder.path().join(name);
    let monthly = path("monthly.nc");
    cdo(&format!(
        "-monmean {} {}",
        file.display(),
        monthly.display()
    ));
    for (file, equal, unit) in [
        (&file, "", "K day-1"),
        (&file, ",equal=false", "K day-1"),
        (&monthly, "", "K month-1"),
        (&monthly, ",equal=false", "K (29.5 day)^-1"),
    ] {
        let name = file.display();
        let (a, b) = (path("a.nc"), path("b.nc"));
        let (cdo_a, cdo_b) = (path("cdo_a.nc"), path("cdo_b.nc"));
        run(&format!(
            "-b F64 -trend{equal} {name} {} {}",
            a.display(),
            b.display()
        ))
        .unwrap();
        cdo(&format!(
            "-trend{equal} {name} {} {}",
            cdo_a.display(),
            cdo_b.display()
        ));
        for (ours, theirs) in [(&a, &cdo_a), (&b, &cdo_b)] {
            assert_close(
                &format!("trend{equal}"),
                &read(ours, "tas"),
                &read(theirs, "tas"),
            );
            assert_close("time", &read(ours, "time"), &read(theirs, "time"));
        }
        assert_eq!(attribute(&a, "tas", "units").unwrap(), "K");
        assert_eq!(attribute(&b, "tas", "units").unwrap(), unit);
        check(&format!("-regres{equal} F"), file, folder.path());
        check(&format!("-detrend{equal} F"), file, folder.path());
        for operator in ["subtrend", "addtrend"] {
            let line = format!(
                "-{operator}{equal} F {} {}",
                cdo_a.display(),
                cdo_b.display()
            );
            check(&line, file, folder.path());
        }
    }
}

#[test]
fn whole_series_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path(), "standard");
    for statistic in STATISTICS {
        check(&format!("-run{statistic},5 F"), &file, folder.path());
    }
    for line in [
        "-runmean,4 F",
        "-runmax,1 F",
        "-runvar,1200 F",
        "-runpctl,75,9 F",
        "-timcumsum F",
        "-consecsum -gtc,283 F",
        "-consects -gtc,283 F",
        "-timmean -runmean,5 F",
        "-runmax,3 -monmean F",
        "-selmon,2 -runmean,3 F",
        "-sub F -timcumsum F",
    ] {
        check(line, &file, folder.path());
    }
    for grouping in ["mon", "seas", "ymon"] {
        // Few enough steps that cdo does not count in a histogram.
        let cdo_line = format!("-{grouping}pctl,90 F -{grouping}min F -{grouping}max F");
        let limits = match grouping {
            "seas" => "-selmon,1,4 F".to_owned(),
            // Two and more values: of a single one cdo makes nothing.
            "ymon" => "-monmean F".to_owned(),
            _ => "F".to_owned(),
        };
        let cdo_line = cdo_line.replace('F', &limits);
        let line = format!("-{grouping}pctl,90 {limits}");
        check_pair(&line, &cdo_line, &file, folder.path());
    }
    for (method, theirs) in [
        ("nrank", "nrank"),
        ("nist", "nist"),
        ("rtype8", "rtype8"),
        ("linear", "numpy"),
        ("lower", "numpy_lower"),
        ("higher", "numpy_higher"),
    ] {
        let cdo_line = format!("--percentile {theirs} -monpctl,33 F -monmin F -monmax F");
        check_pair(
            &format!("--percentile {method} -monpctl,33 F"),
            &cdo_line,
            &file,
            folder.path(),
        );
    }
}

/// cdo drops the time axis and keeps no order of missing values.
#[test]
fn steps_are_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (daily(folder.path(), "noleap"), folder.path().join("out.nc"));
    run(&format!("-timsort {} {}", file.display(), output.display())).unwrap();
    let (before, after) = (read(&file, "tas").1, read(&output, "tas").1);
    for cell in 0..12 {
        let series = |values: &[f64]| {
            values
                .iter()
                .skip(cell)
                .step_by(12)
                .copied()
                .collect::<Vec<_>>()
        };
        let mut expected = series(&before);
        expected.sort_by(|a, b| a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(b)));
        let found = series(&after);
        assert!(
            expected
                .iter()
                .zip(&found)
                .all(|(a, b)| a == b || a.is_nan() && b.is_nan())
        );
    }
}

#[test]
fn little_memory_takes_more_passes_and_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (folder.path().join("in.nc"), folder.path().join("out.nc"));
    write_sample(
        &file,
        &Sample {
            steps: 300,
            lats: 20,
            lons: 30,
            ..Sample::default()
        },
    );
    for line in ["-runmean,7", "-timsort", "-timpctl,90", "-timmax -runmin,3"] {
        let result = |memory: &str| {
            run(&format!(
                "--memory {memory} {line} {} {}",
                file.display(),
                output.display()
            ))
            .unwrap();
            read(&output, "tas")
                .1
                .into_iter()
                .map(f64::to_bits)
                .collect::<Vec<_>>()
        };
        // All at once, a few rows, and single cells.
        let once = result("1G");
        assert_eq!(result("1M"), once, "{line}");
        assert_eq!(result("50K"), once, "{line}");
    }
}

#[test]
fn statistics_named_together_are_those_named_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path(), "noleap");
    let (ours, one) = (folder.path().join("all.nc"), folder.path().join("one.nc"));
    for (grouping, suffixes) in [
        (
            "tim",
            vec!["mean", "max", "std", "count", "minidx", "maxidx"],
        ),
        ("seas", vec!["mean", "range", "var1"]),
        ("yday", vec!["min", "avg", "sum", "std1"]),
    ] {
        let names: Vec<String> = suffixes.iter().map(|s| format!("{grouping}{s}")).collect();
        let line = names.join(",");
        run(&format!("-{line} {} {}", file.display(), ours.display())).unwrap();
        for name in names {
            run(&format!("-{name} {} {}", file.display(), one.display())).unwrap();
            let both = [read(&ours, &format!("tas_{name}")), read(&one, "tas")];
            assert_close(&name, &both[0], &both[1]);
        }
    }
}

#[test]
fn seasons_that_are_not_whole_may_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (daily(folder.path(), "noleap"), folder.path().join("out.nc"));
    let times = |line: &str| {
        run(&format!("{line} {} {}", file.display(), output.display())).unwrap();
        read(&output, "time_bnds").1
    };
    // From 2001-01-01: January and February, thirteen seasons in all; 1200 days end in April.
    let all = times("-seasmean");
    assert_eq!(all.len(), 2 * 14);
    let whole = times("-seasmean,complete_only=true");
    assert_eq!(whole, all[2..26]);
    assert_eq!(whole[..2], [59.0, 151.0]);
    assert_eq!(times("-seasmean,complete_only=false"), all);
}

#[test]
fn a_step_at_midnight_may_end_its_day() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (folder.path().join("in.nc"), folder.path().join("out.nc"));
    let daily = daily(folder.path(), "standard");
    cdo(&format!(
        "-settaxis,2003-01-01,06:00:00,6hour -seltimestep,1/8 {} {}",
        daily.display(),
        file.display()
    ));
    for (line, counts) in [
        ("-daycount", vec![3.0, 4.0, 1.0]),
        ("-daycount,midnight=24", vec![4.0, 4.0]),
    ] {
        run(&format!("{line} {} {}", file.display(), output.display())).unwrap();
        let found = read(&output, "tas");
        let steps: Vec<f64> = found
            .1
            .chunks(12)
            .map(|step| step.iter().copied().fold(0.0, f64::max))
            .collect();
        assert_eq!(steps, counts, "{line}");
    }
}

#[test]
fn climatologies_are_bounded_by_whole_intervals() {
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (daily(folder.path(), "noleap"), folder.path().join("out.nc"));
    for (line, first, methods) in [
        (
            "-ymonmax",
            [0.0, 3.0 * 365.0 + 31.0],
            "time: maximum within years time: maximum over years",
        ),
        (
            "-ydaymean",
            [0.0, 3.0 * 365.0 + 1.0],
            "time: mean within years time: mean over years",
        ),
        (
            "-yseassum",
            [0.0, 3.0 * 365.0 + 59.0],
            "time: sum within years time: sum over years",
        ),
        (
            "-dhourmean",
            [0.0, 1200.0],
            "time: mean within days time: mean over days",
        ),
    ] {
        run(&format!("{line} {} {}", file.display(), output.display())).unwrap();
        let name = attribute(&output, "time", "climatology").unwrap();
        assert_eq!(name, "climatology_bnds");
        assert_eq!(attribute(&output, "time", "bounds"), None, "{line}");
        assert_eq!(read(&output, &name).1[..2], first, "{line}");
        let found = attribute(&output, "tas", "cell_methods").unwrap();
        assert_eq!(found, format!("area: mean {methods}"), "{line}");
    }
}

/// A mean of 1e8 and a spread of 1: sums of squares lose it, cdo gives 14 or nothing.
#[test]
fn a_small_spread_on_a_large_mean_is_kept_through_a_file() {
    use mizar_array::dataset::DType;
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (folder.path().join("in.nc"), folder.path().join("out.nc"));
    let plain = folder.path().join("plain.nc");
    let sample = Sample {
        steps: 1000,
        lats: 2,
        lons: 3,
        missing_every: 0,
        dtype: DType::F64,
        ..Sample::default()
    };
    write_sample(&plain, &sample);
    run(&format!("-addc,1e8 {} {}", plain.display(), file.display())).unwrap();
    for operator in ["timvar", "timstd1", "yearvar1", "ymonstd"] {
        let result = |file: &Path| {
            run(&format!(
                "-{operator} {} {}",
                file.display(),
                output.display()
            ))
            .unwrap();
            read(&output, "tas")
        };
        let (large, small) = (result(&file), result(&plain));
        for (a, b) in large.1.iter().zip(&small.1) {
            assert!((a - b).abs() < 1e-6 * b.abs(), "{operator}: {a} for {b}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (daily(folder.path(), "noleap"), folder.path().join("out.nc"));
    for (line, expected) in [
        (
            "-yearmonmean",
            "operator `yearmonmean`: steps 1 and 2 are of one month, 2001-01: it takes monthly data",
        ),
        (
            "-timselmean,0",
            "operator `timselmean`: expected a number of steps, at least 1, found `0`",
        ),
        (
            "-runmean,1201",
            "operator `runmean`: windows of 1201 steps need as many, the input has 1200",
        ),
        (
            "-timpctl,101",
            "operator `timpctl`: expected a percentile from 0 to 100, found `101`",
        ),
        (
            "-timselmean,5,1200",
            "operator `timselmean` selects nothing: there are no groups of the 1200 steps",
        ),
        (
            "-seasmean,whole",
            "operator `seasmean`: expected complete_only=true or false, or midnight=0 or 24, found `whole`",
        ),
    ] {
        let error = run(&format!("{line} {} {}", file.display(), output.display())).unwrap_err();
        assert_eq!(error.chain(), expected);
        assert!(!output.exists(), "{line}");
    }
}
