//! Statistics of fields against `cdo`: on CMIP6 files with two levels, and on a global grid
//! with missing values.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::Path;

use cube::{Sample, assert_close, attribute, cdo, cmip6, has, read, run, with_file, write_sample};

const STATISTICS: [&str; 12] = [
    "min", "max", "range", "sum", "mean", "avg", "var", "var1", "std", "std1", "skew", "kurt",
];

/// Runs one line both ways and compares the variable.
fn check(line: &str, file: &Path, variable: &str, folder: &Path) {
    let (ours, theirs) = (folder.join("mizar.nc"), folder.join("cdo.nc"));
    let file = file.display();
    run(&format!("-b F64 -{line} {file} {}", ours.display()))
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    cdo(&format!(
        "-{line} -setrtomiss,9e36,1e37 {file} {}",
        theirs.display()
    ));
    let (ours, theirs) = (read(&ours, variable), read(&theirs, variable));
    // CDO leaves the vertical out; here it keeps one level.
    let cells = |shape: &[usize]| shape.iter().product::<usize>();
    assert_eq!(
        cells(&ours.0),
        cells(&theirs.0),
        "{line}: {:?} {:?}",
        ours.0,
        theirs.0
    );
    let shape = theirs.0.clone();
    assert_close(line, &(shape, ours.1), &theirs);
}

#[test]
fn fields_circles_and_meridians_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("in.nc");
    write_sample(&sample, &Sample::default());
    let mut files = vec![(sample, "tas")];
    files.extend(cmip6("ta_Amon_ACCESS-CM2_").map(|file| (file, "ta")));
    for (file, variable) in &files {
        for prefix in ["fld", "zon", "mer"] {
            for statistic in STATISTICS {
                // Symmetric rows have the skewness of their rounding errors; and of nearly equal
                // values at 200 K cdo's variance has only six digits.
                let spreads = ["var", "var1", "std", "std1", "skew", "kurt"].contains(&statistic);
                if prefix != "fld" && statistic == "skew" || *variable == "ta" && spreads {
                    continue;
                }
                check(
                    &format!("{prefix}{statistic}"),
                    file,
                    variable,
                    folder.path(),
                );
            }
        }
        check("fldmean,weights=FALSE", file, variable, folder.path());
        check("fldcount", file, variable, folder.path());
        check("fldint", file, variable, folder.path());
        for prefix in ["fld", "zon", "mer"] {
            check(&format!("{prefix}pctl,30"), file, variable, folder.path());
        }
    }
}

#[test]
fn columns_of_levels_agree_with_cdo() {
    let Some(file) = cmip6("ta_Amon_ACCESS-CM2_").filter(|_| has("cdo", "cdo")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for statistic in [
        "min", "max", "range", "sum", "mean", "avg", "var", "var1", "std", "std1",
    ] {
        check(&format!("vert{statistic}"), &file, "ta", folder.path());
    }
    for levels in ["95000,85000", "100000", "99000,20000"] {
        check(&format!("intlevel,{levels}"), &file, "ta", folder.path());
    }
}

#[test]
fn units_and_methods_say_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.nc"), folder.path().join("out.nc"));
    write_sample(&input, &Sample::default());
    for (operator, methods, units) in [
        ("fldvar", "area: mean area: variance", "K2"),
        ("merstd", "area: mean lat: standard_deviation", "K"),
        ("zonmax", "area: mean lon: maximum", "K"),
        ("fldcount", "area: mean", "1"),
        ("fldint", "area: mean area: sum", "K m2"),
    ] {
        run(&format!(
            "-{operator} {} {}",
            input.display(),
            output.display()
        ))
        .unwrap();
        let found = attribute(&output, "tas", "cell_methods").unwrap();
        assert_eq!(found, methods, "{operator}");
        assert_eq!(
            attribute(&output, "tas", "units").unwrap(),
            units,
            "{operator}"
        );
    }
}

#[test]
fn units_are_those_of_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.nc"), folder.path().join("out.nc"));
    write_sample(&input, &Sample::default());
    let units_and_name = |line: &str| {
        run(&format!("{} {}", with_file(line, &input), output.display())).unwrap();
        let name = attribute(&output, "tas", "standard_name");
        (attribute(&output, "tas", "units"), name.is_some())
    };
    for (line, units, has_name) in [
        ("-timvar F", Some("K2"), true),
        ("-monstd1 F", Some("K"), true),
        ("-runvar1,3 F", Some("K2"), true),
        ("-ydrunvar,3 F", Some("K2"), true),
        ("-ensvar F F", Some("K2"), true),
        ("-fldvar F", Some("K2"), true),
        ("-sqr F", Some("K2"), false),
        ("-pow,2 F", Some("K2"), false),
        ("-pow,0.3 F", None, false),
        ("-sqrt F", None, false),
        ("-sqrt -sqr F", Some("K"), false),
        ("-reci F", Some("K-1"), false),
        ("-exp -divc,400 F", Some("1"), false),
        ("-gtc,280 F", Some("1"), false),
        ("-mul F F", Some("K2"), false),
        // A mask has no units.
        ("-mul F -gtc,280 F", Some("K"), true),
        ("-mul F -setunit,m F", Some("K m"), false),
        ("-div F -setunit,m F", Some("K m-1"), false),
        ("-monmul F -monmean F", Some("K2"), false),
        ("-ymondiv F -ymonmean F", Some("1"), false),
        ("-sub F -timmean F", Some("K"), true),
        ("-gt F -timmean F", Some("1"), false),
        // CDO changes none.
        ("--cdo -timvar F", Some("K"), true),
        ("--cdo -fldvar F", Some("K"), true),
        ("--cdo -sqr F", Some("K"), true),
        ("--cdo -mul F F", Some("K"), true),
        ("--cdo -gtc,280 F", Some("K"), true),
    ] {
        let found = units_and_name(line);
        assert_eq!((found.0.as_deref(), found.1), (units, has_name), "{line}");
    }
}
