//! The Prometheus endpoint: the node, its jobs, and what the daemon itself costs.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use mizar_node::UNKNOWN;

use crate::config::MetricsNames;
use crate::live;
use crate::omnistat;
use crate::own_cost;
use crate::registry::{Job, Registry, Task};
use crate::shared::{NodeView, Shared};

/// The text format of Prometheus.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The pages that are served.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(live::page))
        .route("/live.json", get(live::figures))
        .route("/metrics", get(page))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(shared)
}

async fn page(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, FORMAT)], render(&shared))
}

/// A page being written.
pub(crate) struct Page(String);

impl Page {
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(crate) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{}\"", escape(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// A family of one value; what is unknown is left out.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| !value.is_nan()) {
            self.family(name, kind, help);
            self.value(name, &[], value);
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn known(value: u64) -> Option<f64> {
    (value != UNKNOWN).then_some(value as f64)
}

fn seconds(value_ns: u64) -> Option<f64> {
    known(value_ns).map(|value_ns| value_ns * 1e-9)
}

/// The whole page, under the names that the site wants.
fn render(shared: &Shared) -> String {
    let own = own(shared);
    let names = &shared.config.metrics_names;
    let mut page = Page(String::new());
    if names.contains(&MetricsNames::Omnistat) {
        omnistat::render(&mut page, &live::samples(&own), &shared.registry());
    }
    if names.contains(&MetricsNames::Mizar) {
        page.0.insert_str(0, &own);
    }
    page.0
}

/// All metrics under our own names.
pub(crate) fn own(shared: &Shared) -> String {
    let mut page = Page(String::with_capacity(4096));
    page.family(
        "mizar_agent_info",
        "gauge",
        "The release and the node's name in Slurm.",
    );
    let labels = [
        ("version", mizar_core::VERSION),
        ("node", shared.config.node.as_str()),
    ];
    page.value("mizar_agent_info", &labels, 1.0);
    let node = shared
        .node
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    if let Some(view) = node {
        render_node(&mut page, &view);
    }
    render_jobs(&mut page, &shared.registry());
    let gpus = shared.gpus.lock();
    let gpus = gpus
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    crate::gpu::render(&mut page, &gpus);
    render_agent(&mut page, shared);
    page.0
}

fn render_node(page: &mut Page, view: &NodeView) {
    let usage = &view.usage;
    for (name, kind, help, value) in [
        (
            "cpu_busy_seconds_total",
            "counter",
            "CPU time not idle, all CPUs.",
            seconds(usage.cpu_busy_ns),
        ),
        (
            "cpu_seconds_total",
            "counter",
            "CPU time, all CPUs.",
            seconds(usage.cpu_total_ns),
        ),
        (
            "memory_used_bytes",
            "gauge",
            "Memory not available.",
            known(usage.memory_used_bytes),
        ),
        (
            "memory_total_bytes",
            "gauge",
            "Memory installed.",
            known(usage.memory_total_bytes),
        ),
        (
            "network_receive_bytes_total",
            "counter",
            "Node traffic in, no loopback.",
            known(usage.net_rx_bytes),
        ),
        (
            "network_transmit_bytes_total",
            "counter",
            "Node traffic out, no loopback.",
            known(usage.net_tx_bytes),
        ),
        (
            "energy_joules_total",
            "counter",
            "Energy since the daemon began.",
            Some(view.energy.joules),
        ),
        (
            "power_watts",
            "gauge",
            "Power over the last interval.",
            Some(view.energy.watts),
        ),
    ] {
        page.single(&format!("mizar_node_{name}"), kind, help, value);
    }
    page.family("mizar_node_energy_info", "gauge", "How energy is measured.");
    page.value(
        "mizar_node_energy_info",
        &[("method", view.energy_method.as_str())],
        1.0,
    );
}

fn render_jobs(page: &mut Page, registry: &Registry) {
    let count = registry.running().count();
    page.single(
        "mizar_node_jobs",
        "gauge",
        "Jobs watched.",
        Some(count as f64),
    );
    let tasks = registry.running_tasks();
    page.single(
        "mizar_node_tasks",
        "gauge",
        "Tasks with processes.",
        Some(tasks as f64),
    );
    let present = |job: &Job| -> Vec<Task> {
        let tasks = job.steps.iter().flat_map(|step| &step.tasks);
        tasks.filter(|task| task.present).cloned().collect()
    };
    type Figure = fn(&[Task]) -> Option<f64>;
    let families: [(&str, &str, Figure); 5] = [
        ("tasks", "Tasks of the job with processes.", |tasks| {
            Some(tasks.len() as f64)
        }),
        ("threads", "Threads of the job's tasks.", |tasks| {
            Some(tasks.iter().map(|task| f64::from(task.live.threads)).sum())
        }),
        (
            "memory_resident_bytes",
            "Resident memory of the job's tasks.",
            |tasks| Some(tasks.iter().map(|task| task.live.memory_bytes as f64).sum()),
        ),
        (
            "cpu_busy_ratio",
            "CPUs busy over the last interval (1 is one CPU).",
            |tasks| tasks.iter().map(|task| task.live.cpus_busy).sum(),
        ),
        (
            "io_bytes_per_second",
            "Read and written over the last interval.",
            |tasks| tasks.iter().map(|task| task.live.io_bytes_per_s).sum(),
        ),
    ];
    for (name, help, figure) in families {
        let name = format!("mizar_job_{name}");
        page.family(&name, "gauge", help);
        for (id, job) in registry.running() {
            let (id, uid) = (id.to_string(), job.info.uid.to_string());
            if let Some(value) = figure(&present(job)) {
                page.value(&name, &[("job", &id), ("uid", &uid)], value);
            }
        }
    }
}

fn render_agent(page: &mut Page, shared: &Shared) {
    let own = own_cost::read(0);
    let cpu = own.and_then(|own| seconds(own.cpu_ns));
    page.single(
        "mizar_agent_cpu_seconds_total",
        "counter",
        "CPU time of mizard.",
        cpu,
    );
    let resident = own.and_then(|own| known(own.rss_bytes));
    page.single(
        "mizar_agent_memory_resident_bytes",
        "gauge",
        "Resident memory of mizard.",
        resident,
    );
    let counters = &shared.counters;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    for (name, help, value) in [
        (
            "requests_total",
            "Requests answered.",
            count(&counters.requests),
        ),
        (
            "refused_requests_total",
            "Requests refused.",
            count(&counters.refused_requests),
        ),
        (
            "refused_connections_total",
            "Connections over a limit.",
            count(&counters.refused_connections),
        ),
        (
            "samples_total",
            "Samples of jobs taken.",
            count(&counters.samples),
        ),
        (
            "late_samples_total",
            "Samples over half a period late.",
            count(&counters.late_samples),
        ),
        (
            "missed_samples_total",
            "Samples that were due and not taken, because the one before took too long.",
            count(&counters.missed_samples),
        ),
        (
            "missed_gpu_readings_total",
            "Readings of GPUs that were due while the last was not done.",
            count(&counters.missed_gpu_readings),
        ),
        (
            "record_errors_total",
            "Writes to records that failed.",
            count(&counters.record_errors),
        ),
        (
            "dropped_rows_total",
            "Rows that no record could take.",
            count(&counters.dropped_rows),
        ),
        (
            "sampling_seconds_total",
            "Time spent sampling.",
            count(&counters.sampling_ns) * 1e-9,
        ),
    ] {
        page.single(&format!("mizar_agent_{name}"), "counter", help, Some(value));
    }
}
