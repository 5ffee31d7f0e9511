//! How the values of one variable come to be: a tree from which blocks are pulled.
//!
//! Nothing is computed until a region is asked for, and only what it needs is read: selections
//! become smaller reads because regions are mapped through them. Reductions over time cannot
//! give one block without reading many, so the engine runs them as stages of their own and
//! puts the [`Expr::Held`] result in their place.

mod concat;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use self::concat::Concat;
use super::picks::{Picks, Piece};
use super::region::{self, Region};
use super::series::Series;
use crate::error::CubeError;
use crate::ops::cellwise::Cellwise;
use crate::ops::grouping::Group;
use crate::ops::statistic::{Sample, Statistic};
use crate::storage::Source;

/// More cuts of one dimension would only cost memory.
const CUTS_MAX: usize = 1 << 16;

/// The values of one variable.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    /// As a file has them, unpacked, missing ones as NaN.
    Source(SourceVariable),
    /// In memory.
    Held(Held),
    /// Some of another's.
    Select { child: Arc<Expr>, picks: Vec<Picks> },
    /// Several, one after the other along one dimension.
    Concat(Arc<Concat>),
    /// Computed block by block from others.
    Operation(Arc<dyn Operation>),
    /// Groups of steps, each reduced to one: a stage.
    Time(Arc<TimeReduction>),
    /// A function of the whole series of each cell: a stage.
    Series(Arc<Series>),
    /// Another's, to be read once into memory because it is used again and again: a stage.
    Hold(Arc<Expr>),
}

/// What can be computed block by block: the kernel of a family of operators.
///
/// Blocks may be asked for in any order and from many threads at once, and one cell's value
/// must not depend on the block that it is asked for in.
pub(crate) trait Operation: Debug + Send + Sync {
    /// The lengths of the dimensions of the result.
    fn shape(&self) -> Vec<usize>;

    /// What it is computed from.
    fn children(&self) -> Vec<&Expr>;

    /// The same, computed from others of the same shapes, as many as
    /// [`children`](Self::children) and in that order.
    fn with_children(&self, children: Vec<Expr>) -> Arc<dyn Operation>;

    /// Where a dimension is best cut: starts with 0, ends with the length, ascending.
    fn cuts(&self, dim: usize) -> Vec<usize> {
        (0..=self.shape()[dim]).collect()
    }

    /// How many cells of a file are pulled for each cell that is asked for.
    fn pulled_per_cell(&self) -> usize;

    /// About how many bytes of files a region lies in.
    fn stored_bytes(&self, region: &[Range<usize>]) -> u64 {
        (region::cells(region) * self.pulled_per_cell()) as u64
    }

    /// The same for some indices of one dimension only, where less need be computed then.
    fn pick(&self, _dim: usize, _picks: &Picks) -> Option<Arc<dyn Operation>> {
        None
    }

    /// Itself, if it is cell-wise: neighbours of that kind become one.
    fn as_cellwise(&self) -> Option<&Cellwise> {
        None
    }

    /// Computes a region, the last dimension fastest; missing values are NaN.
    fn fill(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError>;
}

/// A variable of an open file.
#[derive(Clone, Debug)]
pub(crate) struct SourceVariable {
    pub(crate) source: Arc<Source>,
    pub(crate) variable: usize,
    pub(crate) shape: Vec<usize>,
}

/// An array in memory.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Arc<Vec<f64>>,
}

/// Groups of steps, each reduced to one.
#[derive(Clone, Debug)]
pub(crate) struct TimeReduction {
    pub(crate) child: Expr,
    /// Which dimension of the child is time.
    pub(crate) axis: usize,
    pub(crate) groups: Vec<Group>,
    /// A number for each step of the child, if the statistic needs other than its index: its
    /// weight or t.
    pub(crate) numbers: Option<Arc<Vec<f64>>>,
    pub(crate) statistic: Statistic,
}

