//! Which steps belong together.

use std::ops::Range;

use crate::time_axis::DateTime;

/// How the steps of a time axis are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// All steps are one group.
    All,
    /// Adjacent steps of one month.
    Month,
    /// Adjacent steps of one year.
    Year,
    /// Steps of one month of any year, in the order of the calendar.
    MonthOfYear,
}

/// Steps that are reduced to one: runs of them, in order, never empty.
pub(crate) type Group = Vec<Range<usize>>;

impl Grouping {
    /// What names of operators begin with.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "tim",
            Self::Month => "mon",
            Self::Year => "year",
            Self::MonthOfYear => "ymon",
        }
    }

    /// Whether a group gathers steps of many years: CF's climatology.
    pub(crate) fn is_climatology(self) -> bool {
        matches!(self, Self::MonthOfYear)
    }

    /// The groups of steps with these dates.
    pub(crate) fn groups(self, dates: &[DateTime]) -> Vec<Group> {
        let key = |date: &DateTime| match self {
            Self::All => (0, 0),
            Self::Month => (date.year, date.month),
            Self::Year => (date.year, 0),
            Self::MonthOfYear => (0, date.month),
        };
        let mut runs: Vec<((i32, u8), Range<usize>)> = Vec::new();
        for (step, date) in dates.iter().enumerate() {
            match runs.last_mut() {
                Some((last, run)) if *last == key(date) => run.end = step + 1,
                _ => runs.push((key(date), step..step + 1)),
            }
        }
        if !self.is_climatology() {
            return runs.into_iter().map(|(_, run)| vec![run]).collect();
        }
        let mut keys: Vec<_> = runs.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        let of_key = |key| {
            runs.iter()
                .filter(|run| run.0 == key)
                .map(|run| run.1.clone())
                .collect()
        };
        keys.into_iter().map(of_key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(grouping: Grouping, months: &[(i32, u8)], expected: &[&[Range<usize>]]) {
        let date = |&(year, month): &(i32, u8)| DateTime {
            year,
            month,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            microsecond: 0,
        };
        let dates: Vec<DateTime> = months.iter().map(date).collect();
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
        check(
            Grouping::MonthOfYear,
            &months,
            &[&[2..3, 5..6], &[3..4], &[0..2, 4..5]],
        );
        check(Grouping::MonthOfYear, &[], &[]);
    }
}
