//! Who uses a device, and how much of it: process lists, samples of processes, and the
//! performance counters of Hopper and later (GPM), of MIG instances too.

use std::collections::HashMap;

use mizar_core::clock::monotonic_ns;
use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::gpm::gpm_metrics_get;
use nvml_wrapper::struct_wrappers::device::{ProcessInfo, ProcessUtilizationSample};

use super::Handle;
use super::look::{Call, Look};
use crate::model::{Device, ProcessUse};

/// Counters closer together than this say nothing.
const GPM_PERIOD_NS: i64 = 100_000_000;

/// A device without clients of MPS is asked for some no more often.
const MPS_PERIOD_NS: i64 = 1_000_000_000;

/// Processes of one device that are looked at.
const MAX_PROCESSES: usize = 4096;

/// Shares of the time since the last look: multiprocessors, tensor cores, memory.
pub(super) fn active(
    look: &mut Look<'_>,
    nvml: &'static Nvml,
    known: &Device,
    device: &Handle,
    parent: Option<&Handle>,
) -> (Option<f64>, Option<f64>, Option<f64>) {
    let now_ns = monotonic_ns();
    if let Some((since_ns, _)) = look.state.gpm
        && now_ns - since_ns < GPM_PERIOD_NS
    {
        return (None, None, None);
    }
    let is_supported = look.state.gpm.is_some();
    let sample = look.ask(Call::Gpm, || match (parent, known.instance) {
        (Some(parent), Some((instance, _))) => parent.gpm_mig_sample(instance),
        (Some(_), None) => Err(nvml_wrapper::error::NvmlError::NotSupported),
        (None, _) if is_supported || device.gpm_support()? => device.gpm_sample(),
        (None, _) => Err(nvml_wrapper::error::NvmlError::NotSupported),
    });
    let Some(sample) = sample else {
        return (None, None, None);
    };
    let before = look.state.gpm.take();
    let asked = [
        GpmMetricId::SmUtil,
        GpmMetricId::AnyTensorUtil,
        GpmMetricId::DramBwUtil,
    ];
    let metrics = before.and_then(|(_, before)| {
        look.ask(Call::Gpm, || {
            gpm_metrics_get(nvml, &before, &sample, &asked)
        })
    });
    look.state.gpm = Some((now_ns, sample));
    let mut shares = metrics.into_iter().flatten().map(|metric| {
        let percent = metric.ok()?.value;
        (0.0..=100.5)
            .contains(&percent)
            .then_some((percent / 100.0).min(1.0))
    });
    let mut next = || shares.next().flatten();
    (next(), next(), next())
}

/// The processes on a device; samples of their use are not to be had under MIG.
pub(super) fn processes(
    look: &mut Look<'_>,
    device: &Handle,
    is_instance: bool,
) -> Option<Vec<ProcessUse>> {
    let mut listed = look.ask(Call::Processes, || device.running_compute_processes())?;
    let now_ns = monotonic_ns();
    if now_ns >= look.state.mps_due_ns {
        let clients = look.ask(Call::Mps, || device.mps_running_compute_processes());
        let clients = clients.unwrap_or_default();
        if clients.is_empty() {
            look.state.mps_due_ns = now_ns + MPS_PERIOD_NS;
        }
        listed.extend(clients);
    }
    listed.truncate(MAX_PROCESSES);
    let busy = if listed.is_empty() || is_instance {
        None
    } else {
        let since_us = look.state.last_seen_us;
        let samples = look.ask(Call::Samples, || device.process_utilization_stats(since_us));
        samples
            .map(|samples| {
                let latest_us = samples.iter().map(|sample| sample.timestamp).max();
                look.state.last_seen_us = latest_us.unwrap_or(0).max(since_us);
                shares(&samples, since_us)
            })
            .filter(|shares| !shares.is_empty())
    };
    let used = |info: ProcessInfo| ProcessUse {
        pid: i32::try_from(info.pid).unwrap_or(0),
        memory_bytes: match info.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
        busy: busy
            .as_ref()
            .map(|busy| busy.get(&info.pid).copied().unwrap_or(0.0)),
        instance: info.gpu_instance_id,
    };
    Some(listed.into_iter().map(used).collect())
}

/// The mean of each process's samples since then; without any sample nothing is known.
fn shares(samples: &[ProcessUtilizationSample], since_us: u64) -> HashMap<u32, f64> {
    let mut sums: HashMap<u32, (f64, f64)> = HashMap::new();
    for sample in samples.iter().filter(|sample| sample.timestamp > since_us) {
        let sum = sums.entry(sample.pid).or_default();
        sum.0 += f64::from(sample.sm_util.min(100)) / 100.0;
        sum.1 += 1.0;
    }
    sums.into_iter()
        .map(|(pid, (sum, count))| (pid, sum / count))
        .collect()
}
