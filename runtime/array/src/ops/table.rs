//! The table of operators, in the order in which they are listed.

use super::field::FieldAxes;
use super::grouping::Grouping;
use super::pair::{Arithmetic, Matching};
use super::statistic::Statistic::{self, Maximum, Mean, Minimum, StandardDeviation, Sum};
use super::{Arguments, Inputs, Kernel, Operator, select};

const SKIP: &str = "\
Missing values are skipped: a result is missing only where no valid value remains. The result's
time bounds span the steps of its group, its time is their middle (see --timestat_date), and the
operation is appended to cell_methods. Steps are grouped by the middle of their time bounds where
these exist, else by their time. Sums are kept in double precision; f32 input gives f32 output.";

const fn time(
    name: &'static str,
    summary: &'static str,
    example: &'static str,
    grouping: Grouping,
    statistic: Statistic,
) -> Operator {
    Operator {
        name,
        summary,
        details: SKIP,
        example,
        arguments: Arguments::NONE,
        inputs: Inputs::Exactly(1),
        kernel: Kernel::Time(grouping, statistic),
    }
}

/// Every operator.
pub static OPERATORS: &[Operator] = &[
    Operator {
        name: "selname",
        summary: "Select variables by name",
        details: "Coordinates, bounds and grid mappings follow. An unknown name is a warning; \
                  if nothing is\nselected, an error.",
        example: "-selname,tas,pr in.nc out.nc",
        arguments: Arguments {
            names: "name[,name...]",
            counts: 1..=usize::MAX,
        },
        inputs: Inputs::Exactly(1),
        kernel: Kernel::Select(select::by_name),
    },
    Operator {
        name: "sellonlatbox",
        summary: "Select a longitude/latitude box",
        details: "Keeps cells whose centre lies in the closed box. Longitudes are taken modulo \
                  360 and the box may\nwrap around: 350,10,... gives longitudes -10 to 10. \
                  Curvilinear grids give the enclosing index box.",
        example: "-sellonlatbox,0,90,0,45 in.nc out.nc",
        arguments: Arguments {
            names: "west,east,south,north",
            counts: 4..=4,
        },
        inputs: Inputs::Exactly(1),
        kernel: Kernel::Select(select::by_box),
    },
    Operator {
        name: "seldate",
        summary: "Select steps between two dates",
        details: "Dates are YYYY-MM-DD[Thh:mm:ss], inclusive; a bare end date covers all of its \
                  day. One date\nselects one day.",
        example: "-seldate,2001-01-01,2010-12-31 in.nc out.nc",
        arguments: Arguments {
            names: "from[,to]",
            counts: 1..=2,
        },
        inputs: Inputs::Exactly(1),
        kernel: Kernel::Select(select::by_date),
    },
    Operator {
        name: "selmon",
        summary: "Select steps by month of the year",
        details: "Months are 1 to 12, as a list or as ranges from/to[/step].",
        example: "-selmon,6/8 in.nc out.nc",
        arguments: Arguments {
            names: "month[,month...]",
            counts: 1..=usize::MAX,
        },
        inputs: Inputs::Exactly(1),
        kernel: Kernel::Select(select::by_month),
    },
    time(
        "timmean",
        "Mean over all steps",
        "-timmean in.nc out.nc",
        Grouping::All,
        Mean,
    ),
    time(
        "timmin",
        "Minimum over all steps",
        "-timmin in.nc out.nc",
        Grouping::All,
        Minimum,
    ),
    time(
        "timmax",
        "Maximum over all steps",
        "-timmax in.nc out.nc",
        Grouping::All,
        Maximum,
    ),
    time(
        "timsum",
        "Sum over all steps",
        "-timsum in.nc out.nc",
        Grouping::All,
        Sum,
    ),
    time(
        "timstd",
        "Standard deviation over all steps, divided by n",
        "-timstd in.nc out.nc",
        Grouping::All,
        StandardDeviation,
    ),
    time(
        "monmean",
        "Mean of each month",
        "-monmean in.nc out.nc",
        Grouping::Month,
        Mean,
    ),
    time(
        "yearmean",
        "Mean of each year, every step with the same weight",
        "-yearmean in.nc out.nc",
        Grouping::Year,
        Mean,
    ),
    time(
        "ymonmean",
        "Mean of each month of the year, over all years",
        "-ymonmean in.nc climatology.nc",
        Grouping::MonthOfYear,
        Mean,
    ),
    Operator {
        name: "ymonsub",
        summary: "Subtract the second input's step of the same month of the year",
        details: "Both inputs hold the same grid. A missing value in either gives a missing \
                  value. A month that\nthe second input does not have, or has twice, is an error.",
        example: "-ymonsub in.nc -ymonmean in.nc anomaly.nc",
        arguments: Arguments::NONE,
        inputs: Inputs::Exactly(2),
        kernel: Kernel::Pair(Matching::MonthOfYear, Arithmetic::Subtract),
    },
    Operator {
        name: "sub",
        summary: "Subtract the second input from the first",
        details: "Variables pair by name, or by order where the two have one each. An axis of \
                  length 1 is repeated;\nother lengths must be equal. A missing value in either \
                  gives a missing value. Attributes are\nthose of the first.",
        example: "-sub in.nc -timmean in.nc out.nc",
        arguments: Arguments::NONE,
        inputs: Inputs::Exactly(2),
        kernel: Kernel::Pair(Matching::Step, Arithmetic::Subtract),
    },
    Operator {
        name: "fldmean",
        summary: "Area-weighted mean of each field",
        details: "Weights are the areas of the cells on the sphere, from their bounds where \
                  these exist. Missing\nvalues are skipped and the weights of the others \
                  normalised.",
        example: "-fldmean in.nc out.nc",
        arguments: Arguments::NONE,
        inputs: Inputs::Exactly(1),
        kernel: Kernel::FieldMean(FieldAxes::Both),
    },
    Operator {
        name: "zonmean",
        summary: "Mean over longitudes, every cell with the same weight",
        details: "For grids of longitudes and latitudes. Missing values are skipped.",
        example: "-zonmean in.nc out.nc",
        arguments: Arguments::NONE,
        inputs: Inputs::Exactly(1),
        kernel: Kernel::FieldMean(FieldAxes::Longitude),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_parses() {
        for operator in OPERATORS {
            let words: Vec<String> = operator.example.split(' ').map(str::to_owned).collect();
            assert!(crate::command::parse(&words).is_ok(), "{}", operator.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = OPERATORS.iter().map(|operator| operator.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OPERATORS.len());
    }
}
