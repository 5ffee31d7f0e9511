//! What a step used between two instants: GPUs, CPUs, the split of its ranks' time, energy
//! readings, and what measuring cost.
//!
//! Called by [`super::record`]. Counters are differences between the readings within the time;
//! where fewer than two lie within, those of the whole step are taken.

use std::collections::{BTreeMap, BTreeSet};

use mizar_core::energy::{self, Rules};
use mizar_record::model::{NodeRecord, SplitSample, TaskSample, UNKNOWN};

use super::energy::{REFRESH_S, Reading};
use super::record::Step;
use super::schema::Computation;
use super::statistics::mean;

/// The GPUs of a step.
pub(super) struct Gpus {
    /// How many: instances of a divided one count each.
    pub(super) count: u32,
    /// Readings of those that have an energy of their own.
    pub(super) devices: Vec<Vec<Reading>>,
    /// How long their counters lag at most.
    pub(super) refresh_s: f64,
    /// Does a recording stand for one of them?
    pub(super) replayed: bool,
    /// By node: the numbers of those whose use counts.
    used: Vec<BTreeSet<u32>>,
}

/// The GPUs that processes of the step were seen on, or else all of its job on its nodes.
pub(super) fn gpus(step: &Step<'_>) -> Gpus {
    let mut found = Gpus {
        count: 0,
        devices: Vec::new(),
        refresh_s: REFRESH_S,
        replayed: false,
        used: Vec::new(),
    };
    for node in &step.nodes {
        let seen: BTreeSet<u32> = node
            .gpu_process_samples
            .iter()
            .filter(|sample| sample.step == step.info.step.0)
            .map(|sample| sample.gpu)
            .collect();
        let divided: BTreeSet<u32> = node.gpus.iter().filter_map(|gpu| gpu.parent).collect();
        // A die whose power another one reports must not be counted again.
        let told_elsewhere: BTreeSet<u32> = node
            .gpus
            .iter()
            .flat_map(|gpu| gpu.reports_for.iter().copied())
            .collect();
        let is_used = |number: u32| seen.is_empty() || seen.contains(&number);
        let used: BTreeSet<u32> = node
            .gpus
            .iter()
            .map(|gpu| gpu.gpu)
            .filter(|&number| is_used(number) && !divided.contains(&number))
            .collect();
        let mut powered: BTreeSet<u32> = BTreeSet::new();
        for gpu in node.gpus.iter().filter(|gpu| used.contains(&gpu.gpu)) {
            found.replayed |= gpu.replayed;
            if let Some(refresh_ms) = gpu.energy_refresh_ms {
                found.refresh_s = found.refresh_s.max(f64::from(refresh_ms) / 1e3);
            }
            powered.insert(gpu.parent.unwrap_or(gpu.gpu));
        }
        for gpu in &node.gpus {
            let reports_for_used = gpu.reports_for.iter().any(|other| powered.contains(other));
            if reports_for_used || powered.contains(&gpu.gpu) && !told_elsewhere.contains(&gpu.gpu)
            {
                found.devices.push(gpu_readings(step, node, gpu.gpu));
            }
        }
        found.count += used.len() as u32;
        found.used.push(used);
    }
    found
}

fn gpu_readings(step: &Step<'_>, node: &NodeRecord, gpu: u32) -> Vec<Reading> {
    let samples = node.gpu_samples.iter().filter(|sample| sample.gpu == gpu);
    samples
        .map(|sample| Reading {
            time_s: step.seconds(sample.time_ns),
            joules: (sample.energy_uj != UNKNOWN).then_some(sample.energy_uj as f64 / 1e6),
            watts: sample
                .power_watts
                .is_finite()
                .then_some(f64::from(sample.power_watts)),
        })
        .collect()
}

/// Energy readings of the step's nodes, and how they are to be judged.
pub(super) fn nodes(step: &Step<'_>) -> (Vec<Vec<Reading>>, Rules) {
    let readings = |node: &&NodeRecord| {
        let reading = |reading: energy::Reading| Reading {
            time_s: step.seconds(reading.time_ns),
            joules: reading.counter_uj.map(|count| count as f64 / 1e6),
            watts: reading.watts,
        };
        crate::nodes::energy_readings(node).map(reading).collect()
    };
    let refresh_s = step.nodes.iter().map(|node| crate::nodes::refresh_s(node));
    let rules = Rules::of_node(refresh_s.fold(0.0, f64::max), 0);
    (step.nodes.iter().map(readings).collect(), rules)
}

/// The mean share of the time in which the GPUs were busy.
pub(super) fn gpu_busy(step: &Step<'_>, gpus: &Gpus, window_ns: (i64, i64)) -> Option<f64> {
    let (mut busy_s, mut seen_s) = (0.0, 0.0);
    for (node, used) in step.nodes.iter().zip(&gpus.used) {
        for sample in node.gpu_samples.iter().filter(|s| used.contains(&s.gpu)) {
            let within = (window_ns.0..=window_ns.1).contains(&sample.time_ns);
            if within && sample.interval_ns > 0 && sample.busy.is_finite() {
                let interval_s = sample.interval_ns as f64 / 1e9;
                busy_s += f64::from(sample.busy) * interval_s;
                seen_s += interval_s;
            }
        }
    }
    (seen_s > 0.0).then(|| busy_s / seen_s)
}

