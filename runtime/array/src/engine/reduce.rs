//! Reductions over time: every chunk is decoded once, partial results merge by a fixed tree.
//!
//! Memory of a rank: the partial results of one batch ([`BATCH_BYTES_MAX`]) a few times over,
//! and one unit a thread.

mod interleaved;
mod rows;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use self::rows::Rows;
use super::tree::{Merge, Place, Tree};
use super::{Job, Progress, Run, Writers, agree, units};
use crate::error::CubeError;
use crate::ops::grouping::Group;
use crate::ops::statistic::{self, Accumulator, Partial, Statistic, Steps};
use crate::plan::expr::{Expr, Held, Readable, TimeReduction};
use crate::plan::region::{self, Region};

/// Partial results that are computed together. Groups and columns beyond it come in a later
/// batch; a chunk that spans two batches is decoded in both.
const BATCH_BYTES_MAX: usize = 48 << 20;

/// Cells that are decoded before they are added up, so that they are still in the cache.
const PIECE_CELLS_MAX: usize = 1 << 19;

/// Statistics of the same groups of the same data, which one pass over it gives.
pub(super) struct Joint<'a> {
    child: &'a Expr,
    axis: usize,
    groups: &'a [Group],
    /// A number of each step; else its index.
    numbers: Option<&'a [f64]>,
    statistics: Vec<Statistic>,
    /// Each once, however many statistics need it.
    accumulators: Vec<Accumulator>,
    /// Partial results that were merged into others: memory that is there already.
    spare: Mutex<Vec<Vec<Partial>>>,
}

impl<'a> Joint<'a> {
    /// `child` is that of the first reduction, with its stages held.
    pub(super) fn new(
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
    fn partials(&self, cells: usize) -> Vec<Partial> {
        if let Some(mut partials) = self.spare().pop() {
            partials.iter_mut().for_each(|partial| partial.clear(cells));
            return partials;
        }
        let new = |&accumulator| Partial::new(accumulator, cells);
        self.accumulators.iter().map(new).collect()
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<Partial>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cutting(&self) -> units::Cutting {
        units::cut(self.child, self.axis, units::REDUCED_CELLS_MAX)
    }

    fn bytes_per_cell(&self) -> usize {
        self.accumulators.iter().map(|a| a.bytes_per_cell()).sum()
    }

    fn finish(&self, statistic: Statistic, partials: &[Partial], group: usize) -> Vec<f64> {
        let of = |wanted: &Accumulator| partials.iter().find(|p| p.accumulator == *wanted);
        let parts: Vec<&Partial> = statistic.accumulators().iter().filter_map(of).collect();
        statistic.finish(&parts, &self.groups[group])
    }
}

/// What is kept of some groups of one column, by group: one partial an accumulator.
struct Segment<'a> {
    joint: &'a Joint<'a>,
    groups: BTreeMap<usize, Vec<Partial>>,
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

/// Some steps of one column.
struct Unit {
    /// Index into the batch's columns.
    column: usize,
    /// Its place among the column's units.
    leaf: usize,
    /// In the order of time.
    steps: Vec<Range<usize>>,
}

/// Groups and columns that are computed together.
struct Batch {
    groups: Range<usize>,
    columns: Vec<Region>,
    /// Column by column, in the order of time.
    units: Vec<Unit>,
    /// How many units each column has.
    units_per_column: usize,
}

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
            let computed = self.pool.install(|| {
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

impl Batch {
    fn regions(&self, unit: &Unit, axis: usize) -> impl Iterator<Item = Region> {
        unit.steps.iter().map(move |steps| {
            let mut region = self.columns[unit.column].clone();
            region[axis] = steps.clone();
            region
        })
    }
}

fn column_cells(column: &Region, axis: usize) -> usize {
    let others = column.iter().enumerate().filter(|(dim, _)| *dim != axis);
    others.map(|(_, range)| range.len()).product()
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

/// Cuts the work so that the partial results of a batch fit [`BATCH_BYTES_MAX`], if a single
/// group of a single column does.
fn batches(joint: &Joint<'_>, cutting: &units::Cutting) -> Vec<Batch> {
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

/// Partial results as bytes, between ranks of one program.
mod wire {
    use super::{Accumulator, BTreeMap, Partial, Place};

    pub(super) fn encode<'a>(
        column: usize,
        place: Place,
        groups: impl ExactSizeIterator<Item = (&'a usize, &'a Vec<Partial>)>,
        bytes: &mut Vec<u8>,
    ) {
        for number in [column, place.level as usize, place.index, groups.len()] {
            bytes.extend_from_slice(&(number as u64).to_le_bytes());
        }
        for (group, partials) in groups {
            bytes.extend_from_slice(&(*group as u64).to_le_bytes());
            for partial in partials {
                let Partial {
                    counts,
                    first,
                    second,
                    third,
                    fourth,
                    ..
                } = partial;
                bytes.extend_from_slice(&(counts.len() as u64).to_le_bytes());
                bytes.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
                for numbers in [first, second, third, fourth] {
                    bytes.extend_from_slice(&(numbers.len() as u64).to_le_bytes());
                    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
                }
            }
        }
    }

    /// A node: its column, its place, and its partials by group.
    type Node = (usize, Place, BTreeMap<usize, Vec<Partial>>);

    /// Takes one node off the front; `None` if the bytes are not one.
    pub(super) fn decode(accumulators: &[Accumulator], rest: &mut &[u8]) -> Option<Node> {
        let column = number(rest)?;
        let place = Place {
            level: u32::try_from(number(rest)?).ok()?,
            index: number(rest)?,
        };
        let mut groups = BTreeMap::new();
        for _ in 0..number(rest)? {
            let group = number(rest)?;
            let partials = accumulators
                .iter()
                .map(|&accumulator| partial(accumulator, rest));
            groups.insert(group, partials.collect::<Option<_>>()?);
        }
        Some((column, place, groups))
    }

    fn partial(accumulator: Accumulator, rest: &mut &[u8]) -> Option<Partial> {
        let counts = number(rest)?;
        let counts = take(rest, counts.checked_mul(4)?)?.as_chunks::<4>().0;
        let counts = counts.iter().map(|bytes| u32::from_le_bytes(*bytes));
        Some(Partial {
            accumulator,
            counts: counts.collect(),
            first: doubles(rest)?,
            second: doubles(rest)?,
            third: doubles(rest)?,
            fourth: doubles(rest)?,
        })
    }

    fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (taken, tail) = rest.split_at_checked(count)?;
        *rest = tail;
        Some(taken)
    }

    fn number(rest: &mut &[u8]) -> Option<usize> {
        let bytes = take(rest, 8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    }

    /// As many as a number before them says.
    fn doubles(rest: &mut &[u8]) -> Option<Vec<f64>> {
        let count = number(rest)?;
        let bytes = take(rest, count.checked_mul(8)?)?.as_chunks::<8>().0;
        Some(
            bytes
                .iter()
                .map(|bytes| f64::from_le_bytes(*bytes))
                .collect(),
        )
    }
}
