//! Reductions over time: every chunk is decoded once, partial results merge by a fixed tree.
//!
//! Memory of a rank: the partial results of one batch ([`batch::BATCH_BYTES_MAX`]) a few times over,
//! and one unit a thread.

mod batch;
mod interleaved;
mod joint;
mod rows;
mod wire;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mizar_comm::agree;
use rayon::prelude::*;

use self::batch::{Batch, Unit, batches, column_cells};
pub(super) use self::joint::Joint;
use self::joint::Segment;
use self::rows::Rows;
use super::tree::{Place, Tree};
use super::{Job, Progress, Run, Writers, units};
use crate::error::CubeError;
use crate::ops::statistic::{self, Partial, Steps};
use crate::plan::expr::{Expr, Held, Readable, TimeReduction};
use crate::plan::region::{self, Region};

/// Cells that are decoded before they are added up, so that they are still in the cache.
const PIECE_CELLS_MAX: usize = 1 << 19;

/// Where the result of a batch goes: index of the statistic, groups, column, values as (group,
/// cell of the column).
type Sink<'a> = dyn FnMut(usize, &Range<usize>, &Region, Vec<f64>) -> Result<(), CubeError> + 'a;

impl Run<'_> {
    /// Reduces variables that one pass over the data gives; rank 0 writes.
    pub(super) fn reduce_to_files(
        &self,
        jobs: &[Job<'_>],
        writers: &mut Writers,
    ) -> Result<(), CubeError> {
        let of_time = |job: &Job<'_>| match job.expr {
            Expr::Time(reduction) => Some(Arc::clone(reduction)),
            _ => None,
        };
        let reductions: Vec<_> = jobs.iter().filter_map(of_time).collect();
        let (Some(first), Some(job)) = (reductions.first(), jobs.first()) else {
            return Ok(());
        };
        let child = self.hold_stages(&first.child, job.name)?;
        let statistics = reductions.iter().map(|reduction| reduction.statistic);
        let joint = Joint::new(&child, first, statistics.collect());
        let mut shape = child.shape();
        shape[joint.axis] = joint.groups.len();
        let mut rows: Vec<Rows> = jobs.iter().map(|_| Rows::default()).collect();
        self.reduce(&joint, job.name, &mut |index, groups, column, values| {
            let job = &jobs[index];
            let writer = &mut writers[job.writer];
            let values = in_file_order(joint.axis, groups.len(), column, values);
            let mut region = column.clone();
            region[joint.axis] = groups.clone();
            let mut write = |region: &Region, values: &[f64]| {
                let write = || writer.write_f64(job.variable, region, values);
                Ok(self.pool.install(write)?)
            };
            rows[index].put(&shape, joint.axis, region, values, &mut write)
        })
    }

    /// Reduces into memory, on every rank; one pass over the data gives all.
    pub(super) fn reduce_to_memory(
        &self,
        reductions: &[Arc<TimeReduction>],
        name: &str,
    ) -> Result<Vec<Held>, CubeError> {
        let Some(first) = reductions.first() else {
            return Ok(Vec::new());
        };
        let statistics = reductions.iter().map(|reduction| reduction.statistic);
        let joint = Joint::new(&first.child, first, statistics.collect());
        let mut shape = first.child.shape();
        shape[first.axis] = first.groups.len();
        let cells = shape.iter().product();
        let mut results = vec![vec![f64::NAN; cells]; reductions.len()];
        self.reduce(&joint, name, &mut |index, groups, column, values| {
            let result = &mut results[index];
            let values = in_file_order(joint.axis, groups.len(), column, values);
            let mut region = column.clone();
            region[joint.axis] = groups.clone();
            rows::place(&region, &values, &shape, result);
            Ok(())
        })?;
        let held = results.into_iter().map(|values| {
            Ok(Held {
                shape: shape.clone(),
                values: Arc::new(self.share(values)?),
            })
        });
        held.collect()
    }

    /// Brings what rank 0 has to every rank.
    pub(super) fn share(&self, values: Vec<f64>) -> Result<Vec<f64>, CubeError> {
        if self.comm.size() == 1 {
            return Ok(values);
        }
        let mut bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.comm.broadcast(0, &mut bytes)?;
        let (values, _) = bytes.as_chunks::<8>();
        Ok(values
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect())
    }

    /// Computes batch after batch; on rank 0 each goes to `sink`.
    fn reduce(&self, joint: &Joint<'_>, name: &str, sink: &mut Sink<'_>) -> Result<(), CubeError> {
        let cutting = joint.cutting();
        let step_groups = groups_of_steps(joint);
        let batches = batches(joint, &cutting);
        let total: usize = batches.iter().map(|batch| batch.units.len()).sum();
        let total = (total / self.comm.size()).max(1) as u64;
        let (done, read) = (AtomicU64::new(0), AtomicU64::new(0));
        for batch in batches {
            let weights: Vec<u64> = batch
                .units
                .iter()
                .map(|unit| {
                    let regions = batch.regions(unit, joint.axis);
                    regions
                        .map(|region| joint.child.stored_bytes(&region))
                        .sum()
                })
                .collect();
            let dealt = units::deal(&weights, self.comm.size());
            let own = dealt[self.comm.rank()].clone();
            let own = batch.units[own.clone()].iter().zip(&weights[own]);
            let own: Vec<(&Unit, &u64)> = own.collect();
            let trees: Vec<Tree<Segment<'_>>> = batch
                .columns
                .iter()
                .map(|_| Tree::new(batch.units_per_column))
                .collect();
            let computed: Result<(), CubeError> = self.pool.install(|| {
                own.par_iter().try_for_each(|(unit, bytes)| {
                    let segment = accumulate(joint, &step_groups, &batch, unit)?;
                    trees[unit.column].insert(Place::leaf(unit.leaf), segment);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    let read_bytes = read.fetch_add(**bytes, Ordering::Relaxed) + **bytes;
                    (self.progress)(Progress {
                        variable: name,
                        done,
                        total,
                        read_bytes,
                    });
                    Ok(())
                })
            });
            agree(self.comm, computed)?;
            let finished = self.finish_batch(joint, &batch, trees, sink);
            agree(self.comm, finished)?;
        }
        Ok(())
    }

    /// Brings what is left of the trees to rank 0, which merges and finishes.
    fn finish_batch<'a>(
        &self,
        joint: &'a Joint<'a>,
        batch: &Batch,
        trees: Vec<Tree<Segment<'a>>>,
        sink: &mut Sink<'_>,
    ) -> Result<(), CubeError> {
        let trees = if self.comm.size() == 1 {
            trees
        } else {
            let mut bytes = Vec::new();
            for (column, tree) in trees.into_iter().enumerate() {
                tree.into_nodes().iter().for_each(|(place, node)| {
                    wire::encode(column, *place, node.groups.iter(), &mut bytes);
                });
            }
            let Some(parts) = self.comm.gather(0, &bytes)? else {
                return Ok(());
            };
            let count = batch.units_per_column;
            let trees: Vec<Tree<Segment<'_>>> =
                batch.columns.iter().map(|_| Tree::new(count)).collect();
            for (rank, part) in parts.into_iter().enumerate() {
                let mut rest = part.as_slice();
                while !rest.is_empty() {
                    let (column, place, partials) = wire::decode(&joint.accumulators, &mut rest)
                        .filter(|(column, ..)| *column < trees.len())
                        .ok_or(CubeError::Protocol { rank })?;
                    let groups = partials;
                    trees[column].insert(place, Segment { joint, groups });
                }
            }
            trees
        };
        for (tree, column) in trees.into_iter().zip(&batch.columns) {
            let root = tree.into_nodes().pop();
            let mut partials = root.map(|(_, node)| node.groups).unwrap_or_default();
            let cells = column_cells(column, joint.axis);
            let kept: Vec<Vec<Partial>> = batch
                .groups
                .clone()
                .map(|group| {
                    partials
                        .remove(&group)
                        .unwrap_or_else(|| joint.partials(cells))
                })
                .collect();
            for (index, &statistic) in joint.statistics.iter().enumerate() {
                let mut values = Vec::with_capacity(cells * batch.groups.len());
                for (group, partials) in batch.groups.clone().zip(&kept) {
                    values.extend(joint.finish(statistic, partials, group));
                }
                sink(index, &batch.groups, column, values)?;
            }
        }
        Ok(())
    }
}

