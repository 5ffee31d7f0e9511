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

/// The units by their names in files, in lower case.
const NAMES: [(TimeUnit, &[&str]); 9] = [
    (
        TimeUnit::Microseconds,
        &["microsecond", "microseconds", "microsec", "microsecs", "us"],
    ),
    (
        TimeUnit::Milliseconds,
        &[
            "millisecond",
            "milliseconds",
            "millisec",
            "millisecs",
            "msec",
            "ms",
        ],
    ),
    (
        TimeUnit::Seconds,
        &["second", "seconds", "sec", "secs", "s"],
    ),
    (TimeUnit::Minutes, &["minute", "minutes", "min", "mins"]),
    (TimeUnit::Hours, &["hour", "hours", "hr", "hrs", "h"]),
    (TimeUnit::Days, &["day", "days", "d"]),
    (TimeUnit::Weeks, &["week", "weeks"]),
    (TimeUnit::Months, &["month", "months", "mon"]),
    (TimeUnit::Years, &["year", "years", "yr", "yrs"]),
];

const DAY_US: i64 = 86_400_000_000;

/// Microseconds beyond which nothing is computed: some 140,000 years either way, so that sums
/// of two stay in 64 bits.
const SPAN_US_MAX: f64 = (i64::MAX / 2) as f64;

/// The `units` of a time coordinate.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeUnits {
    text: String,
    unit: TimeUnit,
    /// As written, in the zone that stands behind it.
    reference: DateTime,
    /// East of Greenwich.
    zone_minutes: i32,
}

impl TimeUnit {
    /// Its length, unless it varies.
    fn microseconds(self) -> Option<i64> {
        Some(match self {
            Self::Microseconds => 1,
            Self::Milliseconds => 1_000,
            Self::Seconds => 1_000_000,
            Self::Minutes => 60_000_000,
            Self::Hours => 3_600_000_000,
            Self::Days => DAY_US,
            Self::Weeks => 7 * DAY_US,
            Self::Months | Self::Years => return None,
        })
    }

    fn months(self) -> i64 {
        if self == Self::Years { 12 } else { 1 }
    }
}

impl TimeUnits {
    /// What is counted.
    #[must_use]
    pub fn unit(&self) -> TimeUnit {
        self.unit
    }

    /// Whether steps have no fixed length in this calendar: a reason to warn.
    #[must_use]
    pub fn is_irregular(&self, calendar: Calendar) -> bool {
        self.unit.microseconds().is_none() && calendar != Calendar::Day360
    }

    /// The date of a value in UTC, to the nearest microsecond.
    ///
    /// # Errors
    /// [`TimeError::NoSuchTime`] for a missing or absurd value, and in the calendar `none`.
    pub fn date(&self, value: f64, calendar: Calendar) -> Result<DateTime, TimeError> {
        let no_such = || TimeError::NoSuchTime {
            found: value.to_string(),
            calendar,
        };
        let moment = match self.unit.microseconds() {
            Some(unit_us) => {
                let span = split(value, unit_us).ok_or_else(no_such)?;
                self.origin(calendar)?
                    .checked_add(span)
                    .ok_or_else(no_such)?
            }
            None => {
                let months = value * self.unit.months() as f64;
                if months.is_nan() || months.abs() > 12.0 * 1e6 {
                    return Err(no_such());
                }
                let whole = months.floor();
                let start = self.after_months(whole as i64, calendar)?;
                let end = self.after_months(whole as i64 + 1, calendar)?;
                start + ((months - whole) * (end - start) as f64).round() as i64
            }
        };
        moment_to_date(moment, calendar).ok_or_else(no_such)
    }