/// What a sample type reads itself by.
pub(crate) trait Readable: Sample {
    fn read(
        source: &SourceVariable,
        region: &[Range<usize>],
        out: &mut [Self],
    ) -> Result<(), CubeError>;
}

impl Readable for f32 {
    fn read(
        from: &SourceVariable,
        region: &[Range<usize>],
        out: &mut [Self],
    ) -> Result<(), CubeError> {
        Ok(from.source.read_f32(from.variable, region, out)?)
    }
}

impl Readable for f64 {
    fn read(
        from: &SourceVariable,
        region: &[Range<usize>],
        out: &mut [Self],
    ) -> Result<(), CubeError> {
        Ok(from.source.read_f64(from.variable, region, out)?)
    }
}

impl Expr {
    /// The lengths of the dimensions.
    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Source(source) => source.shape.clone(),
            Self::Held(held) => held.shape.clone(),
            Self::Select { picks, .. } => picks.iter().map(Picks::len).collect(),
            Self::Concat(concat) => concat.shape(),
            Self::Operation(operation) => operation.shape(),
            Self::Time(reduction) => {
                let mut shape = reduction.child.shape();
                shape[reduction.axis] = reduction.groups.len();
                shape
            }
            Self::Series(series) => series.shape(),
            Self::Hold(child) => child.shape(),
        }
    }

    /// Whether single precision holds all values exactly.
    pub(crate) fn is_single(&self) -> bool {
        match self {
            Self::Source(source) => source.source.is_f32(source.variable),
            Self::Select { child, .. } => child.is_single(),
            Self::Concat(concat) => concat.children.iter().all(Self::is_single),
            _ => false,
        }
    }

    /// Whether the values are those of a file, unchanged.
    pub(crate) fn is_as_stored(&self) -> bool {
        match self {
            Self::Source(_) => true,
            Self::Select { child, .. } => child.is_as_stored(),
            Self::Concat(concat) => concat.children.iter().all(Self::is_as_stored),
            _ => false,
        }
    }

    /// What it is computed from.
    pub(crate) fn children(&self) -> Vec<&Self> {
        match self {
            Self::Source(_) | Self::Held(_) => Vec::new(),
            Self::Select { child, .. } | Self::Hold(child) => vec![child],
            Self::Concat(concat) => concat.children.iter().collect(),
            Self::Operation(operation) => operation.children(),
            Self::Time(reduction) => vec![&reduction.child],
            Self::Series(series) => series.children.iter().collect(),
        }
    }

    /// The same, computed from others of the same shapes.
    fn with_children(&self, mut children: Vec<Self>) -> Self {
        match self {
            Self::Source(_) | Self::Held(_) => self.clone(),
            Self::Select { picks, .. } => Self::Select {
                child: Arc::new(children.remove(0)),
                picks: picks.clone(),
            },
            Self::Hold(_) => Self::Hold(Arc::new(children.remove(0))),
            Self::Concat(concat) => Self::Concat(Arc::new(Concat {
                children,
                axis: concat.axis,
            })),
            Self::Operation(operation) => Self::Operation(operation.with_children(children)),
            Self::Time(reduction) => Self::Time(Arc::new(TimeReduction {
                child: children.remove(0),
                ..TimeReduction::clone(reduction)
            })),
            Self::Series(series) => Self::Series(Arc::new(Series {
                children,
                ..Series::clone(series)
            })),
        }
    }

    /// All that need whole series in it.
    pub(crate) fn series(&self) -> Vec<&Series> {
        let inside = self.children().into_iter().flat_map(Self::series);
        let own = match self {
            Self::Series(series) => Some(&**series),
            _ => None,
        };
        inside.chain(own).collect()
    }

    /// Whether the engine must compute it as a whole before blocks can be pulled.
    pub(crate) fn is_stage(&self) -> bool {
        matches!(self, Self::Time(_) | Self::Series(_) | Self::Hold(_))
    }

    /// The stages in it, itself included, that have no stage inside: those to compute next.
    pub(crate) fn innermost_stages(&self) -> Vec<&Self> {
        let inside: Vec<&Self> = self
            .children()
            .into_iter()
            .flat_map(Self::innermost_stages)
            .collect();
        if inside.is_empty() && self.is_stage() {
            return vec![self];
        }
        inside
    }

    /// The same with each of the first of `pairs` replaced by its second.
    pub(crate) fn replace(&self, pairs: &[(Self, Self)]) -> Self {
        if let Some((_, to)) = pairs.iter().find(|(from, _)| from.is_same(self)) {
            return to.clone();
        }
        let children = self.children();
        if children.is_empty() {
            return self.clone();
        }
        let replaced = children.into_iter().map(|child| child.replace(pairs));
        self.with_children(replaced.collect())
    }

    /// Whether two are the same computation on the same files. May say no of some that are.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Source(left), Self::Source(right)) => {
                left.variable == right.variable && Arc::ptr_eq(&left.source, &right.source)
            }
            (Self::Held(left), Self::Held(right)) => Arc::ptr_eq(&left.values, &right.values),
            (
                Self::Select { child, picks },
                Self::Select {
                    child: right,
                    picks: of_right,
                },
            ) => picks == of_right && child.is_same(right),
            (Self::Concat(left), Self::Concat(right)) => {
                left.axis == right.axis
                    && left.children.len() == right.children.len()
                    && left
                        .children
                        .iter()
                        .zip(&right.children)
                        .all(|(left, right)| left.is_same(right))
            }
            (Self::Operation(left), Self::Operation(right)) => Arc::ptr_eq(left, right),
            (Self::Time(left), Self::Time(right)) => {
                Arc::ptr_eq(left, right)
                    || left.statistic == right.statistic && left.reads_as(right)
            }
            (Self::Series(left), Self::Series(right)) => {
                Arc::ptr_eq(left, right)
                    || Arc::ptr_eq(&left.kernel, &right.kernel)
                        && left.steps == right.steps
                        && left.reads_as(right)
            }
            (Self::Hold(left), Self::Hold(right)) => left.is_same(right),
            _ => false,
        }
    }

    /// Takes some indices of one dimension; moves below reductions, so that less is read.
    pub(crate) fn pick(&self, dim: usize, picks: &Picks) -> Self {
        let shape = self.shape();
        if picks.is_all(shape[dim]) {
            return self.clone();
        }
        match self {
            Self::Select {
                child,
                picks: inner,
            } => {
                let mut composed = inner.clone();
                composed[dim] = composed[dim].compose(picks);
                Self::Select {
                    child: Arc::clone(child),
                    picks: composed,
                }
            }
            Self::Time(reduction) if dim == reduction.axis => {
                let mut reduction = TimeReduction::clone(reduction);
                let groups = picks.indices().map(|group| reduction.groups[group].clone());
                reduction.groups = groups.collect();
                Self::Time(Arc::new(reduction))
            }
            Self::Time(reduction) => {
                let mut reduction = TimeReduction::clone(reduction);
                reduction.child = reduction.child.pick(dim, picks);
                Self::Time(Arc::new(reduction))
            }
            Self::Series(series) if dim != series.axis => {
                let mut series = Series::clone(series);
                for child in &mut series.children {
                    *child = child.pick(dim, picks);
                }
                Self::Series(Arc::new(series))
            }
            Self::Operation(operation) => match operation.pick(dim, picks) {
                Some(operation) => Self::Operation(operation),
                None => self.select(&shape, dim, picks),
            },
            Self::Concat(concat) if dim != concat.axis => {
                let children = concat.children.iter().map(|child| child.pick(dim, picks));
                Self::Concat(Arc::new(Concat {
                    children: children.collect(),
                    axis: concat.axis,
                }))
            }
            Self::Source(_) | Self::Held(_) | Self::Concat(_) | Self::Series(_) | Self::Hold(_) => {
                self.select(&shape, dim, picks)
            }
        }
    }

    fn select(&self, shape: &[usize], dim: usize, picks: &Picks) -> Self {
        let mut all: Vec<Picks> = shape.iter().map(|&len| Picks::all(len)).collect();
        all[dim] = picks.clone();
        Self::Select {
            child: Arc::new(self.clone()),
            picks: all,
        }
    }

    /// Where a dimension is best cut: between storage chunks. Starts with 0, ends with the
    /// length, ascending.
    pub(crate) fn cuts(&self, dim: usize) -> Vec<usize> {
        match self {
            Self::Source(source) => {
                let len = source.shape[dim];
                let chunk = source
                    .source
                    .chunk_shape(source.variable)
                    .map_or(1, |chunk| chunk[dim]);
                // Of a very long dimension every n-th cut is enough.
                let chunk = chunk.max(1);
                let step = chunk.saturating_mul(len / chunk / CUTS_MAX + 1);
                let mut cuts: Vec<usize> = (0..len).step_by(step).collect();
                cuts.push(len);
                cuts
            }
            Self::Select { child, picks } => picks[dim].cuts(&child.cuts(dim)),
            Self::Concat(concat) => concat.cuts(dim),
            Self::Operation(operation) => operation.cuts(dim),
            Self::Held(_) | Self::Time(_) | Self::Series(_) | Self::Hold(_) => {
                (0..=self.shape()[dim]).collect()
            }
        }
    }

    /// How many cells of a file are pulled for each cell that is asked for.
    pub(crate) fn pulled_per_cell(&self) -> usize {
        match self {
            Self::Source(_) | Self::Held(_) | Self::Time(_) | Self::Series(_) | Self::Hold(_) => 1,
            Self::Select { child, .. } => child.pulled_per_cell(),
            Self::Concat(concat) => {
                let children = concat.children.iter();
                children.map(Self::pulled_per_cell).max().unwrap_or(1)
            }
            Self::Operation(operation) => operation.pulled_per_cell(),
        }
    }

    /// About how many bytes of files a region lies in.
    pub(crate) fn stored_bytes(&self, region: &[Range<usize>]) -> u64 {
        match self {
            Self::Source(source) => source.source.stored_bytes(source.variable, region),
            Self::Select { child, picks } => {
                let span = |(range, picks): (&Range<usize>, &Picks)| {
                    let pieces = picks.pieces(range);
                    let start = pieces
                        .iter()
                        .map(|piece| piece.source.start)
                        .min()
                        .unwrap_or(0);
                    let end = pieces
                        .iter()
                        .map(|piece| piece.source.end)
                        .max()
                        .unwrap_or(start);
                    start..end
                };
                let region: Region = region.iter().zip(picks).map(span).collect();
                child.stored_bytes(&region)
            }
            Self::Concat(concat) => {
                let parts = concat.parts(&region[concat.axis]).into_iter();
                let mut region = region.to_vec();
                parts.fold(0, |bytes, part| {
                    region[concat.axis] = part.source;
                    bytes + part.child.stored_bytes(&region)
                })
            }
            Self::Operation(operation) => operation.stored_bytes(region),
            _ => (region::cells(region) * self.pulled_per_cell()) as u64,
        }
    }

    /// Whether [`fill`](Self::fill) writes every cell whatever was there: copies do, and rows of
    /// cells. Others may add to what they find, and find zeros.
    pub(crate) fn writes_all(&self) -> bool {
        match self {
            Self::Source(_) | Self::Held(_) => true,
            Self::Operation(operation) => operation.as_cellwise().is_some(),
            _ => false,
        }
    }

    /// Computes a region, the last dimension fastest; `out` is zeros, unless it
    /// [writes all](Self::writes_all).
    pub(crate) fn fill<T: Readable>(
        &self,
        region: &[Range<usize>],
        out: &mut [T],
    ) -> Result<(), CubeError> {
        debug_assert_eq!(region::cells(region), out.len());
        match self {
            Self::Source(source) => T::read(source, region, out),
            Self::Held(held) => {
                held.copy(region, out);
                Ok(())
            }
            Self::Select { child, picks } => fill_selected(child, picks, region, out),
            Self::Concat(concat) => concat.fill(region, out),
            Self::Operation(operation) => convert(out, |values| operation.fill(region, values)),
            Self::Time(_) | Self::Series(_) | Self::Hold(_) => {
                unreachable!("the engine holds stages before it pulls blocks")
            }
        }
    }
}

