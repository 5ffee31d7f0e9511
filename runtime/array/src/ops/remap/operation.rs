//! Fields on another grid, computed block by block.

use std::ops::Range;
use std::sync::Arc;

use crate::error::CubeError;
use crate::plan::expr::{Expr, Operation, Readable};
use crate::plan::picks::Picks;
use crate::plan::region::{self, Region};
use crate::remap::{MissingRule, Weights};

/// The values of another variable on another grid.
#[derive(Clone, Debug)]
pub(super) struct Remapped {
    pub(super) child: Expr,
    /// Which dimensions of the child are the source grid's, in its order.
    pub(super) places: Vec<usize>,
    /// Its other dimensions. The result has these first, then the target grid's.
    pub(super) outer: Vec<usize>,
    pub(super) weights: Arc<Weights>,
    /// The shape of the target grid.
    pub(super) target: Vec<usize>,
    pub(super) rule: MissingRule,
}

impl Operation for Remapped {
    fn shape(&self) -> Vec<usize> {
        let shape = self.child.shape();
        let outer = self.outer.iter().map(|&dim| shape[dim]);
        outer.chain(self.target.iter().copied()).collect()
    }

    fn children(&self) -> Vec<&Expr> {
        vec![&self.child]
    }

    fn with_children(&self, mut children: Vec<Expr>) -> Arc<dyn Operation> {
        Arc::new(Self {
            child: children.remove(0),
            ..self.clone()
        })
    }

    /// A field is never cut: every part of it may need all of the source.
    fn cuts(&self, dim: usize) -> Vec<usize> {
        match self.outer.get(dim) {
            Some(&dim) => self.child.cuts(dim),
            None => vec![0, self.target[dim - self.outer.len()]],
        }
    }

    fn pulled_per_cell(&self) -> usize {
        let ratio = self
            .weights
            .source_size()
            .div_ceil(self.weights.target_size());
        ratio * self.child.pulled_per_cell()
    }

    fn stored_bytes(&self, region: &[Range<usize>]) -> u64 {
        self.child.stored_bytes(&self.child_region(region))
    }

    fn pick(&self, dim: usize, picks: &Picks) -> Option<Arc<dyn Operation>> {
        let dim = *self.outer.get(dim)?;
        Some(self.with_children(vec![self.child.pick(dim, picks)]))
    }

    fn fill(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        if self.child.is_single() {
            self.fill_from::<f32>(region, out)
        } else {
            self.fill_from::<f64>(region, out)
        }
    }
}

impl Remapped {
    /// What of the child a region of the result needs: whole fields.
    fn child_region(&self, region: &[Range<usize>]) -> Region {
        let mut source: Region = self.child.shape().iter().map(|&len| 0..len).collect();
        for (&dim, range) in self.outer.iter().zip(region) {
            source[dim] = range.clone();
        }
        source
    }

    fn fill_from<T: Readable + Into<f64>>(
        &self,
        region: &[Range<usize>],
        out: &mut [f64],
    ) -> Result<(), CubeError> {
        let source = self.child_region(region);
        let mut values = vec![T::default(); region::cells(&source)];
        self.child.fill(&source, &mut values)?;
        let order: Vec<usize> = self.outer.iter().chain(&self.places).copied().collect();
        if !order.is_sorted() {
            values = permuted(&values, &region::lens(&source), &order);
        }
        let target = &region[self.outer.len()..];
        let fields = values.chunks(self.weights.source_size());
        for (field, out) in fields.zip(out.chunks_mut(region::cells(target).max(1))) {
            self.remap_field(field, target, out);
        }
        Ok(())
    }

    /// Part of a field, row by row.
    fn remap_field<T: Readable + Into<f64>>(
        &self,
        field: &[T],
        target: &[Range<usize>],
        out: &mut [f64],
    ) {
        let whole = target.iter().zip(&self.target);
        if whole.clone().all(|(range, &len)| *range == (0..len)) {
            return self.weights.apply(field, out, self.rule);
        }
        let strides = region::strides(&self.target);
        let last = target.len() - 1;
        let mut rows = out.chunks_mut(target[last].len().max(1));
        let start: usize = target
            .iter()
            .zip(&strides)
            .map(|(range, stride)| range.start * stride)
            .sum();
        let Ok(()) = region::for_each_index(&region::lens(&target[..last]), |index| {
            if let Some(row) = rows.next() {
                let first = start + region::place(index, &strides);
                self.weights.apply_from(field, first, row, self.rule);
            }
            Ok::<(), std::convert::Infallible>(())
        });
    }
}

/// The values with their dimensions in another order.
fn permuted<T: Copy>(values: &[T], lens: &[usize], order: &[usize]) -> Vec<T> {
    let strides = region::strides(lens);
    let strides: Vec<usize> = order.iter().map(|&dim| strides[dim]).collect();
    let lens: Vec<usize> = order.iter().map(|&dim| lens[dim]).collect();
    let mut out = Vec::with_capacity(values.len());
    let Ok(()) = region::for_each_index(&lens, |index| {
        out.push(values[region::place(index, &strides)]);
        Ok::<(), std::convert::Infallible>(())
    });
    out
}
