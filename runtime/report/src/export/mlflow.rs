//! A job as runs of an MLflow server: the requests of its REST interface, in order.
//!
//! Each step that ran the program is a run with the parameters and metrics that itwinai logs
//! (`strategy`, `global_world_size`, `epoch_time_s`), so that its report, and ours, find them
//! there; the report's figures and the ranks' series stand beside them. Sending is the caller's.

use mizar_record::model::JobRecord;
use serde_json::{Value, json};

use crate::scaling::record as runs;
use crate::scaling::run::Times;
use crate::schema::Report;
use crate::series::Series;

/// What MLflow takes in one request.
pub const MAX_BATCH_METRICS: usize = 1000;
/// MLflow refuses longer parameters.
const MAX_PARAM_CHARS: usize = 500;
/// Ranks whose series are sent.
const MAX_SERIES_RANKS: usize = 64;

/// A run to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// Its name.
    pub name: String,
    /// The body of `runs/create`, without the experiment.
    pub create: Value,
    /// Bodies of `runs/log-batch`, without the run.
    pub batches: Vec<Value>,
    /// The body of `runs/update`, without the run.
    pub update: Value,
}

/// The runs of a job; `report` is that of `record`.
#[must_use]
pub fn uploads(record: &JobRecord, report: &Report) -> Vec<Upload> {
    let start_ms = record.job.start_ns / 1_000_000;
    let end_ms = start_ms + (report.job.elapsed_s * 1e3) as i64;
    let runs = runs::runs(record, None);
    let several = runs.len() > 1;
    let upload = |run: &crate::scaling::run::Run| {
        let (_, step) = run.source.rsplit_once(' ').unwrap_or(("", ""));
        let name = if several {
            format!("{}-{}-step{step}", report.job.title, report.job.id)
        } else {
            format!("{}-{}", report.job.title, report.job.id)
        };
        let status = match (run.failures.is_empty(), record.job.end_ns) {
            (false, _) => "FAILED",
            (true, None) => "RUNNING",
            (true, Some(_)) => "FINISHED",
        };
        let update = if status == "RUNNING" {
            json!({ "status": status })
        } else {
            json!({ "status": status, "end_time": end_ms })
        };
        Upload {
            create: json!({
                "run_name": name,
                "start_time": start_ms,
                "tags": tags(report, run),
            }),
            batches: batches(params(report, run), metrics(record, report, run, step)),
            update,
            name,
        }
    };
    runs.iter().map(upload).collect()
}

fn tags(report: &Report, run: &crate::scaling::run::Run) -> Vec<Value> {
    let mut tags = vec![
        json!({ "key": "mizar.source", "value": run.source }),
        json!({ "key": "mizar.release", "value": report.mizar }),
        json!({ "key": "mlflow.user", "value": report.job.user }),
    ];
    if !run.failures.is_empty() {
        tags.push(json!({ "key": "mizar.failures", "value": run.failures.join("; ") }));
    }
    tags
}

fn params(report: &Report, run: &crate::scaling::run::Run) -> Vec<Value> {
    let command = report
        .steps
        .iter()
        .max_by(|a, b| a.elapsed_s.total_cmp(&b.elapsed_s));
    [
        ("job", report.job.id.to_string()),
        ("strategy", run.strategy.clone()),
        ("global_world_size", run.ranks.to_string()),
        ("nodes", report.job.nodes.clone()),
        ("partition", report.job.partition.clone()),
        ("cluster", report.job.cluster.clone()),
        (
            "command",
            command.map_or_else(String::new, |step| step.command.clone()),
        ),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(key, value)| {
        let value: String = value.chars().take(MAX_PARAM_CHARS).collect();
        json!({ "key": key, "value": value })
    })
    .collect()
}

/// A metric; MLflow's keys know letters, digits and `_-./ `.
fn metric(key: &str, value: f64, time_ms: i64, step: usize) -> Option<Value> {
    value
        .is_finite()
        .then(|| json!({ "key": key, "value": value, "timestamp": time_ms, "step": step }))
}

fn metrics(
    record: &JobRecord,
    report: &Report,
    run: &crate::scaling::run::Run,
    step: &str,
) -> Vec<Value> {
    let start_ms = record.job.start_ns / 1_000_000;
    let end_ms = start_ms + (report.job.elapsed_s * 1e3) as i64;
    let gpu_wh = run.gpu_energy.as_ref().map(|energy| energy.joules / 3600.0);
    let node_wh = run
        .node_energy
        .as_ref()
        .map(|energy| energy.joules / 3600.0);
    let computation = run.computation.as_ref();
    let figures = [
        ("elapsed_s", Some(run.elapsed_s)),
        ("cpu_efficiency", report.cpu.efficiency),
        (
            "memory_peak_bytes",
            report.memory.peak_bytes.map(|bytes| bytes as f64),
        ),
        ("memory_used_share", report.memory.used_share),
        ("gpu_energy_wh", gpu_wh),
        ("node_energy_wh", node_wh),
        ("gpu_utilization", run.gpu_utilization),
        (
            "computation_fraction",
            computation.map(|split| split.compute),
        ),
        (
            "exposed_communication",
            computation.and_then(|split| split.exposed),
        ),
        ("own_cpu_s", run.own_cpu_s),
    ];
    let mut found: Vec<Value> = figures
        .into_iter()
        .filter_map(|(key, value)| metric(key, value?, end_ms, 0))
        .collect();
    if let Times::Epochs(epochs, _) = &run.times {
        // The time of day of an epoch is not known to better than their sum.
        let mut at_s = report.job.elapsed_s - epochs.iter().sum::<f64>();
        for (epoch, seconds) in epochs.iter().enumerate() {
            at_s += seconds;
            found.extend(metric(
                "epoch_time_s",
                *seconds,
                start_ms + (at_s * 1e3) as i64,
                epoch,
            ));
        }
    }
    let ranks = report.ranks.iter().filter(|rank| rank.step == step);
    for rank in ranks.take(MAX_SERIES_RANKS) {
        for (what, series) in [
            ("cpus_busy", &rank.cpu_busy),
            ("memory_bytes", &rank.memory),
            ("io_bytes_per_s", &rank.io_rate),
        ] {
            let key = format!("{what}/rank_{}", rank.rank);
            found.extend(
                series
                    .iter()
                    .flat_map(|series| points(&key, series, start_ms)),
            );
        }
    }
    found
}

/// The cells of a series at their middle; those that were not observed are left out.
fn points(key: &str, series: &Series, start_ms: i64) -> Vec<Value> {
    let cells = series.values.iter().enumerate();
    cells
        .filter_map(|(cell, value)| {
            let at_s = (cell as f64 + 0.5) * series.cell_s;
            metric(key, (*value)?, start_ms + (at_s * 1e3) as i64, cell)
        })
        .collect()
}

fn batches(params: Vec<Value>, metrics: Vec<Value>) -> Vec<Value> {
    let mut batches = vec![json!({ "params": params })];
    batches.extend(
        metrics
            .chunks(MAX_BATCH_METRICS)
            .map(|part| json!({ "metrics": part })),
    );
    batches
}
