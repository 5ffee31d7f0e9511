//! The GPUs of a job: from readings to figures.
//!
//! Means are over observed time: a reading speaks for the interval before it, and a time
//! without readings for nothing. Energy is [`mizar_core::energy`]'s: the counter, else power
//! over measured intervals, each with its bound.

pub(crate) mod advice;
mod schema;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet};

use mizar_core::energy::{self, Rules, USUAL_REFRESH_S};
use mizar_core::ids::StepId;
use mizar_record::model::{GpuInfo, GpuProcessSample, GpuSample, JobRecord, NodeRecord, limits};

pub use self::advice::Thresholds;
pub use self::schema::{Event, Gpu, GpuEnergy, Gpus, RankUse, Throttle};
use crate::format::NOT_MEASURED;
use crate::ranks::{Frame, sum};
use crate::series::{Reading, Span, known, levels, median, risen};

/// The label of all that a test double told.
pub const REPLAYED: &str = "replayed recording, not hardware";

/// More events than these are in the record only.
const MAX_EVENTS: usize = 200;

/// Readings further apart than this many usual intervals leave a gap: the same as elsewhere.
const GAP_INTERVALS: f64 = crate::series::GAP_INTERVALS;

/// Reasons that hold clocks back, by their bits.
const REASONS: [(&str, u64); 5] = [
    ("power_cap", limits::POWER_CAP),
    ("thermal", limits::THERMAL),
    ("hardware_thermal", limits::HARDWARE_THERMAL),
    ("power_brake", limits::POWER_BRAKE),
    ("hardware", limits::HARDWARE),
];

/// The job's GPUs; `None` if it had none.
pub(crate) fn measure(record: &JobRecord, frame: Frame) -> Option<Gpus> {
    let mut devices: Vec<Gpu> = Vec::new();
    for node in &record.nodes {
        let here = node.gpus.iter().map(|info| device(node, info, frame));
        let mut here: Vec<Gpu> = here.collect();
        share_with_instances(&mut here, node);
        devices.extend(here);
    }
    if devices.is_empty() {
        return None;
    }
    let owned: Vec<&Gpu> = devices.iter().filter(|gpu| !gpu.is_context).collect();
    let used: Vec<f64> = owned.iter().filter_map(|gpu| gpu.used()).collect();
    let mean_busy = (!used.is_empty()).then(|| used.iter().sum::<f64>() / used.len() as f64);
    let (joules, bound_joules) = total_energy(record, &owned);
    let hours = frame.after_start_s(frame.end_ns) / 3600.0 * owned.len() as f64;
    Some(Gpus {
        count: owned.len(),
        mean_busy,
        joules,
        bound_joules,
        method: methods(&owned, joules.is_some()),
        reserved_h: hours,
        busy_h: mean_busy.map(|busy| busy * hours),
        replayed: devices
            .iter()
            .any(|gpu| gpu.replayed)
            .then(|| REPLAYED.to_owned()),
        ranks: record.nodes.iter().flat_map(rank_uses).collect(),
        events: events(record, frame),
        devices,
    })
}

/// A die whose power another one reports must not be counted again, and cannot be missed.
fn total_energy(record: &JobRecord, owned: &[&Gpu]) -> (Option<f64>, Option<f64>) {
    let reported: BTreeSet<(&str, u32)> = record
        .nodes
        .iter()
        .flat_map(|node| {
            let here = node.gpus.iter().flat_map(|info| &info.reports_for);
            here.map(|gpu| (node.node.as_str(), *gpu))
        })
        .collect();
    let counted = owned
        .iter()
        .filter(|gpu| !reported.contains(&(gpu.node.as_str(), gpu.gpu)));
    let energies: Option<Vec<(f64, f64)>> = counted
        .map(|gpu| Some((gpu.energy.joules?, gpu.energy.bound_joules?)))
        .collect();
    match energies {
        Some(all) if !all.is_empty() => {
            let joules = all.iter().map(|one| one.0).sum();
            // Refreshes lag alike on all: bounds add.
            (Some(joules), Some(all.iter().map(|one| one.1).sum()))
        }
        _ => (None, None),
    }
}

fn methods(owned: &[&Gpu], is_known: bool) -> String {
    if !is_known {
        return NOT_MEASURED.to_owned();
    }
    let named: BTreeSet<&str> = owned.iter().map(|gpu| gpu.energy.method.as_str()).collect();
    named.into_iter().collect::<Vec<_>>().join("; ")
}

