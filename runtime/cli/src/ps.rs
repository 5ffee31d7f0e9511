//! `mizar ps`: running jobs with their live use.
//!
//! Asks the `mizard` of this machine; other nodes' jobs are taken from unfinished records, so
//! that it works from a login node with a shared record folder. Left out: finished jobs
//! (`mizar report`).

mod gpus;
pub(crate) mod live;
mod table;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use mizar_core::ids::JobId;
use serde::Serialize;

use crate::record_dir::RecordDir;
use crate::stdout;

/// The name of the JSON's layout; fields may be added under it.
const SCHEMA: &str = "mizar-ps/1";

const EXAMPLES: &str = "\
Examples:
  mizar ps                        every watched job that you may see
  mizar ps 1234 --watch           one job, again every 2 seconds
  mizar ps --json | jq '.rows[]'  for programs

GPU columns appear when a job has any. CPUs are those kept busy, memory is what is resident, I/O is read and written together, each
by the ranks on that node over the last sampling interval. What other nodes do is read from
their records, which are some seconds old. A dash is what is not known yet.";

/// Arguments of `mizar ps`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this job
    #[arg(value_name = "JOB")]
    job: Option<JobId>,
    /// Print JSON (schema mizar-ps/1)
    #[arg(long)]
    json: bool,
    /// Show again every so many seconds, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    watch: Option<u32>,
    #[command(flatten)]
    records: RecordDir,
}

/// One step of a job on one node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) job: JobId,
    pub(crate) user: String,
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) step: String,
    /// Running ranks of the step on this node.
    pub(crate) ranks_here: usize,
    /// Ranks of the step over all nodes.
    pub(crate) ranks: u32,
    pub(crate) elapsed_s: f64,
    pub(crate) cpus_busy: Option<f64>,
    /// CPUs of the job on this node, all steps together.
    pub(crate) cpus_allocated: Option<u32>,
    pub(crate) memory_bytes: Option<u64>,
    /// Limit of the job on this node, all steps together.
    pub(crate) memory_limit_bytes: Option<u64>,
    pub(crate) io_bytes_per_s: Option<f64>,
    /// The GPUs of the step on this node, if it has any.
    pub(crate) gpus: Option<gpus::StepGpus>,
    /// Who told: `mizard` or `record`.
    pub(crate) source: &'static str,
}

/// Ranks of a job that hang.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Hang {
    pub(crate) job: JobId,
    /// Ranks, nodes, calls, for how long.
    pub(crate) text: String,
}

#[derive(Serialize)]
struct Listing<'r> {
    schema: &'static str,
    time_s: f64,
    rows: &'r [Row],
    hangs: &'r [Hang],
}

/// Runs `mizar ps`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    loop {
        let found = live::find(args.job, &args.records);
        if !found.reached {
            bail!("{}", found.looked.join("\n"));
        }
        let now_ns = mizar_core::clock::unix_ns();
        let text = if args.json {
            let listing = Listing {
                schema: SCHEMA,
                time_s: now_ns as f64 / 1e9,
                rows: &found.rows,
                hangs: &found.hangs,
            };
            serde_json::to_string_pretty(&listing)? + "\n"
        } else if found.rows.is_empty() {
            let what = args.job.map_or_else(
                || "No watched job is running.".to_owned(),
                |job| format!("Job {job} is not running, or not watched."),
            );
            format!("{what}\n{}\n", found.looked.join("\n"))
        } else {
            table::render(&found.rows) + &table::hangs(&found.hangs)
        };
        let Some(seconds) = args.watch else {
            stdout::print(&text)?;
            return Ok(ExitCode::SUCCESS);
        };
        let clear = if std::io::stdout().is_terminal() {
            "\x1b[H\x1b[2J"
        } else {
            ""
        };
        if !stdout::print_on(&format!("{clear}{text}"))? {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_secs(u64::from(seconds)));
    }
}
