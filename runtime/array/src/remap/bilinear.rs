//! Bilinear interpolation in longitude and latitude between four source cells.

use rayon::prelude::*;

use super::nearest::Search;
use super::tree::{Bounds, Tree};
use super::{Link, Method, RemapError, Settings, Weights};
use crate::grid::sphere::point;
use crate::grid::{Cells, Grid};

/// Cells of which a mean is taken where there are no four around.
const NEIGHBOURS: usize = 4;

/// How far outside its quadrilateral, as a share of it, rounding may put a place.
const OUTSIDE_TOLERANCE: f64 = 1e-9;

pub(super) fn weights(
    source: &Grid,
    target: &Grid,
    settings: Settings,
) -> Result<Weights, RemapError> {
    let shape = source.shape();
    let &[rows, columns] = shape.as_slice() else {
        return Err(RemapError::NoRows);
    };
    if rows < 2 || columns < 2 {
        return Err(RemapError::NoRows);
    }
    let is_cyclic = source.is_cyclic();
    let extrapolates = settings.extrapolate.unwrap_or(is_cyclic);
    let (lons, lats) = target.centres();
    let places = lons.par_iter().zip(&lats);
    // The fallback's distances are along the surface for regular grids, straight for others.
    let found: Vec<Option<Vec<Link>>> = match &source.cells {
        Cells::Axes { lon, lat } => {
            let x = Line::of_longitudes(&lon.centres, is_cyclic);
            let y = Line::of(&lat.centres);
            let cell = |(&lon, &lat): (&f64, &f64)| {
                let (row, column) = y.find(lat).zip(x.find_longitude(lon))?;
                Some(in_rectangle(row, column, columns))
            };
            places.map(cell).collect()
        }
        Cells::Each { lons, lats, .. } => {
            let quads = Quads::new(lons, lats, [rows, columns], is_cyclic);
            let cell = |(&lon, &lat): (&f64, &f64)| quads.links(lon, lat);
            places.map(cell).collect()
        }
    };
    let is_outside: Vec<bool> = found.iter().map(Option::is_none).collect();
    let search = (extrapolates && is_outside.contains(&true)).then(|| Search::new(source));
    let is_regular = matches!(source.cells, Cells::Axes { .. });
    let places = lons.par_iter().zip(&lats).zip(found);
    let links = places.map(|((&lon, &lat), found)| match (found, &search) {
        (Some(links), _) => links,
        (None, None) => Vec::new(),
        (None, Some(search)) if is_regular => search.links_by_arc(&point(lon, lat), NEIGHBOURS),
        (None, Some(search)) => search.links(&point(lon, lat), NEIGHBOURS),
    });
    let mut weights = Weights::from_links(Method::Bilinear, source.size(), links.collect());
    if search.is_some() {
        weights.outside = is_outside;
    }
    Ok(weights)
}

fn in_rectangle(row: Between, column: Between, columns: usize) -> Vec<Link> {
    let ([y0, y1], v) = row;
    let ([x0, x1], u) = column;
    let link = |row: usize, column: usize, weight: f64| ((row * columns + column) as u32, weight);
    weighing(vec![
        link(y0, x0, (1.0 - u) * (1.0 - v)),
        link(y0, x1, u * (1.0 - v)),
        link(y1, x0, (1.0 - u) * v),
        link(y1, x1, u * v),
    ])
}

/// Those that weigh something: a cell beside the place need not be there.
fn weighing(mut links: Vec<Link>) -> Vec<Link> {
    links.retain(|(_, weight)| *weight > 0.0);
    links
}

/// A sorted coordinate.
struct Line {
    /// Ascending.
    values: Vec<f64>,
    /// Whether the coordinate itself descends.
    reversed: bool,
    /// Whether the last value neighbours the first, a turn later.
    cyclic: bool,
}

/// Two neighbours and how far between them a place is, from 0 to 1.
type Between = ([usize; 2], f64);

