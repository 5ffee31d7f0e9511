//! What a dataset must be so that it can be written. Pure.

use std::collections::HashSet;

use super::options::Format;
use super::zarr::MARKERS;
use crate::dataset::{Dataset, Variable, split_path};

/// Says what a file of the format could not hold.
pub(super) fn check(dataset: &Dataset, format: Format) -> Result<(), String> {
    let mut names = HashSet::new();
    for (index, dimension) in dataset.dimensions.iter().enumerate() {
        let uses = |variable: &Variable| variable.dims.contains(&index);
        // Zarr knows no dimension but those of arrays.
        if format == Format::NetCdf4 || dataset.variables.iter().any(uses) {
            check_name(&dimension.name, format)?;
        }
        if !names.insert(&dimension.name) {
            return Err(format!("two dimensions are called `{}`", dimension.name));
        }
        if dimension.len == 0 && !dimension.unlimited {
            return Err(format!("dimension `{}` has no length", dimension.name));
        }
    }
    let mut names = HashSet::new();
    for variable in &dataset.variables {
        check_name(&variable.name, format)?;
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
    for variable in &dataset.variables {
        let mut group = split_path(&variable.name).0;
        while !group.is_empty() {
            if dataset.variable_index(group).is_some() || dataset.dimension_index(group).is_some() {
                return Err(format!(
                    "`{group}` is a group, and the name of something else"
                ));
            }
            group = split_path(group).0;
        }
    }
    let attributes = dataset.attributes.iter().map(|(path, _)| path);
    for path in attributes.filter(|path| path.contains('/')) {
        check_name(path, format)?;
    }
    Ok(())
}

/// A name, or the path of what lies in a group.
fn check_name(path: &str, format: Format) -> Result<(), String> {
    let (kind, is_wrong): (_, fn(&str) -> bool) = match format {
        Format::NetCdf4 => ("NetCDF file", |_| false),
        Format::Zarr3 => ("Zarr store", |name| {
            MARKERS.contains(&name) || name.starts_with("__") || name.contains('\\')
        }),
    };
    if format == Format::Zarr3 && path.contains('/') {
        return Err(format!(
            "`{path}` lies in a group, which Zarr stores are not written with: select other \
             variables, or write a NetCDF-4 file"
        ));
    }
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    match path.split('/').all(|name| is_name(name) && !is_wrong(name)) {
        true => Ok(()),
        false => Err(format!("`{path}` cannot be a name in a {kind}")),
    }
}
