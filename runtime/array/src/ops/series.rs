//! Operators that need the whole series of a cell: percentiles, running windows, cumulated
//! sums, sorting, runs of steps.
//!
//! Each gives a [`Series`] whose kernel is in a module of its own.

pub(crate) mod percentile;
mod runs;
mod table;
mod window;

pub(crate) use table::table;

use std::sync::Arc;

use super::grouping::{Group, Grouping};
use super::time::Regrouping;
use super::{Context, Outcome};
use crate::cube::{Content, Cube, TimeCoordinate};
use crate::error::CubeError;
use crate::plan::expr::Expr;
use crate::plan::series::{Series, SeriesKernel};

/// Gives every variable that varies with time a step for each group, by a kernel.
fn regroup(
    cube: Cube,
    time: &TimeCoordinate,
    context: &Context<'_>,
    groups: &[Group],
    (grouping, method): (Grouping, Option<String>),
    kernel: Arc<dyn SeriesKernel>,
) -> Result<Outcome, CubeError> {
    let regrouping = Regrouping {
        groups,
        grouping,
        method,
        stamps_last: false,
    };
    let make = |child: &Expr, axis: usize, _: &mut _| {
        Expr::Series(Arc::new(Series {
            children: vec![child.clone()],
            axis,
            steps: groups.len(),
            kernel: Arc::clone(&kernel),
        }))
    };
    Ok(regrouping.apply(cube, time, context, make)?.into())
}

/// Puts a series of as many steps in the place of each data variable's.
fn transform(
    mut cube: Cube,
    context: &Context<'_>,
    kernel: Arc<dyn SeriesKernel>,
) -> Result<Outcome, CubeError> {
    let time = cube.time(context.name())?;
    for index in cube.dataset.data_variables() {
        let dims = &cube.dataset.variables[index].dims;
        let axis = dims.iter().position(|&dim| dim == time.dim);
        if let (Some(axis), Content::Lazy(child)) = (axis, &cube.contents[index]) {
            cube.contents[index] = Content::Lazy(Expr::Series(Arc::new(Series {
                children: vec![child.clone()],
                axis,
                steps: time.axis.values.len(),
                kernel: Arc::clone(&kernel),
            })));
        }
    }
    Ok(cube.into())
}
