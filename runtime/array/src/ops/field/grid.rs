//! Which dimensions a statistic of fields reduces, what their cells weigh, and what becomes of
//! the coordinates.

use std::sync::Arc;

use super::{FieldReduction, FieldStatistic, Weights};
use crate::cube::{Content, Cube};
use crate::dataset::{Axis, DType, Variable};
use crate::error::CubeError;
use crate::ops::horizontal::{self, Horizontal};
use crate::ops::units::{Change, product};
use crate::ops::{Context, time};
use crate::plan::expr::Expr;

/// Radius of the Earth in metres, as CDO has it.
const EARTH_RADIUS_M: f64 = 6_371_000.0;

/// Which dimensions are reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldAxes {
    /// Latitude and longitude; weights are areas of cells.
    Both,
    /// Longitude; no weights.
    Longitude,
    /// Latitude; weights are areas of cells.
    Latitude,
    /// The vertical; weights are the thicknesses of layers.
    Level,
}

/// Dimensions of a data variable and the weights of their cells.
struct Grid {
    /// Dimensions of the dataset.
    dims: Vec<usize>,
    /// Areas in square metres, or thicknesses; in the order of `weight_dims`.
    sizes: Option<Arc<Vec<f64>>>,
    weight_dims: Vec<usize>,
    /// The one-dimensional coordinates that shrink to one cell.
    shrinks: Vec<usize>,
    /// What `cell_methods` calls the dimensions.
    name: String,
}

/// What a statistic of fields is asked to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) axes: FieldAxes,
    pub(super) statistic: FieldStatistic,
    /// Whether cells count by their size, if the statistic knows weights.
    pub(super) weighted: bool,
}

impl Request {
    fn wants_weights(self) -> bool {
        self.weighted && self.statistic.is_weighted() && self.axes != FieldAxes::Longitude
    }
}

/// Replaces every variable that has the dimensions by its statistic over them.
pub(super) fn reduce(
    mut cube: Cube,
    context: &mut Context<'_>,
    request: Request,
) -> Result<Cube, CubeError> {
    let mut grids: Vec<Grid> = Vec::new();
    for variable in cube.dataset.data_variables() {
        let Some(grid) = grid_of(&cube, variable, request.axes) else {
            continue;
        };
        if !grids.iter().any(|known| known.dims == grid.dims) {
            grids.push(grid);
        }
    }
    if grids.is_empty() {
        return Err(CubeError::NoAxis {
            operator: context.name(),
            axis: match request.axes {
                FieldAxes::Both | FieldAxes::Longitude => Axis::Longitude,
                FieldAxes::Latitude => Axis::Latitude,
                FieldAxes::Level => Axis::Level,
            },
        });
    }
    for grid in &mut grids {
        if !request.wants_weights() {
            grid.sizes = None;
        } else if grid.sizes.is_none() {
            context.warn(
                "the sizes of the cells cannot be told without bounds; all get the same weight",
            );
        }
    }
    let mut drops = vec![false; cube.contents.len()];
    for grid in &grids {
        let is_like_cdo = context.options.cdo;
        reduce_grid(&mut cube, grid, request.statistic, is_like_cdo, &mut drops);
    }
    // Names of what is dropped must not be left in attributes.
    let dropped: Vec<String> = (0..drops.len())
        .filter(|&index| drops[index])
        .map(|index| cube.dataset.variables[index].name.clone())
        .collect();
    cube.retain(|index| !drops[index]);
    forget(&mut cube, &dropped);
    Ok(cube)
}

