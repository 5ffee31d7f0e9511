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
                    values: pulled.values.from(pulled.start + base(pulled)),
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
                Some(Lookup::Table(_, table)) => repeats(table),
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

/// Whether an index stands in a table more than once.
fn repeats(table: &[usize]) -> bool {
    let mut seen: Vec<usize> = table.to_vec();
    seen.sort_unstable();
    seen.windows(2).any(|pair| pair[0] == pair[1])
}

fn is_small(expr: &Expr) -> bool {
    let cells = expr
        .shape()
        .iter()
        .try_fold(1_usize, |cells, &len| cells.checked_mul(len));
    cells.is_some_and(|cells| cells <= HELD_BYTES_MAX / size_of::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::expr::Held;

    fn held(shape: &[usize], value: impl Fn(usize) -> f64) -> Expr {
        let cells = shape.iter().product();
        Expr::Held(Held {
            shape: shape.to_vec(),
            values: Arc::new((0..cells).map(value).collect()),
        })
    }

    fn values(expr: &Expr, region: &[Range<usize>]) -> Vec<f64> {
        let mut out = vec![0.0; region::cells(region)];
        expr.fill(region, &mut out).unwrap();
        out
    }

    fn program(expr: &Expr) -> &Cellwise {
        match expr {
            Expr::Operation(operation) => operation.as_cellwise().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// `-mulc,2 -subc,1 -sub a b` and what follows from doubling a variable 30 times.
    #[test]
    fn a_chain_is_one_program_over_its_leaves() {
        let shape = [3, 700];
        let (a, b) = (held(&shape, |i| i as f64), held(&shape, |i| 0.5 * i as f64));
        let mut builder = Builder::new(shape.to_vec());
        let (left, right) = (builder.whole(&a), builder.whole(&b));
        let difference = builder.binary(Binary::Subtract, left, right);
        let mut expr = builder.finish(difference);
        for (function, number) in [(Binary::Subtract, 1.0), (Binary::Multiply, 2.0)] {
            let mut builder = Builder::new(shape.to_vec());
            let value = builder.whole(&expr);
            let number = builder.constant(number);
            let result = builder.binary(function, value, number);
            expr = builder.finish(result);
        }
        assert_eq!(program(&expr).operands.len(), 2);
        assert_eq!(program(&expr).steps.len(), 7);
        let expected: Vec<f64> = (700..2100).map(|i| 2.0 * (0.5 * i as f64 - 1.0)).collect();
        assert_eq!(values(&expr, &[1..3, 0..700]), expected);
        let mut doubled = a;
        for _ in 0..30 {
            let mut builder = Builder::new(shape.to_vec());
            let (left, right) = (builder.whole(&doubled), builder.whole(&doubled));
            let sum = builder.binary(Binary::Add, left, right);
            doubled = builder.finish(sum);
        }
        assert_eq!(program(&doubled).steps.len(), 31);
        assert_eq!(values(&doubled, &[0..1, 1..2]), [(1_u64 << 30) as f64]);
    }

    proptest::proptest! {
        /// Any lookups give what an index by index look gives, joined or not, picked or not.
        #[test]
        fn lookups_find_their_cells(
            table in proptest::collection::vec(0_usize..4, 1..6),
            fixed in 0_usize..3,
            picked in proptest::collection::vec(0_usize..100, 1..5),
            joins in proptest::bool::ANY,
        ) {
            let shape = vec![table.len(), 7];
            let looked_up = held(&[4, 3, 7], |i| i as f64);
            let inner = if joins {
                let mut builder = Builder::new(vec![4, 3, 7]);
                let value = builder.whole(&looked_up);
                let one = builder.constant(1.0);
                let sum = builder.binary(Binary::Add, value, one);
                builder.finish(sum)
            } else {
                held(&[4, 3, 7], |i| i as f64 + 1.0)
            };
            let mut builder = Builder::new(shape.clone());
            let whole = held(&shape, |i| 1000.0 * i as f64);
            let lookups = vec![
                Lookup::Table(0, Arc::new(table.clone())),
                Lookup::At(fixed),
                Lookup::Same(1),
            ];
            let (left, right) = (builder.whole(&whole), builder.operand(&inner, lookups));
            let sum = builder.binary(Binary::Add, left, right);
            let expr = builder.finish(sum);
            // The engine holds what is used again and again.
            let expr = hold(&expr);
            let at = |row: usize, column: usize| {
                1000.0 * (row * 7 + column) as f64
                    + ((table[row] * 3 + fixed) * 7 + column) as f64
                    + 1.0
            };
            let expected: Vec<f64> = (0..table.len())
                .flat_map(|row| (2..6).map(move |column| (row, column)))
                .map(|(row, column)| at(row, column))
                .collect();
            proptest::prop_assert_eq!(values(&expr, &[0..table.len(), 2..6]), expected);
            let rows: Vec<usize> = picked.into_iter().map(|row| row % table.len()).collect();
            let expected: Vec<f64> = rows.iter().map(|&row| at(row, 3)).collect();
            let picks = Picks::from_indices(rows.iter().copied());
            let few = expr.pick(0, &picks);
            proptest::prop_assert_eq!(values(&few, &[0..rows.len(), 3..4]), expected);
        }
    }

    /// The same with every stage computed.
    fn hold(expr: &Expr) -> Expr {
        let mut expr = expr.clone();
        while let Some(stage) = expr
            .innermost_stages()
            .first()
            .map(|stage| (*stage).clone())
        {
            let Expr::Hold(child) = &stage else {
                panic!("{stage:?}");
            };
            let shape = child.shape();
            let region: Vec<Range<usize>> = shape.iter().map(|&len| 0..len).collect();
            let values = values(child, &region);
            let held = held(&shape, |cell| values[cell]);
            expr = expr.replace(&[(stage, held)]);
        }
        expr
    }
}
