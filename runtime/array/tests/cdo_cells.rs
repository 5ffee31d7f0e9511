//! Every operator that works cell by cell against `cdo`, on generated files with missing values
//! and on CMIP6 files with two pressure levels.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::Path;

use mizar_array::dataset::{AttrValue, DType};
use mizar_array::storage::Source;
use mizar_array::write::{WriteOptions, Writer};

use cube::{Sample, assert_close, attribute, cdo, cmip6, has, read, run, write_sample};

/// The command lines; `F` and `G` are files of the same grid and different gaps. Where CDO is
/// given another line, that stands behind the bar: its results outside a function's domain are
/// NaN and infinity, ours are missing.
const LINES: &[&str] = &[
    "-add F G",
    "-sub F G",
    "-mul F G",
    "-div F -gtc,285 G",
    "-min F G",
    "-max F G",
    "-atan2 -subc,285 F -subc,286 G",
    "-add F -timmean G",
    "-sub -timmean G F",
    "-sub F -fldmean F | -expr,tas=tas-fldmean(tas) F",
    "-eq -nint F -nint G",
    "-ne -nint F -nint G",
    "-lt F G",
    "-le -nint F -nint G",
    "-gt F G",
    "-ge -nint F -nint G",
    "-addc,3.5 F",
    "-subc,273.15 F",
    "-mulc,-2 F",
    "-divc,3 F",
    "-divc,0 F",
    "-minc,285 F | -ifthen -gec,0 F -minc,285 F",
    "-maxc,285 F | -ifthen -gec,0 F -maxc,285 F",
    "-eqc,285 -nint F",
    "-nec,285 -nint F",
    "-lec,285 -nint F",
    "-ltc,285 F",
    "-gec,285 -nint F",
    "-gtc,285 F",
    "-abs -subc,285 F",
    "-int -subc,285 F",
    "-nint -subc,285 F",
    "-pow,2 -subc,285 F",
    "-pow,0.5 F",
    "-sqr -subc,285 F",
    "-sqrt -subc,285 F | -sqrt -setrtomiss,-1e9,-1e-9 -subc,285 F",
    "-exp -subc,285 F",
    "-ln -subc,285 F | -ln -setrtomiss,-1e9,0 -subc,285 F",
    "-log10 -subc,285 F | -log10 -setrtomiss,-1e9,0 -subc,285 F",
    "-sin F",
    "-cos F",
    "-tan F",
    "-asin -divc,12 -subc,285 F | -asin -setvrange,-1,1 -divc,12 -subc,285 F",
    "-acos -divc,12 -subc,285 F | -acos -setvrange,-1,1 -divc,12 -subc,285 F",
    "-atan -subc,285 F",
    "-reci F",
    "-reci -gtc,285 F | -reci -setctomiss,0 -gtc,285 F",
    "-not -gtc,285 F",
    "-setctomiss,285 -nint F",
    "-setmisstoc,-7 F",
    "-setrtomiss,280,285 F",
    "-setvrange,280,285 F",
    "-setrtoc,280,285,1 F",
    "-setrtoc2,280,285,1,0 F",
    "-setmissval,-9999 F",
    "-setmisstonn F",
    "-setmisstodis F",
    "-setmisstodis,3 F",
    "-sellonlatbox,0,90,-30,30 -setmisstonn F",
    "-setclonlatbox,5,-40,40,-20,20 F",
    "-setclonlatbox,5,0,360,90,0 F",
    "-setvals,280,1,285,2 -nint F",
    "-ifthen -gtc,285 F G",
    "-ifnotthen -gtc,285 F G",
    "-ifthenelse -gtc,285 F G F",
    "-ifthen -gtc,285 -timmean F G",
    "-ifthenelse -gtc,285 -timmean F G F",
    "-ifthenc,3 -gtc,285 F",
    "-ifnotthenc,3 -gtc,285 F",
    "-mulcoslat F",
    "-divcoslat F",
    "-ymonadd F -ymonmean G",
    "-ymonsub F -ymonmean G",
    "-ymonmul F -ymonmean G",
    "-ymondiv F -ymonmean G",
    "-monsub F -monmean G",
    "-monadd F -monmean G",
    "-yearsub F -yearmean G",
    "-yeardiv F -yearmean G",
    "-daysub F G",
    "-ydaysub F YDAY",
    "-ydayadd F YDAY",
    "-yseasmul F YSEAS",
    "-yseasdiv F YSEAS",
    "-ymonsub F YMON",
    "-yhoursub F YHOUR",
    "-mulc,2 -subc,273.15 -sub F G",
    "-timmean -sub F -addc,1 -mulc,2 G",
    "-fldmean -sqr -ymonsub F -ymonmean F",
];

