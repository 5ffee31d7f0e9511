//! The parameters `key=value` of operators that group by date.

use super::axis;
use crate::cube::TimeCoordinate;
use crate::error::CubeError;
use crate::ops::Context;
use crate::ops::grouping::{Group, Grouping};
use crate::time_axis::{DateTime, TimeAxis};

const COMPLETE_ONLY: &str = "complete_only";
const MIDNIGHT: &str = "midnight";

/// How groups are made where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choices {
    /// Whether a season at an end of the series that is not whole is left out.
    complete_only: bool,
    /// Whether a step that is stamped at midnight belongs to the day that ends there.
    ends_day: bool,
}

/// The keys that a grouping has.
pub(crate) fn of(grouping: Grouping) -> Vec<&'static str> {
    let seasons = (grouping == Grouping::Season).then_some(COMPLETE_ONLY);
    let midnights = grouping.has_midnights().then_some(MIDNIGHT);
    seasons.into_iter().chain(midnights).collect()
}

/// How the keys stand in the usage.
pub(crate) fn usage(grouping: Grouping) -> &'static str {
    match of(grouping).as_slice() {
        [] => "",
        [MIDNIGHT] => "[midnight=0|24]",
        _ => "[complete_only=true|false][,midnight=0|24]",
    }
}

impl Choices {
    /// Reads the parameters from `first` on.
    pub(crate) fn read(
        context: &Context<'_>,
        first: usize,
        keys: &[&str],
    ) -> Result<Self, CubeError> {
        let parameters = context.parameters();
        let mut choices = Self::default();
        for index in first..parameters.values.len() {
            match parameters.values[index].split_once('=') {
                Some((COMPLETE_ONLY, "true")) if keys.contains(&COMPLETE_ONLY) => {
                    choices.complete_only = true;
                }
                Some((COMPLETE_ONLY, "false")) if keys.contains(&COMPLETE_ONLY) => {}
                Some((MIDNIGHT, "24")) if keys.contains(&MIDNIGHT) => choices.ends_day = true,
                Some((MIDNIGHT, "0" | "00")) if keys.contains(&MIDNIGHT) => {}
                _ if keys.contains(&COMPLETE_ONLY) => {
                    let expected = "complete_only=true or false, or midnight=0 or 24";
                    return Err(parameters.wrong(index, expected));
                }
                _ => return Err(parameters.wrong(index, "midnight=0 or 24")),
            }
        }
        Ok(choices)
    }

    /// The groups of the steps of a time axis.
    pub(crate) fn groups(
        self,
        time: &TimeCoordinate,
        grouping: Grouping,
        context: &mut Context<'_>,
    ) -> Result<Vec<Group>, CubeError> {
        let operator = context.name();
        let mut dates = match grouping {
            // Needs no calendar.
            Grouping::All => {
                let steps = time.axis.values.len();
                return Ok((steps > 0).then(|| vec![0..steps]).into_iter().collect());
            }
            // CDO groups by the time itself, whatever interval it stands for.
            _ if context.options.cdo => {
                let dates = time.axis.dates();
                dates.map_err(|source| CubeError::Time { operator, source })?
            }
            _ => time.dates(operator)?,
        };
        if self.ends_day {
            put_midnights_before(&mut dates, time, operator)?;
        }
        let mut groups = grouping.groups(&dates);
        if grouping == Grouping::Season {
            let ends = (groups.first().cloned(), groups.last().cloned());
            let start = ends
                .0
                .is_some_and(|group| !starts_whole(time, &dates, &group));
            let end = ends
                .1
                .is_some_and(|group| !ends_whole(time, &dates, &group));
            let single = groups.len() == 1;
            if self.complete_only {
                if end || single && start {
                    groups.pop();
                }
                if start && !single {
                    groups.remove(0);
                }
            } else if let Some(which) = match (start, end) {
                (true, true) => Some("first and last seasons are"),
                (true, false) => Some("first season is"),
                (false, true) => Some("last season is"),
                (false, false) => None,
            } {
                context.warn(format!(
                    "the {which} not whole: complete_only=true leaves such out"
                ));
            }
        }
        Ok(groups)
    }
}

/// Moves dates at midnight a little before it.
fn put_midnights_before(
    dates: &mut [DateTime],
    time: &TimeCoordinate,
    operator: &'static str,
) -> Result<(), CubeError> {
    /// Of the distance between steps: less than any distance between two groups.
    const LITTLE: f64 = 1e-3;
    let moments = time.moments();
    let distance = match moments.as_slice() {
        [first, second, ..] => (second - first).abs(),
        _ => 0.1,
    };
    for (step, date) in dates.iter_mut().enumerate() {
        let DateTime {
            hour,
            minute,
            second,
            microsecond,
            ..
        } = *date;
        if (hour, minute, second, microsecond) == (0, 0, 0, 0) {
            let before = moments[step] - distance * LITTLE;
            let found = time.axis.units.date(before, time.axis.calendar);
            *date = found.map_err(|source| CubeError::Time { operator, source })?;
        }
    }
    Ok(())
}

/// Whether a season has its first day: by bounds, else by the date of a step.
fn starts_whole(time: &TimeCoordinate, dates: &[DateTime], group: &Group) -> bool {
    let step = group.first().map_or(0, |run| run.start);
    let (from, _) = axis::interval(Grouping::Season, &dates[step], time.axis.calendar);
    match &time.bounds {
        Some((_, bounds)) if !time.is_climatology => !is_after(time, bounds[step][0], &from),
        _ => dates[step].month == from.month && (is_monthly(dates) || dates[step].day == 1),
    }
}

fn ends_whole(time: &TimeCoordinate, dates: &[DateTime], group: &Group) -> bool {
    let step = group.last().map_or(0, |run| run.end - 1);
    let (_, to) = axis::interval(Grouping::Season, &dates[step], time.axis.calendar);
    let DateTime {
        year, month, day, ..
    } = dates[step];
    match &time.bounds {
        Some((_, bounds)) if !time.is_climatology => !is_before(time, bounds[step][1], &to),
        _ => {
            let last = time.axis.calendar.days_in_month(year, month);
            month % 12 + 1 == to.month && (is_monthly(dates) || day == last)
        }
    }
}

/// Whether no two neighbours are of one month.
fn is_monthly(dates: &[DateTime]) -> bool {
    let months = dates.windows(2);
    let mut months = months.map(|pair| (pair[0].year, pair[0].month, pair[1].year, pair[1].month));
    months.all(|(year, month, next_year, next)| (year, month) != (next_year, next))
}

fn is_after(time: &TimeCoordinate, value: f64, date: &DateTime) -> bool {
    date_of(time, value).is_some_and(|found| found > *date)
}

fn is_before(time: &TimeCoordinate, value: f64, date: &DateTime) -> bool {
    date_of(time, value).is_some_and(|found| found < *date)
}

fn date_of(time: &TimeCoordinate, value: f64) -> Option<DateTime> {
    let TimeAxis {
        units, calendar, ..
    } = &time.axis;
    units.date(value, *calendar).ok()
}
