//! The rows of the combinations of inputs.

use super::calendar::{KEYS, phrase};
use super::{Matching, combine};
use crate::cube::Cube;
use crate::ops::cellwise::{Binary, Builder};
use crate::ops::grouping::Grouping;
use crate::ops::units::OfTwo;
use crate::ops::{Inputs, Operator, Outcome};

/// What pairs with what, for the help of each.
const PAIRING: &str = "Variables pair by name, or where the second has one it goes with all. An \
axis of length 1 is repeated;\nother lengths must be equal, and coordinates the same. Attributes \
are those of the first, but units those of the result (--cdo: of the first).";

/// Name, summary, function, its rule of missing values.
const FIELDS: [(&str, &str, Binary, &str); 13] = [
    ("add", "Add two inputs", Binary::Add, STRICT),
    (
        "sub",
        "Subtract the second input from the first",
        Binary::Subtract,
        STRICT,
    ),
    ("mul", "Multiply two inputs", Binary::Multiply, STRICT),
    (
        "div",
        "Divide the first input by the second",
        Binary::Divide,
        "A missing value in either gives a missing value, and so does a zero in the second.",
    ),
    (
        "min",
        "Minimum of two inputs",
        Binary::MinimumOfValid,
        VALID,
    ),
    (
        "max",
        "Maximum of two inputs",
        Binary::MaximumOfValid,
        VALID,
    ),
    (
        "atan2",
        "Angle in radians whose tangent is the first input over the second",
        Binary::ArcTangent,
        STRICT,
    ),
    (
        "eq",
        "1 where two inputs are equal, else 0",
        Binary::Equal,
        STRICT,
    ),
    (
        "ne",
        "1 where two inputs differ, else 0",
        Binary::NotEqual,
        STRICT,
    ),
    (
        "le",
        "1 where the first input is not more, else 0",
        Binary::LessOrEqual,
        STRICT,
    ),
    (
        "lt",
        "1 where the first input is less, else 0",
        Binary::Less,
        STRICT,
    ),
    (
        "ge",
        "1 where the first input is not less, else 0",
        Binary::GreaterOrEqual,
        STRICT,
    ),
    (
        "gt",
        "1 where the first input is more, else 0",
        Binary::Greater,
        STRICT,
    ),
];

const STRICT: &str = "A missing value in either gives a missing value.";
const VALID: &str = "Where one is missing, the value of the other is taken.";

/// Suffix, verb, function of those that match by the calendar.
const BY_CALENDAR: [(&str, &str, Binary); 4] = [
    ("add", "Add", Binary::Add),
    ("sub", "Subtract", Binary::Subtract),
    ("mul", "Multiply with", Binary::Multiply),
    ("div", "Divide by", Binary::Divide),
];

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let fields = FIELDS
        .into_iter()
        .map(|(name, summary, function, missing)| {
            of_two(name, summary, Matching::Step, function)
                .details(format!("{PAIRING}\n{missing}"))
                .example(format!("-{name} in1.nc in2.nc out.nc"))
        });
    let matched = KEYS.into_iter().flat_map(|key| {
        BY_CALENDAR
            .into_iter()
            .map(move |(suffix, verb, function)| by_calendar(key, suffix, verb, function))
    });
    let conditions = [
        condition(
            "ifthen",
            "Keep the second input where the first is not zero",
            |b, mask, x| {
                let missing = b.constant(f64::NAN);
                b.choose(mask, x, missing)
            },
        ),
        condition(
            "ifnotthen",
            "Keep the second input where the first is zero",
            |b, mask, x| {
                let missing = b.constant(f64::NAN);
                b.choose(mask, missing, x)
            },
        ),
        if_then_else(),
    ];
    matched.chain(fields).chain(conditions).collect()
}

fn by_calendar(key: Grouping, suffix: &str, verb: &str, function: Binary) -> Operator {
    let name = format!("{}{suffix}", key.name());
    let zero = if function == Binary::Divide {
        ", and so does a zero in the second"
    } else {
        ""
    };
    of_two(
        name.clone(),
        format!("{verb} the second input's step of the same {}", phrase(key)),
        Matching::Calendar(key),
        function,
    )
    .details(format!(
        "Both inputs hold the same grid. A missing value in either gives a missing value{zero}.\nA \
         {} that the second input does not have, or has twice, is an error.",
        phrase(key)
    ))
    .example(match key {
        Grouping::MonthOfYear => format!("-{name} in.nc -ymonmean in.nc out.nc"),
        Grouping::Month => format!("-{name} in.nc -monmean in.nc out.nc"),
        Grouping::Year => format!("-{name} in.nc -yearmean in.nc out.nc"),
        _ => format!("-{name} in.nc means.nc out.nc"),
    })
}

fn of_two(
    name: impl Into<String>,
    summary: impl Into<String>,
    matching: Matching,
    function: Binary,
) -> Operator {
    Operator::new(name, summary, move |mut inputs: Vec<Cube>, context| {
        let first = inputs.remove(0);
        let units = OfTwo::new(function, &first, &inputs[0]);
        let formula = move |builder: &mut Builder, first: usize, others: &[usize]| {
            builder.binary(function, first, others[0])
        };
        let mut cube = combine(first, &inputs, context.name(), matching, &formula)?;
        units.apply(&mut cube, context.options.cdo);
        Ok(cube.into())
    })
    .inputs(Inputs::Exactly(2))
}

/// The mask is the first input, the structure that of the second.
fn condition(
    name: &'static str,
    summary: &'static str,
    formula: fn(&mut Builder, usize, usize) -> usize,
) -> Operator {
    Operator::new(name, summary, move |mut inputs: Vec<Cube>, context| {
        let mask = inputs.remove(0);
        let data = inputs.remove(0);
        let formula = |builder: &mut Builder, data: usize, others: &[usize]| {
            formula(builder, others[0], data)
        };
        Ok(combine(data, &[mask], context.name(), Matching::Step, &formula)?.into())
    })
    .inputs(Inputs::Exactly(2))
    .details(
        "The first input is a mask of as many steps, levels and variables, or of one that is \
         repeated.\nWhere it is missing, so is the result. Attributes are those of the second.",
    )
    .example(format!("-{name} mask.nc in.nc out.nc"))
}

fn if_then_else() -> Operator {
    Operator::new(
        "ifthenelse",
        "The second input where the first is not zero, else the third",
        |mut inputs: Vec<Cube>, context| {
            let mask = inputs.remove(0);
            let yes = inputs.remove(0);
            let others = [mask, inputs.remove(0)];
            let formula = |builder: &mut Builder, yes: usize, others: &[usize]| {
                builder.choose(others[0], yes, others[1])
            };
            let cube = combine(yes, &others, context.name(), Matching::Step, &formula)?;
            Ok(Outcome::from(cube))
        },
    )
    .inputs(Inputs::Exactly(3))
    .details(
        "Each input has as many steps, levels and variables as the second, or one that is \
         repeated. Where\nthe mask is missing, so is the result. Attributes are those of the second.",
    )
    .example("-ifthenelse mask.nc in1.nc in2.nc out.nc")
}