fn device(node: &NodeRecord, info: &GpuInfo, frame: Frame) -> Gpu {
    let rows = node.gpu_samples.iter().filter(|row| row.gpu == info.gpu);
    let mut rows: Vec<GpuSample> = rows.copied().collect();
    rows.sort_by_key(|row| row.time_ns);
    let longest_ns = longest_ns(&rows, frame);
    let spans = |value: &dyn Fn(&GpuSample) -> Option<f64>| {
        let readings = rows.iter().map(|row| Reading {
            time_ns: row.time_ns,
            interval_ns: row.interval_ns,
            value: value(row),
        });
        levels(&readings.collect::<Vec<_>>(), None, longest_ns)
    };
    let level = |value: fn(&GpuSample) -> f32| spans(&|row| finite(value(row)));
    let (busy, power) = (level(|row| row.busy), level(|row| row.power_watts));
    let active = level(|row| row.sm_active);
    let memory = spans(&|row| known(row.memory_used_bytes).map(|bytes| bytes as f64));
    let temperature = level(|row| row.temperature_c);
    let all = spans(&|_| Some(1.0));
    let observed_s: f64 = all.iter().map(Span::seconds).sum();
    let elapsed_s = frame.after_start_s(frame.end_ns);
    let peak = |value: fn(&GpuSample) -> u64| rows.iter().map(value).filter_map(known).max();
    let meanwhile = |value: fn(&GpuSample) -> u64| {
        risen(
            rows.iter()
                .map(|row| known(value(row)).map(|count| count as f64)),
        )
        .map(|count| count as u64)
    };
    let largest =
        |value: fn(&GpuSample) -> f32| rows.iter().map(value).filter_map(finite).reduce(f64::max);
    let throttled = |mask: u64| {
        let held =
            spans(&|row| known(row.clock_limits).map(|bits| f64::from(u8::from(bits & mask != 0))));
        mean(&held)
    };
    let reasons = REASONS.map(|(reason, bit)| (reason, throttled(bit)));
    let peak_memory_bytes = peak(|row| row.memory_used_bytes);
    Gpu {
        node: node.node.clone(),
        gpu: info.gpu,
        parent: info.parent,
        is_context: node.gpus.iter().any(|other| other.parent == Some(info.gpu)),
        vendor: info.vendor.clone(),
        name: info.name.clone(),
        uuid: info.uuid.clone(),
        pci: info.pci.clone(),
        slices: info.slices,
        source: info.source.clone(),
        replayed: info.replayed,
        reading_count: rows.len(),
        observed_share: (elapsed_s > 0.0).then(|| (observed_s / elapsed_s).min(1.0)),
        mean_busy: mean(&busy),
        max_busy: largest(|row| row.busy),
        mean_sm_active: mean(&active),
        mean_tensor_active: mean(&level(|row| row.tensor_active)),
        mean_dram_active: mean(&level(|row| row.dram_active)),
        mean_memory_bytes: mean(&memory),
        peak_memory_bytes,
        memory_total_bytes: info.memory_total_bytes,
        peak_memory_share: peak_memory_bytes
            .zip(info.memory_total_bytes.filter(|&total| total > 0))
            .map(|(peak, total)| peak as f64 / total as f64),
        mean_watts: mean(&power),
        max_watts: largest(|row| row.power_watts),
        power_limit_watts: info.power_limit_watts,
        mean_temperature_c: mean(&temperature),
        max_temperature_c: largest(|row| row.temperature_c),
        energy: energy(info, &rows, longest_ns),
        throttled_share: throttled(REASONS.iter().map(|(_, bit)| bit).sum()),
        throttled_by: reasons
            .into_iter()
            .filter_map(|(reason, share)| {
                let share = share.filter(|&share| share > 0.0)?;
                Some(Throttle { reason, share })
            })
            .collect(),
        ecc_corrected: meanwhile(|row| row.ecc_corrected),
        ecc_uncorrected: meanwhile(|row| row.ecc_uncorrected),
        pcie_rx_bytes: meanwhile(|row| row.pcie_rx_bytes),
        pcie_tx_bytes: meanwhile(|row| row.pcie_tx_bytes),
        link_rx_bytes: meanwhile(|row| row.link_rx_bytes),
        link_tx_bytes: meanwhile(|row| row.link_tx_bytes),
        busy: frame
            .grid
            .mean(if busy.is_empty() { &active } else { &busy }),
        memory: frame.grid.max(&memory),
        power: frame.grid.mean(&power),
    }
}

/// By this GPU's own rhythm: it may be read at another rate than the job's processes.
fn longest_ns(rows: &[GpuSample], frame: Frame) -> i64 {
    let intervals = rows.iter().map(|row| row.interval_ns);
    let intervals = intervals.filter(|&ns| ns > 0).map(|ns| ns as f64);
    match median(intervals.collect()) {
        Some(usual_ns) => (usual_ns * GAP_INTERVALS) as i64,
        None => frame.longest_ns,
    }
}

fn finite(value: f32) -> Option<f64> {
    value.is_finite().then_some(f64::from(value))
}

