//! Lines of least squares through the steps of each cell: `trend`, `regres`, `detrend`,
//! `subtrend`, `addtrend`.

use std::sync::Arc;

use super::Reduction;
use crate::cube::{Content, Cube, TimeCoordinate};
use crate::error::CubeError;
use crate::ops::cellwise::{Binary, Builder, Lookup};
use crate::ops::grouping::{Group, Grouping};
use crate::ops::pair::{Matching, combine};
use crate::ops::statistic::Statistic;
use crate::ops::{Context, Inputs, Operator, Outcome, Outputs};
use crate::plan::expr::{Expr, Held};
use crate::time_axis::TimeUnit;

const RULES: &str = "\
Least squares over the valid steps of each cell; t counts steps, 0, 1, 2, ... With equal=false t is
the time since the first step, divided by that from the first to the second. A cell without valid
steps is missing; with one, its line has no slope: b is missing and a is the value.";

const SOURCE: &str = "\
Source: the definition, by distances from the means of t and the values (Welford 1962; Chan, Golub
and LeVeque 1979), so that a small trend on a large mean is kept.";

const UNITS: &str = "\
The units of b are those of the data per unit of t, such as `K day-1` (CDO leaves the data's).";

/// The operators of this family.
pub(super) fn table() -> Vec<Operator> {
    let operator = |name: &'static str, summary: &'static str, family: Applied| {
        Operator::new(name, summary, move |inputs, context| {
            family(inputs, context)
        })
        .arguments("[equal=true|false]", 0..=1)
    };
    vec![
        operator(
            "trend",
            "Line through the steps: intercept a and slope b",
            trend,
        )
        .outputs(Outputs::Exactly(2))
        .details(format!(
            "{RULES}\nBoth come from one pass over the data, at the time of the last step. \
                 {UNITS}\n{SOURCE}"
        ))
        .example("-trend in.nc a.nc b.nc"),
        operator("regres", "Slope of the line through the steps", regres)
            .details(format!("{RULES}\n{UNITS}\n{SOURCE}")),
        operator("detrend", "Take the line through the steps off", detrend).details(format!(
            "{RULES} Missing values stay missing. The data is read twice.\n{SOURCE}"
        )),
        operator("subtrend", "Take a line off: x - (a + b t)", subtrend)
            .inputs(Inputs::Exactly(3))
            .details(format!(
                "The second and third inputs are those that trend makes, with the same `equal`. \
                 {WITH}"
            ))
            .example("-subtrend in.nc a.nc b.nc out.nc"),
        operator("addtrend", "Put a line on: x + a + b t", addtrend)
            .inputs(Inputs::Exactly(3))
            .details(format!(
                "The second and third inputs are those that trend makes, with the same `equal`. \
                 {WITH}"
            ))
            .example("-addtrend in.nc a.nc b.nc out.nc"),
    ]
}

const WITH: &str = "A missing value in any\ngives a missing value. Source: the definition.";

