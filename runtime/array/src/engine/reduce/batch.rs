//! How the work of a reduction is cut: batches whose partial results fit the memory, and units
//! that a thread does in one go.

use std::ops::Range;

use super::interleaved;
use super::joint::Joint;
use crate::engine::units;
use crate::plan::region::Region;

/// Partial results that are computed together. Groups and columns beyond it come in a later
/// batch; a chunk that spans two batches is decoded in both.
pub(super) const BATCH_BYTES_MAX: usize = 48 << 20;

/// Some steps of one column.
pub(super) struct Unit {
    /// Index into the batch's columns.
    pub(super) column: usize,
    /// Its place among the column's units.
    pub(super) leaf: usize,
    /// In the order of time.
    pub(super) steps: Vec<Range<usize>>,
}

/// Groups and columns that are computed together.
pub(super) struct Batch {
    pub(super) groups: Range<usize>,
    pub(super) columns: Vec<Region>,
    /// Column by column, in the order of time.
    pub(super) units: Vec<Unit>,
    /// How many units each column has.
    pub(super) units_per_column: usize,
}

impl Batch {
    pub(super) fn regions(&self, unit: &Unit, axis: usize) -> impl Iterator<Item = Region> {
        unit.steps.iter().map(move |steps| {
            let mut region = self.columns[unit.column].clone();
            region[axis] = steps.clone();
            region
        })
    }
}

pub(super) fn column_cells(column: &Region, axis: usize) -> usize {
    let others = column.iter().enumerate().filter(|(dim, _)| *dim != axis);
    others.map(|(_, range)| range.len()).product()
}

/// Cuts the work so that the partial results of a batch fit [`BATCH_BYTES_MAX`], if a single
/// group of a single column does.
pub(super) fn batches(joint: &Joint<'_>, cutting: &units::Cutting) -> Vec<Batch> {
    let widest = cutting
        .columns
        .iter()
        .map(|column| column_cells(column, joint.axis))
        .max()
        .unwrap_or(0);
    let bytes_per_group = (widest * joint.bytes_per_cell()).max(1);
    let group_count = joint.groups.len();
    if let Some(batches) = interleaved::batches(joint, cutting, bytes_per_group) {
        return batches;
    }
    // Groups that take turns, as months of the year do, need all steps each.
    let is_contiguous = joint.groups.iter().all(|runs| runs.len() == 1);
    let groups_at_once = match is_contiguous {
        true => (BATCH_BYTES_MAX / bytes_per_group).clamp(1, group_count.max(1)),
        false => group_count.max(1),
    };
    let columns_at_once = (BATCH_BYTES_MAX / (bytes_per_group * groups_at_once)).max(1);
    let mut batches = Vec::new();
    for first in (0..group_count).step_by(groups_at_once) {
        let groups = first..(first + groups_at_once).min(group_count);
        let runs = || joint.groups[groups.clone()].iter().flatten();
        let from = runs().map(|run| run.start).min().unwrap_or(0);
        let to = runs().map(|run| run.end).max().unwrap_or(0);
        let within = |block: &Range<usize>| block.start.max(from)..block.end.min(to);
        let steps: Vec<Range<usize>> = cutting
            .blocks
            .iter()
            .map(within)
            .filter(|s| !s.is_empty())
            .collect();
        for columns in cutting.columns.chunks(columns_at_once) {
            let unit = |column: usize| {
                let unit = move |(leaf, steps): (usize, &Range<usize>)| Unit {
                    column,
                    leaf,
                    steps: vec![steps.clone()],
                };
                steps.iter().enumerate().map(unit)
            };
            batches.push(Batch {
                groups: groups.clone(),
                columns: columns.to_vec(),
                units: (0..columns.len()).flat_map(unit).collect(),
                units_per_column: steps.len(),
            });
        }
    }
    batches
}
