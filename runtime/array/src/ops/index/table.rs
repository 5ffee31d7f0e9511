//! From the rows of [`super::rows`] to operators: parameters, help, and what ETCCDI's names add.

use std::sync::Arc;

use super::kernel::Rule;
use super::reference::Second;
use super::rows::rows;
use super::{Output, Request, compute};
use crate::error::CubeError;
use crate::ops::grouping::Grouping;
use crate::ops::{Context, Inputs, Operator};

const MISSING: &str = "\
Missing days are skipped, but end a run; a result is missing where none is valid. Temperatures are \
in K, amounts in mm a day, wind speeds in m/s. Of several variables the first is taken.";

const REFERENCE: &str = "\
The reference is one step for all days, or one for each day of the year (as of ydaypctl), or a \
series of the same days as the input. One of other years is refused; with --cdo it is taken by the \
day of the year, and of several years the last, as CDO does with any reference. Percents are of \
the days with a value, those of precipitation of the days above 0.";

const RUNS: &str = "\
A run that spans years or months counts in that of its last day; one that lies wholly within a run \
has no value. Long runs are counted where they become long. (CDO finds the end of a run on the day \
after it, which may be in the next year: --cdo does so.)";

const SEASON: &str = "\
The second input is the share of land: less than fland gives missing (CDO: 0). The season of a year \
is looked for from January on, in the south from July on; it starts with the first nday days above \
T, and ends before the first nday days below T in the second half of the 12 months. Where none \
ends it, the days after its start are counted. It is missing where a half has no valid day. \
The start is the day of the year on which it has been warm for nday days.";

const BASE: &str = "\
Limits are percentiles (Hyndman and Fan's eighth rule) of the n days around each day of the year, \
of the years startboot to endboot; the days around 1 January are those of the same year. A day of \
these years is compared with each other year there twice and its own left out, and the mean is \
taken. freq=month or m gives months. CDO's minima and maxima may be given and are not read.";

const HEAVY: &str = "\
The limit is a percentile (Hyndman and Fan's eighth rule) of the wet days, of at least 1 mm, of the \
years startboot to endboot; with --cdo of all days, as CDO has it. freq=month or m gives months. \
CDO's minima and maxima may be given and are not read.";

const YEARLY: &str = "Each year is told; freq=month tells months.";

const SOURCE: &str = "Source: ETCCDI; Klein Tank et al. (2009).";

/// From the parameters to what is computed.
pub(super) type Make = Arc<dyn Fn(&[f64]) -> Rule + Send + Sync>;

/// One variable of a result.
#[derive(Clone)]
pub(super) struct Column {
    /// `{n}` stands for the last parameter.
    name: String,
    long_name: &'static str,
    units: &'static str,
    make: Make,
}

/// One index of CDO.
#[derive(Clone)]
pub(super) struct Row {
    name: &'static str,
    summary: &'static str,
    usage: &'static str,
    /// What parameters are where they are not given; NaN: must be given.
    defaults: &'static [f64],
    /// Of all steps unless asked for otherwise, or of each year.
    grouping: Grouping,
    second: Second,
    columns: Vec<Column>,
}

impl Row {
    /// An index of all steps, years or months without other parameters.
    pub(super) fn new(name: &'static str, summary: &'static str) -> Self {
        Self {
            name,
            summary,
            usage: "[freq=year|month]",
            defaults: &[],
            grouping: Grouping::All,
            second: Second::Nothing,
            columns: Vec::new(),
        }
    }

    /// Sets its parameters.
    pub(super) fn numbers(mut self, usage: &'static str, defaults: &'static [f64]) -> Self {
        (self.usage, self.defaults) = (usage, defaults);
        self
    }

    /// Sets what its second input is.
    pub(super) fn second(mut self, second: Second) -> Self {
        self.second = second;
        self
    }

    /// Sets that it is told for each year unless asked for otherwise.
    pub(super) fn yearly(mut self) -> Self {
        self.grouping = Grouping::Year;
        self
    }

    /// Adds a variable that is said to be what the summary says.
    pub(super) fn gives(
        self,
        name: &str,
        units: &'static str,
        make: impl Fn(&[f64]) -> Rule + Send + Sync + 'static,
    ) -> Self {
        let long_name = self.summary;
        self.and(name, long_name, units, make)
    }

    /// Adds another variable.
    pub(super) fn and(
        mut self,
        name: &str,
        long_name: &'static str,
        units: &'static str,
        make: impl Fn(&[f64]) -> Rule + Send + Sync + 'static,
    ) -> Self {
        let (name, make) = (name.to_owned(), Arc::new(make));
        self.columns.push(Column {
            name,
            long_name,
            units,
            make,
        });
        self
    }

    /// The same index by its ETCCDI name, of each year.
    fn of_etccdi(&self, name: &'static str, units: &'static str) -> Self {
        let mut row = self.clone().yearly();
        row.name = name;
        let short = name.trim_start_matches("etccdi_");
        row.columns[0].name = format!("{short}ETCCDI");
        row.columns[0].units = units;
        row
    }

