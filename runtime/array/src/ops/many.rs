//! Operators of any number of inputs: one after the other in time, side by side, or as the
//! members of an ensemble.

mod ensemble;
mod join;
mod merge;
mod table;

pub(crate) use join::{in_order, in_time_order};
pub(crate) use table::table;

use crate::cube::{Content, Cube};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::plan::expr::Expr;

/// How far apart coordinates of one grid may be, relative to their size: files round them to
/// single precision.
const TOLERANCE: f64 = 1e-5;

/// How an input is called in errors: by the first file that it reads.
fn label(cube: &Cube, index: usize) -> String {
    fn path(expr: &Expr) -> Option<String> {
        match expr {
            Expr::Source(source) => Some(source.source.path().display().to_string()),
            _ => expr.children().into_iter().find_map(path),
        }
    }
    let file = cube.contents.iter().find_map(|content| match content {
        Content::Lazy(expr) => path(expr),
        _ => None,
    });
    file.unwrap_or_else(|| format!("input {}", index + 1))
}

/// Fails unless the grids and levels of a variable agree in two inputs; `skip` names the
/// dimension that may differ.
fn check_variable(
    operator: &'static str,
    (left, of_left): (&Cube, usize),
    (right, of_right): (&Cube, usize),
    skip: Option<&str>,
    label: &dyn Fn() -> String,
) -> Result<(), CubeError> {
    let name = &left.dataset.variables[of_left].name;
    let mismatch = |problem: String| CubeError::Mismatch { operator, problem };
    let lens = |cube: &Cube, variable: usize| -> Vec<(String, usize)> {
        let dims = cube.dataset.variables[variable].dims.iter();
        let of = |&dim: &usize| {
            let dimension = &cube.dataset.dimensions[dim];
            let is_skipped = skip == Some(dimension.name.as_str());
            (
                dimension.name.clone(),
                if is_skipped { 0 } else { dimension.len },
            )
        };
        dims.map(of).collect()
    };
    let (own, other) = (lens(left, of_left), lens(right, of_right));
    if own != other {
        let words = |lens: &[(String, usize)]| {
            let words = lens.iter().map(|(name, len)| match len {
                0 => name.clone(),
                len => format!("{name} {len}"),
            });
            words.collect::<Vec<_>>().join(", ")
        };
        return Err(mismatch(format!(
            "`{name}` has the dimensions {} in the first and {} in {}",
            words(&own),
            words(&other),
            label()
        )));
    }
    for axis in [Axis::Level, Axis::Latitude, Axis::Longitude] {
        let values = |cube: &Cube, variable: usize| {
            let coordinate = cube.dataset.coordinate(variable, axis)?;
            Some(cube.numbers(coordinate)?.to_vec())
        };
        if let (Some(a), Some(b)) = (values(left, of_left), values(right, of_right))
            && !are_near(&a, &b)
        {
            return Err(mismatch(format!(
                "the {} of `{name}` are others in {} than in the first",
                match axis {
                    Axis::Level => "levels",
                    Axis::Latitude => "latitudes",
                    _ => "longitudes",
                },
                label()
            )));
        }
    }
    Ok(())
}

fn are_near(left: &[f64], right: &[f64]) -> bool {
    let scale = left
        .iter()
        .fold(1.0_f64, |scale, value| scale.max(value.abs()));
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= TOLERANCE * scale;
    left.len() == right.len() && left.iter().zip(right).all(near)
}
