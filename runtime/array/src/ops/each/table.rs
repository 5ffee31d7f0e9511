//! The rows of the operators that change every cell by itself.

use super::{Boxed, change_box, compare, each, each_with, missing_value};
use crate::cube::Cube;
use crate::dataset::Axis;
use crate::ops::cellwise::{Binary, Builder, Unary};
use crate::ops::units::Change;
use crate::ops::{Context, Operator, Outcome, Parameters};

const STRICT: &str = "A missing value stays missing.";
const DOMAIN: &str = "A missing value stays missing; a value without a result gives a missing \
value (CDO: NaN or infinity).";

/// Name, summary, function, its rule of missing values.
const MATHEMATICS: [(&str, &str, Unary, &str); 17] = [
    ("abs", "Absolute value", Unary::Absolute, STRICT),
    ("int", "Integer part, towards zero", Unary::Truncate, STRICT),
    (
        "nint",
        "Nearest integer, halves away from zero",
        Unary::Round,
        STRICT,
    ),
    ("sqr", "Square", Unary::Square, STRICT),
    ("sqrt", "Square root", Unary::SquareRoot, DOMAIN),
    ("exp", "Exponential", Unary::Exponential, STRICT),
    ("ln", "Natural logarithm", Unary::Logarithm, DOMAIN),
    ("log", "Natural logarithm, as ln", Unary::Logarithm, DOMAIN),
    (
        "log10",
        "Logarithm to the base 10",
        Unary::Logarithm10,
        DOMAIN,
    ),
    ("sin", "Sine of radians", Unary::Sine, STRICT),
    ("cos", "Cosine of radians", Unary::Cosine, STRICT),
    ("tan", "Tangent of radians", Unary::Tangent, STRICT),
    ("asin", "Arc sine in radians", Unary::ArcSine, DOMAIN),
    ("acos", "Arc cosine in radians", Unary::ArcCosine, DOMAIN),
    ("atan", "Arc tangent in radians", Unary::ArcTangent, STRICT),
    ("reci", "Reciprocal", Unary::Reciprocal, DOMAIN),
    (
        "not",
        "1 where the value is zero, else 0",
        Unary::Not,
        STRICT,
    ),
];

/// Name, summary, function, its rule of missing values.
const CONSTANTS: [(&str, &str, Binary, &str); 7] = [
    ("addc", "Add a constant", Binary::Add, STRICT),
    ("subc", "Subtract a constant", Binary::Subtract, STRICT),
    ("mulc", "Multiply with a constant", Binary::Multiply, STRICT),
    (
        "divc",
        "Divide by a constant",
        Binary::Divide,
        "A missing value stays missing; divided by 0, all are.",
    ),
    (
        "minc",
        "Minimum of each value and a constant",
        Binary::Minimum,
        "A missing value stays missing (--cdo: it becomes the constant).",
    ),
    (
        "maxc",
        "Maximum of each value and a constant",
        Binary::Maximum,
        "A missing value stays missing (--cdo: it becomes the constant).",
    ),
    ("pow", "Power", Binary::Power, DOMAIN),
];

