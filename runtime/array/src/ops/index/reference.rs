//! What goes with each day of the input: the second input, at its cells and steps.

use std::collections::HashMap;

use super::Context;
use crate::cube::{Cube, TimeCoordinate};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::ops::cellwise::Binary;
use crate::ops::each::each_with;
use crate::ops::grouping::{Grouping, Key};
use crate::ops::pair::{Matching, combine};
use crate::plan::expr::Expr;
use crate::plan::picks::Picks;

/// What the second input is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Second {
    /// There is none.
    Nothing,
    /// Another series of the same days.
    Series,
    /// A limit for each day of the year.
    Reference,
    /// The share of land, which must be so much.
    Land(f64),
    /// CDO's minima and maxima of the base period, which need not be given and are not read.
    Extremes,
}

impl Second {
    /// The values at the cells and steps of the variable `index` of `cube`.
    pub(super) fn along(
        self,
        cube: &Cube,
        index: usize,
        mut second: Cube,
        context: &Context<'_>,
    ) -> Result<Option<Expr>, CubeError> {
        let name = context.name();
        let time = cube.time(name)?;
        let matching = match self {
            Self::Nothing | Self::Extremes => return Ok(None),
            Self::Series => Matching::Step,
            Self::Reference => of_reference(&time, &mut second, context)?,
            Self::Land(least) => {
                second = land(second, name, least)?;
                Matching::Step
            }
        };
        let reference = |_: &mut _, _: usize, others: &[usize]| others[0];
        let aligned = combine(cube.clone(), &[second], name, matching, &reference)?;
        if aligned.dataset.shape(index) != cube.dataset.shape(index) {
            let problem = "the second input has more steps than the first".to_owned();
            return Err(context.refused(problem));
        }
        Ok(aligned.lazy(index).cloned())
    }
}

/// How the days of a reference are found. Of several years `--cdo` keeps the last.
fn of_reference(
    time: &TimeCoordinate,
    second: &mut Cube,
    context: &Context<'_>,
) -> Result<Matching, CubeError> {
    let operator = context.name();
    let Some(of_second) = second.time_if_any(operator)? else {
        return Ok(Matching::Step);
    };
    let steps = of_second.axis.values.len();
    if steps == 1 {
        return Ok(Matching::Step);
    }
    let dates = of_second.dates(operator)?;
    let day = |date| Grouping::DayOfYear.key(date);
    let last: HashMap<Key, usize> = dates.iter().map(day).zip(0..).collect();
    if context.options.cdo {
        let is_last = |&step: &usize| last[&day(&dates[step])] == step;
        let picks = Picks::from_indices((0..steps).filter(is_last));
        second.pick(of_second.dim, &picks);
    } else if last.len() < steps {
        // Several years: they must be those of the input.
        let day = |date| Grouping::Day.key(date);
        let same = time.dates(operator)?;
        if !same.iter().map(day).eq(dates.iter().map(day)) {
            let problem = "the reference has several years, which are not those of the input: \
                make one of each day of the year, as by ydaymean or ydaypctl (--cdo takes the \
                last year)";
            return Err(context.refused(problem.to_owned()));
        }
        return Ok(Matching::Step);
    }
    Ok(Matching::Calendar(Grouping::DayOfYear))
}

/// 1 for land in the north, -1 for land in the south, else 0.
fn land(second: Cube, operator: &'static str, least: f64) -> Result<Cube, CubeError> {
    let hemisphere = |latitude: f64| if latitude < 0.0 { -1.0 } else { 1.0 };
    let coordinates: [(Axis, &dyn Fn(f64) -> f64); 1] = [(Axis::Latitude, &hemisphere)];
    each_with(second, operator, &coordinates, |builder, share, side| {
        let (least, water) = (builder.constant(least), builder.constant(0.0));
        let is_land = builder.binary(Binary::GreaterOrEqual, share, least);
        builder.choose(is_land, side[0], water)
    })
}
