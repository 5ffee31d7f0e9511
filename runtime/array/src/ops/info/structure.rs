//! What a file holds: `sinfo`, `zaxisdes`, and the parts of it that one asks for alone.

use std::fmt::Write as _;

use super::fields::{grid_size, horizontal, identifier};
use super::number::general;
use super::{clock, dates, day};
use crate::cube::Cube;
use crate::dataset::{AttrValue, Axis, DType};
use crate::error::CubeError;
use crate::ops::select::levels::levels_of;
use crate::ops::select::matches_pattern;
use crate::time_axis::{Calendar, DateTime};

/// Dates on a line.
const DATES_PER_LINE: usize = 4;

/// Width of what stands before a colon in the lines of axes.
const LABEL: usize = 33;

/// A vertical axis that variables share.
struct Levels {
    name: String,
    long_name: Option<String>,
    units: String,
    kind: &'static str,
    values: Vec<f64>,
    has_bounds: bool,
}

/// `sinfo`, `sinfon`.
pub(super) fn summary(
    cube: &Cube,
    operator: &'static str,
    by_name: bool,
) -> Result<String, CubeError> {
    let dataset = &cube.dataset;
    let attribute = |name: &str| {
        let text = dataset.attributes.get_text(name).unwrap_or("unknown");
        let word: String = text.split_whitespace().next().unwrap_or("unknown").into();
        word.chars().take(8).collect::<String>()
    };
    let (institute, source) = (attribute("institution_id"), attribute("source_id"));
    let mut text = format!(
        "   File format : NetCDF4\n    -1 : Institut Source   T Steptype Levels Num    Points Num \
         Dtype : Parameter {}\n",
        if by_name { "name" } else { "ID" }
    );
    let mut grids: Vec<(usize, String)> = Vec::new();
    let mut axes: Vec<Levels> = Vec::new();
    let time = cube.time_if_any(operator)?;
    for (place, variable) in dataset.data_variables().into_iter().enumerate() {
        let own = &dataset.variables[variable];
        let varies = time
            .as_ref()
            .is_some_and(|time| own.dims.contains(&time.dim));
        let grid = number_of(&mut grids, grid(cube, variable), |a, b| a.1 == b.1);
        let levels = levels(cube, variable);
        let count = levels.values.len();
        let axis = number_of(&mut axes, levels, |a, b| {
            a.name == b.name && a.values == b.values
        });
        let _ = writeln!(
            text,
            "{:6} : {institute:<8} {source:<8} {} {:<8} {count:6} {axis:3} {:9} {grid:3}  {:<3}  : \
             {:<14}",
            place + 1,
            if varies { 'v' } else { 'c' },
            step_type(cube, variable),
            grid_size(cube, variable),
            type_name(own.dtype),
            identifier(cube, variable, by_name),
        );
    }
    text.push_str("   Grid coordinates :\n");
    for (place, (_, lines)) in grids.iter().enumerate() {
        let _ = write!(text, "{:6} : {lines}", place + 1);
    }
    text.push_str("   Vertical coordinates :\n");
    for (place, axis) in axes.iter().enumerate() {
        let _ = writeln!(
            text,
            "{:6} : {:<24} : levels={}",
            place + 1,
            axis.kind,
            axis.values.len()
        );
        if axis.kind == "surface" {
            continue;
        }
        let range = span(&axis.values);
        let _ = writeln!(text, "{:>LABEL$} : {range} {}", axis.name, axis.units);
        if axis.has_bounds {
            let _ = writeln!(text, "{:>LABEL$} : bounds", "available");
        }
    }
    text.push_str(&times(cube, operator)?);
    Ok(text)
}

/// Puts a value into a list unless it is there, and gives its number from 1.
fn number_of<T>(list: &mut Vec<T>, value: T, same: impl Fn(&T, &T) -> bool) -> usize {
    match list.iter().position(|known| same(known, &value)) {
        Some(place) => place + 1,
        None => {
            list.push(value);
            list.len()
        }
    }
}

