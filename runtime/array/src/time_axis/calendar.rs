//! The calendars of CF 4.4.1, as day numbers and back.

use std::fmt;
use std::str::FromStr;

use super::TimeError;

/// A calendar of the CF conventions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Calendar {
    /// `standard`, `gregorian`, and when there is no attribute: Julian before 1582-10-15.
    #[default]
    Standard,
    /// `proleptic_gregorian`: today's leap years at all times.
    ProlepticGregorian,
    /// `julian`: a leap year every four years.
    Julian,
    /// `noleap`, `365_day`.
    NoLeap,
    /// `all_leap`, `366_day`.
    AllLeap,
    /// `360_day`: twelve months of thirty days.
    Day360,
    /// `none`: perpetual; there are no dates.
    None,
}

/// The calendars' names in the order of [`Calendar`], each first by the one that is written.
const NAMES: [(&str, Calendar); 11] = [
    ("standard", Calendar::Standard),
    ("gregorian", Calendar::Standard),
    ("", Calendar::Standard),
    ("proleptic_gregorian", Calendar::ProlepticGregorian),
    ("julian", Calendar::Julian),
    ("noleap", Calendar::NoLeap),
    ("365_day", Calendar::NoLeap),
    ("all_leap", Calendar::AllLeap),
    ("366_day", Calendar::AllLeap),
    ("360_day", Calendar::Day360),
    ("none", Calendar::None),
];

/// A moment as people write it, in some calendar.
///
/// The order of fields makes the derived order that of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DateTime {
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub microsecond: u32,
}

/// Years beyond which nothing is computed, so that microseconds fit in 64 bits with room.
const YEAR_MAX: i32 = 200_000;

/// Days before each month in a year without 29 February.
const DAYS_BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// 1582-10-15 as days since 0000-03-01 of the Gregorian calendar.
const REFORM_GREGORIAN: i64 = 578_041;

impl Calendar {
    /// Whether the year has a 29 February.
    #[must_use]
    pub fn is_leap(self, year: i32) -> bool {
        let gregorian = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        match self {
            Self::Standard if year > 1582 => gregorian,
            // There is no year 0 here: 1 BC is year -1, and a leap year like 4 AD.
            Self::Standard | Self::Julian => (if year < 0 { year + 1 } else { year }) % 4 == 0,
            Self::ProlepticGregorian => gregorian,
            Self::AllLeap => true,
            Self::NoLeap | Self::Day360 | Self::None => false,
        }
    }

    /// How many days a month (1 to 12) has, by its number; the cut of October 1582 aside.
    #[must_use]
    pub fn days_in_month(self, year: i32, month: u8) -> u8 {
        match (self, month) {
            (Self::Day360, _) => 30,
            (_, 2) => 28 + u8::from(self.is_leap(year)),
            (_, 4 | 6 | 9 | 11) => 30,
            _ => 31,
        }
    }

    /// The name that is written to files.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, calendar)| *calendar == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether the calendar counts 1 BC as year -1.
    fn has_no_year_zero(self) -> bool {
        matches!(self, Self::Standard | Self::Julian)
    }

    /// A year by a count that has a year 0 in every calendar.
    pub(super) fn counted_year(self, year: i32) -> i64 {
        if self.has_no_year_zero() {
            astronomical(year.into())
        } else {
            year.into()
        }
    }

    /// The inverse of [`counted_year`](Self::counted_year).
    pub(super) fn named_year(self, year: i64) -> i64 {
        if self.has_no_year_zero() && year <= 0 {
            year - 1
        } else {
            year
        }
    }

    /// Days since an origin of the calendar's own.
    pub(super) fn day_number(self, date: &DateTime) -> Result<i64, TimeError> {
        let exists = self != Self::None
            && date.year.abs() <= YEAR_MAX
            && (1..=12).contains(&date.month)
            && (1..=self.days_in_month(date.year, date.month)).contains(&date.day)
            && !(self.has_no_year_zero() && date.year == 0);
        let cut = (1582, 10, 5)..(1582, 10, 15);
        let is_cut = self == Self::Standard && cut.contains(&(date.year, date.month, date.day));
        if !exists || is_cut {
            return Err(TimeError::NoSuchTime {
                found: date.to_string(),
                calendar: self,
            });
        }
        let day = i64::from(date.day) - 1;
        let month = usize::from(date.month) - 1;
        let year = i64::from(date.year);
        Ok(match self {
            Self::Day360 => year * 360 + i64::from(date.month - 1) * 30 + day,
            Self::NoLeap | Self::None => year * 365 + DAYS_BEFORE[month] + day,
            Self::AllLeap => year * 366 + DAYS_BEFORE[month] + i64::from(date.month > 2) + day,
            Self::ProlepticGregorian => gregorian_days(year, date.month, day),
            Self::Julian => julian_days(astronomical(year), date.month, day),
            Self::Standard if (date.year, date.month, date.day) >= cut.end => {
                gregorian_days(year, date.month, day)
            }
            Self::Standard => julian_days(astronomical(year), date.month, day),
        })
    }

