//! What to change about a job's GPUs. The limits on use are jobstats', the others our own.

use serde::Serialize;

use super::{Gpu, Gpus, errors, largest_memory_bytes};
use crate::format;
use crate::schema::{Advice, Report, Severity};

const GIB: u64 = 1 << 30;

/// Where advice on GPUs begins. Shares are fractions of 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// A GPU used less than this did nothing.
    pub idle: f64,
    /// Use up to this is critical, …
    pub low_critical: f64,
    /// … and below this worth a look.
    pub low_warning: f64,
    /// Memory use from here on is dangerous.
    pub memory_high: f64,
    /// Memory use below this leaves room for more work at a time.
    pub memory_low: f64,
    /// Clocks held back for more than this share of the time.
    pub throttled: f64,
    /// Corrected memory errors beyond these.
    pub ecc_corrected: u64,
    /// A job that needs less than this of a GPU's memory, …
    pub smaller_gpu_bytes: u64,
    /// … less than this of the node's, and one CPU, does with part of a GPU.
    pub smaller_host_bytes: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            idle: 0.005,
            low_critical: 0.15,
            low_warning: 0.25,
            memory_high: 0.95,
            memory_low: 0.10,
            throttled: 0.05,
            ecc_corrected: 1000,
            smaller_gpu_bytes: 10 * GIB,
            smaller_host_bytes: 32 * GIB,
        }
    }
}

/// What is broken, however short the job.
pub(crate) fn failures(report: &Report) -> Vec<Advice> {
    let Some(gpus) = &report.gpu else {
        return Vec::new();
    };
    let limits = report.thresholds.gpu;
    let mut advice = Vec::new();
    advice.extend(broken(gpus));
    if let Some(count) = errors(gpus, |gpu| gpu.ecc_uncorrected).filter(|&count| count > 0) {
        let bad = listed(gpus, |gpu| gpu.ecc_uncorrected.unwrap_or(0) > 0);
        advice.push(Advice {
            kind: "gpu_ecc_uncorrected",
            severity: Severity::Critical,
            message: format!("{count} memory errors were not corrected on {}.", bad.names),
            action: "Do not trust the results; tell the site, and keep off the node.".to_owned(),
            directive: Some(bad.exclude),
        });
    }
    if let Some(count) =
        errors(gpus, |gpu| gpu.ecc_corrected).filter(|&count| count > limits.ecc_corrected)
    {
        let bad = listed(gpus, |gpu| gpu.ecc_corrected.unwrap_or(0) > 0);
        advice.push(Advice {
            kind: "gpu_ecc_corrected",
            severity: Severity::Warning,
            message: format!("{count} memory errors were corrected on {}.", bad.names),
            action: "Results are right; the GPU may be about to fail. Tell the site.".to_owned(),
            directive: Some(bad.exclude),
        });
    }
    let is_full = |gpu: &Gpu| {
        gpu.peak_memory_share
            .is_some_and(|share| share >= limits.memory_high)
    };
    if gpus
        .devices
        .iter()
        .any(|gpu| !gpu.is_context && is_full(gpu))
    {
        let full = listed(gpus, is_full);
        advice.push(Advice {
            kind: "gpu_memory_high",
            severity: Severity::Warning,
            message: format!(
                "GPU memory reached {:.0} % or more on {}.",
                limits.memory_high * 100.0,
                full.names
            ),
            action: "A little more data would end the job: make batches smaller, or spread them \
                     over more GPUs."
                .to_owned(),
            directive: more_gpus(report, gpus),
        });
    }
    advice
}

