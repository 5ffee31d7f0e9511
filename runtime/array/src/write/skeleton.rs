//! The structure of a new file: dimension scales, variables, attributes and the references that
//! tie them together, by the rules of NetCDF-4.

use std::collections::HashSet;
use std::ffi::CString;
use std::path::Path;

use super::encode::{element_bytes_of, fill_value};
use super::layout::chunk_shape;
use super::{WriteError, WriteOptions, Written, library_failed};
use crate::dataset::{AttrValue, DType, Dataset, Variable};
use crate::library::{ArrayPlan, Failure, Kind, NewArray, NewFile, ScaleUse};
use crate::storage::structure::NOT_A_COORDINATE;

/// Says what NetCDF could not hold.
pub(super) fn check(dataset: &Dataset) -> Result<(), String> {
    let mut names = HashSet::new();
    for dimension in &dataset.dimensions {
        check_name(&dimension.name)?;
        if !names.insert(&dimension.name) {
            return Err(format!("two dimensions are called `{}`", dimension.name));
        }
        if dimension.len == 0 && !dimension.unlimited {
            return Err(format!("dimension `{}` has no length", dimension.name));
        }
    }
    let mut names = HashSet::new();
    for variable in &dataset.variables {
        check_name(&variable.name)?;
        if !names.insert(&variable.name) {
            return Err(format!("two variables are called `{}`", variable.name));
        }
        if variable
            .dims
            .iter()
            .any(|&dim| dim >= dataset.dimensions.len())
        {
            return Err(format!(
                "variable `{}` has a dimension that is not there",
                variable.name
            ));
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(format!("`{name}` cannot be a name in a NetCDF file"));
    }
    Ok(())
}

/// Makes everything but the data.
pub(super) fn make(
    file: &NewFile,
    dataset: &Dataset,
    options: &WriteOptions,
    target: &Path,
) -> Result<Vec<Written>, WriteError> {
    let failed = |failure: Failure| library_failed(target, failure);
    file.write_attribute("_NCProperties", &properties())
        .map_err(failed)?;
    for (name, value) in dataset.attributes.iter() {
        file.write_attribute(name, value).map_err(failed)?;
    }
    let mut bare = Vec::new();
    for dimension in 0..dataset.dimensions.len() {
        if coordinate_of(dataset, dimension).is_none() {
            bare.push((
                dimension,
                make_bare(file, dataset, dimension).map_err(failed)?,
            ));
        }
    }
    let variables = (0..dataset.variables.len())
        .map(|index| make_variable(file, dataset, index, options, target))
        .collect::<Result<Vec<_>, _>>()?;
    tie(file, dataset, &bare, &variables).map_err(failed)?;
    Ok(variables)
}

/// What wrote the file, in the form that `ncdump -hs` knows.
fn properties() -> AttrValue {
    let hdf5 = hdf5::library_version();
    AttrValue::Text(format!(
        "version=2,mizar={},hdf5={}.{}.{}",
        mizar_core::VERSION,
        hdf5.0,
        hdf5.1,
        hdf5.2
    ))
}

/// The variable that is the scale of a dimension: of its name, and along it first.
fn coordinate_of(dataset: &Dataset, dimension: usize) -> Option<usize> {
    let index = dataset.variable_index(&dataset.dimensions[dimension].name)?;
    (dataset.variables[index].dims.first() == Some(&dimension)).then_some(index)
}

/// The dimension that a variable is the scale of.
fn scale_of(dataset: &Dataset, variable: usize) -> Option<usize> {
    let dimension = dataset.dimension_index(&dataset.variables[variable].name)?;
    (coordinate_of(dataset, dimension) == Some(variable)).then_some(dimension)
}

/// The name of a variable's array: another one when a dimension of that name has no part in it.
fn array_name(dataset: &Dataset, variable: usize) -> String {
    let name = &dataset.variables[variable].name;
    let is_taken = dataset.dimension_index(name).is_some() && scale_of(dataset, variable).is_none();
    if is_taken {
        format!("{NOT_A_COORDINATE}{name}")
    } else {
        name.clone()
    }
}

fn make_bare(file: &NewFile, dataset: &Dataset, index: usize) -> Result<NewArray, Failure> {
    let dimension = &dataset.dimensions[index];
    let array = file.array(&ArrayPlan {
        name: &dimension.name,
        kind: Kind::BareDimension,
        extents: &[dimension.len],
        unlimited: &[dimension.unlimited],
        chunk_shape: dimension.unlimited.then_some(&[1024]),
        shuffle: false,
        deflate_level: None,
        fill: None,
    })?;
    let name = format!(
        "This is a netCDF dimension but not a netCDF variable{:10}",
        dimension.len
    );
    make_scale(&array, index, &name)?;
    Ok(array)
}

fn make_scale(array: &NewArray, dimension: usize, name: &str) -> Result<(), Failure> {
    array.write_terminated("CLASS", c"DIMENSION_SCALE")?;
    let name = CString::new(name).unwrap_or_default();
    array.write_terminated("NAME", &name)?;
    array.write_attribute("_Netcdf4Dimid", &AttrValue::I32(vec![dimension as i32]))
}

fn make_variable(
    file: &NewFile,
    dataset: &Dataset,
    index: usize,
    options: &WriteOptions,
    target: &Path,
) -> Result<Written, WriteError> {
    let variable = &dataset.variables[index];
    let shape = dataset.shape(index);
    let unlimited: Vec<bool> = variable
        .dims
        .iter()
        .map(|&dim| dataset.dimensions[dim].unlimited)
        .collect();
    let is_text = variable.dtype.is_text();
    let deflate_level = options.deflate_level.filter(|_| !is_text);
    let element_bytes = variable.dtype.size_bytes();
    let chosen = chunk_shape(&shape, &unlimited, element_bytes, deflate_level.is_some());
    // What is stored in one piece needs no chunks.
    let chunk_shape = match options.chunks.get(&index) {
        Some(chunk) if chosen.is_some() => Some(chunk.clone()),
        _ => chosen,
    };
    let fill_attribute = fill_value(variable.dtype, variable.attributes.get("_FillValue"))
        .map_err(|value| WriteError::Value {
            path: target.to_owned(),
            variable: variable.name.clone(),
            dtype: format!("{:?}", variable.dtype),
            value: format!("its fill value {}", value.0),
        })?;
    let fill = element_bytes_of(&fill_attribute).map_or_else(Vec::new, |(_, bytes)| bytes);
    let failed = |failure: Failure| library_failed(target, failure);
    let array = file
        .array(&ArrayPlan {
            name: &array_name(dataset, index),
            kind: Kind::Data(variable.dtype),
            extents: &shape,
            unlimited: &unlimited,
            chunk_shape: chunk_shape.as_deref(),
            shuffle: options.shuffle,
            deflate_level,
            fill: (!is_text).then_some(fill.as_slice()),
        })
        .map_err(failed)?;
    if let Some(dimension) = scale_of(dataset, index) {
        make_scale(&array, dimension, &variable.name).map_err(failed)?;
        if variable.dims.len() > 1 {
            let ids = variable.dims.iter().map(|&dim| dim as i32).collect();
            array
                .write_attribute("_Netcdf4Coordinates", &AttrValue::I32(ids))
                .map_err(failed)?;
        }
    }
    write_attributes(&array, variable, &fill_attribute).map_err(failed)?;
    Ok(Written {
        array,
        chunk_shape,
        fill,
    })
}

fn write_attributes(
    array: &NewArray,
    variable: &Variable,
    fill: &AttrValue,
) -> Result<(), Failure> {
    for (name, value) in variable.attributes.iter() {
        let is_fill = name == "_FillValue" && !variable.dtype.is_text();
        if name == "_FillValue" && variable.dtype == DType::Text {
            continue;
        }
        array.write_attribute(name, if is_fill { fill } else { value })?;
    }
    Ok(())
}

/// Writes the references between variables and the scales of their dimensions.
fn tie(
    file: &NewFile,
    dataset: &Dataset,
    bare: &[(usize, NewArray)],
    variables: &[Written],
) -> Result<(), Failure> {
    let mut scales = Vec::with_capacity(dataset.dimensions.len());
    for dimension in &dataset.dimensions {
        scales.push(file.address_of(&dimension.name)?);
    }
    let mut uses: Vec<Vec<ScaleUse>> = vec![Vec::new(); dataset.dimensions.len()];
    for (index, variable) in dataset.variables.iter().enumerate() {
        if variable.dims.is_empty() || scale_of(dataset, index).is_some() {
            continue;
        }
        let own: Vec<u64> = variable.dims.iter().map(|&dim| scales[dim]).collect();
        variables[index].array.write_scales(&own)?;
        let address = file.address_of(&array_name(dataset, index))?;
        for (position, &dim) in variable.dims.iter().enumerate() {
            uses[dim].push(ScaleUse {
                address,
                dimension: position as i32,
                padding: 0,
            });
        }
    }
    for (dimension, uses) in uses.iter().enumerate().filter(|(_, uses)| !uses.is_empty()) {
        let scale = match coordinate_of(dataset, dimension) {
            Some(variable) => Some(&variables[variable].array),
            None => bare
                .iter()
                .find(|(index, _)| *index == dimension)
                .map(|(_, array)| array),
        };
        if let Some(scale) = scale {
            scale.write_uses(uses)?;
        }
    }
    Ok(())
}