/// Runs a line both ways and compares the variable `name`.
fn check(line: &str, name: &str, files: &[(&str, &Path)], folder: &Path) {
    let on = |line: &str| {
        let word = |word: &str| {
            let file = files.iter().find(|(letter, _)| *letter == word);
            file.map_or_else(|| word.to_owned(), |(_, path)| path.display().to_string())
        };
        line.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    let (ours_line, cdo_line) = line.split_once(" | ").unwrap_or((line, line));
    let (ours, theirs) = (folder.join("mizar.nc"), folder.join("cdo.nc"));
    run(&format!("-b F64 {} {}", on(ours_line), ours.display()))
        .unwrap_or_else(|error| panic!("{line}: {}", error.chain()));
    cdo(&format!("{} {}", on(cdo_line), theirs.display()));
    assert_close(
        &format!("{line}: {name}"),
        &read(&ours, name),
        &read(&theirs, name),
    );
    assert_eq!(
        read(&ours, "time").0,
        read(&theirs, "time").0,
        "{line}: steps"
    );
}

/// Small files, as long as they must be to have two Januaries.
const SMALL: Sample = Sample {
    steps: 430,
    lats: 6,
    lons: 10,
    missing_every: 7,
    dtype: DType::F32,
    calendar: "standard",
    constant: None,
};

#[test]
fn cells_are_those_of_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (f, g) = (path("f.nc"), path("g.nc"));
    write_sample(&f, &SMALL);
    let missing_every = 5;
    write_sample(
        &g,
        &Sample {
            missing_every,
            ..SMALL
        },
    );
    let climatologies = ["YDAY", "YSEAS", "YMON", "YHOUR"].map(|name| (name, path(name)));
    for (name, path) in &climatologies {
        // Not by cdo: its yseasmean writes dates out of memory that it never set.
        let operator = name.to_lowercase();
        let line = format!("-{operator}mean {} {}", g.display(), path.display());
        run(&line).unwrap();
    }
    let mut files = vec![("F", f.as_path()), ("G", g.as_path())];
    files.extend(
        climatologies
            .iter()
            .map(|(name, path)| (*name, path.as_path())),
    );
    for line in LINES {
        check(line, "tas", &files, folder.path());
    }
}

/// Several levels, real units and fill values, other calendars.
const CMIP6_LINES: [&str; 7] = [
    "-sub F -timmean F",
    "-mulc,2 -subc,273.15 F",
    "-ydaysub F -ydaymean F | -ydaysub F -ydaymean F",
    "-monsub F -monmean F",
    "-ifthen -gtc,250 F F",
    "-max F -addc,1 F",
    "-setrtomiss,200,250 F",
];

#[test]
fn cells_are_those_of_cdo_on_cmip6() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for model in ["ta_day_MIROC6_", "ta_Amon_ACCESS-CM2_", "ta_day_TaiESM1_"] {
        let Some(file) = cmip6(model) else {
            continue;
        };
        let (marked, few) = (
            folder.path().join("marked.nc"),
            folder.path().join("few.nc"),
        );
        let file = file.display();
        // CDO takes NetCDF's default fill value for data, unless it is told.
        cdo(&format!(
            "-setrtomiss,9e36,1e37 {file} {}",
            marked.display()
        ));
        cdo(&format!("-ydaymean {} {}", marked.display(), few.display()));
        for line in CMIP6_LINES {
            let line = line.replace("-ydaymean F", "Y");
            check(&line, "ta", &[("F", &marked), ("Y", &few)], folder.path());
        }
    }
}

