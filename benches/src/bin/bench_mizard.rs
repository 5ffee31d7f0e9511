//! What `mizard` costs a node: its share of one core and its memory while it samples 50 tasks
//! once a second and writes their record.

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use mizar_benches::daemon::{Daemon, Task};
use mizar_benches::{Figure, Report};

/// The promises.
const MOST_CORE_PERCENT: f64 = 0.5;
const MOST_MEMORY_MB: f64 = 50.0;

/// Measures the cost of mizard at 1 Hz.
#[derive(Debug, Parser)]
struct Arguments {
    /// Tasks to watch
    #[arg(long, default_value_t = 50)]
    tasks: u32,
    /// Seconds to measure
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let method = format!(
        "{} tasks of 2 processes at 1 Hz for {} s; CPU time from /proc/<pid>/task/*/schedstat",
        arguments.tasks, arguments.seconds
    );
    let mut report = Report::new("mizard", method);
    let binary = mizar_lab::binary("mizard");
    report.peer("mizard", &binary.display().to_string(), &["--version"]);
    measure(&binary, &arguments, &mut report)?;
    std::process::exit(report.finish(arguments.json));
}

fn measure(binary: &Path, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let daemon = Daemon::start(binary, "sample_ms = 1000\n")?;
    let idle = daemon.share(Duration::from_secs(5))?;
    let tasks = (0..arguments.tasks)
        .map(|_| Task::start())
        .collect::<anyhow::Result<Vec<_>>>()?;
    daemon.watch(&tasks, None)?;
    let watching = daemon.share(Duration::from_secs(arguments.seconds))?;
    let memory_mb = daemon.resident_bytes()? as f64 * 1e-6;
    let name = format!("mizard with {} tasks", arguments.tasks);
    report.add(Figure::new(name, 100.0 * watching, "% of a core").at_most(MOST_CORE_PERCENT));
    report.add(Figure::new("resident memory", memory_mb, "MB").at_most(MOST_MEMORY_MB));
    report.add(Figure::new(
        "mizard without jobs",
        100.0 * idle,
        "% of a core",
    ));
    Ok(())
}
