//! GPUs on the Prometheus page: those of running jobs, as last read.

use std::collections::HashMap;

use mizar_core::ids::JobId;
use mizar_gpu::{Device, Reading};
use mizar_record::model::limits;

use super::rows::bits;
use crate::metrics::Page;

/// A GPU that a job has, as last read.
#[derive(Clone, Debug)]
pub(crate) struct GpuView {
    index: String,
    uuid: String,
    name: String,
    replayed: bool,
    memory_total_bytes: Option<u64>,
    power_limit_watts: Option<f64>,
    jobs: Vec<JobId>,
    reading: Option<Reading>,
}

pub(super) fn of(
    devices: &[Device],
    last: &HashMap<usize, Reading>,
    owners: impl Fn(usize) -> Vec<JobId>,
) -> Vec<GpuView> {
    let view = |(place, device): (usize, &Device)| GpuView {
        index: match device.instance {
            Some((instance, _)) => format!("{}.{instance}", device.index),
            None => device.index.to_string(),
        },
        uuid: device.uuid.clone(),
        name: device.name.clone(),
        replayed: device.replayed.is_some(),
        memory_total_bytes: device.memory_total_bytes,
        power_limit_watts: device.power_limit_watts,
        jobs: owners(place),
        reading: last.get(&place).copied(),
    };
    let views = devices.iter().enumerate().map(view);
    views.filter(|view| !view.jobs.is_empty()).collect()
}

type Figure = fn(&GpuView, &Reading) -> Option<f64>;

const FAMILIES: &[(&str, &str, &str, Figure)] = &[
    (
        "busy_ratio",
        "gauge",
        "Share of the vendor's window in which a kernel ran.",
        |_, r| r.busy,
    ),
    (
        "memory_busy_ratio",
        "gauge",
        "Share of it in which memory was read or written.",
        |_, r| r.memory_busy,
    ),
    (
        "sm_active_ratio",
        "gauge",
        "Share of the last interval in which multiprocessors worked.",
        |_, r| r.sm_active,
    ),
    (
        "tensor_active_ratio",
        "gauge",
        "Likewise of the tensor cores.",
        |_, r| r.tensor_active,
    ),
    (
        "dram_active_ratio",
        "gauge",
        "Likewise of the memory interface.",
        |_, r| r.dram_active,
    ),
    (
        "memory_used_bytes",
        "gauge",
        "Memory in use, the driver's own apart.",
        |_, r| r.memory_used_bytes.map(|bytes| bytes as f64),
    ),
    (
        "memory_total_bytes",
        "gauge",
        "Memory that programs can use.",
        |view, _| view.memory_total_bytes.map(|bytes| bytes as f64),
    ),
    (
        "power_watts",
        "gauge",
        "Power as the library gives it.",
        |_, r| r.power_watts,
    ),
    (
        "power_limit_watts",
        "gauge",
        "The power limit in force.",
        |view, _| view.power_limit_watts,
    ),
    (
        "energy_joules_total",
        "counter",
        "The device's own energy counter.",
        |_, r| r.energy_uj.map(|microjoules| microjoules as f64 * 1e-6),
    ),
    ("temperature_celsius", "gauge", "Of the chip.", |_, r| {
        r.temperature_c
    }),
    (
        "memory_temperature_celsius",
        "gauge",
        "Of the memory.",
        |_, r| r.memory_temperature_c,
    ),
    ("sm_clock_hertz", "gauge", "Compute clock.", |_, r| {
        r.sm_clock_mhz.map(|mhz| mhz * 1e6)
    }),
    ("memory_clock_hertz", "gauge", "Memory clock.", |_, r| {
        r.memory_clock_mhz.map(|mhz| mhz * 1e6)
    }),
    (
        "pcie_receive_bytes_total",
        "counter",
        "Received over PCIe.",
        |_, r| r.pcie_rx_bytes.map(|bytes| bytes as f64),
    ),
    (
        "pcie_transmit_bytes_total",
        "counter",
        "Sent over PCIe.",
        |_, r| r.pcie_tx_bytes.map(|bytes| bytes as f64),
    ),
    (
        "link_receive_bytes_total",
        "counter",
        "Received over NVLink or xGMI.",
        |_, r| r.link_rx_bytes.map(|bytes| bytes as f64),
    ),
    (
        "link_transmit_bytes_total",
        "counter",
        "Sent over NVLink or xGMI.",
        |_, r| r.link_tx_bytes.map(|bytes| bytes as f64),
    ),
    (
        "ecc_corrected_total",
        "counter",
        "Memory errors corrected.",
        |_, r| r.ecc_corrected.map(|count| count as f64),
    ),
    (
        "ecc_uncorrected_total",
        "counter",
        "Memory errors not corrected.",
        |_, r| r.ecc_uncorrected.map(|count| count as f64),
    ),
    (
        "throttled",
        "gauge",
        "1 while power, heat or the hardware hold clocks back.",
        |_, r| {
            let held = bits(r.clock_limits?) & !limits::IDLE;
            Some(f64::from(u8::from(held != 0)))
        },
    ),
];

/// Writes the GPUs of running jobs; nothing if there are none.
pub(crate) fn render(page: &mut Page, views: &[GpuView]) {
    if views.is_empty() {
        return;
    }
    page.family("mizar_gpu_info", "gauge", "GPUs of running jobs.");
    for view in views {
        let replayed = view.replayed.to_string();
        let labels = [
            ("gpu", view.index.as_str()),
            ("uuid", &view.uuid),
            ("name", &view.name),
            ("replayed", &replayed),
        ];
        page.value("mizar_gpu_info", &labels, 1.0);
    }
    page.family("mizar_gpu_job", "gauge", "Which job has which GPU.");
    for view in views {
        for job in &view.jobs {
            let job = job.to_string();
            let labels = [
                ("gpu", view.index.as_str()),
                ("uuid", &view.uuid),
                ("job", &job),
            ];
            page.value("mizar_gpu_job", &labels, 1.0);
        }
    }
    for (name, kind, help, figure) in FAMILIES {
        let known = views.iter().filter_map(|view| {
            let value = figure(view, view.reading.as_ref()?)?;
            Some((view, value))
        });
        let known: Vec<(&GpuView, f64)> = known.collect();
        if known.is_empty() {
            continue;
        }
        let name = format!("mizar_gpu_{name}");
        page.family(&name, kind, help);
        for (view, value) in known {
            let labels = [("gpu", view.index.as_str()), ("uuid", &view.uuid)];
            page.value(&name, &labels, value);
        }
    }
}