fn message(line: &str) -> String {
    let error = run(line).expect_err(line);
    error.chain()
}

/// Formulas for the variable `tas`. Left out is what CDO gives a missing value another meaning
/// in (`||`, `0*x`), and `clevidx`, which gives it the level.
const FORMULAS: &[&str] = &[
    "z=tas-273.15",
    "z=-tas^2+3*(tas-1)/2",
    "z=2^3^2+(tas-tas)",
    "z=(1||0&&0)+(tas-tas)",
    "z=(2<1==0)+(tas-tas)",
    "z=tas>285?tas:-1",
    "z=tas>285?2:(tas>283?3:4)",
    "z=(tas<=>285)+(tas!=280)+!(tas>281)",
    "z=(tas>281)&&(tas<285)",
    "z=isMissval(tas)",
    "z=(tas>285)?tas:missval(tas)",
    "z=nint(tas)+int(-tas)+floor(tas)+ceil(tas)",
    "z=min(tas,285)+max(tas,282)+mod(tas,7)+pow(tas,0.5)+hypot(tas,3)",
    "z=atan2(tas,300)",
    "z=sin(tas)+cos(tas)*tan(tas)+asin(tas/400)+acos(tas/400)+atan(tas)",
    "z=sinh(tas/100)+cosh(tas/100)+tanh(tas/100)+asinh(tas)+acosh(tas)+atanh(tas/400)",
    "z=ln(tas)+log10(tas)+exp(tas/100)+sqrt(tas)+sqr(tas)+abs(-tas)+rad(tas)+deg(tas)",
    "z=tas-fldmean(tas)",
    "z=tas-zonmean(tas)",
    "z=fldmean(tas*2)",
    "z=clon(tas)+(tas-tas)",
    "z=tas*clat(tas)",
    "z=gridarea(tas)*1e-9+(tas-tas)",
    "z=clev(tas)+ngp(tas)+nlev(tas)+size(tas)+(tas-tas)",
    "z=cmonth()*100+cday()+cyear()*10000+(tas-tas)",
    "z=cdate()-chour()+cminute()+csecond()+(tas-tas)",
    "z=ctime()+ctimestep()+(tas-tas)",
    "z=cdeltat()+(tas-tas)",
    "_a=tas+1;_b=_a*2;z=_b-tas",
    "a=tas;a=a+1;z=a;remove(a)",
    "_c=5;z=tas*_c+M_PI",
    "_ALL_=_ALL_*2;z=tas+1",
];

#[test]
fn formulas_are_those_of_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path().join("f.nc");
    write_sample(&f, &SMALL);
    for formula in FORMULAS {
        check(
            &format!("-expr,{formula} F"),
            "z",
            &[("F", &f)],
            folder.path(),
        );
    }
    let text = folder.path().join("formulas.txt");
    std::fs::write(&text, "_a = tas + 1; # comment\nz = _a *\n 2;\n").unwrap();
    let line = format!("-exprf,{} F | -expr,z=(tas+1)*2 F", text.display());
    check(&line, "z", &[("F", &f)], folder.path());
    for name in ["z", "tas"] {
        check("-aexpr,z=tas+1 F", name, &[("F", &f)], folder.path());
        check(
            "-aexpr,tas=tas+1;z=tas F",
            name,
            &[("F", &f)],
            folder.path(),
        );
    }
}

