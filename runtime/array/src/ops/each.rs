//! Operators that change every cell by itself: mathematics, constants, masks, missing values.

mod missing_value;
mod table;

pub(crate) use table::table;

use std::sync::Arc;

use crate::cube::{Content, Cube};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::ops::cellwise::{Binary, Builder, Lookup};
use crate::plan::expr::{Expr, Held};

/// Puts a function of its cells in the place of every data variable.
fn each(mut cube: Cube, formula: impl Fn(&mut Builder, usize) -> usize) -> Cube {
    for index in cube.dataset.data_variables() {
        if let Some(expr) = cube.lazy(index) {
            let mut builder = Builder::new(expr.shape());
            let value = builder.whole(expr);
            let result = formula(&mut builder, value);
            cube.contents[index] = Content::Lazy(builder.finish(result));
        }
    }
    cube
}

/// The same with numbers that cells are compared with: as single precision has them, where it
/// has the data. 0.1 is not one of them otherwise.
fn compare(
    mut cube: Cube,
    numbers: &[f64],
    formula: impl Fn(&mut Builder, usize, &[usize]) -> usize,
) -> Cube {
    for index in cube.dataset.data_variables() {
        if let Some(expr) = cube.lazy(index) {
            let rounded = |&number: &f64| match expr.is_single() {
                true => f64::from(number as f32),
                false => number,
            };
            let mut builder = Builder::new(expr.shape());
            let value = builder.whole(expr);
            let numbers: Vec<usize> = numbers
                .iter()
                .map(|number| builder.constant(rounded(number)))
                .collect();
            let result = formula(&mut builder, value, &numbers);
            cube.contents[index] = Content::Lazy(builder.finish(result));
        }
    }
    cube
}

/// The same with values that follow from coordinates of each cell.
pub(super) fn each_with(
    mut cube: Cube,
    operator: &'static str,
    coordinates: &[(Axis, &dyn Fn(f64) -> f64)],
    formula: impl Fn(&mut Builder, usize, &[usize]) -> usize,
) -> Result<Cube, CubeError> {
    let mut found = false;
    for index in cube.dataset.data_variables() {
        let Some(expr) = cube.lazy(index) else {
            continue;
        };
        let mut builder = Builder::new(expr.shape());
        let value = builder.whole(expr);
        let steps = coordinates.iter().map(|(axis, function)| {
            let (held, lookups) = coordinate(&cube, index, *axis, function)?;
            Some(builder.operand(&held, lookups))
        });
        let Some(steps) = steps.collect::<Option<Vec<usize>>>() else {
            continue;
        };
        let result = formula(&mut builder, value, &steps);
        cube.contents[index] = Content::Lazy(builder.finish(result));
        found = true;
    }
    match coordinates.first() {
        Some(&(axis, _)) if !found => Err(CubeError::NoAxis { operator, axis }),
        _ => Ok(cube),
    }
}

/// A function of a coordinate of a variable, and where each cell's lies.
fn coordinate(
    cube: &Cube,
    variable: usize,
    axis: Axis,
    function: &dyn Fn(f64) -> f64,
) -> Option<(Expr, Vec<Lookup>)> {
    let dataset = &cube.dataset;
    let coordinate = dataset.coordinate(variable, axis)?;
    let values = cube.numbers(coordinate)?;
    let dims = &dataset.variables[variable].dims;
    let place = |dim: &usize| dims.iter().position(|own| own == dim).map(Lookup::Same);
    let lookups = dataset.variables[coordinate].dims.iter().map(place);
    let held = Held {
        shape: dataset.shape(coordinate),
        values: Arc::new(values.iter().map(|&value| function(value)).collect()),
    };
    Some((Expr::Held(held), lookups.collect::<Option<Vec<Lookup>>>()?))
}

/// What becomes of the cells of a box.
#[derive(Clone, Copy)]
enum Boxed {
    /// They get this value.
    Set(f64),
    /// The others become missing.
    Kept,
}

/// Changes cells by a box of longitudes and latitudes, whose edges belong to it.
fn change_box(
    cube: Cube,
    operator: &'static str,
    what: Boxed,
    [west, east, south, north]: [f64; 4],
) -> Result<Cube, CubeError> {
    let width = east - west;
    // 0,360 is the whole circle, and so is all that is wider.
    let is_circle = width.abs() >= 360.0;
    let width = width.rem_euclid(360.0);
    let in_lon = |lon: f64| {
        f64::from(u8::from(
            is_circle || (lon - west).rem_euclid(360.0) <= width,
        ))
    };
    let in_lat = |lat: f64| {
        let (low, high) = (south.min(north), south.max(north));
        f64::from(u8::from((low..=high).contains(&lat)))
    };
    let coordinates: [(Axis, &dyn Fn(f64) -> f64); 2] =
        [(Axis::Longitude, &in_lon), (Axis::Latitude, &in_lat)];
    each_with(cube, operator, &coordinates, |builder, x, inside| {
        let inside = builder.binary(Binary::And, inside[0], inside[1]);
        match what {
            Boxed::Set(value) => {
                let value = builder.constant(value);
                builder.choose(inside, value, x)
            }
            Boxed::Kept => {
                let missing = builder.constant(f64::NAN);
                builder.choose(inside, x, missing)
            }
        }
    })
}
