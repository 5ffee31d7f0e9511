//! One rank's figures from its readings.

use std::collections::HashMap;

use mizar_core::ids::StepId;
use mizar_record::model::{JobRecord, NodeRecord, TaskInfo, TaskSample};

use crate::growth;
use crate::schema::{IoTotals, Rank};
use crate::series::{Grid, Reading, Span, known, levels, rates};

/// Series are kept for this many ranks; a page with more could not be read.
pub(crate) const MAX_RANK_SERIES: usize = 512;

/// A rank with what the report does not show but balance and totals need.
pub(crate) struct MeasuredRank {
    pub(crate) step: StepId,
    pub(crate) shown: Rank,
    pub(crate) cpu_rates: Vec<Span>,
}

/// What all ranks are measured against.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) grid: Grid,
    pub(crate) start_ns: i64,
    /// The end, or the last reading of a running job.
    pub(crate) end_ns: i64,
    /// Does the job still run?
    pub(crate) running: bool,
    /// Readings further apart leave a gap.
    pub(crate) longest_ns: i64,
}

impl Frame {
    pub(crate) fn after_start_s(&self, time_ns: i64) -> f64 {
        (time_ns - self.start_ns) as f64 / 1e9
    }
}

/// All ranks, by step in the order of start, then by rank.
pub(crate) fn measure(record: &JobRecord, frame: Frame) -> Vec<MeasuredRank> {
    let mut work = Vec::new();
    for node in &record.nodes {
        let mut readings = by_task(node);
        for task in &node.tasks {
            let readings = readings.take((task.step.0, task.rank.0));
            work.push((node, task, readings));
        }
    }
    let mut ranks = measure_all(work, frame);
    // Slurm's named steps have the largest numbers but come first.
    ranks.sort_by_key(|rank| (rank.step >= StepId::INTERACTIVE, rank.step, rank.shown.rank));
    for rank in ranks.iter_mut().skip(MAX_RANK_SERIES) {
        rank.shown.cpu_busy = None;
        rank.shown.memory = None;
        rank.shown.io_rate = None;
    }
    ranks
}

type Work<'r> = (&'r NodeRecord, &'r TaskInfo, Vec<TaskSample>);

/// Measures ranks on all processors, in their order.
fn measure_all(mut work: Vec<Work<'_>>, frame: Frame) -> Vec<MeasuredRank> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = work.len().div_ceil(threads).max(1);
    let measured = |part: Vec<Work<'_>>| -> Vec<MeasuredRank> {
        part.into_iter()
            .map(|(node, task, readings)| measure_rank(node, task, &readings, frame))
            .collect()
    };
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        while !work.is_empty() {
            let part: Vec<_> = work.drain(..share.min(work.len())).collect();
            running.push(scope.spawn(move || measured(part)));
        }
        let ended = running.into_iter().map(|thread| thread.join());
        ended
            .flat_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Values of several, each with its key. They are asked for in turns, as a sampler writes them,
/// so the next is nearly always the one after the last.
#[derive(Debug)]
pub(crate) struct Turns<K, V> {
    slots: Vec<(K, V)>,
    places: HashMap<K, usize>,
    next: usize,
}

impl<K: Copy + Eq + std::hash::Hash, V: Default> Turns<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            places: HashMap::new(),
            next: 0,
        }
    }

    /// That of a key; a new one if it has none yet.
    pub(crate) fn of(&mut self, key: K) -> &mut V {
        let mut place = self.next;
        if self.slots.get(place).is_none_or(|(known, _)| *known != key) {
            place = *self.places.entry(key).or_insert(self.slots.len());
            if place == self.slots.len() {
                self.slots.push((key, V::default()));
            }
        }
        self.next = (place + 1) % self.slots.len();
        &mut self.slots[place].1
    }

    /// Gives it away, and leaves nothing.
    pub(crate) fn take(&mut self, key: K) -> V {
        let place = self.places.get(&key);
        place.map_or_else(V::default, |place| {
            std::mem::take(&mut self.slots[*place].1)
        })
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().map(|(_, value)| value)
    }
}

fn by_task(node: &NodeRecord) -> Turns<(u32, u32), Vec<TaskSample>> {
    let mut readings: Turns<_, Vec<TaskSample>> = Turns::new();
    for sample in &node.task_samples {
        readings.of((sample.step, sample.rank)).push(*sample);
    }
    for samples in readings.values_mut() {
        samples.sort_by_key(|sample| sample.time_ns);
    }
    readings
}

