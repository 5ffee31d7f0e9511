//! The structure of a new file: dimension scales, variables, attributes and the references that
//! tie them together, by the rules of NetCDF-4.

use std::collections::BTreeSet;
use std::ffi::CString;

use super::super::codec::{Codec, Stream};
use super::super::layout::Layout;
use crate::dataset::{AttrValue, DType, Dataset, Variable, in_group, split_path};
use crate::library::{ArrayPlan, Failure, Kind, NewArray, NewFile, NewFilter, ScaleUse};
use crate::storage::structure::NOT_A_COORDINATE;

/// Makes everything but the data.
pub(super) fn make(
    file: &NewFile,
    dataset: &Dataset,
    layouts: &[Layout],
) -> Result<Vec<NewArray>, Failure> {
    file.write_attribute("/", "_NCProperties", &properties())?;
    for group in groups(dataset) {
        file.group(group)?;
    }
    for (path, value) in dataset.attributes.iter() {
        let (group, name) = split_path(path);
        file.write_attribute(&format!("/{group}"), name, value)?;
    }
    let mut bare = Vec::new();
    for dimension in 0..dataset.dimensions.len() {
        if coordinate_of(dataset, dimension).is_none() {
            bare.push((dimension, make_bare(file, dataset, dimension)?));
        }
    }
    let variables = layouts.iter().enumerate();
    let arrays = variables
        .map(|(index, layout)| make_variable(file, dataset, index, layout))
        .collect::<Result<Vec<_>, _>>()?;
    tie(file, dataset, &bare, &arrays)?;
    Ok(arrays)
}

/// The groups in which something lies, those around before those in them.
fn groups(dataset: &Dataset) -> BTreeSet<&str> {
    let dimensions = dataset.dimensions.iter().map(|dimension| &dimension.name);
    let variables = dataset.variables.iter().map(|variable| &variable.name);
    let attributes = dataset.attributes.iter().map(|(path, _)| path);
    let mut found = BTreeSet::new();
    for path in dimensions
        .chain(variables)
        .map(String::as_str)
        .chain(attributes)
    {
        let mut group = split_path(path).0;
        while !group.is_empty() && found.insert(group) {
            group = split_path(group).0;
        }
    }
    found
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
        let (group, name) = split_path(name);
        in_group(group, &format!("{NOT_A_COORDINATE}{name}"))
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
        filters: &[],
        fill: None,
    })?;
    let name = format!(
        "This is a netCDF dimension but not a netCDF variable.{:10}",
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
    layout: &Layout,
) -> Result<NewArray, Failure> {
    let variable = &dataset.variables[index];
    let unlimited: Vec<bool> = variable
        .dims
        .iter()
        .map(|&dim| dataset.dimensions[dim].unlimited)
        .collect();
    let array = file.array(&ArrayPlan {
        name: &array_name(dataset, index),
        kind: Kind::Data(variable.dtype),
        extents: &layout.shape,
        unlimited: &unlimited,
        chunk_shape: layout.chunk_shape.as_deref(),
        filters: &filters(layout.codec),
        fill: (!variable.dtype.is_text()).then_some(layout.fill.as_slice()),
    })?;
    if let Some(dimension) = scale_of(dataset, index) {
        make_scale(&array, dimension, split_path(&variable.name).1)?;
        if variable.dims.len() > 1 {
            let ids = variable.dims.iter().map(|&dim| dim as i32).collect();
            array.write_attribute("_Netcdf4Coordinates", &AttrValue::I32(ids))?;
        }
    }
    write_attributes(&array, variable, &layout.fill_attribute)?;
    Ok(array)
}

/// The filters whose work a codec does.
fn filters(codec: Codec) -> Vec<NewFilter> {
    let compressor = match codec.compressor {
        // HDF5 has no filter for gzip's header and trailer; layouts of NetCDF do not have it.
        Stream::Plain | Stream::Gzip(_) => return Vec::new(),
        Stream::Zlib(level) => NewFilter::Deflate(level),
        Stream::Zstd(level) => NewFilter::Zstd(level),
    };
    let shuffle = codec.shuffle.then_some(NewFilter::Shuffle);
    shuffle.into_iter().chain([compressor]).collect()
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
    arrays: &[NewArray],
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
        arrays[index].write_scales(&own)?;
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
            Some(variable) => Some(&arrays[variable]),
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
