//! The rows of the combinations of two inputs.

use super::{Arithmetic, Matching, combine};
use crate::ops::{Inputs, Operator};

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    vec![
        combination(
            "ymonsub",
            "Subtract the second input's step of the same month of the year",
            Matching::MonthOfYear,
            Arithmetic::Subtract,
        )
        .details(
            "Both inputs hold the same grid. A missing value in either gives a missing value. A \
             month that\nthe second input does not have, or has twice, is an error.",
        )
        .example("-ymonsub in.nc -ymonmean in.nc anomaly.nc"),
        combination(
            "sub",
            "Subtract the second input from the first",
            Matching::Step,
            Arithmetic::Subtract,
        )
        .details(
            "Variables pair by name, or by order where the two have one each. An axis of length 1 \
             is repeated;\nother lengths must be equal. A missing value in either gives a missing \
             value. Attributes are\nthose of the first.",
        )
        .example("-sub in.nc -timmean in.nc out.nc"),
    ]
}

fn combination(
    name: &'static str,
    summary: &'static str,
    matching: Matching,
    arithmetic: Arithmetic,
) -> Operator {
    Operator::new(name, summary, move |mut inputs, context| {
        let left = inputs.remove(0);
        Ok(combine(left, &inputs[0], context.name(), matching, arithmetic)?.into())
    })
    .inputs(Inputs::Exactly(2))
}
