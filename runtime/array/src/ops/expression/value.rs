//! The values of an expression: numbers, and cells over some dimensions of the input.

use std::sync::Arc;

use crate::cube::{Content, Cube};
use crate::ops::cellwise::{Binary, Builder, Lookup, Unary};
use crate::plan::expr::{Expr, Held};

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Number(f64),
    Cells(Cells),
}

/// One number a cell.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub(super) expr: Expr,
    /// The input's dimension that each of the expression's is; `None` where it has length 1 and
    /// is none.
    pub(super) axes: Vec<Option<usize>>,
    /// The variable whose grid and type it has.
    pub(super) like: Option<usize>,
    pub(super) units: Option<String>,
    /// Whether it is that variable, unchanged.
    pub(super) is_copy: bool,
}

/// What is done to values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Unary(Unary),
    Binary(Binary),
    Choose,
}

impl Function {
    fn of_numbers(self, numbers: &[f64]) -> f64 {
        match (self, numbers) {
            (Self::Unary(function), [a]) => function.of(*a),
            (Self::Binary(function), [a, b]) => function.of(*a, *b),
            (Self::Choose, [condition, _, _]) if condition.is_nan() => f64::NAN,
            (Self::Choose, [condition, yes, no]) => {
                if *condition != 0.0 {
                    *yes
                } else {
                    *no
                }
            }
            _ => f64::NAN,
        }
    }

    fn build(self, builder: &mut Builder, inputs: &[usize]) -> usize {
        match (self, inputs) {
            (Self::Unary(function), [a]) => builder.unary(function, *a),
            (Self::Binary(function), [a, b]) => builder.binary(function, *a, *b),
            (Self::Choose, [condition, yes, no]) => builder.choose(*condition, *yes, *no),
            _ => builder.constant(f64::NAN),
        }
    }

    /// Whether the result is measured as the inputs are. A number is taken to have no unit.
    fn keeps_units(self, inputs: &[&Value]) -> bool {
        let is_number = |index: usize| matches!(inputs.get(index), Some(Value::Number(_)));
        match self {
            Self::Unary(function) => matches!(
                function,
                Unary::Negate
                    | Unary::Absolute
                    | Unary::Truncate
                    | Unary::Round
                    | Unary::Floor
                    | Unary::Ceiling
                    | Unary::Single
            ),
            Self::Binary(function) => match function {
                Binary::Add
                | Binary::Subtract
                | Binary::Minimum
                | Binary::Maximum
                | Binary::Remainder => true,
                Binary::Multiply => is_number(0) || is_number(1),
                Binary::Divide => is_number(1),
                _ => false,
            },
            Self::Choose => true,
        }
    }
}

impl Cells {
    /// A variable of the input.
    pub(super) fn of_variable(cube: &Cube, variable: usize) -> Option<Self> {
        let expr = match &cube.contents[variable] {
            Content::Lazy(expr) => expr.clone(),
            Content::Numbers(values) => Expr::Held(Held {
                shape: cube.dataset.shape(variable),
                values: Arc::clone(values),
            }),
            Content::Texts(_) => return None,
        };
        let structure = &cube.dataset.variables[variable];
        Some(Self {
            expr,
            axes: structure.dims.iter().copied().map(Some).collect(),
            like: Some(variable),
            units: structure.attributes.get_text("units").map(str::to_owned),
            is_copy: true,
        })
    }

    /// Numbers in memory over some dimensions.
    pub(super) fn held(cube: &Cube, dims: &[usize], values: Vec<f64>, like: Option<usize>) -> Self {
        let len = |&dim: &usize| cube.dataset.dimensions[dim].len;
        Self {
            expr: Expr::Held(Held {
                shape: dims.iter().map(len).collect(),
                values: Arc::new(values),
            }),
            axes: dims.iter().copied().map(Some).collect(),
            like,
            units: None,
            is_copy: false,
        }
    }