/// Name, summary, function.
const COMPARISONS: [(&str, &str, Binary); 6] = [
    ("eqc", "1 where equal to a constant, else 0", Binary::Equal),
    (
        "nec",
        "1 where not equal to a constant, else 0",
        Binary::NotEqual,
    ),
    (
        "lec",
        "1 where not more than a constant, else 0",
        Binary::LessOrEqual,
    ),
    ("ltc", "1 where less than a constant, else 0", Binary::Less),
    (
        "gec",
        "1 where not less than a constant, else 0",
        Binary::GreaterOrEqual,
    ),
    (
        "gtc",
        "1 where more than a constant, else 0",
        Binary::Greater,
    ),
];

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let mathematics = MATHEMATICS
        .into_iter()
        .map(|(name, summary, function, missing)| {
            Operator::new(name, summary, move |mut inputs, context| {
                let mut cube = each(inputs.remove(0), |builder, x| builder.unary(function, x));
                let change = Change::of_unary(function);
                change.apply_to_all(&mut cube, context.options.cdo);
                Ok(cube.into())
            })
            .details(missing)
        });
    let constants = CONSTANTS
        .into_iter()
        .map(|(name, summary, function, missing)| {
            let example = if name == "pow" { "0.5" } else { "273.15" };
            let family = move |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
                let number = number_or_nan(&context.parameters(), 0)?;
                let function = match (context.options.cdo, function) {
                    (true, Binary::Minimum) => Binary::MinimumOfValid,
                    (true, Binary::Maximum) => Binary::MaximumOfValid,
                    _ => function,
                };
                let mut cube = each(inputs.remove(0), |builder, x| {
                    let number = builder.constant(number);
                    builder.binary(function, x, number)
                });
                let change = Change::of_constant(function, number);
                change.apply_to_all(&mut cube, context.options.cdo);
                Ok(Outcome::from(cube))
            };
            Operator::new(name, summary, family)
                .arguments("c", 1..=1)
                .details(missing)
                .example(format!("-{name},{example} in.nc out.nc"))
        });
    let comparisons = COMPARISONS.into_iter().map(|(name, summary, function)| {
        let family = move |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
            let number = number_or_nan(&context.parameters(), 0)?;
            let mut cube = compare(inputs.remove(0), &[number], |builder, x, c| {
                builder.binary(function, x, c[0])
            });
            let change = Change::of_constant(function, number);
            change.apply_to_all(&mut cube, context.options.cdo);
            Ok(Outcome::from(cube))
        };
        Operator::new(name, summary, family)
        .arguments("c", 1..=1)
        .details(
            "A missing value stays missing. Data in single precision is compared with the constant \
             as single\nprecision has it.",
        )
        .example(format!("-{name},273.15 in.nc out.nc"))
    });
    mathematics
        .chain(constants)
        .chain(comparisons)
        .chain(missing_values())
        .chain(by_coordinates())
        .chain(by_days())
        .chain([set_values()])
        .collect()
}

/// An operator whose parameters are numbers.
fn with_numbers(
    name: &'static str,
    summary: &'static str,
    names: &'static str,
    count: usize,
    apply: impl Fn(Cube, &[f64]) -> Cube + Send + Sync + 'static,
) -> Operator {
    let family = move |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
        let parameters = context.parameters();
        let numbers = (0..count).map(|index| number_or_nan(&parameters, index));
        let numbers = numbers.collect::<Result<Vec<f64>, _>>()?;
        Ok(Outcome::from(apply(inputs.remove(0), &numbers)))
    };
    Operator::new(name, summary, family).arguments(names, count..=count)
}

/// `nan` is a value to be compared with, and infinity a bound.
fn number_or_nan(parameters: &Parameters<'_>, index: usize) -> Result<f64, crate::CubeError> {
    let parsed = parameters.values.get(index).map(|text| text.parse::<f64>());
    match parsed {
        Some(Ok(value)) => Ok(value),
        _ => Err(parameters.wrong(index, "a number")),
    }
}

/// Whether a value lies in the closed range of two others.
fn is_inside(builder: &mut Builder, x: usize, range: &[usize]) -> usize {
    let above = builder.binary(Binary::GreaterOrEqual, x, range[0]);
    let below = builder.binary(Binary::LessOrEqual, x, range[1]);
    builder.binary(Binary::And, above, below)
}

