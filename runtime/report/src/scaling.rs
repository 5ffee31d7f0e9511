//! Scalability reports: what many runs of one program say together.
//!
//! [`record`] and [`mlflow`] bring jobs' records and itwinai's MLflow stores to [`run::Run`]s;
//! [`analyse`] compares them; [`text`], [`tables`], [`drawing`] and [`page`] show the outcome.
//! Called by `mizar report --scaling`. Everything but the two readers of a store is pure. Left
//! out: which runs belong together, which the caller says.
//!
//! Rules: warm-up is dropped and counted; the time of a run is the median of its epochs, that of
//! a size the mean over runs; one baseline for all strategies; every figure has an interval or
//! says that it has none; a run whose checks fail is told and not compared.

pub mod drawing;
pub mod energy;
pub mod fit;
mod least_squares;
mod marks;
pub mod mlflow;
mod next;
pub mod page;
mod points;
mod profile;
pub mod record;
pub mod run;
pub mod schema;
pub mod statistics;
mod store;
pub mod synthetic;
pub mod tables;
pub mod text;
pub mod trim;
mod usage;
pub mod words;

use std::collections::BTreeSet;

use fit::Law;
use points::{Group, Setting};
use run::{Run, Times};
use schema::{Excluded, Point, RunSummary, SCHEMA, Scaling, Strategy};

pub use store::StoreError;

/// What the reader asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Did the work grow with the ranks?
    pub weak: bool,
    /// Ranks to compare with; else the smallest that all strategies have.
    pub baseline: Option<u32>,
    /// The efficiency that is still good enough.
    pub target_efficiency: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Samples in an epoch (of each rank, if the work grows), where runs do not tell.
    pub samples: Option<f64>,
    /// Ranks on a full node, where runs do not tell.
    pub ranks_per_node: Option<u32>,
    /// Seconds in which the work must be done.
    pub deadline_s: Option<f64>,
    /// Epochs of that work.
    pub epochs: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            weak: false,
            baseline: None,
            target_efficiency: 0.70,
            seed: 1,
            samples: None,
            ranks_per_node: None,
            deadline_s: None,
            epochs: 1.0,
        }
    }
}

/// Compares runs.
#[must_use]
pub fn analyse(runs: &[Run], options: &Options) -> Scaling {
    let is_sound = |run: &&Run| run.failures.is_empty() && points::time_of(run).is_some();
    let (sound, failed): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(is_sound);
    let groups = points::groups(&sound, options.seed);
    let mut notes = Vec::new();
    let baseline_ranks = baseline(&groups, options, &mut notes);
    let setting = Setting {
        weak: options.weak,
        samples: options.samples,
    };
    let base_of = |group: &Group<'_>| {
        groups
            .iter()
            .find(|base| base.strategy == group.strategy && Some(base.ranks) == baseline_ranks)
    };
    let points: Vec<Point> = groups
        .iter()
        .map(|group| points::point(group, base_of(group), setting))
        .collect();
    if sound.iter().any(|run| matches!(run.times, Times::Whole(_)))
        && sound
            .iter()
            .any(|run| matches!(run.times, Times::Epochs(..)))
    {
        notes.push(
            "some runs have epochs and others only their whole time: do not compare these"
                .to_owned(),
        );
    }
    Scaling {
        schema: SCHEMA,
        mizar: mizar_core::VERSION,
        baseline_ranks,
        weak: options.weak,
        confidence: statistics::CONFIDENCE,
        seed: options.seed,
        target_efficiency: options.target_efficiency,
        strategies: strategies(&points, &sound, options),
        points,
        runs: sound.iter().map(|run| summary(run)).collect(),
        excluded: failed.iter().map(|run| excluded(run)).collect(),
        notes,
    }
}

