//! Means over horizontal fields: `fldmean`, `zonmean`.
//!
//! A field is read in pieces along its storage chunks and folded in one fixed order, so the
//! bits depend on the file alone.

mod table;

pub(crate) use table::table;

use std::ops::Range;
use std::sync::Arc;

use super::{Context, area, time};
use crate::cube::{Content, Cube};
use crate::dataset::{Axis, DType};
use crate::error::CubeError;
use crate::plan::expr::{Expr, Operation, Readable};
use crate::plan::picks::Picks;
use crate::plan::region::{self, Region};

/// Cells of a field that are in memory at once, unless one storage chunk has more.
const PIECE_CELLS_MAX: usize = 1 << 18;

/// Sums that run side by side over a row, so that the processor need not wait for each
/// addition; part of the definition of the result's bits.
const LANES: usize = 8;

/// Which dimensions a mean runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldAxes {
    /// Latitude and longitude, weighted by cell area.
    Both,
    /// Longitude, unweighted.
    Longitude,
}

/// The weighted mean over some dimensions of a child.
#[derive(Clone, Debug)]
struct FieldMean {
    child: Expr,
    /// For each dimension of the child, whether the mean runs over it.
    reduced: Vec<bool>,
    weights: Option<Weights>,
}

/// One weight a cell of the reduced dimensions.
#[derive(Clone, Debug)]
struct Weights {
    /// Dimensions of the child, in its order.
    dims: Vec<usize>,
    values: Arc<Vec<f64>>,
}

/// What is kept of a cell of the result.
#[derive(Clone, Copy, Default)]
struct Weighted {
    sum: f64,
    weight: f64,
}

impl Operation for FieldMean {
    fn shape(&self) -> Vec<usize> {
        let shape = self.child.shape();
        let len = |(len, &reduced): (usize, &bool)| if reduced { 1 } else { len };
        shape.into_iter().zip(&self.reduced).map(len).collect()
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

    fn cuts(&self, dim: usize) -> Vec<usize> {
        if self.reduced[dim] {
            vec![0, 1]
        } else {
            self.child.cuts(dim)
        }
    }

    fn pulled_per_cell(&self) -> usize {
        self.reduced_cells() * self.child.pulled_per_cell()
    }

    fn stored_bytes(&self, region: &[Range<usize>]) -> u64 {
        self.child.stored_bytes(&self.child_region(region))
    }

    fn pick(&self, dim: usize, picks: &Picks) -> Option<Arc<dyn Operation>> {
        (!self.reduced[dim]).then(|| {
            let child = self.child.pick(dim, picks);
            self.with_children(vec![child])
        })
    }

    /// Computes a region of the result.
    fn fill(&self, region: &[Range<usize>], out: &mut [f64]) -> Result<(), CubeError> {
        let mut kept = vec![Weighted::default(); out.len()];
        let whole = self.child_region(region);
        // Only reduced dimensions are split; the caller chose the size of the others.
        let cuts: Vec<Vec<usize>> = (0..whole.len())
            .map(|dim| match self.reduced[dim] {
                true => self.child.cuts(dim),
                false => vec![0, whole[dim].len()],
            })
            .collect();
        let fixed: Vec<usize> = (0..whole.len()).filter(|&dim| !self.reduced[dim]).collect();
        for piece in region::split(&cuts, PIECE_CELLS_MAX, &fixed) {
            let piece: Region = piece
                .into_iter()
                .enumerate()
                .map(|(dim, range)| {
                    if self.reduced[dim] {
                        range
                    } else {
                        whole[dim].clone()
                    }
                })
                .collect();
            if self.child.is_single() {
                self.add_piece::<f32>(&piece, &mut kept)?;
            } else {
                self.add_piece::<f64>(&piece, &mut kept)?;
            }
        }
        // 0 / 0 is NaN: missing.
        out.iter_mut()
            .zip(kept)
            .for_each(|(out, kept)| *out = kept.sum / kept.weight);
        Ok(())
    }
}

impl FieldMean {
    /// How many cells of the child give one of the result.
    fn reduced_cells(&self) -> usize {
        let shape = self.child.shape();
        shape
            .iter()
            .zip(&self.reduced)
            .filter(|(_, reduced)| **reduced)
            .map(|(len, _)| len)
            .product()
    }

