//! One run of a program at one size: what every source of runs is brought to.
//!
//! [`super::record`] and [`super::mlflow`] make these; [`super::analyse`] reads them. Nothing of
//! where it came from is left but names.

use super::energy::Energy;
use super::schema::{Computation, Phase};
use super::trim::{Trim, warm_up};

/// What of a run's time was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Times {
    /// Wall time of each epoch, of its slowest rank, in order, and what of them is warm-up.
    Epochs(Vec<f64>, Trim),
    /// Nothing marks epochs: the whole time is one observation.
    Whole(f64),
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Where it is from, for people: `job 1234 step 0`, `MLflow run big`.
    pub source: String,
    /// What it is compared under: the strategy, or the job's name.
    pub strategy: String,
    /// Its ranks: the N of everything.
    pub ranks: u32,
    /// Nodes it ran on, if known.
    pub nodes: Option<u32>,
    /// GPUs it had; `None` if not known.
    pub gpus: Option<u32>,
    /// Its times.
    pub times: Times,
    /// From its start to its end.
    pub elapsed_s: f64,
    /// Samples that all ranks together worked on in an epoch (or in the whole run).
    pub samples: Option<f64>,
    /// Parts of an epoch.
    pub phases: Vec<Phase>,
    /// How ranks spent their time.
    pub computation: Option<Computation>,
    /// Energy of its GPUs.
    pub gpu_energy: Option<Energy>,
    /// Energy of its nodes.
    pub node_energy: Option<Energy>,
    /// Mean share of the time in which its GPUs were busy.
    pub gpu_utilization: Option<f64>,
    /// CPUs that a rank kept busy on average.
    pub cpus_busy_per_rank: Option<f64>,
    /// Seconds without readings, added over nodes.
    pub gap_s: f64,
    /// CPU seconds that measuring cost on all its nodes meanwhile.
    pub own_cpu_s: Option<f64>,
    /// Those as a share of one CPU, the mean over nodes.
    pub own_cpu_share: Option<f64>,
    /// Checks that failed: such a run is told, and not compared.
    pub failures: Vec<String>,
    /// What else a reader should know.
    pub notes: Vec<String>,
}

impl Run {
    /// Takes the times of its epochs; returns how many of them are warm-up. Says so if none is
    /// left, or if they never became steady.
    pub(super) fn take_epochs(&mut self, times: Vec<f64>) -> usize {
        let trim = warm_up(&times);
        let dropped = trim.dropped;
        if times.len() <= dropped {
            self.failures.push(format!(
                "it has {} epoch{}, of which none is left after warm-up: run at least five",
                times.len(),
                if times.len() == 1 { "" } else { "s" }
            ));
        } else if !trim.steady {
            self.notes
                .push("epochs did not become steady: only the first was dropped".to_owned());
        }
        self.times = Times::Epochs(times, trim);
        dropped
    }

    /// A run of which only its name and size are known.
    #[must_use]
    pub fn new(source: String, strategy: String, ranks: u32) -> Self {
        Self {
            source,
            strategy,
            ranks,
            nodes: None,
            gpus: None,
            times: Times::Whole(0.0),
            elapsed_s: 0.0,
            samples: None,
            phases: Vec::new(),
            computation: None,
            gpu_energy: None,
            node_energy: None,
            gpu_utilization: None,
            cpus_busy_per_rank: None,
            gap_s: 0.0,
            own_cpu_s: None,
            own_cpu_share: None,
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The times that count: without warm-up.
    #[must_use]
    pub fn kept(&self) -> &[f64] {
        match &self.times {
            Times::Epochs(epochs, trim) => epochs.get(trim.dropped..).unwrap_or(&[]),
            Times::Whole(time) => std::slice::from_ref(time),
        }
    }
}
