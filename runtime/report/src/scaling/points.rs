//! From runs to one figure a strategy and size: medians of epochs, means over runs, ratios with
//! the errors of both sides.

use std::collections::BTreeMap;

use super::energy::Energy;
use super::run::{Run, Times};
use super::schema::{Basis, Computation, EnergyFigure, Estimate, Phase, Point};
use super::statistics::{bootstrap_median, half_width_of_mean, mean, median};

const JOULES_PER_WH: f64 = 3600.0;

/// Runs of one strategy and size.
pub(super) struct Group<'r> {
    pub(super) strategy: String,
    pub(super) ranks: u32,
    pub(super) runs: Vec<&'r Run>,
    pub(super) time_s: Estimate,
}

/// What of the options the figures depend on.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) weak: bool,
    pub(super) samples: Option<f64>,
}

/// The time of one run: the median of the epochs that were kept.
pub(super) fn time_of(run: &Run) -> Option<f64> {
    median(run.kept()).filter(|time| time.is_finite() && *time > 0.0)
}

/// Groups by strategy and ranks, with the time of each.
pub(super) fn groups<'r>(runs: &[&'r Run], seed: u64) -> Vec<Group<'r>> {
    let mut by_size: BTreeMap<(&str, u32), Vec<&'r Run>> = BTreeMap::new();
    for run in runs {
        by_size
            .entry((&run.strategy, run.ranks))
            .or_default()
            .push(run);
    }
    let group = |((strategy, ranks), runs): ((&str, u32), Vec<&'r Run>)| {
        let time_s = time(&runs, seed)?;
        Some(Group {
            strategy: strategy.to_owned(),
            ranks,
            runs,
            time_s,
        })
    };
    by_size.into_iter().filter_map(group).collect()
}

fn time(runs: &[&Run], seed: u64) -> Option<Estimate> {
    let times: Vec<f64> = runs.iter().filter_map(|run| time_of(run)).collect();
    let only = match runs {
        [run] => bootstrap_median(run.kept(), seed),
        _ => None,
    };
    let mut estimate = of_replicates(&times)?;
    if let Some((low, high)) = only {
        estimate = Estimate {
            low: Some(low),
            high: Some(high),
            basis: Basis::WithinRun,
            ..estimate
        };
    }
    Some(estimate)
}

/// The mean over runs with Student's interval.
fn of_replicates(values: &[f64]) -> Option<Estimate> {
    let value = mean(values)?;
    Some(Estimate::around(value, half_width_of_mean(values)))
}

impl Estimate {
    /// With an interval of so much to either side, if there is one.
    pub(super) fn around(value: f64, half: Option<f64>) -> Self {
        Self {
            value,
            low: half.map(|half| value - half),
            high: half.map(|half| value + half),
            basis: if half.is_some() {
                Basis::Replicates
            } else {
                Basis::None
            },
        }
    }

    /// Half the width of its interval as a share of it.
    #[must_use]
    pub fn relative_error(&self) -> Option<f64> {
        let half = (self.high? - self.low?) / 2.0;
        (self.value != 0.0).then(|| (half / self.value).abs())
    }

    /// A figure times a known number.
    fn scaled(&self, factor: f64) -> Self {
        Self {
            value: self.value * factor,
            low: self.low.map(|low| low * factor),
            high: self.high.map(|high| high * factor),
            basis: self.basis,
        }
    }
}

/// `factor * above / below`, whose relative error is the root of the sum of both squares.
pub(super) fn ratio(above: &Estimate, below: &Estimate, factor: f64) -> Estimate {
    let value = factor * above.value / below.value;
    let error = above
        .relative_error()
        .zip(below.relative_error())
        .map(|(a, b)| a.hypot(b) * value.abs());
    let basis = match (above.basis, below.basis) {
        (Basis::None, _) | (_, Basis::None) => Basis::None,
        (Basis::WithinRun, _) | (_, Basis::WithinRun) => Basis::WithinRun,
        (basis, _) => basis,
    };
    Estimate {
        value,
        low: error.map(|error| value - error),
        high: error.map(|error| value + error),
        basis,
    }
}

/// The figures of a group; `baseline` is the group of the same strategy at the common size.
pub(super) fn point(group: &Group<'_>, baseline: Option<&Group<'_>>, setting: Setting) -> Point {
    let runs = &group.runs;
    let speedup = baseline.map(|base| {
        if base.ranks == group.ranks {
            exactly_one()
        } else {
            ratio(&base.time_s, &group.time_s, 1.0)
        }
    });
    let efficiency = speedup.zip(baseline).map(|(speedup, base)| {
        if setting.weak {
            speedup
        } else {
            speedup.scaled(f64::from(base.ranks) / f64::from(group.ranks))
        }
    });
    let measured = runs
        .iter()
        .map(|run| run.samples)
        .collect::<Option<Vec<f64>>>();
    let told = setting.samples.map(|samples| {
        samples
            * if setting.weak {
                f64::from(group.ranks)
            } else {
                1.0
            }
    });
    let samples = measured.and_then(|samples| mean(&samples)).or(told);
    let throughput = samples.map(|samples| inverse(&group.time_s, samples));
    let gpu_energy = energy(runs, |run| run.gpu_energy.as_ref());
    let node_energy = energy(runs, |run| run.node_energy.as_ref());
    let elapsed_h =
        mean(&runs.iter().map(|run| run.elapsed_s).collect::<Vec<_>>()).unwrap_or(0.0) / 3600.0;
    let gpus = same(runs, |run| run.gpus).filter(|&gpus| gpus > 0);
    let gpu_utilization = mean_of_all(runs, |run| run.gpu_utilization);
    let gpu_hours = gpus.map(|gpus| f64::from(gpus) * elapsed_h);
    let energy_of_epoch = gpu_energy
        .as_ref()
        .or(node_energy.as_ref())
        .map(|figure| figure.epoch_wh.as_ref().unwrap_or(&figure.total_wh).value);
    Point {
        strategy: group.strategy.clone(),
        ranks: group.ranks,
        nodes: same(runs, |run| run.nodes),
        gpus,
        run_count: runs.len(),
        epoch_count: runs.iter().map(|run| run.kept().len()).sum(),
        warm_up_count: runs.iter().map(|run| warm_up_count(run)).sum(),
        epoch_time_s: group.time_s,
        speedup,
        efficiency,
        throughput,
        computation: computation(runs),
        phases: phases(runs),
        gpu_energy,
        node_energy,
        gpu_utilization,
        cpus_busy_per_rank: mean_of_all(runs, |run| run.cpus_busy_per_rank),
        gpu_hours,
        gpu_hours_busy: gpu_hours
            .zip(gpu_utilization)
            .map(|(hours, busy)| hours * busy),
        rank_hours: f64::from(group.ranks) * elapsed_h,
        wh_per_sample: energy_of_epoch
            .zip(samples)
            .filter(|pair| pair.1 > 0.0)
            .map(|(wh, samples)| wh / samples),
    }
}

