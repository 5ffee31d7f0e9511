//! Horizontal grids: where the cells of a field lie on the sphere.
//!
//! A [`Grid`] comes from a name as CDO has it ([`Grid::from_name`]), from a description in
//! CDO's format ([`Grid::from_description`]), or from coordinates that the caller read from a
//! file. [`crate::remap`] computes weights between two. No files are touched here, and what a
//! projection does with x and y is not known here: such grids come with longitudes and
//! latitudes of their cells.

mod describe;
mod description;
mod error;
mod gaussian;
mod name;
pub(crate) mod sphere;

pub use error::GridError;

use sphere::{Edge, Outline, point};

/// An edge this near to a pole is taken to be it, as CDO does: Gaussian grids end there.
const POLE_LATITUDE_MIN: f64 = 88.0;

/// Latitudes are written with few digits.
const GAUSSIAN_TOLERANCE_DEGREES: f64 = 1e-3;

/// How much the last step around the globe may differ from the others, as a share of them.
const CLOSING_TOLERANCE: f64 = 0.01;

/// The horizontal cells of a field, in its order: the last dimension is fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// How it is described.
    pub kind: Kind,
    /// Where its cells are.
    pub cells: Cells,
    /// What its coordinates are called.
    pub names: Names,
}

/// What a grid is called in a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Longitudes by latitudes.
    LonLat,
    /// The same with Gaussian latitudes, so many between a pole and the equator.
    Gaussian(usize),
    /// Rows and columns of cells, each with its own place.
    Curvilinear,
    /// Cells in no order.
    Unstructured,
}

/// The places of cells, in degrees.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Every longitude at every latitude.
    Axes {
        /// Along a row.
        lon: Axis,
        /// One a row.
        lat: Axis,
    },
    /// Each cell for itself.
    Each {
        /// Rows and columns, or one number.
        shape: Vec<usize>,
        /// One a cell.
        lons: Vec<f64>,
        /// One a cell.
        lats: Vec<f64>,
        /// If known.
        corners: Option<Corners>,
    },
}

/// One coordinate of a grid of longitudes by latitudes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// The middles of the cells.
    pub centres: Vec<f64>,
    /// The two edges of each cell, if given.
    pub bounds: Option<Vec<[f64; 2]>>,
}

/// The corners of cells, as many for each; a cell that has fewer repeats one.
#[derive(Clone, Debug, PartialEq)]
pub struct Corners {
    /// Corners of one cell.
    pub count: usize,
    /// `count` a cell, around it.
    pub lons: Vec<f64>,
    /// As many.
    pub lats: Vec<f64>,
}

/// Names of coordinates and dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The longitudes.
    pub lon: String,
    /// The latitudes.
    pub lat: String,
    /// The dimension of columns, or of all cells.
    pub x: String,
    /// The dimension of rows.
    pub y: String,
    /// `long_name` of the longitudes; empty for none.
    pub lon_long: String,
    /// `long_name` of the latitudes; empty for none.
    pub lat_long: String,
}

impl Default for Names {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            lon: text("lon"),
            lat: text("lat"),
            x: text("lon"),
            y: text("lat"),
            lon_long: text("longitude"),
            lat_long: text("latitude"),
        }
    }
}

impl Grid {
    /// Longitudes by latitudes.
    #[must_use]
    pub fn from_axes(lon: Axis, lat: Axis) -> Self {
        Self {
            kind: Kind::LonLat,
            cells: Cells::Axes { lon, lat },
            names: Names::default(),
        }
    }

    /// The same, said to be Gaussian if its latitudes are.
    #[must_use]
    pub fn recognised(mut self) -> Self {
        if let Cells::Axes { lat, .. } = &self.cells {
            let rows = lat.centres.len();
            // Two rows or fewer could be anything.
            if rows > 2 && rows.is_multiple_of(2) {
                let southward = lat.centres[0] > lat.centres[rows - 1];
                let mut gaussian = gaussian::latitudes(rows);
                if !southward {
                    gaussian.reverse();
                }
                let mut pairs = lat.centres.iter().zip(&gaussian);
                if pairs.all(|(a, b)| (a - b).abs() < GAUSSIAN_TOLERANCE_DEGREES) {
                    self.kind = Kind::Gaussian(rows / 2);
                }
            }
        }
        self
    }