    /// The value of a date in UTC: the inverse of [`date`](Self::date).
    ///
    /// # Errors
    /// [`TimeError::NoSuchTime`] when the calendar has no such date.
    pub fn value(&self, date: &DateTime, calendar: Calendar) -> Result<f64, TimeError> {
        let moment = date_to_moment(date, calendar)?;
        if let Some(unit_us) = self.unit.microseconds() {
            let span = moment - self.origin(calendar)?;
            let (whole, rest) = (span.div_euclid(unit_us), span.rem_euclid(unit_us));
            return Ok(whole as f64 + rest as f64 / unit_us as f64);
        }
        let month_of =
            |date: &DateTime| calendar.counted_year(date.year) * 12 + i64::from(date.month);
        let mut whole = month_of(date) - month_of(&self.reference) + 1;
        while self.after_months(whole, calendar)? > moment {
            whole -= 1;
        }
        let start = self.after_months(whole, calendar)?;
        let end = self.after_months(whole + 1, calendar)?;
        let months = whole as f64 + (moment - start) as f64 / (end - start) as f64;
        Ok(months / self.unit.months() as f64)
    }

    /// The reference in UTC as microseconds of the calendar.
    fn origin(&self, calendar: Calendar) -> Result<i64, TimeError> {
        Ok(date_to_moment(&self.reference, calendar)? - i64::from(self.zone_minutes) * 60_000_000)
    }

    /// The reference so many calendar months later; the 31st becomes the last of a shorter one.
    fn after_months(&self, months: i64, calendar: Calendar) -> Result<i64, TimeError> {
        let reference = &self.reference;
        let total =
            calendar.counted_year(reference.year) * 12 + i64::from(reference.month) - 1 + months;
        let year = calendar.named_year(total.div_euclid(12));
        let month = total.rem_euclid(12) as u8 + 1;
        let year = i32::try_from(year).map_err(|_| TimeError::NoSuchTime {
            found: format!("{months} months since {reference}"),
            calendar,
        })?;
        let day = reference.day.min(calendar.days_in_month(year, month));
        let date = DateTime {
            year,
            month,
            day,
            ..*reference
        };
        Ok(date_to_moment(&date, calendar)? - i64::from(self.zone_minutes) * 60_000_000)
    }
}

/// A value times the length of its unit, without losing small fractions of large values.
fn split(value: f64, unit_us: i64) -> Option<i64> {
    let whole = value.floor();
    if !value.is_finite() || (whole * unit_us as f64).abs() > SPAN_US_MAX {
        return None;
    }
    Some(whole as i64 * unit_us + ((value - whole) * unit_us as f64).round() as i64)
}

fn date_to_moment(date: &DateTime, calendar: Calendar) -> Result<i64, TimeError> {
    if date.hour > 23 || date.minute > 59 || date.second > 59 || date.microsecond > 999_999 {
        return Err(TimeError::NoSuchTime {
            found: date.to_string(),
            calendar,
        });
    }
    let seconds =
        i64::from(date.hour) * 3600 + i64::from(date.minute) * 60 + i64::from(date.second);
    Ok(calendar.day_number(date)? * DAY_US + seconds * 1_000_000 + i64::from(date.microsecond))
}

fn moment_to_date(moment: i64, calendar: Calendar) -> Option<DateTime> {
    let (year, month, day) = calendar.date_of_day(moment.div_euclid(DAY_US))?;
    let time = moment.rem_euclid(DAY_US);
    let seconds = time / 1_000_000;
    Some(DateTime {
        year,
        month,
        day,
        hour: (seconds / 3600) as u8,
        minute: (seconds / 60 % 60) as u8,
        second: (seconds % 60) as u8,
        microsecond: (time % 1_000_000) as u32,
    })
}

impl FromStr for TimeUnits {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let wrong = |problem| TimeError::Units {
            found: text.to_owned(),
            problem,
        };
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        let unit = NAMES
            .iter()
            .find(|(_, names)| names.contains(&name.as_str()))
            .map(|&(unit, _)| unit)
            .ok_or_else(|| wrong("the unit is not one of time"))?;
        if !words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("since"))
        {
            return Err(wrong("there is no `since`"));
        }
        let rest: Vec<&str> = words.collect();
        let (reference, zone_minutes) = parse_reference(&rest.join(" ")).map_err(wrong)?;
        Ok(Self {
            text: text.trim().to_owned(),
            unit,
            reference,
            zone_minutes,
        })
    }
}

