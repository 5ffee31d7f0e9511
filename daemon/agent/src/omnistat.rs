//! The metrics under omnistat's names, for dashboards that know those.
//!
//! Called for `metrics_names = ["omnistat"]`; made from our own metrics, so that both say the
//! same. GPUs of both vendors stand under `rocm_`. What omnistat has and we have not, such as the
//! load average, is left out; network traffic is that of all devices together.

use std::fmt::Write as _;

use crate::live::Sample;
use crate::metrics::Page;
use crate::registry::Registry;

/// A metric of a GPU: omnistat's name, ours, and what to multiply by.
const GPU: [(&str, &str, f64); 9] = [
    ("rocm_utilization_percentage", "busy_ratio", 100.0),
    ("rocm_vram_busy_percentage", "memory_busy_ratio", 100.0),
    ("rocm_vram_total_bytes", "memory_total_bytes", 1.0),
    ("rocm_average_socket_power_watts", "power_watts", 1.0),
    ("rocm_energy_joules", "energy_joules_total", 1.0),
    ("rocm_power_cap_watts", "power_limit_watts", 1.0),
    ("rocm_temperature_celsius", "temperature_celsius", 1.0),
    (
        "rocm_temperature_memory_celsius",
        "memory_temperature_celsius",
        1.0,
    ),
    ("rocm_sclk_clock_mhz", "sm_clock_hertz", 1e-6),
];

/// Writes what our metrics say under omnistat's names.
pub(crate) fn render(page: &mut Page, samples: &[Sample], registry: &Registry) {
    let value = |name: &str| samples.iter().find(|s| s.name == name).map(|s| s.value);
    host(page, value);
    let energy = samples.iter().find(|s| s.name == "mizar_node_energy_info");
    let vendor = energy
        .and_then(|sample| sample.label("method"))
        .unwrap_or("");
    for (name, ours) in [
        (
            "omnistat_vendor_energy_joules",
            "mizar_node_energy_joules_total",
        ),
        ("omnistat_vendor_power_watts", "mizar_node_power_watts"),
    ] {
        one(
            page,
            name,
            "Energy of the node.",
            &[("vendor", vendor)],
            value(ours),
        );
    }
    gpus(page, samples);
    jobs(page, registry);
}

fn one(page: &mut Page, name: &str, help: &str, labels: &[(&str, &str)], value: Option<f64>) {
    if let Some(value) = value {
        page.family(name, "gauge", help);
        page.value(name, labels, value);
    }
}

fn host(page: &mut Page, value: impl Fn(&str) -> Option<f64>) {
    let total = value("mizar_node_memory_total_bytes");
    let available = total
        .zip(value("mizar_node_memory_used_bytes"))
        .map(|(total, used)| total - used);
    one(
        page,
        "omnistat_host_mem_total_bytes",
        "Memory installed.",
        &[],
        total,
    );
    one(
        page,
        "omnistat_host_mem_available_bytes",
        "Memory available.",
        &[],
        available,
    );
    let labels = [("device_class", "net"), ("interface", "all")];
    for (name, ours) in [
        (
            "omnistat_network_rx_bytes",
            "mizar_node_network_receive_bytes_total",
        ),
        (
            "omnistat_network_tx_bytes",
            "mizar_node_network_transmit_bytes_total",
        ),
    ] {
        one(page, name, "Node traffic.", &labels, value(ours));
    }
}

fn gpus(page: &mut Page, samples: &[Sample]) {
    let of = |ours: &str| -> Vec<(&str, f64)> {
        let name = format!("mizar_gpu_{ours}");
        let found = samples.iter().filter(|sample| sample.name == name);
        found
            .filter_map(|sample| Some((sample.label("gpu")?, sample.value)))
            .collect()
    };
    let count = of("info").len();
    one(
        page,
        "rocm_num_gpus",
        "GPUs of running jobs.",
        &[],
        (count > 0).then_some(count as f64),
    );
    for (name, ours, factor) in GPU {
        let values = of(ours);
        if !values.is_empty() {
            page.family(name, "gauge", "Of a GPU.");
        }
        for (card, value) in values {
            page.value(name, &[("card", card)], value * factor);
        }
    }
    let (used, total) = (of("memory_used_bytes"), of("memory_total_bytes"));
    let mut shares = used.iter().filter_map(|(card, used)| {
        let total = total.iter().find(|(other, _)| other == card)?.1;
        (total > 0.0).then(|| (*card, used * 100.0 / total))
    });
    if let Some(first) = shares.next() {
        let name = "rocm_vram_used_percentage";
        page.family(name, "gauge", "Memory in use.");
        for (card, share) in std::iter::once(first).chain(shares) {
            page.value(name, &[("card", card)], share);
        }
    }
}

/// omnistat joins this by instance; the user is a number, as in our own metrics.
fn jobs(page: &mut Page, registry: &Registry) {
    let mut running = registry.running().peekable();
    if running.peek().is_none() {
        return;
    }
    page.family("rmsjob_info", "gauge", "Jobs on this node.");
    for (id, job) in running {
        let mut steps = String::new();
        for step in &job.steps {
            let comma = if steps.is_empty() { "" } else { "," };
            let _ = write!(steps, "{comma}{}", step.info.step);
        }
        let (id, uid) = (id.to_string(), job.info.uid.to_string());
        let labels = [
            ("jobid", &id[..]),
            ("user", &uid),
            ("partition", &job.info.partition),
            ("nodes", &job.info.nodes),
            ("batchflag", ""),
            ("jobstep", &steps),
            ("type", "slurm"),
        ];
        page.value("rmsjob_info", &labels, 1.0);
    }
}
