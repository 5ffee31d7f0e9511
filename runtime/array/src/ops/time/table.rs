//! The rows of the reductions of groups of steps.

use super::reduce;
use crate::ops::Operator;
use crate::ops::grouping::Grouping;
use crate::ops::statistic::Statistic::{self, Maximum, Mean, Minimum, StandardDeviation, Sum};

const SKIP: &str = "\
Missing values are skipped: a result is missing only where no valid value remains. The result's
time bounds span the steps of its group, its time is their middle (see --timestat_date), and the
operation is appended to cell_methods. Steps are grouped by the middle of their time bounds where
these exist, else by their time. Sums are kept in double precision; f32 input gives f32 output.
Several at once (-timmean,timmax in out) read the data once; the results are named VAR_timmean, ...";

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    use Grouping::{All, Month, MonthOfYear, Year};
    let row = |name: &'static str, summary: &'static str, grouping, statistic| {
        reduction(name, summary, grouping, statistic)
    };
    vec![
        row("timmean", "Mean over all steps", All, Mean),
        row("timmin", "Minimum over all steps", All, Minimum),
        row("timmax", "Maximum over all steps", All, Maximum),
        row("timsum", "Sum over all steps", All, Sum),
        row(
            "timstd",
            "Standard deviation over all steps, divided by n",
            All,
            StandardDeviation,
        ),
        row("monmean", "Mean of each month", Month, Mean),
        row(
            "yearmean",
            "Mean of each year, every step with the same weight",
            Year,
            Mean,
        ),
        row(
            "ymonmean",
            "Mean of each month of the year, over all years",
            MonthOfYear,
            Mean,
        )
        .example("-ymonmean in.nc climatology.nc"),
    ]
}

fn reduction(
    name: &'static str,
    summary: &'static str,
    grouping: Grouping,
    statistic: Statistic,
) -> Operator {
    Operator::new(name, summary, move |mut inputs, context| {
        let stamp = context.options.time_stamp;
        Ok(reduce(inputs.remove(0), context.name(), grouping, statistic, stamp)?.into())
    })
    .details(SKIP)
    .together(grouping.name())
}
