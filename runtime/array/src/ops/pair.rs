//! Inputs combined cell by cell: `sub`, `ymonsub`, `ifthen`.

mod align;
mod calendar;
mod table;

pub(crate) use table::table;

use std::sync::Arc;

use crate::cube::{Content, Cube, TimeCoordinate};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::ops::cellwise::{Builder, Lookup};
use crate::ops::grouping::Grouping;
use crate::plan::expr::Expr;
use align::Match;

/// Which step of the second input goes with a step of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    /// The same one; a single step goes with all.
    Step,
    /// The one with the same key.
    Calendar(Grouping),
}

/// What is computed: from the steps of a program that give the first input's value and the
/// others', the step that gives the result.
pub(crate) type Formula<'a> = dyn Fn(&mut Builder, usize, &[usize]) -> usize + 'a;

/// Combines inputs; structure and attributes are those of the first.
///
/// Where the first is one variable or level and the second many, the structure is the second's
/// and the attributes stay the first's.
pub(crate) fn combine(
    first: Cube,
    others: &[Cube],
    operator: &'static str,
    matching: Matching,
    formula: &Formula<'_>,
) -> Result<Cube, CubeError> {
    let result = combine_along_first(&first, others, operator, matching, formula);
    match (&result, others, matching) {
        (Err(CubeError::Mismatch { .. }), [second], Matching::Step) => {
            let swapped = |builder: &mut Builder, primary: usize, others: &[usize]| {
                formula(builder, others[0], &[primary])
            };
            let others = std::slice::from_ref(&first);
            let along = combine_along_first(second, others, operator, matching, &swapped);
            along.map_or(result, |cube| Ok(with_attributes(cube, &first)))
        }
        _ => result,
    }
}

/// The attributes of the first's variables and its global ones, on a cube of the second's
/// structure.
fn with_attributes(mut cube: Cube, first: &Cube) -> Cube {
    for index in cube.dataset.data_variables() {
        let variable = &mut cube.dataset.variables[index];
        if let Some(own) = first.dataset.variable(&variable.name) {
            let coordinates = variable.attributes.get("coordinates").cloned();
            variable.attributes = own.attributes.clone();
            match coordinates {
                Some(coordinates) => variable.attributes.set("coordinates", coordinates),
                None => drop(variable.attributes.remove("coordinates")),
            }
            variable.dtype = own.dtype;
        }
    }
    cube.dataset.attributes = first.dataset.attributes.clone();
    cube
}

fn combine_along_first(
    first: &Cube,
    others: &[Cube],
    operator: &'static str,
    matching: Matching,
    formula: &Formula<'_>,
) -> Result<Cube, CubeError> {
    let mismatch = |problem: String| CubeError::Mismatch { operator, problem };
    let mut pairs = Vec::new();
    let mut times = Vec::new();
    for other in others {
        pairs.push(pair_variables(first, other).map_err(mismatch)?);
        times.push(Times::of(first, other, operator, matching)?);
    }
    let mut result = first.clone();
    for (place, l) in first.dataset.data_variables().into_iter().enumerate() {
        let Some(expr) = first.lazy(l) else {
            continue;
        };
        let mut operands: Vec<(Expr, Vec<Lookup>)> = Vec::new();
        let mut shape = first.dataset.shape(l);
        for ((other, pairs), times) in others.iter().zip(&pairs).zip(&times) {
            let r = pairs[place];
            let matched = Match {
                left: first,
                right: other,
                times,
            };
            let lookups = matched.lookups(l, r, &mut shape).map_err(mismatch)?;
            if let Some(expr) = other.lazy(r) {
                operands.push((expr.clone(), lookups));
            }
        }
        if operands.len() < others.len() {
            continue;
        }
        result.contents[l] = Content::Lazy(compute(expr, operands, shape, formula));
    }
    if let Some((other, times)) = others
        .iter()
        .zip(&times)
        .find(|(_, times)| times.takes_right())
    {
        take_time(&mut result, other, times);
    }
    Ok(result)
}