    /// What of the child a region of the result needs.
    fn child_region(&self, region: &[Range<usize>]) -> Region {
        let shape = self.child.shape();
        let range = |dim: usize| {
            if self.reduced[dim] {
                0..shape[dim]
            } else {
                region[dim].clone()
            }
        };
        (0..region.len()).map(range).collect()
    }

    fn add_piece<T: Readable>(
        &self,
        piece: &[Range<usize>],
        kept: &mut [Weighted],
    ) -> Result<(), CubeError> {
        let mut values = vec![T::default(); region::cells(piece)];
        self.child.fill(piece, &mut values)?;
        let lens = region::lens(piece);
        let out_lens: Vec<usize> = lens
            .iter()
            .zip(&self.reduced)
            .map(|(&len, &reduced)| if reduced { 1 } else { len })
            .collect();
        let mut out_strides = region::strides(&out_lens);
        for (stride, &reduced) in out_strides.iter_mut().zip(&self.reduced) {
            if reduced {
                *stride = 0;
            }
        }
        let weight_strides = self.weight_strides();
        let origin: Vec<usize> = piece.iter().map(|range| range.start).collect();
        let start = region::place(&origin, &weight_strides);
        let last = lens.len() - 1;
        let row_reduced = self.reduced[last];
        let mut rows = values.chunks(lens[last].max(1));
        let Ok(()) = region::for_each_index(&lens[..last], |index| {
            let Some(row) = rows.next() else {
                return Ok(());
            };
            let to = region::place(index, &out_strides);
            let from = start + region::place(index, &weight_strides);
            let weight = |i: usize| match &self.weights {
                Some(weights) => weights.values[from + i * weight_strides[last]],
                None => 1.0,
            };
            match &self.weights {
                _ if !row_reduced => {
                    for (i, (kept, value)) in kept[to..].iter_mut().zip(row).enumerate() {
                        kept.add(value.to_f64(), weight(i));
                    }
                }
                Some(weights) if weight_strides[last] == 1 => {
                    kept[to].add_row(row, &weights.values[from..from + row.len()]);
                }
                _ => kept[to].add_evenly(row, weight(0)),
            }
            Ok::<(), std::convert::Infallible>(())
        });
        Ok(())
    }

    /// The step in the weights along each dimension of the child; 0 where they do not vary.
    fn weight_strides(&self) -> Vec<usize> {
        let shape = self.child.shape();
        let mut strides = vec![0; shape.len()];
        if let Some(weights) = &self.weights {
            let mut stride = 1;
            for &dim in weights.dims.iter().rev() {
                strides[dim] = stride;
                stride *= shape[dim];
            }
        }
        strides
    }
}

impl Weighted {
    fn add(&mut self, value: f64, weight: f64) {
        if !value.is_nan() {
            self.sum += weight * value;
            self.weight += weight;
        }
    }

    fn add_row<T: Readable>(&mut self, values: &[T], weights: &[f64]) {
        let (mut sums, mut totals) = ([0.0; LANES], [0.0; LANES]);
        let (values, values_rest) = values.as_chunks::<LANES>();
        let (weights, weights_rest) = weights.as_chunks::<LANES>();
        for (values, weights) in values.iter().zip(weights) {
            for lane in 0..LANES {
                let value = values[lane].to_f64();
                let valid = !value.is_nan();
                sums[lane] += if valid { weights[lane] * value } else { 0.0 };
                totals[lane] += if valid { weights[lane] } else { 0.0 };
            }
        }
        self.sum += sums.iter().sum::<f64>();
        self.weight += totals.iter().sum::<f64>();
        for (value, weight) in values_rest.iter().zip(weights_rest) {
            self.add(value.to_f64(), *weight);
        }
    }

