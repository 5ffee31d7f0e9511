//! `mizar report --scaling`: reads runs, compares them, and writes what was asked for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mizar_report::scaling::run::Run;
use mizar_report::scaling::{self, Options, drawing, mlflow, page, record, tables, text};

use super::Args;
use crate::record_dir::{self, RecordDir};
use crate::stdout;

/// What only a scalability report understands.
#[derive(clap::Args)]
#[command(next_help_heading = "Scalability (with --scaling)")]
pub(super) struct ScalingArgs {
    /// Compare runs of different sizes: jobs, record folders, or MLflow stores of itwinai, each
    /// perhaps as STRATEGY=RUN
    #[arg(long)]
    pub(super) scaling: bool,
    /// Write the tables as CSV files into this folder
    #[arg(long, value_name = "DIR", requires = "scaling")]
    csv: Option<PathBuf>,
    /// Write the plots as SVG files into this folder
    #[arg(long, value_name = "DIR", requires = "scaling")]
    svg: Option<PathBuf>,
    /// The work grew with the ranks (weak scaling)
    #[arg(long, requires = "scaling")]
    weak: bool,
    /// Compare with this many ranks, else with the fewest that all strategies have
    #[arg(long, value_name = "RANKS", requires = "scaling", value_parser = clap::value_parser!(u32).range(1..))]
    baseline: Option<u32>,
    /// The efficiency that is still good enough, in percent
    #[arg(long, value_name = "PERCENT", requires = "scaling", default_value_t = 70.0, value_parser = percent)]
    target: f64,
    /// Samples in an epoch (of each rank with --weak), where no figure `samples` was marked
    #[arg(long, value_name = "COUNT", requires = "scaling", value_parser = positive)]
    samples: Option<f64>,
    /// Ranks on a full node, where the runs do not tell
    #[arg(long, value_name = "RANKS", requires = "scaling", value_parser = clap::value_parser!(u32).range(1..))]
    ranks_per_node: Option<u32>,
    /// Also advise the fewest ranks that end within this time: `90s`, `30m`, `2h`, `1d`
    #[arg(long, value_name = "TIME", requires = "scaling", value_parser = time)]
    deadline: Option<Duration>,
    /// Epochs that must be done by the deadline
    #[arg(long, value_name = "COUNT", requires = "deadline", default_value_t = 1.0, value_parser = positive)]
    epochs: f64,
    /// Seed of the bootstrap: the same seed gives the same intervals
    #[arg(long, value_name = "NUMBER", requires = "scaling", default_value_t = 1)]
    seed: u64,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if number.is_finite() && number > 0.0 {
        Ok(number)
    } else {
        Err("expected a number above 0".to_owned())
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = positive(text.trim_end_matches('%'))?;
    if number <= 100.0 {
        Ok(number)
    } else {
        Err("expected at most 100".to_owned())
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0), ('d', 86_400.0)];
    let (number, factor) = units
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .unwrap_or((text, 1.0));
    Duration::try_from_secs_f64(positive(number)? * factor).map_err(|error| error.to_string())
}

impl ScalingArgs {
    fn options(&self) -> Options {
        Options {
            weak: self.weak,
            baseline: self.baseline,
            target_efficiency: self.target / 100.0,
            seed: self.seed,
            samples: self.samples,
            ranks_per_node: self.ranks_per_node,
            deadline_s: self.deadline.map(|deadline| deadline.as_secs_f64()),
            epochs: self.epochs,
        }
    }
}

/// Runs `mizar report --scaling`. Answers 1 if no run could be compared.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut runs = Vec::new();
    for named in &args.jobs {
        runs.extend(read(named, &args.records)?);
    }
    let report = scaling::analyse(&runs, &args.scaling.options());
    if report.points.is_empty() && !args.json {
        let why = report
            .excluded
            .iter()
            .map(|run| format!("\n{}: {}", run.source, run.reasons.join("; ")));
        bail!("no run can be compared{}", why.collect::<String>());
    }
    let mut written = Vec::new();
    if let Some(folder) = &args.scaling.csv {
        for table in tables::tables(&report) {
            let file = folder.join(table.name).with_extension("csv");
            written.push(write(&file, &table.csv())?);
        }
    }
    if let Some(folder) = &args.scaling.svg {
        for plot in drawing::drawings(&report) {
            let file = folder.join(plot.name).with_extension("svg");
            written.push(write(&file, &plot.file())?);
        }
    }
    if let Some(file) = &args.html {
        written.push(write(file, &page::render(&report)?)?);
    }
    if args.json {
        stdout::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else if written.is_empty() {
        stdout::print(&text::render(&report))?;
    } else {
        let names: Vec<String> = written
            .iter()
            .map(|file| format!("{}\n", file.display()))
            .collect();
        stdout::print(&names.concat())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, text: &str) -> anyhow::Result<PathBuf> {
    let failed = || format!("cannot write {}", file.display());
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).with_context(failed)?;
    }
    mizar_core::durable::write(file, text.as_bytes()).with_context(failed)?;
    Ok(file.to_owned())
}

/// The runs behind `[STRATEGY=]RUN`.
fn read(named: &str, records: &RecordDir) -> anyhow::Result<Vec<Run>> {
    let (strategy, place) = match named.split_once('=') {
        Some((strategy, place)) if !strategy.is_empty() && !Path::new(named).exists() => {
            (Some(strategy), place)
        }
        _ => (None, named),
    };
    let path = Path::new(place);
    if path.is_dir() && mlflow::is_store(path) {
        return Ok(mlflow::runs(path, strategy)?);
    }
    let folder = record_dir::folder_of(place, records)?;
    let job = mizar_record::reader::read_job(&folder)
        .with_context(|| format!("the record in {} cannot be read", folder.display()))?;
    let runs = record::runs(&job, strategy);
    if runs.is_empty() {
        bail!(
            "the record in {} has no step that ran a program",
            folder.display()
        );
    }
    Ok(runs)
}
