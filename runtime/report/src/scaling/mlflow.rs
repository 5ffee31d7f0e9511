//! Runs from an MLflow file store as itwinai leaves it (`mlruns/`, `mllogs/mlflow`).
//!
//! A run of training is a parent with a child a worker, told by the tag `mlflow.parentRunId`
//! (above it there may be a tune run); or one run that has epoch times itself. This module and
//! [`store`](super::store) alone read files in this crate.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use mizar_core::energy::Rules;

use super::energy::{self, Reading};
use super::profile;
use super::run::Run;
use super::store::{self, Metric, Status, StoreError, Stored};

/// The metric of the main worker that has the epochs.
const EPOCH_TIME: &str = "epoch_time_s";
const GPU_POWER: &str = "gpu_power_W";
const GPU_UTILIZATION: &str = "gpu_utilization_percent";
/// What all ranks must agree on.
const GLOBAL_LOSS: &str = "global_validation_loss_epoch";
/// Ranks that print the same loss differ by rounding alone.
const LOSS_TOLERANCE: f64 = 1e-6;

/// Is there a store, an experiment or a run of MLflow at this path?
#[must_use]
pub fn is_store(path: &Path) -> bool {
    store::is_store(path)
}

/// The runs of training in a store, an experiment or a run folder, under `strategy` or what
/// their parameters say.
///
/// # Errors
/// [`StoreError`] if the store cannot be read, or holds no run with epoch times.
pub fn runs(path: &Path, strategy: Option<&str>) -> Result<Vec<Run>, StoreError> {
    let stored = store::read(path)?;
    let mut children: HashMap<&str, Vec<&Stored>> = HashMap::new();
    for run in &stored {
        if let Some(parent) = &run.parent {
            children.entry(parent).or_default().push(run);
        }
    }
    let mut runs = Vec::new();
    for run in &stored {
        let workers = children.get(&run.id[..]).map_or(&[][..], Vec::as_slice);
        let trained = |run: &Stored| run.has_metric(EPOCH_TIME);
        let is_worker = run.param("global_rank").is_some() && run.parent.is_some();
        let of_its_workers = workers.iter().any(|worker| {
            trained(worker) && worker.param("global_rank").is_some()
                || worker.name.starts_with("worker_")
        });
        if of_its_workers || trained(run) && !is_worker {
            let mut members: Vec<&Stored> = workers.to_vec();
            members.push(run);
            runs.push(training(run, &members, strategy)?);
        }
    }
    if runs.is_empty() {
        return Err(StoreError::Nothing {
            path: path.to_owned(),
            run_count: stored.len(),
        });
    }
    Ok(runs)
}

fn training(
    parent: &Stored,
    members: &[&Stored],
    strategy: Option<&str>,
) -> Result<Run, StoreError> {
    let param = |name: &str| members.iter().find_map(|member| member.param(name));
    let size: Option<u32> = param("global_world_size").and_then(|size| size.parse().ok());
    let named = strategy.or(param("strategy")).unwrap_or("(no strategy)");
    let title = if parent.name.is_empty() {
        &parent.id
    } else {
        &parent.name
    };
    let mut run = Run::new(
        format!("MLflow run {title}"),
        named.to_owned(),
        size.unwrap_or(0),
    );
    if size.is_none_or(|size| size == 0) {
        run.failures.push(
            "it has no parameter global_world_size: the number of ranks is not known".to_owned(),
        );
    }
    for member in members {
        let what = if member.id == parent.id {
            "it"
        } else {
            &member.name[..]
        };
        match member.status {
            Status::Failed => run.failures.push(format!("{what} failed")),
            Status::Running => run.notes.push(format!("{what} is not ended in the store")),
            Status::Finished => {}
        }
    }
    let workers: Vec<&Stored> = members
        .iter()
        .copied()
        .filter(|m| m.param("global_rank").is_some())
        .collect();
    if let Some(size) = size.filter(|&size| !workers.is_empty() && workers.len() < size as usize) {
        run.notes.push(format!(
            "{} of {size} workers are in the store",
            workers.len()
        ));
    }
    let epochs = epochs(members, &mut run)?;
    let window = take_epochs(&epochs, &mut run);
    let begin_s = epochs.first().map(|epoch| epoch.end_s - epoch.seconds);
    let whole_s = parent
        .start_s
        .or(begin_s)
        .zip(parent.end_s.or(epochs.last().map(|epoch| epoch.end_s)));
    if let Some((from_s, to_s)) = whole_s {
        run.elapsed_s = (to_s - from_s).max(0.0);
        gpus(&workers, size, (from_s, to_s), window, &mut run)?;
    }
    check_losses(&workers, &mut run)?;
    let artifacts: Vec<&Path> = members.iter().map(|member| &*member.folder).collect();
    run.computation = profile::computation(&artifacts)?;
    Ok(run)
}

