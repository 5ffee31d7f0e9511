//! How the values of one variable come to be: a tree from which blocks are pulled.
//!
//! Nothing is computed until a region is asked for, and only what it needs is read: selections
//! become smaller reads because regions are mapped through them. Reductions over time cannot
//! give one block without reading many, so the engine runs them as stages of their own and
//! puts the [`Expr::Held`] result in their place.

use std::ops::Range;
use std::sync::Arc;

use super::picks::{Picks, Piece};
use super::region::{self, Region};
use crate::error::CubeError;
use crate::ops::field::FieldMean;
use crate::ops::grouping::Group;
use crate::ops::pair::Pairing;
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
    /// The weighted mean over some dimensions, which keep the length 1.
    Field(Arc<FieldMean>),
    /// Of two, cell by cell.
    Pair(Arc<Pairing>),
    /// Groups of steps, each reduced to one: a stage.
    Time(Arc<TimeReduction>),
    /// Another's, to be read once into memory because it is used again and again: a stage.
    Hold(Arc<Expr>),
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
            Self::Field(field) => field.shape(),
            Self::Pair(pairing) => pairing.shape.clone(),
            Self::Time(reduction) => {
                let mut shape = reduction.child.shape();
                shape[reduction.axis] = reduction.groups.len();
                shape
            }
            Self::Hold(child) => child.shape(),
        }
    }

    /// Whether single precision holds all values exactly.
    pub(crate) fn is_single(&self) -> bool {
        match self {
            Self::Source(source) => source.source.is_f32(source.variable),
            Self::Select { child, .. } => child.is_single(),
            _ => false,
        }
    }

    /// Whether the values are those of a file, unchanged.
    pub(crate) fn is_as_stored(&self) -> bool {
        match self {
            Self::Source(_) => true,
            Self::Select { child, .. } => child.is_as_stored(),
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
            Self::Field(field) if !field.reduced[dim] => {
                let mut field = FieldMean::clone(field);
                field.child = field.child.pick(dim, picks);
                Self::Field(Arc::new(field))
            }
            Self::Source(_) | Self::Held(_) | Self::Field(_) | Self::Pair(_) | Self::Hold(_) => {
                let mut all: Vec<Picks> = shape.iter().map(|&len| Picks::all(len)).collect();
                all[dim] = picks.clone();
                Self::Select {
                    child: Arc::new(self.clone()),
                    picks: all,
                }
            }
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
            Self::Field(field) if field.reduced[dim] => vec![0, 1],
            Self::Field(field) => field.child.cuts(dim),
            Self::Pair(pairing) => pairing.cuts(dim),
            Self::Held(_) | Self::Time(_) | Self::Hold(_) => (0..=self.shape()[dim]).collect(),
        }
    }

    /// How many cells of a file are pulled for each cell that is asked for.
    pub(crate) fn pulled_per_cell(&self) -> usize {
        match self {
            Self::Source(_) | Self::Held(_) | Self::Time(_) | Self::Hold(_) => 1,
            Self::Select { child, .. } => child.pulled_per_cell(),
            Self::Field(field) => field.reduced_cells() * field.child.pulled_per_cell(),
            Self::Pair(pairing) => pairing
                .operands()
                .map(|operand| operand.expr.pulled_per_cell())
                .max()
                .unwrap_or(1),
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
            Self::Field(field) => field.child.stored_bytes(&field.child_region(region)),
            _ => (region::cells(region) * self.pulled_per_cell()) as u64,
        }
    }

    /// Computes a region, the last dimension fastest.
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
            Self::Field(field) => convert(out, |values| field.fill(region, values)),
            Self::Pair(pairing) => convert(out, |values| pairing.fill(region, values)),
            Self::Time(_) | Self::Hold(_) => {
                unreachable!("the engine holds stages before it pulls blocks")
            }
        }
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
