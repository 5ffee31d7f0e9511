//! `merge`: the variables of all inputs side by side, or levels of one variable.

use super::join::{Part, append};
use super::{are_near, label};
use crate::cube::Cube;
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::ops::Context;

/// The union of variables, or of the levels of variables.
pub(super) fn merge(inputs: Vec<Cube>, context: &mut Context<'_>) -> Result<Cube, CubeError> {
    let operator = context.name();
    let mut inputs = inputs.into_iter();
    let Some(mut merged) = inputs.next() else {
        return Err(CubeError::NothingSelected {
            operator,
            found: "there are no inputs".to_owned(),
        });
    };
    for (index, mut other) in inputs.enumerate() {
        let label = label(&other, index + 1);
        check_steps(&merged, &mut other, context, &label)?;
        match shared_level(&merged, &other) {
            Some((dim, of_other)) => {
                let part = of_levels(&merged, other, (dim, of_other), operator, &label)?;
                append(&mut merged, dim, &[part]);
            }
            None => side_by_side(&mut merged, other, operator, &label)?,
        }
    }
    Ok(merged)
}

/// The steps of both must be the same.
fn check_steps(
    merged: &Cube,
    other: &mut Cube,
    context: &mut Context<'_>,
    label: &str,
) -> Result<(), CubeError> {
    let operator = context.name();
    let (Some(own), Some(found)) = (merged.time_if_any(operator)?, other.time_if_any(operator)?)
    else {
        return Ok(());
    };
    let (steps, others) = (own.axis.values.len(), found.axis.values.len());
    if steps != others {
        return Err(CubeError::Mismatch {
            operator,
            problem: format!("the first has {steps} steps, {label} has {others}"),
        });
    }
    let dates = |time: &crate::cube::TimeCoordinate| time.axis.dates().ok();
    if dates(&own) != dates(&found) {
        context.warn(format!(
            "the times of {label} are others than those of the first, which are kept"
        ));
    }
    let name = merged.dataset.dimensions[own.dim].name.clone();
    let old = std::mem::replace(&mut other.dataset.dimensions[found.dim].name, name);
    if old != other.dataset.dimensions[found.dim].name {
        let name = merged.dataset.variables[own.variable].name.clone();
        other.dataset.variables[found.variable].name = name;
    }
    Ok(())
}

/// The level dimensions of a variable that both have.
fn shared_level(merged: &Cube, other: &Cube) -> Option<(usize, usize)> {
    other
        .dataset
        .data_variables()
        .into_iter()
        .find_map(|variable| {
            let name = &other.dataset.variables[variable].name;
            let own = merged.dataset.variable_index(name)?;
            let level = |cube: &Cube, variable: usize| {
                let position = cube.dataset.axis_position(variable, Axis::Level)?;
                Some(cube.dataset.variables[variable].dims[position])
            };
            Some((level(merged, own)?, level(other, variable)?))
        })
}