/// The expression of one variable.
fn compute(
    first: &Expr,
    others: Vec<(Expr, Vec<Lookup>)>,
    shape: Vec<usize>,
    formula: &Formula<'_>,
) -> Expr {
    // What has one step where the result has many is repeated.
    let along = |own: Vec<usize>, lookups: Vec<Lookup>| -> Vec<Lookup> {
        let repeated = |(lookup, len): (Lookup, usize)| match lookup {
            Lookup::Same(dim) if shape[dim] != len => Lookup::At(0),
            other => other,
        };
        lookups.into_iter().zip(own).map(repeated).collect()
    };
    let mut builder = Builder::new(shape.clone());
    let own = first.shape();
    let same = (0..own.len()).map(Lookup::Same).collect();
    let primary = builder.operand(first, along(own, same));
    let others: Vec<usize> = others
        .into_iter()
        .map(|(expr, lookups)| builder.operand(&expr, along(expr.shape(), lookups)))
        .collect();
    let step = formula(&mut builder, primary, &others);
    builder.finish(step)
}

/// The data variables that go together: by name, or one with one, or one with all. For each of the first, that of the second.
fn pair_variables(left: &Cube, right: &Cube) -> Result<Vec<usize>, String> {
    let (of_left, of_right) = (
        left.dataset.data_variables(),
        right.dataset.data_variables(),
    );
    if of_left.is_empty() || of_right.is_empty() {
        return Err("one has no data variables".to_owned());
    }
    of_left
        .into_iter()
        .map(|l| {
            let name = &left.dataset.variables[l].name;
            let same = of_right
                .iter()
                .find(|&&r| right.dataset.variables[r].name == *name);
            match (same, of_right.as_slice()) {
                (Some(&r), _) | (None, &[r]) => Ok(r),
                _ => Err(format!("the second has no variable `{name}`")),
            }
        })
        .collect()
}

/// The time axes of both inputs.
struct Times {
    left: Option<TimeCoordinate>,
    right: Option<TimeCoordinate>,
    table: Option<Arc<Vec<usize>>>,
}

impl Times {
    fn of(
        left: &Cube,
        right: &Cube,
        operator: &'static str,
        matching: Matching,
    ) -> Result<Self, CubeError> {
        let (left, right) = (left.time_if_any(operator)?, right.time_if_any(operator)?);
        let table = match (matching, &left, &right) {
            (Matching::Step, ..) => None,
            (Matching::Calendar(key), Some(left), Some(right)) => {
                Some(Arc::new(calendar::table(left, right, key, operator)?))
            }
            (Matching::Calendar(_), ..) => {
                return Err(CubeError::NoAxis {
                    operator,
                    axis: Axis::Time,
                });
            }
        };
        Ok(Self { left, right, table })
    }

    /// Whether the first has one step that goes with every step of the second.
    fn takes_right(&self) -> bool {
        let count =
            |time: &Option<TimeCoordinate>| time.as_ref().map(|time| time.axis.values.len());
        self.table.is_none() && count(&self.left) == Some(1) && count(&self.right) > Some(1)
    }
}

/// Gives the result the time axis of the second input.
fn take_time(result: &mut Cube, right: &Cube, times: &Times) {
    let (Some(ours), Some(theirs)) = (&times.left, &times.right) else {
        return;
    };
    result.dataset.dimensions[ours.dim].len = theirs.axis.values.len();
    let mut attributes = right.dataset.variables[theirs.variable].attributes.clone();
    attributes.remove("bounds");
    attributes.remove("climatology");
    let kind = if theirs.is_climatology {
        "climatology"
    } else {
        "bounds"
    };
    let variable = &mut result.dataset.variables[ours.variable];
    variable.dtype = right.dataset.variables[theirs.variable].dtype;
    variable.attributes = attributes;
    result.contents[ours.variable] = Content::Numbers(Arc::new(theirs.axis.values.clone()));
    let bounds = theirs.bounds.as_ref().map(|(index, values)| {
        let content = Content::Numbers(Arc::new(values.as_flattened().to_vec()));
        (right.dataset.variables[*index].clone(), content)
    });
    let old = ours.bounds.as_ref().map(|(index, _)| *index);
    if let Some((mut variable, content)) = bounds {
        variable.name = result.free_name(&variable.name);
        variable.dims = vec![ours.dim, result.dimension("bnds", 2)];
        let name = variable.name.clone();
        result.dataset.variables[ours.variable]
            .attributes
            .set(kind, name);
        result.push(variable, content);
    }
    result.retain(|index| Some(index) != old);
}
