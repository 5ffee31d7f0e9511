//! The rows of the climate indices.

use super::kernel::Rule;
use super::rows::rows;
use super::{Output, Request, compute};
use crate::error::CubeError;
use crate::ops::grouping::Grouping;
use crate::ops::{Context, Inputs, Operator};

/// 0 °C in kelvin.
pub(super) const ZERO: f64 = 273.15;

const MISSING: &str = "\
Missing days are skipped, but end a run; a result is missing where none is valid. Temperatures are \
in K, amounts in mm a day. Of several variables the first is taken.";

const REFERENCE: &str = "\
The reference is one step for all days, as many steps as the input, or one for each day of the \
year (as of ydaypctl). Of a reference of several years CDO takes the last one's day. \
Percents are of the days with a value, those of precipitation of the days above 0.";

const SOURCE: &str = "Source: ETCCDI; Klein Tank et al. (2009).";

/// Makes outputs from the numbers given, with the rest at their defaults.
pub(super) type Make = fn(&[f64]) -> Vec<Output>;

/// One index of CDO.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) usage: &'static str,
    /// What parameters are where they are not given; NaN: must be given.
    pub(super) defaults: &'static [f64],
    /// Of all steps unless asked for otherwise, or of each year.
    pub(super) grouping: Grouping,
    /// Whether `freq` may follow.
    pub(super) takes_frequency: bool,
    pub(super) inputs: usize,
    pub(super) make: Make,
}

pub(super) fn output(
    name: impl Into<String>,
    long_name: &str,
    units: &'static str,
    rule: Rule,
) -> Output {
    Output {
        name: name.into(),
        long_name: long_name.to_owned(),
        units: (!units.is_empty()).then_some(units),
        rule,
    }
}

/// Days of one kind.
macro_rules! count {
    ($name:literal, $output:literal, $units:literal, $summary:literal, $usage:literal,
     $defaults:expr, $grouping:ident, $frequency:literal, $test:expr) => {
        Row {
            name: $name,
            summary: $summary,
            usage: $usage,
            defaults: $defaults,
            grouping: Grouping::$grouping,
            takes_frequency: $frequency,
            inputs: 1,
            make: |p| vec![output($output, $summary, $units, Rule::Count($test(p)))],
        }
    };
}

/// The longest run and the number of long ones.
macro_rules! runs {
    ($name:literal, $short:literal, $output:literal, $units:literal, $summary:literal,
     $usage:literal, $defaults:expr, $test:expr) => {
        Row {
            name: $name,
            summary: $summary,
            usage: $usage,
            defaults: $defaults,
            grouping: Grouping::All,
            takes_frequency: false,
            inputs: 1,
            make: |p| {
                let days = p[p.len() - 1];
                let name = format!(
                    "number_of_{}_periods_with_more_than_{days}days_per_time_period",
                    $short
                );
                let long_name = format!("Runs of more than {days} days");
                let runs = Rule::Runs($test(p), days as usize + 1);
                vec![
                    output($output, $summary, $units, Rule::LongestRun($test(p))),
                    output(name, &long_name, "No.", runs),
                ]
            },
        }
    };
}

/// Days in long runs beyond a reference, and the number of these runs.
macro_rules! waves {
    ($name:literal, $output:literal, $periods:literal, $summary:literal, $usage:literal,
     $defaults:expr, $test:ident) => {
        Row {
            name: $name,
            summary: $summary,
            usage: $usage,
            defaults: $defaults,
            grouping: Grouping::All,
            takes_frequency: false,
            inputs: 2,
            make: |p| {
                let test = Test::$test(p.get(1).copied().unwrap_or(0.0));
                let days = p[0] as usize;
                let long_name = format!("Runs of at least {days} such days");
                vec![
                    output($output, $summary, "No.", Rule::DaysInRuns(test, days)),
                    output($periods, &long_name, "No.", Rule::Runs(test, days)),
                ]
            },
        }
    };
}

/// One variable of two inputs, or of one and without parameters.
macro_rules! plain {
    ($name:literal, $inputs:literal, $output:literal, $units:literal, $summary:literal,
     $rule:expr) => {
        Row {
            name: $name,
            summary: $summary,
            usage: "",
            defaults: &[],
            grouping: Grouping::All,
            takes_frequency: false,
            inputs: $inputs,
            make: |_| vec![output($output, $summary, $units, $rule)],
        }
    };
}

pub(super) use {count, plain, runs, waves};

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    rows().into_iter().map(operator).collect()
}

fn operator(row: Row) -> Operator {
    let required = row.defaults.iter().filter(|value| value.is_nan()).count();
    let most = row.defaults.len() + usize::from(row.takes_frequency);
    let given = if required > 0 { ",5" } else { "" };
    let files = if row.inputs == 2 {
        "in.nc reference.nc"
    } else {
        "in.nc"
    };
    let example = format!("-{}{given} {files} out.nc", row.name);
    let (name, summary, usage, inputs) = (row.name, row.summary, row.usage, row.inputs);
    let details = match inputs {
        2 => format!("{MISSING} {REFERENCE}\n{SOURCE}"),
        _ => format!("{MISSING}\n{SOURCE}"),
    };
    let family = move |inputs, context: &mut Context<'_>| {
        let request = read(&row, context)?;
        compute(inputs, context, &request)
    };
    Operator::new(name, summary, family)
        .arguments(usage, required..=most)
        .inputs(Inputs::Exactly(inputs))
        .details(details)
        .example(example)
}

fn read(row: &Row, context: &Context<'_>) -> Result<Request, CubeError> {
    let parameters = context.parameters();
    let mut numbers = row.defaults.to_vec();
    let mut grouping = row.grouping;
    let mut count = 0;
    for (index, text) in parameters.values.iter().enumerate() {
        match text.as_str() {
            "freq=year" if row.takes_frequency => grouping = Grouping::Year,
            "freq=month" if row.takes_frequency => grouping = Grouping::Month,
            _ if index < numbers.len() => {
                numbers[index] = parameters.number(index, "a number")?;
                count += 1;
            }
            _ => return Err(parameters.wrong(index, "freq=year or freq=month")),
        }
    }
    // The second temperature of degree days is the first unless it is given.
    if row.name == "eca_hd" && count == 1 {
        numbers[1] = numbers[0];
    }
    Ok(Request {
        outputs: (row.make)(&numbers),
        grouping,
        stamps_last: row.name.starts_with("eca_"),
    })
}
