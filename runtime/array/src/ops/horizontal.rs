//! The horizontal grid of a variable of a cube: for areas of cells and for remapping.

use crate::cube::Cube;
use crate::dataset::{self, Dataset};
use crate::grid::{Axis, Corners, Grid, Names};

/// A grid and where in the cube it comes from.
#[derive(Clone, Debug)]
pub(super) struct Horizontal {
    pub(super) grid: Grid,
    /// The dimensions of the dataset in the order of the grid's: rows, columns.
    pub(super) dims: Vec<usize>,
    /// The variables of its coordinates.
    pub(super) lon: usize,
    pub(super) lat: usize,
}

impl Horizontal {
    /// The grid of a variable, if it has longitudes and latitudes.
    pub(super) fn of(cube: &Cube, variable: usize) -> Option<Self> {
        let dataset = &cube.dataset;
        let lon = dataset.coordinate(variable, dataset::Axis::Longitude)?;
        let lat = dataset.coordinate(variable, dataset::Axis::Latitude)?;
        let found = Self::of_coordinates(cube, lon, lat)?;
        let own = &dataset.variables[variable].dims;
        found
            .dims
            .iter()
            .all(|dim| own.contains(dim))
            .then_some(found)
    }

    /// The grid that two coordinates make.
    pub(super) fn of_coordinates(cube: &Cube, lon: usize, lat: usize) -> Option<Self> {
        let dataset = &cube.dataset;
        let dims_of = |coordinate: usize| dataset.variables[coordinate].dims.as_slice();
        let (grid, dims) = match (dims_of(lon), dims_of(lat)) {
            (&[x], &[y]) if x != y => {
                let axes = (axis(cube, lon)?, axis(cube, lat)?);
                (Grid::from_axes(axes.0, axes.1), vec![y, x])
            }
            (x, y) if x == y && !x.is_empty() => {
                let shape = x.iter().map(|&dim| dataset.dimensions[dim].len);
                let (lons, lats) = (cube.numbers(lon)?, cube.numbers(lat)?);
                let grid = Grid::from_cells(
                    shape.collect(),
                    lons.to_vec(),
                    lats.to_vec(),
                    corners(cube, lon, lat),
                );
                (grid.ok()?, x.to_vec())
            }
            _ => return None,
        };
        let names = names(dataset, [lon, lat], &dims);
        Some(Self {
            grid: Grid { names, ..grid },
            dims,
            lon,
            lat,
        })
    }
}

/// The edges of the cells of a coordinate: its bounds, else the middles between centres.
pub(super) fn edges(cube: &Cube, coordinate: usize) -> Option<Vec<[f64; 2]>> {
    axis(cube, coordinate)?.edges()
}

fn axis(cube: &Cube, coordinate: usize) -> Option<Axis> {
    let centres = cube.numbers(coordinate)?.to_vec();
    let bounds = cube.dataset.bounds(coordinate);
    let bounds = bounds.and_then(|bounds| cube.numbers(bounds));
    let bounds = bounds.filter(|bounds| bounds.len() == 2 * centres.len());
    Some(Axis {
        centres,
        bounds: bounds.map(|bounds| bounds.as_chunks::<2>().0.to_vec()),
    })
}

fn corners(cube: &Cube, lon: usize, lat: usize) -> Option<Corners> {
    let cells = cube.numbers(lon)?.len();
    let lons = cube.numbers(cube.dataset.bounds(lon)?)?;
    let lats = cube.numbers(cube.dataset.bounds(lat)?)?;
    let count = lons.len() / cells.max(1);
    let fits = count >= 3 && lons.len() == count * cells && lats.len() == lons.len();
    fits.then(|| Corners {
        count,
        lons: lons.to_vec(),
        lats: lats.to_vec(),
    })
}

fn names(dataset: &Dataset, coordinates: [usize; 2], dims: &[usize]) -> Names {
    let [lon, lat] = coordinates.map(|index| &dataset.variables[index]);
    let long = |variable: &dataset::Variable| {
        let name = variable.attributes.get_text("long_name");
        name.unwrap_or_default().to_owned()
    };
    let dim = |place: usize| dataset.dimensions[dims[place]].name.clone();
    Names {
        lon: lon.name.clone(),
        lat: lat.name.clone(),
        x: dim(dims.len() - 1),
        y: dim(0),
        lon_long: long(lon),
        lat_long: long(lat),
    }
}
