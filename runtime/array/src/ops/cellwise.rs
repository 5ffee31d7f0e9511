//! Results whose cells each follow from cells of some operands by a function of numbers.
//!
//! Arithmetic, comparisons, conditions, expressions and the handling of missing values are all
//! this [`Cellwise`] operation; families make it by a [`Builder`]. Neighbours become one: the
//! function of an operand that is itself cell-wise is taken into that of the result, so that a
//! chain of operators is one pass over the leaves.

pub(crate) mod function;
mod operand;
mod program;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use function::{Binary, Unary};
pub(crate) use operand::Lookup;
pub(crate) use program::Step;

use crate::error::CubeError;
use crate::plan::expr::{Expr, Operation};
use crate::plan::picks::Picks;
use crate::plan::region;
use operand::{Operand, Pulled};
use program::{Machine, Row};

/// Steps of one program; what has more stays an operand of its own. Bounds the work of joining.
const STEPS_MAX: usize = 256;

/// Of operands that are read again and again, those up to this size are held in memory: the
/// climatology of a year of days at 0.5 degrees. Longer ones are read where they are needed.
const HELD_BYTES_MAX: usize = 1 << 30;

/// A function of operands, cell by cell.
#[derive(Clone, Debug)]
pub(crate) struct Cellwise {
    shape: Vec<usize>,
    operands: Vec<Operand>,
    /// The last gives the result.
    steps: Vec<Step>,
}

impl Operation for Cellwise {
    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn children(&self) -> Vec<&Expr> {
        self.operands.iter().map(|operand| &operand.expr).collect()
    }

    fn with_children(&self, children: Vec<Expr>) -> Arc<dyn Operation> {
        let mut changed = self.clone();
        for (operand, expr) in changed.operands.iter_mut().zip(children) {
            operand.expr = expr;
        }
        Arc::new(changed)
    }

    fn as_cellwise(&self) -> Option<&Cellwise> {
        Some(self)
    }

    fn pulled_per_cell(&self) -> usize {
        let pulled = self
            .operands
            .iter()
            .filter(|operand| !is_in_memory(&operand.expr));
        pulled
            .map(|operand| operand.expr.pulled_per_cell())
            .sum::<usize>()
            .max(1)
    }

    /// The cuts of the operand that varies along the dimension; of several, of the first that
    /// is read.
    fn cuts(&self, dim: usize) -> Vec<usize> {
        let following = || {
            let operands = self.operands.iter();
            operands.filter_map(|operand| Some((&operand.expr, operand.follows(dim)?)))
        };
        let read = following().find(|(expr, _)| !is_in_memory(expr));
        match read.or_else(|| following().next()) {
            Some((expr, own)) => expr.cuts(own),
            None => (0..=self.shape[dim]).collect(),
        }
    }

    fn stored_bytes(&self, region: &[Range<usize>]) -> u64 {
        self.operands
            .iter()
            .map(|operand| operand.stored_bytes(region))
            .sum()
    }

    fn pick(&self, dim: usize, picks: &Picks) -> Option<Arc<dyn Operation>> {
        let mut picked = self.clone();
        picked.shape[dim] = picks.len();
        for operand in &mut picked.operands {
            *operand = operand.pick(dim, picks);
        }
        Some(Arc::new(picked))
    }

    fn fill(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        let pulled = self.operands.iter().map(|operand| operand.pull(region));
        let pulled = pulled.collect::<Result<Vec<Pulled>, _>>()?;
        let lens = region::lens(region);
        // Dimensions from here on are one row: along them all operands lie as the result does.
        let split = (0..lens.len())
            .rev()
            .find(|&dim| !lie_alike(&pulled, &lens, dim));
        let split = split.map_or(0, |dim| dim + 1);
        // Where not even the last does, it is a row of looked up places.
        let is_looked_up = split == lens.len() && !lens.is_empty();
        let split = if is_looked_up { split - 1 } else { split };
        let row_len: usize = lens[split..].iter().product();
        let mut machine = Machine::new(&self.steps);
        let mut rows = out.chunks_mut(row_len.max(1));
        region::for_each_index(&lens[..split], |index| {
            let Some(out) = rows.next() else {
                return Ok(());
            };
            let base = |pulled: &Pulled| -> usize {
                index
                    .iter()
                    .zip(&pulled.steps)
                    .map(|(&i, steps)| steps[i])
                    .sum()
            };
            let sources: Vec<Row<'_>> = pulled
                .iter()
                .map(|pulled| Row {
                    values: &pulled.values[base(pulled)..],
                    places: is_looked_up.then(|| pulled.steps[split].as_slice()),
                })
                .collect();
            machine.run(&sources, out);
            Ok(())
        })
    }
}

/// Whether the values of all operands lie one after the other along a dimension, as those of
/// the result do.
fn lie_alike(pulled: &[Pulled], lens: &[usize], dim: usize) -> bool {
    let stride: usize = lens[dim + 1..].iter().product();
    let alike = |pulled: &Pulled| {
        let mut steps = pulled.steps[dim].iter().enumerate();
        steps.all(|(index, &step)| step == index * stride)
    };
    pulled.iter().all(alike)
}

/// Whether pulling it reads no file.
fn is_in_memory(expr: &Expr) -> bool {
    match expr {
        Expr::Held(_) | Expr::Hold(_) | Expr::Time(_) => true,
        Expr::Select { child, .. } => is_in_memory(child),
        _ => false,
    }
}

