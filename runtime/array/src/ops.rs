//! The operators: one table row each, over a few families of kernels.
//!
//! [`crate::command`] finds operators here by name, [`crate::plan`] applies them. To add one:
//! write a row in [`OPERATORS`]; where no family fits, add a [`Kernel`] and its module. What an
//! operator does to the structure of the data is here, how blocks are computed is in
//! [`crate::plan::expr`] and [`crate::engine`].

pub(crate) mod area;
pub(crate) mod field;
pub(crate) mod grouping;
pub(crate) mod pair;
pub(crate) mod select;
pub(crate) mod statistic;
mod table;
pub(crate) mod time;

use std::fmt;
use std::ops::RangeInclusive;

pub use table::OPERATORS;

use crate::command::CommandError;
use crate::cube::Cube;
use crate::error::CubeError;
use field::FieldAxes;
use grouping::Grouping;
use pair::{Arithmetic, Matching};
use statistic::Statistic;

/// One row of the table.
pub struct Operator {
    /// As typed, without the dash.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Rules: missing values, metadata, differences from CDO.
    pub details: &'static str,
    /// What follows `mizar cube` in an example.
    pub example: &'static str,
    /// Its parameters.
    pub arguments: Arguments,
    /// Its inputs.
    pub inputs: Inputs,
    pub(crate) kernel: Kernel,
}

impl Operator {
    /// How it is written, without the dash.
    #[must_use]
    pub fn usage(&self) -> String {
        let inputs = match self.inputs {
            Inputs::Exactly(1) => "infile".to_owned(),
            Inputs::Exactly(count) => (1..=count)
                .map(|n| format!("infile{n}"))
                .collect::<Vec<_>>()
                .join(" "),
            Inputs::AtLeastOne => "infile...".to_owned(),
        };
        let comma = if self.arguments.names.is_empty() {
            ""
        } else {
            ","
        };
        format!(
            "{}{comma}{} {inputs} outfile",
            self.name, self.arguments.names
        )
    }
}

impl PartialEq for Operator {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The parameters that an operator takes.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// As in its usage: `from[,to]`.
    pub names: &'static str,
    /// How many it takes.
    pub counts: RangeInclusive<usize>,
}

impl Arguments {
    const NONE: Self = Self {
        names: "",
        counts: 0..=0,
    };

    pub(crate) fn count_in_words(&self) -> String {
        match (*self.counts.start(), *self.counts.end()) {
            (0, 0) => "no parameters".to_owned(),
            (1, 1) => "1 parameter".to_owned(),
            (start, usize::MAX) => format!("{start} or more parameters"),
            (start, end) if start == end => format!("{start} parameters"),
            (start, end) => format!("{start} to {end} parameters"),
        }
    }
}

/// The inputs that an operator takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// So many.
    Exactly(usize),
    /// All that follow, or those in brackets.
    AtLeastOne,
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(1) => f.write_str("1 input"),
            Self::Exactly(count) => write!(f, "{count} inputs"),
            Self::AtLeastOne => f.write_str("at least 1 input"),
        }
    }
}

/// The families.
#[derive(Clone, Copy)]
pub(crate) enum Kernel {
    /// Takes a part of the input.
    Select(fn(&mut Cube, &Parameters<'_>) -> Result<(), CubeError>),
    /// Reduces groups of time steps, cell by cell.
    Time(Grouping, Statistic),
    /// Reduces horizontal fields, step by step: the weighted mean.
    FieldMean(FieldAxes),
    /// Combines two inputs, cell by cell.
    Pair(Matching, Arithmetic),
}

/// An operator's parameters, read with errors that name it.
pub(crate) struct Parameters<'a> {
    pub(crate) operator: &'static str,
    pub(crate) values: &'a [String],
}

impl Parameters<'_> {
    pub(crate) fn wrong(&self, index: usize, expected: &'static str) -> CubeError {
        let found = self.values.get(index).cloned().unwrap_or_default();
        CommandError::Argument {
            operator: self.operator,
            expected,
            found,
        }
        .into()
    }

    /// The parameter as a finite number.
    pub(crate) fn number(&self, index: usize, expected: &'static str) -> Result<f64, CubeError> {
        let parsed = self
            .values
            .get(index)
            .and_then(|text| text.parse::<f64>().ok());
        parsed
            .filter(|value| value.is_finite())
            .ok_or_else(|| self.wrong(index, expected))
    }

    /// All parameters as whole numbers, `a/b` and `a/b/step` spelled out.
    pub(crate) fn numbers(
        &self,
        allowed: RangeInclusive<i64>,
        expected: &'static str,
    ) -> Result<Vec<i64>, CubeError> {
        let mut numbers = Vec::new();
        for (index, text) in self.values.iter().enumerate() {
            let parts: Option<Vec<i64>> = text.split('/').map(|part| part.parse().ok()).collect();
            let (first, last, step) = match parts.as_deref() {
                Some(&[value]) => (value, value, 1),
                Some(&[first, last]) => (first, last, 1),
                Some(&[first, last, step]) if step > 0 => (first, last, step),
                _ => return Err(self.wrong(index, expected)),
            };
            if first > last || !allowed.contains(&first) || !allowed.contains(&last) {
                return Err(self.wrong(index, expected));
            }
            numbers.extend((first..=last).step_by(step as usize));
        }
        Ok(numbers)
    }
}

/// The operator called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Operator> {
    OPERATORS.iter().find(|operator| operator.name == name)
}

/// The operator whose name looks most like `name`, if one does.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    /// A typing error changes few letters; more is another word.
    const DISTANCE_MAX: usize = 3;
    let distances = OPERATORS
        .iter()
        .map(|operator| (distance(name, operator.name), operator.name));
    let (distance, nearest) = distances.min()?;
    (distance <= DISTANCE_MAX && distance < name.len()).then_some(nearest)
}

/// How many letters must be changed, added, taken or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut table = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            if i == 0 || j == 0 {
                table[i][j] = i + j;
                continue;
            }
            let replaced = table[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = least;
        }
    }
    table[left.len()][right.len()]
}
