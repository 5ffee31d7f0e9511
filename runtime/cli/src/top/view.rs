//! What `mizar top` found: jobs by node, ranks on them. Also its JSON.

use mizar_api::{LiveCall, LiveGpu, LiveSplit};
use mizar_core::ids::JobId;
use serde::Serialize;

/// The name of the JSON's layout; fields may be added under it.
pub(super) const SCHEMA: &str = "mizar-top/1";

/// All that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct View {
    pub(super) schema: &'static str,
    /// When, Unix seconds.
    pub(super) time_s: f64,
    /// Jobs on nodes, by job and node.
    pub(super) nodes: Vec<Node>,
    /// Did the daemon answer, or could the record folder be read?
    #[serde(skip)]
    pub(super) reached: bool,
    /// One line a place, for people.
    #[serde(skip)]
    pub(super) looked: Vec<String>,
}

impl View {
    pub(super) fn rank_count(&self) -> usize {
        self.nodes.iter().map(|node| node.ranks.len()).sum()
    }
}

/// A job on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Node {
    pub(super) job: JobId,
    pub(super) user: String,
    pub(super) name: String,
    pub(super) node: String,
    pub(super) elapsed_s: f64,
    /// CPUs of the job here.
    pub(super) cpus: Option<u32>,
    /// Memory limit of the job here.
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) gpus: Vec<LiveGpu>,
    /// What is said of ranks that hang.
    pub(super) hang: Option<String>,
    /// Who told: `mizard` or `record`.
    pub(super) source: &'static str,
    /// How old the readings are, if they are from a record.
    pub(super) age_s: Option<f64>,
    pub(super) ranks: Vec<Rank>,
}

/// A running rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Rank {
    pub(super) step: String,
    pub(super) rank: u32,
    pub(super) pid: i32,
    pub(super) cpus_busy: Option<f64>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) io_bytes_per_s: Option<f64>,
    pub(super) threads: Option<u32>,
    /// Numbers of the GPUs that it uses, in [`Node::gpus`].
    pub(super) gpus: Vec<u32>,
    pub(super) split: Option<LiveSplit>,
    pub(super) call: Option<LiveCall>,
}

impl Rank {
    /// The mean share in which its GPUs were busy.
    pub(super) fn gpu_busy(&self, node: &Node) -> Option<f64> {
        let own = node.gpus.iter().filter(|gpu| self.gpus.contains(&gpu.gpu));
        let busy: Vec<f64> = own.filter_map(|gpu| gpu.busy).collect();
        (!busy.is_empty()).then(|| busy.iter().sum::<f64>() / busy.len() as f64)
    }
}
