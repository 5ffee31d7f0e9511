//! The functions of expressions.

use super::value::{Cells, Function, Value, compute};
use crate::cube::{Content, Cube};
use crate::dataset::{Axis, DType, Variable};
use crate::error::CubeError;
use crate::ops::cellwise::{Binary, Unary};
use crate::ops::horizontal::Horizontal;
use crate::ops::{self, Context, Outcome};
use crate::plan::expr::Expr;
use crate::time_axis::{DateTime, TimeUnits};

/// The radius of the Earth in metres by which cell areas are computed, as CDO's.
const EARTH_RADIUS_M: f64 = 6_371_000.0;

const UNARY: [(&str, Unary); 29] = [
    ("abs", Unary::Absolute),
    ("floor", Unary::Floor),
    ("ceil", Unary::Ceiling),
    ("float", Unary::Single),
    ("int", Unary::Truncate),
    ("nint", Unary::Round),
    ("sqr", Unary::Square),
    ("sqrt", Unary::SquareRoot),
    ("exp", Unary::Exponential),
    ("ln", Unary::Logarithm),
    ("log", Unary::Logarithm),
    ("log10", Unary::Logarithm10),
    ("sin", Unary::Sine),
    ("cos", Unary::Cosine),
    ("tan", Unary::Tangent),
    ("asin", Unary::ArcSine),
    ("acos", Unary::ArcCosine),
    ("atan", Unary::ArcTangent),
    ("sinh", Unary::HyperbolicSine),
    ("cosh", Unary::HyperbolicCosine),
    ("tanh", Unary::HyperbolicTangent),
    ("asinh", Unary::AreaSine),
    ("acosh", Unary::AreaCosine),
    ("atanh", Unary::AreaTangent),
    ("rad", Unary::Radians),
    ("deg", Unary::Degrees),
    ("reci", Unary::Reciprocal),
    ("not", Unary::Not),
    ("isMissval", Unary::IsMissing),
];

const BINARY: [(&str, Binary); 6] = [
    ("min", Binary::Minimum),
    ("max", Binary::Maximum),
    ("pow", Binary::Power),
    ("mod", Binary::Remainder),
    ("hypot", Binary::Hypotenuse),
    ("atan2", Binary::ArcTangent),
];

/// Of a step of the time axis: its number from 0, its date, and its distance in seconds from
/// the step before.
type OfStep = fn(usize, &DateTime, f64) -> f64;

const OF_TIME: [(&str, OfStep); 10] = [
    ("ctimestep", |step, _, _| (step + 1) as f64),
    ("cdate", |_, date, _| {
        let days = i64::from(date.month) * 100 + i64::from(date.day);
        let year = i64::from(date.year) * 10_000;
        (if year < 0 { year - days } else { year + days }) as f64
    }),
    ("ctime", |_, date, _| {
        f64::from(u32::from(date.hour) * 10_000 + u32::from(date.minute) * 100) + seconds(date)
    }),
    ("cdeltat", |_, _, delta| delta),
    ("cday", |_, date, _| date.day.into()),
    ("cmonth", |_, date, _| date.month.into()),
    ("cyear", |_, date, _| date.year.into()),
    ("csecond", |_, date, _| seconds(date)),
    ("cminute", |_, date, _| date.minute.into()),
    ("chour", |_, date, _| date.hour.into()),
];

fn seconds(date: &DateTime) -> f64 {
    f64::from(date.second) + f64::from(date.microsecond) / 1e6
}

/// Operators of one input that are functions too: their names begin so.
const FAMILIES: [&str; 4] = ["fld", "zon", "mer", "vert"];

/// Operators of one input and one parameter that are functions too.
const SELECTIONS: [&str; 2] = ["sellevel", "sellevidx"];

