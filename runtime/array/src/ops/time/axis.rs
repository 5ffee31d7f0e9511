//! The time axis of groups of steps: times, bounds, and those of climatologies (CF 7.4).

use std::sync::Arc;

use super::Regrouping;
use crate::command::TimeStamp;
use crate::cube::{Content, Cube, TimeCoordinate};
use crate::dataset::{Attributes, DType, Variable};
use crate::ops::grouping::{Group, Grouping, season};
use crate::time_axis::{Calendar, DateTime};

/// Puts the groups' times and bounds in the place of those of the steps.
pub(super) fn replace(
    cube: &mut Cube,
    time: &TimeCoordinate,
    regrouping: &Regrouping<'_>,
    stamp: TimeStamp,
) {
    let Regrouping {
        groups,
        grouping,
        stamps_last,
        ..
    } = regrouping;
    let bounds: Vec<[f64; 2]> = groups
        .iter()
        .map(|group| group_bounds(time, group, *grouping))
        .collect();
    let stamps = groups.iter().zip(&bounds).map(|(group, bounds)| {
        let value = |step: Option<usize>| step.map_or(f64::NAN, |step| time.axis.values[step]);
        let steps: Vec<usize> = group.iter().cloned().flatten().collect();
        match stamp {
            // The last contributor, as CDO does: the middle of the span would be another month.
            TimeStamp::Default if grouping.is_climatology() || *stamps_last => {
                value(steps.last().copied())
            }
            TimeStamp::Default => bounds[0] + (bounds[1] - bounds[0]) / 2.0,
            TimeStamp::First => value(steps.first().copied()),
            TimeStamp::Middle => value(steps.get(steps.len() / 2).copied()),
            TimeStamp::Last => value(steps.last().copied()),
        }
    });
    cube.contents[time.variable] = Content::Numbers(Arc::new(stamps.collect()));
    cube.dataset.dimensions[time.dim].len = groups.len();
    let coordinate = &mut cube.dataset.variables[time.variable];
    if !matches!(coordinate.dtype, DType::F64 | DType::F32) {
        coordinate.dtype = DType::F64;
    }
    let kind = if grouping.is_climatology() || time.is_climatology && time.bounds.is_some() {
        "climatology"
    } else {
        "bounds"
    };
    let content = Content::Numbers(Arc::new(bounds.into_iter().flatten().collect()));
    set_bounds(cube, time, kind, content);
}

fn set_bounds(cube: &mut Cube, time: &TimeCoordinate, kind: &str, content: Content) {
    let other = if kind == "bounds" {
        "climatology"
    } else {
        "bounds"
    };
    let attributes = &mut cube.dataset.variables[time.variable].attributes;
    attributes.remove(other);
    let index = match &time.bounds {
        Some((index, _)) => {
            let index = *index;
            if kind == "climatology" && !time.is_climatology {
                cube.dataset.variables[index].name = String::new();
                let name = cube.free_name("climatology_bnds");
                cube.dataset.variables[index].name = name;
            }
            let variable = &mut cube.dataset.variables[index];
            if !matches!(variable.dtype, DType::F64 | DType::F32) {
                variable.dtype = DType::F64;
            }
            cube.contents[index] = content;
            index
        }
        None => {
            let name = match kind {
                "climatology" => cube.free_name("climatology_bnds"),
                _ => {
                    let coordinate = &cube.dataset.variables[time.variable].name;
                    cube.free_name(&format!("{coordinate}_bnds"))
                }
            };
            let dims = vec![time.dim, cube.dimension("bnds", 2)];
            let attributes = Attributes::default();
            cube.push(
                Variable {
                    name,
                    dtype: DType::F64,
                    dims,
                    attributes,
                },
                content,
            );
            cube.dataset.variables.len() - 1
        }
    };
    let name = cube.dataset.variables[index].name.clone();
    cube.dataset.variables[time.variable]
        .attributes
        .set(kind, name);
}

/// From the start of the first step to the end of the last. Of stamps without bounds: from the
/// first to the last, and in climatologies from the start of the first's interval (its month,
/// in `ymonmean`) to the end of the last's.
fn group_bounds(time: &TimeCoordinate, group: &Group, grouping: Grouping) -> [f64; 2] {
    let steps = || group.iter().cloned().flatten();
    let interval = |step: usize| {
        let span = interval_of(time, step, grouping);
        span.unwrap_or([time.axis.values[step]; 2])
    };
    let of = |step: usize| match &time.bounds {
        Some((_, bounds)) => bounds[step],
        None if grouping.is_climatology() => interval(step),
        None => [time.axis.values[step]; 2],
    };
    let from = steps()
        .map(|step| of(step)[0])
        .fold(f64::INFINITY, f64::min);
    let to = steps()
        .map(|step| of(step)[1])
        .fold(f64::NEG_INFINITY, f64::max);
    [from, to]
}

