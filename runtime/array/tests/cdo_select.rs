//! Selections, many files, splits and what operators print, against `cdo`: on CMIP6 files and on
//! a generated file with levels, a fixed field, a series and missing values.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::{Path, PathBuf};

use mizar_array::command::{self, Request};
use mizar_array::dataset::{AttrValue, DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{Compression, WriteOptions, Writer};
use mizar_array::{CubeError, engine, plan};
use mizar_comm::Single;

use cube::{assert_close, attribute, cdo, cmip6, has, read, run};

/// On monthly and daily CMIP6 data: `M` and `D`.
const CMIP6_LINES: [&str; 28] = [
    "-delname,none M",
    "-selname,t* M",
    "-selstdname,air_temperature M",
    "-sellevel,85000,92500,100000 M",
    "-sellevidx,2 M",
    "-selyear,2001/2003 M",
    "-selyear,2000/2009/3,2005 M",
    "-selmon,1,6/8 M",
    "-selmonth,12 M",
    "-selday,1,15/17 D",
    "-selhour,12 M",
    "-seltime,12:00:00 M",
    "-selseason,DJF M",
    "-selseason,JJA,MAM M",
    "-selseason,ASON M",
    "-selseason,ANN M",
    "-seltimestep,1/12 M",
    "-seltimestep,5,3,-1 M",
    "-seltimestep,-12/-1 M",
    "-seltimestep,1/20/4 M",
    "-selsmon,3 M",
    "-seldate,2001-02-30,2001-04-31 M",
    "-seldate,2000-02-01,2000-03-15T12:00:00 D",
    "-del29feb D",
    "-select,name=ta,year=2001,month=1/2 M",
    "-select,level=92500,timestep=1/5 M",
    "-delete,timestep=1,-1 M",
    "-yearmean -selyear,2000/2001 -sellevidx,1 M",
];

/// On the generated file `G`.
const SAMPLE_LINES: [&str; 18] = [
    "-selname,sc,orog G",
    "-delname,tos G",
    "-selstdname,sea_water_temperature G",
    "-sellevel,10,333.25 G",
    "-sellevel,0 G",
    "-sellevidx,1 G",
    "-sellevidx,2/3 G",
    "-selhour,6,18 G",
    "-selhour,0/23/6 G",
    "-seltime,18:30:00 G",
    "-selindexbox,2,4,1,2 -selname,tos G",
    "-selindexbox,5,2,3,1 -selname,tos G",
    "-selindexbox,-2,2,1,1 -selname,tos G",
    "-selindexbox,1,3,-1,-1 -selname,orog G",
    "-selname,tos -selindexbox,3,9,2,9 -selname,tos G",
    "-sellonlatbox,250,70,-30,30 -selname,tos G",
    "-select,levrange=1,400 G",
    "-select,hour=6,name=tos G",
];

/// On three decades of monthly data, `1`, `2` and `3`, another variable, and the generated file.
const MANY_LINES: [&str; 23] = [
    "-mergetime 1 2 3",
    "-mergetime 3 1 2",
    "-mergetime 2 -seltimestep,100/120 1 3",
    "-cat 2 1",
    "-copy 1 2 3",
    "-copy 2",
    "-timmean -mergetime 3 2 1",
    "-monmean -selyear,1959/1961 -mergetime [ 1 2 ]",
    "-merge 1 O",
    "-merge -sellevidx,1 1 -sellevidx,2 1",
    "-merge -selname,tos G -selname,orog,sc G",
    "-ensmin 1 2 3",
    "-ensmax 1 2 3",
    "-ensrange 1 2 3",
    "-enssum 1 2 3",
    "-ensmean 1 2 3",
    "-ensavg G -addc,1 G -mulc,2 G",
    "-ensstd 1 2 3",
    "-ensvar1 1 2 3",
    "-ensskew 1 2 3",
    "-enskurt 1 2 3 -addc,1 3",
    "-ensmedian 1 2 3",
    "-enspctl,70 1 2 3 -addc,1 1",
];

/// What splits `G` or the daily file, with as many files as there are.
const SPLITS: [(&str, usize); 9] = [
    ("-splityear G", 2),
    ("-splitmon D", 12),
    ("-splitseas D", 4),
    ("-splitday D", 31),
    ("-splithour G", 4),
    ("-splityearmon G", 2),
    ("-splitname G", 3),
    ("-splitlevel G", 4),
    ("-splitsel,3,1,1 G", 2),
];

/// Operators whose whole text is that of cdo, on `M`, `D` and `G`.
const TEXTS: [&str; 24] = [
    "ntime",
    "nlevel",
    "npar",
    "nvar",
    "ngridpoints",
    "nyear",
    "nmon",
    "ndate",
    "showname",
    "showstdname",
    "showlevel",
    "showdate",
    "showtime",
    "showtimestamp",
    "showyear",
    "showmon",
    "showunit",
    "zaxisdes",
    "info",
    "infon",
    "infov",
    "sinfo",
    "sinfon",
    "sinfov",
];

/// Runs a line both ways and compares all variables, the times and the axes.
fn check(line: &str, folder: &Path) {
    let (ours, theirs) = (folder.join("mizar.nc"), folder.join("cdo.nc"));
    run(&format!("-O -b F64 {line} {}", ours.display())).unwrap_or_else(|e| panic!("{line}: {e}"));
    cdo(&format!("{line} {}", theirs.display()));
    compare(line, &ours, &theirs);
}

fn compare(line: &str, ours: &Path, theirs: &Path) {
    let (left, right) = (Source::open(ours).unwrap(), Source::open(theirs).unwrap());
    let names = |source: &Source| -> Vec<String> {
        let dataset = source.dataset();
        let data = dataset.data_variables().into_iter();
        let mut names: Vec<String> = data.map(|v| dataset.variables[v].name.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&left), names(&right), "{line}: variables");
    let mut compared = names(&right);
    for coordinate in ["time", "time_bnds", "lon", "lat", "lev", "plev"] {
        let is_there = |source: &Source| source.dataset().variable(coordinate).is_some();
        if is_there(&left) && is_there(&right) {
            compared.push(coordinate.to_owned());
        }
    }
    for name in compared {
        let (mut a, mut b) = (read(ours, &name), read(theirs, &name));
        // Of an axis of length 1 cdo makes a scalar in some cases.
        for shape in [&mut a.0, &mut b.0] {
            shape.retain(|&len| len != 1);
        }
        // The time of a group is the middle of its bounds; cdo takes that of a middle step.
        let is_group = ["timm", "monm", "yearm"]
            .iter()
            .any(|name| line.contains(name));
        if name == "time" && is_group {
            assert_eq!(a.0, b.0, "{line}: steps");
            continue;
        }
        assert_close(&format!("{line}: {name}"), &a, &b);
    }
    if left.dataset().variable("time").is_some() {
        let calendar = |path| attribute(path, "time", "calendar").unwrap_or_default();
        let parsed = |path| calendar(path).parse::<mizar_array::time_axis::Calendar>();
        assert_eq!(parsed(ours), parsed(theirs), "{line}: calendar");
    }
}

/// What a line prints, or why not.
fn print(line: &str) -> Result<String, CubeError> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let Request::Run(command) = command::parse(&words)? else {
        panic!("{line}");
    };
    let plan = plan::compile(&command, "today mizar cube a test")?;
    let text = engine::execute(&plan, &Single, 2, &|_| {})?;
    Ok(text.unwrap_or_else(|| panic!("{line} prints nothing")))
}

