//! Inputs one after the other along a dimension: `mergetime`, `cat`, `copy`, and patterns that
//! stand for several files.

use std::sync::Arc;

use super::{check_variable, label};
use crate::cube::{Content, Cube, TimeCoordinate};
use crate::dataset::DType;
use crate::error::CubeError;
use crate::plan::expr::{Concat, Expr, Held};
use crate::plan::picks::Picks;

/// The steps of all inputs in the order of the inputs.
pub(crate) fn in_order(inputs: Vec<Cube>, operator: &'static str) -> Result<Cube, CubeError> {
    let mut inputs = inputs;
    if inputs.len() == 1 {
        return Ok(inputs.remove(0));
    }
    Ok(concatenate(inputs, operator)?.0)
}

/// The steps of all inputs in the order of their times; of those of one time all are kept, or
/// only the first.
pub(crate) fn in_time_order(
    inputs: Vec<Cube>,
    operator: &'static str,
    skips_same: bool,
) -> Result<Cube, CubeError> {
    let (mut cube, time) = concatenate(inputs, operator)?;
    let Some(values) = cube.numbers(time.variable) else {
        return Ok(cube);
    };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    if skips_same {
        order.dedup_by(|later, earlier| values[*later] == values[*earlier]);
    }
    let picks = Picks::from_indices(order);
    cube.pick(time.dim, &picks);
    Ok(cube)
}

/// All inputs along time, with the times of the first's units.
fn concatenate(
    mut inputs: Vec<Cube>,
    operator: &'static str,
) -> Result<(Cube, TimeCoordinate), CubeError> {
    let first_time = inputs[0].time(operator)?;
    let mut others = Vec::with_capacity(inputs.len() - 1);
    for (index, mut other) in inputs
        .drain(1..)
        .collect::<Vec<_>>()
        .into_iter()
        .enumerate()
    {
        let time = other.time(operator)?;
        let label = label(&other, index + 1);
        convert_times(&mut other, &time, &first_time, operator, &label)?;
        others.push((other, time, label));
    }
    let mut first = inputs.remove(0);
    let skip = first.dataset.dimensions[first_time.dim].name.clone();
    let data = first.dataset.data_variables();
    let mut parts: Vec<Part> = Vec::with_capacity(others.len());
    for (other, time, label) in others {
        let mut variables = vec![None; first.contents.len()];
        for (index, variable) in first.dataset.variables.iter().enumerate() {
            if !variable.dims.contains(&first_time.dim) && !data.contains(&index) {
                continue;
            }
            let own_bounds = first_time.bounds.as_ref().map(|(bounds, _)| *bounds);
            let found = if index == first_time.variable {
                Some(time.variable)
            } else if own_bounds == Some(index) {
                time.bounds.as_ref().map(|(bounds, _)| *bounds)
            } else {
                other.dataset.variable_index(&variable.name)
            };
            let found = found.ok_or_else(|| CubeError::Mismatch {
                operator,
                problem: format!("{label} has no `{}`, which the first has", variable.name),
            })?;
            if data.contains(&index) {
                let ends = ((&first, index), (&other, found));
                check_variable(operator, ends.0, ends.1, Some(&skip), &|| label.clone())?;
            }
            variables[index] = Some(found);
        }
        let names = &first.dataset;
        for variable in other.dataset.data_variables() {
            let variable = &other.dataset.variables[variable];
            if names.variable(&variable.name).is_none() {
                let problem = format!("{label} has `{}`, which the first has not", variable.name);
                return Err(CubeError::Mismatch { operator, problem });
            }
        }
        parts.push(Part {
            cube: other,
            variables,
        });
    }
    append(&mut first, first_time.dim, &parts);
    Ok((first, first_time))
}

/// What is put behind a cube.
pub(super) struct Part {
    pub(super) cube: Cube,
    /// For each variable of the cube, which of the part's is the same.
    pub(super) variables: Vec<Option<usize>>,
}

