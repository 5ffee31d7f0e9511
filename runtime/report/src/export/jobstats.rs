//! The summary that Princeton's jobstats keeps of a job: its JSON, and the string that goes into
//! Slurm's `AdminComment`.
//!
//! Memory is a maximum, page cache apart; utilisation is a mean over the time of the readings,
//! and missing for instances of a divided GPU, of which no library tells one.

use std::collections::BTreeMap;

use mizar_record::model::{GpuInfo, JobRecord, NodeRecord, UNKNOWN};
use serde::Serialize;

use crate::html::base64;
use crate::schema::Report;

/// jobstats samples every 30 s and says nothing of a job that it saw fewer than twice.
const SHORT_S: f64 = 2.0 * 30.0;

/// The whole summary; its fields have jobstats' names and order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// GPUs of the job.
    pub gpus: u32,
    /// By host.
    pub nodes: BTreeMap<String, NodeSummary>,
    /// Seconds from start to end.
    pub total_time: f64,
}

/// A host's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeSummary {
    /// CPUs of the job here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory that the job may use here; without a limit, all of the node's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_memory: Option<u64>,
    /// The most that it used at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_memory: Option<u64>,
    /// CPU seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_time: Option<f64>,
    /// Bytes by the minor number of the GPU.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gpu_total_memory: BTreeMap<String, u64>,
    /// The most that were in use.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gpu_used_memory: BTreeMap<String, u64>,
    /// Percent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gpu_utilization: BTreeMap<String, f64>,
}

/// The summary of a job; `report` is that of `record`.
#[must_use]
pub fn summary(record: &JobRecord, report: &Report) -> Summary {
    let nodes = record.nodes.iter().zip(&report.nodes);
    let nodes: BTreeMap<String, NodeSummary> = nodes
        .map(|(node, shown)| {
            let installed = node.node_samples.iter().map(|s| s.memory_total_bytes);
            let mut summary = NodeSummary {
                cpus: node.job_cpus,
                total_memory: node
                    .memory_limit_bytes
                    .or_else(|| installed.filter(|&bytes| bytes != UNKNOWN).max()),
                used_memory: shown.memory_peak_bytes,
                total_time: shown.job_cpu_s.map(tenths),
                gpu_total_memory: BTreeMap::new(),
                gpu_used_memory: BTreeMap::new(),
                gpu_utilization: BTreeMap::new(),
            };
            add_gpus(node, &mut summary);
            (node.node.clone(), summary)
        })
        .collect();
    Summary {
        gpus: record.nodes.iter().map(gpu_count).sum(),
        nodes,
        total_time: tenths(report.job.elapsed_s),
    }
}

/// A figure is not better than a tenth, and each digit costs a byte in the database.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// GPUs that the job had; a divided one counts by its instances.
fn gpu_count(node: &NodeRecord) -> u32 {
    let is_divided = |gpu: &&GpuInfo| node.gpus.iter().any(|part| part.parent == Some(gpu.gpu));
    node.gpus.iter().filter(|gpu| !is_divided(gpu)).count() as u32
}

fn add_gpus(node: &NodeRecord, summary: &mut NodeSummary) {
    for gpu in &node.gpus {
        let samples = || {
            node.gpu_samples
                .iter()
                .filter(|sample| sample.gpu == gpu.gpu)
        };
        let is_part = gpu.parent.is_some();
        let is_divided = node.gpus.iter().any(|part| part.parent == Some(gpu.gpu));
        if is_divided {
            continue;
        }
        // jobstats' keys are minor numbers; an instance has none of its own.
        let key = gpu
            .minor
            .filter(|_| !is_part)
            .unwrap_or(gpu.gpu)
            .to_string();
        if let Some(total) = gpu.memory_total_bytes {
            summary.gpu_total_memory.insert(key.clone(), total);
        }
        let used = samples().map(|sample| sample.memory_used_bytes);
        if let Some(used) = used.filter(|&bytes| bytes != UNKNOWN).max() {
            summary.gpu_used_memory.insert(key.clone(), used);
        }
        let (mut busy_s, mut seen_s) = (0.0, 0.0);
        for sample in samples().filter(|s| s.busy.is_finite() && s.interval_ns > 0) {
            let interval_s = sample.interval_ns as f64 / 1e9;
            busy_s += f64::from(sample.busy) * interval_s;
            seen_s += interval_s;
        }
        if !is_part && seen_s > 0.0 {
            summary
                .gpu_utilization
                .insert(key, tenths(100.0 * busy_s / seen_s));
        }
    }
}

/// The string for Slurm's `AdminComment`: the summary packed, or why there is none.
#[must_use]
pub fn admin_comment(summary: &Summary) -> String {
    let measured = |node: &NodeSummary| node.used_memory.is_some() || node.total_time.is_some();
    if summary.total_time < SHORT_S {
        return "JS1:Short".to_owned();
    }
    if !summary.nodes.values().any(measured) {
        return "JS1:None".to_owned();
    }
    let json = ascii(&serde_json::to_string(summary).unwrap_or_default());
    let mut packer = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    let mut packed = vec![0; packer.gzip_compress_bound(json.len())];
    match packer.gzip_compress(json.as_bytes(), &mut packed) {
        Ok(size) => format!("JS1:{}", base64(&packed[..size])),
        // The bound makes room for any input.
        Err(_) => "JS1:None".to_owned(),
    }
}

/// JSON in ASCII alone, as jobstats writes it.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}
