//! The rows of the splits.

use super::{by_count, by_date, by_level, by_name};
use crate::ops::{Operator, Outputs};
use crate::time_axis::DateTime;

const NAMES: &str = "\
The output is what names begin with: KEY.nc is appended for each file.";

const SEASONS: [&str; 4] = ["DJF", "MAM", "JJA", "SON"];

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let mut rows: Vec<Operator> = vec![
        of_date("splityear", "Split by year: 2001", false, |date| {
            format!("{:04}", date.year)
        }),
        of_date(
            "splitmon",
            "Split by month of the year: 01",
            false,
            |date| format!("{:02}", date.month),
        ),
        of_date("splitseas", "Split by season: DJF", false, |date| {
            SEASONS[usize::from(date.month % 12 / 3)].to_owned()
        }),
        of_date("splitday", "Split by day of the month: 01", false, |date| {
            format!("{:02}", date.day)
        }),
        of_date("splithour", "Split by hour of the day: 00", true, |date| {
            format!("{:02}", date.hour)
        }),
        of_date(
            "splityearmon",
            "Split by year and month: 200101",
            false,
            |date| format!("{:04}{:02}", date.year, date.month),
        ),
    ];
    rows.extend([
        Operator::new(
            "splitsel",
            "Split by number of steps: 000001",
            |mut inputs, context| by_count(inputs.remove(0), context),
        )
        .arguments("nsets[,offset[,skip]]", 1..=3)
        .outputs(Outputs::Prefix)
        .details(format!(
            "{NAMES} Each has nsets steps, the last one\nthose that are left; offset steps are \
             left out before the first file and skip steps between files."
        ))
        .example("-splitsel,12 in.nc part_"),
        Operator::new("splitname", "Split by variable", |inputs, _| {
            Ok(by_name(&inputs[0]))
        })
        .outputs(Outputs::Prefix)
        .details(format!("{NAMES} Keys are names of variables."))
        .example("-splitname in.nc var_"),
        Operator::new("splitlevel", "Split by level: 085000", |inputs, context| {
            by_level(&inputs[0], context)
        })
        .outputs(Outputs::Prefix)
        .details(format!(
            "{NAMES} Keys are levels, filled with zeros to six letters."
        ))
        .example("-splitlevel in.nc level_"),
    ]);
    rows
}

fn of_date(
    name: &'static str,
    summary: &'static str,
    of_stamp: bool,
    key: fn(&DateTime) -> String,
) -> Operator {
    Operator::new(name, summary, move |mut inputs, context| {
        by_date(inputs.remove(0), context, of_stamp, key)
    })
    .outputs(Outputs::Prefix)
    .details(format!(
        "{NAMES} A step's date is the middle of its\ntime bounds where these exist; its hour is \
         that of its time."
    ))
    .example(format!("-{name} in.nc part_"))
}
