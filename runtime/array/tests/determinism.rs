//! The same bits for any number of ranks and threads and any storage; and what must hold of
//! any data.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::Path;
use std::process::Command;

use mizar_comm::run_threads;

use cube::{Sample, has, read, run, run_on, with_file, write_sample};

const LINES: [&str; 20] = [
    "-timmean F",
    "-timstd F",
    "-timsum F",
    "-timmin F",
    "-regres F",
    "-runstd,5 F",
    "-monpctl,90 F",
    "-timmax -runmean,3 F",
    "-detrend F",
    "-timminidx F",
    "-ydayvar1 F",
    "-seasmean F",
    "-monmean F",
    "-ymonmean F",
    "-ymonsub F -ymonmean F",
    "-sub F -timmean F",
    "-fldmean F",
    "-zonmean F",
    "-timstd -monmean -sellonlatbox,350,40,-60,60 F",
    "-selmon,2,12 F",
];

/// Those whose work is cut across cells as well when chunks are thick.
const BLOCK_LINES: [&str; 6] = [
    "-timsort F",
    "-timstd F",
    "-monmean F",
    "-ymonsub F -ymonmean F",
    "-fldmean F",
    "-timsum -selmon,1/6 F",
];

fn bits(path: &Path) -> Vec<u64> {
    read(path, "tas").1.into_iter().map(f64::to_bits).collect()
}

fn results(input: &Path, folder: &Path, line: &str) -> Vec<(String, Vec<u64>)> {
    let output = folder.join("out.nc");
    let line = with_file(line, input);
    let line = format!("{line} {}", output.display());
    let mut results = Vec::new();
    for (ranks, threads) in [(1, 1), (1, 2), (1, 4), (2, 1), (3, 2), (4, 1)] {
        for result in run_threads(ranks, |comm| run_on(comm, threads, &line)) {
            result.unwrap_or_else(|error| panic!("{line}: {}", error.chain()));
        }
        results.push((format!("{ranks} ranks x {threads} threads"), bits(&output)));
    }
    results
}

fn check_all_the_same(input: &Path, folder: &Path, lines: &[&str]) {
    for line in lines {
        let results = results(input, folder, line);
        for (name, bits) in &results[1..] {
            assert!(
                *bits == results[0].1,
                "{line}: {name} differs from {}",
                results[0].0
            );
        }
    }
}

#[test]
fn ranks_and_threads_do_not_change_a_bit_of_slabs() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.nc");
    // Longer than a unit of work, so that there is something to merge.
    write_sample(
        &input,
        &Sample {
            steps: 800,
            lats: 45,
            lons: 72,
            ..Sample::default()
        },
    );
    check_all_the_same(&input, folder.path(), &LINES);
}

#[test]
fn ranks_and_threads_do_not_change_a_bit_of_blocks() {
    if !has("nccopy", "netcdf-bin") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (slabs, blocks) = (
        folder.path().join("slabs.nc"),
        folder.path().join("blocks.nc"),
    );
    write_sample(
        &slabs,
        &Sample {
            steps: 800,
            lats: 30,
            lons: 48,
            ..Sample::default()
        },
    );
    let status = Command::new("nccopy")
        .args(["-d1", "-s", "-c", "time/800,lat/15,lon/24"])
        .args([&slabs, &blocks])
        .status()
        .unwrap();
    assert!(status.success());
    check_all_the_same(&blocks, folder.path(), &BLOCK_LINES);
}

#[test]
fn a_failing_rank_fails_all_and_leaves_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.nc"), folder.path().join("out.nc"));
    write_sample(&input, &Sample::default());
    let results = run_threads(3, |comm| {
        // One rank does not find its input.
        let rank = mizar_comm::Communicator::rank(comm);
        let name = if rank == 2 { "none.nc" } else { "in.nc" };
        let line = format!(
            "-timmean {} {}",
            folder.path().join(name).display(),
            output.display()
        );
        run_on(comm, 1, &line).map_err(|error| error.chain())
    });
    for (rank, result) in results.iter().enumerate() {
        let message = result.as_ref().unwrap_err();
        assert!(message.contains("none.nc"), "{message}");
        assert_eq!(message.starts_with("rank 2: "), rank != 2, "{message}");
    }
    assert!(!output.exists());
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing else is left"
    );
}