#[test]
fn formulas_work_on_levels_of_cmip6_like_cdo() {
    let Some(file) = cmip6("ta_day_MIROC6_").filter(|_| has("cdo", "cdo")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let marked = folder.path().join("marked.nc");
    cdo(&format!(
        "-setrtomiss,9e36,1e37 {} {}",
        file.display(),
        marked.display()
    ));
    for formula in [
        "z=ta*clev(ta)/100",
        "z=ta*(100000/clev(ta))^0.286",
        "z=ngp(ta)*nlev(ta)+size(ta)+(ta-ta)",
    ] {
        check(
            &format!("-expr,{formula} F"),
            "z",
            &[("F", &marked)],
            folder.path(),
        );
    }
}

#[test]
fn formulas_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (f, out) = (folder.path().join("f.nc"), folder.path().join("out.nc"));
    write_sample(&f, &Sample { steps: 2, ..SMALL });
    for (formula, expected) in [
        (
            "z=tas+",
            "line 1, character 7: expected a value, found the end: ``",
        ),
        (
            "z=tax",
            "line 1, character 3: there is no variable `tax`: `tax`",
        ),
        (
            "z=1;y=fuldmean(tas)",
            "line 1, character 7: there is no function `fuldmean`: `fuldmean(tas)`",
        ),
        (
            "z=fldfoo(tas)",
            "line 1, character 3: there is no function `fldfoo`: `fldfoo(tas)`",
        ),
        (
            "z=sqrt(tas,2)",
            "line 1, character 3: `sqrt` takes 1 arguments, found 2: `sqrt(tas,2)`",
        ),
        (
            "z=fldmean(3)",
            "line 1, character 3: `fldmean` takes a variable, found the number 3: `fldmean(3)`",
        ),
        (
            "lat=tas",
            "line 1, character 1: `lat` is a coordinate or serves one: take another name: `lat=tas`",
        ),
        (
            "z=tas$2",
            "line 1, character 6: `$` means nothing here: `$2`",
        ),
    ] {
        let line = format!("-expr,{formula} {} {}", f.display(), out.display());
        assert_eq!(message(&line), format!("operator `expr`: {expected}"));
    }
    let line = format!("-expr,_z=tas {} {}", f.display(), out.display());
    assert!(message(&line).contains("selects nothing"));
}

#[test]
fn formulas_keep_grids_types_and_units() {
    let folder = tempfile::tempdir().unwrap();
    let (f, out) = (folder.path().join("f.nc"), folder.path().join("out.nc"));
    write_sample(&f, &Sample { steps: 2, ..SMALL });
    let formulas = "a=tas*2;b=sqr(tas);c=tas;d=fldmean(tas);e=5;f=tas>280";
    run(&format!(
        "-expr,{formulas} {} {}",
        f.display(),
        out.display()
    ))
    .unwrap();
    let units = |name| attribute(&out, name, "units");
    assert_eq!(units("a").as_deref(), Some("K"));
    assert_eq!(units("b"), None);
    assert_eq!(units("f"), None);
    assert_eq!(
        attribute(&out, "c", "cell_methods").as_deref(),
        Some("area: mean")
    );
    assert_eq!(attribute(&out, "b", "cell_methods"), None);
    assert_eq!(
        attribute(&out, "b", "coordinates").as_deref(),
        Some("height")
    );
    assert_eq!(read(&out, "height").1, [2.0]);
    assert_eq!(read(&out, "d").0, [2]);
    assert_eq!(read(&out, "e"), (vec![], vec![5.0]));
    let source = Source::open(&out).unwrap();
    assert!(source.dataset().variable("tas").is_none());
    for name in ["a", "b", "c", "d", "f"] {
        assert_eq!(
            source.dataset().variable(name).unwrap().dtype,
            DType::F32,
            "{name}"
        );
    }
}