/// Makes a cell-wise result step by step.
#[derive(Debug)]
pub(crate) struct Builder {
    shape: Vec<usize>,
    operands: Vec<Operand>,
    steps: Vec<Step>,
    /// Where a step is that has been made before.
    known: HashMap<Step, usize>,
}

impl Builder {
    /// Of a result of this shape.
    pub(crate) fn new(shape: Vec<usize>) -> Self {
        Self {
            shape,
            operands: Vec::new(),
            steps: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// A value that lies at the same place.
    pub(crate) fn whole(&mut self, expr: &Expr) -> usize {
        let lookups = (0..self.shape.len()).map(Lookup::Same).collect();
        self.operand(expr, lookups)
    }

    /// A value that is looked up, one lookup a dimension of `expr`.
    pub(crate) fn operand(&mut self, expr: &Expr, lookups: Vec<Lookup>) -> usize {
        if let Expr::Operation(operation) = expr
            && let Some(inner) = operation.as_cellwise()
            && inner.steps.len() + self.steps.len() <= STEPS_MAX
            && !self.is_repeated(&lookups)
        {
            return self.take_in(inner, &lookups);
        }
        let expr = if self.is_repeated(&lookups) && is_small(expr) && !is_in_memory(expr) {
            Expr::Hold(Arc::new(expr.clone()))
        } else {
            expr.clone()
        };
        self.leaf(expr, lookups)
    }

    fn take_in(&mut self, inner: &Cellwise, lookups: &[Lookup]) -> usize {
        let mut numbers: Vec<usize> = Vec::with_capacity(inner.steps.len());
        for step in &inner.steps {
            let number = match *step {
                Step::Operand(operand) => {
                    let Operand { expr, lookups: own } = &inner.operands[operand];
                    let lookups = own.iter().map(|lookup| lookup.through(lookups)).collect();
                    self.leaf(expr.clone(), lookups)
                }
                step => self.push(step.renumbered(|input| numbers[input])),
            };
            numbers.push(number);
        }
        numbers.last().copied().unwrap_or(0)
    }

    fn leaf(&mut self, expr: Expr, lookups: Vec<Lookup>) -> usize {
        let known = self
            .operands
            .iter()
            .position(|known| known.is_same(&expr, &lookups));
        let operand = known.unwrap_or_else(|| {
            self.operands.push(Operand { expr, lookups });
            self.operands.len() - 1
        });
        self.push(Step::Operand(operand))
    }

    /// Whether one value is used for several cells of the result.
    fn is_repeated(&self, lookups: &[Lookup]) -> bool {
        let is_repeating = |(dim, &len): (usize, &usize)| {
            let of_dim = |lookup: &&Lookup| matches!(lookup, Lookup::Same(of) | Lookup::Table(of, _) if *of == dim);
            match lookups.iter().find(of_dim) {
                Some(Lookup::Table(_, table)) => !table.is_sorted_by(|a, b| a < b),
                Some(_) => false,
                None => len > 1,
            }
        };
        self.shape.iter().enumerate().any(is_repeating)
    }

    fn push(&mut self, step: Step) -> usize {
        let next = self.steps.len();
        let number = *self.known.entry(step).or_insert(next);
        if number == next {
            self.steps.push(step);
        }
        number
    }

    /// A number.
    pub(crate) fn constant(&mut self, value: f64) -> usize {
        self.push(Step::Constant(value.to_bits()))
    }

    /// A function of an earlier step.
    pub(crate) fn unary(&mut self, function: Unary, of: usize) -> usize {
        self.push(Step::Unary(function, of))
    }

    /// A function of two earlier steps.
    pub(crate) fn binary(&mut self, function: Binary, left: usize, right: usize) -> usize {
        self.push(Step::Binary(function, left, right))
    }

    /// `yes` where the condition is not zero, else `no`; missing where the condition is.
    pub(crate) fn choose(&mut self, condition: usize, yes: usize, no: usize) -> usize {
        self.push(Step::Choose([condition, yes, no]))
    }

    /// The result, which is that of a step.
    pub(crate) fn finish(mut self, result: usize) -> Expr {
        if let Step::Operand(operand) = self.steps[result]
            && self.operands[operand].is_whole(&self.shape)
        {
            return self.operands.swap_remove(operand).expr;
        }
        // Nothing that comes after it is needed.
        self.steps.truncate(result + 1);
        self.drop_unused_operands();
        Expr::Operation(Arc::new(Cellwise {
            shape: self.shape,
            operands: self.operands,
            steps: self.steps,
        }))
    }
}

impl Builder {
    fn drop_unused_operands(&mut self) {
        let mut place_of = HashMap::new();
        let mut kept = Vec::new();
        for step in &mut self.steps {
            if let Step::Operand(operand) = step {
                let place = *place_of.entry(*operand).or_insert_with(|| {
                    kept.push(self.operands[*operand].clone());
                    kept.len() - 1
                });
                *operand = place;
            }
        }
        self.operands = kept;
    }
}

fn is_small(expr: &Expr) -> bool {
    let cells = expr
        .shape()
        .iter()
        .try_fold(1_usize, |cells, &len| cells.checked_mul(len));
    cells.is_some_and(|cells| cells <= HELD_BYTES_MAX / size_of::<f64>())
}
