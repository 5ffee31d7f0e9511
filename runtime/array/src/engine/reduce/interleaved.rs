//! How work is cut where groups take turns and there are many: days of the year, over years.
//!
//! Called by [`batches`](super::batches). A unit is some neighbouring groups with all their
//! steps, so that nothing of a group is kept twice and nothing is merged. Only where no storage
//! chunk holds steps of several units: else all groups are computed together.

use std::ops::Range;

use super::batch::{BATCH_BYTES_MAX, Batch, Unit, column_cells};
use super::joint::Joint;
use crate::engine::units::{Cutting, UNIT_CELLS_MAX};

/// The batches, if it pays to cut so; `bytes_per_group` are those of the widest column.
pub(super) fn batches(
    joint: &Joint<'_>,
    cutting: &Cutting,
    bytes_per_group: usize,
) -> Option<Vec<Batch>> {
    let group_count = joint.groups.len();
    let shortest = joint.groups.iter().flatten().map(Range::len).min()?;
    let thickness = |cuts: &[usize]| cuts.windows(2).map(|pair| pair[1] - pair[0]).max();
    let takes_turns = joint.groups.iter().any(|runs| runs.len() > 1);
    let is_much = bytes_per_group.saturating_mul(group_count) > BATCH_BYTES_MAX;
    if !takes_turns || !is_much || thickness(&joint.child.cuts(joint.axis))? > shortest {
        return None;
    }
    let groups_at_once = (BATCH_BYTES_MAX / bytes_per_group).max(1);
    let mut batches = Vec::new();
    for first in (0..group_count).step_by(groups_at_once) {
        let groups = first..(first + groups_at_once).min(group_count);
        for column in &cutting.columns {
            let units = units(joint, &groups, column_cells(column, joint.axis));
            batches.push(Batch {
                groups: groups.clone(),
                columns: vec![column.clone()],
                units_per_column: units.len(),
                units,
            });
        }
    }
    Some(batches)
}

/// Neighbouring groups, as many as have the steps of a unit.
fn units(joint: &Joint<'_>, groups: &Range<usize>, cells: usize) -> Vec<Unit> {
    let steps_min = UNIT_CELLS_MAX.div_ceil(cells.max(1));
    let mut units = Vec::new();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for group in groups.clone() {
        runs.extend(joint.groups[group].iter().cloned());
        let steps: usize = runs.iter().map(Range::len).sum();
        if steps >= steps_min || group + 1 == groups.end {
            units.push(Unit {
                column: 0,
                leaf: units.len(),
                steps: joined(std::mem::take(&mut runs)),
            });
        }
    }
    units
}

/// The runs in the order of time, neighbours as one.
fn joined(mut runs: Vec<Range<usize>>) -> Vec<Range<usize>> {
    runs.sort_by_key(|run| run.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for run in runs {
        match joined.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => joined.push(run),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn days_of_neighbouring_groups_are_read_together() {
        let (first, second) = ([0..1, 365..366], [1..2, 366..367]);
        let runs = first.into_iter().chain(second).collect();
        assert_eq!(joined(runs), [0..2, 365..367]);
    }
}
