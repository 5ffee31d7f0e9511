//! Operators that change names, attributes and axes and leave every value as it is.

mod clock;
mod table;

pub(crate) use table::table;

use std::sync::Arc;

use super::{Context, Parameters};
use crate::cube::{Content, Cube};
use crate::dataset::{AttrValue, Attributes, Axis, DType, REFERRING};
use crate::error::CubeError;
use crate::ops::cellwise::{Builder, Lookup};
use crate::plan::expr::Expr;
use crate::plan::picks::Picks;

/// Attributes that say how numbers are stored: data would change with them.
const STORAGE: [&str; 5] = [
    "_FillValue",
    "missing_value",
    "scale_factor",
    "add_offset",
    "_Unsigned",
];

/// Renames a variable, the dimension it is the coordinate of, and wherever it is named.
fn rename(
    cube: &mut Cube,
    old: &str,
    new: &str,
    parameters: &Parameters<'_>,
    index: usize,
) -> Result<(), CubeError> {
    let starts_well = new.starts_with(|c: char| c.is_alphabetic() || c == '_');
    if !starts_well || new.contains(['/', ' ']) {
        return Err(parameters.wrong(index, "a name that begins with a letter"));
    }
    if old == new {
        return Ok(());
    }
    let dataset = &mut cube.dataset;
    if dataset.variable_index(new).is_some() || dataset.dimension_index(new).is_some() {
        return Err(parameters.wrong(index, "a name that no variable or dimension has"));
    }
    for variable in &mut dataset.variables {
        if variable.name == old {
            variable.name = new.to_owned();
        }
        for attribute in REFERRING {
            let Some(text) = variable.attributes.get_text(attribute) else {
                continue;
            };
            let words = text.split_whitespace();
            if words.clone().any(|word| word == old) {
                let renamed = words.map(|word| if word == old { new } else { word });
                let renamed = renamed.collect::<Vec<_>>().join(" ");
                variable.attributes.set(attribute, renamed);
            }
        }
    }
    for dimension in &mut dataset.dimensions {
        if dimension.name == old {
            dimension.name = new.to_owned();
        }
    }
    Ok(())
}

/// `chname`: pairs of an old and a new name.
fn rename_pairs(mut cube: Cube, context: &mut Context<'_>) -> Result<Cube, CubeError> {
    let parameters = context.parameters();
    for (index, pair) in pairs(&parameters)? {
        let [old, new] = pair;
        if cube.dataset.variable_index(old).is_none() {
            context.warn(format!("the input has no variable `{old}`"));
            continue;
        }
        rename(&mut cube, old, new, &parameters, index + 1)?;
    }
    Ok(cube)
}

/// The parameters two by two, each with the index of its first.
fn pairs<'a>(parameters: &Parameters<'a>) -> Result<Vec<(usize, &'a [String; 2])>, CubeError> {
    let (pairs, rest) = parameters.values.as_chunks::<2>();
    if !rest.is_empty() {
        let last = parameters.values.len() - 1;
        return Err(parameters.wrong(last, "pairs of an old and a new one"));
    }
    let indexed = pairs.iter().enumerate();
    Ok(indexed.map(|(place, pair)| (2 * place, pair)).collect())
}

/// `chunit`: pairs of old and new units of data variables.
fn change_units(mut cube: Cube, parameters: &Parameters<'_>) -> Result<Cube, CubeError> {
    let pairs = pairs(parameters)?;
    for index in cube.dataset.data_variables() {
        let attributes = &mut cube.dataset.variables[index].attributes;
        let units = attributes.get_text("units").unwrap_or_default();
        if let Some((_, [_, new])) = pairs.iter().find(|(_, [old, _])| old == units) {
            attributes.set("units", new.as_str());
        }
    }
    Ok(cube)
}

/// The first data variable.
fn first(cube: &Cube, operator: &'static str) -> Result<usize, CubeError> {
    let first = cube.dataset.data_variables().first().copied();
    first.ok_or_else(|| CubeError::NothingSelected {
        operator,
        found: "the input has no data variables".to_owned(),
    })
}

