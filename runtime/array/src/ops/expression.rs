//! `expr` and its kind: new variables by formulas.
//!
//! [`syntax`] turns the text into statements, [`value`] computes with variables of the input as
//! cell-wise programs, [`call`] has the functions. The result of each statement is one
//! expression, however many operators it has.

mod call;
mod syntax;
mod table;
mod value;

pub(crate) use table::table;

use crate::cube::{Content, Cube};
use crate::dataset::{Attributes, DType, Variable};
use crate::error::CubeError;
use crate::ops::Context;
use call::{Failure, call};
use syntax::{Kind, Node, Statement, SyntaxError};
use value::{Cells, Function, Value, compute};

/// A name that stands for each variable of the input in turn.
const EVERY: &str = "_ALL_";

/// How much of a text an error shows.
const SHOWN_CHARS: usize = 20;

/// Attributes that say where a variable's cells are, or how they are stored: results have them
/// too.
const OF_GRID: [&str; 7] = [
    "coordinates",
    "grid_mapping",
    "cell_measures",
    "_FillValue",
    "missing_value",
    "scale_factor",
    "add_offset",
];

/// Values by name, in the order of their first statement.
type Values = Vec<(String, Value)>;

/// Evaluates a text. `keeps` says whether the variables of the input stay.
fn evaluate(
    cube: Cube,
    context: &mut Context<'_>,
    text: &str,
    keeps: bool,
) -> Result<Cube, CubeError> {
    let operator = context.name();
    let wrong = |error: SyntaxError| located(operator, text, error);
    let statements = syntax::parse(text).map_err(wrong)?;
    let mut run = Run {
        cube: &cube,
        values: Vec::new(),
        removed: Vec::new(),
    };
    for statement in &statements {
        run.statement(statement, context)
            .map_err(|stop| match stop {
                Stop::Syntax(error) => wrong(error),
                Stop::Cube(error) => error,
            })?;
    }
    let Run {
        mut values,
        removed,
        ..
    } = run;
    values.retain(|(name, _)| !name.starts_with('_'));
    if values.is_empty() && !keeps {
        return Err(CubeError::NothingSelected {
            operator,
            found: "no statement assigns to a variable that does not begin with _".to_owned(),
        });
    }
    Ok(assemble(cube, values, &removed, keeps))
}

/// The error with its place in the text.
fn located(operator: &'static str, text: &str, error: SyntaxError) -> CubeError {
    let at = error.at.min(text.len());
    let before = &text[..at];
    let found: String = text[at..].chars().take(SHOWN_CHARS).collect();
    CubeError::Expression {
        operator,
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|&c| c != '\n').count() + 1,
        problem: error.problem,
        found: found.replace(['\n', '\r'], " "),
    }
}

enum Stop {
    Syntax(SyntaxError),
    Cube(CubeError),
}

struct Run<'a> {
    cube: &'a Cube,
    values: Values,
    removed: Vec<String>,
}

impl Run<'_> {
    fn statement(&mut self, statement: &Statement, context: &mut Context<'_>) -> Result<(), Stop> {
        let names_every = |node: &Node| matches!(&node.kind, Kind::Name(name) if name == EVERY);
        if statement.target != EVERY && !statement.nodes.iter().any(names_every) {
            return self.assign(statement, context, None);
        }
        for variable in self.cube.dataset.data_variables() {
            let name = self.cube.dataset.variables[variable].name.clone();
            self.assign(statement, context, Some(&name))?;
        }
        Ok(())
    }

    fn assign(
        &mut self,
        statement: &Statement,
        context: &mut Context<'_>,
        every: Option<&str>,
    ) -> Result<(), Stop> {
        let target = match every {
            Some(every) if statement.target == EVERY => every,
            _ => statement.target.as_str(),
        };
        let at = statement.at;
        let syntax = |problem: String| Stop::Syntax(SyntaxError { at, problem });
        if statement.nodes.is_empty() {
            if self.find(target).is_none() {
                return Err(syntax(format!("there is no variable `{target}`")));
            }
            self.values.retain(|(name, _)| name != target);
            self.removed.push(target.to_owned());
            return Ok(());
        }
        let dataset = &self.cube.dataset;
        let is_taken = dataset
            .variable_index(target)
            .is_some_and(|index| !dataset.data_variables().contains(&index));
        if is_taken || dataset.dimension_index(target).is_some() {
            let problem = format!("`{target}` is a coordinate or serves one: take another name");
            return Err(syntax(problem));
        }
        let value = self.value(&statement.nodes, context, every)?;
        match self.values.iter_mut().find(|(name, _)| name == target) {
            Some((_, old)) => *old = value,
            None => self.values.push((target.to_owned(), value)),
        }
        self.removed.retain(|name| name != target);
        Ok(())
    }

    /// Computes the nodes of a statement one after the other.
    fn value(
        &self,
        nodes: &[Node],
        context: &mut Context<'_>,
        every: Option<&str>,
    ) -> Result<Value, Stop> {
        let mut values: Vec<Value> = Vec::with_capacity(nodes.len());
        for Node { at, kind } in nodes {
            let syntax = |problem: String| Stop::Syntax(SyntaxError { at: *at, problem });
            let of = |inputs: &[usize]| -> Vec<&Value> {
                inputs.iter().map(|&input| &values[input]).collect()
            };
            let apply = |function, inputs: &[usize]| compute(self.cube, function, &of(inputs));
            let value = match kind {
                Kind::Number(number) => Value::Number(*number),
                Kind::Name(name) => {
                    let name = if name == EVERY {
                        every.unwrap_or(name)
                    } else {
                        name
                    };
                    let missing = || syntax(format!("there is no variable `{name}`"));
                    self.find(name).ok_or_else(missing)?
                }
                Kind::Unary(function, a) => apply(Function::Unary(*function), &[*a]),
                Kind::Binary(function, a, b) => apply(Function::Binary(*function), &[*a, *b]),
                Kind::Choose(inputs) => apply(Function::Choose, inputs),
                Kind::Call(name, arguments) => {
                    let called = call(self.cube, context, name, &of(arguments));
                    called.map_err(|failure| match failure {
                        Failure::Problem(problem) => syntax(problem),
                        Failure::Cube(error) => Stop::Cube(error),
                    })?
                }
            };
            values.push(value);
        }
        let none = || {
            Stop::Syntax(SyntaxError {
                at: 0,
                problem: "there is no value".to_owned(),
            })
        };
        values.pop().ok_or_else(none)
    }

    /// What an earlier statement gave, else a variable of the input, else a constant.
    fn find(&self, name: &str) -> Option<Value> {
        if let Some((_, value)) = self.values.iter().find(|(own, _)| own == name) {
            return Some(value.clone());
        }
        if let Some(variable) = self.cube.dataset.variable_index(name) {
            return Cells::of_variable(self.cube, variable).map(Value::Cells);
        }
        match name {
            "M_PI" => Some(Value::Number(std::f64::consts::PI)),
            "M_E" => Some(Value::Number(std::f64::consts::E)),
            _ => None,
        }
    }
}

