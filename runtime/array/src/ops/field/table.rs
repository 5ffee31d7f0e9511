//! The rows of the statistics of horizontal fields.

use super::{FieldAxes, reduce};
use crate::ops::Operator;

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    vec![
        mean(
            "fldmean",
            "Area-weighted mean of each field",
            FieldAxes::Both,
        )
        .details(
            "Weights are the areas of the cells on the sphere, from their bounds where these \
             exist. Missing\nvalues are skipped and the weights of the others normalised.",
        ),
        mean(
            "zonmean",
            "Mean over longitudes, every cell with the same weight",
            FieldAxes::Longitude,
        )
        .details("For grids of longitudes and latitudes. Missing values are skipped."),
    ]
}

fn mean(name: &'static str, summary: &'static str, axes: FieldAxes) -> Operator {
    Operator::new(name, summary, move |mut inputs, context| {
        Ok(reduce(inputs.remove(0), context, axes)?.into())
    })
}
