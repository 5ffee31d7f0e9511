//! The rows of the operators that need whole series.

use std::sync::Arc;

use super::percentile::Percentile;
use super::runs::{Cumulated, RunEnds, RunLengths, Sorted};
use super::window::{OfWindows, Running};
use super::{regroup, transform};
use crate::cube::Cube;
use crate::error::CubeError;
use crate::ops::grouping::{Group, Grouping};
use crate::ops::statistic::Statistic;
use crate::ops::time::{Choices, sets_of};
use crate::ops::units::Change;
use crate::ops::{Context, Inputs, Operator, Outcome};
use crate::plan::series::SeriesKernel;

const MEMORY: &str = "\
The series of as many cells as fit --memory are read at once; where not all do, the file is read
several times, which is said.";

const PERCENTILE: &str = "\
Missing values are skipped: a result is missing only where none is valid. The method is that of
--percentile: nrank (the default), nist, rtype8, linear, hazen, lower, higher or midpoint; all are
exact (CDO counts in a histogram when a group has more than 50 steps). CDO's inputs of minima and
maxima, the second and third, may be given and are not read.";

const PERCENTILE_SOURCE: &str = "Source: Hyndman and Fan (1996), by selection.";

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let mut table: Vec<Operator> = Grouping::ALL.into_iter().map(percentile).collect();
    table.push(set_percentile());
    table.push(running_percentile());
    table.push(running_days_percentile());
    for (suffix, noun, statistic, missing) in RUNNING {
        table.push(running(suffix, noun, statistic, missing));
        // CDO has no `ydrunrange`.
        if statistic != Statistic::Range {
            table.push(running_days(suffix, noun, statistic, missing));
        }
    }
    let kernels: [(&str, &str, &str, Arc<dyn SeriesKernel>); 4] = [
        (
            "timcumsum",
            "Sum of all steps so far",
            "A missing value counts as 0, even where all are missing.",
            Arc::new(Cumulated),
        ),
        (
            "timsort",
            "Sort the steps of each cell",
            "Values ascend; missing ones come last. The time axis stays, though values no longer \
             belong to it.",
            Arc::new(Sorted),
        ),
        (
            "consecsum",
            "Length so far of the run of steps that are not zero",
            "A zero or missing value ends a run and gives 0.",
            Arc::new(RunLengths),
        ),
        (
            "consects",
            "Length of each run of steps that are not zero, at its last step",
            "A zero or missing value ends a run. Other steps are missing.",
            Arc::new(RunEnds),
        ),
    ];
    for (name, summary, rules, kernel) in kernels {
        let family = move |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
            transform(inputs.remove(0), context, Arc::clone(&kernel))
        };
        let details = format!("{rules} {MEMORY}\nSource: the definition.");
        table.push(Operator::new(name, summary, family).details(details));
    }
    table
}

const SKIP: &str = "Missing values are skipped: a result is missing where none is valid.";
const SKIP1: &str =
    "Missing values are skipped: a result is missing where fewer than two are valid.";
const STRICT: &str = "A result is missing where any value is.";

const RUNNING: [(&str, &str, Statistic, &str); 10] = [
    ("min", "Minimum", Statistic::Minimum, SKIP),
    ("max", "Maximum", Statistic::Maximum, SKIP),
    ("range", "Maximum minus minimum", Statistic::Range, SKIP),
    ("sum", "Sum", Statistic::Sum, SKIP),
    ("mean", "Mean", Statistic::Mean, SKIP),
    (
        "avg",
        "Mean, missing where any value is,",
        Statistic::Average,
        STRICT,
    ),
    (
        "std",
        "Standard deviation (divisor n)",
        Statistic::StandardDeviation,
        SKIP,
    ),
    (
        "std1",
        "Standard deviation (divisor n-1)",
        Statistic::StandardDeviation1,
        SKIP1,
    ),
    ("var", "Variance (divisor n)", Statistic::Variance, SKIP),
    (
        "var1",
        "Variance (divisor n-1)",
        Statistic::Variance1,
        SKIP1,
    ),
];