/// Epochs of a run that were dropped.
pub(super) fn warm_up_count(run: &Run) -> usize {
    match &run.times {
        Times::Epochs(_, trim) => trim.dropped,
        Times::Whole(_) => 0,
    }
}

fn exactly_one() -> Estimate {
    Estimate {
        value: 1.0,
        low: Some(1.0),
        high: Some(1.0),
        basis: Basis::Baseline,
    }
}

fn inverse(time: &Estimate, samples: f64) -> Estimate {
    let one = exactly_one();
    Estimate {
        basis: time.basis,
        ..ratio(&one, time, samples)
    }
}

/// What all runs agree on.
fn same<T: PartialEq + Copy>(runs: &[&Run], of: impl Fn(&Run) -> Option<T>) -> Option<T> {
    let first = of(runs.first()?)?;
    runs.iter()
        .all(|run| of(run) == Some(first))
        .then_some(first)
}

/// The mean, if every run has the figure: a mean of some would belong to other runs.
fn mean_of_all(runs: &[&Run], of: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
    mean(&runs.iter().map(|run| of(run)).collect::<Option<Vec<_>>>()?)
}

fn computation(runs: &[&Run]) -> Option<Computation> {
    let all: Vec<&Computation> = runs
        .iter()
        .map(|run| run.computation.as_ref())
        .collect::<Option<_>>()?;
    let first = *all.first()?;
    let of = |value: fn(&Computation) -> Option<f64>| {
        mean(&all.iter().map(|c| value(c)).collect::<Option<Vec<_>>>()?)
    };
    let ends = |value: fn(&Computation) -> f64, better: fn(f64, f64) -> f64| {
        all.iter()
            .map(|c| value(c))
            .reduce(better)
            .unwrap_or(f64::NAN)
    };
    Some(Computation {
        compute: of(|c| Some(c.compute))?,
        compute_min: ends(|c| c.compute_min, f64::min),
        compute_max: ends(|c| c.compute_max, f64::max),
        communication: of(|c| c.communication),
        exposed: of(|c| c.exposed),
        overlap: of(|c| c.overlap),
        io: of(|c| c.io),
        idle: of(|c| c.idle),
        method: first.method.clone(),
    })
}

fn phases(runs: &[&Run]) -> Vec<Phase> {
    let mut by_name: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for phase in runs.iter().flat_map(|run| &run.phases) {
        by_name.entry(&phase.name).or_default().push(phase.seconds);
    }
    let of_all = by_name
        .into_iter()
        .filter(|(_, seconds)| seconds.len() == runs.len());
    of_all
        .filter_map(|(name, seconds)| {
            Some(Phase {
                name: name.to_owned(),
                seconds: mean(&seconds)?,
            })
        })
        .collect()
}

/// The mean energy of the runs; `None` unless all have one.
fn energy<'r>(
    runs: &[&'r Run],
    of: impl Fn(&'r Run) -> Option<&'r Energy>,
) -> Option<EnergyFigure> {
    let all: Vec<(&Run, &Energy)> = runs
        .iter()
        .map(|run| Some((*run, of(run)?)))
        .collect::<Option<_>>()?;
    let wh = |joules: f64| joules / JOULES_PER_WH;
    let totals: Vec<f64> = all.iter().map(|(_, energy)| wh(energy.joules)).collect();
    let epochs: Option<Vec<f64>> = all
        .iter()
        .map(|(run, energy)| {
            let count = run.kept().len();
            (count > 0).then_some(wh(energy.kept_joules?) / count as f64)
        })
        .collect();
    let warm_up: Option<Vec<f64>> = all
        .iter()
        .map(|(_, energy)| energy.warm_up_joules.map(wh))
        .collect();
    let largest = |value: fn(&Energy) -> f64| all.iter().map(|(_, e)| value(e)).fold(0.0, f64::max);
    Some(EnergyFigure {
        total_wh: of_replicates(&totals)?,
        bound_wh: wh(largest(|energy| energy.bound_joules)),
        warm_up_wh: warm_up.and_then(|warm_up| mean(&warm_up)),
        epoch_wh: epochs.and_then(|epochs| of_replicates(&epochs)),
        unobserved_s: largest(|energy| energy.unobserved_s),
        method: all.first()?.1.method(),
    })
}