/// A date with an optional time and zone: `1850-1-1`, `1850-01-01T00:00:00Z`,
/// `1-1-1 6:30:0.5 -7:00`.
fn parse_reference(text: &str) -> Result<(DateTime, i32), &'static str> {
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(end) => (&text[..end], text[end + 1..].trim()),
        None => (text, ""),
    };
    let (year, month, day) = parse_date(date).ok_or("the date is not year-month-day")?;
    let starts_with_digit = rest.starts_with(|letter: char| letter.is_ascii_digit());
    let time_end = match starts_with_digit {
        true => rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != ':' && letter != '.')
            .unwrap_or(rest.len()),
        false => 0,
    };
    let (time, zone) = rest.split_at(time_end);
    let microseconds = parse_time(time).ok_or("the time is not hour:minute:second")?;
    let zone_minutes = parse_zone(zone.trim()).ok_or("the zone is not UTC or hours:minutes")?;
    let seconds = microseconds / 1_000_000;
    let date = DateTime {
        year,
        month,
        day,
        hour: (seconds / 3600) as u8,
        minute: (seconds / 60 % 60) as u8,
        second: (seconds % 60) as u8,
        microsecond: (microseconds % 1_000_000) as u32,
    };
    Ok((date, zone_minutes))
}

fn parse_date(text: &str) -> Option<(i32, u8, u8)> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let mut parts = digits.split('-');
    let year: i32 = whole_number(parts.next()?)?.try_into().ok()?;
    let mut part = || match parts.next() {
        Some(digits) => whole_number(digits)?.try_into().ok(),
        None => Some(1),
    };
    let (month, day): (u8, u8) = (part()?, part()?);
    let is_plausible = (1..=12).contains(&month) && (1..=31).contains(&day);
    (is_plausible && parts.next().is_none()).then_some((sign * year, month, day))
}

fn whole_number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.len() <= 6;
    let has_digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && has_digits_only).then(|| text.parse().ok())?
}

/// Microseconds since midnight; nothing is midnight.
fn parse_time(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let hour = match parts.next() {
        None | Some("") => return text.is_empty().then_some(0),
        Some(hour) => u64::from(whole_number(hour)?),
    };
    let minute = parts.next().map_or(Some(0), whole_number)?;
    let second: f64 = match parts.next() {
        Some(second) => second.parse().ok()?,
        None => 0.0,
    };
    let microseconds = (second * 1e6).round();
    let is_time = hour < 24 && minute < 60 && (0.0..60e6).contains(&microseconds);
    (is_time && parts.next().is_none())
        .then(|| (hour * 3600 + u64::from(minute) * 60) * 1_000_000 + microseconds as u64)
}

/// Minutes east of Greenwich: nothing, `Z`, `UTC`, `GMT`, `+1`, `-07:30`, `+0130`.
fn parse_zone(text: &str) -> Option<i32> {
    if text.is_empty() || ["z", "utc", "gmt"].contains(&text.to_ascii_lowercase().as_str()) {
        return Some(0);
    }
    let (sign, digits) = match text.as_bytes()[0] {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        byte if byte.is_ascii_digit() => (1, text),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) => (whole_number(hours)?, whole_number(minutes)?),
        None if digits.len() > 2 => {
            let packed = whole_number(digits)?;
            (packed / 100, packed % 100)
        }
        None => (whole_number(digits)?, 0),
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) as i32)
}