/// The mean over observed time.
fn mean(spans: &[Span]) -> Option<f64> {
    let length_s: f64 = spans.iter().map(Span::seconds).sum();
    let weighted: f64 = spans.iter().map(|span| span.value * span.seconds()).sum();
    (length_s > 0.0).then(|| weighted / length_s)
}

fn energy(info: &GpuInfo, rows: &[GpuSample], longest_ns: i64) -> GpuEnergy {
    let refresh_s = info
        .energy_refresh_ms
        .map_or(USUAL_REFRESH_S, |ms| f64::from(ms) / 1e3);
    let rules = Rules::of_device(refresh_s, longest_ns);
    let readings = rows.iter().map(|row| energy::Reading {
        time_ns: row.time_ns,
        interval_ns: row.interval_ns,
        counter_uj: known(row.energy_uj),
        watts: finite(row.power_watts),
    });
    let total = energy::total(rules, readings);
    GpuEnergy {
        joules: total.joules,
        bound_joules: total.joules.map(|_| total.bound_joules),
        method: match total.joules {
            Some(_) if total.method() == "energy counter" => info.energy_method.clone(),
            Some(_) => format!("{} ({})", total.method(), info.energy_method),
            None => NOT_MEASURED.to_owned(),
        },
        estimated: false,
        unobserved_s: total.unobserved_s,
    }
}

/// No instance has a counter: it gets the whole's energy by its slices, and that is said.
fn share_with_instances(gpus: &mut [Gpu], node: &NodeRecord) {
    let wholes: BTreeMap<u32, GpuEnergy> = gpus
        .iter()
        .filter(|gpu| gpu.is_context)
        .map(|gpu| (gpu.gpu, gpu.energy.clone()))
        .collect();
    for gpu in gpus.iter_mut() {
        let Some((whole, (slices, all))) = gpu
            .parent
            .and_then(|parent| wholes.get(&parent))
            .zip(gpu.slices.filter(|(_, all)| *all > 0))
        else {
            continue;
        };
        let share = f64::from(slices) / f64::from(all);
        let joules = whole.joules.map(|joules| joules * share);
        gpu.energy = GpuEnergy {
            joules,
            // What others on the GPU drew cannot be told apart: anything up to the whole.
            bound_joules: whole
                .joules
                .zip(whole.bound_joules)
                .map(|(all, bound)| all * (1.0 - share) + bound),
            method: format!("estimated: {slices} of {all} slices of the whole GPU's energy"),
            estimated: true,
            unobserved_s: whole.unobserved_s,
        };
    }
    debug_assert!(gpus.iter().all(|gpu| gpu.node == node.node));
}

fn rank_uses(node: &NodeRecord) -> Vec<RankUse> {
    let mut uses: BTreeMap<(u32, u32, u32), Vec<&GpuProcessSample>> = BTreeMap::new();
    for row in &node.gpu_process_samples {
        uses.entry((row.step, row.rank, row.gpu))
            .or_default()
            .push(row);
    }
    let one = |((step, rank, gpu), rows): ((u32, u32, u32), Vec<&GpuProcessSample>)| {
        let spans = rows.iter().filter(|row| row.interval_ns > 0);
        let spans = spans.filter_map(|row| {
            Some(Span {
                from_ns: row.time_ns - row.interval_ns,
                to_ns: row.time_ns,
                value: finite(row.busy)?,
            })
        });
        RankUse {
            step: StepId(step).to_string(),
            rank,
            node: node.node.clone(),
            gpu,
            mean_busy: mean(&spans.collect::<Vec<_>>()),
            peak_memory_bytes: rows.iter().filter_map(|row| known(row.memory_bytes)).max(),
        }
    };
    uses.into_iter().map(one).collect()
}

fn events(record: &JobRecord, frame: Frame) -> Vec<Event> {
    let all = record.nodes.iter().flat_map(|node| {
        node.gpu_events.iter().map(|event| Event {
            time_s: frame.after_start_s(event.time_ns),
            node: node.node.clone(),
            gpu: event.gpu,
            kind: event.kind.clone(),
            code: event.code,
            text: event.text.clone(),
        })
    });
    let mut all: Vec<Event> = all.collect();
    all.sort_by(|a, b| a.time_s.total_cmp(&b.time_s));
    all.truncate(MAX_EVENTS);
    all
}

/// Peak memory of the GPUs that the job has, for advice.
pub(crate) fn largest_memory_bytes(gpus: &Gpus) -> Option<u64> {
    let owned = gpus.devices.iter().filter(|gpu| !gpu.is_context);
    owned.filter_map(|gpu| gpu.peak_memory_bytes).max()
}

/// What was corrected or not, over all GPUs.
pub(crate) fn errors(gpus: &Gpus, of: fn(&Gpu) -> Option<u64>) -> Option<u64> {
    sum(gpus.devices.iter().map(of))
}
