//! Statistics that one pass over the data gives together, and what is kept for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::tree::Merge;
use crate::engine::units;
use crate::ops::grouping::Group;
use crate::ops::statistic::{Accumulator, Partial, Statistic};
use crate::plan::expr::{Expr, TimeReduction};

/// Statistics of the same groups of the same data, which one pass over it gives.
pub(in crate::engine) struct Joint<'a> {
    pub(super) child: &'a Expr,
    pub(super) axis: usize,
    pub(super) groups: &'a [Group],
    /// A number of each step; else its index.
    pub(super) numbers: Option<&'a [f64]>,
    pub(super) statistics: Vec<Statistic>,
    /// Each once, however many statistics need it.
    pub(super) accumulators: Vec<Accumulator>,
    /// Partial results that were merged into others: memory that is there already.
    spare: Mutex<Vec<Vec<Partial>>>,
}

impl<'a> Joint<'a> {
    /// `child` is that of the first reduction, with its stages held.
    pub(in crate::engine) fn new(
        child: &'a Expr,
        first: &'a TimeReduction,
        statistics: Vec<Statistic>,
    ) -> Self {
        let mut accumulators: Vec<Accumulator> = Vec::new();
        for accumulator in statistics.iter().flat_map(|s| s.accumulators()) {
            if !accumulators.contains(accumulator) {
                accumulators.push(*accumulator);
            }
        }
        accumulators.sort_unstable();
        Self {
            child,
            axis: first.axis,
            groups: &first.groups,
            numbers: first.numbers.as_ref().map(|numbers| numbers.as_slice()),
            statistics,
            accumulators,
            spare: Mutex::default(),
        }
    }

    /// Of no steps.
    pub(super) fn partials(&self, cells: usize) -> Vec<Partial> {
        if let Some(mut partials) = self.spare().pop() {
            partials.iter_mut().for_each(|partial| partial.clear(cells));
            return partials;
        }
        let new = |&accumulator| Partial::new(accumulator, cells);
        self.accumulators.iter().map(new).collect()
    }

    pub(super) fn spare(&self) -> MutexGuard<'_, Vec<Vec<Partial>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cutting(&self) -> units::Cutting {
        units::cut(self.child, self.axis, units::REDUCED_CELLS_MAX)
    }

    pub(super) fn bytes_per_cell(&self) -> usize {
        self.accumulators.iter().map(|a| a.bytes_per_cell()).sum()
    }

    pub(super) fn finish(
        &self,
        statistic: Statistic,
        partials: &[Partial],
        group: usize,
    ) -> Vec<f64> {
        let of = |wanted: &Accumulator| partials.iter().find(|p| p.accumulator == *wanted);
        let parts: Vec<&Partial> = statistic.accumulators().iter().filter_map(of).collect();
        statistic.finish(&parts, &self.groups[group])
    }
}

/// What is kept of some groups of one column, by group: one partial an accumulator.
pub(super) struct Segment<'a> {
    pub(super) joint: &'a Joint<'a>,
    pub(super) groups: BTreeMap<usize, Vec<Partial>>,
}

impl Merge for Segment<'_> {
    fn merge(&mut self, right: Self) {
        for (group, partials) in right.groups {
            match self.groups.get_mut(&group) {
                Some(left) => {
                    let pairs = left.iter_mut().zip(&partials);
                    pairs.for_each(|(left, right)| left.merge(right));
                    self.joint.spare().push(partials);
                }
                None => drop(self.groups.insert(group, partials)),
            }
        }
    }
}
