//! What Prometheus sees.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::ledger::{State, Tally};
use crate::oscar::warm::pool::Counts;

type Label = [(&'static str, String); 1];
type SourceLabel = [(&'static str, String); 2];

/// Bounds of the latency histograms, in seconds.
const LATENCY_SECONDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0];

/// All metrics of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    events: Family<Label, Counter>,
    requests: Family<Label, Counter>,
    submissions: Family<Label, Counter>,
    jobs: Family<Label, Gauge>,
    source_messages: Family<SourceLabel, Counter>,
    source_up: Family<Label, Gauge>,
    webhook_changes: Family<SourceLabel, Counter>,
    workers: Family<Label, Gauge>,
    calls: Family<Label, Counter>,
    calls_waiting: Gauge,
    call: Histogram,
    call_wait: Histogram,
    call_overhead: Histogram,
    /// Whether Slurm answered the last question.
    pub scheduler_up: Gauge,
    /// Whether no events are taken.
    pub draining: Gauge,
    /// Jobs cancelled because their event had another.
    pub duplicates_cancelled: Counter,
    /// Looks at Slurm's queue.
    pub looks: Counter,
    /// From a request's last byte to its commit.
    pub commit: Histogram,
    /// How long a submission took, sbatch or slurmrestd.
    pub sbatch: Histogram,
    /// Listeners of the stream of changes.
    pub listeners: Gauge,
    /// Listeners that were hung up on because they took nothing.
    pub listeners_dropped: Counter,
    /// Commits that failed because the disk was full.
    pub disk_full: Counter<u64, AtomicU64>,
    /// Calls that the audit log could not be told of.
    pub audit_failed: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram = || Histogram::new(LATENCY_SECONDS);
        let mut metrics = Self {
            registry: Registry::with_prefix("mizar_gateway"),
            events: Family::default(),
            requests: Family::default(),
            submissions: Family::default(),
            jobs: Family::default(),
            source_messages: Family::default(),
            source_up: Family::default(),
            webhook_changes: Family::default(),
            workers: Family::default(),
            calls: Family::default(),
            calls_waiting: Gauge::default(),
            call: histogram(),
            call_wait: histogram(),
            call_overhead: histogram(),
            listeners: Gauge::default(),
            listeners_dropped: Counter::default(),
            scheduler_up: Gauge::default(),
            draining: Gauge::default(),
            duplicates_cancelled: Counter::default(),
            looks: Counter::default(),
            commit: histogram(),
            sbatch: histogram(),
            disk_full: Counter::default(),
            audit_failed: Counter::default(),
        };
        metrics.register();
        metrics.register_warm();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "events",
            "Events by what became of them at intake",
            self.events.clone(),
        );
        r.register("requests", "Requests by status code", self.requests.clone());
        r.register(
            "submissions",
            "Submissions by outcome",
            self.submissions.clone(),
        );
        r.register("jobs", "Jobs in the ledger by state", self.jobs.clone());
        r.register(
            "source_messages",
            "Messages of pulled sources by what became of them",
            self.source_messages.clone(),
        );
        r.register(
            "source_up",
            "Whether a pulled source has what it reads from",
            self.source_up.clone(),
        );
        r.register(
            "webhook_changes",
            "Changes of jobs for webhooks by what became of them",
            self.webhook_changes.clone(),
        );
        r.register(
            "stream_listeners",
            "Listeners of the stream of changes",
            self.listeners.clone(),
        );
        r.register(
            "stream_listeners_dropped",
            "Listeners that were hung up on because they took nothing",
            self.listeners_dropped.clone(),
        );
        r.register(
            "scheduler_up",
            "Whether Slurm answered the last look",
            self.scheduler_up.clone(),
        );
        r.register(
            "draining",
            "Whether an operator has no events taken",
            self.draining.clone(),
        );
        r.register(
            "duplicates_cancelled",
            "Jobs cancelled because their event had another",
            self.duplicates_cancelled.clone(),
        );
        r.register("looks", "Looks at the queue of Slurm", self.looks.clone());
        r.register(
            "commit_seconds",
            "From request to durable commit",
            self.commit.clone(),
        );
        r.register(
            "sbatch_seconds",
            "How long sbatch took",
            self.sbatch.clone(),
        );
        r.register(
            "disk_full",
            "Commits refused because the disk was full",
            self.disk_full.clone(),
        );
        r.register(
            "audit_failed",
            "Calls that the audit log could not be told of",
            self.audit_failed.clone(),
        );
    }

    fn register_warm(&mut self) {
        let r = &mut self.registry;
        r.register(
            "workers",
            "Warm workers by what they are at",
            self.workers.clone(),
        );
        r.register(
            "calls",
            "Synchronous calls to warm workers by what became of them",
            self.calls.clone(),
        );
        r.register(
            "calls_waiting",
            "Synchronous calls that wait for a warm worker",
            self.calls_waiting.clone(),
        );
        r.register(
            "call_seconds",
            "From a synchronous call to its answer",
            self.call.clone(),
        );
        r.register(
            "call_wait_seconds",
            "How long a synchronous call waited for a worker",
            self.call_wait.clone(),
        );
        r.register(
            "call_overhead_seconds",
            "What a synchronous call took besides its wait and its function",
            self.call_overhead.clone(),
        );
    }

    /// Counts a synchronous call.
    pub fn count_call(&self, result: &str) {
        self.calls
            .get_or_create(&[("result", result.to_owned())])
            .inc();
    }

    /// Remembers how long a synchronous call took, and its parts.
    pub fn observe_call(&self, whole: Duration, waited: Duration, function: Duration) {
        self.call.observe(whole.as_secs_f64());
        self.call_wait.observe(waited.as_secs_f64());
        let rest = whole.saturating_sub(waited).saturating_sub(function);
        self.call_overhead.observe(rest.as_secs_f64());
    }

    /// Sets the numbers of workers by what they are at, and of calls that wait.
    pub fn set_workers(&self, counts: &Counts) {
        for (state, count) in [
            ("starting", counts.starting),
            ("idle", counts.idle),
            ("busy", counts.busy),
            ("leaving", counts.leaving),
        ] {
            self.workers
                .get_or_create(&[("state", state.to_owned())])
                .set(count);
        }
        self.calls_waiting.set(counts.queue);
    }

    /// Counts events by what became of them.
    pub fn count_events(&self, result: &str, count: u64) {
        self.events
            .get_or_create(&[("result", result.to_owned())])
            .inc_by(count);
    }

    /// Counts a request.
    pub fn count_request(&self, status: u16) {
        self.requests
            .get_or_create(&[("code", status.to_string())])
            .inc();
    }

    /// Counts a run of sbatch.
    pub fn count_submission(&self, outcome: &str) {
        self.submissions
            .get_or_create(&[("outcome", outcome.to_owned())])
            .inc();
    }

    /// Counts messages of a source.
    pub fn count_source(&self, source: &str, tally: &Tally) {
        for (result, count) in [
            ("accepted", tally.accepted),
            ("duplicate", tally.duplicates),
            ("unmatched", tally.unmatched),
            ("dead", tally.dead),
        ] {
            self.source_messages
                .get_or_create(&[("source", source.to_owned()), ("result", result.to_owned())])
                .inc_by(count);
        }
    }

    /// Counts changes of a webhook: delivered, refused, dropped, or a call that failed.
    pub fn count_webhook(&self, webhook: &str, result: &str, count: u64) {
        self.webhook_changes
            .get_or_create(&[
                ("webhook", webhook.to_owned()),
                ("result", result.to_owned()),
            ])
            .inc_by(count);
    }

    /// Sets whether a source has what it reads from.
    pub fn set_source_up(&self, source: &str, is_up: bool) {
        self.source_up
            .get_or_create(&[("source", source.to_owned())])
            .set(i64::from(is_up));
    }

    /// Sets the numbers of jobs by state.
    pub fn set_jobs(&self, counts: &[(State, u64)]) {
        for &state in State::ALL {
            let count = counts
                .iter()
                .find(|(other, _)| *other == state)
                .map_or(0, |(_, n)| *n);
            let label = [("state", state.word().to_owned())];
            self.jobs
                .get_or_create(&label)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}