fn measure_rank(
    node: &NodeRecord,
    task: &TaskInfo,
    samples: &[TaskSample],
    frame: Frame,
) -> MeasuredRank {
    let Frame {
        grid, longest_ns, ..
    } = frame;
    let readings = |value: fn(&TaskSample) -> u64| -> Vec<Reading> {
        let reading = |s: &TaskSample| Reading::of(s.time_ns, s.interval_ns, value(s));
        samples.iter().map(reading).collect()
    };
    let origin_ns = Some(task.start_ns);
    let cpu_rates: Vec<Span> = rates(&readings(|s| s.cpu_ns), origin_ns, longest_ns)
        .into_iter()
        .map(|span| Span {
            value: span.value / 1e9,
            ..span
        })
        .collect();
    let memory = levels(&readings(|s| s.rss_bytes), origin_ns, longest_ns);
    let io = rates(&readings(moved_bytes), origin_ns, longest_ns);
    let largest = |value: fn(&TaskSample) -> u64| samples.iter().map(value).filter_map(known).max();
    let end_ns = task.end_ns.unwrap_or(frame.end_ns).max(task.start_ns);
    let status = match (task.status, task.end_ns) {
        (Some(status), _) => mizar_prov::job::exit_text(status),
        (None, Some(_)) => "ended".to_owned(),
        (None, None) if frame.running => "running".to_owned(),
        (None, None) => "not known".to_owned(),
    };
    let threads = samples
        .iter()
        .map(|s| s.threads)
        .filter(|&count| count != u32::MAX)
        .max();
    MeasuredRank {
        step: task.step,
        shown: Rank {
            step: task.step.to_string(),
            rank: task.rank.0,
            node: node.node.clone(),
            pid: task.pid,
            start_s: frame.after_start_s(task.start_ns),
            elapsed_s: (end_ns - task.start_ns) as f64 / 1e9,
            status,
            cpu_s: largest(|s| s.cpu_ns).map(|cpu_ns| cpu_ns as f64 / 1e9),
            peak_bytes: largest(|s| s.rss_bytes),
            memory_growth: growth::of(&memory),
            threads,
            io: IoTotals {
                read_bytes: largest(|s| s.rchar_bytes),
                written_bytes: largest(|s| s.wchar_bytes),
                device_read_bytes: largest(|s| s.read_bytes),
                device_written_bytes: largest(|s| s.write_bytes),
            },
            cpu_busy: Some(grid.mean(&cpu_rates)),
            memory: Some(grid.max(&memory)),
            io_rate: Some(grid.mean(&io)),
        },
        cpu_rates,
    }
}

/// Read and written by calls; unknown if either is.
fn moved_bytes(sample: &TaskSample) -> u64 {
    match (known(sample.rchar_bytes), known(sample.wchar_bytes)) {
        (Some(read), Some(written)) => read.saturating_add(written),
        _ => mizar_record::model::UNKNOWN,
    }
}

/// The sum of what is known; `None` if nothing is.
pub(crate) fn sum<T: std::iter::Sum>(numbers: impl Iterator<Item = Option<T>>) -> Option<T> {
    let mut known = numbers.flatten().peekable();
    known.peek().is_some().then_some(())?;
    Some(known.sum())
}

/// The sums over some ranks.
pub(crate) fn io_totals<'r>(ranks: impl Iterator<Item = &'r Rank> + Clone) -> IoTotals {
    IoTotals {
        read_bytes: sum(ranks.clone().map(|rank| rank.io.read_bytes)),
        written_bytes: sum(ranks.clone().map(|rank| rank.io.written_bytes)),
        device_read_bytes: sum(ranks.clone().map(|rank| rank.io.device_read_bytes)),
        device_written_bytes: sum(ranks.map(|rank| rank.io.device_written_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn turns_are_a_map_whatever_the_order(keys: Vec<u8>) {
            let mut turns: Turns<u8, Vec<usize>> = Turns::new();
            let mut map: HashMap<u8, Vec<usize>> = HashMap::new();
            for (index, key) in keys.iter().enumerate() {
                turns.of(*key).push(index);
                map.entry(*key).or_default().push(index);
            }
            for key in 0..=u8::MAX {
                proptest::prop_assert_eq!(turns.take(key), map.remove(&key).unwrap_or_default());
            }
        }
    }
}
