//! What the array engine costs beside its peers: `mizar cube`, CDO, xarray with dask, and a
//! plain C loop, on the same files.
//!
//! The files hold one field of 3650 days of 180 x 360 in single precision, 946 MB unpacked, 21 %
//! missing: a chunk a day, chunks of a year, and plain. Made once, in the cache. In each round
//! every program runs once, one after the other, on a warm cache; a figure is the median over
//! rounds, a ratio the median of the rounds' ratios. Processor seconds of `mizar` are those of
//! one thread; wall time and memory those of two.

mod cases;
mod data;
mod programs;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use clap::Parser;
use mizar_benches::{Cost, Figure, Report, median, watch};

use cases::{Accumulators, Case, Layout, Promise};
use data::Data;
use programs::Programs;

/// Threads of `mizar` and dask where wall time counts.
const THREADS: usize = 2;

/// How far results may lie apart, in kelvins: single precision keeps 3e-5 of values around 280,
/// and anomalies of them cannot be told by their own size.
const TOLERANCE_K: &str = "1e-3";

/// Memory beside the accumulators.
const MEMORY_MB: f64 = 150.0;

/// Two ranks against two runs of one.
const RANKS_AT_LEAST: f64 = 0.9;

/// The case of the ranks.
const RANKS: &str = "ranks";

/// Times `mizar cube` beside cdo, xarray and a C loop.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds to time
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Only cases whose name begins so: timmean, timmean-raw, ranks; may be repeated
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Small files, to see that everything works: times then mean nothing
    #[arg(long)]
    quick: bool,
}

/// What of a cost.
type Field = fn(&Cost) -> f64;

/// The runs of one case, one cost a round.
#[derive(Default)]
struct Runs {
    one: Vec<Cost>,
    all: Vec<Cost>,
    cdo: Vec<Cost>,
    xarray: Vec<Cost>,
    plain_loop: Vec<Cost>,
    mean: Vec<Cost>,
    /// Processor seconds of the C loop's stages, once.
    stages: BTreeMap<String, f64>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let data = Data::in_cache(arguments.quick)?;
    let folder = tempfile::tempdir()?;
    let programs = Programs::new(folder.path())?;
    let method = format!(
        "median over {} rounds, programs alternating, warm cache, {:.0} MB unpacked; processor \
         time of one thread, wall time and memory of {THREADS}",
        arguments.rounds,
        data.size_mb()
    );
    let mut report = Report::new("arrays", method);
    report.peer("cdo", "cdo", &["--version"]);
    let python = data::python()?.to_string_lossy().into_owned();
    let versions = "import xarray, dask, flox, numpy as np; print('xarray', xarray.__version__, \
                    'dask', dask.__version__, 'flox', flox.__version__, 'numpy', np.__version__)";
    report.peer("xarray", &python, &["-c", versions]);
    report.peer("cc", "cc", &["--version"]);
    report.peer("mpirun", "mpirun", &["--version"]);
    data.warm()?;
    let chosen = |name: &str| {
        let begins = |wanted: &String| name.starts_with(wanted.as_str());
        arguments.cases.is_empty() || arguments.cases.iter().any(begins)
    };
    for case in cases::all() {
        let name = format!("{}-{}", case.name, case.layout.name());
        if !chosen(&name) {
            continue;
        }
        let is_missing = |operator: &&&str| !programs.has(operator);
        let missing = case.operators.iter().find(is_missing);
        let is_five = case.name == "five";
        if missing.is_some() || is_five && !programs.has_five(&data.file(case.layout)) {
            eprintln!("{name}: not available");
            continue;
        }
        eprintln!("{name}");
        let runs = measure(&case, &programs, &data, arguments.rounds).context(name.clone())?;
        let first = report.figures.len();
        add_figures(&mut report, &name, &case, &runs, &data);
        report.tell(first);
    }
    if chosen(RANKS) {
        eprintln!("{RANKS}");
        let first = report.figures.len();
        add_ranks(&mut report, &programs, &data, arguments.rounds)?;
        report.tell(first);
    }
    if arguments.cases.is_empty() {
        let mut command = [programs.xarray("import", Path::new(""), THREADS)];
        let wall_s = watch(&mut command)?.wall_s;
        report.add(Figure::new(
            "xarray: its imports, part of its times",
            wall_s,
            "s",
        ));
    }
    std::process::exit(report.finish(arguments.json));
}

