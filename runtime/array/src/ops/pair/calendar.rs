//! Which step of one time axis goes with a step of another, by the calendar.

use std::collections::HashMap;

use crate::cube::TimeCoordinate;
use crate::error::CubeError;
use crate::time_axis::{DateTime, TimeAxis};

/// What two steps that go together have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CalendarKey {
    Day,
    Month,
    Year,
    HourOfYear,
    DayOfYear,
    MonthOfYear,
    SeasonOfYear,
}

/// Year, month, day, hour; 0 where they do not matter.
type Key = (i32, u8, u8, u8);

impl CalendarKey {
    pub(crate) const ALL: [Self; 7] = [
        Self::Day,
        Self::Month,
        Self::Year,
        Self::HourOfYear,
        Self::DayOfYear,
        Self::MonthOfYear,
        Self::SeasonOfYear,
    ];

    /// What names of operators begin with.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "mon",
            Self::Year => "year",
            Self::HourOfYear => "yhour",
            Self::DayOfYear => "yday",
            Self::MonthOfYear => "ymon",
            Self::SeasonOfYear => "yseas",
        }
    }

    /// In words.
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
            Self::HourOfYear => "hour and day of the year",
            Self::DayOfYear => "day of the year",
            Self::MonthOfYear => "month of the year",
            Self::SeasonOfYear => "season of the year",
        }
    }

    fn is_of_any_year(self) -> bool {
        matches!(
            self,
            Self::HourOfYear | Self::DayOfYear | Self::MonthOfYear | Self::SeasonOfYear
        )
    }

    fn of(self, date: &DateTime) -> Key {
        let DateTime {
            year,
            month,
            day,
            hour,
            ..
        } = *date;
        match self {
            Self::Day => (year, month, day, 0),
            Self::Month => (year, month, 0, 0),
            Self::Year => (year, 0, 0, 0),
            Self::HourOfYear => (0, month, day, hour),
            Self::DayOfYear => (0, month, day, 0),
            Self::MonthOfYear => (0, month, 0, 0),
            // December is with the months that follow it.
            Self::SeasonOfYear => (0, month % 12 / 3 + 1, 0, 0),
        }
    }

    fn describe(self, (year, month, day, hour): Key) -> String {
        const SEASONS: [&str; 4] = ["DJF", "MAM", "JJA", "SON"];
        match self {
            Self::Day => format!("day {year:04}-{month:02}-{day:02}"),
            Self::Month => format!("month {year:04}-{month:02}"),
            Self::Year => format!("year {year}"),
            Self::HourOfYear => format!("hour {hour:02} of {month:02}-{day:02}"),
            Self::DayOfYear => format!("day {month:02}-{day:02}"),
            Self::MonthOfYear => format!("month {month}"),
            Self::SeasonOfYear => format!("season {}", SEASONS[usize::from(month) - 1]),
        }
    }
}

/// For each step of the first, the step of the second with the same key.
pub(super) fn table(
    left: &TimeCoordinate,
    right: &TimeCoordinate,
    key: CalendarKey,
    operator: &'static str,
) -> Result<Vec<usize>, CubeError> {
    let mismatch = |problem: String| CubeError::Mismatch { operator, problem };
    let mut steps: HashMap<Key, usize> = HashMap::new();
    for (step, date) in right_dates(left, right, key, operator)?.iter().enumerate() {
        let of_date = key.of(date);
        if let Some(before) = steps.insert(of_date, step) {
            return Err(mismatch(format!(
                "the second has {} twice, at steps {} and {}",
                key.describe(of_date),
                before + 1,
                step + 1
            )));
        }
    }
    let find = |date: &DateTime| {
        let of_date = key.of(date);
        steps.get(&of_date).copied().ok_or_else(|| {
            let wanted = key.describe(of_date);
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
    key: CalendarKey,
    operator: &'static str,
) -> Result<Vec<DateTime>, CubeError> {
    let Some((_, bounds)) = right.bounds.as_ref().filter(|_| key.is_of_any_year()) else {
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
    let half = half_step(left, right).map_err(wrong)?;
    let axis = TimeAxis {
        values: bounds.iter().map(|&[from, _]| from + half).collect(),
        ..right.axis.clone()
    };
    axis.dates().map_err(wrong)
}

/// Half of the first step of `left`, in the units of `right`.
fn half_step(
    left: &TimeCoordinate,
    right: &TimeCoordinate,
) -> Result<f64, crate::time_axis::TimeError> {
    let Some([from, to]) = left
        .bounds
        .as_ref()
        .filter(|_| !left.is_climatology)
        .and_then(|(_, bounds)| bounds.first().copied())
    else {
        return Ok(0.0);
    };
    let in_right = |value: f64| {
        let date = left.axis.units.date(value, left.axis.calendar)?;
        right.axis.units.value(&date, left.axis.calendar)
    };
    Ok((in_right(to)? - in_right(from)?) / 2.0)
}