    /// Cells that each have a place, in rows and columns or in no order.
    ///
    /// # Errors
    /// [`GridError::Lengths`] if the lists are not as long as the shape says.
    pub fn from_cells(
        shape: Vec<usize>,
        lons: Vec<f64>,
        lats: Vec<f64>,
        corners: Option<Corners>,
    ) -> Result<Self, GridError> {
        let size: usize = shape.iter().product();
        let check = |what, found: usize, expected: usize| {
            (found == expected).then_some(()).ok_or(GridError::Lengths {
                what,
                found,
                expected,
            })
        };
        check("longitudes", lons.len(), size)?;
        check("latitudes", lats.len(), size)?;
        if let Some(corners) = &corners {
            check(
                "corner longitudes",
                corners.lons.len(),
                size * corners.count,
            )?;
            check("corner latitudes", corners.lats.len(), size * corners.count)?;
        }
        let (kind, x, y) = match shape.len() {
            1 => (Kind::Unstructured, "ncells", "ncells"),
            _ => (Kind::Curvilinear, "x", "y"),
        };
        let names = Names {
            x: x.to_owned(),
            y: y.to_owned(),
            ..Names::default()
        };
        Ok(Self {
            kind,
            cells: Cells::Each {
                shape,
                lons,
                lats,
                corners,
            },
            names,
        })
    }

    /// The lengths of its dimensions, slowest first.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        match &self.cells {
            Cells::Axes { lon, lat } => vec![lat.centres.len(), lon.centres.len()],
            Cells::Each { shape, .. } => shape.clone(),
        }
    }

    /// How many cells it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.shape().iter().product()
    }

    /// The longitude and latitude of each cell.
    #[must_use]
    pub fn centres(&self) -> (Vec<f64>, Vec<f64>) {
        match &self.cells {
            Cells::Axes { lon, lat } => {
                let rows = lat.centres.iter();
                let lats = rows.flat_map(|&lat| std::iter::repeat_n(lat, lon.centres.len()));
                (lon.centres.repeat(lat.centres.len()), lats.collect())
            }
            Cells::Each { lons, lats, .. } => (lons.clone(), lats.clone()),
        }
    }

    /// Whether the last column neighbours the first.
    #[must_use]
    pub fn is_cyclic(&self) -> bool {
        match &self.cells {
            Cells::Axes { lon, .. } => is_closed(&lon.centres),
            Cells::Each { shape, lons, .. } => {
                let &[_, columns] = shape.as_slice() else {
                    return false;
                };
                let rows = || lons.chunks(columns.max(1));
                2 * rows().filter(|row| is_closed_row(row)).count() > rows().len()
            }
        }
    }

    /// The outlines of all cells; `None` where they cannot be told.
    #[must_use]
    pub(crate) fn outlines(&self) -> Option<Vec<Outline>> {
        match &self.cells {
            Cells::Axes { lon, lat } => {
                let (lons, lats) = (lon.edges()?, lat.latitude_edges()?);
                let cell = |&[south, north]: &[f64; 2], &[west, east]: &[f64; 2]| {
                    let lons = [west, east, east, west];
                    Outline::new(&lons, &[south, south, north, north])
                };
                let row = |lats| lons.iter().map(move |lons| cell(lats, lons));
                Some(lats.iter().flat_map(row).collect())
            }
            Cells::Each { corners, .. } => {
                let corners = corners.as_ref()?;
                let lats = corners.lats.chunks(corners.count);
                let cells = corners.lons.chunks(corners.count).zip(lats);
                Some(
                    cells
                        .map(|(lons, lats)| Outline::of_corners(lons, lats))
                        .collect(),
                )
            }
        }
    }

    /// The areas of all cells on the unit sphere, with great circles between corners as CDO
    /// has them; `None` where outlines cannot be told.
    #[must_use]
    pub fn areas(&self) -> Option<Vec<f64>> {
        let area = |outline: &Outline| {
            let corners: Vec<_> = outline.edges().map(|Edge { from, .. }| from).collect();
            sphere::polygon(&corners).abs()
        };
        Some(self.outlines()?.iter().map(area).collect())
    }

    /// The cells as points on the unit sphere.
    #[must_use]
    pub(crate) fn points(&self) -> Vec<sphere::Point> {
        let (lons, lats) = self.centres();
        let pairs = lons.iter().zip(&lats);
        pairs.map(|(&lon, &lat)| point(lon, lat)).collect()
    }
}