/// What was done to the steps, by `cell_methods`.
fn step_type(cube: &Cube, variable: usize) -> &'static str {
    let attributes = &cube.dataset.variables[variable].attributes;
    let methods = attributes.get_text("cell_methods").unwrap_or_default();
    let of_time = methods
        .split("time:")
        .nth(1)
        .map(str::trim_start)
        .unwrap_or_default();
    match of_time.split_whitespace().next() {
        Some("mean") => "avg",
        Some("sum") => "accum",
        Some("minimum") => "min",
        Some("maximum") => "max",
        Some("range") => "range",
        _ => "instant",
    }
}

fn type_name(dtype: DType) -> &'static str {
    match dtype {
        DType::I8 => "I8",
        DType::U8 => "U8",
        DType::I16 => "I16",
        DType::U16 => "U16",
        DType::I32 => "I32",
        DType::U32 => "U32",
        DType::I64 => "I64",
        DType::U64 => "U64",
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::Char | DType::Text => "TXT",
    }
}

/// The lines of a grid, and its cells.
fn grid(cube: &Cube, variable: usize) -> (usize, String) {
    let dataset = &cube.dataset;
    let cells = grid_size(cube, variable);
    let shape = dataset.shape(variable);
    let is_horizontal = horizontal(cube, variable);
    let lens: Vec<usize> = shape
        .iter()
        .zip(&is_horizontal)
        .filter(|(_, is)| **is)
        .map(|(len, _)| *len)
        .collect();
    let coordinates =
        [Axis::Longitude, Axis::Latitude].map(|axis| dataset.coordinate(variable, axis));
    let dims = |variable: Option<usize>| variable.map_or(0, |v| dataset.variables[v].dims.len());
    let kind = match (lens.as_slice(), coordinates.map(dims)) {
        ([], _) => "generic",
        (_, [2, 2]) => "curvilinear",
        ([_], [1, 1]) => "unstructured",
        (_, [1, 1]) => "lonlat",
        _ => "generic",
    };
    let extent = match lens.as_slice() {
        &[y, x] => format!(" ({x}x{y})"),
        _ => String::new(),
    };
    let mut text = format!("{kind:<24} : points={cells}{extent}\n");
    let mut bounded = false;
    for (axis, coordinate) in coordinates.into_iter().enumerate() {
        let Some(coordinate) = coordinate.filter(|_| kind != "generic") else {
            continue;
        };
        let values = cube.numbers(coordinate).unwrap_or_default();
        let own = &dataset.variables[coordinate];
        let units = own.attributes.get_text("units").unwrap_or_default();
        bounded |= dataset.bounds(coordinate).is_some();
        let range = match kind {
            "lonlat" => span_by(values),
            _ => {
                let low = values.iter().copied().fold(f64::INFINITY, f64::min);
                let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                format!("{} to {}", general(low, 7), general(high, 7))
            }
        };
        let around = match kind == "lonlat" && axis == 0 && is_circular(values) {
            true => "  circular",
            false => "",
        };
        let _ = writeln!(text, "{:>LABEL$} : {range} {units}{around}", own.name);
    }
    if bounded {
        let _ = writeln!(text, "{:>LABEL$} : cellbounds", "available");
    }
    (cells, text)
}

/// Whether longitudes go once around.
fn is_circular(values: &[f64]) -> bool {
    let count = values.len() as f64;
    match values {
        [first, .., last] => {
            let step = (last - first) / (count - 1.0);
            ((step * count).abs() - 360.0).abs() < 0.01 * step.abs()
        }
        _ => false,
    }
}

/// From the first to the last.
fn span(values: &[f64]) -> String {
    match values {
        [] => String::new(),
        [only] => general(*only, 7),
        [first, .., last] => format!("{} to {}", general(*first, 7), general(*last, 7)),
    }
}

/// From the first to the last, and the distance of neighbours where it is one.
fn span_by(values: &[f64]) -> String {
    /// How much distances of one axis may differ: centres are often rounded.
    const SAME: f64 = 1e-4;
    let step = match values {
        [first, second, ..] => second - first,
        _ => return span(values),
    };
    let is_even = |pair: &[f64]| (pair[1] - pair[0] - step).abs() <= SAME * step.abs();
    match values.windows(2).all(is_even) {
        true => format!("{} by {}", span(values), general(step.abs(), 7)),
        false => span(values),
    }
}