impl TimeReduction {
    /// Whether one pass over the data can compute both.
    pub(crate) fn reads_as(&self, other: &Self) -> bool {
        self.axis == other.axis
            && self.groups == other.groups
            && self.numbers == other.numbers
            && self.child.is_same(&other.child)
    }
}

impl Held {
    fn copy<T: Sample>(&self, region: &[Range<usize>], out: &mut [T]) {
        let strides = region::strides(&self.shape);
        let row = region.last().map_or(1, Range::len);
        let outer = region::lens(&region[..region.len().saturating_sub(1)]);
        let start: usize = region
            .iter()
            .zip(&strides)
            .map(|(range, s)| range.start * s)
            .sum();
        let mut rows = out.chunks_mut(row.max(1));
        let Ok(()) = region::for_each_index(&outer, |index| {
            let from = start + region::place(index, &strides);
            if let Some(out) = rows.next() {
                let values = self.values[from..from + row].iter();
                out.iter_mut()
                    .zip(values)
                    .for_each(|(out, &value)| *out = T::from_f64(value));
            }
            Ok::<(), std::convert::Infallible>(())
        });
    }
}

/// Lets `fill` compute in double precision and rounds into `out` if need be.
fn convert<T: Sample>(
    out: &mut [T],
    fill: impl FnOnce(&mut [f64]) -> Result<(), CubeError>,
) -> Result<(), CubeError> {
    if let Some(out) = T::as_f64(out) {
        return fill(out);
    }
    let mut values = vec![0.0; out.len()];
    fill(&mut values)?;
    out.iter_mut()
        .zip(values)
        .for_each(|(out, value)| *out = T::from_f64(value));
    Ok(())
}

