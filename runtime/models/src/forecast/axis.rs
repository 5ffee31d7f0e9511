//! Times past the end of an axis: it goes on by its step, or by its months.

use mizar_array::time_axis::{DateTime, TimeAxis, TimeError, TimeUnits};

/// A difference of steps that is none, as a part of the step.
const UNEVEN: f64 = 1e-6;

/// Fewer days are no month.
const MONTH_DAYS_MIN: f64 = 27.0;

/// How an axis goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// By so many months; from the last day of one to that of another, if all are last days.
    Months {
        /// How many.
        step: i64,
        /// Whether all are.
        at_the_end: bool,
    },
    /// By so many of its units.
    Units(f64),
}

/// How an axis goes on; `None` if it is not even, or has fewer than two steps.
pub(super) fn pace(axis: &TimeAxis) -> Result<Option<Pace>, TimeError> {
    let month = |date: &DateTime| i64::from(date.year) * 12 + i64::from(date.month);
    let dates = axis.dates()?;
    let months: Vec<i64> = dates.iter().map(month).collect();
    if let [first, second, ..] = months.as_slice() {
        let step = second - first;
        let goes_by_months = step > 0 && months.windows(2).all(|pair| pair[1] - pair[0] == step);
        let days: TimeUnits = "days since 2000-01-01".parse()?;
        let day = |date: &DateTime| days.value(date, axis.calendar);
        let days: Vec<f64> = dates.iter().map(day).collect::<Result<_, _>>()?;
        #[allow(clippy::cast_precision_loss, reason = "a count of months")]
        let shortest = MONTH_DAYS_MIN * step as f64;
        if goes_by_months && days.windows(2).all(|pair| pair[1] - pair[0] >= shortest) {
            let is_last =
                |date: &DateTime| date.day == axis.calendar.days_in_month(date.year, date.month);
            let at_the_end = dates.iter().all(is_last);
            return Ok(Some(Pace::Months { step, at_the_end }));
        }
    }
    let [first, second, ..] = axis.values.as_slice() else {
        return Ok(None);
    };
    let step = second - first;
    let is_even = |pair: &[f64]| (pair[1] - pair[0] - step).abs() <= UNEVEN * step.abs();
    let goes_on = step != 0.0 && axis.values.windows(2).all(is_even);
    Ok(goes_on.then_some(Pace::Units(step)))
}

/// A value of the axis so many steps later.
pub(super) fn later(
    axis: &TimeAxis,
    pace: Pace,
    value: f64,
    steps: usize,
) -> Result<f64, TimeError> {
    match pace {
        #[allow(clippy::cast_precision_loss, reason = "a count of steps")]
        Pace::Units(step) => Ok(value + step * steps as f64),
        Pace::Months { step, at_the_end } => {
            let mut date = axis.units.date(value, axis.calendar)?;
            #[allow(clippy::cast_possible_wrap, reason = "a count of steps")]
            let months = i64::from(date.month) - 1 + step * steps as i64;
            let years = months.div_euclid(12);
            date.year = i32::try_from(i64::from(date.year) + years).unwrap_or(i32::MAX);
            date.month = u8::try_from(months.rem_euclid(12)).unwrap_or(0) + 1;
            let last = axis.calendar.days_in_month(date.year, date.month);
            date.day = match at_the_end {
                true => last,
                false => date.day.min(last),
            };
            axis.units.value(&date, axis.calendar)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mizar_array::time_axis::Calendar;

    fn axis(values: &[f64]) -> TimeAxis {
        TimeAxis {
            values: values.to_vec(),
            units: "days since 2001-01-01".parse().unwrap(),
            calendar: Calendar::NoLeap,
        }
    }

    #[test]
    fn months_go_on_as_months_and_days_as_days() {
        let months = axis(&[15.5, 45.0, 74.5]);
        let by_one = |at_the_end| Pace::Months {
            step: 1,
            at_the_end,
        };
        assert_eq!(pace(&months).unwrap(), Some(by_one(false)));
        // From 16 March at noon to 16 April at noon, and over the end of the year.
        assert_eq!(later(&months, by_one(false), 74.5, 1).unwrap(), 105.5);
        assert_eq!(later(&months, by_one(false), 74.5, 12).unwrap(), 439.5);
        // The end of a month's bounds is the first of the next.
        assert_eq!(later(&months, by_one(false), 90.0, 1).unwrap(), 120.0);
        // 31 January, 28 February: then 31 March.
        let ends = axis(&[30.0, 58.0]);
        assert_eq!(pace(&ends).unwrap(), Some(by_one(true)));
        assert_eq!(later(&ends, by_one(true), 58.0, 1).unwrap(), 89.0);
        // 31 January and 1 February are days, though of two months.
        let days = axis(&[30.0, 31.0]);
        assert_eq!(pace(&days).unwrap(), Some(Pace::Units(1.0)));
        let days = axis(&[0.5, 1.5, 2.5]);
        assert_eq!(pace(&days).unwrap(), Some(Pace::Units(1.0)));
        assert_eq!(later(&days, Pace::Units(1.0), 2.5, 3).unwrap(), 5.5);
        assert_eq!(pace(&axis(&[0.0, 1.0, 3.0])).unwrap(), None);
        assert_eq!(pace(&axis(&[0.0])).unwrap(), None);
    }
}
