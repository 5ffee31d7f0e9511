//! Where the cells of an operand lie for the cells of a result.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use crate::error::CubeError;
use crate::plan::expr::{Expr, Held, Readable};
use crate::plan::picks::Picks;
use crate::plan::region::{self, Region};

use super::program::Line;

/// Values that are looked up for a cell of the result.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) expr: Expr,
    /// For each dimension of the values, how its index follows.
    pub(crate) lookups: Vec<Lookup>,
}

/// How the index along one dimension of an operand follows from that of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The index along this dimension of the result.
    Same(usize),
    /// Always this.
    At(usize),
    /// By a table, from the index along this dimension of the result.
    Table(usize, Arc<Vec<usize>>),
}

/// What of an operand a region of the result needs.
struct Needs {
    /// Along each dimension of the operand.
    picks: Vec<Need>,
    /// For each dimension of the result, what each index of the region adds to the place in
    /// the values that are pulled.
    steps: Vec<Vec<usize>>,
}

enum Need {
    Range(Range<usize>),
    /// Ascending.
    Indices(Vec<usize>),
}

impl Need {
    fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Indices(indices) => indices.len(),
        }
    }
}

/// Buffers that a thread keeps, and how long they may be.
const SPARE_BUFFERS: usize = 4;
const SPARE_CELLS_MAX: usize = 4 << 20;

thread_local! {
    /// New memory for every block costs more than what is computed of it.
    static SPARE: RefCell<Vec<Vec<f64>>> = RefCell::default();
    static SPARE_SINGLE: RefCell<Vec<Vec<f32>>> = RefCell::default();
}

/// Numbers whose buffers are kept.
trait Spare: Readable {
    fn with_spare<R>(use_it: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> R;
}

impl Spare for f64 {
    fn with_spare<R>(use_it: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> R {
        SPARE.with_borrow_mut(use_it)
    }
}

impl Spare for f32 {
    fn with_spare<R>(use_it: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> R {
        SPARE_SINGLE.with_borrow_mut(use_it)
    }
}

/// A region of an expression, in a buffer of zeros; of anything where every cell is written by a
/// copy, as plain values are.
fn fill<T: Spare>(expr: &Expr, region: &[Range<usize>]) -> Result<Vec<T>, CubeError> {
    let mut values = T::with_spare(Vec::pop).unwrap_or_default();
    if !expr.writes_all() {
        values.clear();
    }
    values.resize(region::cells(region), T::default());
    expr.fill(region, &mut values)?;
    Ok(values)
}

fn keep<T: Spare>(values: Vec<T>) {
    if values.capacity() <= SPARE_CELLS_MAX {
        T::with_spare(|spare| {
            if spare.len() < SPARE_BUFFERS {
                spare.push(values);
            }
        });
    }
}

impl Drop for Pulled {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.values, Numbers::Double(Vec::new())) {
            Numbers::Double(values) => keep(values),
            Numbers::Single(values) => keep(values),
            Numbers::Held(_) => {}
        }
    }
}

/// The values of an operand for a region of the result.
pub(super) struct Pulled {
    pub(super) values: Numbers,
    /// For each dimension of the result, what each index of the region adds to the place.
    pub(super) steps: Vec<Vec<usize>>,
    /// The place of the first.
    pub(super) start: usize,
}

/// As they lie in memory.
pub(super) enum Numbers {
    Double(Vec<f64>),
    /// Of a file that has no more digits: half the memory to go through.
    Single(Vec<f32>),
    /// All of an array that is in memory anyway.
    Held(Arc<Vec<f64>>),
}

impl Numbers {
    /// Those from a place on.
    pub(super) fn from(&self, place: usize) -> Line<'_> {
        match self {
            Self::Double(values) => Line::Double(&values[place..]),
            Self::Single(values) => Line::Single(&values[place..]),
            Self::Held(values) => Line::Double(&values[place..]),
        }
    }
}

impl Lookup {
    /// The range of the operand that a region of the result needs.
    fn range(&self, region: &[Range<usize>]) -> Range<usize> {
        match self {
            Self::Same(dim) => region[*dim].clone(),
            Self::At(index) => *index..index + 1,
            Self::Table(dim, table) => {
                let used = &table[region[*dim].clone()];
                let low = used.iter().copied().min().unwrap_or(0);
                low..used.iter().copied().max().map_or(low, |high| high + 1)
            }
        }
    }

    /// The lookup of an operand whose own result is looked up by `outer`.
    pub(super) fn through(&self, outer: &[Self]) -> Self {
        match self {
            Self::At(index) => Self::At(*index),
            Self::Same(dim) => outer[*dim].clone(),
            Self::Table(dim, table) => match &outer[*dim] {
                Self::Same(of) => Self::Table(*of, Arc::clone(table)),
                Self::At(index) => Self::At(table[*index]),
                Self::Table(of, first) => {
                    let composed = first.iter().map(|&index| table[index]).collect();
                    Self::Table(*of, Arc::new(composed))
                }
            },
        }
    }
}

