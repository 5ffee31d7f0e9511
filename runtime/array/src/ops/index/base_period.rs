//! ETCCDI's indices whose limits are percentiles of a base period of the series itself.
//!
//! Inside the base period the year of a day is left out and another is there twice, for each
//! other year in turn, and the result is the mean of all (Zhang et al. 2005): without that, the
//! indices jump at the ends of the period. Percentiles are exact, by Hyndman and Fan's eighth
//! rule.

use std::collections::BTreeMap;

use crate::ops::grouping::Group;
use crate::ops::series::percentile::Method;
use crate::plan::series::SeriesKernel;
use crate::time_axis::DateTime;

/// As ETCCDI asks for.
const METHOD: Method = Method::RType8;

/// Of a longer window no day of the year has its own.
const WINDOW_DAYS_MAX: usize = 366;

/// What ETCCDI calls a wet day, in mm.
const WET_MM: f64 = 1.0;

/// The steps of the days around one day of the year, of each year of the base period; none of a
/// year that has not that day.
type Windows = Vec<Vec<usize>>;

/// The share of days beyond a percentile of the days around them.
#[derive(Debug)]
pub(super) struct BeyondBase {
    groups: Vec<Group>,
    is_above: bool,
    percentile: f64,
    /// One for each day of the year.
    windows: Vec<Windows>,
    /// The steps of each such day, with the place of their year in the base period.
    steps: Vec<Vec<(usize, Option<usize>)>>,
}

impl BeyondBase {
    /// The error is what is wrong with the request.
    pub(super) fn new(
        groups: &[Group],
        dates: &[DateTime],
        window_days: usize,
        years: (i32, i32),
        (is_above, percentile): (bool, f64),
    ) -> Result<Self, String> {
        if !(1..=WINDOW_DAYS_MAX).contains(&window_days) {
            return Err(format!(
                "a window of {window_days} days is not one of 1 to {WINDOW_DAYS_MAX}"
            ));
        }
        let base = base_years(dates, years)?;
        if base.len() < 2 {
            return Err("a base period of one year leaves none to compare with".to_owned());
        }
        let mut of_year: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        let mut of_day: BTreeMap<(u8, u8), Vec<usize>> = BTreeMap::new();
        for (step, date) in dates.iter().enumerate() {
            of_year.entry(date.year).or_default().push(step);
            of_day.entry((date.month, date.day)).or_default().push(step);
        }
        let place = |step: usize| base.binary_search(&dates[step].year).ok();
        // The days before the first and after the last of a year are its last and first.
        let around = |step: usize| -> Vec<usize> {
            let year = &of_year[&dates[step].year];
            let (own, len) = (year.partition_point(|&other| other < step), year.len());
            let half = (window_days / 2).min(len);
            let wrapped = (0..window_days).map(|day| year[(own + len + day - half) % len]);
            wrapped.collect()
        };
        let windows = of_day.values().map(|steps| {
            let mut windows = vec![Vec::new(); base.len()];
            for &step in steps {
                if let Some(place) = place(step) {
                    windows[place] = around(step);
                }
            }
            windows
        });
        let placed = |steps: &Vec<usize>| steps.iter().map(|&step| (step, place(step))).collect();
        Ok(Self {
            groups: groups.to_vec(),
            is_above,
            percentile,
            windows: windows.collect(),
            steps: of_day.values().map(placed).collect(),
        })
    }

    /// How much of each step of a day of the year is beyond: 1, 0, or between in the base
    /// period.
    fn judge(&self, series: &[f64], day: usize, out: &mut [f64]) {
        let samples: Vec<Vec<f64>> = self.windows[day]
            .iter()
            .map(|window| sorted(window.iter().map(|&step| series[step])))
            .collect();
        let without = |left_out: Option<usize>| {
            let kept = samples.iter().enumerate();
            let kept = kept.filter(|(place, _)| Some(*place) != left_out);
            sorted(kept.flat_map(|(_, sample)| sample.iter().copied()))
        };
        let whole = without(None);
        for &(step, place) in &self.steps[day] {
            let beyond = |limit: f64| match self.is_above {
                true => series[step] > limit,
                false => series[step] < limit,
            };
            out[step] = match place {
                None => f64::from(beyond(METHOD.of_both(&whole, &[], self.percentile))),
                Some(place) => {
                    let rest = without(Some(place));
                    let others = samples.iter().enumerate();
                    let others = others.filter(|(other, _)| *other != place);
                    let is_beyond = |(_, twice): &(usize, &Vec<f64>)| {
                        beyond(METHOD.of_both(&rest, twice, self.percentile))
                    };
                    others.filter(is_beyond).count() as f64 / (samples.len() - 1) as f64
                }
            };
        }
    }
}

impl SeriesKernel for BeyondBase {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        let series = inputs[0];
        let mut beyond = vec![0.0; series.len()];
        for day in 0..self.windows.len() {
            self.judge(series, day, &mut beyond);
        }
        for (group, out) in self.groups.iter().zip(out) {
            let steps = group.iter().cloned().flatten();
            let valid: Vec<usize> = steps.filter(|&step| !series[step].is_nan()).collect();
            let sum: f64 = valid.iter().map(|&step| beyond[step]).sum();
            *out = 100.0 * sum / valid.len() as f64;
        }
    }
}

/// The sum of the days above a percentile of the wet days of a base period.
#[derive(Debug)]
pub(super) struct HeavyTotal {
    groups: Vec<Group>,
    percentile: f64,
    base: Vec<usize>,
    /// What a day of the base period must have to be counted; CDO takes all.
    least: f64,
}

impl HeavyTotal {
    /// The error is what is wrong with the request.
    pub(super) fn new(
        groups: &[Group],
        dates: &[DateTime],
        years: (i32, i32),
        percentile: f64,
        takes_dry_days: bool,
    ) -> Result<Self, String> {
        let base = base_years(dates, years)?;
        let is_base = |&step: &usize| base.binary_search(&dates[step].year).is_ok();
        Ok(Self {
            groups: groups.to_vec(),
            percentile,
            base: (0..dates.len()).filter(is_base).collect(),
            least: if takes_dry_days {
                f64::NEG_INFINITY
            } else {
                WET_MM
            },
        })
    }
}

impl SeriesKernel for HeavyTotal {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        let series = inputs[0];
        let base = self.base.iter().map(|&step| series[step]);
        let mut wet: Vec<f64> = base.filter(|&value| value >= self.least).collect();
        let limit = METHOD.of(&mut wet, self.percentile);
        for (group, out) in self.groups.iter().zip(out) {
            let days = group.iter().cloned().flatten().map(|step| series[step]);
            let has_any = days.clone().any(|value| !value.is_nan());
            *out = match has_any {
                true => days.filter(|&value| value > limit).sum(),
                false => f64::NAN,
            };
        }
    }
}

/// The years of the base period that the series has.
fn base_years(dates: &[DateTime], (from, to): (i32, i32)) -> Result<Vec<i32>, String> {
    let mut years: Vec<i32> = dates.iter().map(|date| date.year).collect();
    years.sort_unstable();
    years.dedup();
    let (first, last) = (years.first().copied(), years.last().copied());
    years.retain(|year| (from..=to).contains(year));
    match (years.is_empty(), first, last) {
        (false, ..) => Ok(years),
        (true, Some(first), Some(last)) => Err(format!(
            "the series, of the years {first} to {last}, has none of the base period from {from} to {to}"
        )),
        (true, ..) => Err("the time axis has no steps".to_owned()),
    }
}

/// The valid values, ascending.
fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}
