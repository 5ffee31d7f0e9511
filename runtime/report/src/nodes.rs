//! One node's figures from its readings.

use std::collections::HashMap;

use mizar_core::energy::{self, Rules};
use mizar_record::model::{NodeRecord, NodeSample, OwnCost};

use crate::ranks::{Frame, Turns};
use crate::schema::{Node, Rank};
use crate::series::{Reading, Span, known, levels, rates, risen};

/// Figures of a node; `ranks` are those of the whole job.
pub(crate) fn measure(node: &NodeRecord, ranks: &[&Rank], frame: Frame) -> Node {
    let mut samples = node.node_samples.clone();
    samples.sort_by_key(|sample| sample.time_ns);
    let here = ranks.iter().filter(|rank| rank.node == node.node);
    let job_cpu_s = crate::ranks::sum(here.map(|rank| rank.cpu_s));
    let available_s = node.job_cpus.map(|cpus| f64::from(cpus) * length_s(frame));
    let mut steps: HashMap<u32, (u64, u64)> = HashMap::new();
    for sample in &node.step_samples {
        let most = steps.entry(sample.step).or_default();
        most.0 = most.0.max(known(sample.memory_peak_bytes).unwrap_or(0));
        most.1 = most.1.max(known(sample.oom_kills).unwrap_or(0));
    }
    let traffic = |value: fn(&NodeSample) -> u64| -> Option<u64> {
        let values = samples
            .iter()
            .map(|s| known(value(s)).map(|bytes| bytes as f64));
        risen(values).map(|bytes| bytes as u64)
    };
    let Frame {
        grid, longest_ns, ..
    } = frame;
    let rate = |value: fn(&NodeSample) -> u64| {
        grid.mean(&rates(
            &readings(&samples, |s| known(value(s)).map(|v| v as f64)),
            None,
            longest_ns,
        ))
    };
    let level = |value: fn(&NodeSample) -> Option<f64>| {
        grid.mean(&levels(&readings(&samples, value), None, longest_ns))
    };
    let joules = joules(&samples);
    Node {
        node: node.node.clone(),
        job_cpus: node.job_cpus,
        node_cpus: cpu_count(&samples),
        job_cpu_s,
        job_cpu_efficiency: job_cpu_s
            .zip(available_s)
            .and_then(|(used, available)| (available > 0.0).then(|| used / available)),
        memory_limit_bytes: node.memory_limit_bytes,
        memory_peak_bytes: memory_peak(node, frame),
        memory_peak_with_cache_bytes: steps.values().map(|most| most.0).max().filter(|&b| b > 0),
        oom_kills: (!steps.is_empty()).then(|| steps.values().map(|most| most.1).sum()),
        received_bytes: traffic(|s| s.net_rx_bytes),
        sent_bytes: traffic(|s| s.net_tx_bytes),
        joules,
        bound_joules: joules.map(|_| energy_bound(node, longest_ns)),
        cpu_busy: grid.mean(&busy_share(&samples, longest_ns)),
        memory_used: level(|s| {
            let (used, total) = (known(s.memory_used_bytes)?, known(s.memory_total_bytes)?);
            (total > 0).then(|| used as f64 / total as f64)
        }),
        received_rate: rate(|s| s.net_rx_bytes),
        sent_rate: rate(|s| s.net_tx_bytes),
        power: level(|s| s.power_watts.is_finite().then_some(s.power_watts)),
        devices: crate::devices::of_node(node),
    }
}

/// All CPUs together spend so many seconds a second.
fn cpu_count(samples: &[NodeSample]) -> Option<u32> {
    let (first, last) = (samples.first()?, samples.last()?);
    let spent_ns = known(last.cpu_total_ns)?.checked_sub(known(first.cpu_total_ns)?)?;
    let passed_ns = last.time_ns - first.time_ns;
    let count = (passed_ns > 0).then(|| spent_ns as f64 / passed_ns as f64)?;
    (count >= 0.5).then(|| count.round() as u32)
}

fn length_s(frame: Frame) -> f64 {
    frame.after_start_s(frame.end_ns)
}

fn readings(samples: &[NodeSample], value: impl Fn(&NodeSample) -> Option<f64>) -> Vec<Reading> {
    let reading = |s: &NodeSample| Reading {
        time_ns: s.time_ns,
        interval_ns: s.interval_ns,
        value: value(s),
    };
    samples.iter().map(reading).collect()
}