/// Runs every program once to see that it works and agrees, then round by round.
fn measure(case: &Case, programs: &Programs, data: &Data, rounds: usize) -> anyhow::Result<Runs> {
    let input = data.file(case.layout);
    let run = |command: Command| watch(&mut [command]);
    let mean = Case {
        chain: &["-timmean", "{in}"],
        ..*case
    };
    let is_against = |wanted: fn(&Promise) -> bool| case.promises.iter().any(wanted);
    let needs_mean = is_against(|promise| matches!(promise, Promise::MeanCpu(_)));
    let needs_xarray =
        is_against(|p| matches!(p, Promise::XarrayWall(_) | Promise::XarrayMemory(_)));
    run(programs.mizar(case, &input, 1)).context("mizar cube")?;
    if case.in_cdo {
        run(programs.cdo(case, &input)).context("cdo (Debian package cdo)")?;
        check_equal(&programs.output("mizar.nc"), &programs.output("cdo.nc"))?;
    }
    let mut runs = Runs::default();
    if case.in_loop {
        let told = programs.plain_loop(case, &input, data).output()?;
        runs.stages = serde_json::from_slice(&told.stdout).context("the C loop")?;
    }
    for round in 0..rounds {
        if case.in_cdo {
            runs.cdo.push(run(programs.cdo(case, &input))?);
        }
        runs.one.push(run(programs.mizar(case, &input, 1))?);
        if case.in_loop {
            let command = programs.plain_loop(case, &input, data);
            runs.plain_loop.push(run(command)?);
        }
        if needs_mean {
            runs.mean.push(run(programs.mizar(&mean, &input, 1))?);
        }
        // Slow, and for the record only where nothing is promised.
        if case.in_xarray && (needs_xarray || round == 0) {
            runs.xarray
                .push(run(programs.xarray(case.name, &input, THREADS))?);
        }
        runs.all.push(run(programs.mizar(case, &input, THREADS))?);
    }
    Ok(runs)
}

fn add_figures(report: &mut Report, name: &str, case: &Case, runs: &Runs, data: &Data) {
    let wall = |cost: &Cost| cost.wall_s;
    let cpu = |cost: &Cost| cost.cpu_s;
    let memory = |cost: &Cost| cost.peak_mb;
    for promise in case.promises {
        let (what, ours, theirs, field, limit): (_, _, _, fn(&Cost) -> f64, _) = match *promise {
            Promise::CdoCpu(limit) => ("processor, over cdo", &runs.one, &runs.cdo, cpu, limit),
            Promise::CdoWall(limit) => ("wall, over cdo", &runs.all, &runs.cdo, wall, limit),
            Promise::XarrayWall(limit) => {
                ("wall, over xarray", &runs.all, &runs.xarray, wall, limit)
            }
            Promise::XarrayMemory(limit) => (
                "memory, over xarray",
                &runs.all,
                &runs.xarray,
                memory,
                limit,
            ),
            Promise::LoopCpu(limit) => (
                "processor, over the C loop",
                &runs.one,
                &runs.plain_loop,
                cpu,
                limit,
            ),
            Promise::MeanCpu(limit) => (
                "processor, over timmean alone",
                &runs.one,
                &runs.mean,
                cpu,
                limit,
            ),
        };
        let ratios = ours
            .iter()
            .zip(theirs)
            .map(|(ours, theirs)| field(ours) / field(theirs));
        let ratio = median(&ratios.collect::<Vec<_>>());
        report.add(Figure::new(format!("{name}: {what}"), ratio, "times").at_most(limit));
    }
    let of = |costs: &[Cost], field: fn(&Cost) -> f64| {
        median(&costs.iter().map(field).collect::<Vec<_>>())
    };
    let accumulators_mb = match case.accumulators {
        Accumulators::PerCell(bytes) => (bytes * data.plane()) as f64 / 1e6,
        Accumulators::None => 0.0,
    };
    let beside_mb = of(&runs.all, memory) - accumulators_mb;
    let beside = Figure::new(
        format!("{name}: memory beside accumulators"),
        beside_mb,
        "MB",
    );
    report.add(beside.at_most(MEMORY_MB));
    for (program, costs) in [
        ("mizar -P 1", &runs.one),
        ("mizar -P 2", &runs.all),
        ("cdo", &runs.cdo),
        ("xarray", &runs.xarray),
        ("C loop", &runs.plain_loop),
    ] {
        if costs.is_empty() {
            continue;
        }
        let figures: [(_, Field, _); 3] = [
            ("processor", cpu, "s"),
            ("wall", wall, "s"),
            ("peak memory", memory, "MB"),
        ];
        for (what, field, unit) in figures {
            let name = format!("{name}: {program}: {what}");
            report.add(Figure::new(name, of(costs, field), unit));
        }
    }
    for (stage, seconds) in &runs.stages {
        let name = format!("{name}: C loop: {stage}");
        report.add(Figure::new(name, *seconds, "s"));
    }
}

