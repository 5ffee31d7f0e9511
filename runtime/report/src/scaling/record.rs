//! Runs from a job's record: each step that ran the program is one.
//!
//! Epochs are the sections that the program marked `epoch`; other marks are parts of an epoch;
//! figures named `samples` count what an epoch worked on, and one named `ranks_diverged` that is
//! not 0 tells that ranks no longer hold the same model. Without marks the step's whole time is
//! its one observation.

use std::collections::{BTreeMap, BTreeSet};

use mizar_core::energy::Rules;
use mizar_core::ids::StepId;
use mizar_record::model::{
    JobRecord, MARK_BEGIN, MARK_END, MARK_FIGURE, MarkSample, NodeRecord, StepInfo,
};

use super::marks::{Marks, Section};
use super::run::{Run, Times};
use super::schema::Phase;
use super::statistics::median;
use super::{energy, usage};

/// The section that is an epoch.
pub const EPOCH: &str = "epoch";
/// The figure that counts samples.
pub const SAMPLES: &str = "samples";
/// The figure that tells of ranks with different models.
pub const DIVERGED: &str = "ranks_diverged";
/// More kinds of parts are not told.
const MAX_PHASES: usize = 16;

/// A step on all its nodes.
pub(super) struct Step<'r> {
    pub(super) record: &'r JobRecord,
    pub(super) info: &'r StepInfo,
    pub(super) nodes: Vec<&'r NodeRecord>,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    running: bool,
}

impl Step<'_> {
    /// Seconds after the job's start.
    pub(super) fn seconds(&self, time_ns: i64) -> f64 {
        (time_ns - self.record.job.start_ns) as f64 / 1e9
    }
}

/// The runs of a job, under `strategy` or what the job's name says.
#[must_use]
pub fn runs(record: &JobRecord, strategy: Option<&str>) -> Vec<Run> {
    let steps = steps(record);
    let marks: Vec<Marks> = steps.iter().map(|step| marks_of(step)).collect();
    let any_marked = marks.iter().any(|marks| marks.has(EPOCH));
    let program = main_program(&steps);
    let named = strategy.map_or_else(|| strategy_of(&record.job.name), str::to_owned);
    steps
        .iter()
        .zip(&marks)
        .filter(|(step, marks)| {
            if any_marked {
                marks.has(EPOCH)
            } else {
                step.info.command.first() == program
            }
        })
        .map(|(step, marks)| run(step, marks, &named))
        .collect()
}

/// What runs of different sizes have in common: the name without a size at its end
/// (`ddp-4x2`, `ddp-1-8gpu`, `solver_16`).
#[must_use]
pub fn strategy_of(name: &str) -> String {
    let is_size = |tail: &str| {
        let digits = tail.trim_start_matches(['n', 'N']);
        let digits = ["gpus", "gpu", "nodes", "node", "ranks", "rank", "tasks"]
            .iter()
            .find_map(|unit| digits.strip_suffix(unit))
            .unwrap_or(digits);
        let numbers: Vec<&str> = digits.split('x').collect();
        let is_number = |n: &&str| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit());
        numbers.len() <= 2 && numbers.iter().all(is_number)
    };
    let mut left = crate::format::job_title(name);
    while let Some((head, tail)) = left.rsplit_once(['-', '_'])
        && is_size(tail)
        && !head.is_empty()
    {
        left = head;
    }
    if left.is_empty() {
        "(no name)".to_owned()
    } else {
        left.to_owned()
    }
}

/// Steps with a number; the batch script only of a job that has no other.
fn steps(record: &JobRecord) -> Vec<Step<'_>> {
    let mut by_id: BTreeMap<u32, Vec<(&NodeRecord, &StepInfo)>> = BTreeMap::new();
    for node in &record.nodes {
        for info in &node.steps {
            by_id.entry(info.step.0).or_default().push((node, info));
        }
    }
    let is_numbered = |id: &u32| *id < StepId::INTERACTIVE.0;
    if by_id.keys().any(is_numbered) {
        by_id.retain(|id, _| is_numbered(id));
    } else {
        by_id.retain(|id, _| *id == StepId::BATCH.0);
    }
    by_id
        .into_values()
        .filter_map(|parts| step(record, parts))
        .collect()
}

fn step<'r>(record: &'r JobRecord, parts: Vec<(&'r NodeRecord, &'r StepInfo)>) -> Option<Step<'r>> {
    let info = parts.first()?.1;
    let running = parts.iter().any(|(_, part)| part.end_ns.is_none());
    let readings = parts.iter().flat_map(|(node, _)| &node.task_samples);
    let last_reading_ns = readings
        .filter(|sample| sample.step == info.step.0)
        .map(|sample| sample.time_ns)
        .max();
    let start_ns = parts.iter().map(|(_, part)| part.start_ns).min()?;
    let end_ns = parts
        .iter()
        .filter_map(|(_, part)| part.end_ns)
        .chain(last_reading_ns.filter(|_| running))
        .max();
    Some(Step {
        record,
        info,
        nodes: parts.into_iter().map(|(node, _)| node).collect(),
        start_ns,
        end_ns: end_ns.unwrap_or(start_ns).max(start_ns),
        running,
    })
}

