//! Changes to the time axis: other times for the same steps, or other words for the same times.

use std::sync::Arc;

use crate::cube::{Content, Cube, TimeCoordinate};
use crate::dataset::DType;
use crate::error::CubeError;
use crate::ops::Parameters;
use crate::time_axis::{Calendar, DateTime, TimeAxis, TimeError, TimeUnits};

/// A span of time by the calendar: `1day`, `-6hours`, `3months`.
struct Span {
    count: f64,
    unit: String,
}

impl Span {
    fn parse(parameters: &Parameters<'_>, index: usize) -> Result<Self, CubeError> {
        let expected = "a span of time such as 1day, -6hours or 3months";
        let text = parameters.values[index].as_str();
        let letters = text.find(|c: char| c.is_ascii_alphabetic());
        let (count, unit) = text.split_at(letters.unwrap_or(text.len()));
        let count = if count.is_empty() { "1" } else { count };
        match (count.parse::<f64>(), is_unit(unit)) {
            (Ok(count), true) if count.is_finite() => Ok(Self {
                count,
                unit: unit.to_owned(),
            }),
            _ => Err(parameters.wrong(index, expected)),
        }
    }

    /// The date so many spans later.
    fn after(
        &self,
        date: &DateTime,
        times: f64,
        calendar: Calendar,
    ) -> Result<DateTime, TimeError> {
        let units: TimeUnits = format!("{} since {date}", self.unit).parse()?;
        units.date(self.count * times, calendar)
    }
}

fn is_unit(text: &str) -> bool {
    format!("{text} since 2000-01-01")
        .parse::<TimeUnits>()
        .is_ok()
}

/// Puts new values of times and bounds, and new units, into a cube.
fn replace(
    cube: &mut Cube,
    time: &TimeCoordinate,
    units: Option<&str>,
    change: impl Fn(f64) -> Result<f64, TimeError>,
) -> Result<(), TimeError> {
    let mut set = |variable: usize, values: Vec<f64>| {
        cube.contents[variable] = Content::Numbers(Arc::new(values));
        let variable = &mut cube.dataset.variables[variable];
        if !matches!(variable.dtype, DType::F32 | DType::F64) || units.is_some() {
            variable.dtype = DType::F64;
        }
    };
    let values = time.axis.values.iter().map(|&value| change(value));
    set(time.variable, values.collect::<Result<_, _>>()?);
    let bounds = time.bounds.as_ref();
    if let Some((variable, bounds)) = bounds {
        let values = bounds.as_flattened().iter().map(|&value| change(value));
        set(*variable, values.collect::<Result<_, _>>()?);
    }
    if let Some(units) = units {
        let attributes = &mut cube.dataset.variables[time.variable].attributes;
        attributes.set("units", units);
        if let Some((variable, _)) = bounds {
            let attributes = &mut cube.dataset.variables[*variable].attributes;
            if attributes.get("units").is_some() {
                attributes.set("units", units);
            }
        }
    }
    Ok(())
}

/// `shifttime,span`.
pub(super) fn shift(mut cube: Cube, parameters: &Parameters<'_>) -> Result<Cube, CubeError> {
    let operator = parameters.operator;
    let span = Span::parse(parameters, 0)?;
    let time = cube.time(operator)?;
    let TimeAxis {
        units, calendar, ..
    } = time.axis.clone();
    let change = |value: f64| {
        let date = units.date(value, calendar)?;
        units.value(&span.after(&date, 1.0, calendar)?, calendar)
    };
    let wrong = |source| CubeError::Time { operator, source };
    replace(&mut cube, &time, None, change).map_err(wrong)?;
    Ok(cube)
}

/// `setreftime,date,time[,units]`: the same times counted from another date.
pub(super) fn set_reference(cube: Cube, parameters: &Parameters<'_>) -> Result<Cube, CubeError> {
    let reference = date_and_time(parameters)?;
    let units = match parameters.values.get(2) {
        Some(units) => units.clone(),
        None => unit_and_reference(&cube, parameters.operator)?.0,
    };
    recount(cube, parameters, &format!("{units} since {reference}"), 2)
}

/// `settunits,units`: the same times counted in other units.
pub(super) fn set_units(cube: Cube, parameters: &Parameters<'_>) -> Result<Cube, CubeError> {
    let (_, reference) = unit_and_reference(&cube, parameters.operator)?;
    let units = format!("{} since {reference}", parameters.values[0]);
    recount(cube, parameters, &units, 0)
}

