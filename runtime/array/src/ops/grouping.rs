//! Which steps belong together.
//!
//! The operators over time and the climatologies of [`super::pair`] group by it.

use std::ops::Range;

use crate::time_axis::DateTime;

/// How the steps of a time axis are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// All steps are one group.
    All,
    /// Adjacent steps of one hour.
    Hour,
    /// Adjacent steps of one day.
    Day,
    /// Adjacent steps of one month.
    Month,
    /// Adjacent steps of one year.
    Year,
    /// Adjacent steps of one season: December belongs to the year that follows.
    Season,
    /// Steps of one hour of any day.
    HourOfDay,
    /// Steps of one hour of one day (month and day) of any year.
    HourOfYear,
    /// Steps of one day (month and day) of any year.
    DayOfYear,
    /// Steps of one month of any year, in the order of the calendar.
    MonthOfYear,
    /// Steps of one season of any year, from DJF on.
    SeasonOfYear,
}

/// Steps that are reduced to one: runs of them, in order, never empty.
pub(crate) type Group = Vec<Range<usize>>;

/// What the steps of a group have in common, in the order of time.
pub(crate) type Key = (i32, u8, u8, u8);

/// The season of a month: 0 for DJF, 1 for MAM, 2 for JJA, 3 for SON.
pub(crate) fn season(month: u8) -> u8 {
    month % 12 / 3
}

impl Grouping {
    /// All, in the order in which their operators are listed.
    pub(crate) const ALL: [Self; 11] = [
        Self::All,
        Self::Hour,
        Self::Day,
        Self::Month,
        Self::Year,
        Self::Season,
        Self::HourOfDay,
        Self::HourOfYear,
        Self::DayOfYear,
        Self::MonthOfYear,
        Self::SeasonOfYear,
    ];

