//! Runs whose scalability is known: for tests of this crate and of the command.
//!
//! Not for anything else; no real figure is in here.

use mizar_core::ids::Rank;
use mizar_record::model::{
    GpuInfo, GpuSample, JobRecord, MARK_BEGIN, MARK_END, MARK_FIGURE, MarkSample, Name, NodeRecord,
    SplitSample,
};

use crate::synthetic::{START_NS, Shape, record as job_record};

const EPOCH: u32 = 1;
const VALIDATE: u32 = 2;
const SAMPLES: u32 = 3;
const DIVERGED: u32 = 4;

/// A training job with one GPU a rank.
#[derive(Clone, Debug)]
pub struct Training {
    /// The job's number.
    pub id: u32,
    /// Its name.
    pub name: &'static str,
    /// Nodes.
    pub nodes: u32,
    /// Ranks on each.
    pub ranks_per_node: u32,
    /// Seconds of each epoch, of its slowest rank (the last); others end 1 % earlier.
    pub epochs_s: Vec<f64>,
    /// Share of an epoch that validates.
    pub validate: f64,
    /// Samples that all ranks together work on in an epoch.
    pub samples: Option<f64>,
    /// Power of each GPU; energy is counted by it.
    pub gpu_watts: Option<f64>,
    /// Power of each node.
    pub node_watts: Option<f64>,
    /// Shares of wall time: compute, exposed, hidden, I/O; the rest is idle.
    pub split: Option<[f64; 4]>,
    /// Do ranks hold different models?
    pub diverged: bool,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            id: 1,
            name: "train",
            nodes: 1,
            ranks_per_node: 1,
            epochs_s: vec![10.0; 6],
            validate: 0.1,
            samples: None,
            gpu_watts: None,
            node_watts: None,
            split: None,
            diverged: false,
        }
    }
}

/// The record of such a job: three seconds of start-up, then its epochs.
#[must_use]
pub fn record(training: &Training) -> JobRecord {
    let start_up_s = 3.0;
    let length_s = start_up_s + training.epochs_s.iter().sum::<f64>() + 1.0;
    let mut job = job_record(&Shape {
        nodes: training.nodes,
        ranks_per_node: training.ranks_per_node,
        cpus_per_node: training.ranks_per_node,
        elapsed_s: length_s.ceil() as u32,
        watts: training.node_watts,
        name: training.name,
        ..Shape::default()
    });
    job.job.id = training.id;
    let last_rank = training.nodes * training.ranks_per_node - 1;
    for node in &mut job.nodes {
        let names = [
            (EPOCH, "epoch"),
            (VALIDATE, "validate"),
            (SAMPLES, "samples"),
            (DIVERGED, "ranks_diverged"),
        ];
        node.names = names
            .map(|(id, name)| Name {
                id,
                name: name.to_owned(),
            })
            .into();
        let ranks: Vec<Rank> = node.tasks.iter().map(|task| task.rank).collect();
        for (index, rank) in ranks.into_iter().enumerate() {
            let length = if rank.0 == last_rank { 1.0 } else { 0.99 };
            marks(training, node, rank.0, start_up_s, length);
            if training.diverged {
                node.mark_samples
                    .push(mark(rank.0, DIVERGED, MARK_FIGURE, start_up_s + 1.0, 1.0));
            }
            if let Some(watts) = training.gpu_watts {
                gpu(node, index as u32, watts);
            }
            if let Some(split) = training.split {
                splits(node, rank.0, split);
            }
        }
    }
    job
}

fn at(seconds: f64) -> i64 {
    START_NS + (seconds * 1e9).round() as i64
}

fn mark(rank: u32, name: u32, kind: u32, seconds: f64, value: f64) -> MarkSample {
    MarkSample {
        time_ns: at(seconds),
        value,
        step: 0,
        rank,
        name,
        kind,
    }
}

fn marks(training: &Training, node: &mut NodeRecord, rank: u32, start_s: f64, length: f64) {
    let mut begin_s = start_s;
    let rank_count = f64::from(training.nodes * training.ranks_per_node);
    for epoch_s in &training.epochs_s {
        let own_s = epoch_s * length;
        let mut add = |name, kind, after_s: f64, value| {
            node.mark_samples
                .push(mark(rank, name, kind, begin_s + after_s, value));
        };
        add(EPOCH, MARK_BEGIN, 0.0, f64::NAN);
        add(
            VALIDATE,
            MARK_BEGIN,
            own_s * (1.0 - training.validate),
            f64::NAN,
        );
        if let Some(samples) = training.samples {
            add(SAMPLES, MARK_FIGURE, own_s * 0.99, samples / rank_count);
        }
        add(VALIDATE, MARK_END, own_s, f64::NAN);
        add(EPOCH, MARK_END, own_s, f64::NAN);
        begin_s += epoch_s;
    }
}

fn gpu(node: &mut NodeRecord, number: u32, watts: f64) {
    node.gpus.push(GpuInfo {
        gpu: number,
        vendor: "nvidia".to_owned(),
        name: "test double".to_owned(),
        uuid: format!("GPU-{}-{number}", node.node),
        source: "synthetic".to_owned(),
        energy_method: "energy counter".to_owned(),
        ..GpuInfo::default()
    });
    let readings: Vec<GpuSample> = node
        .node_samples
        .iter()
        .map(|sample| GpuSample {
            time_ns: sample.time_ns,
            interval_ns: sample.interval_ns,
            energy_uj: ((sample.time_ns - START_NS) as f64 / 1e9 * watts * 1e6) as u64,
            power_watts: watts as f32,
            busy: 0.75,
            ..GpuSample::unknown(number)
        })
        .collect();
    node.gpu_samples.extend(readings);
}

fn splits(node: &mut NodeRecord, rank: u32, [compute, exposed, hidden, io]: [f64; 4]) {
    let readings: Vec<SplitSample> = node
        .node_samples
        .iter()
        .map(|sample| {
            let wall_ns = (sample.time_ns - START_NS) as f64;
            let of = |share: f64| (share * wall_ns) as u64;
            SplitSample {
                time_ns: sample.time_ns,
                interval_ns: sample.interval_ns,
                compute_ns: of(compute),
                exposed_ns: of(exposed),
                hidden_ns: of(hidden),
                io_ns: of(io),
                idle_ns: of(1.0 - compute - exposed - io),
                lost: 0,
                step: 0,
                rank,
            }
        })
        .collect();
    node.split_samples.extend(readings);
}