/// Busy / all CPU time between readings: both counters come from one read of the kernel, so
/// their quotient needs no clock.
fn busy_share(samples: &[NodeSample], longest_ns: i64) -> Vec<Span> {
    let of = |value: fn(&NodeSample) -> u64| {
        rates(
            &readings(samples, |s| known(value(s)).map(|v| v as f64)),
            None,
            longest_ns,
        )
    };
    let (busy, all) = (of(|s| s.cpu_busy_ns), of(|s| s.cpu_total_ns));
    let all: HashMap<i64, f64> = all.iter().map(|span| (span.to_ns, span.value)).collect();
    let share = |span: &Span| {
        let all = all.get(&span.to_ns).copied().filter(|&all| all > 0.0)?;
        Some(Span {
            value: span.value / all,
            ..*span
        })
    };
    busy.iter().filter_map(share).collect()
}

/// The counter begins at zero with the record, and again when a daemon restarts.
fn joules(samples: &[NodeSample]) -> Option<f64> {
    let measured = |s: &NodeSample| s.energy_joules.is_finite().then_some(s.energy_joules);
    samples.iter().find_map(measured)?;
    risen(std::iter::once(Some(0.0)).chain(samples.iter().map(measured)))
}

/// What the node's meter told. What it integrated of power itself is no counter.
pub(crate) fn energy_readings(node: &NodeRecord) -> impl Iterator<Item = energy::Reading> {
    let has_counter = node.methods.energy_refresh_ms.is_some();
    node.node_samples.iter().map(move |sample| energy::Reading {
        time_ns: sample.time_ns,
        interval_ns: sample.interval_ns,
        counter_uj: (has_counter && sample.energy_joules.is_finite())
            .then_some((sample.energy_joules * 1e6) as u64),
        watts: sample.power_watts.is_finite().then_some(sample.power_watts),
    })
}

/// How long its counter lags.
pub(crate) fn refresh_s(node: &NodeRecord) -> f64 {
    node.methods.energy_refresh_ms.map_or(0.0, f64::from) / 1e3
}

/// By how much the energy may be wrong.
fn energy_bound(node: &NodeRecord, longest_ns: i64) -> f64 {
    let rules = Rules::of_node(refresh_s(node), longest_ns);
    energy::total(rules, energy_readings(node)).bound_joules
}

/// The largest sum over what ran at one time: of the steps' cgroups where Slurm keeps them,
/// else of the ranks' resident memory.
fn memory_peak(node: &NodeRecord, frame: Frame) -> Option<u64> {
    let mut changes: Vec<(i64, (u32, u32), u64)> = if node.step_samples.is_empty() {
        let rank_ends = node
            .tasks
            .iter()
            .filter_map(|task| Some((task.end_ns? + 1, (task.step.0, task.rank.0), 0)));
        let samples = node.task_samples.iter().filter_map(|sample| {
            Some((
                sample.time_ns,
                (sample.step, sample.rank),
                known(sample.rss_bytes)?,
            ))
        });
        samples.chain(rank_ends).collect()
    } else {
        let step_ends = node
            .steps
            .iter()
            .filter_map(|step| Some((step.end_ns? + 1, (step.step.0, 0), 0)));
        let samples = node.step_samples.iter().filter_map(|sample| {
            Some((
                sample.time_ns,
                (sample.step, 0),
                known(sample.memory_bytes)?,
            ))
        });
        samples.chain(step_ends).collect()
    };
    // Ends alone are no measurement.
    changes.iter().any(|change| change.2 > 0).then_some(())?;
    changes.retain(|change| change.0 <= frame.end_ns + 1);
    changes.sort_unstable();
    let mut now: Turns<(u32, u32), u64> = Turns::new();
    let mut total = 0_u64;
    let mut peak = None;
    for (_, who, bytes) in changes {
        total = total - std::mem::replace(now.of(who), bytes) + bytes;
        peak = peak.max(Some(total));
    }
    peak
}

/// CPU seconds and the time over which a daemon used them, and its largest memory.
pub(crate) fn own_cost(costs: &[OwnCost]) -> Option<(f64, f64, u64)> {
    let mut costs = costs.to_vec();
    costs.sort_by_key(|cost| cost.time_ns);
    let cpu_ns = risen(
        costs
            .iter()
            .map(|cost| known(cost.cpu_ns).map(|ns| ns as f64)),
    )?;
    let length_ns = costs.last()?.time_ns - costs.first()?.time_ns;
    let memory = costs
        .iter()
        .filter_map(|cost| known(cost.rss_bytes))
        .max()
        .unwrap_or(0);
    Some((cpu_ns / 1e9, length_ns as f64 / 1e9, memory))
}