fn percentile(grouping: Grouping) -> Operator {
    let name = format!("{}pctl", grouping.name());
    let summary = format!("Percentile {}", grouping.in_words());
    Operator::new(&name, summary, move |mut inputs, context| {
        let cube = inputs.remove(0);
        let time = cube.time(context.name())?;
        let groups = Choices::default().groups(&time, grouping, context)?;
        of_groups(cube, context, groups, grouping)
    })
    .arguments("p", 1..=1)
    .inputs(Inputs::Either(1, 3))
    .details(format!("{PERCENTILE} {MEMORY}\n{PERCENTILE_SOURCE}"))
    .example(format!("-{name},90 in.nc out.nc"))
}

fn set_percentile() -> Operator {
    Operator::new(
        "timselpctl",
        "Percentile of each so many steps",
        |mut inputs, context| {
            let cube = inputs.remove(0);
            let time = cube.time(context.name())?;
            let groups = sets_of(context, 1, time.axis.values.len())?;
            of_groups(cube, context, groups, Grouping::All)
        },
    )
    .arguments("p,nsets[,offset[,skip]]", 2..=4)
    .inputs(Inputs::Either(1, 3))
    .details(format!("{PERCENTILE} {MEMORY}\n{PERCENTILE_SOURCE}"))
    .example("-timselpctl,90,5 in.nc out.nc")
}

fn running_percentile() -> Operator {
    Operator::new(
        "runpctl",
        "Percentile of each running window",
        |mut inputs, context| {
            let cube = inputs.remove(0);
            let time = cube.time(context.name())?;
            let (_, groups) = windows(context, 1, time.axis.values.len())?;
            of_groups(cube, context, groups, Grouping::All)
        },
    )
    .arguments("p,nts", 2..=2)
    .details(format!(
        "{WINDOWS} {PERCENTILE} {MEMORY}\n{PERCENTILE_SOURCE}"
    ))
    .example("-runpctl,90,5 in.nc out.nc")
}

/// Around each day of the year.
fn running_days_percentile() -> Operator {
    Operator::new(
        "ydrunpctl",
        "Percentile of the running windows around each day of the year, over all years",
        |mut inputs, context| {
            let cube = inputs.remove(0);
            let around = Around::read(&cube, context, 1)?;
            let windows = around.windows;
            of_windows(cube, context, (around.days, windows), Grouping::DayOfYear)
        },
    )
    .arguments("p,nts", 2..=2)
    .inputs(Inputs::Either(1, 3))
    .details(format!(
        "{AROUND} {PERCENTILE} {MEMORY}\n{PERCENTILE_SOURCE}"
    ))
    .example("-ydrunpctl,90,5 in.nc out.nc")
}

const AROUND: &str = "\
Of each day of the year, the steps of all windows of nts steps around that day are taken together; \
days whose window would begin before the first step or end after the last have none.";

const WINDOWS: &str = "\
There are n - nts + 1 windows of nts steps; the bounds of a window span its steps, its time is their
middle (see --timestat_date).";

fn of_groups(
    cube: Cube,
    context: &Context<'_>,
    groups: Vec<Group>,
    grouping: Grouping,
) -> Result<Outcome, CubeError> {
    of_windows(cube, context, (groups.clone(), groups), grouping)
}

/// The percentile of windows, each of which belongs to a group of steps.
fn of_windows(
    cube: Cube,
    context: &Context<'_>,
    (groups, windows): (Vec<Group>, Vec<Group>),
    grouping: Grouping,
) -> Result<Outcome, CubeError> {
    const EXPECTED: &str = "a percentile from 0 to 100";
    let parameters = context.parameters();
    let percent = parameters.number(0, EXPECTED)?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(parameters.wrong(0, EXPECTED));
    }
    let time = cube.time(context.name())?;
    let method = context.options.percentile;
    let kernel = Percentile {
        groups: windows,
        p: percent / 100.0,
        method,
    };
    // CF has no method for it but the median.
    let name = match percent {
        50.0 => "median".to_owned(),
        _ => format!(
            "point (comment: percentile {percent} of the steps, {})",
            method.name()
        ),
    };
    let text = match grouping.cycle() {
        Some(cycle) => format!("time: {name} within {cycle} time: {name} over {cycle}"),
        None => format!("time: {name}"),
    };
    regroup(
        cube,
        &time,
        context,
        &groups,
        (grouping, Some(text)),
        Arc::new(kernel),
    )
}

