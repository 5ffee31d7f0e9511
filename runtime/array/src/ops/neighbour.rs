//! Missing cells filled from valid ones nearby: `setmisstonn`, `setmisstodis`.
//!
//! Every field is looked at as a whole. Near is what is near on the sphere, of equally near cells
//! the one that comes first in the file.

mod search;
mod table;

pub(crate) use table::table;

use std::ops::Range;
use std::sync::Arc;

use crate::cube::{Content, Cube};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::plan::expr::{Expr, Operation};
use crate::plan::picks::Picks;
use crate::plan::region::{self, Region};
use search::{Point, Tree};

/// A variable whose missing cells are means of their nearest valid ones, weighted by the
/// reciprocal of their distances along the chord.
#[derive(Clone, Debug)]
struct Filled {
    child: Expr,
    /// For each dimension of the child, whether it is one of the grid.
    horizontal: Vec<bool>,
    /// The grid's cells in the order of the child.
    points: Arc<Vec<Point>>,
    neighbours: usize,
}

impl Operation for Filled {
    fn shape(&self) -> Vec<usize> {
        self.child.shape()
    }

    fn children(&self) -> Vec<&Expr> {
        vec![&self.child]
    }

    fn with_children(&self, mut children: Vec<Expr>) -> Arc<dyn Operation> {
        Arc::new(Self {
            child: children.remove(0),
            ..self.clone()
        })
    }

    /// Fields are never cut.
    fn cuts(&self, dim: usize) -> Vec<usize> {
        if self.horizontal[dim] {
            vec![0, self.shape()[dim]]
        } else {
            self.child.cuts(dim)
        }
    }

    fn pulled_per_cell(&self) -> usize {
        self.child.pulled_per_cell()
    }

    fn stored_bytes(&self, region: &[Range<usize>]) -> u64 {
        self.child.stored_bytes(&self.whole_fields(region))
    }

    fn pick(&self, dim: usize, picks: &Picks) -> Option<Arc<dyn Operation>> {
        (!self.horizontal[dim]).then(|| self.with_children(vec![self.child.pick(dim, picks)]))
    }

    fn fill(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        let fields = self.whole_fields(region);
        let out_strides = region::strides(&region::lens(region));
        let of =
            |wanted: bool| (0..region.len()).filter(move |&dim| self.horizontal[dim] == wanted);
        let (across, along): (Vec<usize>, Vec<usize>) = (of(false).collect(), of(true).collect());
        let shape = self.shape();
        let grid_shape: Vec<usize> = along.iter().map(|&dim| shape[dim]).collect();
        let grid_strides = region::strides(&grid_shape);
        let asked: Vec<usize> = along.iter().map(|&dim| region[dim].len()).collect();
        let first: Vec<usize> = along.iter().map(|&dim| region[dim].start).collect();
        let from = region::place(&first, &grid_strides);
        let strides =
            |dims: &[usize]| -> Vec<usize> { dims.iter().map(|&dim| out_strides[dim]).collect() };
        let (field_strides, cell_strides) = (strides(&across), strides(&along));
        let counts: Vec<usize> = across.iter().map(|&dim| region[dim].len()).collect();
        let mut values = vec![0.0_f64; self.points.len()];
        region::for_each_index(&counts, |index| {
            let mut field = fields.clone();
            for (&dim, &index) in across.iter().zip(index) {
                let start = fields[dim].start + index;
                field[dim] = start..start + 1;
            }
            self.child.fill(&field, &mut values)?;
            let tree = Tree::new(&self.points, |cell| !values[cell].is_nan());
            let to = region::place(index, &field_strides);
            region::for_each_index(&asked, |index| {
                let cell = from + region::place(index, &grid_strides);
                out[to + region::place(index, &cell_strides)] = match values[cell].is_nan() {
                    true => self.mean_nearby(&tree, cell, &values),
                    false => values[cell],
                };
                Ok(())
            })
        })
    }
}

impl Filled {
    fn whole_fields(&self, region: &[Range<usize>]) -> Region {
        let shape = self.shape();
        let dims = region.iter().enumerate();
        dims.map(|(dim, range)| match self.horizontal[dim] {
            true => 0..shape[dim],
            false => range.clone(),
        })
        .collect()
    }

    fn mean_nearby(&self, tree: &Tree<'_>, cell: usize, values: &[f64]) -> f64 {
        let nearest = tree.nearest(&self.points[cell], self.neighbours);
        match nearest.as_slice() {
            [] => f64::NAN,
            // Two cells at one place, as at a pole.
            [(distance, first), ..] if *distance == 0.0 => values[*first],
            [(_, only)] => values[*only],
            several => {
                let (mut sum, mut weights) = (0.0, 0.0);
                for (distance, cell) in several {
                    sum += values[*cell] / distance;
                    weights += 1.0 / distance;
                }
                sum / weights
            }
        }
    }
}

/// Fills every data variable that lies on a grid of longitudes and latitudes.
fn fill(mut cube: Cube, operator: &'static str, neighbours: usize) -> Result<Cube, CubeError> {
    let mut found = false;
    for index in cube.dataset.data_variables() {
        let Some((child, (horizontal, points))) = cube.lazy(index).zip(grid(&cube, index)) else {
            continue;
        };
        let filled = Filled {
            child: child.clone(),
            horizontal,
            points: Arc::new(points),
            neighbours,
        };
        cube.contents[index] = Content::Lazy(Expr::Operation(Arc::new(filled)));
        found = true;
    }
    if found {
        return Ok(cube);
    }
    let axis = Axis::Longitude;
    Err(CubeError::NoAxis { operator, axis })
}

/// Which dimensions of a variable are those of its grid, and where its cells are.
fn grid(cube: &Cube, variable: usize) -> Option<(Vec<bool>, Vec<Point>)> {
    let dataset = &cube.dataset;
    let coordinate = |axis| {
        let index = dataset.coordinate(variable, axis)?;
        Some((dataset.variables[index].dims.clone(), cube.numbers(index)?))
    };
    let (lon_dims, lons) = coordinate(Axis::Longitude)?;
    let (lat_dims, lats) = coordinate(Axis::Latitude)?;
    let dims = &dataset.variables[variable].dims;
    let is_of_grid = |dim: &usize| lon_dims.contains(dim) || lat_dims.contains(dim);
    let horizontal: Vec<bool> = dims.iter().map(is_of_grid).collect();
    let grid_dims: Vec<usize> = dims.iter().copied().filter(is_of_grid).collect();
    if !lon_dims
        .iter()
        .chain(&lat_dims)
        .all(|dim| grid_dims.contains(dim))
    {
        return None;
    }
    let lens = |dims: &[usize]| -> Vec<usize> {
        dims.iter()
            .map(|&dim| dataset.dimensions[dim].len)
            .collect()
    };
    // What a step along each dimension of the grid is in a coordinate.
    let strides = |own: &[usize]| -> Vec<usize> {
        let strides = region::strides(&lens(own));
        let of = |dim: &usize| {
            own.iter()
                .position(|o| o == dim)
                .map_or(0, |at| strides[at])
        };
        grid_dims.iter().map(of).collect()
    };
    let (lon_strides, lat_strides) = (strides(&lon_dims), strides(&lat_dims));
    let mut points = Vec::new();
    let Ok(()) = region::for_each_index(&lens(&grid_dims), |index| {
        let lon = lons[region::place(index, &lon_strides)];
        let lat = lats[region::place(index, &lat_strides)];
        points.push(search::point(lon, lat));
        Ok::<(), std::convert::Infallible>(())
    });
    Some((horizontal, points))
}