/// Calls a function. The error is what is wrong with the call.
pub(super) fn call(
    cube: &Cube,
    context: &mut Context<'_>,
    name: &str,
    arguments: &[&Value],
) -> Result<Value, Failure> {
    if let Some((_, function)) = UNARY.iter().find(|(own, _)| *own == name) {
        expect(name, arguments, 1)?;
        return Ok(compute(cube, Function::Unary(*function), arguments));
    }
    if let Some((_, function)) = BINARY.iter().find(|(own, _)| *own == name) {
        expect(name, arguments, 2)?;
        return Ok(compute(cube, Function::Binary(*function), arguments));
    }
    if let Some((_, function)) = OF_TIME.iter().find(|(own, _)| *own == name) {
        expect(name, arguments, 0)?;
        return of_time(cube, context.name(), *function);
    }
    if SELECTIONS.contains(&name) {
        expect(name, arguments, 2)?;
        let Value::Number(level) = arguments[1] else {
            return Err(format!("the second argument of `{name}` must be a number").into());
        };
        let parameters = [level.to_string()];
        return by_operator(cube, context, name, &parameters, cells(name, arguments[0])?);
    }
    if FAMILIES.iter().any(|family| name.starts_with(family)) {
        expect(name, arguments, 1)?;
        return by_operator(cube, context, name, &[], cells(name, arguments[0])?);
    }
    let of_one = matches!(
        name,
        "clon" | "clat" | "gridarea" | "clev" | "clevidx" | "ngp" | "nlev" | "size" | "missval"
    );
    if !of_one {
        return Err(format!("there is no function `{name}`").into());
    }
    expect(name, arguments, 1)?;
    of_grid(cube, name, cells(name, arguments[0])?)
}

/// Why a call gives nothing.
pub(super) enum Failure {
    /// It is written wrong.
    Problem(String),
    /// What it does cannot be done.
    Cube(CubeError),
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self::Problem(problem)
    }
}

impl From<CubeError> for Failure {
    fn from(error: CubeError) -> Self {
        Self::Cube(error)
    }
}

fn expect(name: &str, arguments: &[&Value], count: usize) -> Result<(), Failure> {
    if arguments.len() == count {
        return Ok(());
    }
    let found = arguments.len();
    Err(format!("`{name}` takes {count} arguments, found {found}").into())
}

fn cells<'a>(name: &str, value: &'a Value) -> Result<&'a Cells, Failure> {
    match value {
        Value::Cells(cells) => Ok(cells),
        Value::Number(number) => {
            Err(format!("`{name}` takes a variable, found the number {number}").into())
        }
    }
}

fn of_time(cube: &Cube, operator: &'static str, function: OfStep) -> Result<Value, Failure> {
    let time = cube.time(operator)?;
    let wrong = |source| CubeError::Time { operator, source };
    let dates = time.axis.dates().map_err(wrong)?;
    let seconds: TimeUnits = "seconds since 2000-01-01".parse().map_err(wrong)?;
    let moments = dates
        .iter()
        .map(|date| seconds.value(date, time.axis.calendar));
    let moments = moments.collect::<Result<Vec<f64>, _>>().map_err(wrong)?;
    let values = dates.iter().enumerate().map(|(step, date)| {
        let delta = moments[step] - moments[step.saturating_sub(1)];
        function(step, date, delta)
    });
    let values = values.collect();
    Ok(Value::Cells(Cells::held(cube, &[time.dim], values, None)))
}

