//! Selections: of variables, boxes and dates. They only shorten dimensions; the plan turns
//! them into smaller reads.

mod table;

pub(crate) use table::table;

use std::sync::Arc;

use super::Parameters;
use crate::cube::{Content, Cube};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::plan::picks::Picks;
use crate::plan::region;
use crate::time_axis::{Calendar, DateTime, TimeAxis};

/// `selname`.
fn by_name(cube: &mut Cube, parameters: &Parameters<'_>) -> Result<(), CubeError> {
    let dataset = &cube.dataset;
    let mut kept: Vec<usize> = parameters
        .values
        .iter()
        .filter_map(|name| dataset.variable_index(name))
        .collect();
    if kept.is_empty() {
        let names = dataset
            .data_variables()
            .into_iter()
            .map(|v| dataset.variables[v].name.as_str());
        let found = format!("the input has {}", names.collect::<Vec<_>>().join(", "));
        return Err(CubeError::NothingSelected {
            operator: parameters.operator,
            found,
        });
    }
    let companions: Vec<usize> = kept
        .iter()
        .flat_map(|&variable| dataset.companions(variable))
        .collect();
    kept.extend(companions);
    cube.retain(|index| kept.contains(&index));
    Ok(())
}

/// The names that `selname` does not find.
fn unknown_names(cube: &Cube, names: &[String]) -> Vec<String> {
    names
        .iter()
        .filter(|name| cube.dataset.variable_index(name).is_none())
        .cloned()
        .collect()
}

/// `seldate`.
fn by_date(cube: &mut Cube, parameters: &Parameters<'_>) -> Result<(), CubeError> {
    const EXPECTED: &str = "a date YYYY-MM-DD[Thh:mm:ss]";
    let time = cube.time(parameters.operator)?;
    let parse = |index: usize, is_end: bool| {
        parse_date(&parameters.values[index], is_end, time.axis.calendar)
            .ok_or_else(|| parameters.wrong(index, EXPECTED))
    };
    let from = parse(0, false)?;
    let to = parse(parameters.values.len() - 1, true)?;
    let dates = time.axis.dates().map_err(|source| CubeError::Time {
        operator: parameters.operator,
        source,
    })?;
    let inside = |date: &DateTime| from <= *date && *date <= to;
    pick_steps(cube, parameters, time.dim, &time.axis, &dates, inside)
}

/// `selmon`.
fn by_month(cube: &mut Cube, parameters: &Parameters<'_>) -> Result<(), CubeError> {
    let months = parameters.numbers(1..=12, "months from 1 to 12, or from/to[/step]")?;
    let time = cube.time(parameters.operator)?;
    let dates = time.dates(parameters.operator)?;
    let inside = |date: &DateTime| months.contains(&i64::from(date.month));
    pick_steps(cube, parameters, time.dim, &time.axis, &dates, inside)
}

fn pick_steps(
    cube: &mut Cube,
    parameters: &Parameters<'_>,
    dim: usize,
    axis: &TimeAxis,
    dates: &[DateTime],
    inside: impl Fn(&DateTime) -> bool,
) -> Result<(), CubeError> {
    let picked = (0..dates.len()).filter(|&step| inside(&dates[step]));
    let picks = Picks::from_indices(picked);
    if picks.len() == 0 {
        let found = match (dates.first(), dates.last()) {
            (Some(first), Some(last)) => {
                format!(
                    "the steps go from {first} to {last} (calendar {})",
                    axis.calendar
                )
            }
            _ => "the time axis has no steps".to_owned(),
        };
        return Err(CubeError::NothingSelected {
            operator: parameters.operator,
            found,
        });
    }
    cube.pick(dim, &picks);
    Ok(())
}