/// Other levels of the variables that both have.
fn of_levels(
    merged: &Cube,
    other: Cube,
    (dim, of_other): (usize, usize),
    operator: &'static str,
    label: &str,
) -> Result<Part, CubeError> {
    let mismatch = |problem: String| CubeError::Mismatch { operator, problem };
    let name = merged.dataset.dimensions[dim].name.clone();
    let mut other = other;
    let levels = |cube: &Cube, dim: usize| -> Option<Vec<f64>> {
        let coordinate = cube.dataset.dimension_coordinate(dim)?;
        Some(cube.numbers(coordinate)?.to_vec())
    };
    let (own, found) = (levels(merged, dim), levels(&other, of_other));
    let twice = own.unwrap_or_default().into_iter().find(|level| {
        let found = found.as_deref().unwrap_or_default();
        found.iter().any(|other| are_near(&[*level], &[*other]))
    });
    if let Some(level) = twice {
        let data = other.dataset.data_variables();
        let variable = data
            .first()
            .map_or("", |v| &other.dataset.variables[*v].name);
        return Err(mismatch(format!(
            "level {level} of `{variable}` is in {label} and in an input before it"
        )));
    }
    other.dataset.dimensions[of_other].name.clone_from(&name);
    let mut variables = vec![None; merged.contents.len()];
    for (index, variable) in merged.dataset.variables.iter().enumerate() {
        if !variable.dims.contains(&dim) {
            continue;
        }
        let found = other.dataset.variable_index(&variable.name);
        let found = found.ok_or_else(|| {
            mismatch(format!(
                "{label} has levels of some variables but no `{}`",
                variable.name
            ))
        })?;
        if merged.lazy(index).is_some() {
            let lens = |cube: &Cube, variable: usize, dim: usize| -> Vec<usize> {
                let dims = cube.dataset.variables[variable].dims.iter();
                let others = dims.filter(|&&own| own != dim);
                others
                    .map(|&own| cube.dataset.dimensions[own].len)
                    .collect()
            };
            if lens(merged, index, dim) != lens(&other, found, of_other) {
                return Err(mismatch(format!(
                    "the grid of `{}` is another in {label} than in the first",
                    variable.name
                )));
            }
        }
        variables[index] = Some(found);
    }
    Ok(Part {
        cube: other,
        variables,
    })
}

/// Takes the variables of another input; axes that have the name of others are renamed.
fn side_by_side(
    merged: &mut Cube,
    mut other: Cube,
    operator: &'static str,
    label: &str,
) -> Result<(), CubeError> {
    for variable in other.dataset.data_variables() {
        let name = &other.dataset.variables[variable].name;
        if merged.dataset.variable(name).is_some() {
            let problem = format!("`{name}` is in {label} and in an input before it");
            return Err(CubeError::Mismatch { operator, problem });
        }
    }
    for dim in 0..other.dataset.dimensions.len() {
        let name = other.dataset.dimensions[dim].name.clone();
        let Some(own) = merged.dataset.dimension_index(&name) else {
            continue;
        };
        let coordinates = |cube: &Cube, dim: usize| {
            let coordinate = cube.dataset.dimension_coordinate(dim)?;
            Some(cube.numbers(coordinate)?.to_vec())
        };
        let is_time = |cube: &Cube, dim: usize| {
            let coordinate = cube.dataset.dimension_coordinate(dim);
            coordinate.is_some_and(|c| cube.dataset.axis(c) == Some(Axis::Time))
        };
        let same_len = merged.dataset.dimensions[own].len == other.dataset.dimensions[dim].len;
        let same = match (coordinates(merged, own), coordinates(&other, dim)) {
            (Some(a), Some(b)) => is_time(merged, own) && same_len || are_near(&a, &b),
            _ => same_len,
        };
        if !same {
            rename_axis(merged, &mut other, dim);
        }
    }
    merged.absorb(other);
    Ok(())
}

/// Gives a dimension, its coordinate and its bounds names that are free in both.
fn rename_axis(merged: &Cube, other: &mut Cube, dim: usize) {
    let old = other.dataset.dimensions[dim].name.clone();
    let mut both = merged.clone();
    both.dataset
        .dimensions
        .extend(other.dataset.dimensions.iter().cloned());
    both.dataset
        .variables
        .extend(other.dataset.variables.iter().cloned());
    let new = both.free_name(&old);
    let coordinate = other.dataset.dimension_coordinate(dim);
    other.dataset.dimensions[dim].name.clone_from(&new);
    let Some(coordinate) = coordinate else {
        return;
    };
    other.dataset.variables[coordinate].name = new;
    if let Some(bounds) = other.dataset.bounds(coordinate) {
        let name = both.free_name(&other.dataset.variables[bounds].name);
        other.dataset.variables[bounds].name.clone_from(&name);
        let attributes = &mut other.dataset.variables[coordinate].attributes;
        attributes.set("bounds", name);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn near_coordinates_are_the_same() {
        assert!(super::are_near(&[1.0, 2.0], &[1.000_001, 2.0]));
        assert!(!super::are_near(&[1.0], &[1.1]));
        assert!(!super::are_near(&[1.0], &[1.0, 2.0]));
    }
}