    /// The dimensions that it varies along.
    pub(super) fn dims(&self) -> Vec<usize> {
        self.axes.iter().flatten().copied().collect()
    }

    fn lookups(&self, dims: &[usize]) -> Vec<Lookup> {
        let lookup = |axis: &Option<usize>| {
            let place = axis.and_then(|axis| dims.iter().position(|&dim| dim == axis));
            place.map_or(Lookup::At(0), Lookup::Same)
        };
        self.axes.iter().map(lookup).collect()
    }

    /// The expression with no dimension but its own, in their order.
    pub(super) fn shaped(&self, cube: &Cube) -> Expr {
        let dims = self.dims();
        let mut builder = Builder::new(shape(cube, &dims));
        let step = builder.operand(&self.expr, self.lookups(&dims));
        builder.finish(step)
    }
}

/// Computes a function of values; what lacks a dimension is repeated along it.
pub(super) fn compute(cube: &Cube, function: Function, inputs: &[&Value]) -> Value {
    let numbers = inputs.iter().map(|value| match value {
        Value::Number(number) => Some(*number),
        Value::Cells(_) => None,
    });
    if let Some(numbers) = numbers.collect::<Option<Vec<f64>>>() {
        return Value::Number(function.of_numbers(&numbers));
    }
    let cells = || {
        inputs.iter().filter_map(|value| match value {
            Value::Cells(cells) => Some(cells),
            Value::Number(_) => None,
        })
    };
    let dims = common_dims(cube, &cells().collect::<Vec<_>>());
    let mut builder = Builder::new(shape(cube, &dims));
    let steps = inputs.iter().map(|value| match value {
        Value::Number(number) => builder.constant(*number),
        Value::Cells(cells) => builder.operand(&cells.expr, cells.lookups(&dims)),
    });
    let steps: Vec<usize> = steps.collect();
    let step = function.build(&mut builder, &steps);
    // The grid is that of the input with the most dimensions, the first of several.
    let widest = cells().map(|cells| cells.dims().len()).max().unwrap_or(0);
    let like = cells()
        .filter(|cells| cells.dims().len() == widest)
        .find_map(|cells| cells.like);
    // The condition of a choice is measured in nothing.
    let first = usize::from(matches!(function, Function::Choose));
    let units = inputs[first.min(inputs.len())..]
        .iter()
        .find_map(|value| match value {
            Value::Cells(cells) => Some(cells.units.clone()),
            Value::Number(_) => None,
        });
    Value::Cells(Cells {
        expr: builder.finish(step),
        axes: dims.into_iter().map(Some).collect(),
        like,
        units: units.flatten().filter(|_| function.keeps_units(inputs)),
        is_copy: false,
    })
}

/// All dimensions of some values, in the order of a variable that has them, else those of the
/// widest first.
fn common_dims(cube: &Cube, cells: &[&Cells]) -> Vec<usize> {
    let mut dims: Vec<usize> = Vec::new();
    let mut by_width: Vec<&&Cells> = cells.iter().collect();
    by_width.sort_by_key(|cells| std::cmp::Reverse(cells.dims().len()));
    for dim in by_width.iter().flat_map(|cells| cells.dims()) {
        if !dims.contains(&dim) {
            dims.push(dim);
        }
    }
    let variables = &cube.dataset.variables;
    let has_all = |variable: &usize| {
        dims.iter()
            .all(|dim| variables[*variable].dims.contains(dim))
    };
    if let Some(variable) = cube.dataset.data_variables().into_iter().find(has_all) {
        let mut ordered = variables[variable].dims.clone();
        ordered.retain(|dim| dims.contains(dim));
        return ordered;
    }
    dims
}

fn shape(cube: &Cube, dims: &[usize]) -> Vec<usize> {
    dims.iter()
        .map(|&dim| cube.dataset.dimensions[dim].len)
        .collect()
}