impl Operand {
    /// Whether every cell of a result of this shape has its own cell at the same place.
    pub(super) fn is_whole(&self, shape: &[usize]) -> bool {
        let same = |(dim, lookup): (usize, &Lookup)| *lookup == Lookup::Same(dim);
        self.lookups.len() == shape.len() && self.lookups.iter().enumerate().all(same)
    }

    pub(super) fn is_same(&self, expr: &Expr, lookups: &[Lookup]) -> bool {
        self.lookups == lookups && self.expr.is_same(expr)
    }

    /// The dimension of the operand that runs with a dimension of the result.
    pub(super) fn follows(&self, dim: usize) -> Option<usize> {
        let follows = |lookup: &Lookup| matches!(lookup, Lookup::Same(of) if *of == dim);
        self.lookups.iter().position(follows)
    }

    /// The same for some indices of one dimension of the result.
    pub(super) fn pick(&self, dim: usize, picks: &Picks) -> Self {
        let mut picked = self.clone();
        for (own, lookup) in self.lookups.iter().enumerate() {
            match lookup {
                Lookup::Same(of) if *of == dim => picked.expr = picked.expr.pick(own, picks),
                Lookup::Table(of, table) if *of == dim => {
                    let table = picks.indices().map(|index| table[index]).collect();
                    picked.lookups[own] = Lookup::Table(dim, Arc::new(table));
                }
                _ => {}
            }
        }
        picked
    }

    /// About how many bytes of files the values for a region of the result lie in.
    pub(super) fn stored_bytes(&self, region: &[Range<usize>]) -> u64 {
        let own: Region = self
            .lookups
            .iter()
            .map(|lookup| lookup.range(region))
            .collect();
        self.expr.stored_bytes(&own)
    }

    /// The values for a region of the result.
    pub(super) fn pull(&self, region: &[Range<usize>]) -> Result<Pulled, CubeError> {
        if let Expr::Held(held) = &self.expr {
            return Ok(self.look_into(held, region));
        }
        let Needs { picks, steps } = self.needs(region);
        let mut own = Region::with_capacity(picks.len());
        let mut expr = self.expr.clone();
        for (dim, need) in picks.into_iter().enumerate() {
            own.push(match need {
                Need::Range(range) => range,
                Need::Indices(indices) => {
                    let len = indices.len();
                    expr = expr.pick(dim, &Picks::from_indices(indices));
                    0..len
                }
            });
        }
        let values = match expr.is_single() {
            true => Numbers::Single(fill(&expr, &own)?),
            false => Numbers::Double(fill(&expr, &own)?),
        };
        Ok(Pulled {
            values,
            steps,
            start: 0,
        })
    }

    /// The same of an array in memory, where it lies.
    fn look_into(&self, held: &Held, region: &[Range<usize>]) -> Pulled {
        let mut steps: Vec<Vec<usize>> = region.iter().map(|range| vec![0; range.len()]).collect();
        let mut start = 0;
        for (lookup, stride) in self.lookups.iter().zip(region::strides(&held.shape)) {
            match lookup {
                Lookup::At(index) => start += index * stride,
                Lookup::Same(dim) => {
                    start += region[*dim].start * stride;
                    for (index, step) in steps[*dim].iter_mut().enumerate() {
                        *step += index * stride;
                    }
                }
                Lookup::Table(dim, table) => {
                    let used = &table[region[*dim].clone()];
                    for (step, index) in steps[*dim].iter_mut().zip(used) {
                        *step += index * stride;
                    }
                }
            }
        }
        Pulled {
            values: Numbers::Held(Arc::clone(&held.values)),
            steps,
            start,
        }
    }

    fn needs(&self, region: &[Range<usize>]) -> Needs {
        let needs = self.lookups.iter().map(|lookup| {
            let range = lookup.range(region);
            let Lookup::Table(dim, table) = lookup else {
                return Need::Range(range);
            };
            let mut indices = table[region[*dim].clone()].to_vec();
            indices.sort_unstable();
            indices.dedup();
            // A year that ends and begins in one block needs the first days and the last.
            if indices.len() < range.len() {
                Need::Indices(indices)
            } else {
                Need::Range(range)
            }
        });
        let picks: Vec<Need> = needs.collect();
        let lens: Vec<usize> = picks.iter().map(Need::len).collect();
        let strides = region::strides(&lens);
        let mut steps: Vec<Vec<usize>> = region.iter().map(|range| vec![0; range.len()]).collect();
        for ((lookup, need), stride) in self.lookups.iter().zip(&picks).zip(strides) {
            match lookup {
                Lookup::At(_) => {}
                Lookup::Same(dim) => {
                    for (index, step) in steps[*dim].iter_mut().enumerate() {
                        *step += index * stride;
                    }
                }
                Lookup::Table(dim, table) => {
                    let used = &table[region[*dim].clone()];
                    for (step, index) in steps[*dim].iter_mut().zip(used) {
                        let place = match need {
                            Need::Range(range) => index - range.start,
                            Need::Indices(indices) => indices.partition_point(|i| i < index),
                        };
                        *step += place * stride;
                    }
                }
            }
        }
        Needs { picks, steps }
    }
}