impl fmt::Display for TimeUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALENDARS: [Calendar; 6] = [
        Calendar::Standard,
        Calendar::ProlepticGregorian,
        Calendar::Julian,
        Calendar::NoLeap,
        Calendar::AllLeap,
        Calendar::Day360,
    ];

    fn date(units: &str, value: f64, calendar: Calendar) -> String {
        units
            .parse::<TimeUnits>()
            .unwrap()
            .date(value, calendar)
            .unwrap()
            .to_string()
    }

    #[test]
    fn dates_are_those_of_their_calendar() {
        use Calendar::{Day360, Julian, NoLeap, None, ProlepticGregorian, Standard};
        for (units, value, calendar, expected) in [
            (
                "days since 1850-01-01",
                60000.5,
                Standard,
                "2014-04-11T12:00:00",
            ),
            (
                "days since 1850-01-01",
                60000.5,
                NoLeap,
                "2014-05-21T12:00:00",
            ),
            (
                "days since 1850-1-1 00:00:0.0",
                60000.0,
                Day360,
                "2016-09-01T00:00:00",
            ),
            (
                "days since 1582-10-04",
                1.0,
                Standard,
                "1582-10-15T00:00:00",
            ),
            (
                "days since 1582-10-04",
                1.0,
                ProlepticGregorian,
                "1582-10-05T00:00:00",
            ),
            (
                "days since 1582-10-15",
                -1.0,
                Standard,
                "1582-10-04T00:00:00",
            ),
            ("days since 1900-02-28", 1.0, Julian, "1900-02-29T00:00:00"),
            ("days since 1-1-1", -1.0, Standard, "-001-12-31T00:00:00"),
            (
                "hours since 2000-01-01 06:00:00 -6:00",
                1.0,
                Standard,
                "2000-01-01T13:00:00",
            ),
            (
                "seconds since 1970-01-01T00:00:00Z",
                1e9,
                Standard,
                "2001-09-09T01:46:40",
            ),
            (
                "months since 2001-01-31",
                1.0,
                Standard,
                "2001-02-28T00:00:00",
            ),
            (
                "months since 1979-01-01 00:00:00",
                0.5,
                Standard,
                "1979-01-16T12:00:00",
            ),
            ("years since 2000", 1.0, Standard, "2001-01-01T00:00:00"),
        ] {
            assert_eq!(
                date(units, value, calendar),
                expected,
                "{units} {value} {calendar}"
            );
        }
        let units: TimeUnits = "days since 2000-01-01".parse().unwrap();
        assert!(units.date(0.0, None).is_err());
        assert!(units.date(f64::NAN, Standard).is_err());
        assert!(units.date(1e300, Standard).is_err());
        let absent: TimeUnits = "days since 1582-10-10".parse().unwrap();
        assert!(absent.date(0.0, Standard).is_err());
    }

    #[test]
    fn wrong_units_say_what_is_wrong() {
        for (text, problem) in [
            ("kelvin", "the unit is not one of time"),
            ("days", "there is no `since`"),
            ("days since yesterday", "the date is not year-month-day"),
            ("days since 2000-13-01", "the date is not year-month-day"),
            (
                "days since 2000-01-01 25:00",
                "the time is not hour:minute:second",
            ),
            (
                "days since 2000-01-01 00:00 Mars",
                "the zone is not UTC or hours:minutes",
            ),
            ("", "the unit is not one of time"),
        ] {
            let error = text.parse::<TimeUnits>().unwrap_err();
            assert_eq!(
                error,
                TimeError::Units {
                    found: text.to_owned(),
                    problem
                }
            );
        }
        assert!("utc".parse::<Calendar>().is_err());
        assert_eq!("Gregorian".parse(), Ok(Calendar::Standard));
    }

    proptest! {
        #[test]
        fn values_come_back_from_their_dates(
            value in -2_000_000.0..2_000_000.0_f64,
            unit in 0..6_usize,
            calendar in 0..6_usize,
        ) {
            let name = ["seconds", "minutes", "hours", "days", "months", "years"][unit];
            // Far from the ends of what is computed.
            let value = if unit > 3 { value / 500.0 } else { value };
            let units: TimeUnits = format!("{name} since 1850-01-01 12:00").parse().unwrap();
            let calendar = CALENDARS[calendar];
            let date = units.date(value, calendar).unwrap();
            let back = units.value(&date, calendar).unwrap();
            // Half a microsecond in the shortest unit, and the precision of a double.
            prop_assert!((back - value).abs() <= 1e-6, "{value} {date} {back}");
        }

        #[test]
        fn every_day_is_the_day_after_the_one_before(day in -800_000..800_000_i64, c in 0..6_usize) {
            let calendar = CALENDARS[c];
            let date = |day| {
                let (year, month, day) = calendar.date_of_day(day).unwrap();
                DateTime { year, month, day, hour: 0, minute: 0, second: 0, microsecond: 0 }
            };
            prop_assert_eq!(calendar.day_number(&date(day)).unwrap(), day);
            prop_assert!(date(day) < date(day + 1));
        }
    }
}
