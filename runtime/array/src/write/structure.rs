//! What a dataset must be so that it can be written. Pure.

use std::collections::HashSet;

use super::options::Format;
use super::zarr::MARKERS;
use crate::dataset::Dataset;

/// Says what a file of the format could not hold.
pub(super) fn check(dataset: &Dataset, format: Format) -> Result<(), String> {
    let mut names = HashSet::new();
    for dimension in &dataset.dimensions {
        check_name(&dimension.name, format)?;
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
    Ok(())
}

fn check_name(name: &str, format: Format) -> Result<(), String> {
    let is_wrong = match format {
        Format::NetCdf4 => false,
        Format::Zarr3 => MARKERS.contains(&name) || name.starts_with("__") || name.contains('\\'),
    };
    if is_wrong || matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        let kind = match format {
            Format::NetCdf4 => "NetCDF file",
            Format::Zarr3 => "Zarr store",
        };
        return Err(format!("`{name}` cannot be a name in a {kind}"));
    }
    Ok(())
}
