//! The rows of the operators over time: one for each statistic of each grouping.

use super::{choices, reduce, reduce_sets};
use crate::ops::Operator;
use crate::ops::grouping::Grouping;
use crate::ops::statistic::Statistic;

/// What is said of a reduction in one statistic.
struct Words {
    statistic: Statistic,
    /// What names of operators end with.
    suffix: &'static str,
    /// With a capital letter.
    noun: &'static str,
    missing: &'static str,
    source: &'static str,
}

const SKIP: &str = "Missing values are skipped: a result is missing only where none is valid.";
const STRICT: &str = "A result is missing where any value is.";
const SKIP1: &str =
    "Missing values are skipped: a result is missing where fewer than two are valid.";
const PLAIN: &str = "Source: the definition; values are added in double precision.";
const WELFORD: &str = "\
Source: Welford (1962), merged as Chan, Golub and LeVeque (1979), so that a small spread on a
large mean is kept (CDO's sums of squares lose it).";

const fn words(
    statistic: Statistic,
    suffix: &'static str,
    noun: &'static str,
    missing: &'static str,
    source: &'static str,
) -> Words {
    Words {
        statistic,
        suffix,
        noun,
        missing,
        source,
    }
}

/// What CDO has for every grouping.
const STATISTICS: [Words; 10] = [
    words(Statistic::Minimum, "min", "Minimum", SKIP, PLAIN),
    words(Statistic::Maximum, "max", "Maximum", SKIP, PLAIN),
    words(
        Statistic::Range,
        "range",
        "Maximum minus minimum",
        SKIP,
        PLAIN,
    ),
    words(Statistic::Sum, "sum", "Sum", SKIP, PLAIN),
    words(Statistic::Mean, "mean", "Mean", SKIP, PLAIN),
    words(
        Statistic::Average,
        "avg",
        "Mean, missing where any value is,",
        STRICT,
        PLAIN,
    ),
    words(
        Statistic::StandardDeviation,
        "std",
        "Standard deviation (divisor n)",
        SKIP,
        WELFORD,
    ),
    words(
        Statistic::StandardDeviation1,
        "std1",
        "Standard deviation (divisor n-1)",
        SKIP1,
        WELFORD,
    ),
    words(
        Statistic::Variance,
        "var",
        "Variance (divisor n)",
        SKIP,
        WELFORD,
    ),
    words(
        Statistic::Variance1,
        "var1",
        "Variance (divisor n-1)",
        SKIP1,
        WELFORD,
    ),
];

const COUNT: Words = words(
    Statistic::Count,
    "count",
    "Number of valid values",
    "Where none is valid the result is missing, as in CDO.",
    PLAIN,
);

const INDICES: [Words; 2] = [
    words(
        Statistic::MinimumIndex,
        "minidx",
        "Step of the minimum",
        SKIP,
        "Steps count from 0 within the group; the first of equal values counts.",
    ),
    words(
        Statistic::MaximumIndex,
        "maxidx",
        "Step of the maximum",
        SKIP,
        "Steps count from 0 within the group; the first of equal values counts.",
    ),
];

const MONTHLY: &str = "\
Each step is a month and weighs as many days as it has in the calendar of the file; the weights
of missing months are left out.";

const WEIGHTED: [Words; 2] = [
    words(
        Statistic::WeightedMean,
        "monmean",
        "Mean, months weighed by their length,",
        SKIP,
        MONTHLY,
    ),
    words(
        Statistic::WeightedAverage,
        "monavg",
        "Mean, months weighed by their length, missing where any is,",
        STRICT,
        MONTHLY,
    ),
];

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    use Grouping::{All, Day, Hour, Month, Season, Year};
    let mut table = Vec::new();
    for grouping in Grouping::ALL {
        let mut of = |words: &'static Words| table.push(reduction(grouping, words));
        STATISTICS.iter().for_each(&mut of);
        if matches!(grouping, All | Hour | Day | Month | Year | Season) {
            of(&COUNT);
        }
        if matches!(grouping, All | Year) {
            INDICES.iter().for_each(&mut of);
        }
        if matches!(grouping, Year | Season) {
            WEIGHTED.iter().for_each(&mut of);
        }
    }
    table.extend(STATISTICS.iter().map(sets));
    table.extend(super::trend::table());
    table
}

fn reduction(grouping: Grouping, words: &'static Words) -> Operator {
    let Words {
        statistic,
        suffix,
        noun,
        ..
    } = *words;
    let name = format!("{}{suffix}", grouping.name());
    let summary = format!("{noun} {}", grouping.in_words());
    let keys = choices::of(grouping).len();
    Operator::new(name, summary, move |mut inputs, context| {
        reduce(inputs.remove(0), context, grouping, statistic)
    })
    .details(details(grouping, words))
    .arguments(choices::usage(grouping), 0..=keys)
    .together(grouping.name())
}

fn sets(words: &'static Words) -> Operator {
    let Words {
        statistic,
        suffix,
        noun,
        missing,
        source,
    } = *words;
    let name = format!("timsel{suffix}");
    Operator::new(
        &name,
        format!("{noun} of each so many steps"),
        move |mut inputs, context| reduce_sets(inputs.remove(0), context, statistic),
    )
    .arguments("nsets[,offset[,skip]]", 1..=3)
    .details(format!(
        "{missing} The first `offset` steps and `skip` steps between two sets are left out; the \
         last\nset may have fewer steps. {AXIS}\n{source}"
    ))
    .example(format!("-{name},5 in.nc out.nc"))
}

const AXIS: &str = "\
Time bounds span the steps of a group, its time is their middle
(see --timestat_date), and the operation is appended to cell_methods.";

const CLIMATOLOGY: &str = "\
Groups are in the order of the calendar. The bounds are CF's climatology bounds, from the start
of a group's first interval to the end of its last; its time is that of its last step (see
--timestat_date). cell_methods tell what was done within and over years or days.";

fn details(grouping: Grouping, words: &Words) -> String {
    let Words {
        missing, source, ..
    } = words;
    let axis = if grouping.is_climatology() {
        CLIMATOLOGY
    } else {
        AXIS
    };
    let mut text = format!("{missing} {axis}\nf32 input gives f32 output.");
    if grouping != Grouping::All {
        text.push_str(
            " Steps are grouped by the middle of their time bounds where these exist, else by \
             their\ntime.",
        );
    }
    if grouping.has_midnights() {
        text.push_str(
            " midnight=24 puts a step at 00:00 into the day that ends there, not that which \
             begins.",
        );
    }
    text.push_str(match grouping {
        Grouping::Season => {
            "\nSeasons are MAM, JJA, SON and DJF, whose December joins the next year. One at an \
             end of the\nseries that is not whole is kept with a warning, or left out by \
             complete_only=true."
        }
        Grouping::DayOfYear => {
            "\nA day is a month and a day: 29 February is one of its own, 1 March always the same."
        }
        _ => "",
    });
    let (first, second) = (grouping.name(), grouping.name());
    text.push_str(&format!(
        "\nSeveral at once (-{first}mean,{second}max in out) read the data once; the results are \
         named VAR_{first}mean, ...\n{source}"
    ));
    text
}