/// CPUs that a rank kept busy, the mean over ranks.
pub(super) fn cpus_busy(step: &Step<'_>, window_ns: (i64, i64)) -> Option<f64> {
    let samples: Vec<&TaskSample> = step
        .nodes
        .iter()
        .flat_map(|node| &node.task_samples)
        .filter(|sample| sample.step == step.info.step.0 && sample.cpu_ns != UNKNOWN)
        .collect();
    let ends = ends_by_rank(&samples, |s| (s.rank, s.time_ns), window_ns);
    let busy: Vec<f64> = ends
        .values()
        .filter_map(|(first, last)| {
            let cpu_ns = last.cpu_ns.checked_sub(first.cpu_ns)?;
            Some(cpu_ns as f64 / (last.time_ns - first.time_ns) as f64)
        })
        .collect();
    mean(&busy)
}

/// How the ranks spent their time.
pub(super) fn split(step: &Step<'_>, window_ns: (i64, i64)) -> Option<Computation> {
    let samples: Vec<&SplitSample> = step
        .nodes
        .iter()
        .flat_map(|node| &node.split_samples)
        .filter(|sample| sample.step == step.info.step.0)
        .collect();
    let ends = ends_by_rank(&samples, |s| (s.rank, s.time_ns), window_ns);
    let shares: Vec<[f64; 5]> = ends
        .values()
        .filter_map(|ends| shares(ends.0, ends.1))
        .collect();
    let of = |index: usize| mean(&shares.iter().map(|share| share[index]).collect::<Vec<_>>());
    let [compute, exposed, hidden, io, idle] = [of(0)?, of(1)?, of(2)?, of(3)?, of(4)?];
    let communication = exposed + hidden;
    let extreme = |better: fn(f64, f64) -> f64| shares.iter().map(|s| s[0]).reduce(better);
    let methods: BTreeSet<&str> = step
        .nodes
        .iter()
        .map(|node| &node.methods.communication[..])
        .filter(|m| !m.is_empty())
        .collect();
    let how = methods.into_iter().collect::<Vec<_>>().join("; ");
    Some(Computation {
        compute,
        compute_min: extreme(f64::min)?,
        compute_max: extreme(f64::max)?,
        communication: Some(communication),
        exposed: Some(exposed),
        overlap: (communication > 0.0).then(|| hidden / communication),
        io: Some(io),
        idle: Some(idle),
        method: if how.is_empty() {
            "unions of intervals, by rank".to_owned()
        } else {
            how
        },
    })
}

/// Shares of wall time between two readings of a rank: compute, exposed, hidden, I/O, idle.
fn shares(first: &SplitSample, last: &SplitSample) -> Option<[f64; 5]> {
    let of = |value: fn(&SplitSample) -> u64| Some(value(last).checked_sub(value(first))? as f64);
    let parts = [
        of(|s| s.compute_ns)?,
        of(|s| s.exposed_ns)?,
        of(|s| s.hidden_ns)?,
        of(|s| s.io_ns)?,
        of(|s| s.idle_ns)?,
    ];
    // What is hidden lies within compute.
    let wall = parts[0] + parts[1] + parts[3] + parts[4];
    (wall > 0.0).then(|| parts.map(|part| part / wall))
}

/// The first and last reading of each rank within a time, or of all if fewer than two are.
fn ends_by_rank<'s, S>(
    samples: &[&'s S],
    key: impl Fn(&S) -> (u32, i64),
    window_ns: (i64, i64),
) -> BTreeMap<u32, (&'s S, &'s S)> {
    let within = |window: (i64, i64)| {
        let mut ends: BTreeMap<u32, (&'s S, &'s S)> = BTreeMap::new();
        for sample in samples {
            let (rank, time_ns) = key(sample);
            if !(window.0..=window.1).contains(&time_ns) {
                continue;
            }
            let ends = ends.entry(rank).or_insert((sample, sample));
            if time_ns < key(ends.0).1 {
                ends.0 = sample;
            }
            if time_ns > key(ends.1).1 {
                ends.1 = sample;
            }
        }
        ends.retain(|_, ends| key(ends.1).1 > key(ends.0).1);
        ends
    };
    let found = within(window_ns);
    if found.is_empty() {
        within((i64::MIN, i64::MAX))
    } else {
        found
    }
}

/// CPU seconds that the daemon of a node used while the step ran, and those as a share of one
/// CPU.
pub(super) fn own_cost(step: &Step<'_>, node: &NodeRecord) -> Option<(f64, f64)> {
    let meanwhile = |time_ns: i64| (step.start_ns..=step.end_ns).contains(&time_ns);
    let costs: Vec<_> = node
        .own_cost
        .iter()
        .filter(|cost| meanwhile(cost.time_ns))
        .copied()
        .collect();
    let (cpu_s, length_s, _) = crate::nodes::own_cost(&costs)?;
    (length_s > 0.0).then(|| (cpu_s, cpu_s / length_s))
}
