//! Records whose answers are known: for tests of this crate and of the command.
//!
//! Not for anything else; no real figure is in here.

mod gpus;

use mizar_core::ids::{Rank, StepId};
use mizar_record::model::{
    FileRecord, Gap, JobInfo, JobRecord, Methods, NodeRecord, NodeSample, OwnCost, StepInfo,
    TaskInfo, TaskSample,
};

pub use self::gpus::{GpuShape, add_gpu_event, add_gpus};

/// When a synthetic job begins, Unix nanoseconds.
pub const START_NS: i64 = 1_795_000_000_000_000_000;
const S: i64 = 1_000_000_000;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A job of one step, sampled every second.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Nodes, `n1` and on.
    pub nodes: u32,
    /// CPUs of the job on each.
    pub cpus_per_node: u32,
    /// Ranks on each.
    pub ranks_per_node: u32,
    /// The job's length.
    pub elapsed_s: u32,
    /// CPUs that a rank keeps busy in a second of the job.
    pub busy: fn(rank: u32, second: u32) -> f64,
    /// Resident MiB of a rank at the end of a second.
    pub memory_mib: fn(rank: u32, second: u32) -> u64,
    /// MiB that a rank reads in a second; it writes a quarter of that.
    pub read_mib: fn(rank: u32, second: u32) -> u64,
    /// Memory limit on each node.
    pub memory_limit_gib: Option<u64>,
    /// Power of each node, if anything measures it.
    pub watts: Option<f64>,
    /// Seconds in which `n1` has no readings.
    pub gap: Option<(u32, u32)>,
    /// Still running?
    pub running: bool,
    /// Its name.
    pub name: &'static str,
}

impl Default for Shape {
    /// Two nodes of two ranks on two CPUs each, all busy, for a minute.
    fn default() -> Self {
        Self {
            nodes: 2,
            cpus_per_node: 2,
            ranks_per_node: 2,
            elapsed_s: 60,
            busy: |_, _| 1.0,
            memory_mib: |_, _| 512,
            read_mib: |_, _| 4,
            memory_limit_gib: Some(2),
            watts: None,
            gap: None,
            running: false,
            name: "synthetic",
        }
    }
}

/// The record of such a job.
#[must_use]
pub fn record(shape: &Shape) -> JobRecord {
    let end_ns = START_NS + i64::from(shape.elapsed_s) * S;
    JobRecord {
        job: JobInfo {
            id: 1234,
            name: shape.name.to_owned(),
            uid: 1000,
            user: "alice".to_owned(),
            gid: 1000,
            partition: "main".to_owned(),
            account: "climate".to_owned(),
            cluster: "lab".to_owned(),
            nodes: if shape.nodes == 1 {
                "n1".to_owned()
            } else {
                format!("n[1-{}]", shape.nodes)
            },
            start_ns: START_NS,
            end_ns: (!shape.running).then_some(end_ns),
            ..JobInfo::default()
        },
        nodes: (0..shape.nodes)
            .map(|index| node(shape, index, end_ns))
            .collect(),
        missing_nodes: Vec::new(),
        complete: !shape.running,
    }
}

fn node(shape: &Shape, index: u32, end_ns: i64) -> NodeRecord {
    let ranks = index * shape.ranks_per_node..(index + 1) * shape.ranks_per_node;
    let end_ns = (!shape.running).then_some(end_ns);
    let gap = shape.gap.filter(|_| index == 0);
    let task = |rank: u32| TaskInfo {
        step: StepId(0),
        rank: Rank(rank),
        local_rank: rank - ranks.start,
        pid: 4000 + rank as i32,
        start_ns: START_NS,
        end_ns,
        status: (!shape.running).then_some(0),
        visible_gpus: None,
    };
    NodeRecord {
        node: format!("n{}", index + 1),
        job_cpus: Some(shape.cpus_per_node),
        memory_limit_bytes: shape.memory_limit_gib.map(|gib| gib * GIB),
        sample_ms: Some(1000),
        mizar: mizar_core::VERSION.to_owned(),
        methods: Methods {
            communication: String::new(),
            cpu: "utime + stime of /proc, children included".to_owned(),
            memory: "resident memory of the processes, summed".to_owned(),
            io: "/proc/<pid>/io".to_owned(),
            energy_refresh_ms: shape.watts.map(|_| 1),
            energy: shape
                .watts
                .map_or("none", |_| "RAPL package counters")
                .to_owned(),
            network: "node traffic: /sys/class/net, loopback apart".to_owned(),
        },
        steps: vec![StepInfo {
            step: StepId(0),
            task_count: shape.nodes * shape.ranks_per_node,
            command: ["mizar", "cube", "-timmean", "in.nc", "out.nc"]
                .map(str::to_owned)
                .into(),
            cwd: "/scratch/alice".into(),
            start_ns: START_NS,
            end_ns,
        }],
        tasks: ranks.clone().map(task).collect(),
        task_samples: ranks
            .flat_map(|rank| task_samples(shape, rank, gap))
            .collect(),
        node_samples: node_samples(shape, gap),
        own_cost: own_cost(shape),
        files: files(index),
        script: (index == 0).then(|| FileRecord {
            step: StepId::BATCH,
            rank: None,
            generated: false,
            path: "/scratch/alice/job.sh".into(),
            size_bytes: Some(212),
            sha256: Some("ab".repeat(32)),
            note: None,
        }),
        gaps: gap
            .map(|(from, to)| Gap {
                from_ns: START_NS + i64::from(from) * S,
                to_ns: START_NS + i64::from(to) * S,
                reason: "daemon restarted".to_owned(),
            })
            .into_iter()
            .collect(),
        ..NodeRecord::default()
    }
}