fn missing_values() -> Vec<Operator> {
    vec![
        with_numbers(
            "setmissval",
            "Set the value that marks missing ones",
            "value",
            1,
            |cube, n| missing_value::set(cube, n[0]),
        )
        .details("Values equal to it are missing from then on.")
        .example("-setmissval,-9999 in.nc out.nc"),
        with_numbers(
            "setctomiss",
            "Set a constant to missing",
            "c",
            1,
            |cube, numbers| {
                compare(cube, numbers, |builder, x, c| {
                    let missing = builder.constant(f64::NAN);
                    let is_it = builder.binary(Binary::Equal, x, c[0]);
                    builder.choose(is_it, missing, x)
                })
            },
        )
        .details("NaN is always missing.")
        .example("-setctomiss,0 in.nc out.nc"),
        with_numbers(
            "setmisstoc",
            "Set missing values to a constant",
            "c",
            1,
            |cube, numbers| {
                each(cube, |builder, x| {
                    let value = builder.constant(numbers[0]);
                    builder.binary(Binary::Valid, x, value)
                })
            },
        )
        .details("No value of the result is missing.")
        .example("-setmisstoc,0 in.nc out.nc"),
        with_numbers(
            "setrtomiss",
            "Set a range to missing",
            "min,max",
            2,
            |cube, numbers| {
                compare(cube, numbers, |builder, x, range| {
                    let missing = builder.constant(f64::NAN);
                    let inside = is_inside(builder, x, range);
                    builder.choose(inside, missing, x)
                })
            },
        )
        .details("The bounds belong to the range.")
        .example("-setrtomiss,0,1 in.nc out.nc"),
        with_numbers(
            "setvrange",
            "Set the valid range",
            "min,max",
            2,
            |cube, numbers| {
                compare(cube, numbers, |builder, x, range| {
                    let missing = builder.constant(f64::NAN);
                    let inside = is_inside(builder, x, range);
                    builder.choose(inside, x, missing)
                })
            },
        )
        .details("Values outside become missing; the bounds are valid.")
        .example("-setvrange,0,1 in.nc out.nc"),
        with_numbers(
            "setrtoc",
            "Set a range to a constant",
            "min,max,c",
            3,
            |cube, numbers| {
                compare(cube, numbers, |builder, x, range| {
                    let inside = is_inside(builder, x, range);
                    builder.choose(inside, range[2], x)
                })
            },
        )
        .details("The bounds belong to the range. A missing value stays missing.")
        .example("-setrtoc,0,1,0.5 in.nc out.nc"),
        with_numbers(
            "setrtoc2",
            "Set a range to a constant and all else to another",
            "min,max,c,c2",
            4,
            |cube, numbers| {
                compare(cube, numbers, |builder, x, range| {
                    let inside = is_inside(builder, x, range);
                    builder.choose(inside, range[2], range[3])
                })
            },
        )
        .details("The bounds belong to the range. A missing value stays missing.")
        .example("-setrtoc2,0,1,1,0 in.nc out.nc"),
        with_numbers(
            "ifthenc",
            "A constant where the input is not zero",
            "c",
            1,
            |cube, numbers| {
                each(cube, |builder, x| {
                    let (value, missing) =
                        (builder.constant(numbers[0]), builder.constant(f64::NAN));
                    builder.choose(x, value, missing)
                })
            },
        )
        .details("Missing elsewhere, and where the input is missing.")
        .example("-ifthenc,1 mask.nc out.nc"),
        with_numbers(
            "ifnotthenc",
            "A constant where the input is zero",
            "c",
            1,
            |cube, numbers| {
                each(cube, |builder, x| {
                    let (value, missing) =
                        (builder.constant(numbers[0]), builder.constant(f64::NAN));
                    builder.choose(x, missing, value)
                })
            },
        )
        .details("Missing elsewhere, and where the input is missing.")
        .example("-ifnotthenc,1 mask.nc out.nc"),
    ]
}