/// What cdo prints, and its exit code.
fn cdo_prints(line: &str) -> (String, Option<i32>) {
    let mut cdo = std::process::Command::new("cdo");
    // With -s it lists no differences.
    let silent = if line.contains("diff") { "-L" } else { "-s" };
    let output = cdo
        .args([silent, "-L"])
        .args(line.split_whitespace())
        .output()
        .unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        output.status.code(),
    )
}

/// Fails unless two texts have the same words, of which numbers may differ in the last digit.
fn assert_same_words(context: &str, ours: &str, theirs: &str) {
    const LAST_DIGIT: f64 = 2e-4;
    let is_told = |line: &&str| {
        // Of the source cdo knows institutes by a table of its own, and which mean was taken
        // by whom; after many lines it repeats the header.
        !line.contains("datatype") && !line.trim_start().starts_with(":       Date")
    };
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .filter(is_told)
            .map(|line| line.trim_end().to_owned())
            .collect()
    };
    let (ours, theirs) = (lines(ours), lines(theirs));
    assert_eq!(ours.len(), theirs.len(), "{context}: {ours:#?} {theirs:#?}");
    for (left, right) in ours.iter().zip(&theirs) {
        let is_variable = context.contains("sinfo") && left.contains("F32") | left.contains("F64");
        let from = if is_variable { 37 } else { 0 };
        if left.get(from..) == right.get(from..) {
            continue;
        }
        assert_eq!(left.len(), right.len(), "{context}: {left} against {right}");
        for (a, b) in left[from..]
            .split_whitespace()
            .zip(right[from..].split_whitespace())
        {
            let near = match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(a), Ok(b)) => (a - b).abs() <= LAST_DIGIT * b.abs(),
                _ => a == b,
            };
            assert!(near, "{context}: {left} against {right}");
        }
    }
}