fn reduce_grid(
    cube: &mut Cube,
    grid: &Grid,
    statistic: FieldStatistic,
    is_like_cdo: bool,
    drops: &mut [bool],
) {
    for index in 0..cube.contents.len() {
        let dims = cube.dataset.variables[index].dims.clone();
        let reduced: Vec<bool> = dims.iter().map(|dim| grid.dims.contains(dim)).collect();
        if !reduced.contains(&true) {
            continue;
        }
        let content = match &cube.contents[index] {
            Content::Lazy(child) => {
                let position = |dim: &usize| dims.iter().position(|own| own == dim);
                let weight_dims: Option<Vec<usize>> =
                    grid.weight_dims.iter().map(position).collect();
                let weights = grid.sizes.as_ref().zip(weight_dims).map(|(sizes, dims)| {
                    let shape = child.shape();
                    let lens: Vec<usize> = dims.iter().map(|&dim| shape[dim]).collect();
                    let (dims, values) = in_order(&dims, &lens, sizes);
                    Weights { dims, values }
                });
                let variable = &mut cube.dataset.variables[index];
                describe(variable, grid, statistic, is_like_cdo);
                let reduction = FieldReduction::new(child.clone(), reduced, weights, statistic);
                Content::Lazy(Expr::Operation(Arc::new(reduction)))
            }
            Content::Numbers(_) if grid.shrinks.contains(&index) => {
                let bounds = span(cube, index);
                let variable = &mut cube.dataset.variables[index];
                if !matches!(variable.dtype, DType::F32 | DType::F64) {
                    variable.dtype = DType::F64;
                }
                if let Some(bounds_index) = cube.dataset.bounds(index) {
                    cube.contents[bounds_index] = Content::Numbers(Arc::new(bounds.to_vec()));
                    drops[bounds_index] = false;
                }
                Content::Numbers(Arc::new(vec![bounds[0] + (bounds[1] - bounds[0]) / 2.0]))
            }
            other => {
                let serves = |coordinate: &usize| cube.dataset.bounds(*coordinate) == Some(index);
                drops[index] = !grid.shrinks.iter().any(serves);
                other.clone()
            }
        };
        cube.contents[index] = content;
    }
    for &dim in &grid.dims {
        cube.dataset.dimensions[dim].len = 1;
    }
}

/// Says in the attributes what was done.
fn describe(variable: &mut Variable, grid: &Grid, statistic: FieldStatistic, is_like_cdo: bool) {
    if let Some(method) = statistic.cell_method() {
        let method = format!("{}: {method}", grid.name);
        time::add_cell_method(&mut variable.attributes, &method);
    }
    match statistic {
        FieldStatistic::Count => variable.attributes.set("units", "1"),
        FieldStatistic::Integral => {
            let units = variable.attributes.get_text("units").unwrap_or("1");
            let units = product(units, "m2");
            variable.attributes.set("units", units);
        }
        FieldStatistic::Variance | FieldStatistic::Variance1 if !is_like_cdo => {
            Change::Variance.apply(&mut variable.attributes);
        }
        _ => {}
    }
}

/// From the first edge of a coordinate to its last.
fn span(cube: &Cube, coordinate: usize) -> [f64; 2] {
    let centres = cube.numbers(coordinate).unwrap_or_default();
    let of_centres = || centres.iter().map(|&centre| [centre; 2]).collect();
    let edges = horizontal::edges(cube, coordinate).unwrap_or_else(of_centres);
    let all = || edges.iter().flatten().copied();
    [
        all().fold(f64::INFINITY, f64::min),
        all().fold(f64::NEG_INFINITY, f64::max),
    ]
}

/// Weights whose dimensions are in the order of the child's.
fn in_order(dims: &[usize], lens: &[usize], values: &Arc<Vec<f64>>) -> (Vec<usize>, Arc<Vec<f64>>) {
    if dims.is_sorted() {
        return (dims.to_vec(), Arc::clone(values));
    }
    // The only unsorted case is latitude after longitude: transpose.
    let (rows, columns) = (lens[0], lens[1]);
    let at = |place: usize| values[(place % rows) * columns + place / rows];
    (
        vec![dims[1], dims[0]],
        Arc::new((0..rows * columns).map(at).collect()),
    )
}

