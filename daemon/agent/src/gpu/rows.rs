//! From a reading to a record's rows, and to what `mizar ps` shows.

use mizar_api::LiveGpu;
use mizar_core::energy;
use mizar_gpu::model::ClockLimits;
use mizar_gpu::{Device, Reading};
use mizar_record::model::{GpuInfo, GpuSample, UNKNOWN, limits};

/// A GPU as a job's record names it; `numbers` gives those of others.
pub(crate) fn info(device: &Device, gpu: u32, number: impl Fn(usize) -> Option<u32>) -> GpuInfo {
    GpuInfo {
        gpu,
        parent: device.parent.and_then(&number),
        vendor: device.vendor.name().to_owned(),
        name: device.name.clone(),
        uuid: device.uuid.clone(),
        pci: device.pci.clone(),
        minor: device.minor,
        memory_total_bytes: device.memory_total_bytes,
        power_limit_watts: device.power_limit_watts,
        slices: device.slices,
        source: match &device.replayed {
            Some(label) => format!("{}, replaying \"{label}\"", device.source),
            None => device.source.clone(),
        },
        replayed: device.replayed.is_some(),
        energy_method: device.energy.method.clone(),
        energy_refresh_ms: device.energy.refresh_ms,
        reports_for: device
            .reports_for
            .iter()
            .copied()
            .filter_map(number)
            .collect(),
    }
}

/// A row of `/gpu_samples`.
pub(crate) fn sample(gpu: u32, reading: &Reading, interval_ns: i64) -> GpuSample {
    let count = |value: Option<u64>| value.unwrap_or(UNKNOWN);
    let level = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
    GpuSample {
        time_ns: reading.after.unix_ns,
        interval_ns,
        reading_ns: (reading.after.monotonic_ns - reading.before.monotonic_ns)
            .max(0)
            .unsigned_abs(),
        energy_uj: count(reading.energy_uj),
        memory_used_bytes: count(reading.memory_used_bytes),
        pcie_rx_bytes: count(reading.pcie_rx_bytes),
        pcie_tx_bytes: count(reading.pcie_tx_bytes),
        link_rx_bytes: count(reading.link_rx_bytes),
        link_tx_bytes: count(reading.link_tx_bytes),
        ecc_corrected: count(reading.ecc_corrected),
        ecc_uncorrected: count(reading.ecc_uncorrected),
        clock_limits: count(reading.clock_limits.map(bits)),
        busy: level(reading.busy),
        memory_busy: level(reading.memory_busy),
        sm_active: level(reading.sm_active),
        tensor_active: level(reading.tensor_active),
        dram_active: level(reading.dram_active),
        power_watts: level(reading.power_watts),
        temperature_c: level(reading.temperature_c),
        memory_temperature_c: level(reading.memory_temperature_c),
        sm_clock_mhz: level(reading.sm_clock_mhz),
        memory_clock_mhz: level(reading.memory_clock_mhz),
        ..GpuSample::unknown(gpu)
    }
}

pub(crate) fn bits(limit: ClockLimits) -> u64 {
    [
        (limit.power_cap, limits::POWER_CAP),
        (limit.thermal, limits::THERMAL),
        (limit.hardware_thermal, limits::HARDWARE_THERMAL),
        (limit.power_brake, limits::POWER_BRAKE),
        (limit.hardware, limits::HARDWARE),
        (limit.idle, limits::IDLE),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .fold(0, |all, (_, bit)| all | bit)
}

/// What the meter of the device's energy takes.
pub(crate) fn energy_reading(reading: &Reading, interval_ns: i64) -> energy::Reading {
    energy::Reading {
        time_ns: reading.after.unix_ns,
        interval_ns,
        counter_uj: reading.energy_uj,
        watts: reading.power_watts,
    }
}

/// As `mizar ps` shows it; without a reading nothing is known of its use.
pub(crate) fn live(info: &GpuInfo, reading: Option<&Reading>) -> LiveGpu {
    LiveGpu {
        gpu: info.gpu,
        name: info.name.clone(),
        uuid: info.uuid.clone(),
        busy: reading.and_then(|reading| reading.busy.or(reading.sm_active)),
        memory_used_bytes: reading.and_then(|reading| reading.memory_used_bytes),
        memory_total_bytes: info.memory_total_bytes,
        power_watts: reading.and_then(|reading| reading.power_watts),
        temperature_c: reading.and_then(|reading| reading.temperature_c),
        replayed: info.replayed,
    }
}