/// Puts paths for letters that stand alone.
fn spell(line: &str, files: &[(&str, &Path)]) -> String {
    let word = |word: &str| {
        let file = files.iter().find(|(letter, _)| *letter == word);
        file.map_or_else(|| word.to_owned(), |(_, path)| path.display().to_string())
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn monthly_and_daily() -> Option<(PathBuf, PathBuf)> {
    let monthly = cmip6("ta_Amon_MIROC6_historical_r1i1p1f1_gn_200001")?;
    Some((
        monthly,
        cmip6("ta_day_MIROC6_historical_r1i1p1f1_gn_20000101")?,
    ))
}

/// 6-hourly fields on three levels, one fixed field and one series.
fn write_levels(path: &Path) {
    let text = |text: &str| AttrValue::from(text);
    let variable = |name: &str, dtype, dims: &[usize], pairs: &[(&str, AttrValue)]| Variable {
        name: name.to_owned(),
        dtype,
        dims: dims.to_vec(),
        attributes: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
    };
    let dimension = |name: &str, len, unlimited| Dimension {
        name: name.to_owned(),
        len,
        unlimited,
    };
    let dataset = Dataset {
        dimensions: vec![
            dimension("time", 8, true),
            dimension("lev", 3, false),
            dimension("lat", 4, false),
            dimension("lon", 6, false),
        ],
        variables: vec![
            variable(
                "time",
                DType::F64,
                &[0],
                &[
                    ("units", text("hours since 2000-12-31 00:00:00")),
                    ("calendar", text("noleap")),
                    ("standard_name", text("time")),
                ],
            ),
            variable(
                "lev",
                DType::F64,
                &[1],
                &[
                    ("units", text("m")),
                    ("positive", text("down")),
                    ("axis", text("Z")),
                ],
            ),
            variable("lat", DType::F64, &[2], &[("units", text("degrees_north"))]),
            variable("lon", DType::F64, &[3], &[("units", text("degrees_east"))]),
            variable(
                "tos",
                DType::F32,
                &[0, 1, 2, 3],
                &[
                    ("standard_name", text("sea_water_temperature")),
                    ("units", text("K")),
                    ("_FillValue", AttrValue::from(1e20_f32)),
                ],
            ),
            variable("orog", DType::F64, &[2, 3], &[("units", text("m"))]),
            variable("sc", DType::F64, &[0], &[]),
        ],
        attributes: std::iter::empty().collect(),
    };
    // Of compressed data cdo tells so, which we do not.
    let options = WriteOptions {
        compression: Some(Compression::None),
        shuffle: false,
        ..WriteOptions::default()
    };
    let mut writer = Writer::create(path, &dataset, &options).unwrap();
    let mut write = |index: usize, values: Vec<f64>| {
        let whole = dataset.whole(index);
        writer.write_f64(index, &whole, &values).unwrap();
    };
    write(0, vec![0.0, 6.0, 12.0, 18.5, 24.0, 30.0, 36.0, 42.0]);
    write(1, vec![0.5, 10.0, 333.25]);
    write(2, vec![-60.0, -20.0, 20.0, 60.0]);
    write(3, (0..6).map(|i| f64::from(i) * 60.0).collect());
    // A fixed scramble of the place, one level of the first step without any value.
    let value = |place: u64| {
        let noise = place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        match noise.is_multiple_of(9) || (24..48).contains(&place) {
            true => f64::NAN,
            false => (noise as f64 - 8e6) / 60.0,
        }
    };
    write(4, (0..8 * 72).map(value).collect());
    write(5, (0..24).map(|i| f64::from(i) * 37.5 - 400.0).collect());
    write(6, vec![1e-7, 2.0, 3e9, 4.0, -5.0, 6.5, 0.0, 1.0]);
    writer.commit().unwrap();
}

#[test]
fn selections_of_cmip6() {
    if !has("cdo", "cdo") {
        return;
    }
    let Some((monthly, daily)) = monthly_and_daily() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for line in CMIP6_LINES {
        check(
            &spell(line, &[("M", &monthly), ("D", &daily)]),
            folder.path(),
        );
    }
}

#[test]
fn selections_of_levels_and_indices() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.nc");
    write_levels(&sample);
    for line in SAMPLE_LINES {
        check(&spell(line, &[("G", &sample)]), folder.path());
    }
}

#[test]
fn what_selects_nothing_or_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.nc");
    write_levels(&sample);
    for (line, problem) in [
        ("-selname,none G", "the input has tos, orog, sc"),
        ("-delname,tos,orog,sc G", "selects nothing"),
        ("-sellevel,7 G", "levels 0.5, 10, 333.25"),
        ("-sellevidx,9 G", "selects nothing"),
        ("-sellevidx,0 G", "expected indices from 1"),
        ("-seldate,2001-01 G", "expected a date YYYY-MM-DD"),
        ("-selyear,1999 G", "the steps go from 2000-12-31T00:00:00"),
        ("-selmon,13 G", "expected months from 1 to 12"),
        ("-selhour,24 G", "expected hours from 0 to 23"),
        ("-selseason,DJFX G", "substrings of DJFMAMJJASOND"),
        ("-seltimestep,0 G", "expected steps from 1"),
        ("-seltimestep,99 G", "the input has 8 steps"),
        ("-selindexbox,0,1,1,1 G", "expected an index from 1"),
        ("-select,colour=red G", "expected key=value"),
        ("-delete,name=tos,timestep=1 G", "expected one key"),
        ("-seltimestep,1 -selname,orog G", "needs a time axis"),
    ] {
        let line = spell(line, &[("G", &sample)]);
        let output = folder.path().join("none.nc");
        let error = run(&format!("{line} {}", output.display())).unwrap_err();
        assert!(error.chain().contains(problem), "{line}: {}", error.chain());
        assert!(!output.exists(), "{line}");
    }
}

