//! The rows of the statistics of fields: what is reduced times what is computed.

use super::FieldStatistic as S;
use super::grid::{FieldAxes, Request, reduce};
use crate::ops::series::percentile::Method;
use crate::ops::{Operator, Parameters};

/// What operators of each family begin with, what they reduce, and how their help calls that.
const AXES: [(&str, FieldAxes, &str); 4] = [
    ("fld", FieldAxes::Both, "each field"),
    ("zon", FieldAxes::Longitude, "each circle of latitude"),
    ("mer", FieldAxes::Latitude, "each meridian"),
    ("vert", FieldAxes::Level, "each column of levels"),
];

const STATISTICS: [(&str, S, &str); 14] = [
    ("min", S::Minimum, "Minimum"),
    ("max", S::Maximum, "Maximum"),
    ("range", S::Range, "Range (maximum minus minimum)"),
    ("sum", S::Sum, "Sum"),
    ("int", S::Integral, "Integral (sum of value times area)"),
    ("count", S::Count, "Number of valid values"),
    ("mean", S::Mean, "Mean"),
    ("avg", S::Average, "Mean, missing where any value is,"),
    ("var", S::Variance, "Variance, divided by n,"),
    ("var1", S::Variance1, "Variance, divided by n - 1,"),
    (
        "std",
        S::StandardDeviation,
        "Standard deviation, divided by n,",
    ),
    (
        "std1",
        S::StandardDeviation1,
        "Standard deviation, divided by n - 1,",
    ),
    ("skew", S::Skewness, "Skewness"),
    (
        "kurt",
        S::Kurtosis,
        "Kurtosis, in excess of a normal distribution's 3,",
    ),
];

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let mut rows = Vec::new();
    for (prefix, axes, of) in AXES {
        for (suffix, statistic, summary) in STATISTICS {
            if axes != FieldAxes::Both && statistic == S::Integral {
                continue;
            }
            rows.push(row(prefix, axes, of, suffix, statistic, summary));
        }
        rows.extend(percentiles(prefix, axes, of));
    }
    rows
}

fn row(
    prefix: &str,
    axes: FieldAxes,
    of: &str,
    suffix: &str,
    statistic: S,
    summary: &str,
) -> Operator {
    let operator = Operator::new(
        format!("{prefix}{suffix}"),
        format!("{summary} of {of}"),
        move |mut inputs, context| {
            let weighted = weights_wanted(&context.parameters())?;
            let request = Request {
                axes,
                statistic,
                weighted,
            };
            Ok(reduce(inputs.remove(0), context, request)?.into())
        },
    )
    .details(details(axes, statistic));
    match statistic.is_weighted() && axes != FieldAxes::Longitude {
        true => operator.arguments("[weights=false]", 0..=1),
        false => operator,
    }
}

/// The median and the percentiles; every cell has the same weight.
fn percentiles(prefix: &str, axes: FieldAxes, of: &str) -> [Operator; 2] {
    const MISSING: &str = "Missing values are skipped: a result is missing only where no valid \
                           value remains. Every cell has\nthe same weight.";
    let request = move |statistic| Request {
        axes,
        statistic,
        weighted: false,
    };
    let median = Operator::new(
        format!("{prefix}median"),
        format!("Median of {of}"),
        move |mut inputs, context| {
            let request = request(match context.options.cdo {
                true => S::StrictMedian,
                false => S::Percentile(Method::Linear, 0.5),
            });
            Ok(reduce(inputs.remove(0), context, request)?.into())
        },
    )
    .details(format!(
        "{MISSING} Between two middle values the median is their mean. (--cdo: missing where any \
         value\nis.)"
    ));
    let percentile = Operator::new(
        format!("{prefix}pctl"),
        format!("Percentile of {of}"),
        move |mut inputs, context| {
            let parameters = context.parameters();
            let expected = "a percentile from 0 to 100";
            let share = parameters.number(0, expected)? / 100.0;
            if !(0.0..=1.0).contains(&share) {
                return Err(parameters.wrong(0, expected));
            }
            let request = request(S::Percentile(context.options.percentile, share));
            Ok(reduce(inputs.remove(0), context, request)?.into())
        },
    )
    .arguments("p", 1..=1)
    .example(format!("-{prefix}pctl,90 in.nc out.nc"))
    .details(format!(
        "{MISSING} --percentile chooses the method between sorted values."
    ));
    [median, percentile]
}

fn weights_wanted(parameters: &Parameters<'_>) -> Result<bool, crate::CubeError> {
    match parameters
        .values
        .first()
        .map(|text| text.to_ascii_lowercase())
    {
        None => Ok(true),
        Some(text) => match text.strip_prefix("weights=") {
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            _ => Err(parameters.wrong(0, "weights=true or weights=false")),
        },
    }
}

fn details(axes: FieldAxes, statistic: S) -> String {
    let missing = match statistic {
        S::Average => "One missing value makes the result missing.",
        S::Count => "Missing values do not count; the result is never missing.",
        S::Variance1 | S::StandardDeviation1 => {
            "Missing values are skipped; of a single value the result is missing."
        }
        _ => "Missing values are skipped: a result is missing only where no valid value remains.",
    };
    let weights = match (statistic.is_weighted(), axes) {
        (false, _) | (_, FieldAxes::Longitude) => "Every cell has the same weight.",
        (true, FieldAxes::Level) => {
            "Weights are the thicknesses of the layers, from the bounds of the vertical \
             coordinate; without them all\nlayers get the same weight, and a warning is given."
        }
        (true, _) => {
            "Weights are the areas of the cells on the sphere (radius 6371 km, great circles \
             between corners), from\ntheir bounds where these exist, else from the middles \
             between centres."
        }
    };
    let source = match statistic {
        S::Skewness => {
            "\nThe mean cubed distance from the mean (over n) by the cubed standard deviation (over \
             n - 1).\nSource: Joanes and Gill (1998), b1; Pebay (2008), one-pass central moments."
        }
        S::Kurtosis => "\nSource: Pebay (2008), one-pass central moments.",
        S::Variance | S::Variance1 | S::StandardDeviation | S::StandardDeviation1 => {
            "\nThe divisor n - 1 is W - sum(w^2)/W of the weights w with sum W. Source: West (1979)."
        }
        _ => "",
    };
    let axes = match axes {
        FieldAxes::Both => "",
        FieldAxes::Longitude | FieldAxes::Latitude => "\nFor grids of longitudes by latitudes.",
        FieldAxes::Level => {
            "\nThe vertical dimension keeps the length 1 and the bounds of all layers."
        }
    };
    format!("{missing}\n{weights}{source}{axes}")
}
