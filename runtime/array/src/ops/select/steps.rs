//! Steps by date, by parts of the date, and by number.
//!
//! Years, months, days and seasons are those of the middle of a step's bounds, as in statistics
//! over them; dates and times of day are those of its time.

use std::sync::Arc;

use crate::cube::{Content, Cube, TimeCoordinate};
use crate::error::CubeError;
use crate::ops::{Context, Parameters};
use crate::plan::picks::Picks;
use crate::time_axis::{Calendar, DateTime};

/// Months from December on, by their first letters.
const SEASONS: &str = "DJFMAMJJASOND";

const DATE: &str = "a date YYYY-MM-DD[Thh:mm:ss]";

/// A part of a date that is a whole number.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) lowest: i64,
    pub(super) highest: i64,
    pub(super) expected: &'static str,
    of: fn(&DateTime) -> i64,
    /// Whether it is that of the time, not of the middle of the bounds.
    of_stamp: bool,
}

pub(super) const YEAR: Part = Part {
    name: "year",
    lowest: -999_999,
    highest: 999_999,
    expected: "years, or from/to[/step]",
    of: |date| date.year.into(),
    of_stamp: false,
};

pub(super) const MONTH: Part = Part {
    name: "month",
    lowest: 1,
    highest: 12,
    expected: "months from 1 to 12, or from/to[/step]",
    of: |date| date.month.into(),
    of_stamp: false,
};

pub(super) const DAY: Part = Part {
    name: "day",
    lowest: 1,
    highest: 31,
    expected: "days from 1 to 31, or from/to[/step]",
    of: |date| date.day.into(),
    of_stamp: false,
};

pub(super) const HOUR: Part = Part {
    name: "hour",
    lowest: 0,
    highest: 23,
    expected: "hours from 0 to 23, or from/to[/step]",
    of: |date| date.hour.into(),
    of_stamp: true,
};

/// The steps of a cube and their dates.
pub(super) struct Steps {
    pub(super) time: TimeCoordinate,
    /// Of their times.
    stamps: Vec<DateTime>,
    /// Of the middles of their bounds.
    middles: Vec<DateTime>,
}

