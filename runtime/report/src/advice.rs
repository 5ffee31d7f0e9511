//! What to change next time, from thresholds that have proved themselves elsewhere.
//!
//! The limits on CPU and memory are those of Princeton's jobstats; the others are ours. Advice
//! on use is withheld from jobs too short to judge; failures are always told.

mod growth;
mod time_limit;

use serde::Serialize;

use crate::schema::{Advice, Report, Severity, Step};
use crate::{format, gpus, split};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Where advice begins. Shares are fractions of 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// A job must have run this long, in seconds, …
    pub min_elapsed_s: f64,
    /// … and for this many sampling intervals.
    pub min_intervals: f64,
    /// A node whose CPUs were used less than this was idle.
    pub idle_node: f64,
    /// CPU efficiency below which it is critical.
    pub cpu_critical: f64,
    /// CPU efficiency below which it is worth a look.
    pub cpu_warning: f64,
    /// Busy CPUs between these are one serial program.
    pub serial: (f64, f64),
    /// Memory use below this share of the limit is wasteful.
    pub memory_low: f64,
    /// … unless the job has this share of its node's CPUs: then nobody could use the memory.
    pub memory_full_node: f64,
    /// Memory use above this share is dangerous.
    pub memory_high: f64,
    /// What to ask for, as a multiple of what was used.
    pub memory_margin: f64,
    /// Memory that is not worth asking back.
    pub memory_worth_bytes: u64,
    /// Memory that grew all the time by these bytes …
    pub growth_bytes: u64,
    /// … and this share of what it came to looks like a leak.
    pub growth_share: f64,
    /// Largest / mean CPU time of the ranks of a step, …
    pub imbalance: f64,
    /// … where the difference of the two is at least this share of the job's time.
    pub imbalance_worth: f64,
    /// CPU efficiency below which much I/O is the likely reason, …
    pub io_bound_cpu: f64,
    /// … and the bytes per second and node that are much.
    pub io_bound_bytes_per_s: f64,
    /// Exposed communication beyond this share of the ranks' time is worth a look.
    pub exposed: f64,
    /// Likewise time spent waiting for files.
    pub data_wait: f64,
    /// A job that ran longer than this, in seconds, …
    pub time_limit_min_s: f64,
    /// … and for less than this share of its time limit asked for too much, …
    pub time_limit_low: f64,
    /// … for less than this one, for far too much.
    pub time_limit_critical: f64,
    /// The share of the ranks' time that must be observed.
    pub observed: f64,
    /// About GPUs.
    pub gpu: crate::gpus::Thresholds,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            min_elapsed_s: 10.0,
            min_intervals: 10.0,
            idle_node: 0.005,
            cpu_critical: 0.65,
            cpu_warning: 0.80,
            serial: (0.85, 1.01),
            memory_low: 0.70,
            memory_full_node: 0.85,
            memory_high: 0.95,
            memory_margin: 1.2,
            memory_worth_bytes: GIB,
            growth_bytes: 32 * MIB,
            growth_share: 0.05,
            imbalance: 1.10,
            imbalance_worth: 0.01,
            io_bound_cpu: 0.50,
            io_bound_bytes_per_s: 50e6,
            exposed: 0.25,
            data_wait: 0.10,
            time_limit_min_s: 900.0,
            time_limit_low: 0.60,
            time_limit_critical: 0.10,
            observed: 0.90,
            gpu: crate::gpus::Thresholds::default(),
        }
    }
}

/// All advice on a job, most urgent first.
#[must_use]
pub fn of(report: &Report) -> Vec<Advice> {
    let mut advice = failures(report);
    advice.extend(gpus::advice::failures(report));
    let communication = report.communication.iter();
    advice.extend(communication.clone().flat_map(split::advice::on_hangs));
    advice.extend(time_limit::of(report));
    if is_long_enough(report) {
        advice.extend(cpu(report));
        advice.extend(memory_low(report));
        advice.extend(growth::of(report));
        advice.extend(
            report
                .steps
                .iter()
                .filter_map(|step| imbalance(report, step)),
        );
        advice.extend(report.steps.iter().filter_map(stragglers));
        advice.extend(io_bound(report));
        advice.extend(gpus::advice::usage(report));
        let limits = &report.thresholds;
        advice.extend(communication.flat_map(|found| split::advice::on_time(found, limits)));
    } else if report.job.state == "finished" {
        advice.push(too_short(report));
    }
    advice.extend(incomplete(report));
    advice.sort_by_key(|piece| piece.severity);
    advice
}

fn is_long_enough(report: &Report) -> bool {
    let Thresholds {
        min_elapsed_s,
        min_intervals,
        ..
    } = report.thresholds;
    let interval_s = report
        .measurement
        .interval_median_s
        .unwrap_or(f64::INFINITY);
    report.job.elapsed_s >= min_elapsed_s && report.job.elapsed_s >= min_intervals * interval_s
}

fn too_short(report: &Report) -> Advice {
    Advice {
        kind: "short_run",
        severity: Severity::Note,
        message: format!(
            "The job ran for {}: too short to judge how it used what it asked for.",
            format::duration(report.job.elapsed_s)
        ),
        action: "Look at the figures of a longer run before you change the script.".to_owned(),
        directive: None,
    }
}