/// The program that used most ranks for longest.
fn main_program<'r>(steps: &[Step<'r>]) -> Option<&'r String> {
    let weight = |step: &&Step<'_>| {
        i128::from(step.end_ns - step.start_ns) * i128::from(step.info.task_count)
    };
    steps.iter().max_by_key(weight)?.info.command.first()
}

fn marks_of(step: &Step<'_>) -> Marks {
    let mut marks = Marks::default();
    for node in &step.nodes {
        let names: BTreeMap<u32, &str> = node
            .names
            .iter()
            .map(|name| (name.id, &name.name[..]))
            .collect();
        let mut samples: Vec<&MarkSample> = node
            .mark_samples
            .iter()
            .filter(|mark| mark.step == step.info.step.0)
            .collect();
        samples.sort_by_key(|mark| mark.time_ns);
        for mark in samples {
            let Some(&name) = names.get(&mark.name) else {
                continue;
            };
            match mark.kind {
                MARK_BEGIN => marks.begin(name, mark.rank, mark.time_ns),
                MARK_END => marks.end(name, mark.rank, mark.time_ns),
                MARK_FIGURE => marks.figure(name, mark.rank, mark.time_ns, mark.value),
                _ => {}
            }
        }
    }
    marks
}

fn run(step: &Step<'_>, marks: &Marks, strategy: &str) -> Run {
    let job = &step.record.job;
    let source = format!("job {} step {}", job.id, step.info.step);
    let mut run = Run::new(source, strategy.to_owned(), step.info.task_count.max(1));
    run.nodes = u32::try_from(step.nodes.len()).ok();
    run.elapsed_s = (step.end_ns - step.start_ns) as f64 / 1e9;
    run.failures = failed_ranks(step);
    let epochs = epochs(step, marks, &mut run);
    let kept_ns = match &epochs {
        Some(epochs) => take_epochs(step, marks, epochs, &mut run),
        None => {
            if step.running {
                run.failures
                    .push("it still runs, and nothing marks its epochs".to_owned());
            }
            run.notes.push(
                "nothing marks epochs: the whole time, start-up and warm-up included, is one \
                 observation"
                    .to_owned(),
            );
            run.times = Times::Whole(run.elapsed_s);
            run.samples = marks.total(SAMPLES, step.start_ns, i64::MAX);
            None
        }
    };
    if marks.figures_of(DIVERGED).any(|value| value != 0.0) {
        run.failures
            .push("its ranks hold different models (figure ranks_diverged)".to_owned());
    }
    measure(step, kept_ns, &mut run);
    run
}

fn failed_ranks(step: &Step<'_>) -> Vec<String> {
    const SHOWN: usize = 4;
    let mut failed: Vec<String> = step
        .nodes
        .iter()
        .flat_map(|node| &node.tasks)
        .filter(|task| task.step == step.info.step)
        .filter_map(|task| {
            task.status
                .filter(|&status| status != 0)
                .map(|s| (task.rank, s))
        })
        .map(|(rank, status)| format!("rank {rank} failed: {}", mizar_prov::job::exit_text(status)))
        .collect();
    let more = failed.len().saturating_sub(SHOWN);
    failed.truncate(SHOWN);
    if more > 0 {
        failed.push(format!("{more} more ranks failed"));
    }
    if !step.record.missing_nodes.is_empty() {
        failed.push(format!(
            "no record came from {}",
            step.record.missing_nodes.join(", ")
        ));
    }
    failed
}

/// The epochs of each rank, cut to what all have; `None` without marks.
fn epochs(step: &Step<'_>, marks: &Marks, run: &mut Run) -> Option<BTreeMap<u32, Vec<Section>>> {
    let mut by_rank = marks.sections(EPOCH)?.clone();
    let counts: BTreeSet<usize> = by_rank.values().map(Vec::len).collect();
    let fewest = *counts.first()?;
    if counts.len() > 1 && !step.running {
        let told = |count: Option<&usize>| {
            let count = count.copied().unwrap_or(0);
            let rank = by_rank.iter().find(|(_, epochs)| epochs.len() == count);
            format!("rank {} {count}", rank.map_or(0, |(rank, _)| *rank))
        };
        run.failures.push(format!(
            "ranks marked different numbers of epochs ({}, {})",
            told(counts.first()),
            told(counts.last())
        ));
    }
    if by_rank.len() < step.info.task_count as usize {
        run.notes.push(format!(
            "epochs are those of {} of {} ranks, which marked them",
            by_rank.len(),
            step.info.task_count
        ));
    }
    by_rank
        .values_mut()
        .for_each(|epochs| epochs.truncate(fewest));
    Some(by_rank)
}