    /// What names of operators begin with.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "tim",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "mon",
            Self::Year => "year",
            Self::Season => "seas",
            Self::HourOfDay => "dhour",
            Self::HourOfYear => "yhour",
            Self::DayOfYear => "yday",
            Self::MonthOfYear => "ymon",
            Self::SeasonOfYear => "yseas",
        }
    }

    /// The groups in words, after a statistic: `Mean of each month`.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::All => "over all steps",
            Self::Hour => "of each hour",
            Self::Day => "of each day",
            Self::Month => "of each month",
            Self::Year => "of each year",
            Self::Season => "of each season",
            Self::HourOfDay => "of each hour of the day, over all days",
            Self::HourOfYear => "of each hour of each day of the year, over all years",
            Self::DayOfYear => "of each day of the year, over all years",
            Self::MonthOfYear => "of each month of the year, over all years",
            Self::SeasonOfYear => "of each season of the year, over all years",
        }
    }

    /// Whether a group gathers steps of many years or days: CF's climatology.
    pub(crate) fn is_climatology(self) -> bool {
        self.cycle().is_some()
    }

    /// What repeats in a climatology, as CF's `cell_methods` name it.
    pub(crate) fn cycle(self) -> Option<&'static str> {
        match self {
            Self::HourOfDay => Some("days"),
            Self::HourOfYear | Self::DayOfYear | Self::MonthOfYear | Self::SeasonOfYear => {
                Some("years")
            }
            _ => None,
        }
    }

    /// The same without gathering years: the sub-intervals of a climatology.
    pub(crate) fn within(self) -> Self {
        match self {
            Self::HourOfDay | Self::HourOfYear => Self::Hour,
            Self::DayOfYear => Self::Day,
            Self::MonthOfYear => Self::Month,
            Self::SeasonOfYear => Self::Season,
            other => other,
        }
    }

    /// Whether the edge between two days matters.
    pub(crate) fn has_midnights(self) -> bool {
        !matches!(
            self,
            Self::All | Self::Hour | Self::HourOfDay | Self::HourOfYear
        )
    }

    pub(crate) fn key(self, date: &DateTime) -> Key {
        let DateTime {
            year,
            month,
            day,
            hour,
            ..
        } = *date;
        match self {
            Self::All => (0, 0, 0, 0),
            Self::Hour => (year, month, day, hour),
            Self::Day => (year, month, day, 0),
            Self::Month => (year, month, 0, 0),
            Self::Year => (year, 0, 0, 0),
            Self::Season => (year + i32::from(month == 12), season(month), 0, 0),
            Self::HourOfDay => (0, 0, 0, hour),
            Self::HourOfYear => (0, month, day, hour),
            Self::DayOfYear => (0, month, day, 0),
            Self::MonthOfYear => (0, month, 0, 0),
            Self::SeasonOfYear => (0, season(month), 0, 0),
        }
    }

    /// The groups of steps with these dates.
    pub(crate) fn groups(self, dates: &[DateTime]) -> Vec<Group> {
        let mut runs: Vec<(Key, Range<usize>)> = Vec::new();
        for (step, date) in dates.iter().enumerate() {
            let key = self.key(date);
            match runs.last_mut() {
                Some((last, run)) if *last == key => run.end = step + 1,
                _ => runs.push((key, step..step + 1)),
            }
        }
        if self.is_climatology() {
            // Stable: runs of one key stay in the order of time.
            runs.sort_by_key(|(key, _)| *key);
        }
        let mut groups: Vec<(Key, Group)> = Vec::new();
        for (key, run) in runs {
            match groups.last_mut() {
                Some((last, group)) if self.is_climatology() && *last == key => group.push(run),
                _ => groups.push((key, vec![run])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }
}

/// Groups of `count` steps from step `offset` on, with `skip` steps between them; the last may
/// have fewer.
pub(crate) fn sets(steps: usize, count: usize, offset: usize, skip: usize) -> Vec<Group> {
    let starts = (offset..steps).step_by(count + skip);
    let set = |start: usize| std::iter::once(start..steps.min(start + count)).collect();
    starts.map(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: i32, month: u8, day: u8, hour: u8) -> DateTime {
        DateTime {
            year,
            month,
            day,
            hour,
            minute: 0,
            second: 0,
            microsecond: 0,
        }
    }

    fn check(grouping: Grouping, months: &[(i32, u8)], expected: &[&[Range<usize>]]) {
        let dates: Vec<DateTime> = months.iter().map(|&(y, m)| date(y, m, 1, 0)).collect();
        assert_eq!(
            grouping.groups(&dates),
            expected,
            "{grouping:?} of {months:?}"
        );
    }

    #[test]
    fn groups_are_runs_of_adjacent_steps() {
        let months = [
            (1999, 12),
            (1999, 12),
            (2000, 1),
            (2000, 2),
            (2000, 12),
            (2001, 1),
        ];
        check(Grouping::All, &months, &[&[0..6]]);
        check(
            Grouping::Month,
            &months,
            &[&[0..2], &[2..3], &[3..4], &[4..5], &[5..6]],
        );
        check(Grouping::Year, &months, &[&[0..2], &[2..5], &[5..6]]);
        check(Grouping::Season, &months, &[&[0..4], &[4..6]]);
        check(
            Grouping::MonthOfYear,
            &months,
            &[&[2..3, 5..6], &[3..4], &[0..2, 4..5]],
        );
        check(Grouping::SeasonOfYear, &months, &[&[0..6]]);
        check(
            Grouping::SeasonOfYear,
            &[(2000, 3), (2000, 12), (2001, 5)],
            &[&[1..2], &[0..1, 2..3]],
        );
        check(Grouping::MonthOfYear, &[], &[]);
    }

    #[test]
    fn a_leap_day_is_a_day_of_its_own() {
        let dates: Vec<DateTime> = [
            (1999, 2, 28),
            (1999, 3, 1),
            (2000, 2, 28),
            (2000, 2, 29),
            (2000, 3, 1),
        ]
        .iter()
        .map(|&(year, month, day)| date(year, month, day, 12))
        .collect();
        let expected: [&[Range<usize>]; 3] = [&[0..1, 2..3], &[3..4], &[1..2, 4..5]];
        assert_eq!(Grouping::DayOfYear.groups(&dates), expected);
        assert_eq!(Grouping::HourOfYear.groups(&dates), expected);
        assert_eq!(Grouping::HourOfDay.groups(&dates).len(), 1);
    }

    #[test]
    fn sets_of_steps_may_leave_gaps_and_a_short_end() {
        let expected: [&[Range<usize>]; 2] = [&[3..8], &[10..12]];
        assert_eq!(sets(12, 5, 3, 2), expected);
        assert!(sets(3, 5, 3, 0).is_empty());
    }
}