fn fill_selected<T: Readable>(
    child: &Expr,
    picks: &[Picks],
    region: &[Range<usize>],
    out: &mut [T],
) -> Result<(), CubeError> {
    let pieces: Vec<Vec<Piece>> = picks
        .iter()
        .zip(region)
        .map(|(picks, range)| picks.pieces(range))
        .collect();
    let counts: Vec<usize> = pieces.iter().map(Vec::len).collect();
    let chosen = |index: &[usize]| -> Vec<&Piece> {
        index
            .iter()
            .zip(&pieces)
            .map(|(&i, pieces)| &pieces[i])
            .collect()
    };
    if counts.iter().all(|&count| count == 1) {
        let whole = chosen(&vec![0; counts.len()]);
        let source: Region = whole.iter().map(|piece| piece.source.clone()).collect();
        return child.fill(&source, out);
    }
    let out_strides = region::strides(&region::lens(region));
    let mut buffer = Vec::new();
    region::for_each_index(&counts, |index| {
        let chosen = chosen(index);
        let source: Region = chosen.iter().map(|piece| piece.source.clone()).collect();
        buffer.clear();
        buffer.resize(region::cells(&source), T::default());
        child.fill(&source, &mut buffer)?;
        let offsets: Vec<usize> = chosen.iter().map(|piece| piece.offset).collect();
        let start = region::place(&offsets, &out_strides);
        let row = source.last().map_or(1, Range::len);
        let outer = region::lens(&source[..source.len().saturating_sub(1)]);
        let mut rows = buffer.chunks(row);
        region::for_each_index(&outer, |index| {
            let to = start + region::place(index, &out_strides);
            if let Some(values) = rows.next() {
                out[to..to + row].copy_from_slice(values);
            }
            Ok(())
        })
    })
}
