//! The rows of the operators of many inputs.

use super::ensemble::{EnsembleStatistic, reduce};
use super::{in_order, in_time_order, merge};
use crate::ops::statistic::Statistic;
use crate::ops::{Inputs, Operator, Parameters};

const SAME: &str = "\
All inputs need the same variables, grids and levels. Times are counted in the units of the first;
calendars must agree.";

const MEMBERS: &str = "\
All inputs need the same variables, grids and numbers of steps; dates and attributes are those of
the first. Missing values are skipped.";

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let mut rows =
        vec![
        Operator::new("mergetime", "Merge steps of all inputs, sorted by time", |inputs, context| {
            let by_environment = std::env::var("SKIP_SAME_TIME").is_ok_and(|text| text == "1");
            let parameters = context.parameters();
            let skips = match parameters.values.first().map(String::as_str) {
                None | Some("skip_same_time=false") => by_environment,
                Some("skip_same_time" | "skip_same_time=true") => true,
                Some(_) => return Err(parameters.wrong(0, "skip_same_time")),
            };
            Ok(in_time_order(inputs, context.name(), skips)?.into())
        })
        .inputs(Inputs::AtLeastOne)
        .arguments("[skip_same_time]", 0..=1)
        .details(format!(
            "{SAME} Steps of one time are all kept, in the order of the inputs,\nunless \
             skip_same_time is given or SKIP_SAME_TIME is 1 in the environment: then the first is."
        ))
        .example("-mergetime tas_2001.nc tas_2002.nc out.nc"),
        Operator::new("cat", "Append steps of all inputs to the output", |inputs, context| {
            Ok(in_order(inputs, context.name())?.into())
        })
        .inputs(Inputs::AtLeastOne)
        .details(format!(
            "{SAME} The order is that of the inputs. If the output exists its\nsteps come first, \
             unless -O is given: it is written anew aside and replaced when it is whole."
        ))
        .example("-cat tas_2001.nc tas_2002.nc all.nc")
        .appends(),
        Operator::new("copy", "Copy the steps of all inputs, in their order", |inputs, context| {
            Ok(in_order(inputs, context.name())?.into())
        })
        .inputs(Inputs::AtLeastOne)
        .details(SAME),
        Operator::new("merge", "Merge variables or levels of all inputs", |inputs, context| {
            Ok(merge::merge(inputs, context)?.into())
        })
        .inputs(Inputs::AtLeastOne)
        .details(
            "Each variable, or each level of a variable, must be in one input only, and all need \
             the same number of\nsteps (for CDO these are warnings). Axes that have the name of \
             others get a number.",
        )
        .example("-merge tas.nc pr.nc out.nc"),
    ];
    rows.extend(ensembles());
    rows
}

fn ensembles() -> Vec<Operator> {
    use EnsembleStatistic::{Kurtosis, Median, Of, Skewness};
    let mut rows: Vec<Operator> = [
        ("ensmin", "Minimum over inputs", Of(Statistic::Minimum)),
        ("ensmax", "Maximum over inputs", Of(Statistic::Maximum)),
        ("ensrange", "Range over inputs", Of(Statistic::Range)),
        ("enssum", "Sum over inputs", Of(Statistic::Sum)),
        ("ensmean", "Mean over inputs", Of(Statistic::Mean)),
        (
            "ensavg",
            "Mean over inputs, missing where one is",
            Of(Statistic::Average),
        ),
        (
            "ensstd",
            "Standard deviation over inputs, divided by n",
            Of(Statistic::StandardDeviation),
        ),
        (
            "ensstd1",
            "Standard deviation over inputs, divided by n - 1",
            Of(Statistic::StandardDeviation1),
        ),
        (
            "ensvar",
            "Variance over inputs, divided by n",
            Of(Statistic::Variance),
        ),
        (
            "ensvar1",
            "Variance over inputs, divided by n - 1",
            Of(Statistic::Variance1),
        ),
        ("ensmedian", "Median over inputs", Median),
        ("ensskew", "Skewness over inputs", Skewness),
        ("enskurt", "Excess kurtosis over inputs", Kurtosis),
    ]
    .into_iter()
    .map(|(name, summary, statistic)| {
        Operator::new(name, summary, move |inputs, context| {
            Ok(reduce(inputs, context, statistic)?.into())
        })
        .inputs(Inputs::AtLeastOne)
        .details(MEMBERS)
        .example(format!("-{name} member_1.nc member_2.nc out.nc"))
    })
    .collect();
    rows.push(
        Operator::new("enspctl", "Percentile over inputs", |inputs, context| {
            let fraction = fraction(&context.parameters())?;
            let statistic = EnsembleStatistic::Quantile(context.options.percentile, fraction);
            Ok(reduce(inputs, context, statistic)?.into())
        })
        .inputs(Inputs::AtLeastOne)
        .arguments("p", 1..=1)
        .details(format!(
            "{MEMBERS} --percentile chooses the method between sorted values: of n the default \
             takes that of\nrank p n / 100, rounded up."
        ))
        .example("-enspctl,90 member_1.nc member_2.nc out.nc"),
    );
    rows
}

fn fraction(parameters: &Parameters<'_>) -> Result<f64, crate::CubeError> {
    const EXPECTED: &str = "a percentage from 0 to 100";
    let percent = parameters.number(0, EXPECTED)?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(parameters.wrong(0, EXPECTED));
    }
    Ok(percent / 100.0)
}