    fn add_evenly<T: Readable>(&mut self, values: &[T], weight: f64) {
        let (mut sums, mut totals) = ([0.0; LANES], [0.0; LANES]);
        let (values, rest) = values.as_chunks::<LANES>();
        for values in values {
            for lane in 0..LANES {
                let value = values[lane].to_f64();
                let valid = !value.is_nan();
                sums[lane] += if valid { value } else { 0.0 };
                totals[lane] += f64::from(u8::from(valid));
            }
        }
        self.sum += weight * sums.iter().sum::<f64>();
        self.weight += weight * totals.iter().sum::<f64>();
        rest.iter()
            .for_each(|value| self.add(value.to_f64(), weight));
    }
}

/// The horizontal dimensions of a data variable and the weights of its cells.
struct Grid {
    /// Dimensions of the dataset.
    dims: Vec<usize>,
    /// In the order of `weight_dims`.
    areas: Option<Arc<Vec<f64>>>,
    weight_dims: Vec<usize>,
    /// The one-dimensional coordinates that shrink to one cell.
    shrinks: Vec<usize>,
    method: String,
}

/// Replaces every variable that has horizontal dimensions by its mean over them.
fn reduce(mut cube: Cube, context: &mut Context<'_>, axes: FieldAxes) -> Result<Cube, CubeError> {
    let mut grids: Vec<Grid> = Vec::new();
    for variable in cube.dataset.data_variables() {
        let Some(grid) = grid_of(&cube, variable, axes) else {
            continue;
        };
        if !grids.iter().any(|known| known.dims == grid.dims) {
            if grid.areas.is_none() && axes == FieldAxes::Both {
                context.warn(
                    "the areas of the cells cannot be told without bounds; all get the same weight",
                );
            }
            grids.push(grid);
        }
    }
    if grids.is_empty() {
        return Err(CubeError::NoAxis {
            operator: context.name(),
            axis: Axis::Longitude,
        });
    }
    let mut drops = vec![false; cube.contents.len()];
    for grid in &grids {
        reduce_grid(&mut cube, grid, &mut drops);
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

fn reduce_grid(cube: &mut Cube, grid: &Grid, drops: &mut [bool]) {
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
                let weights = grid.areas.as_ref().zip(weight_dims).map(|(areas, dims)| {
                    let shape = child.shape();
                    let lens: Vec<usize> = dims.iter().map(|&dim| shape[dim]).collect();
                    let (dims, values) = in_order(&dims, &lens, areas);
                    Weights { dims, values }
                });
                let variable = &mut cube.dataset.variables[index];
                time::add_cell_method(&mut variable.attributes, &grid.method);
                Content::Lazy(Expr::Operation(Arc::new(FieldMean {
                    child: child.clone(),
                    reduced,
                    weights,
                })))
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

/// From the first edge of a coordinate to its last.
fn span(cube: &Cube, coordinate: usize) -> [f64; 2] {
    let centres = cube.numbers(coordinate).unwrap_or_default();
    let of_centres = || centres.iter().map(|&centre| [centre; 2]).collect();
    let edges = area::edges(cube, coordinate).unwrap_or_else(of_centres);
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
    let lon = dataset.coordinate(variable, Axis::Longitude)?;
    let lon_dims = &dataset.variables[lon].dims;
    if axes == FieldAxes::Longitude {
        let &[dim] = lon_dims.as_slice() else {
            return None;
        };
        let method = format!("{}: mean", dataset.dimensions[dim].name);
        return Some(Grid {
            dims: vec![dim],
            areas: None,
            weight_dims: Vec::new(),
            shrinks: vec![lon],
            method,
        });
    }
    let lat = dataset.coordinate(variable, Axis::Latitude)?;
    let lat_dims = &dataset.variables[lat].dims;
    let method = "area: mean".to_owned();
    match (lon_dims.as_slice(), lat_dims.as_slice()) {
        (&[x], &[y]) if x != y => {
            let edges = area::edges(cube, lon).zip(area::edges(cube, lat));
            let areas = edges.map(|(lons, lats)| Arc::new(area::rectilinear(&lons, &lats)));
            let (dims, weight_dims) = (vec![y, x], vec![y, x]);
            Some(Grid {
                dims,
                areas,
                weight_dims,
                shrinks: vec![lon, lat],
                method,
            })
        }
        (x, y) if x == y && !x.is_empty() => {
            let areas = polygon_areas(cube, lon, lat).map(Arc::new);
            Some(Grid {
                dims: x.to_vec(),
                areas,
                weight_dims: x.to_vec(),
                shrinks: vec![],
                method,
            })
        }
        _ => None,
    }
}

/// The areas of cells whose corners are given.
fn polygon_areas(cube: &Cube, lon: usize, lat: usize) -> Option<Vec<f64>> {
    let cells = cube.numbers(lon)?.len();
    let lons = cube.numbers(cube.dataset.bounds(lon)?)?;
    let lats = cube.numbers(cube.dataset.bounds(lat)?)?;
    let corners = lons.len() / cells.max(1);
    (corners >= 3 && lons.len() == corners * cells && lats.len() == lons.len())
        .then(|| area::polygons(lons, lats, corners))
}