#[test]
fn axes_and_names_are_those_of_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path().join("f.nc");
    write_sample(&f, &Sample { steps: 40, ..SMALL });
    let (ours, theirs) = (folder.path().join("mizar.nc"), folder.path().join("cdo.nc"));
    for line in [
        "-invertlat F",
        "-fldmean -sellonlatbox,0,90,0,60 -invertlat F",
        "-shifttime,1day F",
        "-shifttime,-6hours F",
        "-shifttime,2months F",
        "-setreftime,1990-01-01,00:00:00,hours F",
        "-setreftime,1990-01-01,00:00:00,days F",
        "-settunits,hours F",
        "-settaxis,1990-01-31,12:00:00,1day F",
        "-settaxis,1990-01-16,12:00:00,1month F",
        "-settaxis,1990-01-16,12:00:00 F",
        "-setcalendar,360_day -selmon,2 F",
        "-setcalendar,365_day F",
        "-setunit,m F",
        "-chunit,K,degC F",
        "-setattribute,tas@long_name=warmth F",
    ] {
        check(line, "tas", &[("F", &f)], folder.path());
        // Of months CDO has its own units.
        if !line.contains("month") {
            let name = format!("{line}: time");
            assert_close(&name, &read(&ours, "time"), &read(&theirs, "time"));
        }
        if !line.contains("fld") {
            assert_close(line, &read(&ours, "lat"), &read(&theirs, "lat"));
        }
        for name in ["units", "long_name"] {
            let of = |path| attribute(path, "tas", name);
            assert_eq!(of(&ours), of(&theirs), "{line}: {name}");
        }
        let calendar = attribute(&ours, "time", "calendar");
        assert_eq!(calendar, attribute(&theirs, "time", "calendar"), "{line}");
    }
    let dates = |path: &Path| {
        let output = std::process::Command::new("cdo")
            .args(["-s", "showtimestamp"])
            .arg(path)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for line in [
        "-shifttime,1month -seldate,2001-01-01,2001-01-28 F",
        "-settaxis,1990-01-16,12:00:00,1month F",
    ] {
        check(line, "tas", &[("F", &f)], folder.path());
        assert_eq!(dates(&ours), dates(&theirs), "{line}");
    }
    check("-chname,tas,t2m F", "t2m", &[("F", &f)], folder.path());
    check("-setname,t2m F", "t2m", &[("F", &f)], folder.path());
}

#[test]
fn renaming_and_attributes_keep_a_file_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (f, out) = (folder.path().join("f.nc"), folder.path().join("out.nc"));
    write_sample(&f, &Sample { steps: 2, ..SMALL });
    let (input, output) = (f.display(), out.display());
    run(&format!(
        "-chname,height,h2,lat,y,time_bnds,tb {input} {output}"
    ))
    .unwrap();
    assert_eq!(attribute(&out, "tas", "coordinates").as_deref(), Some("h2"));
    assert_eq!(attribute(&out, "time", "bounds").as_deref(), Some("tb"));
    assert_eq!(read(&out, "y").0, [6]);
    let source = Source::open(&out).unwrap();
    assert!(source.dataset().dimension_index("y").is_some());
    let setting = "tas@n=3,4,tas@x=1.5,tas@s:s=7,tas@units=,title=a,b,*@who=me";
    run(&format!("-setattribute,{setting} {input} {output}")).unwrap();
    let source = Source::open(&out).unwrap();
    let attributes = &source.dataset().variable("tas").unwrap().attributes;
    assert_eq!(attributes.get("n"), Some(&AttrValue::I32(vec![3, 4])));
    assert_eq!(attributes.get("x"), Some(&AttrValue::F64(vec![1.5])));
    assert_eq!(attributes.get_text("s"), Some("7"));
    assert_eq!(attributes.get_text("who"), Some("me"));
    assert_eq!(attributes.get("units"), None);
    assert_eq!(source.dataset().attributes.get_text("title"), Some("a,b"));
    for (line, expected) in [
        (
            "-chname,tas,lat",
            "a name that no variable or dimension has, found `lat`",
        ),
        (
            "-setattribute,tas@_FillValue=1",
            "an attribute that does not say how data is stored (see setmissval), found `tas@_FillValue=1`",
        ),
        (
            "-shifttime,1parsec",
            "a span of time such as 1day, -6hours or 3months, found `1parsec`",
        ),
        ("-setreftime,1990,0", "a date YYYY-MM-DD, found `1990`"),
    ] {
        let error = message(&format!("{line} {input} {output}"));
        assert!(error.ends_with(&format!("expected {expected}")), "{error}");
    }
}