fn failures(report: &Report) -> Vec<Advice> {
    let mut advice = Vec::new();
    if let Some(kills) = report.memory.oom_kills.filter(|&kills| kills > 0) {
        let limit = report.memory.limit_bytes;
        advice.push(Advice {
            kind: "out_of_memory",
            severity: Severity::Critical,
            message: format!(
                "The kernel killed {kills} of the job's processes for want of memory."
            ),
            action: "Ask for more memory, or spread the work over more nodes.".to_owned(),
            directive: limit.map(|limit| mem_directive(limit.saturating_mul(3) / 2)),
        });
    } else if let Some(share) = report
        .memory
        .used_share
        .filter(|&share| share >= report.thresholds.memory_high)
    {
        let peak = report.memory.peak_bytes.unwrap_or(0) as f64;
        advice.push(Advice {
            kind: "high_memory",
            severity: Severity::Critical,
            message: format!(
                "Memory reached {} of its limit.",
                format::share(Some(share))
            ),
            action: "Ask for a margin: a little more data would have ended the job.".to_owned(),
            directive: Some(mem_directive(
                (peak * report.thresholds.memory_margin) as u64,
            )),
        });
    }
    let failed = |step: &&Step| !step.failures.is_empty();
    advice.extend(report.steps.iter().filter(failed).map(failed_ranks));
    advice
}

fn failed_ranks(step: &Step) -> Advice {
    let (message, action) = match &step.failures[..] {
        [failure] if step.task_count == 1 => {
            let how = failure
                .split_once(": ")
                .map_or(&failure[..], |(_, how)| how);
            let what = match step.step.as_str() {
                "batch" => "The batch script".to_owned(),
                number => format!("Step {number}"),
            };
            (format!("{what} failed ({how})."), "Read its output.")
        }
        failures => (
            format!(
                "{} of {} ranks of step {} failed ({}).",
                failures.len(),
                step.task_count,
                step.step,
                listed(failures)
            ),
            "Read the output of the first rank that failed; the others often follow it.",
        ),
    };
    Advice {
        kind: "failed_ranks",
        severity: Severity::Critical,
        message,
        action: action.to_owned(),
        directive: None,
    }
}