impl Line {
    fn of(values: &[f64]) -> Self {
        let reversed = values.first() > values.last();
        let mut values = values.to_vec();
        if reversed {
            values.reverse();
        }
        Self {
            values,
            reversed,
            cyclic: false,
        }
    }

    fn of_longitudes(values: &[f64], cyclic: bool) -> Self {
        let mut line = Self::of(values);
        line.cyclic = cyclic;
        if cyclic {
            line.values.push(line.values[0] + 360.0);
        }
        line
    }

    fn find_longitude(&self, longitude: f64) -> Option<Between> {
        // A place on the first or last value must not fall out of the range by a turn.
        let from = self.values[0];
        let turned = from + (longitude - from).rem_euclid(360.0);
        self.find(turned).or_else(|| self.find(turned - 360.0))
    }

    fn find(&self, value: f64) -> Option<Between> {
        let (first, last) = (self.values[0], self.values[self.values.len() - 1]);
        let slack = OUTSIDE_TOLERANCE * (self.values[1] - self.values[0]);
        if value < first - slack || value > last + slack {
            return None;
        }
        let after = self.values.partition_point(|&known| known <= value);
        let low = after.clamp(1, self.values.len() - 1) - 1;
        let [a, b] = [self.values[low], self.values[low + 1]];
        let share = ((value - a) / (b - a)).clamp(0.0, 1.0);
        let count = self.values.len() - usize::from(self.cyclic);
        let index = |place: usize| {
            let place = place % count;
            if self.reversed {
                count - 1 - place
            } else {
                place
            }
        };
        let (i, j) = (index(low), index(low + 1));
        Some(([i, j], share))
    }
}

/// The quadrilaterals between the centres of a grid of rows and columns.
struct Quads<'a> {
    lons: &'a [f64],
    lats: &'a [f64],
    columns: usize,
    /// Quadrilaterals in a row.
    quad_columns: usize,
    tree: Tree,
}

impl<'a> Quads<'a> {
    fn new(lons: &'a [f64], lats: &'a [f64], shape: [usize; 2], is_cyclic: bool) -> Self {
        let [rows, columns] = shape;
        let quad_columns = if is_cyclic { columns } else { columns - 1 };
        let mut quads = Self {
            lons,
            lats,
            columns,
            quad_columns,
            tree: Tree::new(Vec::new()),
        };
        let count = (rows - 1) * quad_columns;
        let bounds = (0..count).map(|quad| {
            let mut bounds = Bounds::NOTHING;
            let corners = quads.corners(quad as u32);
            let points = corners.map(|cell| point(lons[cell], lats[cell]));
            points
                .iter()
                .for_each(|p| bounds.join(&Bounds::of_point(p)));
            // The sides bulge out of the box by less than the length of the diagonals squared.
            let size = |p, q| crate::grid::sphere::distance_squared(p, q);
            let bulge = size(&points[0], &points[2]).max(size(&points[1], &points[3]));
            bounds.grown(bulge + OUTSIDE_TOLERANCE)
        });
        quads.tree = Tree::new(bounds.collect());
        quads
    }

    /// The cells at the corners, around.
    fn corners(&self, quad: u32) -> [usize; 4] {
        let (row, column) = (
            quad as usize / self.quad_columns,
            quad as usize % self.quad_columns,
        );
        let next = (column + 1) % self.columns;
        let cell = |row: usize, column: usize| row * self.columns + column;
        [
            cell(row, column),
            cell(row, next),
            cell(row + 1, next),
            cell(row + 1, column),
        ]
    }