/// Takes variables that are gone out of the attributes that name them.
fn forget(cube: &mut Cube, dropped: &[String]) {
    for variable in &mut cube.dataset.variables {
        for attribute in [
            "coordinates",
            "cell_measures",
            "bounds",
            "ancillary_variables",
        ] {
            let Some(text) = variable.attributes.get_text(attribute) else {
                continue;
            };
            let words: Vec<&str> = text.split_whitespace().collect();
            if !words
                .iter()
                .any(|word| dropped.iter().any(|name| name == word))
            {
                continue;
            }
            let mut kept: Vec<&str> = Vec::new();
            for word in words {
                if !dropped.iter().any(|name| name == word) {
                    kept.push(word);
                } else if kept.last().is_some_and(|key| key.ends_with(':')) {
                    kept.pop();
                }
            }
            let kept = kept.join(" ");
            if kept.is_empty() {
                variable.attributes.remove(attribute);
            } else {
                variable.attributes.set(attribute, kept);
            }
        }
    }
}

fn grid_of(cube: &Cube, variable: usize, axes: FieldAxes) -> Option<Grid> {
    let dataset = &cube.dataset;
    let one_dimensional = |axis| {
        let coordinate = dataset.coordinate(variable, axis)?;
        let &[dim] = dataset.variables[coordinate].dims.as_slice() else {
            return None;
        };
        let own = dataset.variables[variable].dims.contains(&dim);
        own.then(|| (coordinate, dim, dataset.dimensions[dim].name.clone()))
    };
    match axes {
        FieldAxes::Both => horizontal(cube, variable),
        FieldAxes::Longitude => {
            let (lon, dim, name) = one_dimensional(Axis::Longitude)?;
            Some(Grid {
                dims: vec![dim],
                sizes: None,
                weight_dims: Vec::new(),
                shrinks: vec![lon],
                name,
            })
        }
        FieldAxes::Latitude => {
            let (lat, dim, name) = one_dimensional(Axis::Latitude)?;
            let grid = horizontal(cube, variable)?;
            (grid.shrinks.contains(&lat)).then(|| Grid {
                dims: vec![dim],
                shrinks: vec![lat],
                name,
                ..grid
            })
        }
        FieldAxes::Level => {
            let (level, dim, name) = one_dimensional(Axis::Level)?;
            Some(Grid {
                dims: vec![dim],
                sizes: thicknesses(cube, level).map(Arc::new),
                weight_dims: vec![dim],
                shrinks: vec![level],
                name,
            })
        }
    }
}

/// Latitude and longitude together.
fn horizontal(cube: &Cube, variable: usize) -> Option<Grid> {
    let dataset = &cube.dataset;
    let Horizontal {
        grid,
        dims,
        lon,
        lat,
    } = Horizontal::of(cube, variable)?;
    let name = "area".to_owned();
    let square_metres = |areas: Vec<f64>| {
        let scale = EARTH_RADIUS_M * EARTH_RADIUS_M;
        Arc::new(
            areas
                .into_iter()
                .map(|area| area * scale)
                .collect::<Vec<_>>(),
        )
    };
    let shrinks = match dataset.variables[lon].dims == dataset.variables[lat].dims {
        true => vec![],
        false => vec![lon, lat],
    };
    Some(Grid {
        sizes: grid.areas().map(square_metres),
        weight_dims: dims.clone(),
        dims,
        shrinks,
        name,
    })
}

/// The thicknesses of layers, from their bounds.
fn thicknesses(cube: &Cube, level: usize) -> Option<Vec<f64>> {
    let bounds = cube.numbers(cube.dataset.bounds(level)?)?;
    let (pairs, _) = bounds.as_chunks::<2>();
    let thick = pairs.iter().map(|[low, high]| (high - low).abs());
    (pairs.len() == cube.numbers(level)?.len()).then(|| thick.collect())
}