/// The first few, so that a thousand ranks do not fill the page.
fn listed(items: &[String]) -> String {
    const SHOWN: usize = 4;
    let first = items
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// At most one piece on CPUs: idle nodes explain low use, and so does serial code.
fn cpu(report: &Report) -> Option<Advice> {
    let limits = report.thresholds;
    let (allocated, busy) = report.cpu.allocated.zip(report.cpu.mean_busy)?;
    let efficiency = report.cpu.efficiency?;
    let idle: Vec<String> = report
        .nodes
        .iter()
        .filter(|node| node.job_cpu_efficiency.unwrap_or(0.0) < limits.idle_node)
        .map(|node| node.node.clone())
        .collect();
    let working = report.nodes.len() - idle.len();
    if !idle.is_empty() && working > 0 {
        return Some(Advice {
            kind: "idle_node",
            severity: Severity::Critical,
            message: format!(
                "{} of {} nodes did nothing ({}).",
                idle.len(),
                report.nodes.len(),
                listed(&idle)
            ),
            action: "Start the program with srun so that it uses all nodes, or ask for fewer."
                .to_owned(),
            directive: Some(format!("#SBATCH --nodes={working}")),
        });
    }
    // A job on GPUs leaves its CPUs idle for good reasons.
    if report.gpu.is_some() {
        return None;
    }
    if allocated > 1 && (limits.serial.0..=limits.serial.1).contains(&busy) {
        return Some(Advice {
            kind: "serial_code",
            severity: Severity::Critical,
            message: format!(
                "{} CPUs were allocated and {} were busy: the program looks serial.",
                allocated,
                format::number(busy)
            ),
            action: "Ask for one CPU, or start the program in parallel.".to_owned(),
            directive: Some("#SBATCH --ntasks=1 --cpus-per-task=1".to_owned()),
        });
    }
    (efficiency <= limits.cpu_warning).then(|| low_cpu(report, allocated, busy, efficiency))
}

fn low_cpu(report: &Report, allocated: u32, busy: f64, efficiency: f64) -> Advice {
    let ranks = report
        .steps
        .iter()
        .map(|step| step.task_count)
        .max()
        .unwrap_or(1)
        .max(1);
    let per_rank = (busy / f64::from(ranks)).ceil().max(1.0) as u32;
    let fewer = per_rank.saturating_mul(ranks) < allocated;
    Advice {
        kind: "low_cpu",
        severity: if efficiency < report.thresholds.cpu_critical {
            Severity::Critical
        } else {
            Severity::Warning
        },
        message: format!(
            "CPU efficiency was {}: of {allocated} CPUs, {} were busy on average.",
            format::share(Some(efficiency)),
            format::number(busy)
        ),
        action: if fewer {
            format!(
                "{per_rank} CPU{} for each of {ranks} rank{} would have been enough.",
                plural(per_rank),
                plural(ranks)
            )
        } else {
            "The ranks wait: for input, for each other or for memory. See the timelines.".to_owned()
        },
        directive: fewer.then(|| format!("#SBATCH --cpus-per-task={per_rank}")),
    }
}

fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn memory_low(report: &Report) -> Option<Advice> {
    let limits = report.thresholds;
    let (peak, limit) = report.memory.peak_bytes.zip(report.memory.limit_bytes)?;
    let enough = rounded_up((peak as f64 * limits.memory_margin) as u64);
    let node = report
        .nodes
        .iter()
        .find(|node| Some(&node.node) == report.memory.node.as_ref());
    let cpus = node.and_then(|node| node.job_cpus.zip(node.node_cpus));
    if cpus.is_some_and(|(job, all)| f64::from(job) >= limits.memory_full_node * f64::from(all)) {
        return None;
    }
    let wasteful = (peak as f64) < limits.memory_low * limit as f64
        && limit.saturating_sub(enough) >= limits.memory_worth_bytes;
    wasteful.then(|| Advice {
        kind: "low_memory",
        severity: Severity::Warning,
        message: format!(
            "Asked for {} of memory a node, used {}.",
            format::bytes(Some(limit)),
            format::bytes(Some(peak))
        ),
        action: format!(
            "Ask for {}, with a margin of {:.0} % already in it: the job may start sooner.",
            format::bytes(Some(enough)),
            (limits.memory_margin - 1.0) * 100.0
        ),
        directive: Some(mem_directive(enough)),
    })
}

/// Whole GiB, or hundreds of MiB below two.
fn rounded_up(bytes: u64) -> u64 {
    let unit = if bytes >= 2 * GIB { GIB } else { 100 * MIB };
    bytes.div_ceil(unit).max(1) * unit
}

fn mem_directive(bytes: u64) -> String {
    let bytes = rounded_up(bytes);
    match bytes % GIB {
        0 => format!("#SBATCH --mem={}G", bytes / GIB),
        _ => format!("#SBATCH --mem={}M", bytes / MIB),
    }
}

fn imbalance(report: &Report, step: &Step) -> Option<Advice> {
    let balance = step.balance.as_ref()?;
    let limits = &report.thresholds;
    let waiting_s = (balance.max_over_mean - 1.0) * balance.mean_cpu_s;
    let is_worth_it = waiting_s >= limits.imbalance_worth * report.job.elapsed_s;
    (balance.max_over_mean > limits.imbalance && is_worth_it).then(|| Advice {
        kind: "imbalance",
        severity: Severity::Warning,
        message: format!(
            "Step {}: rank {} used {:.2} times the mean CPU time of the {} ranks.",
            step.step, balance.busiest_rank, balance.max_over_mean, step.task_count
        ),
        action: "The others wait for it: divide the work more evenly, or use fewer ranks."
            .to_owned(),
        directive: None,
    })
}

fn stragglers(step: &Step) -> Option<Advice> {
    let ranks = &step.balance.as_ref()?.stragglers;
    (!ranks.is_empty()).then(|| Advice {
        kind: "straggler",
        severity: Severity::Warning,
        message: format!(
            "Step {}: nearly always busier than the others: rank {}.",
            step.step,
            listed(&ranks.iter().map(u32::to_string).collect::<Vec<_>>())
        ),
        action: "Look at its part of the data, and at what else its node does.".to_owned(),
        directive: None,
    })
}

fn io_bound(report: &Report) -> Option<Advice> {
    let limits = report.thresholds;
    let rate = report.io.mean_bytes_per_s? / report.nodes.len().max(1) as f64;
    let efficiency = report.cpu.efficiency?;
    (efficiency < limits.io_bound_cpu && rate >= limits.io_bound_bytes_per_s).then(|| Advice {
        kind: "io_bound",
        severity: Severity::Note,
        message: format!(
            "Each node moved {} while its CPUs were mostly idle.",
            format::byte_rate(Some(rate))
        ),
        action: "The job probably waits for files: read each once, in large pieces, or from \
                 node-local storage."
            .to_owned(),
        directive: None,
    })
}

fn incomplete(report: &Report) -> Vec<Advice> {
    let seen = &report.completeness;
    let mut advice = Vec::new();
    let mut note = |message: String, action: &str| {
        advice.push(Advice {
            kind: "incomplete",
            severity: Severity::Note,
            message,
            action: action.to_owned(),
            directive: None,
        });
    };
    if !seen.missing_nodes.is_empty() {
        note(
            format!("No record came from {}.", listed(&seen.missing_nodes)),
            "Totals are those of the other nodes. Is mizard running there?",
        );
    }
    if let Some(share) = seen
        .observed_share
        .filter(|&share| share < report.thresholds.observed)
        && is_long_enough(report)
    {
        note(
            format!(
                "Readings cover {} of the ranks' time.",
                format::share(Some(share))
            ),
            "Rates are those of the covered time; see the gaps in the timelines.",
        );
    }
    advice
}
