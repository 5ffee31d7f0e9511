//! Operators that change every cell by itself: mathematics, constants, masks, missing values.

mod missing_value;
mod table;

pub(crate) use table::table;

use crate::cube::{Content, Cube};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::ops::cellwise::{Builder, Lookup};
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

/// The same with a value that follows from the latitude (in degrees) of each cell.
fn each_with_latitude(
    mut cube: Cube,
    operator: &'static str,
    formula: impl Fn(&mut Builder, usize, usize) -> usize,
) -> Result<Cube, CubeError> {
    let mut found = false;
    for index in cube.dataset.data_variables() {
        let dataset = &cube.dataset;
        let Some((expr, latitude)) = cube
            .lazy(index)
            .zip(dataset.coordinate(index, Axis::Latitude))
        else {
            continue;
        };
        let Some(values) = cube.numbers(latitude) else {
            continue;
        };
        let dims = &dataset.variables[index].dims;
        let place = |dim: &usize| dims.iter().position(|own| own == dim).map(Lookup::Same);
        let lookups = dataset.variables[latitude].dims.iter().map(place);
        let Some(lookups) = lookups.collect::<Option<Vec<Lookup>>>() else {
            continue;
        };
        let held = Expr::Held(Held {
            shape: dataset.shape(latitude),
            values: std::sync::Arc::new(values.to_vec()),
        });
        let mut builder = Builder::new(expr.shape());
        let value = builder.whole(expr);
        let latitude = builder.operand(&held, lookups);
        let result = formula(&mut builder, value, latitude);
        cube.contents[index] = Content::Lazy(builder.finish(result));
        found = true;
    }
    if found {
        Ok(cube)
    } else {
        let axis = Axis::Latitude;
        Err(CubeError::NoAxis { operator, axis })
    }
}