fn levels(cube: &Cube, variable: usize) -> Levels {
    let dataset = &cube.dataset;
    let coordinate = dataset.coordinate(variable, Axis::Level);
    let Some(coordinate) = coordinate else {
        return Levels {
            name: "sfc".to_owned(),
            long_name: Some("surface".to_owned()),
            units: String::new(),
            kind: "surface",
            values: vec![0.0],
            has_bounds: false,
        };
    };
    let own = &dataset.variables[coordinate];
    let text = |name: &str| own.attributes.get_text(name).unwrap_or_default();
    let kind = match (text("standard_name"), text("units")) {
        ("air_pressure", _) | (_, "Pa" | "hPa" | "mbar" | "millibar" | "bar") => "pressure",
        ("height", _) => "height",
        ("altitude", _) => "altitude",
        ("depth", _) => "depth_below_sea",
        (name, _) if name.contains("hybrid") => "hybrid",
        _ => "generic",
    };
    Levels {
        name: own.name.clone(),
        long_name: own.attributes.get_text("long_name").map(str::to_owned),
        units: text("units").to_owned(),
        kind,
        values: levels_of(cube, variable).0,
        has_bounds: dataset.bounds(coordinate).is_some(),
    }
}

fn times(cube: &Cube, operator: &'static str) -> Result<String, CubeError> {
    let Some(time) = cube.time_if_any(operator)? else {
        return Ok(String::new());
    };
    let name = &cube.dataset.variables[time.variable].name;
    let steps = time.axis.values.len();
    let plural = if steps == 1 { "" } else { "s" };
    let units = time.axis.units.to_string();
    let (unit, since) = units.split_once(" since ").unwrap_or((&units, ""));
    let reference = time.axis.units.date(0.0, time.axis.calendar);
    let reference = reference.map_or_else(
        |_| since.to_owned(),
        |date| format!("{} {}", day(&date), clock(&date)),
    );
    // The names that CDO gives them.
    let attributes = &cube.dataset.variables[time.variable].attributes;
    let calendar = match time.axis.calendar {
        Calendar::Standard if attributes.get_text("calendar") == Some("gregorian") => "gregorian",
        Calendar::Standard => "standard",
        Calendar::ProlepticGregorian => "proleptic_gregorian",
        Calendar::Julian => "julian",
        Calendar::NoLeap => "365_day",
        Calendar::AllLeap => "366_day",
        Calendar::Day360 => "360_day",
        Calendar::None => "none",
    };
    let mut text = format!(
        "   Time coordinate :\n{name:>LABEL$} : {steps} step{plural}\n     RefTime =  {reference}  \
         Units = {unit}  Calendar = {}{}\n",
        calendar,
        if time.bounds.is_some() {
            "  Bounds = true"
        } else {
            ""
        }
    );
    text.push_str(&"  YYYY-MM-DD hh:mm:ss".repeat(DATES_PER_LINE));
    let dates = dates(cube, operator)?;
    let (first, last) = shown_steps(dates.len());
    text.push_str(&lines_of(&dates[..first]));
    if first < last {
        text.push_str(&dots(dates.len() - 2 * DATES_AT_END));
        text.push_str(&lines_of(&dates[last..]));
    }
    text.push('\n');
    Ok(text)
}

fn lines_of(dates: &[DateTime]) -> String {
    let mut text = String::new();
    for (place, date) in dates.iter().enumerate() {
        if place.is_multiple_of(DATES_PER_LINE) {
            text.push('\n');
        }
        let _ = write!(text, "  {} {}", day(date), clock(date));
    }
    text
}

/// Of a long series these many dates are shown at its begin and, in whole lines, at its end.
const DATES_AT_END: usize = 60;

/// Up to which step dates are shown, and from which on again.
fn shown_steps(steps: usize) -> (usize, usize) {
    if steps <= 2 * DATES_AT_END {
        return (steps, steps);
    }
    let left = DATES_AT_END - DATES_PER_LINE
        + match steps % DATES_PER_LINE {
            0 => DATES_PER_LINE,
            rest => rest,
        };
    (DATES_AT_END, steps - left)
}

