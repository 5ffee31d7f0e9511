//! Variables by name and by standard name.

use super::{keep, matches_pattern};
use crate::cube::Cube;
use crate::error::CubeError;
use crate::ops::Context;

/// `selname`.
pub(super) fn select(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let kept = named(cube, context.arguments, context);
    keep_some(cube, &kept, context)
}

/// `delname`.
pub(super) fn delete(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let dropped = named(cube, context.arguments, context);
    let mut kept = cube.dataset.data_variables();
    kept.retain(|variable| !dropped.contains(variable));
    keep_some(cube, &kept, context)
}

/// `selstdname`.
pub(super) fn select_standard(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let dataset = &cube.dataset;
    let data = dataset.data_variables();
    let standard_name = |variable: usize| {
        let attributes = &dataset.variables[variable].attributes;
        attributes.get_text("standard_name")
    };
    let mut kept = Vec::new();
    for name in context.arguments {
        let fits = |variable: &&usize| {
            standard_name(**variable).is_some_and(|known| matches_pattern(name, known))
        };
        let found: Vec<usize> = data.iter().filter(fits).copied().collect();
        if found.is_empty() {
            context.warn(format!(
                "the input has no variable of standard name `{name}`"
            ));
        }
        kept.extend(found);
    }
    keep_some(cube, &kept, context)
}

/// The variables that names or patterns stand for; an unknown one is a warning.
pub(super) fn named(cube: &Cube, names: &[String], context: &mut Context<'_>) -> Vec<usize> {
    let dataset = &cube.dataset;
    let data = dataset.data_variables();
    let mut found = Vec::new();
    for name in names {
        let before = found.len();
        // Coordinates and what else serves data can be named, but no pattern means them.
        match dataset.variable_index(name) {
            Some(variable) => found.push(variable),
            None => found.extend(
                data.iter()
                    .copied()
                    .filter(|&variable| matches_pattern(name, &dataset.variables[variable].name)),
            ),
        }
        if found.len() == before {
            context.warn(format!("the input has no variable `{name}`"));
        }
    }
    found
}

pub(super) fn keep_some(
    cube: &mut Cube,
    kept: &[usize],
    context: &Context<'_>,
) -> Result<(), CubeError> {
    if kept.is_empty() {
        let dataset = &cube.dataset;
        let data = dataset.data_variables().into_iter();
        let names: Vec<&str> = data.map(|v| dataset.variables[v].name.as_str()).collect();
        let found = format!("the input has {}", names.join(", "));
        return Err(CubeError::NothingSelected {
            operator: context.name(),
            found,
        });
    }
    keep(cube, kept);
    Ok(())
}