/// Seconds with a reading at their end, and the interval that it covers.
fn readings(shape: &Shape, gap: Option<(u32, u32)>) -> impl Iterator<Item = (u32, i64)> {
    (1..=shape.elapsed_s)
        .filter(move |&second| gap.is_none_or(|(from, to)| second <= from || second > to))
        .map(move |second| {
            let first = second == 1 || gap.is_some_and(|(_, to)| second == to + 1);
            (second, if first { 0 } else { S })
        })
}

fn task_samples(shape: &Shape, rank: u32, gap: Option<(u32, u32)>) -> Vec<TaskSample> {
    let sample = |(second, interval_ns): (u32, i64)| {
        let cpu_s: f64 = (0..second).map(|second| (shape.busy)(rank, second)).sum();
        let read: u64 = (0..second)
            .map(|second| (shape.read_mib)(rank, second) * MIB)
            .sum();
        TaskSample {
            time_ns: START_NS + i64::from(second) * S,
            interval_ns,
            step: 0,
            rank,
            cpu_ns: (cpu_s * 1e9).round() as u64,
            rss_bytes: (shape.memory_mib)(rank, second - 1) * MIB,
            read_bytes: read / 2,
            write_bytes: read / 8,
            rchar_bytes: read,
            wchar_bytes: read / 4,
            threads: 2,
            processes: 1,
        }
    };
    readings(shape, gap).map(sample).collect()
}

fn node_samples(shape: &Shape, gap: Option<(u32, u32)>) -> Vec<NodeSample> {
    let all_cpus = u64::from(shape.cpus_per_node) * 2;
    let sample = |(second, interval_ns): (u32, i64)| {
        let s = u64::from(second);
        NodeSample {
            time_ns: START_NS + i64::from(second) * S,
            interval_ns,
            cpu_busy_ns: s * all_cpus / 2 * 1_000_000_000,
            cpu_total_ns: s * all_cpus * 1_000_000_000,
            memory_used_bytes: 8 * GIB + s * 16 * MIB,
            memory_total_bytes: 64 * GIB,
            net_rx_bytes: s * (3 + s % 5) * MIB,
            net_tx_bytes: s * MIB,
            energy_joules: shape
                .watts
                .map_or(f64::NAN, |watts| watts * f64::from(second)),
            power_watts: shape.watts.unwrap_or(f64::NAN),
        }
    };
    readings(shape, gap).map(sample).collect()
}

fn own_cost(shape: &Shape) -> Vec<OwnCost> {
    // 2 ms of CPU a second.
    let cost = |second: u32| OwnCost {
        time_ns: START_NS + i64::from(second) * S,
        cpu_ns: 70_000_000 + u64::from(second) * 2_000_000,
        rss_bytes: 12 * MIB,
    };
    (0..=shape.elapsed_s).map(cost).collect()
}

fn files(node_index: u32) -> Vec<FileRecord> {
    let file = |generated, path: &str, digest: &str| FileRecord {
        step: StepId(0),
        rank: Some(Rank(0)),
        generated,
        path: path.into(),
        size_bytes: Some(7 * MIB + 321),
        sha256: Some(digest.repeat(32)),
        note: None,
    };
    match node_index {
        0 => vec![
            file(false, "/scratch/alice/in.nc", "0a"),
            file(true, "/scratch/alice/out.nc", "0b"),
        ],
        _ => Vec::new(),
    }
}