/// Takes times, parts and samples of the epochs; returns the time of those that are kept.
fn take_epochs(
    step: &Step<'_>,
    marks: &Marks,
    by_rank: &BTreeMap<u32, Vec<Section>>,
    run: &mut Run,
) -> Option<(i64, i64)> {
    let count = by_rank.values().map(Vec::len).min().unwrap_or(0);
    // Each rank by its own clock: nodes' clocks differ, lengths do not.
    let slowest = |epoch: usize| {
        let lengths = by_rank.values().map(|epochs| epochs[epoch].seconds());
        lengths.fold(0.0, f64::max)
    };
    let times: Vec<f64> = (0..count).map(slowest).collect();
    let dropped = run.take_epochs(times);
    if step.running {
        run.notes.push("it still runs".to_owned());
    }
    let kept = dropped..count;
    run.phases = phases(marks, by_rank, kept.clone());
    let first = by_rank
        .values()
        .filter_map(|epochs| epochs.get(kept.start))
        .map(|e| e.from_ns);
    let last = by_rank
        .values()
        .filter_map(|epochs| epochs.last())
        .map(|e| e.to_ns);
    let window = first.min().zip(last.max());
    if let Some((from_ns, _)) = window {
        run.samples = marks
            .total(SAMPLES, from_ns, i64::MAX)
            .map(|samples| samples / kept.len().max(1) as f64);
    }
    window
}

fn phases(
    marks: &Marks,
    by_rank: &BTreeMap<u32, Vec<Section>>,
    kept: std::ops::Range<usize>,
) -> Vec<Phase> {
    let names = marks.section_names().filter(|name| *name != EPOCH);
    names
        .take(MAX_PHASES)
        .filter_map(|name| {
            let sections = marks.sections(name)?;
            let within = |rank: &u32, epoch: &Section| -> f64 {
                let of_rank = sections.get(rank).map_or(&[][..], Vec::as_slice);
                let inside = |s: &&Section| s.from_ns >= epoch.from_ns && s.from_ns < epoch.to_ns;
                of_rank.iter().filter(inside).map(Section::seconds).sum()
            };
            let slowest = |epoch: usize| {
                let lengths = by_rank
                    .iter()
                    .map(|(rank, epochs)| within(rank, &epochs[epoch]));
                lengths.fold(0.0, f64::max)
            };
            let seconds = median(&kept.clone().map(slowest).collect::<Vec<_>>())?;
            Some(Phase {
                name: name.to_owned(),
                seconds,
            })
        })
        .collect()
}

fn measure(step: &Step<'_>, kept_ns: Option<(i64, i64)>, run: &mut Run) {
    let whole_s = (step.seconds(step.start_ns), step.seconds(step.end_ns));
    let kept_s = kept_ns.map(|(from, to)| (step.seconds(from), step.seconds(to)));
    let window_ns = kept_ns.unwrap_or((step.start_ns, step.end_ns));
    let gpus = usage::gpus(step);
    run.gpus = Some(gpus.count);
    let of_gpus = Rules::of_device(gpus.refresh_s, 0);
    run.gpu_energy = energy::of_run(&gpus.devices, whole_s, kept_s, of_gpus);
    let (nodes, of_nodes) = usage::nodes(step);
    run.node_energy = energy::of_run(&nodes, whole_s, kept_s, of_nodes);
    run.gpu_utilization = usage::gpu_busy(step, &gpus, window_ns);
    run.cpus_busy_per_rank = usage::cpus_busy(step, window_ns);
    run.computation = usage::split(step, window_ns);
    if gpus.replayed {
        run.notes
            .push("its GPUs are test doubles: a recording stands for the hardware".to_owned());
    }
    let overlap_ns = |from: i64, to: i64| (to.min(step.end_ns) - from.max(step.start_ns)).max(0);
    let gaps = step.nodes.iter().flat_map(|node| &node.gaps);
    run.gap_s = gaps
        .map(|gap| overlap_ns(gap.from_ns, gap.to_ns))
        .sum::<i64>() as f64
        / 1e9;
    let costs: Vec<(f64, f64)> = step
        .nodes
        .iter()
        .filter_map(|node| usage::own_cost(step, node))
        .collect();
    if !costs.is_empty() {
        run.own_cpu_s = Some(costs.iter().map(|cost| cost.0).sum());
        run.own_cpu_share =
            super::statistics::mean(&costs.iter().map(|cost| cost.1).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::strategy_of;

    #[test]
    fn a_size_at_the_end_of_a_name_is_no_part_of_the_strategy() {
        for (name, strategy) in [
            ("ddp-4x2", "ddp"),
            ("ray-horovod-1x4", "ray-horovod"),
            ("virgo-2-8gpu", "virgo"),
            ("solver_n16", "solver"),
            ("solver-16ranks", "solver"),
            ("cosmo-v2", "cosmo-v2"),
            ("1234", "1234"),
            ("", "(no name)"),
        ] {
            assert_eq!(strategy_of(name), strategy);
        }
    }
}
