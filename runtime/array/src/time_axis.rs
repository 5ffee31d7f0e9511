//! Time by the CF conventions: numbers with units since a date, in one of eight calendars.
//!
//! Called by the operators to group and select steps. Leap seconds do not exist here, as in all
//! CF calendars but `utc` and `tai`, which are refused.

mod calendar;
mod units;

pub use calendar::{Calendar, DateTime};
pub use units::{TimeUnit, TimeUnits};

/// Why times could not be understood.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The `calendar` attribute is not one that can be computed with.
    #[error("calendar `{found}` is not known: {expected}")]
    Calendar {
        /// The attribute.
        found: String,
        /// What can be used, or why this cannot.
        expected: &'static str,
    },
    /// The `units` attribute is not `<unit> since <date>`.
    #[error(
        "`{found}` is not a unit of time since a date, such as `days since 1850-01-01`: {problem}"
    )]
    Units {
        /// The attribute.
        found: String,
        /// Which part is wrong.
        problem: &'static str,
    },
    /// A time that the calendar does not have, or is too far away to compute with.
    #[error("{found} is not a time of the calendar `{calendar}`")]
    NoSuchTime {
        /// The date or number.
        found: String,
        /// The calendar.
        calendar: Calendar,
    },
}

/// The steps of a time coordinate.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeAxis {
    /// As the file has them.
    pub values: Vec<f64>,
    /// What they count, and from when.
    pub units: TimeUnits,
    /// How dates are counted.
    pub calendar: Calendar,
}

impl TimeAxis {
    /// The date of one step, to the nearest microsecond.
    ///
    /// # Errors
    /// [`TimeError::NoSuchTime`] for a missing or absurd value, and in the calendar `none`.
    pub fn date(&self, step: usize) -> Result<DateTime, TimeError> {
        self.units.date(self.values[step], self.calendar)
    }

    /// The dates of all steps.
    ///
    /// # Errors
    /// As [`date`](Self::date).
    pub fn dates(&self) -> Result<Vec<DateTime>, TimeError> {
        self.values
            .iter()
            .map(|&value| self.units.date(value, self.calendar))
            .collect()
    }
}