/// Puts the results into the input's structure.
fn assemble(mut cube: Cube, values: Values, removed: &[String], keeps: bool) -> Cube {
    let input = cube.clone();
    let mut kept: Vec<usize> = Vec::new();
    for (name, value) in values {
        let (variable, content) = variable(&input, &name, value);
        let index = match cube.dataset.variable_index(&name) {
            Some(index) => {
                cube.dataset.variables[index] = variable;
                cube.contents[index] = content;
                index
            }
            None => {
                cube.push(variable, content);
                cube.contents.len() - 1
            }
        };
        kept.push(index);
    }
    if keeps {
        let is_removed =
            |cube: &Cube, index: usize| removed.contains(&cube.dataset.variables[index].name);
        kept.extend(input.dataset.data_variables());
        kept.retain(|&index| !is_removed(&cube, index));
        if removed.is_empty() {
            return cube;
        }
    }
    let companions: Vec<usize> = kept
        .iter()
        .flat_map(|&index| cube.dataset.companions(index))
        .collect();
    kept.extend(companions);
    cube.retain(|index| kept.contains(&index));
    cube
}

fn variable(cube: &Cube, name: &str, value: Value) -> (Variable, Content) {
    let name = name.to_owned();
    let cells = match value {
        Value::Number(number) => {
            let variable = Variable {
                name,
                dtype: DType::F64,
                dims: Vec::new(),
                attributes: Attributes::default(),
            };
            let content = Content::Numbers(std::sync::Arc::new(vec![number]));
            return (variable, content);
        }
        Value::Cells(cells) => cells,
    };
    let dims = cells.dims();
    let like = cells.like.map(|like| &cube.dataset.variables[like]);
    let attributes = match like {
        Some(like) if cells.is_copy => like.attributes.clone(),
        Some(like) => grid_attributes(cube, like, &dims, &cells),
        None => Attributes::default(),
    };
    let variable = Variable {
        name,
        dtype: like.map_or(DType::F64, |like| like.dtype),
        attributes,
        dims,
    };
    let expr = cells.shaped(cube);
    (variable, Content::Lazy(expr))
}

/// The attributes of a result on the grid of a variable: what that one is, the result is not.
fn grid_attributes(cube: &Cube, like: &Variable, dims: &[usize], cells: &Cells) -> Attributes {
    let mut attributes = Attributes::default();
    if let Some(units) = &cells.units {
        attributes.set("units", units.as_str());
    }
    let has_dims = |variable: &Variable| variable.dims.iter().all(|dim| dims.contains(dim));
    for (name, value) in like
        .attributes
        .iter()
        .filter(|(name, _)| OF_GRID.contains(name))
    {
        match (name, value.as_text()) {
            ("coordinates", Some(text)) => {
                let fits = |word: &&str| cube.dataset.variable(word).is_some_and(has_dims);
                let words: Vec<&str> = text.split_whitespace().filter(fits).collect();
                if !words.is_empty() {
                    attributes.set(name, words.join(" "));
                }
            }
            ("grid_mapping" | "cell_measures", _) if !has_dims(like) => {}
            _ => attributes.set(name, value.clone()),
        }
    }
    attributes
}