type Applied = fn(Vec<Cube>, &mut Context<'_>) -> Result<Outcome, CubeError>;

fn trend(mut inputs: Vec<Cube>, context: &mut Context<'_>) -> Result<Outcome, CubeError> {
    let [intercept, slope] = lines(&inputs.remove(0), context)?;
    Ok(Outcome::Cubes(vec![intercept, slope]))
}

fn regres(mut inputs: Vec<Cube>, context: &mut Context<'_>) -> Result<Outcome, CubeError> {
    let [_, slope] = lines(&inputs.remove(0), context)?;
    Ok(slope.into())
}

fn detrend(mut inputs: Vec<Cube>, context: &mut Context<'_>) -> Result<Outcome, CubeError> {
    let cube = inputs.remove(0);
    let [intercept, slope] = lines(&cube, context)?;
    shift(vec![cube, intercept, slope], context, Binary::Subtract)
}

fn subtrend(inputs: Vec<Cube>, context: &mut Context<'_>) -> Result<Outcome, CubeError> {
    shift(inputs, context, Binary::Subtract)
}

fn addtrend(inputs: Vec<Cube>, context: &mut Context<'_>) -> Result<Outcome, CubeError> {
    shift(inputs, context, Binary::Add)
}

/// The intercepts and slopes of all variables.
fn lines(cube: &Cube, context: &Context<'_>) -> Result<[Cube; 2], CubeError> {
    let time = cube.time(context.name())?;
    let is_equal = is_equal(context)?;
    let numbers = match is_equal {
        true => None,
        false => Some(Arc::new(elapsed(&time, context)?)),
    };
    let steps = time.axis.values.len();
    let whole: Group = std::iter::once(0..steps).collect();
    let groups: Vec<Group> = (steps > 0).then_some(whole).into_iter().collect();
    let of = |statistic| {
        let what = Reduction {
            groups: &groups,
            grouping: Grouping::All,
            statistic,
            numbers: numbers.clone(),
            stamps_last: true,
        };
        what.apply(cube.clone(), &time, context)
    };
    let (intercept, mut slope) = (of(Statistic::Intercept)?, of(Statistic::Slope)?);
    let unit = unit(&time, is_equal);
    for index in slope.dataset.data_variables() {
        let attributes = &mut slope.dataset.variables[index].attributes;
        let units = match attributes.get_text("units").map(str::trim) {
            Some(units) if !units.is_empty() && units != "1" => format!("{units} {unit}"),
            _ => unit.clone(),
        };
        attributes.set("units", units);
        attributes.remove("standard_name");
    }
    Ok([intercept, slope])
}

/// Adds or subtracts the line of the second and third input.
fn shift(mut inputs: Vec<Cube>, context: &Context<'_>, sign: Binary) -> Result<Outcome, CubeError> {
    let cube = inputs.remove(0);
    let time = cube.time(context.name())?;
    let t = match is_equal(context)? {
        true => (0..time.axis.values.len())
            .map(|step| step as f64)
            .collect(),
        false => elapsed(&time, context)?,
    };
    inputs.push(times_as_data(&cube, &time, t));
    let formula = |builder: &mut Builder, value: usize, others: &[usize]| {
        let gained = builder.binary(Binary::Multiply, others[1], others[2]);
        let line = builder.binary(Binary::Add, others[0], gained);
        builder.binary(sign, value, line)
    };
    Ok(combine(cube, &inputs, context.name(), Matching::Step, &formula)?.into())
}

/// The same structure with t as the value of every cell.
fn times_as_data(cube: &Cube, time: &TimeCoordinate, t: Vec<f64>) -> Cube {
    let held = Expr::Held(Held {
        shape: vec![t.len()],
        values: Arc::new(t),
    });
    let mut cube = cube.clone();
    for index in cube.dataset.data_variables() {
        let dims = &cube.dataset.variables[index].dims;
        let axis = dims.iter().position(|&dim| dim == time.dim);
        let mut builder = Builder::new(cube.dataset.shape(index));
        let value = match axis {
            Some(axis) => builder.operand(&held, vec![Lookup::Same(axis)]),
            None => builder.constant(0.0),
        };
        let expr = builder.finish(value);
        cube.contents[index] = Content::Lazy(expr);
    }
    cube
}

fn is_equal(context: &Context<'_>) -> Result<bool, CubeError> {
    let parameters = context.parameters();
    match parameters.values.first().map(String::as_str) {
        None | Some("equal=true") => Ok(true),
        Some("equal=false") => Ok(false),
        Some(_) => Err(parameters.wrong(0, "equal=true or equal=false")),
    }
}

/// The time since the first step in units of the first increment.
fn elapsed(time: &TimeCoordinate, context: &Context<'_>) -> Result<Vec<f64>, CubeError> {
    let values = &time.axis.values;
    let increment = first_increment(values);
    match increment {
        Some(increment) if increment != 0.0 => {
            Ok(values.iter().map(|v| (v - values[0]) / increment).collect())
        }
        _ => Err(context.refused(
            "equal=false needs two steps of different times to measure time by".to_owned(),
        )),
    }
}

fn first_increment(values: &[f64]) -> Option<f64> {
    Some(values.get(1)? - values.first()?)
}

/// The reciprocal of the unit of t, as UDUNITS reads it; `step-1` where steps are unequal.
fn unit(time: &TimeCoordinate, is_equal: bool) -> String {
    let values = &time.axis.values;
    let unit = match time.axis.units.unit() {
        TimeUnit::Microseconds => "us",
        TimeUnit::Milliseconds => "ms",
        TimeUnit::Seconds => "s",
        TimeUnit::Minutes => "minute",
        TimeUnit::Hours => "hour",
        TimeUnit::Days => "day",
        TimeUnit::Weeks => "week",
        TimeUnit::Months => "month",
        TimeUnit::Years => "year",
    };
    let Some(increment) = first_increment(values) else {
        return "step-1".to_owned();
    };
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b.abs();
    let is_regular = || {
        values
            .windows(2)
            .all(|pair| near(pair[1] - pair[0], increment))
    };
    if !is_equal || is_regular() {
        return match increment {
            1.0 => format!("{unit}-1"),
            other => format!("({other} {unit})^-1"),
        };
    }
    let months = time.axis.dates().unwrap_or_default();
    let months: Vec<i64> = months
        .iter()
        .map(|date| i64::from(date.year) * 12 + i64::from(date.month))
        .collect();
    let all = |distance: i64| months.windows(2).all(|pair| pair[1] - pair[0] == distance);
    match months.len() {
        0 => "step-1",
        _ if all(1) => "month-1",
        _ if all(12) => "year-1",
        _ => "step-1",
    }
    .to_owned()
}
