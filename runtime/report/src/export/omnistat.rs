//! The CSV files that omnistat exports a job to: a header row a level, times in UTC without zone.
//!
//! Metrics of NVIDIA GPUs stand under the same `rocm_` names, so that scripts find them. The
//! readings of all nodes are brought to one raster of the interval as measured, since a row has
//! one time: a cell holds the last reading of its interval, or nothing. Network traffic is that
//! of all devices together, and its labels say so.

use std::collections::BTreeMap;

use mizar_record::model::{GpuSample, JobRecord, NodeRecord, NodeSample, UNKNOWN};
use time::OffsetDateTime;

use crate::series::median;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

/// A column: its labels, one a level, and its value at each time.
struct Column {
    labels: Vec<String>,
    values: BTreeMap<i64, f64>,
}

/// More columns than this are not written: a spreadsheet would not open them.
const MAX_COLUMNS: usize = 16_384;

/// The files of a job; sets without a reading are left out.
#[must_use]
pub fn files(record: &JobRecord) -> Vec<File> {
    let raster = Raster::of(record);
    let sets: [(&'static str, &[&str], Vec<Column>); 4] = [
        (
            "omnistat-rocm.gpu.csv",
            &["metric", "instance", "card"],
            gpus(record, raster),
        ),
        (
            "omnistat-host.csv",
            &["metric", "instance"],
            host(record, raster),
        ),
        (
            "omnistat-network.csv",
            &["metric", "instance", "device_class", "interface"],
            network(record, raster),
        ),
        (
            "omnistat-vendor.csv",
            &["metric", "instance", "vendor"],
            vendor(record, raster),
        ),
    ];
    let with_values = sets
        .into_iter()
        .filter(|(_, _, columns)| !columns.is_empty());
    with_values
        .map(|(name, levels, columns)| File {
            name,
            text: csv(levels, &columns, raster),
        })
        .collect()
}

/// Times that all nodes share.
#[derive(Clone, Copy)]
struct Raster {
    start_ns: i64,
    step_ns: i64,
}

impl Raster {
    fn of(record: &JobRecord) -> Self {
        let intervals = record.nodes.iter().flat_map(|node| &node.node_samples);
        let intervals = intervals
            .filter(|s| s.interval_ns > 0)
            .map(|s| s.interval_ns as f64);
        let step_ns = median(intervals.collect()).unwrap_or(1e9);
        Self {
            start_ns: record.job.start_ns,
            // Milliseconds are what its times show.
            step_ns: ((step_ns / 1e6).round() as i64).max(1) * 1_000_000,
        }
    }

    fn place(self, time_ns: i64) -> i64 {
        // A reading at its nearest time: those of one round lie around it.
        (time_ns - self.start_ns + self.step_ns / 2).div_euclid(self.step_ns)
    }

    fn time(self, place: i64) -> String {
        let time_ns = i128::from(self.start_ns) + i128::from(place) * i128::from(self.step_ns);
        let format = time::macros::format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]"
        );
        OffsetDateTime::from_unix_timestamp_nanos(time_ns)
            .ok()
            .and_then(|time| time.format(format).ok())
            .unwrap_or_default()
    }
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

fn csv(levels: &[&str], columns: &[Column], raster: Raster) -> String {
    let columns = &columns[..columns.len().min(MAX_COLUMNS)];
    let mut text = String::new();
    for (level, title) in levels.iter().enumerate() {
        text.push_str(title);
        for column in columns {
            text.push(',');
            text.push_str(&quoted(&column.labels[level]));
        }
        text.push('\n');
    }
    text.push_str("timestamp");
    text.push_str(&",".repeat(columns.len()));
    text.push('\n');
    let mut places: Vec<i64> = columns
        .iter()
        .flat_map(|column| column.values.keys().copied())
        .collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        text.push_str(&raster.time(place));
        for column in columns {
            text.push(',');
            if let Some(value) = column.values.get(&place) {
                text.push_str(&value.to_string());
            }
        }
        text.push('\n');
    }
    text
}

/// Columns of one metric on all nodes; those without a value are left out.
fn column<S>(
    labels: Vec<String>,
    samples: impl Iterator<Item = S>,
    time_ns: impl Fn(&S) -> i64,
    value: impl Fn(&S) -> Option<f64>,
    raster: Raster,
) -> Option<Column> {
    let values: BTreeMap<i64, f64> = samples
        .filter_map(|sample| Some((raster.place(time_ns(&sample)), value(&sample)?)))
        .filter(|(_, value)| value.is_finite())
        .collect();
    (!values.is_empty()).then_some(Column { labels, values })
}

fn known(value: u64) -> Option<f64> {
    (value != UNKNOWN).then_some(value as f64)
}

type GpuValue = fn(&GpuSample, Option<u64>) -> Option<f64>;

