//! Nearest neighbours and means weighted by inverse distance.

use rayon::prelude::*;

use super::tree::{Bounds, Tree};
use super::{Link, Method, Settings, Weights};
use crate::grid::sphere::{Point, point};
use crate::grid::{Cells, Grid};

/// A source cell that is nearer (in radians) is the place itself.
const SAME_PLACE: f64 = 1e-12;

pub(super) fn weights(
    method: Method,
    count: usize,
    source: &Grid,
    target: &Grid,
    settings: Settings,
) -> Weights {
    let search = Search::new(source);
    let inside = (settings.extrapolate == Some(false))
        .then(|| Inside::of(source))
        .flatten();
    let (lons, lats) = target.centres();
    let cell = |(&lon, &lat): (&f64, &f64)| {
        if inside.as_ref().is_some_and(|inside| !inside.has(lon, lat)) {
            return Vec::new();
        }
        search.links(&point(lon, lat), count)
    };
    let links = lons.par_iter().zip(&lats).map(cell).collect();
    Weights::from_links(method, source.size(), links)
}

/// The cells of a grid, by place.
pub(super) struct Search {
    tree: Tree,
}

impl Search {
    pub(super) fn new(grid: &Grid) -> Self {
        let points = grid.points();
        Self {
            tree: Tree::new(points.iter().map(Bounds::of_point).collect()),
        }
    }

    /// The nearest cells, weighted by the inverse of the straight distance.
    pub(super) fn links(&self, here: &Point, count: usize) -> Vec<Link> {
        self.links_by(here, count, f64::sqrt)
    }

    /// The same, weighted by the inverse of the distance along the surface.
    pub(super) fn links_by_arc(&self, here: &Point, count: usize) -> Vec<Link> {
        self.links_by(here, count, |square| {
            2.0 * (square.sqrt() / 2.0).min(1.0).asin()
        })
    }

    fn links_by(&self, here: &Point, count: usize, distance: impl Fn(f64) -> f64) -> Vec<Link> {
        let found = self.tree.nearest(here, count);
        let nearest = found.first().map_or(0.0, |found| found.1);
        if nearest.sqrt() < SAME_PLACE {
            let only = |(i, &(cell, _)): (usize, &(u32, f64))| (cell, f64::from(u8::from(i == 0)));
            return found.iter().enumerate().map(only).take(1).collect();
        }
        let inverse = |&(cell, square): &(u32, f64)| (cell, 1.0 / distance(square));
        let mut links: Vec<Link> = found.iter().map(inverse).collect();
        links.sort_by_key(|(cell, _)| *cell);
        let total: f64 = links.iter().map(|(_, weight)| weight).sum();
        links.iter_mut().for_each(|(_, weight)| *weight /= total);
        links
    }
}

/// The box of longitudes and latitudes that the centres of a grid span.
struct Inside {
    west: f64,
    /// East of it; 360 or more for a whole circle.
    width: f64,
    south: f64,
    north: f64,
}

/// Rounding of coordinates, in degrees.
const ROUNDING: f64 = 1e-9;

impl Inside {
    fn of(grid: &Grid) -> Option<Self> {
        let (lons, lats) = match &grid.cells {
            Cells::Axes { lon, lat } => (&lon.centres, &lat.centres),
            Cells::Each { lons, lats, .. } => (lons, lats),
        };
        if grid.is_cyclic() {
            return None;
        }
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self {
            west: least(lons),
            width: most(lons) - least(lons),
            south: least(lats),
            north: most(lats),
        })
    }

    fn has(&self, lon: f64, lat: f64) -> bool {
        let east_of = (lon - self.west + ROUNDING).rem_euclid(360.0);
        east_of <= self.width + 2.0 * ROUNDING
            && (self.south - ROUNDING..=self.north + ROUNDING).contains(&lat)
    }
}