/// XID errors, lost and hung devices.
fn broken(gpus: &Gpus) -> Option<Advice> {
    let is_bad = |kind: &str| matches!(kind, "xid" | "vanished" | "hung" | "ras");
    let bad: Vec<_> = gpus
        .events
        .iter()
        .filter(|event| is_bad(&event.kind))
        .collect();
    let first = bad.first()?;
    let more = match bad.len() - 1 {
        0 => String::new(),
        more => format!(" ({more} more are listed below)"),
    };
    let mut nodes: Vec<&str> = bad.iter().map(|event| event.node.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    Some(Advice {
        kind: "gpu_failed",
        severity: Severity::Critical,
        message: format!(
            "GPU {} of {} failed after {}: {}{more}.",
            first.gpu,
            first.node,
            format::duration(first.time_s),
            first.text
        ),
        action: "Tell the site; until it is repaired keep off the node.".to_owned(),
        directive: Some(format!("#SBATCH --exclude={}", nodes.join(","))),
    })
}

/// How the GPUs were used; for jobs long enough to judge.
pub(crate) fn usage(report: &Report) -> Vec<Advice> {
    let Some(gpus) = &report.gpu else {
        return Vec::new();
    };
    let limits = report.thresholds.gpu;
    let owned: Vec<&Gpu> = gpus.devices.iter().filter(|gpu| !gpu.is_context).collect();
    let used: Vec<f64> = owned.iter().filter_map(|gpu| gpu.used()).collect();
    let idle = used.iter().filter(|&&share| share < limits.idle).count();
    let mut advice = Vec::new();
    if idle > 0 {
        advice.push(idle_gpus(report, gpus, idle));
    } else if let Some(piece) = smaller_gpu(report, gpus) {
        advice.push(piece);
    } else if let Some(mean) = gpus.mean_busy.filter(|&mean| mean < limits.low_warning) {
        advice.push(low_use(report, mean));
    }
    advice.extend(throttled(report, &owned));
    advice.extend(unused_memory(report, gpus));
    advice
}

fn idle_gpus(report: &Report, gpus: &Gpus, idle: usize) -> Advice {
    let limits = report.thresholds.gpu;
    let names = listed(gpus, |gpu| {
        gpu.used().is_some_and(|used| used < limits.idle)
    })
    .names;
    let working = gpus.count - idle;
    let nodes = report.nodes.len().max(1);
    let (action, directive) = if working == 0 {
        (
            "The program never used one: is it built for GPUs, and does it find them? If it \
             needs none, ask for none.",
            "#SBATCH --gpus=0".to_owned(),
        )
    } else if working.is_multiple_of(nodes) {
        (
            "Ask for as many as the program uses, or let it use all.",
            format!("#SBATCH --gpus-per-node={}", working / nodes),
        )
    } else {
        (
            "Ask for as many as the program uses, or let it use all.",
            format!("#SBATCH --gpus={working}"),
        )
    };
    Advice {
        kind: "idle_gpu",
        severity: Severity::Critical,
        message: format!("{idle} of {} GPUs did nothing ({names}).", gpus.count),
        action: action.to_owned(),
        directive: Some(directive),
    }
}

fn low_use(report: &Report, mean: f64) -> Advice {
    let limits = report.thresholds.gpu;
    Advice {
        kind: "low_gpu",
        // Readings are single precision: 15 % of them is a hair more.
        severity: if mean <= limits.low_critical + 1e-6 {
            Severity::Critical
        } else {
            Severity::Warning
        },
        message: format!(
            "Kernels ran on the GPUs for {} of the time.",
            format::share(Some(mean))
        ),
        action: "They wait: for data, for the CPU, or for each other. Load data ahead with more \
                 CPUs, and give each GPU more work at a time."
            .to_owned(),
        directive: report
            .cpu
            .allocated
            .filter(|&cpus| cpus <= 2)
            .map(|_| "#SBATCH --cpus-per-task=8".to_owned()),
    }
}

fn smaller_gpu(report: &Report, gpus: &Gpus) -> Option<Advice> {
    let limits = report.thresholds.gpu;
    let [gpu] = &gpus.devices[..] else {
        return None;
    };
    let is_small = gpus.mean_busy? < limits.low_critical
        && report.cpu.allocated? == 1
        && report.memory.peak_bytes.unwrap_or(0) < limits.smaller_host_bytes
        && largest_memory_bytes(gpus)? < limits.smaller_gpu_bytes
        && gpu.memory_total_bytes.unwrap_or(0) > 2 * limits.smaller_gpu_bytes;
    is_small.then(|| Advice {
        kind: "smaller_gpu",
        severity: Severity::Critical,
        message: format!(
            "One CPU used {} of the GPU's time and {} of its memory.",
            format::share(gpus.mean_busy),
            format::bytes(largest_memory_bytes(gpus))
        ),
        action: "Part of a GPU would do, and the job would start sooner: ask for an instance \
                 (the site names its kinds; `sinfo -o %G` shows them)."
            .to_owned(),
        directive: Some("#SBATCH --gres=gpu:1g.10gb:1".to_owned()),
    })
}

fn throttled(report: &Report, owned: &[&Gpu]) -> Option<Advice> {
    let limits = report.thresholds.gpu;
    let worst = owned
        .iter()
        .filter(|gpu| {
            gpu.throttled_share
                .is_some_and(|share| share > limits.throttled)
        })
        .max_by(|a, b| {
            a.throttled_share
                .partial_cmp(&b.throttled_share)
                .unwrap_or(std::cmp::Ordering::Equal)
        })?;
    let by = |reason: &str| {
        let found = worst.throttled_by.iter().find(|one| one.reason == reason);
        found.map_or(0.0, |one| one.share)
    };
    let is_power_only = by("power_cap") >= worst.throttled_share.unwrap_or(0.0) - 1e-9
        && worst.throttled_by.len() == 1;
    let reasons: Vec<String> = worst
        .throttled_by
        .iter()
        .map(|one| {
            let reason = one.reason.replace('_', " ");
            format!("{reason} {}", format::share(Some(one.share)))
        })
        .collect();
    let (severity, action) = if is_power_only {
        (
            Severity::Note,
            "It drew all the power that it may: that is how a GPU works at full load.",
        )
    } else {
        (
            Severity::Warning,
            "Heat or the power supply slow it down: tell the site, and compare with another node.",
        )
    };
    let directive = (!is_power_only).then(|| format!("#SBATCH --exclude={}", worst.node));
    Some(Advice {
        kind: "gpu_throttled",
        severity,
        message: format!(
            "Clocks of GPU {} of {} were held back for {} of the time ({}).",
            worst.gpu,
            worst.node,
            format::share(worst.throttled_share),
            reasons.join(", ")
        ),
        action: action.to_owned(),
        directive,
    })
}

fn unused_memory(report: &Report, gpus: &Gpus) -> Option<Advice> {
    let limits = report.thresholds.gpu;
    let owned = || gpus.devices.iter().filter(|gpu| !gpu.is_context);
    let shares: Option<Vec<f64>> = owned().map(|gpu| gpu.peak_memory_share).collect();
    let largest = shares?.into_iter().reduce(f64::max)?;
    let is_busy = gpus.mean_busy? >= limits.low_critical;
    (largest < limits.memory_low && is_busy).then(|| Advice {
        kind: "gpu_memory_low",
        severity: Severity::Note,
        message: format!(
            "No GPU used more than {} of its memory.",
            format::share(Some(largest))
        ),
        action: "Larger batches may run faster; or GPUs with less memory would do.".to_owned(),
        directive: None,
    })
}

fn more_gpus(report: &Report, gpus: &Gpus) -> Option<String> {
    let per_node = gpus.count.checked_div(report.nodes.len())?;
    (per_node > 0).then(|| format!("#SBATCH --gpus-per-node={}", per_node * 2))
}

/// Some GPUs in words, and how to keep off their nodes.
struct Listed {
    names: String,
    exclude: String,
}

fn listed(gpus: &Gpus, is_meant: impl Fn(&Gpu) -> bool) -> Listed {
    const SHOWN: usize = 4;
    let meant: Vec<&Gpu> = gpus
        .devices
        .iter()
        .filter(|gpu| !gpu.is_context && is_meant(gpu))
        .collect();
    let mut names: Vec<String> = meant
        .iter()
        .take(SHOWN)
        .map(|gpu| format!("GPU {} of {}", gpu.gpu, gpu.node))
        .collect();
    if meant.len() > SHOWN {
        names.push(format!("{} more", meant.len() - SHOWN));
    }
    let mut nodes: Vec<&str> = meant.iter().map(|gpu| gpu.node.as_str()).collect();
    nodes.dedup();
    Listed {
        names: names.join(", "),
        exclude: format!("#SBATCH --exclude={}", nodes.join(",")),
    }
}
