//! What a rank writes to a checkpoint of what is learned, and takes from one.

use std::ops::Range;

use super::{State, complement};
use crate::Strategy;

/// An array that is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The parameters.
    Parameters,
    /// One of the optimizer's.
    Slot(usize),
    /// The running mean.
    Ema,
}

impl State {
    /// What the caller writes to a checkpoint of the array that `which` chooses: all ranks
    /// together write each number once. Replicated arrays are cut by the parts of buckets.
    /// `values` is memory that may be used for it.
    pub(crate) fn share(
        &self,
        rank: usize,
        which: Which,
        mut values: Vec<f32>,
    ) -> (Vec<Range<usize>>, Vec<f32>) {
        let mut ranges = Vec::new();
        values.clear();
        if which == Which::Parameters && rank == 0 {
            self.frozen_parts(&mut ranges, &mut values);
        }
        for phase in &self.phases {
            for segment in phase.plan.segments(rank) {
                let from = match (which, self.strategy) {
                    (Which::Parameters, Strategy::Zero3) => &phase.shard[segment.in_list()],
                    (Which::Parameters, _) => &self.full[segment.flat.clone()],
                    (Which::Slot(_) | Which::Ema, strategy) => {
                        let array = phase.array(which);
                        match strategy.is_sharded() {
                            true => &array[segment.in_list()],
                            false => {
                                let start = segment.flat.start - phase.range.start;
                                &array[start..start + segment.len()]
                            }
                        }
                    }
                };
                values.extend_from_slice(from);
                ranges.push(segment.flat);
            }
        }
        (ranges, values)
    }

    fn frozen_parts(&self, ranges: &mut Vec<Range<usize>>, values: &mut Vec<f32>) {
        let mut changed: Vec<_> = self
            .phases
            .iter()
            .map(|phase| phase.range.clone())
            .collect();
        changed.sort_by_key(|range| range.start);
        for (index, range) in complement(&changed, self.len).into_iter().enumerate() {
            match self.strategy {
                Strategy::Zero3 => values.extend_from_slice(&self.frozen[index].1),
                _ => values.extend_from_slice(&self.full[range.clone()]),
            }
            ranges.push(range);
        }
    }

    /// Takes from a checkpoint what the caller holds of these numbers of the flat array.
    pub(crate) fn place(&mut self, which: Which, start: usize, values: &[f32]) {
        let given = start..start + values.len();
        if which == Which::Parameters {
            if self.strategy != Strategy::Zero3 {
                self.full[given].copy_from_slice(values);
                return;
            }
            for (range, frozen) in &mut self.frozen {
                overlay(range, frozen, &given, values);
            }
        }
        for phase in &mut self.phases {
            let array = match which {
                Which::Parameters => &mut phase.shard,
                Which::Slot(slot) => &mut phase.slots[slot],
                Which::Ema => match &mut phase.ema {
                    Some(ema) => ema,
                    None => continue,
                },
            };
            for segment in &phase.owned {
                overlay(&segment.flat, &mut array[segment.in_list()], &given, values);
            }
        }
    }
}

/// Copies what two stretches of the flat array have in common.
fn overlay(range: &Range<usize>, into: &mut [f32], given: &Range<usize>, values: &[f32]) {
    let from = range.start.max(given.start);
    let to = range.end.min(given.end);
    if from < to {
        into[from - range.start..to - range.start]
            .copy_from_slice(&values[from - given.start..to - given.start]);
    }
}