/// A date with or without a time of day; a bare end covers its day.
fn parse_date(text: &str, is_end: bool, calendar: Calendar) -> Option<DateTime> {
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
    let mut date = DateTime {
        year: sign * year,
        month,
        day,
        hour: 0,
        minute: 0,
        second: 0,
        microsecond: 0,
    };
    match clock {
        None if is_end => {
            (date.hour, date.minute, date.second) = (23, 59, 59);
            date.microsecond = 999_999;
        }
        None => {}
        Some(clock) => {
            let mut parts = clock.trim_end_matches('Z').split(':');
            date.hour = parts.next()?.parse().ok().filter(|&hour| hour < 24)?;
            date.minute = parts
                .next()
                .unwrap_or("0")
                .parse()
                .ok()
                .filter(|&m| m < 60)?;
            date.second = parts
                .next()
                .unwrap_or("0")
                .parse()
                .ok()
                .filter(|&s| s < 60)?;
            if is_end {
                date.microsecond = 999_999;
            }
        }
    }
    Some(date)
}

/// `sellonlatbox`.
fn by_box(cube: &mut Cube, parameters: &Parameters<'_>) -> Result<(), CubeError> {
    let number = |index, expected| parameters.number(index, expected);
    let bounds = LonLatBox {
        west: number(0, "a longitude in degrees east")?,
        east: number(1, "a longitude in degrees east")?,
        south: number(2, "a latitude in degrees north")?,
        north: number(3, "a latitude in degrees north")?,
    }
    .ordered();
    let operator = parameters.operator;
    let mut done: Vec<(usize, usize)> = Vec::new();
    for variable in cube.dataset.data_variables() {
        let coordinate = |axis| cube.dataset.coordinate(variable, axis);
        let (Some(lon), Some(lat)) = (coordinate(Axis::Longitude), coordinate(Axis::Latitude))
        else {
            continue;
        };
        if done.contains(&(lon, lat)) {
            continue;
        }
        done.push((lon, lat));
        let lon_dims = cube.dataset.variables[lon].dims.clone();
        let lat_dims = cube.dataset.variables[lat].dims.clone();
        match (lon_dims.as_slice(), lat_dims.as_slice()) {
            (&[x], &[y]) if x != y => {
                pick_longitudes(cube, operator, lon, x, &bounds)?;
                pick_latitudes(cube, operator, lat, y, &bounds)?;
            }
            (x, y) if x == y && !x.is_empty() => pick_enclosing(cube, operator, lon, lat, &bounds)?,
            _ => done.truncate(done.len() - 1),
        }
    }
    if done.is_empty() {
        return Err(CubeError::NoAxis {
            operator,
            axis: Axis::Longitude,
        });
    }
    Ok(())
}

/// A box on the sphere, in degrees.
#[derive(Clone, Copy, Debug)]
struct LonLatBox {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl LonLatBox {
    /// South below north, and west below east.
    fn ordered(self) -> Self {
        let turns = if self.west > self.east {
            ((self.west - self.east) / 360.0).ceil()
        } else {
            0.0
        };
        Self {
            west: self.west - 360.0 * turns,
            east: self.east,
            south: self.south.min(self.north),
            north: self.south.max(self.north),
        }
    }

    /// The longitude within [west, west + 360).
    fn shifted(&self, longitude: f64) -> f64 {
        let shifted = longitude - 360.0 * ((longitude - self.west) / 360.0).floor();
        // Rounding may give the end of the range.
        if shifted >= self.west + 360.0 {
            shifted - 360.0
        } else {
            shifted
        }
    }