/// An epoch: what was logged at its end.
struct Epoch {
    end_s: f64,
    seconds: f64,
}

fn epochs(members: &[&Stored], run: &mut Run) -> Result<Vec<Epoch>, StoreError> {
    let mut by_step: BTreeMap<i64, Epoch> = BTreeMap::new();
    let mut repeated = 0;
    for member in members {
        let mut own: BTreeMap<i64, Epoch> = BTreeMap::new();
        for Metric {
            time_s,
            value,
            step,
        } in member.metric(EPOCH_TIME)?
        {
            if value.is_finite() && value > 0.0 {
                let epoch = Epoch {
                    end_s: time_s,
                    seconds: value,
                };
                repeated += usize::from(own.insert(step, epoch).is_some());
            }
        }
        // Where several workers tell, the slowest one's time is the epoch's.
        for (step, epoch) in own {
            match by_step.get(&step) {
                Some(known) if known.seconds >= epoch.seconds => {}
                _ => drop(by_step.insert(step, epoch)),
            }
        }
    }
    if repeated > 0 {
        run.notes.push(format!(
            "{repeated} epochs were logged more than once: the last counts"
        ));
    }
    Ok(by_step.into_values().collect())
}

/// Takes the times; returns when the kept epochs were.
fn take_epochs(epochs: &[Epoch], run: &mut Run) -> Option<(f64, f64)> {
    let times: Vec<f64> = epochs.iter().map(|epoch| epoch.seconds).collect();
    let dropped = run.take_epochs(times);
    let first = epochs.get(dropped)?;
    Some((first.end_s - first.seconds, epochs.last()?.end_s))
}

/// Energy and use of the GPUs, one a worker.
fn gpus(
    workers: &[&Stored],
    size: Option<u32>,
    whole_s: (f64, f64),
    kept_s: Option<(f64, f64)>,
    run: &mut Run,
) -> Result<(), StoreError> {
    let mut devices = Vec::new();
    let (mut busy_s, mut seen_s) = (0.0, 0.0);
    for worker in workers {
        let power = worker.metric(GPU_POWER)?;
        if !power.is_empty() {
            devices.push(power.iter().map(reading_of_power).collect::<Vec<_>>());
        }
        let mut use_percent = worker.metric(GPU_UTILIZATION)?;
        use_percent.sort_by(|a, b| a.time_s.total_cmp(&b.time_s));
        let window = kept_s.unwrap_or(whole_s);
        for pair in use_percent.windows(2) {
            let length_s = pair[1].time_s.min(window.1) - pair[0].time_s.max(window.0);
            if length_s > 0.0 && pair[1].value.is_finite() {
                busy_s += pair[1].value / 100.0 * length_s;
                seen_s += length_s;
            }
        }
    }
    run.gpu_utilization = (seen_s > 0.0).then(|| busy_s / seen_s);
    if devices.is_empty() {
        return Ok(());
    }
    run.gpus = size;
    match size {
        Some(size) if devices.len() < size as usize => run.notes.push(format!(
            "power was logged by {} of {size} workers: no sum is told",
            devices.len()
        )),
        _ => {
            let rules = Rules::of_device(energy::REFRESH_S, 0);
            run.gpu_energy = energy::of_run(&devices, whole_s, kept_s, rules);
        }
    }
    Ok(())
}

fn reading_of_power(metric: &Metric) -> Reading {
    Reading {
        time_s: metric.time_s,
        joules: None,
        watts: metric.value.is_finite().then_some(metric.value),
    }
}

/// After a reduction over all ranks they must all know the same loss.
fn check_losses(workers: &[&Stored], run: &mut Run) -> Result<(), StoreError> {
    let mut ends: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for worker in workers {
        for metric in worker.metric(GLOBAL_LOSS)? {
            let ends = ends
                .entry(metric.step)
                .or_insert((metric.value, metric.value));
            *ends = (ends.0.min(metric.value), ends.1.max(metric.value));
        }
    }
    let differs = |(low, high): (f64, f64)| high - low > LOSS_TOLERANCE * high.abs().max(low.abs());
    if let Some((step, (low, high))) = ends.into_iter().find(|(_, ends)| differs(*ends)) {
        run.failures.push(format!(
            "its ranks disagree on {GLOBAL_LOSS} at step {step} ({low} and {high}): they trained \
             different models"
        ));
    }
    Ok(())
}