/// The ranks that all strategies are compared at.
fn baseline(groups: &[Group<'_>], options: &Options, notes: &mut Vec<String>) -> Option<u32> {
    let names: BTreeSet<&str> = groups.iter().map(|group| &group.strategy[..]).collect();
    let has = |name: &str, ranks: u32| {
        groups
            .iter()
            .any(|group| group.strategy == name && group.ranks == ranks)
    };
    let sizes: BTreeSet<u32> = groups.iter().map(|group| group.ranks).collect();
    let common = sizes
        .iter()
        .copied()
        .find(|&n| names.iter().all(|name| has(name, n)));
    let ranks = options.baseline.or(common).or(sizes.first().copied())?;
    let without: Vec<&str> = names.into_iter().filter(|name| !has(name, ranks)).collect();
    if !without.is_empty() {
        notes.push(format!(
            "{} not measured at the baseline of {}: no speedup or efficiency is told of it; run \
             it there, or choose another with --baseline",
            listed(&without),
            words::ranks(ranks)
        ));
    }
    Some(ranks)
}

fn listed(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "was" } else { "were" };
    format!("{} {verb}", names.join(", "))
}

fn strategies(points: &[Point], runs: &[&Run], options: &Options) -> Vec<Strategy> {
    let names: BTreeSet<&str> = points.iter().map(|point| &point.strategy[..]).collect();
    let strategy = |name: &str| {
        let of_name: Vec<&Run> = runs
            .iter()
            .copied()
            .filter(|run| run.strategy == name)
            .collect();
        let observations: Vec<(f64, f64)> = of_name
            .iter()
            .filter_map(|run| Some((f64::from(run.ranks), points::time_of(run)?)))
            .collect();
        let fits: Vec<fit::Fit> = [Law::Amdahl, Law::Usl]
            .into_iter()
            .filter_map(|law| fit::fit(law, options.weak, &observations))
            .collect();
        let own: Vec<&Point> = points
            .iter()
            .filter(|point| point.strategy == name)
            .collect();
        Strategy {
            name: name.to_owned(),
            unfitted: unfitted(&fits, own.len(), options.weak),
            advice: next::advise(&own, &fits, &of_name, options),
            fits,
        }
    };
    names.into_iter().map(strategy).collect()
}

fn unfitted(fits: &[fit::Fit], size_count: usize, weak: bool) -> Vec<String> {
    let missing = |law: Law| !fits.iter().any(|fit| fit.law == law);
    let mut why = Vec::new();
    let mut tell = |law: &str, needed: usize| {
        why.push(if size_count < needed {
            format!("{law} needs {needed} sizes, {size_count} measured")
        } else {
            format!("{law} does not describe these times")
        });
    };
    if missing(Law::Amdahl) && !weak {
        tell("Amdahl's law", fit::MIN_AMDAHL_SIZES);
    }
    if missing(Law::Usl) {
        tell("the universal scalability law", fit::MIN_USL_SIZES);
    }
    if weak {
        why.push("Amdahl's law says nothing of work that grows with the ranks".to_owned());
    }
    why
}

fn summary(run: &Run) -> RunSummary {
    let (observed, steady) = match &run.times {
        Times::Epochs(_, trim) => ("epochs", trim.steady),
        Times::Whole(_) => ("whole run", false),
    };
    RunSummary {
        source: run.source.clone(),
        strategy: run.strategy.clone(),
        ranks: run.ranks,
        observed,
        kept_s: run.kept().to_vec(),
        warm_up_count: points::warm_up_count(run),
        steady,
        time_s: points::time_of(run).unwrap_or(f64::NAN),
        elapsed_s: run.elapsed_s,
        gap_s: run.gap_s,
        own_cpu_s: run.own_cpu_s,
        own_cpu_share: run.own_cpu_share,
        notes: run.notes.clone(),
    }
}

fn excluded(run: &Run) -> Excluded {
    let mut reasons = run.failures.clone();
    if reasons.is_empty() {
        reasons.push("it has no time that could be compared".to_owned());
    }
    Excluded {
        source: run.source.clone(),
        strategy: run.strategy.clone(),
        ranks: run.ranks,
        reasons,
    }
}