/// A dot for each date that is not shown; from the second line on for each 10, 100, ….
fn dots(mut skipped: usize) -> String {
    const DOTS_PER_LINE: usize = 80;
    let mut text = String::new();
    let mut each = 1;
    while skipped > 0 {
        let count = (skipped / each).clamp(1, DOTS_PER_LINE);
        text.push_str("\n   ");
        text.push_str(&".".repeat(count));
        skipped = skipped.saturating_sub(count * each);
        if skipped < 10 * each {
            break;
        }
        each *= 10;
    }
    text
}

/// `zaxisdes`.
pub(super) fn vertical_axes(cube: &Cube) -> String {
    let mut axes: Vec<Levels> = Vec::new();
    for variable in cube.dataset.data_variables() {
        number_of(&mut axes, levels(cube, variable), |a, b| {
            a.name == b.name && a.values == b.values
        });
    }
    let mut text = String::new();
    for (place, axis) in axes.iter().enumerate() {
        let _ = writeln!(text, "#\n# zaxisID {}\n#", place + 1);
        let _ = writeln!(
            text,
            "zaxistype = {}\nsize      = {}",
            axis.kind,
            axis.values.len()
        );
        let _ = writeln!(text, "name      = {}", axis.name);
        if let Some(long_name) = &axis.long_name {
            let _ = writeln!(text, "longname  = \"{long_name}\"");
        }
        if !axis.units.is_empty() {
            let _ = writeln!(text, "units     = \"{}\"", axis.units);
        }
        let values = axis
            .values
            .iter()
            .map(|value| format!("{} ", general(*value, 9)));
        let _ = writeln!(text, "levels    = {}", values.collect::<String>());
        if axis.kind != "surface" {
            text.push_str("axis = \"Z\"\n");
        }
    }
    text
}

/// `showatts`: the attributes of data variables and of the file that patterns name; a pattern is
/// `[variable@]attribute`.
pub(super) fn attributes(cube: &Cube, patterns: &[String], of_file: bool, of_data: bool) -> String {
    let dataset = &cube.dataset;
    let mut text = String::new();
    let wanted = |variable: Option<&str>, attribute: &str| {
        let fits = |pattern: &String| match (pattern.split_once('@'), variable) {
            (Some((of, name)), Some(variable)) => {
                let all = if name.is_empty() { "*" } else { name };
                matches_pattern(of, variable) && matches_pattern(all, attribute)
            }
            (None, None) => matches_pattern(pattern, attribute),
            _ => false,
        };
        patterns.is_empty() || patterns.iter().any(fits)
    };
    let of = |variable: Option<usize>| match variable {
        Some(variable) => &dataset.variables[variable].attributes,
        None => &dataset.attributes,
    };
    let data = dataset
        .data_variables()
        .into_iter()
        .filter(|_| of_data)
        .map(Some);
    for variable in data.chain(of_file.then_some(None)) {
        let name = variable.map(|variable| dataset.variables[variable].name.as_str());
        let found = of(variable)
            .iter()
            .filter(|(attribute, _)| wanted(name, attribute));
        let found: Vec<(&str, &AttrValue)> = found.collect();
        if found.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{}:", name.unwrap_or("Global"));
        for (attribute, value) in found {
            let _ = writeln!(text, "   {attribute} = {}", attribute_text(value));
        }
    }
    text
}

fn attribute_text(value: &AttrValue) -> String {
    let quoted = |text: &String| format!("\"{}\"", text.replace('\n', "\\n"));
    match value {
        AttrValue::Text(text) => quoted(text),
        AttrValue::TextList(texts) => texts.iter().map(quoted).collect::<Vec<_>>().join(", "),
        numbers => {
            let is_float = matches!(numbers, AttrValue::F32(_) | AttrValue::F64(_));
            let digits = if matches!(numbers, AttrValue::F32(_)) {
                7
            } else {
                15
            };
            let numbers = numbers.to_f64s().unwrap_or_default();
            let write = |number: &f64| {
                let text = general(*number, digits);
                match is_float
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || byte == b'-')
                {
                    true => format!("{text}."),
                    false => text,
                }
            };
            numbers.iter().map(write).collect::<Vec<_>>().join(", ")
        }
    }
}