    fn links(&self, lon: f64, lat: f64) -> Option<Vec<Link>> {
        let mut candidates = Vec::new();
        let here = Bounds::of_point(&point(lon, lat));
        self.tree.overlapping(&here, |quad| candidates.push(quad));
        candidates.sort_unstable();
        candidates.into_iter().find_map(|quad| {
            let corners = self.corners(quad);
            let near = |cell: usize| {
                let east = (self.lons[cell] - lon + 180.0).rem_euclid(360.0) - 180.0;
                [east, self.lats[cell] - lat]
            };
            let [u, v] = inverse_bilinear(&corners.map(near))?;
            let weights = [(1.0 - u) * (1.0 - v), u * (1.0 - v), u * v, (1.0 - u) * v];
            let pairs = corners.iter().zip(weights);
            let links = pairs.map(|(&cell, weight)| (cell as u32, weight));
            Some(weighing(links.collect()))
        })
    }
}

/// Newton's method needs few steps inside a sensible quadrilateral.
const ITERATIONS_MAX: usize = 50;

/// Where in a quadrilateral, given by its corners around, the origin is; `None` outside.
fn inverse_bilinear(corners: &[[f64; 2]; 4]) -> Option<[f64; 2]> {
    if !holds_origin(corners) {
        return None;
    }
    let [a, b, c, d] = corners;
    let (mut u, mut v) = (0.5, 0.5);
    for _ in 0..ITERATIONS_MAX {
        let at = |k: usize| {
            (1.0 - u) * (1.0 - v) * a[k]
                + u * (1.0 - v) * b[k]
                + u * v * c[k]
                + (1.0 - u) * v * d[k]
        };
        let by_u = |k: usize| (1.0 - v) * (b[k] - a[k]) + v * (c[k] - d[k]);
        let by_v = |k: usize| (1.0 - u) * (d[k] - a[k]) + u * (c[k] - b[k]);
        let determinant = by_u(0) * by_v(1) - by_u(1) * by_v(0);
        let du = (at(0) * by_v(1) - at(1) * by_v(0)) / determinant;
        let dv = (at(1) * by_u(0) - at(0) * by_u(1)) / determinant;
        u -= du;
        v -= dv;
        if !(u.is_finite() && v.is_finite()) {
            return None;
        }
        if du.abs().max(dv.abs()) < 1e-12 {
            break;
        }
    }
    let clamp = |share: f64| {
        let slack = 1e-6;
        (-slack..=1.0 + slack)
            .contains(&share)
            .then(|| share.clamp(0.0, 1.0))
    };
    Some([clamp(u)?, clamp(v)?])
}

/// Whether the origin is on the same side of all four edges.
fn holds_origin(corners: &[[f64; 2]; 4]) -> bool {
    let (mut left, mut right) = (0.0_f64, 0.0_f64);
    for i in 0..4 {
        let [[x0, y0], [x1, y1]] = [corners[i], corners[(i + 1) % 4]];
        let turn = x0 * y1 - x1 * y0;
        let size = (x1 - x0).abs().max((y1 - y0).abs());
        left = left.max(turn / (size * size + f64::MIN_POSITIVE));
        right = right.max(-turn / (size * size + f64::MIN_POSITIVE));
    }
    left.min(right) <= OUTSIDE_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_a_quadrilateral_is_found_again() {
        let corners = [[0.0, 0.0], [4.0, 1.0], [5.0, 5.0], [-1.0, 4.0]];
        for (u, v) in [(0.25, 0.75), (0.0, 0.0), (1.0, 0.5), (0.5, 0.5)] {
            let at = |k: usize| {
                let [a, b, c, d] = corners.map(|corner| corner[k]);
                (1.0 - u) * (1.0 - v) * a + u * (1.0 - v) * b + u * v * c + (1.0 - u) * v * d
            };
            let here = [at(0), at(1)];
            let shifted = corners.map(|corner| [corner[0] - here[0], corner[1] - here[1]]);
            let [x, y] = inverse_bilinear(&shifted).unwrap();
            assert!(
                (x - u).abs() < 1e-9 && (y - v).abs() < 1e-9,
                "{u} {v}: {x} {y}"
            );
        }
        let away = corners.map(|corner| [corner[0] - 9.0, corner[1]]);
        assert_eq!(inverse_bilinear(&away), None);
    }
}