fn by_coordinates() -> [Operator; 4] {
    let row = |name: &'static str, summary: &'static str, function: Binary| {
        let family = move |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
            let cube = inputs.remove(0);
            let cosine = |latitude: f64| latitude.to_radians().cos();
            let coordinates: [(Axis, &dyn Fn(f64) -> f64); 1] = [(Axis::Latitude, &cosine)];
            let result = each_with(cube, context.name(), &coordinates, |builder, x, cosine| {
                builder.binary(function, x, cosine[0])
            });
            Ok(Outcome::from(result?))
        };
        Operator::new(name, summary, family).details(STRICT)
    };
    let in_box = |mut inputs: Vec<Cube>, context: &mut Context<'_>, sets: bool| {
        let parameters = context.parameters();
        let numbers = (0..parameters.values.len()).map(|at| parameters.number(at, "a number"));
        let mut numbers = numbers.collect::<Result<Vec<f64>, _>>()?;
        let what = match sets {
            true => Boxed::Set(numbers.remove(0)),
            false => Boxed::Kept,
        };
        let edges = [numbers[0], numbers[1], numbers[2], numbers[3]];
        let result = change_box(inputs.remove(0), context.name(), what, edges)?;
        Ok(Outcome::from(result))
    };
    [
        row(
            "mulcoslat",
            "Multiply with the cosine of the latitude",
            Binary::Multiply,
        ),
        row(
            "divcoslat",
            "Divide by the cosine of the latitude",
            Binary::Divide,
        ),
        Operator::new(
            "setclonlatbox",
            "Set a longitude/latitude box to a constant",
            move |inputs, context| in_box(inputs, context, true),
        )
        .arguments("c,west,east,south,north", 5..=5)
        .details(
            "Cells whose centre lies in the closed box, missing ones too. Longitudes are taken \
             modulo 360 and the\nbox may wrap around.",
        )
        .example("-setclonlatbox,0,350,10,-5,5 in.nc out.nc"),
        Operator::new(
            "masklonlatbox",
            "Make all cells outside of a longitude/latitude box missing",
            move |inputs, context| in_box(inputs, context, false),
        )
        .arguments("west,east,south,north", 4..=4)
        .details(
            "Cells whose centre lies in the closed box stay. Longitudes are taken modulo 360 and \
             the\nbox may wrap around.",
        )
        .example("-masklonlatbox,350,10,-5,5 in.nc out.nc"),
    ]
}

/// `muldpm`, `divdpm`, `muldpy`, `divdpy`: by the days of each step's month or year.
fn by_days() -> [Operator; 4] {
    let row = |name: &'static str, summary: &'static str, function: Binary, of_year: bool| {
        let family = move |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
            let cube = inputs.remove(0);
            let axis = cube.time(context.name())?.axis;
            let days = |value: f64| {
                let Ok(date) = axis.units.date(value, axis.calendar) else {
                    return f64::NAN;
                };
                let of = |month| f64::from(axis.calendar.days_in_month(date.year, month));
                match of_year {
                    true => (1..=12).map(of).sum(),
                    false => of(date.month),
                }
            };
            let coordinates: [(Axis, &dyn Fn(f64) -> f64); 1] = [(Axis::Time, &days)];
            let result = each_with(cube, context.name(), &coordinates, |builder, x, days| {
                builder.binary(function, x, days[0])
            });
            Ok(Outcome::from(result?))
        };
        let details = format!("{STRICT} Days are those of the file's calendar; units stay.");
        Operator::new(name, summary, family).details(details)
    };
    let (times, over) = (Binary::Multiply, Binary::Divide);
    [
        row(
            "muldpm",
            "Multiply with the days of the month",
            times,
            false,
        ),
        row("divdpm", "Divide by the days of the month", over, false),
        row("muldpy", "Multiply with the days of the year", times, true),
        row("divdpy", "Divide by the days of the year", over, true),
    ]
}

/// `setvals,old,new[,old,new...]`.
fn set_values() -> Operator {
    let family = |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
        let parameters = context.parameters();
        let count = parameters.values.len();
        let numbers = (0..count).map(|index| number_or_nan(&parameters, index));
        let numbers = numbers.collect::<Result<Vec<f64>, _>>()?;
        if count % 2 == 1 {
            return Err(parameters.wrong(count - 1, "pairs of an old and a new value"));
        }
        let cube = compare(inputs.remove(0), &numbers, |builder, x, numbers| {
            let pairs = numbers.as_chunks::<2>().0;
            // The first pair that matches comes last, so that it decides.
            pairs.iter().rev().fold(x, |result, &[old, new]| {
                let is_old = builder.binary(Binary::Equal, x, old);
                builder.choose(is_old, new, result)
            })
        });
        Ok(Outcome::from(cube))
    };
    Operator::new("setvals", "Set values to others", family)
        .arguments("old,new[,old,new...]", 2..=200)
        .details("A missing value stays missing.")
        .example("-setvals,0,1,2,3 in.nc out.nc")
}