/// Two ranks on one file, against two runs of one rank side by side: the throughput of all
/// processors when they need not talk to each other.
fn add_ranks(
    report: &mut Report,
    programs: &Programs,
    data: &Data,
    rounds: usize,
) -> anyhow::Result<()> {
    let case = cases::all().into_iter().find(|case| case.name == "timmean");
    let case = case.context("timmean is a case")?;
    let input = data.file(Layout::Slab);
    let run = |ranks, output| programs.ranks(&case, &input, ranks, output);
    if let Err(error) = watch(&mut [run(1, "ranks.nc")]) {
        eprintln!("{RANKS}: not available (Debian package openmpi-bin): {error}");
        return Ok(());
    }
    // A file of one day of the same kind: what starting costs, however much is read.
    let one_day = Case {
        chain: &["-timmean", "-seldate,2001-01-01,2001-01-01", "{in}"],
        ..case
    };
    let start = |ranks, output| programs.ranks(&one_day, &input, ranks, output);
    let (mut whole, mut working) = (Vec::new(), Vec::new());
    let (mut together_s, mut apart_s) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let together = watch(&mut [run(2, "together.nc")])?.wall_s;
        let apart = watch(&mut [run(1, "left.nc"), run(1, "right.nc")])?.wall_s;
        let start_together = watch(&mut [start(2, "together.nc")])?.wall_s;
        let start_apart = watch(&mut [start(1, "left.nc"), start(1, "right.nc")])?.wall_s;
        // One file in the one time, two in the other.
        whole.push(apart / (2.0 * together));
        working.push((apart - start_apart) / (2.0 * (together - start_together)));
        together_s.push(together);
        apart_s.push(apart);
    }
    let name = "ranks: throughput of 2, over 2 runs of 1, less start-up";
    report.add(Figure::new(name, median(&working), "times").at_least(RANKS_AT_LEAST));
    let name = "ranks: the same with start-up";
    report.add(Figure::new(name, median(&whole), "times"));
    report.add(Figure::new(
        "ranks: 2 ranks: wall",
        median(&together_s),
        "s",
    ));
    report.add(Figure::new(
        "ranks: 2 runs of 1: wall",
        median(&apart_s),
        "s",
    ));
    Ok(())
}

/// A fast wrong answer is no answer.
fn check_equal(ours: &Path, theirs: &Path) -> anyhow::Result<()> {
    let limit = format!("-diffn,abslim={TOLERANCE_K}");
    let mut command = Command::new("cdo");
    let output = command
        .args(["-s", &limit])
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