    fn holds(&self, longitude: f64, latitude: f64) -> bool {
        self.shifted(longitude) <= self.east && (self.south..=self.north).contains(&latitude)
    }
}

fn pick_longitudes(
    cube: &mut Cube,
    operator: &'static str,
    variable: usize,
    dim: usize,
    bounds: &LonLatBox,
) -> Result<(), CubeError> {
    let Some(values) = cube.numbers(variable) else {
        return Err(CubeError::NoAxis {
            operator,
            axis: Axis::Longitude,
        });
    };
    let shifted: Vec<f64> = values.iter().map(|&value| bounds.shifted(value)).collect();
    let shifts: Vec<f64> = shifted
        .iter()
        .zip(values)
        .map(|(new, old)| new - old)
        .collect();
    let descends = values.len() > 1 && values[1] < values[0];
    let mut picked: Vec<usize> = (0..values.len())
        .filter(|&index| shifted[index] <= bounds.east)
        .collect();
    // The order of the file, begun anew where the shifted axis jumps.
    picked.sort_by(|&a, &b| {
        let order = shifted[a].total_cmp(&shifted[b]);
        if descends { order.reverse() } else { order }
    });
    if picked.is_empty() {
        let (west, east) = (bounds.west, bounds.east);
        let found = format!("no longitude lies between {west} and {east}");
        return Err(CubeError::NothingSelected { operator, found });
    }
    // Only a box across the file's seam needs other numbers to be monotonic.
    let goes_on = |pair: &[usize]| (values[pair[1]] < values[pair[0]]) == descends;
    if !picked.windows(2).all(goes_on) {
        let bounds_variable = cube.dataset.bounds(variable);
        shift(cube, variable, &shifts);
        if let Some(bounds) = bounds_variable {
            shift(cube, bounds, &shifts);
        }
    }
    cube.pick(dim, &Picks::from_indices(picked));
    Ok(())
}

/// Adds to each element of a coordinate, and to all bounds of each element.
fn shift(cube: &mut Cube, variable: usize, shifts: &[f64]) {
    if let Content::Numbers(values) = &mut cube.contents[variable] {
        let per_element = values.len() / shifts.len().max(1);
        let values = Arc::make_mut(values);
        for (values, shift) in values.chunks_mut(per_element.max(1)).zip(shifts) {
            values.iter_mut().for_each(|value| *value += shift);
        }
    }
}

fn pick_latitudes(
    cube: &mut Cube,
    operator: &'static str,
    variable: usize,
    dim: usize,
    bounds: &LonLatBox,
) -> Result<(), CubeError> {
    let Some(values) = cube.numbers(variable) else {
        return Err(CubeError::NoAxis {
            operator,
            axis: Axis::Latitude,
        });
    };
    let range = bounds.south..=bounds.north;
    let picked = (0..values.len()).filter(|&index| range.contains(&values[index]));
    let picks = Picks::from_indices(picked);
    if picks.len() == 0 {
        let (south, north) = (bounds.south, bounds.north);
        let found = format!("no latitude lies between {south} and {north}");
        return Err(CubeError::NothingSelected { operator, found });
    }
    cube.pick(dim, &picks);
    Ok(())
}

/// The smallest index box around all cells inside; unstructured grids have one index.
fn pick_enclosing(
    cube: &mut Cube,
    operator: &'static str,
    lon: usize,
    lat: usize,
    bounds: &LonLatBox,
) -> Result<(), CubeError> {
    let dims = cube.dataset.variables[lon].dims.clone();
    let (Some(lons), Some(lats)) = (cube.numbers(lon), cube.numbers(lat)) else {
        return Err(CubeError::NoAxis {
            operator,
            axis: Axis::Longitude,
        });
    };
    let shape = cube.dataset.shape(lon);
    let strides = region::strides(&shape);
    let inside: Vec<usize> = lons
        .iter()
        .zip(lats)
        .enumerate()
        .filter(|(_, (lon, lat))| bounds.holds(**lon, **lat))
        .map(|(cell, _)| cell)
        .collect();
    if inside.is_empty() {
        let found = "no cell of the curvilinear grid lies in the box".to_owned();
        return Err(CubeError::NothingSelected { operator, found });
    }
    let unstructured = dims.len() == 1;
    for (position, dim) in dims.into_iter().enumerate() {
        let indices = inside
            .iter()
            .map(|cell| cell / strides[position] % shape[position]);
        let picks = if unstructured {
            Picks::from_indices(indices)
        } else {
            let low = indices.clone().min().unwrap_or(0);
            let high = indices.max().unwrap_or(low);
            Picks::from_indices(low..=high)
        };
        cube.pick(dim, &picks);
    }
    Ok(())
}