/// For each step of the child, its group.
fn groups_of_steps(joint: &Joint<'_>) -> Vec<Option<usize>> {
    let mut groups = vec![None; joint.child.shape()[joint.axis]];
    for (group, runs) in joint.groups.iter().enumerate() {
        runs.iter()
            .cloned()
            .flatten()
            .for_each(|step| groups[step] = Some(group));
    }
    groups
}

/// Into how many units the work is cut.
pub(super) fn unit_count(joint: &Joint<'_>) -> usize {
    let batches = batches(joint, &joint.cutting());
    batches.iter().map(|batch| batch.units.len()).sum()
}

/// Bytes of the partial results of the largest batch, once.
pub(super) fn batch_bytes(joint: &Joint<'_>) -> u64 {
    let batches = batches(joint, &joint.cutting());
    let bytes = |batch: &Batch| {
        let columns = batch.columns.iter();
        let cells: usize = columns.map(|column| column_cells(column, joint.axis)).sum();
        (cells * batch.groups.len() * joint.bytes_per_cell()) as u64
    };
    batches.iter().map(bytes).max().unwrap_or(0)
}

/// Reads one unit and adds it up.
fn accumulate<'a>(
    joint: &'a Joint<'a>,
    step_groups: &[Option<usize>],
    batch: &Batch,
    unit: &Unit,
) -> Result<Segment<'a>, CubeError> {
    if joint.child.is_single() {
        accumulate_as::<f32>(joint, step_groups, batch, unit)
    } else {
        accumulate_as::<f64>(joint, step_groups, batch, unit)
    }
}