/// `setattribute`: `variable@name=value` or, of the file, `name=value`; what has no `=` is one
/// more value of the one before.
fn set_attributes(mut cube: Cube, context: &mut Context<'_>) -> Result<Cube, CubeError> {
    let parameters = context.parameters();
    let mut settings: Vec<(usize, &str, Vec<&str>)> = Vec::new();
    for (index, text) in parameters.values.iter().enumerate() {
        match (text.split_once('='), settings.last_mut()) {
            (Some((target, value)), _) if !target.is_empty() => {
                settings.push((index, target, vec![value]));
            }
            (None, Some((.., values))) => values.push(text),
            _ => return Err(parameters.wrong(index, "[variable@]attribute=value")),
        }
    }
    for (index, target, values) in settings {
        let (variable, attribute) = match target.split_once('@') {
            Some((variable, attribute)) => (Some(variable), attribute),
            None => (None, target),
        };
        let (attribute, kind) = match attribute.rsplit_once(':') {
            Some((name, kind @ ("s" | "d" | "i"))) => (name, kind),
            _ => (attribute, ""),
        };
        if STORAGE.contains(&attribute) {
            let expected = "an attribute that does not say how data is stored (see setmissval)";
            return Err(parameters.wrong(index, expected));
        }
        let expected = "a value of that type";
        let value = attribute_value(&values, kind);
        let value = value.ok_or_else(|| parameters.wrong(index, expected))?;
        let targets: Vec<&mut Attributes> = match variable {
            None => vec![&mut cube.dataset.attributes],
            Some("*") => {
                let data = cube.dataset.data_variables();
                let variables = cube.dataset.variables.iter_mut().enumerate();
                let chosen = variables.filter(|(index, _)| data.contains(index));
                chosen
                    .map(|(_, variable)| &mut variable.attributes)
                    .collect()
            }
            Some(name) => {
                let variables = cube.dataset.variables.iter_mut();
                let chosen = variables.filter(|variable| variable.name == name);
                chosen.map(|variable| &mut variable.attributes).collect()
            }
        };
        if targets.is_empty() {
            context.warn(format!("the input has no variable of `{target}`"));
        }
        for attributes in targets {
            match &value {
                None => drop(attributes.remove(attribute)),
                Some(value) => attributes.set(attribute, value.clone()),
            }
        }
    }
    Ok(cube)
}

/// The value of an attribute; `Some(None)` removes it, `None` is not of the type.
#[allow(clippy::option_option, reason = "absent and impossible differ")]
fn attribute_value(values: &[&str], kind: &str) -> Option<Option<AttrValue>> {
    if let [""] = values {
        return Some(None);
    }
    let integers = || -> Option<Vec<i32>> { values.iter().map(|v| v.parse().ok()).collect() };
    let doubles = || -> Option<Vec<f64>> { values.iter().map(|v| v.parse().ok()).collect() };
    let text = || AttrValue::Text(values.join(",").trim_matches('"').to_owned());
    let value = match kind {
        "i" => AttrValue::I32(integers()?),
        "d" => AttrValue::F64(doubles()?),
        "s" => text(),
        _ => match (integers(), doubles()) {
            (Some(values), _) => AttrValue::I32(values),
            (None, Some(values)) => AttrValue::F64(values),
            (None, None) => text(),
        },
    };
    Some(Some(value))
}

/// Turns the axis of latitudes or levels round, in every variable.
fn invert(mut cube: Cube, operator: &'static str, axis: Axis) -> Result<Cube, CubeError> {
    let of_axis = |variable: usize| {
        let coordinate = cube.dataset.coordinate(variable, axis)?;
        cube.dataset.variables[coordinate].dims.first().copied()
    };
    let mut dims: Vec<usize> = cube
        .dataset
        .data_variables()
        .into_iter()
        .filter_map(of_axis)
        .collect();
    dims.sort_unstable();
    dims.dedup();
    if dims.is_empty() {
        return Err(CubeError::NoAxis { operator, axis });
    }
    for dim in dims {
        let len = cube.dataset.dimensions[dim].len;
        let table: Arc<Vec<usize>> = Arc::new((0..len).rev().collect());
        let before = cube.clone();
        cube.pick(dim, &Picks::from_indices(table.iter().copied()));
        // A floating-point variable is read as it lies and turned in memory: picking would
        // decode its chunks row by row.
        for (index, content) in before.contents.iter().enumerate() {
            let variable = &before.dataset.variables[index];
            let place = variable.dims.iter().position(|&own| own == dim);
            let (Content::Lazy(expr), Some(place)) = (content, place) else {
                continue;
            };
            if matches!(variable.dtype, DType::F32 | DType::F64) {
                cube.contents[index] = Content::Lazy(turned(expr, place, &table));
            }
        }
    }
    Ok(cube)
}

fn turned(expr: &Expr, place: usize, table: &Arc<Vec<usize>>) -> Expr {
    let shape = expr.shape();
    let lookup = |dim: usize| match dim == place {
        true => Lookup::Table(dim, Arc::clone(table)),
        false => Lookup::Same(dim),
    };
    let lookups = (0..shape.len()).map(lookup).collect();
    let mut builder = Builder::new(shape);
    let value = builder.operand(expr, lookups);
    builder.finish(value)
}