/// Puts parts behind a cube along one of its dimensions.
pub(super) fn append(cube: &mut Cube, dim: usize, parts: &[Part]) {
    let mut len = cube.dataset.dimensions[dim].len;
    for index in 0..cube.contents.len() {
        let variable = &cube.dataset.variables[index];
        let Some(axis) = variable.dims.iter().position(|&own| own == dim) else {
            continue;
        };
        let own_shape = cube.dataset.shape(index);
        let others: Vec<(&Cube, usize)> = parts
            .iter()
            .filter_map(|part| Some((&part.cube, part.variables[index]?)))
            .collect();
        let mut dtype = variable.dtype;
        for (other, variable) in &others {
            let found = other.dataset.variables[*variable].dtype;
            if found != dtype && !found.is_text() && !dtype.is_text() {
                // What holds the values of both.
                dtype = DType::F64;
            }
        }
        let content = match &cube.contents[index] {
            Content::Texts(texts) => {
                let mut texts = texts.to_vec();
                for (other, variable) in &others {
                    if let Content::Texts(more) = &other.contents[*variable] {
                        texts.extend(more.iter().cloned());
                    }
                }
                Content::Texts(Arc::new(texts))
            }
            Content::Numbers(values) => {
                let blocks = others.iter().filter_map(|(other, variable)| {
                    let shape = other.dataset.shape(*variable);
                    Some((other.numbers(*variable)?, shape[axis]))
                });
                let own = (values.as_slice(), own_shape[axis]);
                let blocks: Vec<(&[f64], usize)> = std::iter::once(own).chain(blocks).collect();
                let inner: usize = own_shape[axis + 1..].iter().product();
                Content::Numbers(Arc::new(interleave(&blocks, inner)))
            }
            Content::Lazy(expr) => {
                let mut children = vec![expr.clone()];
                children.extend(others.iter().filter_map(
                    |(other, variable)| match &other.contents[*variable] {
                        Content::Lazy(expr) => Some(expr.clone()),
                        Content::Numbers(values) => Some(Expr::Held(Held {
                            shape: other.dataset.shape(*variable),
                            values: Arc::clone(values),
                        })),
                        Content::Texts(_) => None,
                    },
                ));
                Content::Lazy(Expr::Concat(Arc::new(Concat { children, axis })))
            }
        };
        cube.contents[index] = content;
        cube.dataset.variables[index].dtype = dtype;
    }
    for part in parts {
        let name = &cube.dataset.dimensions[dim].name;
        let other = &part.cube.dataset;
        let added = other
            .dimension_index(name)
            .map_or(0, |dim| other.dimensions[dim].len);
        len += added;
    }
    cube.dataset.dimensions[dim].len = len;
}

/// Blocks one after the other along a dimension whose cells have `inner` values.
fn interleave(blocks: &[(&[f64], usize)], inner: usize) -> Vec<f64> {
    let row = blocks[0].1 * inner;
    let outer = blocks[0].0.len().checked_div(row).unwrap_or(1);
    let mut joined = Vec::with_capacity(blocks.iter().map(|(values, _)| values.len()).sum());
    for place in 0..outer {
        for (values, len) in blocks {
            let row = len * inner;
            joined.extend_from_slice(values.get(place * row..(place + 1) * row).unwrap_or(&[]));
        }
    }
    joined
}

/// Counts the times of an input as the first counts its own.
fn convert_times(
    cube: &mut Cube,
    time: &TimeCoordinate,
    first: &TimeCoordinate,
    operator: &'static str,
    label: &str,
) -> Result<(), CubeError> {
    let (own, wanted) = (&time.axis, &first.axis);
    if own.calendar != wanted.calendar {
        return Err(CubeError::Mismatch {
            operator,
            problem: format!(
                "the calendar is {} in the first and {} in {label}: dates of one need not exist \
                 in the other",
                wanted.calendar, own.calendar
            ),
        });
    }
    if own.units == wanted.units {
        return Ok(());
    }
    let bounds = time.bounds.as_ref().map(|(variable, _)| *variable);
    for variable in [Some(time.variable), bounds].into_iter().flatten() {
        let values = cube.numbers(variable).unwrap_or_default().iter();
        let converted = values.map(|&value| {
            let date = own.units.date(value, own.calendar)?;
            wanted.units.value(&date, wanted.calendar)
        });
        let converted = converted.collect::<Result<Vec<f64>, _>>();
        let converted = converted.map_err(|source| CubeError::Time { operator, source })?;
        cube.contents[variable] = Content::Numbers(Arc::new(converted));
        cube.dataset.variables[variable].dtype = DType::F64;
    }
    Ok(())
}