#[test]
fn what_does_not_match_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (year, leap, other) = (path("year.nc"), path("leap.nc"), path("other.nc"));
    let (short, out) = (path("short.nc"), path("out.nc"));
    let write = |name: &str, sample: Sample| write_sample(Path::new(name), &sample);
    write(
        &year,
        Sample {
            steps: 365,
            ..SMALL
        },
    );
    write(
        &leap,
        Sample {
            steps: 1461,
            calendar: "standard",
            ..SMALL
        },
    );
    write(&other, Sample { lats: 5, ..SMALL });
    write(&short, Sample { steps: 31, ..SMALL });
    for (line, expected) in [
        (
            format!("-ydaysub {leap} {year}"),
            "operator `ydaysub`: the inputs do not match: the second has no day 02-29, which \
             2004-02-29T12:00:00 needs",
        ),
        (
            format!("-ydaysub {year} {leap}"),
            "operator `ydaysub`: the inputs do not match: the second has day 01-01 twice, at \
             steps 1 and 366",
        ),
        (
            format!("-monsub {year} -monmean {short}"),
            "operator `monsub`: the inputs do not match: the second has no month 2001-02, which \
             2001-02-01T12:00:00 needs",
        ),
        (
            format!("-yseassub {year} -monmean {short}"),
            "operator `yseassub`: the inputs do not match: the second has no season MAM, which \
             2001-03-01T12:00:00 needs",
        ),
        (
            format!("-add {year} {short}"),
            "operator `add`: the inputs do not match: 365 time steps against 31",
        ),
        (
            format!("-ifthen {year} {other}"),
            "operator `ifthen`: the inputs do not match: 430 time steps against 365",
        ),
        (
            format!("-add -timmean {year} -timmean {other}"),
            "operator `add`: the inputs do not match: dimension `lat` is 6 long against 5",
        ),
        (
            format!("-addc,warm {year}"),
            "operator `addc`: expected a number, found `warm`",
        ),
    ] {
        assert_eq!(message(&format!("{line} {out}")), expected);
    }
}

#[test]
fn types_and_attributes_are_those_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (single, double, out) = (path("single.nc"), path("double.nc"), path("out.nc"));
    let steps = 3;
    write_sample(&single, &Sample { steps, ..SMALL });
    let dtype = DType::F64;
    write_sample(
        &double,
        &Sample {
            steps,
            dtype,
            ..SMALL
        },
    );
    let (f, d) = (single.display(), double.display());
    for (line, dtype) in [
        (format!("-sub {f} {d}"), DType::F32),
        (format!("-sub {d} {f}"), DType::F64),
        (format!("-mulc,2 {f}"), DType::F32),
        (format!("-ifthen {d} {f}"), DType::F32),
        (format!("-sub -timmean {f} {d}"), DType::F32),
        (format!("-setmissval,-1 {f}"), DType::F32),
    ] {
        run(&format!("{line} {}", out.display())).unwrap();
        let source = Source::open(&out).unwrap();
        let tas = source.dataset().variable("tas").unwrap();
        assert_eq!(tas.dtype, dtype, "{line}");
        let fill = if line.contains("setmissval") {
            -1.0
        } else {
            1e20
        };
        let found = tas.attributes.get_f64("_FillValue").unwrap();
        assert!((found / fill - 1.0).abs() < 1e-6, "{line}: {found}");
        assert_eq!(
            attribute(&out, "tas", "units").as_deref(),
            Some("K"),
            "{line}"
        );
    }
}

/// Of data stamped at the end of each interval, the climatology goes with its own months and
/// days.
#[test]
fn climatologies_match_data_that_is_stamped_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (middle, end) = (path("middle.nc"), path("end.nc"));
    let (a, b) = (path("a.nc"), path("b.nc"));
    write_sample(
        &middle,
        &Sample {
            steps: 730,
            ..SMALL
        },
    );
    // The same bounds, other stamps.
    write_end_stamped(&middle, &end);
    for (file, out) in [(&middle, &a), (&end, &b)] {
        let (file, out) = (file.display(), out.display());
        run(&format!("-b F64 -ymonsub {file} -ymonmean {file} {out}")).unwrap();
    }
    assert_close("ymonsub", &read(&b, "tas"), &read(&a, "tas"));
}

fn write_end_stamped(from: &Path, to: &Path) {
    let source = Source::open(from).unwrap();
    let dataset = source.dataset().clone();
    let mut writer = Writer::create(to, &dataset, &WriteOptions::default()).unwrap();
    for (index, variable) in dataset.variables.iter().enumerate() {
        let mut values = read(from, &variable.name).1;
        if variable.name == "time" {
            values.iter_mut().for_each(|time| *time += 0.5);
        }
        writer
            .write_f64(index, &dataset.whole(index), &values)
            .unwrap();
    }
    writer.commit().unwrap();
}
