//! `mizar report --export`: a job's figures in the formats of other tools, to a file, a folder,
//! the output or a server.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use mizar_record::model::JobRecord;
use mizar_report::Report;
use mizar_report::export::{jobstats, omnistat, trace};

use super::mlflow;
use crate::stdout;

/// A format of another tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// omnistat's CSV files, into a folder
    Omnistat,
    /// jobstats' JSON
    Jobstats,
    /// jobstats' string for Slurm's AdminComment (JS1:…)
    AdminComment,
    /// Chrome's trace JSON, which Perfetto opens too
    Trace,
    /// Runs on an MLflow server (--to)
    Mlflow,
}

/// What only an export understands.
#[derive(clap::Args)]
#[command(next_help_heading = "Export")]
pub(super) struct ExportArgs {
    /// Write the job in the format of another tool
    #[arg(long = "export", value_name = "FORMAT", value_enum, conflicts_with_all = ["scaling", "html", "json"])]
    pub(super) format: Option<Format>,
    /// Where to; else the output (omnistat's files need a folder)
    #[arg(short, long, value_name = "PATH", requires = "format")]
    output: Option<PathBuf>,
    /// The MLflow server; MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and
    /// MLFLOW_TRACKING_PASSWORD, are sent to it
    #[arg(
        long,
        value_name = "URL",
        requires = "format",
        env = "MLFLOW_TRACKING_URI"
    )]
    to: Option<String>,
    /// The experiment on the MLflow server
    #[arg(
        long,
        value_name = "NAME",
        requires = "format",
        default_value = "mizar"
    )]
    experiment: String,
}

/// Exports a job.
pub(super) fn run(
    format: Format,
    args: &ExportArgs,
    record: &JobRecord,
    report: &Report,
) -> anyhow::Result<()> {
    let output = args.output.as_deref();
    match format {
        Format::Omnistat => {
            let Some(folder) = output else {
                bail!("omnistat's export is several files: name a folder with -o");
            };
            write_all(folder, &omnistat::files(record))
        }
        Format::Jobstats => {
            let summary = jobstats::summary(record, report);
            put(output, &(serde_json::to_string_pretty(&summary)? + "\n"))
        }
        Format::AdminComment => {
            let comment = jobstats::admin_comment(&jobstats::summary(record, report));
            put(output, &(comment + "\n"))
        }
        Format::Trace => put(output, &(trace::chrome(record) + "\n")),
        Format::Mlflow => {
            let Some(server) = &args.to else {
                bail!("name the MLflow server with --to or MLFLOW_TRACKING_URI");
            };
            mlflow::send(server, &args.experiment, record, report)
        }
    }
}

fn put(output: Option<&Path>, text: &str) -> anyhow::Result<()> {
    let Some(file) = output else {
        stdout::print(text)?;
        return Ok(());
    };
    mizar_core::durable::write(file, text.as_bytes())
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(())
}

fn write_all(folder: &Path, files: &[omnistat::File]) -> anyhow::Result<()> {
    if files.is_empty() {
        bail!("the record holds no readings that omnistat has a metric for");
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for file in files {
        let path = folder.join(file.name);
        put(Some(&path), &file.text)?;
        stdout::print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}
