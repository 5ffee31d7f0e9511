//! The GPUs of a step in `mizar ps`: those that its ranks use, or the job's if nobody says.

use std::collections::BTreeSet;

use mizar_api::{LiveGpu, LiveJob, LiveStep};
use mizar_core::ids::StepId;
use mizar_record::model::{GpuSample, NodeRecord, UNKNOWN};
use serde::Serialize;

/// What the GPUs of a step do, together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct StepGpus {
    /// How many.
    pub(crate) count: usize,
    /// The mean share of time in which kernels ran.
    pub(crate) busy: Option<f64>,
    /// Memory in use, all together.
    pub(crate) memory_used_bytes: Option<u64>,
    /// Memory that programs can use.
    pub(crate) memory_total_bytes: Option<u64>,
    /// Power, all together.
    pub(crate) power_watts: Option<f64>,
    /// Does a recording stand for the hardware?
    pub(crate) replayed: bool,
}

/// As the daemon tells.
pub(super) fn of_live(job: &LiveJob, step: &LiveStep) -> Option<StepGpus> {
    let used: BTreeSet<u32> = step
        .tasks
        .iter()
        .flat_map(|task| task.gpus.iter().copied())
        .collect();
    together(&job.gpus, &used)
}

/// As a record that is still being written tells, if its readings are not older than that.
pub(super) fn of_record(node: &NodeRecord, step: StepId, fresh_ns: i64) -> Option<StepGpus> {
    let last = |gpu: u32| -> Option<&GpuSample> {
        let rows = node.gpu_samples.iter().filter(|row| row.gpu == gpu);
        rows.max_by_key(|row| row.time_ns)
            .filter(|row| row.time_ns >= fresh_ns)
    };
    let finite = |value: f32| value.is_finite().then_some(f64::from(value));
    let live = node.gpus.iter().map(|info| {
        let row = last(info.gpu);
        LiveGpu {
            gpu: info.gpu,
            busy: row.and_then(|row| finite(row.busy).or(finite(row.sm_active))),
            memory_used_bytes: row
                .map(|row| row.memory_used_bytes)
                .filter(|&bytes| bytes != UNKNOWN),
            memory_total_bytes: info.memory_total_bytes,
            power_watts: row.and_then(|row| finite(row.power_watts)),
            replayed: info.replayed,
            ..LiveGpu::default()
        }
    });
    let uses = node.gpu_process_samples.iter();
    let used = uses.filter(|row| row.step == step.0 && row.time_ns >= fresh_ns);
    together(
        &live.collect::<Vec<LiveGpu>>(),
        &used.map(|row| row.gpu).collect(),
    )
}

fn together(gpus: &[LiveGpu], used: &BTreeSet<u32>) -> Option<StepGpus> {
    let shown: Vec<&LiveGpu> = gpus
        .iter()
        .filter(|gpu| used.is_empty() || used.contains(&gpu.gpu))
        .collect();
    if shown.is_empty() {
        return None;
    }
    let busy: Vec<f64> = shown.iter().filter_map(|gpu| gpu.busy).collect();
    let bytes = |of: fn(&LiveGpu) -> Option<u64>| {
        let all: Vec<u64> = shown.iter().filter_map(|gpu| of(gpu)).collect();
        (!all.is_empty()).then(|| all.into_iter().fold(0, u64::saturating_add))
    };
    let watts: Vec<f64> = shown.iter().filter_map(|gpu| gpu.power_watts).collect();
    Some(StepGpus {
        count: shown.len(),
        busy: (!busy.is_empty()).then(|| busy.iter().sum::<f64>() / busy.len() as f64),
        memory_used_bytes: bytes(|gpu| gpu.memory_used_bytes),
        memory_total_bytes: bytes(|gpu| gpu.memory_total_bytes),
        power_watts: (!watts.is_empty()).then(|| watts.iter().sum()),
        replayed: shown.iter().any(|gpu| gpu.replayed),
    })
}

#[cfg(test)]
mod tests {
    use mizar_report::synthetic::{GpuShape, Shape, add_gpus, record};

    use super::*;

    fn gpu(gpu: u32, busy: Option<f64>) -> LiveGpu {
        LiveGpu {
            gpu,
            busy,
            memory_used_bytes: Some(10),
            memory_total_bytes: Some(40),
            power_watts: Some(100.0),
            ..LiveGpu::default()
        }
    }

    #[test]
    fn a_step_shows_the_gpus_that_it_uses_or_the_jobs() {
        let gpus = [gpu(0, Some(1.0)), gpu(1, Some(0.5)), gpu(2, None)];
        let all = together(&gpus, &BTreeSet::new()).unwrap();
        assert_eq!(
            (all.count, all.busy, all.memory_used_bytes),
            (3, Some(0.75), Some(30))
        );
        let one = together(&gpus, &[1].into()).unwrap();
        assert_eq!(
            (one.count, one.busy, one.power_watts),
            (1, Some(0.5), Some(100.0))
        );
        assert_eq!(together(&[], &BTreeSet::new()), None);
    }

    #[test]
    fn a_record_tells_of_its_last_readings_unless_they_are_old() {
        let mut job = record(&Shape::default());
        add_gpus(&mut job, &[GpuShape::default()]);
        let node = &job.nodes[0];
        let last_ns = node
            .gpu_samples
            .iter()
            .map(|row| row.time_ns)
            .max()
            .unwrap();
        let found = of_record(node, StepId(0), last_ns).unwrap();
        assert_eq!((found.power_watts, found.replayed), (Some(300.0), true));
        let old = of_record(node, StepId(0), last_ns + 1).unwrap();
        assert_eq!((old.count, old.busy, old.power_watts), (1, None, None));
    }
}