#[test]
fn many_files() {
    if !has("cdo", "cdo") {
        return;
    }
    let decade = |year: &str| cmip6(&format!("ta_Amon_MIROC6_historical_r1i1p1f1_gn_{year}"));
    let (Some(first), Some(second), Some(third)) =
        (decade("195001"), decade("196001"), decade("197001"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.nc");
    write_levels(&sample);
    let other = folder.path().join("other.nc");
    cdo(&format!(
        "-addc,1 -setname,tb {} {}",
        first.display(),
        other.display()
    ));
    let files: [(&str, &Path); 5] = [
        ("O", &other),
        ("1", &first),
        ("2", &second),
        ("3", &third),
        ("G", &sample),
    ];
    for line in MANY_LINES {
        check(&spell(line, &files), folder.path());
    }
    let pattern = folder.path().join("part_*.nc");
    for (index, decade) in [&first, &second, &third].into_iter().enumerate() {
        std::fs::copy(decade, folder.path().join(format!("part_{index}.nc"))).unwrap();
    }
    // A pattern is one input that has the steps of all, or as many inputs as it has files.
    let (ours, theirs) = (folder.path().join("mizar.nc"), folder.path().join("cdo.nc"));
    for operator in ["timmax", "ensmean", "mergetime"] {
        run(&format!(
            "-{operator} {} {}",
            pattern.display(),
            ours.display()
        ))
        .unwrap();
        let inputs = match operator {
            "timmax" => "-mergetime 1 2 3",
            _ => "1 2 3",
        };
        let line = spell(&format!("-{operator} {inputs}"), &files);
        cdo(&format!("{line} {}", theirs.display()));
        compare(operator, &ours, &theirs);
    }
}

#[test]
fn cat_appends_and_mergetime_may_skip() {
    let Some((monthly, _)) = monthly_and_daily() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let all = folder.path().join("all.nc");
    let steps = |path: &Path| read(path, "time").0[0];
    for count in [120, 240] {
        run(&format!("-cat {} {}", monthly.display(), all.display())).unwrap();
        assert_eq!(steps(&all), count);
    }
    let once = folder.path().join("once.nc");
    run(&format!("-mergetime {} {}", all.display(), once.display())).unwrap();
    assert_eq!(steps(&once), 240);
    let line = format!(
        "-mergetime,skip_same_time {} {}",
        all.display(),
        once.display()
    );
    run(&line).unwrap();
    assert_eq!(steps(&once), 120);
    compare("skip_same_time", &once, &monthly);
    run(&format!("-O -cat {} {}", monthly.display(), all.display())).unwrap();
    assert_eq!(steps(&all), 120);
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let Some((monthly, daily)) = monthly_and_daily() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.nc");
    write_levels(&sample);
    let files: [(&str, &Path); 3] = [("M", &monthly), ("D", &daily), ("G", &sample)];
    for (line, problem) in [
        ("-mergetime M D", "the levels of `ta` are others in "),
        (
            "-mergetime M G",
            "the calendar is standard in the first and noleap in ",
        ),
        (
            "-mergetime G -selname,tos G",
            "has no `orog`, which the first has",
        ),
        ("-mergetime -selname,tos G G", "which the first has not"),
        ("-cat -selname,orog G -selname,orog G", "needs a time axis"),
        ("-merge M M", "level 100000 of `ta` is in "),
        ("-merge -selname,orog G G", "`orog` is in "),
        ("-merge G -seltimestep,1/2 G", "the first has 8 steps"),
        (
            "-ensmean M -seltimestep,1/5 M",
            "`ta` has the dimensions time 120",
        ),
        ("-ensmean M G", "has no `ta`, which the first has"),
        ("-enspctl,101 M M", "expected a percentage from 0 to 100"),
        ("-mergetime none_*.nc", "no file is called none_*.nc"),
    ] {
        let line = spell(line, &files);
        let output = folder.path().join("none.nc");
        let error = run(&format!("{line} {}", output.display())).unwrap_err();
        assert!(error.chain().contains(problem), "{line}: {}", error.chain());
        assert!(!output.exists(), "{line}");
    }
}

#[test]
fn splits() {
    if !has("cdo", "cdo") {
        return;
    }
    let Some((_, daily)) = monthly_and_daily() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.nc");
    write_levels(&sample);
    for (line, count) in SPLITS {
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        for made in [&ours, &theirs] {
            std::fs::create_dir(made).unwrap();
        }
        let line = spell(line, &[("G", &sample), ("D", &daily)]);
        run(&format!("{line} {}/x_", ours.display())).unwrap();
        cdo(&format!("{line} {}/x_", theirs.display()));
        let names = |folder: &Path| -> Vec<_> {
            let entries = std::fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&ours), names(&theirs), "{line}");
        assert_eq!(names(&ours).len(), count, "{line}");
        for name in names(&ours) {
            compare(
                &format!("{line} {name:?}"),
                &ours.join(&name),
                &theirs.join(&name),
            );
        }
        for made in [&ours, &theirs] {
            std::fs::remove_dir_all(made).unwrap();
        }
    }
}

#[test]
fn what_is_printed_is_what_cdo_prints() {
    if !has("cdo", "cdo") {
        return;
    }
    let Some((monthly, _)) = monthly_and_daily() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.nc");
    write_levels(&sample);
    for file in [&monthly, &sample] {
        for operator in TEXTS {
            let line = format!("-{operator} {}", file.display());
            let ours = print(&line).unwrap_or_else(|e| panic!("{line}: {}", e.chain()));
            assert_same_words(&line, &ours, &cdo_prints(&line).0);
        }
    }
    let line = format!("-infon -timmean -sellevidx,1 {}", monthly.display());
    let values = |text: &str| {
        text.lines()
            .last()
            .unwrap()
            .rsplit(" : ")
            .next()
            .unwrap()
            .to_owned()
    };
    let ours = print(&line).unwrap();
    assert_eq!(values(&ours), values(&cdo_prints(&line).0));
    let line = format!("-showattribute,ta@units,ta@long_name {}", monthly.display());
    assert_same_words(
        &line,
        &print(&line).unwrap(),
        "ta:\n   long_name = \"Air Temperature\"\n   units = \"K\"\n",
    );
}

#[test]
fn differences_are_those_of_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.nc");
    write_levels(&sample);
    let sample = sample.display();
    for other in ["-mulc,-1", "-addc,4096", "-mulc,1.5", "-setctomiss,4"] {
        let line = format!("-diffn {sample} {other} {sample}");
        let (theirs, code) = cdo_prints(&line);
        assert_eq!(code, Some(1), "{line}");
        match print(&line) {
            Err(CubeError::Differs { report }) => assert_same_words(&line, &report, &theirs),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert_eq!(print(&format!("-diff {sample} {sample}")).unwrap(), "");
    let error = print(&format!("-diff {sample} -seltimestep,1 {sample}")).unwrap_err();
    assert!(
        error.chain().contains("`tos` is [8, 3, 4, 6] in the first"),
        "{}",
        error.chain()
    );
}

#[test]
fn json_has_the_numbers_of_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.nc");
    write_levels(&sample);
    let json = |line: &str| -> serde_json::Value {
        serde_json::from_str(&print(&format!("--json {line} {}", sample.display())).unwrap())
            .unwrap()
    };
    let fields = json("-infon");
    assert_eq!(fields.as_array().unwrap().len(), 8 * 3 + 1 + 8);
    assert_eq!(fields[1]["missing"], 24);
    assert!(fields[1]["mean"].is_null());
    assert_eq!(fields[3]["minimum"], -400.0);
    assert_eq!(fields[3]["variable"], "orog");
    let structure = json("-sinfo");
    assert_eq!(
        structure["variables"][0]["levels"],
        serde_json::json!([0.5, 10.0, 333.25])
    );
    assert_eq!(structure["times"][3], "2000-12-31T18:30:00");
    assert_eq!(json("-showname"), serde_json::json!(["tos", "orog", "sc"]));
    assert_eq!(json("-ntime"), 8);
}
