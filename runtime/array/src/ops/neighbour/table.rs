//! The rows of the operators that fill missing values from neighbours.

use super::fill;
use crate::cube::Cube;
use crate::error::CubeError;
use crate::ops::{Context, Operator, Outcome, Parameters};

/// Neighbours of a mean, if none are asked for.
const NEIGHBOURS: usize = 4;

/// More are no neighbours.
const NEIGHBOURS_MAX: i64 = 1000;

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    vec![
        Operator::new(
            "setmisstonn",
            "Set missing values to the nearest valid value",
            |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
                Ok(Outcome::from(fill(inputs.remove(0), context.name(), 1)?))
            },
        )
        .details(
            "The nearest cell of the field on the sphere; of several that are equally near, the \
             first of the\nfile. A field without any valid value stays missing.",
        ),
        Operator::new(
            "setmisstodis",
            "Set missing values to a mean of the nearest valid values",
            |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
                let count = count(&context.parameters())?;
                Ok(Outcome::from(fill(
                    inputs.remove(0),
                    context.name(),
                    count,
                )?))
            },
        )
        .arguments("[neighbours]", 0..=1)
        .details(
            "The mean of the 4 nearest cells of the field, or as many as asked for, weighted by \
             one over their\ndistance along the chord. A field without any valid value stays \
             missing.",
        ),
    ]
}

fn count(parameters: &Parameters<'_>) -> Result<usize, CubeError> {
    let expected = "a number of neighbours from 1 to 1000";
    let Some(text) = parameters.values.first() else {
        return Ok(NEIGHBOURS);
    };
    match text.parse() {
        Ok(count) if (1..=NEIGHBOURS_MAX).contains(&count) => Ok(count as usize),
        _ => Err(parameters.wrong(0, expected)),
    }
}
