//! GPUs for synthetic jobs, with answers that are known without the report's arithmetic.

use mizar_record::model::{GpuEvent, GpuInfo, GpuProcessSample, GpuSample, JobRecord, NodeRecord};

use super::{MIB, S, START_NS};

/// A GPU of a synthetic job, read every second.
#[derive(Clone, Debug)]
pub struct GpuShape {
    /// Watts in a second of the job.
    pub watts: fn(second: u32) -> f64,
    /// Share of a second in which kernels ran.
    pub busy: fn(second: u32) -> f32,
    /// Memory in use, MiB.
    pub memory_mib: u64,
    /// Its memory, MiB.
    pub memory_total_mib: u64,
    /// Bits of [`mizar_record::model::limits`] in a second.
    pub limits: fn(second: u32) -> u64,
    /// Memory errors corrected and not, so far.
    pub errors: fn(second: u32) -> (u64, u64),
    /// Has it an energy counter?
    pub counter: bool,
    /// Seconds without readings.
    pub gap: Option<(u32, u32)>,
}

impl Default for GpuShape {
    /// 300 W, busy, half full, healthy.
    fn default() -> Self {
        Self {
            watts: |_| 300.0,
            busy: |_| 0.9,
            memory_mib: 40_960,
            memory_total_mib: 81_920,
            limits: |_| 0,
            errors: |_| (0, 0),
            counter: true,
            gap: None,
        }
    }
}

/// Gives each node of the job these GPUs; local rank N uses the N-th.
pub fn add_gpus(job: &mut JobRecord, shapes: &[GpuShape]) {
    let end_ns = job.job.end_ns.unwrap_or(START_NS);
    let elapsed_s = u32::try_from((end_ns - START_NS) / S).unwrap_or(0);
    for node in &mut job.nodes {
        for (gpu, shape) in (0..).zip(shapes) {
            node.gpus.push(info(gpu, shape, &node.node));
            for second in 1..=elapsed_s {
                let is_read = |second: u32| {
                    shape
                        .gap
                        .is_none_or(|(from, to)| second <= from || second > to)
                };
                if !is_read(second) {
                    continue;
                }
                let before = (0..second)
                    .rev()
                    .find(|&before| before > 0 && is_read(before));
                let interval_ns = before.map_or(0, |before| i64::from(second - before) * S);
                node.gpu_samples
                    .push(sample(gpu, shape, second, interval_ns));
                add_use(node, gpu, shape, second, interval_ns);
            }
        }
    }
}

/// Lets something befall a GPU of the first node.
pub fn add_gpu_event(job: &mut JobRecord, gpu: u32, second: u32, kind: &str, text: &str) {
    job.nodes[0].gpu_events.push(GpuEvent {
        time_ns: START_NS + i64::from(second) * S,
        gpu,
        kind: kind.to_owned(),
        code: None,
        text: text.to_owned(),
    });
}

fn info(gpu: u32, shape: &GpuShape, node: &str) -> GpuInfo {
    GpuInfo {
        gpu,
        vendor: "nvidia".to_owned(),
        name: "NVIDIA H100 80GB HBM3".to_owned(),
        uuid: format!("GPU-{node}-{gpu}"),
        pci: Some(format!("0000:{:02x}:00.0", 0x40 + gpu)),
        minor: Some(gpu),
        memory_total_bytes: Some(shape.memory_total_mib * MIB),
        power_limit_watts: Some(700.0),
        source: "NVML 12.575.57, replaying \"synthetic\"".to_owned(),
        replayed: true,
        energy_method: if shape.counter {
            "NVML energy counter, refreshed about every 100 ms".to_owned()
        } else {
            "no energy counter: NVML power, a mean of 1 s, integrated".to_owned()
        },
        energy_refresh_ms: shape.counter.then_some(100),
        ..GpuInfo::default()
    }
}

fn sample(gpu: u32, shape: &GpuShape, second: u32, interval_ns: i64) -> GpuSample {
    let joules: f64 = (0..second).map(shape.watts).sum();
    let (ecc_corrected, ecc_uncorrected) = (shape.errors)(second);
    let unknown = GpuSample::unknown(gpu);
    GpuSample {
        time_ns: START_NS + i64::from(second) * S,
        interval_ns,
        reading_ns: 300_000,
        energy_uj: if shape.counter {
            7_000_000 + (joules * 1e6).round() as u64
        } else {
            unknown.energy_uj
        },
        memory_used_bytes: shape.memory_mib * MIB,
        ecc_corrected,
        ecc_uncorrected,
        clock_limits: (shape.limits)(second),
        busy: (shape.busy)(second - 1),
        power_watts: (shape.watts)(second - 1) as f32,
        temperature_c: 60.0,
        ..unknown
    }
}

fn add_use(node: &mut NodeRecord, gpu: u32, shape: &GpuShape, second: u32, interval_ns: i64) {
    let Some(task) = node.tasks.iter().find(|task| task.local_rank == gpu) else {
        return;
    };
    node.gpu_process_samples.push(GpuProcessSample {
        time_ns: START_NS + i64::from(second) * S,
        interval_ns,
        memory_bytes: shape.memory_mib * MIB,
        step: task.step.0,
        rank: task.rank.0,
        gpu,
        busy: (shape.busy)(second - 1),
    });
}
