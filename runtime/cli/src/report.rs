//! `mizar report`: finds a job's record and shows it as text, JSON or a page; with `--scaling`,
//! compares many.

mod export;
mod mlflow;
mod scaling;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use mizar_report::{analyse, html, text};

use crate::record_dir::{self, RecordDir};
use crate::stdout;

const EXAMPLES: &str = "\
Examples:
  mizar report 1234                     on the terminal, while the job runs too
  mizar report 1234 --html report.html  a page for a browser
  mizar report 1234 --json | jq .cpu    for programs
  mizar report /archive/records/1234    a record kept elsewhere
  mizar report 1234 --export trace -o trace.json   for ui.perfetto.dev or chrome://tracing
  mizar report 1234 --export omnistat -o csv/      omnistat's CSV files
  mizar report 1234 --export mlflow --to http://localhost:5000
  mizar report --scaling 1234 1235 1236 --html scaling.html --csv tables --svg plots
  mizar report --scaling ddp=1234 ddp=1235 zero=1240 zero=1241 --deadline 2h --epochs 90
  mizar report --scaling mllogs/mlflow  the runs of an itwinai store

The record folder is, in this order: --record-dir, MIZAR_RECORD_DIR, what the mizard of this
machine says, /var/lib/mizar/records. A job's W3C PROV document is prov.json in its folder.

A scalability report takes each step that ran the program as a run; sections that it marked
`epoch` are its epochs, else its whole time is one observation. Steps are compared under their
job's name without a size at its end (ddp-4x2 is ddp), or under the STRATEGY before `=`. Warm-up
is dropped and counted; give several runs of a size for intervals that hold between runs.";

/// Arguments of `mizar report`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A job's number, or the folder of its record; with --scaling, several
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
    /// Write the report as one self-contained page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON (schema mizar-report/1, or mizar-scaling/1)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    records: RecordDir,
    #[command(flatten)]
    export: export::ExportArgs,
    #[command(flatten)]
    scaling: scaling::ScalingArgs,
}

/// Runs `mizar report`.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.scaling.scaling {
        return scaling::run(args);
    }
    let [job] = &args.jobs[..] else {
        anyhow::bail!("one job at a time; with --scaling, several are compared");
    };
    let folder = record_dir::folder_of(job, &args.records)?;
    let record = mizar_record::reader::read_job(&folder).context("the record cannot be read")?;
    let report = analyse(&record);
    if let Some(format) = args.export.format {
        export::run(format, &args.export, &record, &report)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &args.html {
        let page = html::render(&report)?;
        mizar_core::durable::write(file, page.as_bytes())
            .with_context(|| format!("cannot write {}", file.display()))?;
        if !args.json {
            stdout::print(&format!("{}\n", file.display()))?;
        }
    }
    if args.json {
        stdout::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else if args.html.is_none() {
        stdout::print(&text::render(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}
