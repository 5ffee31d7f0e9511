//! Growing seasons.
//!
//! A season is looked for in twelve months: from January in the north, from July in the south.
//! It starts with the first run of warm days, and ends before the first run of cold days in the
//! second half of these months, or with them. Numbers are CDO's: the start is told as the day
//! of the year on which the run of warm days is long enough; a season that no cold run ends is
//! counted from the day after that.

use std::collections::HashMap;
use std::ops::Range;

use crate::ops::grouping::Group;
use crate::plan::series::SeriesKernel;
use crate::time_axis::{Calendar, DateTime};

/// What is told of a season.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Its days; 0 if there is none.
    Length,
    /// The day of the year on which it starts, from 1.
    Start,
}

/// The growing season of each year. The second input is positive for land in the north,
/// negative for land in the south, else 0 or missing.
#[derive(Debug)]
pub(super) struct GrowingSeason {
    /// Of each year, in the north and in the south.
    years: Vec<[Halves; 2]>,
    /// Of each step, from 1.
    days_of_year: Vec<f64>,
    part: Part,
    /// How long a run must be.
    days: usize,
    /// In the units of the data.
    limit: f64,
}

/// The steps of the two halves of twelve months.
type Halves = [Range<usize>; 2];

impl GrowingSeason {
    pub(super) fn new(
        groups: &[Group],
        dates: &[DateTime],
        calendar: Calendar,
        (part, days, limit): (Part, usize, f64),
    ) -> Self {
        let mut halves: HashMap<(i32, bool), Range<usize>> = HashMap::new();
        for (step, date) in dates.iter().enumerate() {
            let half = halves.entry((date.year, date.month > 6));
            half.or_insert(step..step).end = step + 1;
        }
        let half = |year: i32, is_second: bool| {
            let found = halves.get(&(year, is_second));
            found.cloned().unwrap_or_default()
        };
        let of_year = |group: &Group| {
            let year = group.first().map_or(0, |run| dates[run.start].year);
            let north = [half(year, false), half(year, true)];
            [north, [half(year, true), half(year + 1, false)]]
        };
        let day_of_year = |date: &DateTime| {
            let before = (1..date.month).map(|month| calendar.days_in_month(date.year, month));
            before.map(f64::from).sum::<f64>() + f64::from(date.day)
        };
        Self {
            years: groups.iter().map(of_year).collect(),
            days_of_year: dates.iter().map(day_of_year).collect(),
            part,
            days,
            limit,
        }
    }

    /// The index of the season of one cell.
    fn of(&self, series: &[f64], [first, second]: &Halves) -> f64 {
        let has_days = |half: &Range<usize>| series[half.clone()].iter().any(|x| !x.is_nan());
        if !has_days(first) || !has_days(second) {
            return f64::NAN;
        }
        let both = first.clone().chain(second.clone());
        let Some(start) = self.end_of_run(both, |step| series[step] > self.limit) else {
            return match self.part {
                Part::Length => 0.0,
                Part::Start => f64::NAN,
            };
        };
        if self.part == Part::Start {
            return self.days_of_year[start];
        }
        let rest = second.start.max(start + 1)..second.end;
        match self.end_of_run(rest, |step| series[step] < self.limit) {
            Some(end) => (end - start) as f64,
            None => (second.end - 1 - start) as f64,
        }
    }

    /// The last step of the first run that is long enough, of steps that hold.
    fn end_of_run(
        &self,
        mut steps: impl Iterator<Item = usize>,
        holds: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut length = 0;
        steps.find(|&step| {
            length = if holds(step) { length + 1 } else { 0 };
            length >= self.days
        })
    }
}

impl SeriesKernel for GrowingSeason {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        let land = inputs[1].first().copied().unwrap_or(f64::NAN);
        for ([north, south], out) in self.years.iter().zip(out) {
            *out = match land {
                _ if land > 0.0 => self.of(inputs[0], north),
                _ if land < 0.0 => self.of(inputs[0], south),
                _ => f64::NAN,
            };
        }
    }
}