/// The hour, day, month or season that a step lies in, if the calendar has both its ends.
fn interval_of(time: &TimeCoordinate, step: usize, grouping: Grouping) -> Option<[f64; 2]> {
    let calendar = time.axis.calendar;
    let (from, to) = interval(grouping, &time.axis.date(step).ok()?, calendar);
    let value = |date: &DateTime| time.axis.units.value(date, calendar).ok();
    Some([value(&from)?, value(&to)?])
}

/// The interval around a date, by the calendar.
pub(super) fn interval(
    grouping: Grouping,
    date: &DateTime,
    calendar: Calendar,
) -> (DateTime, DateTime) {
    let midnight = DateTime {
        hour: 0,
        minute: 0,
        second: 0,
        microsecond: 0,
        ..*date
    };
    let first = DateTime { day: 1, ..midnight };
    let next_day = |date: &DateTime| {
        if date.day < calendar.days_in_month(date.year, date.month) {
            let day = date.day + 1;
            return DateTime { day, ..*date };
        }
        after_months(&DateTime { day: 1, ..*date }, 1, calendar)
    };
    match grouping.within() {
        Grouping::Hour if date.hour < 23 => {
            let hour = |hour| DateTime { hour, ..midnight };
            (hour(date.hour), hour(date.hour + 1))
        }
        Grouping::Hour => (
            DateTime {
                hour: 23,
                ..midnight
            },
            next_day(&midnight),
        ),
        Grouping::Day => (midnight, next_day(&midnight)),
        Grouping::Season => {
            let first_month = season(date.month) * 3;
            let (year, month) = match (first_month, date.month) {
                (0, 12) => (date.year, 12),
                (0, _) => (before(date.year, calendar), 12),
                (month, _) => (date.year, month),
            };
            let start = DateTime {
                year,
                month,
                ..first
            };
            (start, after_months(&start, 3, calendar))
        }
        Grouping::Year => {
            let start = DateTime { month: 1, ..first };
            (start, after_months(&start, 12, calendar))
        }
        _ => (first, after_months(&first, 1, calendar)),
    }
}

/// Some have no year 0.
fn before(year: i32, calendar: Calendar) -> i32 {
    match (year, calendar) {
        (1, Calendar::Standard | Calendar::Julian) => -1,
        _ => year - 1,
    }
}

fn after_months(first: &DateTime, months: u8, calendar: Calendar) -> DateTime {
    let total = first.month - 1 + months;
    let mut year = first.year + i32::from(total / 12);
    let is_gap = first.year < 0 && year == 0;
    if is_gap && matches!(calendar, Calendar::Standard | Calendar::Julian) {
        year = 1;
    }
    DateTime {
        year,
        month: total % 12 + 1,
        ..*first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_follow_the_calendar() {
        let date = |year, month, day, hour| DateTime {
            year,
            month,
            day,
            hour,
            minute: 0,
            second: 0,
            microsecond: 0,
        };
        let of = |grouping, date: DateTime| interval(grouping, &date, Calendar::Standard);
        for (grouping, inside, from, to) in [
            (
                Grouping::MonthOfYear,
                date(2000, 12, 5, 3),
                date(2000, 12, 1, 0),
                date(2001, 1, 1, 0),
            ),
            (
                Grouping::SeasonOfYear,
                date(2000, 2, 5, 3),
                date(1999, 12, 1, 0),
                date(2000, 3, 1, 0),
            ),
            (
                Grouping::Season,
                date(2000, 12, 5, 3),
                date(2000, 12, 1, 0),
                date(2001, 3, 1, 0),
            ),
            (
                Grouping::DayOfYear,
                date(2000, 2, 28, 3),
                date(2000, 2, 28, 0),
                date(2000, 2, 29, 0),
            ),
            (
                Grouping::HourOfYear,
                date(2000, 12, 31, 23),
                date(2000, 12, 31, 23),
                date(2001, 1, 1, 0),
            ),
            (
                Grouping::Season,
                date(1, 1, 5, 0),
                date(-1, 12, 1, 0),
                date(1, 3, 1, 0),
            ),
        ] {
            assert_eq!(of(grouping, inside), (from, to), "{grouping:?} of {inside}");
        }
    }
}