impl Steps {
    pub(super) fn of(cube: &Cube, operator: &'static str) -> Result<Self, CubeError> {
        let time = cube.time(operator)?;
        let stamps = time.axis.dates();
        let stamps = stamps.map_err(|source| CubeError::Time { operator, source })?;
        let middles = time.dates(operator)?;
        Ok(Self {
            time,
            stamps,
            middles,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.stamps.len()
    }

    /// Which steps have a part of their date in a list; what none has is a warning.
    pub(super) fn with_part(
        &self,
        part: &Part,
        wanted: &[i64],
        context: &mut Context<'_>,
    ) -> Vec<bool> {
        let dates = if part.of_stamp {
            &self.stamps
        } else {
            &self.middles
        };
        let found: Vec<i64> = dates.iter().map(part.of).collect();
        let absent = wanted.iter().filter(|value| !found.contains(value));
        for value in absent.take(WARNINGS_MAX) {
            context.warn(format!("no step is of {} {value}", part.name));
        }
        found.iter().map(|value| wanted.contains(value)).collect()
    }

    /// Which steps lie between two dates, an open end being the end of the axis.
    pub(super) fn between(&self, from: Option<&DateTime>, to: Option<&DateTime>) -> Vec<bool> {
        let inside = |date: &DateTime| {
            from.is_none_or(|from| from <= date) && to.is_none_or(|to| date <= to)
        };
        self.stamps.iter().map(inside).collect()
    }

    pub(super) fn in_months(&self, months: &[u8]) -> Vec<bool> {
        let dates = self.middles.iter();
        dates.map(|date| months.contains(&date.month)).collect()
    }

    /// Takes the chosen steps.
    pub(super) fn pick(
        &self,
        cube: &mut Cube,
        operator: &'static str,
        chosen: &[bool],
    ) -> Result<(), CubeError> {
        let picks = Picks::from_indices((0..chosen.len()).filter(|&step| chosen[step]));
        if picks.len() == 0 {
            let found = match (self.stamps.first(), self.stamps.last()) {
                (Some(first), Some(last)) => {
                    let calendar = self.time.axis.calendar;
                    format!("the steps go from {first} to {last} (calendar {calendar})")
                }
                _ => "the time axis has no steps".to_owned(),
            };
            return Err(CubeError::NothingSelected { operator, found });
        }
        cube.pick(self.time.dim, &picks);
        Ok(())
    }
}

/// Of a range of which much is absent, a few warnings say enough.
const WARNINGS_MAX: usize = 3;

/// `seldate`.
pub(super) fn by_date(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let parameters = context.parameters();
    let steps = Steps::of(cube, context.name())?;
    let calendar = steps.time.axis.calendar;
    let parse = |index: usize, is_end: bool| {
        let date = parse_date(&parameters.values[index], is_end, calendar);
        date.ok_or_else(|| parameters.wrong(index, DATE))
    };
    let (from, to) = (parse(0, false)?, parse(parameters.values.len() - 1, true)?);
    let chosen = steps.between(Some(&from), Some(&to));
    steps.pick(cube, context.name(), &chosen)
}

/// `selyear`, `selmon`, `selday`, `selhour`.
pub(super) fn by_part(
    cube: &mut Cube,
    context: &mut Context<'_>,
    part: &Part,
) -> Result<(), CubeError> {
    let parameters = context.parameters();
    let wanted = parameters.numbers(part.lowest..=part.highest, part.expected)?;
    let steps = Steps::of(cube, context.name())?;
    let chosen = steps.with_part(part, &wanted, context);
    steps.pick(cube, context.name(), &chosen)
}

/// `selseason`.
pub(super) fn by_season(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let months = season_months(&context.parameters())?;
    let steps = Steps::of(cube, context.name())?;
    steps.pick(cube, context.name(), &steps.in_months(&months))
}

/// The months of seasons such as `DJF`, `ASON` or `ANN`.
pub(super) fn season_months(parameters: &Parameters<'_>) -> Result<Vec<u8>, CubeError> {
    const EXPECTED: &str = "seasons, substrings of DJFMAMJJASOND, or ANN";
    let mut months = Vec::new();
    for (index, text) in parameters.values.iter().enumerate() {
        let text = text.to_ascii_uppercase();
        if text == "ANN" {
            months.extend(1..=12);
            continue;
        }
        let place = SEASONS.find(&text).filter(|_| !text.is_empty());
        let place = place.ok_or_else(|| parameters.wrong(index, EXPECTED))?;
        months.extend((place..place + text.len()).map(|place| (place as u8 + 11) % 12 + 1));
    }
    Ok(months)
}

/// `seltime`.
pub(super) fn by_clock(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let parameters = context.parameters();
    let parse = |index: usize| {
        let clock = parse_clock(&parameters.values[index]);
        clock.ok_or_else(|| parameters.wrong(index, "a time of day hh:mm[:ss]"))
    };
    let wanted = (0..parameters.values.len()).map(parse);
    let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
    let steps = Steps::of(cube, context.name())?;
    let clock = |date: &DateTime| (date.hour, date.minute, date.second);
    let chosen: Vec<bool> = steps
        .stamps
        .iter()
        .map(|date| wanted.contains(&clock(date)))
        .collect();
    steps.pick(cube, context.name(), &chosen)
}

/// `seltimestep`.
pub(super) fn by_number(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    // Steps can be counted where times mean nothing.
    let time = cube.time_if_any(context.name())?;
    let time = time.ok_or(CubeError::NoAxis {
        operator: context.name(),
        axis: crate::dataset::Axis::Time,
    })?;
    let len = time.axis.values.len();
    let wanted = step_numbers(&context.parameters(), len)?;
    let absent = wanted
        .iter()
        .filter(|step| !(1..=len as i64).contains(step));
    for step in absent.take(WARNINGS_MAX) {
        context.warn(format!("there is no step {step}: the input has {len}"));
    }
    let picks = Picks::from_indices((0..len).filter(|&step| wanted.contains(&(step as i64 + 1))));
    if picks.len() == 0 {
        return Err(CubeError::NothingSelected {
            operator: context.name(),
            found: format!("the input has {len} steps"),
        });
    }
    cube.pick(time.dim, &picks);
    Ok(())
}

/// Numbers of steps from 1; negative ones count from the end.
pub(super) fn step_numbers(parameters: &Parameters<'_>, len: usize) -> Result<Vec<i64>, CubeError> {
    const EXPECTED: &str = "steps from 1, or from -1 backwards, or from/to[/step]";
    let mut numbers = Vec::new();
    for (index, text) in parameters.values.iter().enumerate() {
        let wrong = || parameters.wrong(index, EXPECTED);
        let parts = text.split('/').map(|part| part.parse::<i64>().ok());
        let parts = parts.collect::<Option<Vec<i64>>>().ok_or_else(wrong)?;
        let resolve = |step: i64| {
            if step < 0 {
                step.saturating_add(len as i64 + 1)
            } else {
                step
            }
        };
        let (first, last, step) = match *parts.as_slice() {
            [only] => (only, only, 1),
            [first, last] => (first, last, 1),
            [first, last, step] if step > 0 => (first, last, step),
            _ => return Err(wrong()),
        };
        if first == 0 || last == 0 || resolve(first) > resolve(last) {
            return Err(wrong());
        }
        // An end far beyond the last step is no reason to count to it.
        let last = resolve(last).min(resolve(first).max(len as i64 + 1));
        numbers.extend((resolve(first)..=last).step_by(step as usize));
    }
    Ok(numbers)
}

/// `selsmon`.
pub(super) fn around_month(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let parameters = context.parameters();
    let count = |index: usize, default: usize| match parameters.values.get(index) {
        None => Ok(default),
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| parameters.wrong(index, "a number of steps")),
    };
    let month = parameters.values[0].parse::<u8>().ok();
    let month = month.filter(|month| (1..=12).contains(month));
    let month = month.ok_or_else(|| parameters.wrong(0, "a month from 1 to 12"))?;
    let before = count(1, 0)?;
    let after = count(2, before)?;
    let steps = Steps::of(cube, context.name())?;
    let mut chosen = vec![false; steps.len()];
    for (step, _) in steps
        .in_months(&[month])
        .iter()
        .enumerate()
        .filter(|(_, is)| **is)
    {
        let end = step.saturating_add(after).min(steps.len() - 1);
        chosen[step.saturating_sub(before)..=end].fill(true);
    }
    steps.pick(cube, context.name(), &chosen)
}

/// `del29feb`.
pub(super) fn without_leap_days(
    cube: &mut Cube,
    context: &mut Context<'_>,
) -> Result<(), CubeError> {
    let operator = context.name();
    let steps = Steps::of(cube, operator)?;
    let keeps = |date: &DateTime| (date.month, date.day) != (2, 29);
    let chosen: Vec<bool> = steps.middles.iter().map(keeps).collect();
    if chosen.iter().all(|&keeps| keeps) {
        context.warn("the input has no step on 29 February");
    }
    let old = steps.time.axis.clone();
    let same_moment = |value: f64| {
        let mut date = old.units.date(value, old.calendar)?;
        if !keeps(&date) {
            // Where a day was taken out, its edge is that of its neighbour.
            date = DateTime {
                month: 3,
                day: 1,
                hour: 0,
                minute: 0,
                second: 0,
                microsecond: 0,
                ..date
            };
        }
        old.units.value(&date, Calendar::NoLeap)
    };
    steps.pick(cube, operator, &chosen)?;
    let bounds = steps.time.bounds.as_ref().map(|(variable, _)| *variable);
    for variable in [Some(steps.time.variable), bounds].into_iter().flatten() {
        let values = cube.numbers(variable).unwrap_or_default();
        let moved = values.iter().map(|&value| same_moment(value));
        let moved = moved.collect::<Result<Vec<f64>, _>>();
        let moved = moved.map_err(|source| CubeError::Time { operator, source })?;
        cube.contents[variable] = Content::Numbers(Arc::new(moved));
    }
    let attributes = &mut cube.dataset.variables[steps.time.variable].attributes;
    attributes.set("calendar", "365_day");
    Ok(())
}

fn parse_clock(text: &str) -> Option<(u8, u8, u8)> {
    let mut parts = text.trim_end_matches('Z').split(':');
    let mut part = |limit: u8| match parts.next() {
        Some(digits) => digits.parse::<u8>().ok().filter(|&value| value < limit),
        None => Some(0),
    };
    let clock = (part(24)?, part(60)?, part(60)?);
    parts.next().is_none().then_some(clock)
}

/// A date with or without a time of day; a bare end covers its day.
pub(super) fn parse_date(text: &str, is_end: bool, calendar: Calendar) -> Option<DateTime> {
    let (date, clock) = match text.split_once(['T', ' ']) {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    // A leading minus belongs to the year.
    let (sign, digits) = date
        .strip_prefix('-')
        .map_or((1, date), |digits| (-1, digits));
    let mut parts = digits.split('-');
    let year: i32 = parts.next()?.parse().ok()?;
    let month: u8 = parts.next()?.parse().ok()?;
    let day: u8 = parts.next()?.parse().ok()?;
    if parts.next().is_some() || !(1..=12).contains(&month) {
        return None;
    }
    // Every calendar lets a range end on the 31st.
    if day == 0 || day > calendar.days_in_month(sign * year, month).max(31) {
        return None;
    }
    let (hour, minute, second) = match clock {
        None if is_end => (23, 59, 59),
        None => (0, 0, 0),
        Some(clock) => parse_clock(clock)?,
    };
    Some(DateTime {
        year: sign * year,
        month,
        day,
        hour,
        minute,
        second,
        // An end covers all of its second.
        microsecond: if is_end { 999_999 } else { 0 },
    })
}
