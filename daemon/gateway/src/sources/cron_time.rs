//! The five fields of cron, in UTC. Pure.
//!
//! Minute, hour, day of the month, month, day of the week (0 and 7 are Sunday); `*`, lists,
//! ranges, steps, and names of months and days. If both days are restricted, either suffices, as
//! in POSIX `crontab`. Left out: seconds, `@daily` and the like, and `L`, `W`, `#`.

use time::{Date, Duration, OffsetDateTime, Time};

/// Days that are searched: the longest wait is for 29 February over a year like 2100.
const SEARCH_DAYS: i64 = 366 * 9;

/// Times that repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    either_day: bool,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl std::str::FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!(
                "has {} fields: cron has five, as in `*/15 6-18 * * mon-fri`",
                fields.len()
            ));
        };
        let mut weekdays = field("day of the week", weekday, 0, 7, &WEEKDAYS, 0)?;
        // Both 0 and 7 are Sunday.
        weekdays |= weekdays >> 7 & 1;
        let schedule = Self {
            minutes: field("minute", minute, 0, 59, &[], 0)?,
            hours: field("hour", hour, 0, 23, &[], 0)?,
            days: field("day of the month", day, 1, 31, &[], 0)?,
            months: field("month", month, 1, 12, &MONTHS, 1)?,
            weekdays,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        let start = OffsetDateTime::UNIX_EPOCH;
        match schedule.next_after(start) {
            Some(_) => Ok(schedule),
            None => Err("never comes: there is no such day".to_owned()),
        }
    }
}

/// The set of a field, as bits.
fn field(
    name: &str,
    text: &str,
    low: u32,
    high: u32,
    words: &[&str],
    first_word: u32,
) -> Result<u64, String> {
    let bad = || {
        format!(
            "has the {name} `{}`: expected {low}-{high}, `*`, lists, ranges or steps",
            text.escape_debug()
        )
    };
    let number = |word: &str| -> Option<u32> {
        let named = words.iter().position(|one| one.eq_ignore_ascii_case(word));
        match named {
            Some(place) => Some(u32::try_from(place).ok()? + first_word),
            None if word.bytes().all(|byte| byte.is_ascii_digit()) => word.parse().ok(),
            None => None,
        }
    };
    let mut set = 0_u64;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, number(step).filter(|step| *step > 0)),
            None => (part, Some(1)),
        };
        let step = step.ok_or_else(bad)?;
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (Some(low), Some(high)),
            Some((from, to)) => (number(from), number(to)),
            None if part.contains('/') => (number(range), Some(high)),
            None => (number(range), number(range)),
        };
        let (from, to) = from.zip(to).ok_or_else(bad)?;
        if from < low || to > high || from > to {
            return Err(bad());
        }
        for value in (from..=to).step_by(step as usize) {
            set |= 1 << value;
        }
    }
    Ok(set)
}

impl Schedule {
    /// The first due time after `moment`.
    pub(super) fn next_after(&self, moment: OffsetDateTime) -> Option<OffsetDateTime> {
        let start = moment.to_offset(time::UtcOffset::UTC);
        let mut date = start.date();
        let mut minute_of_day = i64::from(start.hour()) * 60 + i64::from(start.minute()) + 1;
        for _ in 0..SEARCH_DAYS {
            if self.has_day(date) {
                let due = (minute_of_day..24 * 60)
                    .find(|minute| has(self.hours, minute / 60) && has(self.minutes, minute % 60));
                if let Some(minute) = due {
                    let midnight = date.with_time(Time::MIDNIGHT).assume_utc();
                    return midnight.checked_add(Duration::minutes(minute));
                }
            }
            date = date.next_day()?;
            minute_of_day = 0;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let of_month = has(self.days, i64::from(date.day()));
        let of_week = has(
            self.weekdays,
            i64::from(date.weekday().number_days_from_sunday()),
        );
        let day = match self.either_day {
            true => of_month || of_week,
            false => of_month && of_week,
        };
        day && has(self.months, i64::from(u8::from(date.month())))
    }
}

fn has(set: u64, value: i64) -> bool {
    set >> value & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::format_description::well_known::Rfc3339;

    fn next(schedule: &str, after: &str) -> String {
        let schedule: Schedule = schedule.parse().unwrap();
        let after = OffsetDateTime::parse(after, &Rfc3339).unwrap();
        schedule
            .next_after(after)
            .unwrap()
            .format(&Rfc3339)
            .unwrap()
    }

    #[test]
    fn due_times_are_those_of_crontab() {
        for (schedule, after, expected) in [
            ("* * * * *", "2026-01-02T10:00:00Z", "2026-01-02T10:01:00Z"),
            ("* * * * *", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
            (
                "*/15 * * * *",
                "2026-01-02T10:46:00Z",
                "2026-01-02T11:00:00Z",
            ),
            (
                "5/20 * * * *",
                "2026-01-02T10:25:30Z",
                "2026-01-02T10:45:00Z",
            ),
            (
                "0 6-18/6 * * *",
                "2026-01-02T12:00:00Z",
                "2026-01-02T18:00:00Z",
            ),
            // 2026-01-02 is a Friday.
            (
                "30 4 * * mon",
                "2026-01-02T10:00:00Z",
                "2026-01-05T04:30:00Z",
            ),
            ("30 4 * * 7", "2026-01-02T10:00:00Z", "2026-01-04T04:30:00Z"),
            ("30 4 * * 0", "2026-01-02T10:00:00Z", "2026-01-04T04:30:00Z"),
            (
                "0 0 29 feb *",
                "2096-03-01T00:00:00Z",
                "2104-02-29T00:00:00Z",
            ),
            // Either day: the 13th, or a Friday.
            (
                "0 0 13 * fri",
                "2026-01-02T10:00:00Z",
                "2026-01-09T00:00:00Z",
            ),
            (
                "0 0 13 * fri",
                "2026-01-09T10:00:00Z",
                "2026-01-13T00:00:00Z",
            ),
            // A step on `*` restricts with, not beside: both must hold.
            (
                "0 0 */2 * fri",
                "2026-01-02T10:00:00Z",
                "2026-01-09T00:00:00Z",
            ),
            (
                "0 12 1,15 jan-mar *",
                "2026-03-15T12:00:00Z",
                "2027-01-01T12:00:00Z",
            ),
        ] {
            assert_eq!(next(schedule, after), expected, "{schedule} after {after}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for (text, problem) in [
            ("* * * *", "4 fields"),
            ("60 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of the month"),
            ("* * * foo *", "month"),
            ("* * * * 8", "day of the week"),
            ("*/0 * * * *", "minute"),
            ("5-1 * * * *", "minute"),
            ("+5 * * * *", "minute"),
            ("1,,2 * * * *", "minute"),
            ("0 0 31 feb *", "never"),
        ] {
            let found = text.parse::<Schedule>().unwrap_err();
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
