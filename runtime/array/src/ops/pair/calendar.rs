//! Which step of one time axis goes with a step of another, by the calendar.

use std::collections::HashMap;

use crate::cube::TimeCoordinate;
use crate::error::CubeError;
use crate::ops::grouping::{Grouping, Key};
use crate::time_axis::{DateTime, TimeAxis};

/// What two steps that go together can have in common.
pub(super) const KEYS: [Grouping; 7] = [
    Grouping::Day,
    Grouping::Month,
    Grouping::Year,
    Grouping::HourOfYear,
    Grouping::DayOfYear,
    Grouping::MonthOfYear,
    Grouping::SeasonOfYear,
];

/// One of [`KEYS`] in words.
pub(super) fn phrase(key: Grouping) -> &'static str {
    match key {
        Grouping::Day => "day",
        Grouping::Month => "month",
        Grouping::HourOfYear => "hour and day of the year",
        Grouping::DayOfYear => "day of the year",
        Grouping::MonthOfYear => "month of the year",
        Grouping::SeasonOfYear => "season of the year",
        _ => "year",
    }
}

/// The value of a key in words.
fn describe(key: Grouping, (year, month, day, hour): Key) -> String {
    const SEASONS: [&str; 4] = ["DJF", "MAM", "JJA", "SON"];
    match key {
        Grouping::Day => format!("day {year:04}-{month:02}-{day:02}"),
        Grouping::Month => format!("month {year:04}-{month:02}"),
        Grouping::HourOfYear => format!("hour {hour:02} of {month:02}-{day:02}"),
        Grouping::DayOfYear => format!("day {month:02}-{day:02}"),
        Grouping::MonthOfYear => format!("month {month}"),
        Grouping::SeasonOfYear => format!("season {}", SEASONS[usize::from(month) % 4]),
        _ => format!("year {year}"),
    }
}

/// For each step of the first, the step of the second with the same key.
pub(super) fn table(
    left: &TimeCoordinate,
    right: &TimeCoordinate,
    key: Grouping,
    operator: &'static str,
) -> Result<Vec<usize>, CubeError> {
    let mismatch = |problem: String| CubeError::Mismatch { operator, problem };
    let mut steps: HashMap<Key, usize> = HashMap::new();
    for (step, date) in right_dates(left, right, key, operator)?.iter().enumerate() {
        let of_date = key.key(date);
        if let Some(before) = steps.insert(of_date, step) {
            return Err(mismatch(format!(
                "the second has {} twice, at steps {} and {}",
                describe(key, of_date),
                before + 1,
                step + 1
            )));
        }
    }
    let find = |date: &DateTime| {
        let of_date = key.key(date);
        steps.get(&of_date).copied().ok_or_else(|| {
            let wanted = describe(key, of_date);
            mismatch(format!("the second has no {wanted}, which {date} needs"))
        })
    };
    left.dates(operator)?.iter().map(find).collect()
}

/// The dates of the second. The bounds of a step that gathers many years are the start of its
/// first part and the end of its last: its place in the year is that of the first part, which
/// is as long as a step of the first.
fn right_dates(
    left: &TimeCoordinate,
    right: &TimeCoordinate,
    key: Grouping,
    operator: &'static str,
) -> Result<Vec<DateTime>, CubeError> {
    let Some((_, bounds)) = right.bounds.as_ref().filter(|_| key.is_climatology()) else {
        return right.dates(operator);
    };
    let wrong = |source| CubeError::Time { operator, source };
    let date = |value: f64| right.axis.units.date(value, right.axis.calendar);
    let spans = bounds.iter().map(|&[from, to]| {
        let (from, to) = (date(from)?, date(to)?);
        let next = DateTime {
            year: from.year + 1,
            ..from
        };
        Ok(to >= next)
    });
    let spans_years = spans.collect::<Result<Vec<bool>, _>>().map_err(wrong)?;
    if !right.is_climatology && !spans_years.contains(&true) {
        return right.dates(operator);
    }
    let steps = steps_of(left, right).map_err(wrong)?;
    let middle = |&[from, _]: &[f64; 2]| {
        let place = steps.partition_point(|&(start, _)| start < from - LAST_DIGITS);
        let same = steps.get(place);
        let same = same.filter(|&&(start, _)| start <= from + LAST_DIGITS);
        let half = same.or(steps.first()).map_or(0.0, |&(_, half)| half);
        from + half
    };
    let axis = TimeAxis {
        values: bounds.iter().map(middle).collect(),
        ..right.axis.clone()
    };
    axis.dates().map_err(wrong)
}

/// Values of time that differ by less are the same.
const LAST_DIGITS: f64 = 1e-6;

/// The start of each step of `left` and half of its length, in the units of `right`, by their
/// starts: months are not of one length.
fn steps_of(
    left: &TimeCoordinate,
    right: &TimeCoordinate,
) -> Result<Vec<(f64, f64)>, crate::time_axis::TimeError> {
    let Some((_, bounds)) = left.bounds.as_ref().filter(|_| !left.is_climatology) else {
        return Ok(Vec::new());
    };
    let in_right = |value: f64| {
        let date = left.axis.units.date(value, left.axis.calendar)?;
        right.axis.units.value(&date, left.axis.calendar)
    };
    let step = |&[from, to]: &[f64; 2]| {
        let start = in_right(from)?;
        Ok((start, (in_right(to)? - start) / 2.0))
    };
    let mut steps = bounds.iter().map(step).collect::<Result<Vec<_>, _>>()?;
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(steps)
}
