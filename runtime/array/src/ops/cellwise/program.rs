//! A function of operands, as steps that are computed one after the other for a run of cells.

use super::function::{Binary, Unary, choose};

/// Cells that all steps are computed for before the next: their values stay in the cache.
const RUN_CELLS: usize = 512;

/// One step. Numbers are those of earlier steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The value of an operand, by its place in the list of these.
    Operand(usize),
    /// A number, by its bits.
    Constant(u64),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    /// The second where the first is not zero, else the third.
    Choose([usize; 3]),
}

impl Step {
    fn inputs(&self) -> ([usize; 3], usize) {
        match *self {
            Self::Operand(_) | Self::Constant(_) => ([0; 3], 0),
            Self::Unary(_, a) => ([a, 0, 0], 1),
            Self::Binary(_, a, b) => ([a, b, 0], 2),
            Self::Choose(inputs) => (inputs, 3),
        }
    }

    /// The same with its inputs renumbered.
    pub(super) fn renumbered(self, number: impl Fn(usize) -> usize) -> Self {
        match self {
            Self::Operand(_) | Self::Constant(_) => self,
            Self::Unary(function, a) => Self::Unary(function, number(a)),
            Self::Binary(function, a, b) => Self::Binary(function, number(a), number(b)),
            Self::Choose(inputs) => Self::Choose(inputs.map(number)),
        }
    }
}

/// The values of one operand along a row of cells.
pub(super) struct Row<'a> {
    pub(super) values: Line<'a>,
    /// The place of each cell's value; `None` if they lie side by side.
    pub(super) places: Option<&'a [usize]>,
}

/// Numbers in memory.
#[derive(Clone, Copy)]
pub(super) enum Line<'a> {
    Double(&'a [f64]),
    Single(&'a [f32]),
}

impl<'a> Row<'a> {
    /// The values where they lie, if that is as they are wanted.
    fn in_place(&self) -> Option<&'a [f64]> {
        match (self.values, self.places) {
            (Line::Double(values), None) => Some(values),
            _ => None,
        }
    }

    /// Copies the values of the cells from `start` on.
    fn load(&self, start: usize, out: &mut [f64]) {
        match self.values {
            Line::Double(values) => load(values, self.places, start, out),
            Line::Single(values) => load(values, self.places, start, out),
        }
    }
}

fn load<T: Copy + Into<f64>>(
    values: &[T],
    places: Option<&[usize]>,
    start: usize,
    out: &mut [f64],
) {
    match places {
        None => {
            let values = &values[start..start + out.len()];
            for (out, &value) in out.iter_mut().zip(values) {
                *out = value.into();
            }
        }
        Some(places) => {
            for (out, &place) in out.iter_mut().zip(&places[start..]) {
                *out = values[place].into();
            }
        }
    }
}

/// Runs steps.
pub(super) struct Machine<'a> {
    steps: &'a [Step],
    /// Which buffer each step's result is in.
    buffer_of: Vec<usize>,
    buffers: Vec<Vec<f64>>,
}

impl<'a> Machine<'a> {
    /// Assigns buffers: one is free again after the last step that reads it. The result is that
    /// of the last step.
    pub(super) fn new(steps: &'a [Step]) -> Self {
        let mut last_use = vec![usize::MAX; steps.len()];
        for (number, step) in steps.iter().enumerate() {
            let (inputs, count) = step.inputs();
            inputs[..count]
                .iter()
                .for_each(|&input| last_use[input] = number);
        }
        let mut buffers: Vec<Vec<f64>> = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        let mut buffer_of = Vec::with_capacity(steps.len());
        for (number, step) in steps.iter().enumerate() {
            let buffer = match step {
                // Constants keep theirs, filled once.
                Step::Constant(bits) => {
                    buffers.push(vec![f64::from_bits(*bits); RUN_CELLS]);
                    buffers.len() - 1
                }
                _ => free.pop().unwrap_or_else(|| {
                    buffers.push(vec![0.0; RUN_CELLS]);
                    buffers.len() - 1
                }),
            };
            buffer_of.push(buffer);
            let (inputs, count) = step.inputs();
            for (place, &input) in inputs[..count].iter().enumerate() {
                let is_constant = matches!(steps[input], Step::Constant(_));
                let seen = inputs[..place].contains(&input);
                if last_use[input] == number && !is_constant && !seen {
                    free.push(buffer_of[input]);
                }
            }
        }
        Self {
            steps,
            buffer_of,
            buffers,
        }
    }

    /// Computes a row of cells; `rows` are those of the operands.
    pub(super) fn run(&mut self, rows: &[Row<'_>], out: &mut [f64]) {
        let Some(last) = self.steps.len().checked_sub(1) else {
            return;
        };
        for (number, out) in out.chunks_mut(RUN_CELLS).enumerate() {
            let start = number * RUN_CELLS;
            for step in 0..last {
                let in_place = match self.steps[step] {
                    Step::Constant(_) => true,
                    Step::Operand(operand) => rows[operand].in_place().is_some(),
                    _ => false,
                };
                if in_place {
                    continue;
                }
                // Never the buffer of an input: those are freed after the step has its own.
                let own = self.buffer_of[step];
                let mut buffer = std::mem::take(&mut self.buffers[own]);
                self.step(step, rows, start, &mut buffer[..out.len()]);
                self.buffers[own] = buffer;
            }
            self.step(last, rows, start, out);
        }
    }

    fn step(&self, number: usize, rows: &[Row<'_>], start: usize, out: &mut [f64]) {
        let len = out.len();
        // Operands whose values lie side by side are read where they are.
        let of = |step: usize| {
            let in_place = match self.steps[step] {
                Step::Operand(operand) => rows[operand].in_place(),
                _ => None,
            };
            match in_place {
                Some(values) => &values[start..start + len],
                None => &self.buffers[self.buffer_of[step]][..len],
            }
        };
        match self.steps[number] {
            Step::Operand(operand) => rows[operand].load(start, out),
            Step::Constant(bits) => out.fill(f64::from_bits(bits)),
            Step::Unary(function, a) => function.apply(of(a), out),
            Step::Binary(function, a, b) => function.apply(of(a), of(b), out),
            Step::Choose([condition, yes, no]) => choose(of(condition), [of(yes), of(no)], out),
        }
    }
}
