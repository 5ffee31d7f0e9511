//! Advice on the time limit: one that the job ran into, or one so long that it kept the job waiting.
//!
//! The thresholds are those of Princeton's jobstats. Slurm tells the limit since 23.02.

use crate::format;
use crate::schema::{Advice, Report, Severity};

/// Slurm ends a job somewhat after its limit; one that was ended this much before it (a signal
/// asked for with `--signal`, a step's own limit) has not run into it.
const NEAR_S: f64 = 5.0;
/// What to ask for, as a multiple of what was used.
const MARGIN: f64 = 1.2;

pub(super) fn of(report: &Report) -> Option<Advice> {
    let limit_s = report.job.time_limit_s? as f64;
    let elapsed_s = report.job.elapsed_s;
    (report.job.state == "finished" && limit_s > 0.0).then_some(())?;
    let failed = report.steps.iter().any(|step| !step.failures.is_empty());
    if failed && elapsed_s >= limit_s - NEAR_S {
        return Some(timeout(limit_s));
    }
    let limits = report.thresholds;
    let share = elapsed_s / limit_s;
    let wasteful = !failed && elapsed_s > limits.time_limit_min_s && share < limits.time_limit_low;
    wasteful.then(|| Advice {
        kind: "time_limit",
        severity: if share <= limits.time_limit_critical {
            Severity::Critical
        } else {
            Severity::Note
        },
        message: format!(
            "The job ran for {} of the {} that it asked for ({}).",
            format::duration(elapsed_s),
            format::duration(limit_s),
            format::share(Some(share))
        ),
        action: "Ask for less time: short jobs fit into gaps and start sooner.".to_owned(),
        directive: Some(directive(elapsed_s * MARGIN)),
    })
}

fn timeout(limit_s: f64) -> Advice {
    Advice {
        kind: "timeout",
        severity: Severity::Critical,
        message: format!(
            "The job was ended at its time limit of {}.",
            format::duration(limit_s)
        ),
        action: "Ask for more time, use more ranks, or save the state and go on in a next job."
            .to_owned(),
        directive: Some(directive(limit_s * 1.5)),
    }
}

/// In whole minutes, which is how Slurm counts.
fn directive(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil() as u64;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match days {
        0 => format!("#SBATCH --time={hours:02}:{minutes:02}:00"),
        _ => format!("#SBATCH --time={days}-{hours:02}:{minutes:02}:00"),
    }
}