impl Axis {
    /// An axis without given bounds.
    #[must_use]
    pub fn of(centres: Vec<f64>) -> Self {
        Self {
            centres,
            bounds: None,
        }
    }

    /// The edges of each cell: the given bounds, else the middles between centres, the
    /// outermost mirrored; `None` for a single cell without bounds.
    #[must_use]
    pub fn edges(&self) -> Option<Vec<[f64; 2]>> {
        if let Some(bounds) = &self.bounds {
            return Some(bounds.clone());
        }
        let centres = &self.centres;
        let [first, second, ..] = **centres else {
            return None;
        };
        let mut edges = vec![first - (second - first) / 2.0];
        let middle = |pair: &[f64]| pair[0] + (pair[1] - pair[0]) / 2.0;
        edges.extend(centres.windows(2).map(middle));
        let last = centres.len() - 1;
        edges.push(centres[last] + (centres[last] - centres[last - 1]) / 2.0);
        Some(edges.windows(2).map(|pair| [pair[0], pair[1]]).collect())
    }

    /// The edges, south before north, none beyond a pole; outermost ones that are not given
    /// and lie near a pole are moved to it.
    #[must_use]
    pub fn latitude_edges(&self) -> Option<Vec<[f64; 2]>> {
        let mut edges = self.edges()?;
        if self.bounds.is_none() {
            let snap = |edge: &mut f64| {
                if edge.abs() > POLE_LATITUDE_MIN {
                    *edge = 90_f64.copysign(*edge);
                }
            };
            let last = edges.len() - 1;
            snap(&mut edges[0][0]);
            snap(&mut edges[last][1]);
        }
        let clip = |edge: f64| edge.clamp(-90.0, 90.0);
        let sorted = |[a, b]: [f64; 2]| [clip(a.min(b)), clip(a.max(b))];
        Some(edges.into_iter().map(sorted).collect())
    }
}

/// Whether one more step after the last longitude is the first again.
fn is_closed(centres: &[f64]) -> bool {
    let [first, second, .., last] = *centres else {
        return false;
    };
    let step = (second - first).abs();
    let around = (last - first).abs() + step;
    (around - 360.0).abs() <= CLOSING_TOLERANCE * step
}

/// The same for a row of places: the step from the last to the first is like the others.
fn is_closed_row(lons: &[f64]) -> bool {
    let turn = |from: f64, to: f64| {
        let turn = (to - from).rem_euclid(360.0);
        turn.min(360.0 - turn)
    };
    let [first, .., last] = *lons else {
        return false;
    };
    let widest = lons.windows(2).map(|pair| turn(pair[0], pair[1]));
    let widest = widest.fold(0.0, f64::max);
    let sum: f64 = lons.windows(2).map(|pair| turn(pair[0], pair[1])).sum();
    sum > 180.0 && turn(last, first) <= widest * (1.0 + CLOSING_TOLERANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cells_of_a_globe_cover_it() {
        for name in ["r72x36", "global_5", "n16", "t21grid"] {
            let areas = Grid::from_name(name).unwrap().areas().unwrap();
            let total: f64 = areas.iter().sum();
            // Great circles are not parallels, but together the cells leave no gap.
            assert!(
                (total / (4.0 * std::f64::consts::PI) - 1.0).abs() < 1e-12,
                "{name}: {total}"
            );
        }
    }

    #[test]
    fn a_globe_is_cyclic_and_a_region_is_not() {
        assert!(Grid::from_name("r72x36").unwrap().is_cyclic());
        let axis = |len: u32| Axis::of((0..len).map(f64::from).collect());
        assert!(!Grid::from_axes(axis(30), axis(30)).is_cyclic());
        assert!(Grid::from_axes(axis(360), axis(30)).is_cyclic());
    }

    #[test]
    fn edges_near_a_pole_are_it() {
        let axis = Axis::of(vec![-82.0, -86.0, -88.0]);
        let edges = axis.latitude_edges().unwrap();
        assert_eq!(edges, [[-84.0, -80.0], [-87.0, -84.0], [-90.0, -87.0]]);
    }
}
