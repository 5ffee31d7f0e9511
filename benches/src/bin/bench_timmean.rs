//! What a mean over time costs: `mizar cube -timmean` against `cdo -timmean` on the same file.
//!
//! The file is 3650 daily fields of 180 x 360 in single precision, 946 MB unpacked, one chunk
//! a field, shuffled and deflated, 21 % missing: made once, by netCDF4-python, in the cache.
//! Runs alternate on a warm cache; a figure is the median over rounds, the ratio that of
//! processor seconds, because wall time on a busy machine says little.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use mizar_benches::{Figure, Report, median};

/// The promise: no more processor seconds than CDO.
const MOST_TIMES: f64 = 1.0;

/// How often the peak of memory is read while a program runs.
const MEMORY_POLL: Duration = Duration::from_millis(5);

/// How far results may differ from CDO's, relative.
const TOLERANCE: &str = "1e-6";

/// Times a mean over time against CDO.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds to time
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Use this file instead of the generated one
    #[arg(long)]
    file: Option<PathBuf>,
}

/// What one run cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu_s: f64,
    wall_s: f64,
    peak_mb: f64,
}

/// The file's fields: seeded noise on a yearly cycle, land masks and clouds missing.
const GENERATOR: &str = r#"
import sys, os, numpy as np, netCDF4
path = sys.argv[1]
rng = np.random.default_rng(20)
with netCDF4.Dataset(path + ".part", "w") as d:
    d.createDimension("time", None); d.createDimension("lat", 180); d.createDimension("lon", 360)
    t = d.createVariable("time", "f8", ("time",), chunksizes=(512,))
    t.units = "days since 2001-01-01"; t.calendar = "noleap"; t.standard_name = "time"; t.axis = "T"
    lat = d.createVariable("lat", "f8", ("lat",)); lat.units = "degrees_north"; lat[:] = np.arange(-89.5, 90)
    lon = d.createVariable("lon", "f8", ("lon",)); lon.units = "degrees_east"; lon[:] = np.arange(0.5, 360)
    v = d.createVariable("tas", "f4", ("time", "lat", "lon"), zlib=True, complevel=4, shuffle=True,
                         chunksizes=(1, 180, 360), fill_value=1e20)
    v.units = "K"; v.standard_name = "air_temperature"
    base = 288 - 40 * np.sin(np.deg2rad(lat[:]))[:, None] ** 2 + 3 * np.cos(np.deg2rad(lon[:]) * 2)[None, :]
    mask = np.zeros((180, 360), bool); mask[20:120, 40:148] = True
    for day in range(3650):
        x = base + 8 * np.sin(2 * np.pi * day / 365) + rng.normal(0, 0.6, (180, 360))
        m = mask | (rng.random((180, 360)) < 0.05)
        v[day] = np.ma.array(np.round(x * 64) / 64, mask=m)
        t[day] = day + 0.5
os.rename(path + ".part", path)
"#;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let input = match &arguments.file {
        Some(file) => file.clone(),
        None => generated()?,
    };
    let mizar = mizar_lab::binary("mizar");
    let folder = tempfile::tempdir()?;
    let (ours, theirs) = (folder.path().join("mizar.nc"), folder.path().join("cdo.nc"));
    let size_mb = std::fs::metadata(&input)?.len() as f64 / 1e6;
    let method = format!(
        "median over {} rounds, alternating, warm cache, `timmean` of a file of {size_mb:.0} MB \
         (946 MB unpacked); mizar with -P 1",
        arguments.rounds
    );
    let mut report = Report::new("timmean", method);
    report.peer("cdo", "cdo", &["--version"]);
    let run_cdo = || {
        measure(
            Command::new("cdo")
                .args(["-s", "-O", "-timmean"])
                .arg(&input)
                .arg(&theirs),
        )
    };
    let run_mizar = |threads: &[&str]| {
        measure(
            Command::new(&mizar)
                .args(["cube", "-s"])
                .args(threads)
                .arg("-timmean")
                .arg(&input)
                .arg(&ours),
        )
    };
    run_cdo().context("cdo (Debian package cdo)")?;
    run_mizar(&["-P", "1"]).context("mizar cube")?;
    check_equal(&ours, &theirs)?;
    let (mut cdo, mut one, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        cdo.push(run_cdo()?);
        one.push(run_mizar(&["-P", "1"])?);
        all.push(run_mizar(&[])?);
    }
    let of = |costs: &[Cost], field: fn(&Cost) -> f64| {
        median(&costs.iter().map(field).collect::<Vec<f64>>())
    };
    let ratios: Vec<f64> = one
        .iter()
        .zip(&cdo)
        .map(|(one, cdo)| one.cpu_s / cdo.cpu_s)
        .collect();
    let ratio = Figure::new("processor time, mizar over cdo", median(&ratios), "times");
    report.add(ratio.at_most(MOST_TIMES));
    for (name, costs) in [
        ("cdo", &cdo),
        ("mizar", &one),
        ("mizar on all processors", &all),
    ] {
        report.add(Figure::new(
            format!("{name}: processor"),
            of(costs, |cost| cost.cpu_s),
            "s",
        ));
        report.add(Figure::new(
            format!("{name}: wall"),
            of(costs, |cost| cost.wall_s),
            "s",
        ));
        report.add(Figure::new(
            format!("{name}: peak memory"),
            of(costs, |cost| cost.peak_mb),
            "MB",
        ));
    }
    std::process::exit(report.finish(arguments.json));
}

/// The benchmark's file, made if it is not there.
fn generated() -> anyhow::Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home);
    let cache = cache
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("mizar");
    let path = cache.join("bench/timmean-slab-v1.nc");
    if path.exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(cache.join("bench"))?;
    let venv = std::env::var_os("MIZAR_VENV").map_or_else(|| cache.join("venv"), PathBuf::from);
    eprintln!("making {} (once, about a minute)", path.display());
    let status = Command::new(venv.join("bin/python"))
        .args(["-c", GENERATOR])
        .arg(&path)
        .status()
        .with_context(|| {
            format!(
                "python with netCDF4 in {} (tests/tools/venv.sh)",
                venv.display()
            )
        })?;
    ensure!(status.success(), "the file could not be made");
    Ok(path)
}

/// Runs a program; processor time is the kernel's account, memory its own peak.
fn measure(command: &mut Command) -> anyhow::Result<Cost> {
    let before = mizar_benches::measure::children_cpu_s()?;
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn()?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_kb = 0.0_f64;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let text = std::fs::read_to_string(&status_file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak_kb = peak_kb.max(value.unwrap_or(0.0));
        std::thread::sleep(MEMORY_POLL);
    };
    let wall_s = start.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    let cpu_s = mizar_benches::measure::children_cpu_s()? - before;
    Ok(Cost {
        cpu_s,
        wall_s,
        peak_mb: peak_kb / 1e3,
    })
}

/// A fast wrong answer is no answer.
fn check_equal(ours: &Path, theirs: &Path) -> anyhow::Result<()> {
    let limit = format!("-diffn,rellim={TOLERANCE}");
    let output = Command::new("cdo")
        .arg("-s")
        .arg(limit)
        .arg(ours)
        .arg(theirs)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && !text.contains("differ"),
        "results differ:\n{text}"
    );
    Ok(())
}
