//! The scalability report as data: the JSON of `mizar report --scaling --json`, and all that its
//! text, tables, drawings and page show.
//!
//! `schema` is `mizar-scaling/1`; fields may be added under that name, never changed or taken
//! away. Durations are seconds, energies watt-hours, shares fractions of 1; `null` means "not
//! measured" or "cannot be told".

use serde::Serialize;

use super::fit::Fit;

/// The name of this layout.
pub const SCHEMA: &str = "mizar-scaling/1";

/// A whole report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scaling {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Release of Mizar that made it.
    pub mizar: &'static str,
    /// Ranks that everything is compared with, the same for all strategies.
    pub baseline_ranks: Option<u32>,
    /// Did the work grow with the ranks?
    pub weak: bool,
    /// How sure intervals are.
    pub confidence: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// The efficiency that advice aims at.
    pub target_efficiency: f64,
    /// Figures by strategy, then by ranks.
    pub points: Vec<Point>,
    /// Laws and advice, one a strategy.
    pub strategies: Vec<Strategy>,
    /// Runs that were compared.
    pub runs: Vec<RunSummary>,
    /// Runs that were not, and why.
    pub excluded: Vec<Excluded>,
    /// What else a reader should know.
    pub notes: Vec<String>,
}

/// Where an interval is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Independent runs at this size, by Student's t.
    Replicates,
    /// The epochs of one run, by block bootstrap: it knows nothing of other runs.
    WithinRun,
    /// Nothing tells.
    None,
    /// It is the measure of the others.
    Baseline,
}

/// A figure with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The interval's lower end.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// Where the interval is from.
    pub basis: Basis,
}

/// All runs of a strategy at one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The strategy.
    pub strategy: String,
    /// Ranks.
    pub ranks: u32,
    /// Nodes, if known and the same for all runs.
    pub nodes: Option<u32>,
    /// GPUs, likewise.
    pub gpus: Option<u32>,
    /// Runs.
    pub run_count: usize,
    /// Epochs kept, over all runs.
    pub epoch_count: usize,
    /// Epochs dropped as warm-up, over all runs.
    pub warm_up_count: usize,
    /// Seconds an epoch, or a whole run where nothing marks epochs.
    pub epoch_time_s: Estimate,
    /// Baseline's time / this time.
    pub speedup: Option<Estimate>,
    /// Speedup / (ranks / baseline's ranks); of weak scaling, baseline's time / this time.
    pub efficiency: Option<Estimate>,
    /// Samples a second.
    pub throughput: Option<Estimate>,
    /// How ranks spent their time.
    pub computation: Option<Computation>,
    /// Parts of an epoch.
    pub phases: Vec<Phase>,
    /// Energy of the GPUs of a run.
    pub gpu_energy: Option<EnergyFigure>,
    /// Energy of the nodes of a run, other jobs' share included.
    pub node_energy: Option<EnergyFigure>,
    /// Mean share of the time in which GPUs were busy.
    pub gpu_utilization: Option<f64>,
    /// CPUs that a rank kept busy.
    pub cpus_busy_per_rank: Option<f64>,
    /// GPUs × elapsed hours of a run.
    pub gpu_hours: Option<f64>,
    /// Those in which they were busy.
    pub gpu_hours_busy: Option<f64>,
    /// Ranks × elapsed hours of a run.
    pub rank_hours: f64,
    /// Energy (of the GPUs, else of the nodes) / samples.
    pub wh_per_sample: Option<f64>,
}

/// How ranks spent the kept time: means over ranks, of unions of intervals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Computation {
    /// Computing / wall time.
    pub compute: f64,
    /// The rank with the least.
    pub compute_min: f64,
    /// The rank with the most.
    pub compute_max: f64,
    /// Communicating / wall time; waiting for peers is in it.
    pub communication: Option<f64>,
    /// Communicating while nothing was computed / wall time.
    pub exposed: Option<f64>,
    /// Share of communication that computing hid.
    pub overlap: Option<f64>,
    /// Waiting for files / wall time.
    pub io: Option<f64>,
    /// None of these / wall time.
    pub idle: Option<f64>,
    /// How it was measured.
    pub method: String,
}

/// A part of an epoch, by its mark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// The mark's name.
    pub name: String,
    /// Seconds of it in a kept epoch, on the slowest rank, the median.
    pub seconds: f64,
}

/// Energy of a run: the mean over runs, never their sum.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EnergyFigure {
    /// From its start to its end.
    pub total_wh: Estimate,
    /// By how much a run's figure can be wrong.
    pub bound_wh: f64,
    /// What warm-up took of it.
    pub warm_up_wh: Option<f64>,
    /// What an epoch took once warm.
    pub epoch_wh: Option<Estimate>,
    /// The longest time in a run that was not observed.
    pub unobserved_s: f64,
    /// How it was measured.
    pub method: String,
}

/// What the sizes of a strategy say together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Strategy {
    /// Its name.
    pub name: String,
    /// Laws that could be fitted.
    pub fits: Vec<Fit>,
    /// Why others could not.
    pub unfitted: Vec<String>,
    /// What to use or measure next.
    pub advice: Next,
}

/// What to use or measure next.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Next {
    /// The most ranks that surely keep the target efficiency.
    pub ranks: Option<u32>,
    /// Were those measured, or does a law say so?
    pub measured: bool,
    /// Sizes that should be measured (again) before more is said.
    pub measure: Vec<u32>,
    /// The measured size with the least energy an epoch (or a run).
    pub energy_ranks: Option<u32>,
    /// The fewest ranks that surely keep the deadline.
    pub deadline_ranks: Option<u32>,
    /// All of this in sentences.
    pub text: Vec<String>,
}

/// A run that was compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    /// Where it is from.
    pub source: String,
    /// Its strategy.
    pub strategy: String,
    /// Its ranks.
    pub ranks: u32,
    /// `epochs`, or `whole run` where nothing marks them.
    pub observed: &'static str,
    /// Times that were kept, in order.
    pub kept_s: Vec<f64>,
    /// Epochs dropped as warm-up.
    pub warm_up_count: usize,
    /// Did epochs become steady?
    pub steady: bool,
    /// The median of what was kept.
    pub time_s: f64,
    /// From its start to its end.
    pub elapsed_s: f64,
    /// Seconds without readings.
    pub gap_s: f64,
    /// CPU seconds that measuring cost.
    pub own_cpu_s: Option<f64>,
    /// Those as a share of one CPU, the mean over nodes.
    pub own_cpu_share: Option<f64>,
    /// What else a reader should know.
    pub notes: Vec<String>,
}

/// A run that was not compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Excluded {
    /// Where it is from.
    pub source: String,
    /// Its strategy.
    pub strategy: String,
    /// Its ranks.
    pub ranks: u32,
    /// The checks that failed.
    pub reasons: Vec<String>,
}
