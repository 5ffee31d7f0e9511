//! Boxes of cells, by longitude and latitude or by index.

use std::sync::Arc;

use crate::cube::{Content, Cube};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::ops::Context;
use crate::plan::picks::Picks;
use crate::plan::region;

/// `sellonlatbox`.
pub(super) fn by_box(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let parameters = context.parameters();
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

/// `selindexbox`.
pub(super) fn by_index(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let parameters = context.parameters();
    let mut ends = [0_i64; 4];
    for (index, end) in ends.iter_mut().enumerate() {
        let parsed = parameters.values[index].parse().ok();
        let expected = "an index from 1, or from -1 backwards";
        let parsed = parsed.filter(|&value: &i64| value != 0);
        *end = parsed.ok_or_else(|| parameters.wrong(index, expected))?;
    }
    let grids: Vec<Horizontal> = horizontal_grids(cube);
    if grids.is_empty() {
        return Err(CubeError::NoAxis {
            operator: context.name(),
            axis: Axis::Longitude,
        });
    }
    for Horizontal { lon, x, y } in grids {
        let lens = [x, y].map(|dim| cube.dataset.dimensions[dim].len);
        let columns = indices(ends[0], ends[1], lens[0], true, context)?;
        let rows = indices(ends[2], ends[3], lens[1], false, context)?;
        if columns.windows(2).any(|pair| pair[1] < pair[0])
            && let Some(lon) = lon
        {
            continue_over_seam(cube, lon, &columns);
        }
        cube.pick(x, &Picks::from_indices(columns));
        cube.pick(y, &Picks::from_indices(rows));
    }
    Ok(())
}

/// The dimensions of a grid that has rows and columns.
struct Horizontal {
    /// The longitudes, where they vary with columns alone.
    lon: Option<usize>,
    x: usize,
    y: usize,
}

fn horizontal_grids(cube: &Cube) -> Vec<Horizontal> {
    let mut grids: Vec<Horizontal> = Vec::new();
    for variable in cube.dataset.data_variables() {
        let coordinate = |axis| cube.dataset.coordinate(variable, axis);
        let (Some(lon), Some(lat)) = (coordinate(Axis::Longitude), coordinate(Axis::Latitude))
        else {
            continue;
        };
        let dims = |variable: usize| cube.dataset.variables[variable].dims.as_slice();
        let grid = match (dims(lon), dims(lat)) {
            (&[x], &[y]) if x != y => Horizontal {
                lon: Some(lon),
                x,
                y,
            },
            (&[y, x], of_lat) if of_lat == [y, x] => Horizontal { lon: None, x, y },
            _ => continue,
        };
        if !grids
            .iter()
            .any(|known| (known.x, known.y) == (grid.x, grid.y))
        {
            grids.push(grid);
        }
    }
    grids
}

/// The indices between two ends that count from 1, or from -1 backwards.
fn indices(
    from: i64,
    to: i64,
    len: usize,
    wraps: bool,
    context: &mut Context<'_>,
) -> Result<Vec<usize>, CubeError> {
    if len == 0 {
        let found = "the grid has no cells".to_owned();
        return Err(CubeError::NothingSelected {
            operator: context.name(),
            found,
        });
    }
    let count = len as i64;
    let mut resolve = |end: i64| {
        let index = if end < 0 { count + end } else { end - 1 };
        let clipped = index.clamp(0, count - 1);
        if clipped != index {
            let taken = clipped + 1;
            context.warn(format!(
                "index {end} lies outside 1 to {len}: {taken} is taken"
            ));
        }
        clipped as usize
    };
    let (from, to) = (resolve(from), resolve(to));
    Ok(match from <= to {
        true => (from..=to).collect(),
        false if wraps => (from..len).chain(0..=to).collect(),
        false => (to..=from).collect(),
    })
}

/// Takes a turn off the longitudes before the seam, so that those picked go on rising.
fn continue_over_seam(cube: &mut Cube, lon: usize, picked: &[usize]) {
    let seam = picked[0];
    let Some(len) = cube.numbers(lon).map(<[f64]>::len) else {
        return;
    };
    let shifts: Vec<f64> = (0..len)
        .map(|index| if index >= seam { -360.0 } else { 0.0 })
        .collect();
    let bounds = cube.dataset.bounds(lon);
    shift(cube, lon, &shifts);
    if let Some(bounds) = bounds {
        shift(cube, bounds, &shifts);
    }
}