/// Functions of a variable's grid alone.
fn of_grid(cube: &Cube, name: &str, of: &Cells) -> Result<Value, Failure> {
    let Some(variable) = of.like else {
        return Err(format!("the argument of `{name}` has no grid").into());
    };
    let coordinate = |axis| cube.dataset.coordinate(variable, axis);
    let dims_of = |coordinate: usize| cube.dataset.variables[coordinate].dims.clone();
    let level = coordinate(Axis::Level).map(|level| (dims_of(level), cube.numbers(level)));
    let shape = cube.dataset.shape(variable);
    let level_count = level
        .as_ref()
        .and_then(|(_, levels)| Some(levels.as_ref()?.len()));
    let missing_axis =
        |axis: &str| Failure::from(format!("the argument of `{name}` has no {axis}"));
    let horizontal = || -> Option<(usize, usize, Vec<usize>)> {
        let (lon, lat) = (coordinate(Axis::Longitude)?, coordinate(Axis::Latitude)?);
        let mut dims = cube.dataset.variables[variable].dims.clone();
        dims.retain(|dim| dims_of(lon).contains(dim) || dims_of(lat).contains(dim));
        Some((lon, lat, dims))
    };
    let like = Some(variable);
    match name {
        "clon" | "clat" => {
            let axis = if name == "clon" {
                Axis::Longitude
            } else {
                Axis::Latitude
            };
            let (Some((.., dims)), Some(index)) = (horizontal(), coordinate(axis)) else {
                return Err(missing_axis("longitudes and latitudes"));
            };
            let Some(own) = Cells::of_variable(cube, index) else {
                return Err(missing_axis("longitudes and latitudes"));
            };
            // Zeros over the whole grid, so that the result is as wide.
            let len = dims
                .iter()
                .map(|&dim| cube.dataset.dimensions[dim].len)
                .product();
            let grid = Value::Cells(Cells::held(cube, &dims, vec![0.0; len], like));
            let inputs = [&grid, &Value::Cells(own)];
            let mut value = compute(cube, Function::Binary(Binary::Add), &inputs);
            if let Value::Cells(cells) = &mut value {
                cells.units = cube.dataset.variables[index]
                    .attributes
                    .get_text("units")
                    .map(str::to_owned);
            }
            Ok(value)
        }
        "gridarea" => {
            let areas = horizontal().and_then(|(lon, lat, _)| {
                let found = Horizontal::of_coordinates(cube, lon, lat)?;
                Some((found.dims.clone(), found.grid.areas()?))
            });
            let (dims, areas) =
                areas.ok_or_else(|| missing_axis("cells whose areas can be told"))?;
            let squared = EARTH_RADIUS_M * EARTH_RADIUS_M;
            let values = areas.iter().map(|area| area * squared).collect();
            let mut cells = Cells::held(cube, &dims, values, like);
            cells.units = Some("m2".to_owned());
            Ok(Value::Cells(cells))
        }
        "clev" | "clevidx" => match level {
            Some((dims, Some(levels))) => {
                let count = levels.len();
                let values = match name {
                    "clev" => levels.to_vec(),
                    _ => (1..=count).map(|index| index as f64).collect(),
                };
                Ok(Value::Cells(Cells::held(cube, &dims, values, None)))
            }
            _ => Ok(Value::Number(0.0)),
        },
        "nlev" => Ok(Value::Number(level_count.unwrap_or(1) as f64)),
        "missval" => Ok(Value::Number(f64::NAN)),
        _ => {
            let position = cube.dataset.axis_position(variable, Axis::Time);
            let counts = shape.iter().enumerate();
            let cells: usize = counts
                .filter(|(dim, _)| Some(*dim) != position)
                .map(|(_, len)| len)
                .product();
            let levels = if name == "ngp" {
                level_count.unwrap_or(1)
            } else {
                1
            };
            Ok(Value::Number((cells / levels.max(1)) as f64))
        }
    }
}

/// Lets an operator of the table work on a cube of one variable. Dimensions that it shortens to
/// one are gone in the result.
fn by_operator(
    cube: &Cube,
    context: &mut Context<'_>,
    name: &str,
    parameters: &[String],
    of: &Cells,
) -> Result<Value, Failure> {
    let Some(operator) = ops::find(name) else {
        return Err(format!("there is no function `{name}`").into());
    };
    let mut input = cube.clone();
    let attributes = of
        .like
        .map(|like| cube.dataset.variables[like].attributes.clone());
    let own = input.free_name("expression");
    let variable = Variable {
        name: own.clone(),
        dtype: DType::F64,
        dims: of.dims(),
        attributes: attributes.unwrap_or_default(),
    };
    input.push(variable, Content::Lazy(of.shaped(cube)));
    let index = input.contents.len() - 1;
    let mut kept = input.dataset.companions(index);
    kept.push(index);
    input.retain(|index| kept.contains(&index));
    let mut inner = Context {
        operator,
        arguments: parameters,
        options: context.options,
        warnings: &mut *context.warnings,
        sources: &mut *context.sources,
    };
    let Outcome::Cubes(results) = operator.family.apply(vec![input], &mut inner)? else {
        return Err(format!("`{name}` gives no value").into());
    };
    let result = results.first().and_then(|result| {
        let index = result.dataset.variable_index(&own)?;
        Some((result, index, result.lazy(index)?.clone()))
    });
    let Some((result, index, expr)) = result else {
        return Err(format!("`{name}` gives no value").into());
    };
    let axes = axes(cube, result, index, &expr);
    let axes = axes.ok_or_else(|| format!("`{name}` changes the grid"))?;
    Ok(Value::Cells(Cells {
        expr,
        axes,
        like: of.like,
        units: of.units.clone(),
        is_copy: false,
    }))
}

/// The input's dimensions that those of a result are, by name.
fn axes(cube: &Cube, result: &Cube, index: usize, expr: &Expr) -> Option<Vec<Option<usize>>> {
    let dims = result.dataset.variables[index].dims.iter();
    let pairs = dims.zip(expr.shape()).map(|(&dim, len)| {
        let name = &result.dataset.dimensions[dim].name;
        let known = cube.dataset.dimension_index(name);
        match known.filter(|&known| cube.dataset.dimensions[known].len == len) {
            Some(known) => Some(Some(known)),
            None if len == 1 => Some(None),
            None => None,
        }
    });
    pairs.collect()
}