const GPU_METRICS: [(&str, GpuValue); 10] = [
    ("rocm_utilization_percentage", |s, _| {
        Some(f64::from(s.busy) * 100.0)
    }),
    ("rocm_vram_used_percentage", |s, total| {
        Some(known(s.memory_used_bytes)? * 100.0 / total.filter(|&t| t > 0)? as f64)
    }),
    ("rocm_vram_busy_percentage", |s, _| {
        Some(f64::from(s.memory_busy) * 100.0)
    }),
    ("rocm_vram_total_bytes", |_, total| {
        total.map(|bytes| bytes as f64)
    }),
    ("rocm_average_socket_power_watts", |s, _| {
        Some(f64::from(s.power_watts))
    }),
    ("rocm_energy_joules", |s, _| Some(known(s.energy_uj)? / 1e6)),
    ("rocm_sclk_clock_mhz", |s, _| {
        Some(f64::from(s.sm_clock_mhz))
    }),
    ("rocm_mclk_clock_mhz", |s, _| {
        Some(f64::from(s.memory_clock_mhz))
    }),
    ("rocm_temperature_celsius", |s, _| {
        Some(f64::from(s.temperature_c))
    }),
    ("rocm_temperature_memory_celsius", |s, _| {
        Some(f64::from(s.memory_temperature_c))
    }),
];

fn gpus(record: &JobRecord, raster: Raster) -> Vec<Column> {
    let mut columns = Vec::new();
    for (metric, value) in GPU_METRICS {
        for node in &record.nodes {
            for gpu in &node.gpus {
                let labels = vec![metric.to_owned(), node.node.clone(), gpu.gpu.to_string()];
                let samples = node
                    .gpu_samples
                    .iter()
                    .filter(|sample| sample.gpu == gpu.gpu);
                let total = gpu.memory_total_bytes;
                columns.extend(column(
                    labels,
                    samples,
                    |s| s.time_ns,
                    |s| value(s, total),
                    raster,
                ));
            }
        }
    }
    columns
}

/// A metric of nodes, from a reading and the one before.
type NodeValue = fn(&(Option<NodeSample>, NodeSample)) -> Option<f64>;

fn of_nodes(
    record: &JobRecord,
    raster: Raster,
    metrics: &[(&str, NodeValue)],
    more_labels: impl Fn(&NodeRecord) -> Vec<String>,
) -> Vec<Column> {
    let mut columns = Vec::new();
    for (metric, value) in metrics {
        for node in &record.nodes {
            let mut samples = node.node_samples.clone();
            samples.sort_by_key(|sample| sample.time_ns);
            let before = std::iter::once(None).chain(samples.iter().copied().map(Some));
            let pairs: Vec<(Option<NodeSample>, NodeSample)> =
                before.zip(samples.iter().copied()).collect();
            let mut labels = vec![(*metric).to_owned(), node.node.clone()];
            labels.extend(more_labels(node));
            columns.extend(column(
                labels,
                pairs.into_iter(),
                |p| p.1.time_ns,
                value,
                raster,
            ));
        }
    }
    columns
}

fn host(record: &JobRecord, raster: Raster) -> Vec<Column> {
    let metrics: [(&str, NodeValue); 3] = [
        ("omnistat_host_mem_total_bytes", |(_, now)| {
            known(now.memory_total_bytes)
        }),
        ("omnistat_host_mem_available_bytes", |(_, now)| {
            Some(known(now.memory_total_bytes)? - known(now.memory_used_bytes)?)
        }),
        // Cores busy over the interval.
        (
            "omnistat_host_cpu_aggregate_core_utilization",
            |(before, now)| {
                let before = before.as_ref()?;
                let busy = known(now.cpu_busy_ns)? - known(before.cpu_busy_ns)?;
                let passed_ns = now.time_ns - before.time_ns;
                // A reading that is missing in between is a gap, not a faster core.
                let adjacent = (passed_ns - now.interval_ns).abs() * 2 < now.interval_ns;
                (adjacent && busy >= 0.0).then(|| busy / now.interval_ns as f64)
            },
        ),
    ];
    of_nodes(record, raster, &metrics, |_| Vec::new())
}

fn network(record: &JobRecord, raster: Raster) -> Vec<Column> {
    let metrics: [(&str, NodeValue); 2] = [
        ("omnistat_network_rx_bytes", |(_, now)| {
            known(now.net_rx_bytes)
        }),
        ("omnistat_network_tx_bytes", |(_, now)| {
            known(now.net_tx_bytes)
        }),
    ];
    of_nodes(record, raster, &metrics, |_| {
        vec!["net".to_owned(), "all".to_owned()]
    })
}

fn vendor(record: &JobRecord, raster: Raster) -> Vec<Column> {
    let metrics: [(&str, NodeValue); 2] = [
        ("omnistat_vendor_energy_joules", |(_, now)| {
            Some(now.energy_joules)
        }),
        ("omnistat_vendor_power_watts", |(_, now)| {
            Some(now.power_watts)
        }),
    ];
    of_nodes(record, raster, &metrics, |node| {
        vec![node.methods.energy.clone()]
    })
}