fn running(
    suffix: &'static str,
    noun: &'static str,
    statistic: Statistic,
    missing: &'static str,
) -> Operator {
    let name = format!("run{suffix}");
    let summary = format!("{noun} of each running window");
    Operator::new(&name, summary, move |mut inputs, context| {
        let mut cube = inputs.remove(0);
        square_units(&mut cube, statistic, context);
        let time = cube.time(context.name())?;
        let (width, groups) = windows(context, 0, time.axis.values.len())?;
        let method = statistic
            .cell_method()
            .map(|method| format!("time: {method} (comment: running windows of {width} steps)"));
        let kernel = Arc::new(Running { width, statistic });
        regroup(
            cube,
            &time,
            context,
            &groups,
            (Grouping::All, method),
            kernel,
        )
    })
    .arguments("nts", 1..=1)
    .details(format!(
        "{WINDOWS} {missing} {MEMORY}\nSource: van Herk (1992), Gil and Werman (1993); variances \
         merge as Chan, Golub and LeVeque (1979)."
    ))
    .example(format!("-{name},5 in.nc out.nc"))
}

fn running_days(
    suffix: &'static str,
    noun: &'static str,
    statistic: Statistic,
    missing: &'static str,
) -> Operator {
    let name = format!("ydrun{suffix}");
    let summary = format!("{noun} of the running windows around each day of the year");
    Operator::new(&name, summary, move |mut inputs, context| {
        let mut cube = inputs.remove(0);
        square_units(&mut cube, statistic, context);
        let around = Around::read(&cube, context, 0)?;
        let width = around.width;
        let method = statistic.cell_method().map(|method| {
            let windows = format!("(comment: running windows of {width} steps)");
            format!("time: {method} within years time: {method} over years {windows}")
        });
        let kernel = OfWindows {
            windows: around.windows,
            statistic,
        };
        let time = cube.time(context.name())?;
        regroup(
            cube,
            &time,
            context,
            &around.days,
            (Grouping::DayOfYear, method),
            Arc::new(kernel),
        )
    })
    .arguments("nts", 1..=1)
    .details(format!(
        "{AROUND} {missing} {MEMORY}\nSource: the definition; variances merge as Chan, Golub and \
         LeVeque (1979)."
    ))
    .example(format!("-{name},5 in.nc out.nc"))
}

/// Gives variances their units.
fn square_units(cube: &mut Cube, statistic: Statistic, context: &Context<'_>) {
    if matches!(statistic, Statistic::Variance | Statistic::Variance1) {
        Change::Variance.apply_to_all(cube, context.options.cdo);
    }
}

/// The days of the year and the windows around them.
struct Around {
    width: usize,
    /// The steps in the middle of windows.
    days: Vec<Group>,
    windows: Vec<Group>,
}

impl Around {
    fn read(cube: &Cube, context: &Context<'_>, parameter: usize) -> Result<Self, CubeError> {
        let time = cube.time(context.name())?;
        let steps = time.axis.values.len();
        let (width, windows) = windows(context, parameter, steps)?;
        let before = (width - 1) / 2;
        let dates = time.dates(context.name())?;
        let middles = &dates[before..before + windows.len()];
        let groups = Grouping::DayOfYear.groups(middles);
        let window = |step: usize| step..step + width;
        let of_group = |group: &Group| group.iter().cloned().flatten().map(window).collect();
        let moved = |group: &Group| {
            let runs = group.iter();
            runs.map(|run| run.start + before..run.end + before)
                .collect()
        };
        Ok(Self {
            width,
            days: groups.iter().map(moved).collect(),
            windows: groups.iter().map(of_group).collect(),
        })
    }
}

/// The width of windows, which a parameter tells, and their steps.
fn windows(
    context: &Context<'_>,
    parameter: usize,
    steps: usize,
) -> Result<(usize, Vec<Group>), CubeError> {
    let width = context
        .parameters()
        .count(parameter, 1, "a number of steps, at least 1")?;
    if width > steps {
        let problem = format!("windows of {width} steps need as many, the input has {steps}");
        return Err(context.refused(problem));
    }
    let window = |start: usize| std::iter::once(start..start + width).collect();
    Ok((width, (0..=steps - width).map(window).collect()))
}
