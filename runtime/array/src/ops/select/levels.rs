//! Levels by value and by index.
//!
//! A variable without a vertical axis lies on one level: that of its scalar coordinate, else 0.

use super::keep;
use crate::cube::Cube;
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::ops::Context;
use crate::plan::picks::Picks;

/// How far a level may be from what is asked for, relative to it: files round levels to single
/// precision.
const TOLERANCE: f64 = 1e-6;

/// Ranges of indices are spelled out: a bound on that.
pub(super) const INDEX_MAX: i64 = 1_000_000;

/// `sellevel`.
pub(super) fn by_value(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let parameters = context.parameters();
    let wanted = (0..parameters.values.len())
        .map(|index| parameters.number(index, "a level in the units of the file"));
    let wanted = wanted.collect::<Result<Vec<f64>, _>>()?;
    let levels = all_levels(cube);
    for level in &wanted {
        if !levels.iter().any(|known| is_near(*known, *level)) {
            context.warn(format!("the input has no level {level}"));
        }
    }
    let is_wanted = |_, level| wanted.iter().any(|&wanted| is_near(level, wanted));
    pick(cube, context, true, is_wanted)
}

/// `sellevidx`.
pub(super) fn by_index(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let parameters = context.parameters();
    let wanted = parameters.numbers(1..=INDEX_MAX, "indices from 1, or from/to[/step]")?;
    pick(cube, context, true, |index, _| {
        wanted.contains(&(index as i64 + 1))
    })
}

pub(super) fn is_near(level: f64, wanted: f64) -> bool {
    (level - wanted).abs() <= TOLERANCE * wanted.abs()
}

/// The levels of a variable and the dimension along which they lie.
pub(crate) fn levels_of(cube: &Cube, variable: usize) -> (Vec<f64>, Option<usize>) {
    let coordinate = cube.dataset.coordinate(variable, Axis::Level);
    let Some(coordinate) = coordinate else {
        return (vec![0.0], None);
    };
    let values = cube.numbers(coordinate).unwrap_or(&[0.0]).to_vec();
    match cube.dataset.variables[coordinate].dims.as_slice() {
        &[dim] if cube.dataset.variables[variable].dims.contains(&dim) => (values, Some(dim)),
        _ => (values, None),
    }
}

/// Every level of every variable.
fn all_levels(cube: &Cube) -> Vec<f64> {
    let data = cube.dataset.data_variables().into_iter();
    data.flat_map(|variable| levels_of(cube, variable).0)
        .collect()
}

/// Keeps the levels for which `is_wanted` is what `wanted` says, given their index and value,
/// and the variables that have one.
pub(crate) fn pick(
    cube: &mut Cube,
    context: &Context<'_>,
    wanted: bool,
    is_wanted: impl Fn(usize, f64) -> bool,
) -> Result<(), CubeError> {
    let mut kept = Vec::new();
    let mut picked: Vec<(usize, Vec<usize>)> = Vec::new();
    for variable in cube.dataset.data_variables() {
        let (levels, dim) = levels_of(cube, variable);
        let indices = (0..levels.len()).filter(|&index| is_wanted(index, levels[index]) == wanted);
        let indices: Vec<usize> = indices.collect();
        if indices.is_empty() {
            continue;
        }
        kept.push(variable);
        if let Some(dim) = dim
            && !picked.iter().any(|(known, _)| *known == dim)
        {
            picked.push((dim, indices));
        }
    }
    if kept.is_empty() {
        let mut levels = all_levels(cube);
        levels.dedup();
        let levels: Vec<String> = levels.iter().map(f64::to_string).collect();
        let found = format!("the input has levels {}", levels.join(", "));
        return Err(CubeError::NothingSelected {
            operator: context.name(),
            found,
        });
    }
    for (dim, indices) in picked {
        cube.pick(dim, &Picks::from_indices(indices));
    }
    keep(cube, &kept);
    Ok(())
}