/// Counts times in other units; `index` is the parameter that is wrong if these are none.
fn recount(
    mut cube: Cube,
    parameters: &Parameters<'_>,
    text: &str,
    index: usize,
) -> Result<Cube, CubeError> {
    let operator = parameters.operator;
    let time = cube.time(operator)?;
    let wrong_units = |_| parameters.wrong(index, "units of time: seconds, hours, days, months");
    let units: TimeUnits = text.parse().map_err(wrong_units)?;
    let calendar = time.axis.calendar;
    let change = |value: f64| units.value(&time.axis.units.date(value, calendar)?, calendar);
    let wrong = |source| CubeError::Time { operator, source };
    replace(&mut cube, &time, Some(text), change).map_err(wrong)?;
    Ok(cube)
}

/// `settaxis,date,time[,span]`: new times from a date on, one span apart. Bounds go.
pub(super) fn set_axis(mut cube: Cube, parameters: &Parameters<'_>) -> Result<Cube, CubeError> {
    let operator = parameters.operator;
    let reference = date_and_time(parameters)?;
    let span = match parameters.values.get(2) {
        Some(_) => Span::parse(parameters, 2)?,
        None => Span {
            count: 1.0,
            unit: "hours".to_owned(),
        },
    };
    let time = cube.time(operator)?;
    let calendar = time.axis.calendar;
    let wrong = |source| CubeError::Time { operator, source };
    // Months and years have no length to count in.
    let mut unit = span.unit.clone();
    if ["m", "y"].iter().any(|letter| unit.starts_with(letter)) && !unit.starts_with("mi") {
        unit = "days".to_owned();
    }
    let text = format!("{unit} since {reference}");
    let units: TimeUnits = text.parse().map_err(wrong)?;
    let start = units.date(0.0, calendar).map_err(wrong)?;
    let values = (0..time.axis.values.len())
        .map(|step| units.value(&span.after(&start, step as f64, calendar)?, calendar));
    let values = values.collect::<Result<Vec<f64>, _>>().map_err(wrong)?;
    cube.contents[time.variable] = Content::Numbers(Arc::new(values));
    let variable = &mut cube.dataset.variables[time.variable];
    variable.dtype = DType::F64;
    variable.attributes.set("units", text);
    for name in ["bounds", "climatology"] {
        variable.attributes.remove(name);
    }
    if let Some((bounds, _)) = time.bounds {
        cube.retain(|index| index != bounds);
    }
    Ok(cube)
}

/// `setcalendar,calendar`: the same dates in another calendar, which must have them.
pub(super) fn set_calendar(mut cube: Cube, parameters: &Parameters<'_>) -> Result<Cube, CubeError> {
    let expected = "a calendar: standard, proleptic_gregorian, julian, 365_day, 366_day, 360_day";
    let operator = parameters.operator;
    let time = cube.time(operator)?;
    let calendar: Calendar = parameters.values[0]
        .parse()
        .map_err(|_| parameters.wrong(0, expected))?;
    let TimeAxis {
        units,
        calendar: before,
        ..
    } = &time.axis;
    let change = |value: f64| units.value(&units.date(value, *before)?, calendar);
    let wrong = |source| CubeError::Time { operator, source };
    replace(&mut cube, &time, None, change).map_err(wrong)?;
    let attributes = &mut cube.dataset.variables[time.variable].attributes;
    attributes.set("calendar", parameters.values[0].as_str());
    Ok(cube)
}

/// The first two parameters, as one text.
fn date_and_time(parameters: &Parameters<'_>) -> Result<String, CubeError> {
    let (date, clock) = (&parameters.values[0], &parameters.values[1]);
    let is_date = |text: &str| format!("days since {text}").parse::<TimeUnits>().is_ok();
    if !date.contains('-') || !is_date(date) {
        return Err(parameters.wrong(0, "a date YYYY-MM-DD"));
    }
    let both = format!("{date} {clock}");
    if !clock.contains(':') || !is_date(&both) {
        return Err(parameters.wrong(1, "a time hh:mm:ss"));
    }
    Ok(both)
}

/// The two sides of `since`.
fn unit_and_reference(cube: &Cube, operator: &'static str) -> Result<(String, String), CubeError> {
    let time = cube.time(operator)?;
    let attributes = &cube.dataset.variables[time.variable].attributes;
    let text = attributes.get_text("units").unwrap_or_default();
    let (unit, reference) = text.split_once(" since ").unwrap_or((text, ""));
    Ok((unit.to_owned(), reference.to_owned()))
}