#[test]
fn what_must_hold_of_any_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let constant = Sample {
        constant: Some(273.25),
        ..Sample::default()
    };
    write_sample(&path("constant.nc"), &constant);
    write_sample(&path("in.nc"), &Sample::default());
    let run = |line: &str| {
        let words = line.split(' ').map(|word| match word.ends_with(".nc") {
            true => path(word).display().to_string(),
            false => word.to_owned(),
        });
        run(&words.collect::<Vec<_>>().join(" ")).unwrap();
    };
    let values = |name: &str| read(&path(name), "tas").1;
    let all = |name: &str, expected: f64| {
        assert!(
            values(name).iter().all(|v| v.is_nan() || *v == expected),
            "{name}"
        );
        assert!(values(name).iter().any(|v| !v.is_nan()), "{name}");
    };
    run("-timmean constant.nc mean.nc");
    all("mean.nc", 273.25);
    run("-fldmean constant.nc field.nc");
    assert!(
        values("field.nc")
            .iter()
            .all(|value| (value - 273.25).abs() < 1e-4)
    );
    run("-timstd constant.nc std.nc");
    all("std.nc", 0.0);
    run("-sub in.nc in.nc zero.nc");
    all("zero.nc", 0.0);
    run("-monmean in.nc months.nc");
    run("-monmean months.nc again.nc");
    let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    assert!(
        same(&values("months.nc"), &values("again.nc")),
        "the mean of one is itself"
    );
    run("-timmin in.nc low.nc");
    run("-timmean in.nc middle.nc");
    run("-timmax in.nc high.nc");
    let (low, middle, high) = (values("low.nc"), values("middle.nc"), values("high.nc"));
    for cell in 0..low.len() {
        let ordered = low[cell] <= middle[cell] && middle[cell] <= high[cell];
        assert!(ordered || low[cell].is_nan(), "cell {cell}");
    }
    // The land mask stays.
    assert!(low[5].is_nan() && middle[5].is_nan() && high[5].is_nan());
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let sample = |name: &str, sample: Sample| write_sample(&folder.path().join(name), &sample);
    let small = Sample {
        steps: 40,
        ..Sample::default()
    };
    sample("a.nc", small);
    sample("steps.nc", Sample { steps: 41, ..small });
    sample("grid.nc", Sample { lats: 9, ..small });
    std::fs::write(folder.path().join("empty.nc"), "").unwrap();
    for (line, expected) in [
        (
            "-sub a.nc steps.nc",
            "operator `sub`: the inputs do not match: 40 time steps against 41",
        ),
        (
            "-sub a.nc grid.nc",
            "operator `sub`: the inputs do not match: dimension `lat` is 18 long against 9",
        ),
        (
            "-ymonsub a.nc a.nc",
            "operator `ymonsub`: the inputs do not match: the second has month 1 twice, at steps 1 and 2",
        ),
        (
            "-ymonsub a.nc -selmon,1 -ymonmean a.nc",
            "operator `ymonsub`: the inputs do not match: the second has no month 2, which 2001-02-01T12:00:00 needs",
        ),
        (
            "-selname,pr a.nc",
            "operator `selname` selects nothing: the input has tas",
        ),
        (
            "-selmon,7 a.nc",
            "operator `selmon` selects nothing: the steps go from 2001-01-01T12:00:00 to 2001-02-09T12:00:00 (calendar noleap)",
        ),
        (
            "-sellonlatbox,1,2,0,9 a.nc",
            "operator `sellonlatbox` selects nothing: no longitude lies between 1 and 2",
        ),
        (
            "-selmon,13 a.nc",
            "operator `selmon`: expected months from 1 to 12, or from/to[/step], found `13`",
        ),
        (
            "-seldate,2001-02 a.nc",
            "operator `seldate`: expected a date YYYY-MM-DD[Thh:mm:ss], found `2001-02`",
        ),
    ] {
        let words = line.split(' ').map(|w| {
            if w.ends_with(".nc") {
                path(w)
            } else {
                w.to_owned()
            }
        });
        let line = format!("{} {}", words.collect::<Vec<_>>().join(" "), path("out.nc"));
        let error = run(&line).unwrap_err();
        assert_eq!(error.chain(), expected);
        assert!(!folder.path().join("out.nc").exists(), "{line}");
    }
}