    /// The year, month and day of a [`day_number`](Self::day_number).
    pub(super) fn date_of_day(self, days: i64) -> Option<(i32, u8, u8)> {
        let (year, month, day) = match self {
            Self::None => return None,
            Self::Day360 => {
                let rest = days.rem_euclid(360);
                (days.div_euclid(360), rest / 30 + 1, rest % 30 + 1)
            }
            Self::NoLeap => fixed_length(days, 365, 0),
            Self::AllLeap => fixed_length(days, 366, 1),
            Self::ProlepticGregorian => gregorian_date(days),
            Self::Standard if days >= REFORM_GREGORIAN => gregorian_date(days),
            Self::Standard | Self::Julian => {
                let (year, month, day) = julian_date(days);
                (if year <= 0 { year - 1 } else { year }, month, day)
            }
        };
        let year = i32::try_from(year)
            .ok()
            .filter(|year| year.abs() <= YEAR_MAX)?;
        Some((year, month as u8, day as u8))
    }
}

/// Turns a year of a calendar without year 0 into one of a calendar with it.
fn astronomical(year: i64) -> i64 {
    if year < 0 { year + 1 } else { year }
}

/// Days since 0000-03-01 (Gregorian); years begin in March, so that the leap day is last.
fn gregorian_days(year: i64, month: u8, day: i64) -> i64 {
    let (year, month_days) = from_march(year, month);
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + month_days + day
}

/// As [`gregorian_days`]: the same origin, where the Julian date is 0000-03-03.
fn julian_days(year: i64, month: u8, day: i64) -> i64 {
    let (year, month_days) = from_march(year, month);
    year * 365 + year.div_euclid(4) + month_days + day - 2
}

/// The year that begins in March, and the days from there to a month.
fn from_march(year: i64, month: u8) -> (i64, i64) {
    let month = i64::from(month);
    let shifted = (month + 9) % 12;
    (
        if month < 3 { year - 1 } else { year },
        (153 * shifted + 2) / 5,
    )
}

fn gregorian_date(days: i64) -> (i64, i64, i64) {
    const CYCLE: i64 = 146_097;
    let cycle = days.div_euclid(CYCLE);
    let rest = days.rem_euclid(CYCLE);
    let year = (rest - rest / 1460 + rest / 36_524 - rest / 146_096) / 365;
    to_january(
        cycle * 400 + year,
        rest - (365 * year + year / 4 - year / 100),
    )
}

fn julian_date(days: i64) -> (i64, i64, i64) {
    const CYCLE: i64 = 1461;
    let days = days + 2;
    let cycle = days.div_euclid(CYCLE);
    let rest = days.rem_euclid(CYCLE);
    let year = (rest - rest / 1460) / 365;
    to_january(cycle * 4 + year, rest - 365 * year)
}

fn to_january(year: i64, day_of_year: i64) -> (i64, i64, i64) {
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (if month < 3 { year + 1 } else { year }, month, day)
}

fn fixed_length(days: i64, year_length: i64, leap_day: i64) -> (i64, i64, i64) {
    let rest = days.rem_euclid(year_length);
    let before = |month: usize| DAYS_BEFORE[month] + if month > 1 { leap_day } else { 0 };
    let month = (0..12)
        .rev()
        .find(|&month| before(month) <= rest)
        .unwrap_or(0);
    (
        days.div_euclid(year_length),
        month as i64 + 1,
        rest - before(month) + 1,
    )
}

impl FromStr for Calendar {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let name = text.trim().to_ascii_lowercase();
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, calendar)| calendar)
            .ok_or_else(|| TimeError::Calendar {
                found: text.to_owned(),
                expected: match name.as_str() {
                    "utc" | "tai" => "calendars with leap seconds are not supported",
                    _ => {
                        "one of standard, proleptic_gregorian, julian, noleap, all_leap, \
                          360_day, none"
                    }
                },
            })
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            microsecond,
        } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        match microsecond {
            0 => Ok(()),
            fraction => write!(f, ".{fraction:06}"),
        }
    }
}
