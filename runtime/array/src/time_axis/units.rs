//! `<unit> since <date>`: numbers to dates and back.

use std::fmt;
use std::str::FromStr;

use super::{Calendar, DateTime, TimeError};

/// What a time coordinate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say all")]
pub enum TimeUnit {
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    Days,
    Weeks,
    /// Steps by calendar month, as CDO does; CF advises against it.
    Months,
    /// Steps by calendar year, as CDO does; CF advises against it.
    Years,
}

/// The `units` of a time coordinate.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeUnits {
    text: String,
    unit: TimeUnit,
    /// In the calendar of the file, and in UTC: the zone is already taken off.
    reference: DateTime,
    zone_minutes: i32,
}

impl TimeUnits {
    /// What is counted.
    #[must_use]
    pub fn unit(&self) -> TimeUnit {
        self.unit
    }

    /// The date of a value, to the nearest microsecond.
    ///
    /// # Errors
    /// [`TimeError::NoSuchTime`] for a missing or absurd value, and in the calendar `none`.
    pub fn date(&self, value: f64, calendar: Calendar) -> Result<DateTime, TimeError> {
        let _ = (value, calendar, self.zone_minutes, &self.reference);
        todo!()
    }

    /// The value of a date: the inverse of [`date`](Self::date).
    ///
    /// # Errors
    /// [`TimeError::NoSuchTime`] when the calendar has no such date.
    pub fn value(&self, date: &DateTime, calendar: Calendar) -> Result<f64, TimeError> {
        let _ = (date, calendar);
        todo!()
    }
}

impl FromStr for TimeUnits {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let _ = text;
        todo!()
    }
}

impl fmt::Display for TimeUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
