//! The target grid of an operator: understood from its parameter, and put into the cube.

use std::path::Path;
use std::sync::Arc;

use super::Known;
use crate::cube::{Content, Cube};
use crate::dataset::{DType, Variable};
use crate::error::CubeError;
use crate::grid::{Cells, Grid, Kind};
use crate::ops::Context;
use crate::ops::horizontal::Horizontal;
use crate::storage::{is_remote, without_secrets};

/// Descriptions of grids are texts of a few megabytes at most.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 30;

/// The grid that a parameter names: a data file, a description, or a name.
pub(super) fn parse(context: &mut Context<'_>, parameter: &str) -> Result<Grid, CubeError> {
    let operator = context.name();
    let wrong = |source| CubeError::Grid {
        operator,
        source: Box::new(source),
    };
    let path = Path::new(parameter);
    if !path.is_file() && !is_remote(path) {
        return Grid::from_name(parameter).map_err(wrong);
    }
    if let Some(text) = description(path) {
        return Grid::from_description(&text).map_err(wrong);
    }
    let source = context.open(path)?;
    let cube = Cube::from_source(&source)?;
    let mut data = cube.dataset.data_variables().into_iter();
    let found = data.find_map(|variable| Horizontal::of(&cube, variable));
    let found = found.ok_or(CubeError::NoGrid {
        operator,
        path: without_secrets(parameter),
    })?;
    Ok(found.grid.recognised())
}

/// The text of a file that is one.
fn description(path: &Path) -> Option<String> {
    let size = std::fs::metadata(path).ok()?.len();
    let mut start = [0; 8];
    {
        use std::io::Read as _;
        let mut file = std::fs::File::open(path).ok()?;
        let len = file.read(&mut start).ok()?;
        let is_data = start.starts_with(b"\x89HDF") || start.starts_with(b"CDF");
        if is_data || len == 0 || size > DESCRIPTION_BYTES_MAX {
            return None;
        }
    }
    std::fs::read_to_string(path).ok()
}

/// Makes the dimensions of the target in a cube. Those of the old grids lose their names.
pub(super) fn dimensions(cube: &mut Cube, target: &Grid, known: &[Known]) -> Vec<usize> {
    let names = match target.shape().len() {
        1 => vec![target.names.x.clone()],
        _ => vec![target.names.y.clone(), target.names.x.clone()],
    };
    for known in known {
        for &dim in &known.source.dims {
            let name = format!("{} of the source", cube.dataset.dimensions[dim].name);
            cube.dataset.dimensions[dim].name = name;
        }
    }
    let mut made = Vec::new();
    for (name, len) in names.iter().zip(target.shape()) {
        // A coordinate of the old grid may have the name: it goes.
        let mut name = name.clone();
        while cube.dataset.dimension_index(&name).is_some() {
            name.push_str("_2");
        }
        cube.dataset.dimensions.push(crate::dataset::Dimension {
            name,
            len,
            unlimited: false,
        });
        made.push(cube.dataset.dimensions.len() - 1);
    }
    made
}

/// Takes variables that go out of the attributes that name them.
pub(super) fn forget(cube: &mut Cube, dropped: &[String]) {
    for variable in &mut cube.dataset.variables {
        for attribute in ["coordinates", "bounds", "ancillary_variables"] {
            let Some(text) = variable.attributes.get_text(attribute) else {
                continue;
            };
            let is_kept = |word: &&str| !dropped.iter().any(|name| name == word);
            let kept: Vec<&str> = text.split_whitespace().filter(is_kept).collect();
            let kept = kept.join(" ");
            if kept.is_empty() {
                variable.attributes.remove(attribute);
            } else if kept != text {
                variable.attributes.set(attribute, kept);
            }
        }
    }
}