fn accumulate_as<'a, T: Readable>(
    joint: &'a Joint<'a>,
    step_groups: &[Option<usize>],
    batch: &Batch,
    unit: &Unit,
) -> Result<Segment<'a>, CubeError> {
    let Joint { child, axis, .. } = joint;
    let mut region = batch.columns[unit.column].clone();
    let outer: usize = region[..*axis].iter().map(Range::len).product();
    let inner: usize = region[*axis + 1..].iter().map(Range::len).product();
    let mut groups = BTreeMap::new();
    let mut values: Vec<T> = Vec::new();
    let runs = unit.steps.iter();
    for steps in runs.flat_map(|run| pieces(child, *axis, run, outer * inner)) {
        region[*axis] = steps.clone();
        values.resize(region::cells(&region), T::default());
        child.fill(&region, &mut values)?;
        let mut index = 0;
        // Neighbours of one group are added together: that is faster.
        while index < steps.len() {
            let first = steps.start + index;
            let group = step_groups[first];
            let rest = &step_groups[first..steps.end];
            let count = rest.iter().take_while(|other| **other == group).count();
            if let Some(group) = group.filter(|group| batch.groups.contains(group)) {
                let new = || joint.partials(outer * inner);
                let partials: &mut Vec<Partial> = groups.entry(group).or_insert_with(new);
                let number = |step: usize| match joint.numbers {
                    Some(numbers) => numbers[first + step],
                    None => (first + step) as f64,
                };
                for row in 0..outer {
                    let start = (row * steps.len() + index) * inner;
                    let values = &values[start..start + count * inner];
                    statistic::add(partials, row * inner, Steps::new(values, inner), number);
                }
            }
            index += count;
        }
    }
    Ok(Segment { joint, groups })
}

/// Steps that are decoded together: whole chunks of few cells.
fn pieces(
    child: &Expr,
    axis: usize,
    steps: &Range<usize>,
    cells_per_step: usize,
) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = vec![steps.start];
    cuts.extend(
        child
            .cuts(axis)
            .into_iter()
            .filter(|cut| steps.start < *cut && *cut < steps.end),
    );
    cuts.push(steps.end);
    region::blocks(&cuts, (PIECE_CELLS_MAX / cells_per_step.max(1)).max(1))
}

/// From (group, cells before time, cells after) to (cells before time, group, cells after).
fn in_file_order(axis: usize, groups: usize, column: &Region, values: Vec<f64>) -> Vec<f64> {
    let outer: usize = column[..axis].iter().map(Range::len).product();
    if outer <= 1 || groups <= 1 {
        return values;
    }
    let inner: usize = column[axis + 1..].iter().map(Range::len).product();
    let mut ordered = Vec::with_capacity(values.len());
    for row in 0..outer {
        for group in 0..groups {
            let start = (group * outer + row) * inner;
            ordered.extend_from_slice(&values[start..start + inner]);
        }
    }
    ordered
}