    fn details(&self) -> String {
        let of_second = match self.second {
            Second::Reference => REFERENCE,
            Second::Land(_) => SEASON,
            Second::Extremes if self.defaults.len() == 2 => HEAVY,
            Second::Extremes => BASE,
            Second::Series => "The second input has the same days.",
            Second::Nothing => "",
        };
        let rule = |column: &Column| (column.make)(self.defaults);
        let has_runs = self.columns.iter().map(rule);
        let has_runs = has_runs
            .into_iter()
            .any(|rule| matches!(rule, Rule::Spells(..)));
        let is_yearly = self.grouping == Grouping::Year && self.second == Second::Nothing;
        let parts = [
            MISSING,
            of_second,
            if has_runs { RUNS } else { "" },
            if is_yearly { YEARLY } else { "" },
        ];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        format!("{}\n{SOURCE}", parts.join(" "))
    }

    fn operator(self) -> Operator {
        let required = self.defaults.iter().filter(|value| value.is_nan()).count();
        let most = self.defaults.len() + usize::from(self.takes_frequency());
        let given = match self.second {
            Second::Extremes if required == 2 => ",1961,1990",
            Second::Extremes => ",5,1961,1990",
            _ if required > 0 => ",5",
            _ => "",
        };
        let (files, inputs) = match self.second {
            Second::Nothing => ("in.nc", Inputs::Exactly(1)),
            Second::Reference => ("in.nc reference.nc", Inputs::Exactly(2)),
            Second::Series => ("in.nc other.nc", Inputs::Exactly(2)),
            Second::Land(_) => ("in.nc land.nc", Inputs::Exactly(2)),
            Second::Extremes => ("in.nc", Inputs::Either(1, 3)),
        };
        let example = format!("-{}{given} {files} out.nc", self.name);
        let (name, summary, usage) = (self.name, self.summary, self.usage);
        let details = self.details();
        let family = move |inputs, context: &mut Context<'_>| {
            let request = self.read(context)?;
            compute(inputs, context, &request)
        };
        Operator::new(name, summary, family)
            .arguments(usage, required..=most)
            .inputs(inputs)
            .details(details)
            .example(example)
    }

    /// A growing season is one of a year.
    fn takes_frequency(&self) -> bool {
        !matches!(self.second, Second::Land(_))
    }

    fn read(&self, context: &Context<'_>) -> Result<Request, CubeError> {
        let parameters = context.parameters();
        let mut numbers = self.defaults.to_vec();
        let mut grouping = self.grouping;
        let mut count = 0;
        for (index, text) in parameters.values.iter().enumerate() {
            match text.as_str() {
                "freq=year" if self.takes_frequency() => grouping = Grouping::Year,
                "freq=month" if self.takes_frequency() => grouping = Grouping::Month,
                "m" if self.second == Second::Extremes => grouping = Grouping::Month,
                _ if count < numbers.len() => {
                    numbers[count] = parameters.number(index, "a number")?;
                    count += 1;
                }
                _ => return Err(parameters.wrong(index, "freq=year or freq=month")),
            }
        }
        let required = numbers.iter().filter(|number| number.is_nan()).count();
        if required > 0 {
            return Err(parameters.wrong(parameters.values.len() - 1, "a number before it"));
        }
        // The second temperature of degree days is the first unless it is given.
        if self.name == "eca_hd" && count == 1 {
            numbers[1] = numbers[0];
        }
        let last = numbers.last().map(f64::to_string).unwrap_or_default();
        let output = |column: &Column| Output {
            name: column.name.replace("{n}", &last),
            long_name: column.long_name.replace("{n}", &last),
            units: (!column.units.is_empty()).then_some(column.units),
            rule: (column.make)(&numbers),
        };
        Ok(Request {
            outputs: self.columns.iter().map(output).collect(),
            grouping,
            stamps_last: !self.name.starts_with("etccdi_"),
            second: match self.second {
                Second::Land(_) => Second::Land(numbers[2]),
                other => other,
            },
        })
    }
}

/// Indices that ETCCDI tells of each year: its names, their units, and CDO's names of the same
/// of a whole series.
const ETCCDI: [(&str, &str, &str); 11] = [
    ("etccdi_fd", "days", "eca_fd"),
    ("etccdi_id", "days", "eca_id"),
    ("etccdi_su", "days", "eca_su"),
    ("etccdi_tr", "days", "eca_tr"),
    ("etccdi_cdd", "days", "eca_cdd"),
    ("etccdi_cwd", "days", "eca_cwd"),
    ("etccdi_csdi", "days", "eca_cwfi"),
    ("etccdi_wsdi", "days", "eca_hwfi"),
    ("etccdi_rx1day", "mm", "eca_rx1day"),
    ("etccdi_rx5day", "mm", "eca_rx5day"),
    ("etccdi_sdii", "mm d-1", "eca_sdii"),
];

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let rows = rows();
    let of_etccdi = ETCCDI.iter().filter_map(|(name, units, own)| {
        let row = rows.iter().find(|row| row.name == *own)?;
        Some(row.of_etccdi(name, units))
    });
    let of_etccdi: Vec<Row> = of_etccdi.collect();
    let all = rows.into_iter().chain(of_etccdi);
    all.map(Row::operator).collect()
}