/// Adds the target's coordinates and bounds. `drops` are the variables that go afterwards.
pub(super) fn add_coordinates(
    cube: &mut Cube,
    target: &Grid,
    target_dims: &[usize],
    drops: &[bool],
) {
    // Names of what goes are free.
    for (variable, _) in cube
        .dataset
        .variables
        .iter_mut()
        .zip(drops)
        .filter(|(_, drop)| **drop)
    {
        variable.name.push_str(" of the source");
    }
    let names = &target.names;
    let remapped: Vec<usize> = (0..cube.dataset.variables.len())
        .filter(|&index| {
            let dims = &cube.dataset.variables[index].dims;
            target_dims.iter().all(|dim| dims.contains(dim))
        })
        .collect();
    let mut add = |name: &str, coordinate: Coordinate<'_>| {
        let mut attributes = crate::dataset::Attributes::default();
        attributes.set("standard_name", coordinate.standard_name);
        if !coordinate.long_name.is_empty() {
            attributes.set("long_name", coordinate.long_name);
        }
        attributes.set("units", coordinate.units);
        if let Some(axis) = coordinate.axis {
            attributes.set("axis", axis);
        }
        if let Some((count, values)) = coordinate.bounds {
            let dimension = match (count, target.kind) {
                (2, _) => "bnds",
                (_, Kind::Curvilinear) => "nv4",
                _ => "vertices",
            };
            let vertex = cube.dimension(dimension, count);
            let bounds = cube.free_name(&format!("{name}_bnds"));
            attributes.set("bounds", bounds.as_str());
            let mut dims = coordinate.dims.to_vec();
            dims.push(vertex);
            let variable = Variable {
                name: bounds,
                dtype: DType::F64,
                dims,
                attributes: crate::dataset::Attributes::default(),
            };
            cube.push(variable, Content::Numbers(Arc::new(values)));
        }
        let variable = Variable {
            name: name.to_owned(),
            dtype: DType::F64,
            dims: coordinate.dims.to_vec(),
            attributes,
        };
        cube.push(
            variable,
            Content::Numbers(Arc::new(coordinate.centres.to_vec())),
        );
    };
    let lon = |dims, centres, bounds, axis| Coordinate {
        standard_name: "longitude",
        long_name: &names.lon_long,
        units: "degrees_east",
        axis,
        dims,
        centres,
        bounds,
    };
    let lat = |dims, centres, bounds, axis| Coordinate {
        standard_name: "latitude",
        long_name: &names.lat_long,
        units: "degrees_north",
        axis,
        dims,
        centres,
        bounds,
    };
    match &target.cells {
        Cells::Axes { lon: x, lat: y } => {
            let pairs = |axis: &crate::grid::Axis| {
                let bounds = axis.bounds.as_ref()?;
                Some((2, bounds.iter().flatten().copied().collect()))
            };
            add(
                &names.x,
                lon(&target_dims[1..], &x.centres, pairs(x), Some("X")),
            );
            add(
                &names.y,
                lat(&target_dims[..1], &y.centres, pairs(y), Some("Y")),
            );
        }
        Cells::Each {
            lons,
            lats,
            corners,
            ..
        } => {
            let of = |values: fn(&crate::grid::Corners) -> &Vec<f64>| {
                corners.as_ref().map(|c| (c.count, values(c).clone()))
            };
            add(&names.lon, lon(target_dims, lons, of(|c| &c.lons), None));
            add(&names.lat, lat(target_dims, lats, of(|c| &c.lats), None));
            for index in remapped {
                let attributes = &mut cube.dataset.variables[index].attributes;
                let before = attributes.get_text("coordinates").unwrap_or_default();
                let text = format!("{before} {} {}", names.lat, names.lon);
                attributes.set("coordinates", text.trim_start());
            }
        }
    }
}

/// A coordinate variable to be made.
struct Coordinate<'a> {
    standard_name: &'a str,
    long_name: &'a str,
    units: &'a str,
    axis: Option<&'a str>,
    dims: &'a [usize],
    centres: &'a [f64],
    /// Values for each cell, and all.
    bounds: Option<(usize, Vec<f64>)>,
}
