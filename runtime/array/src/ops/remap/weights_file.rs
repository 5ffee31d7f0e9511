//! Weights from a SCRIP file.

use std::path::Path;
use std::sync::Arc;

use super::{From, failed};
use crate::error::CubeError;
use crate::ops::Context;
use crate::remap::Weights;

pub(super) fn read(context: &mut Context<'_>, path: &str) -> Result<From, CubeError> {
    let operator = context.name();
    let source = context.open(Path::new(path))?;
    let dataset = source.dataset();
    let mut failure = None;
    let mut values = std::collections::HashMap::new();
    for name in [
        "src_grid_dims",
        "dst_grid_dims",
        "src_address",
        "dst_address",
        "remap_matrix",
        "src_grid_area",
        "dst_grid_area",
        "src_grid_frac",
        "dst_grid_frac",
    ] {
        let Some(index) = dataset.variable_index(name) else {
            continue;
        };
        let mut numbers = vec![0.0; dataset.shape(index).iter().product()];
        match source.read_f64(index, &dataset.whole(index), &mut numbers) {
            Ok(()) => drop(values.insert(name, numbers)),
            Err(error) => failure = Some(error),
        }
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    let text = |name: &str| dataset.attributes.get_text(name).map(str::to_owned);
    let (weights, rule) =
        Weights::from_scrip(|name| values.get(name).cloned(), text).map_err(failed(operator))?;
    Ok(From::File(Arc::new(weights), rule))
}
