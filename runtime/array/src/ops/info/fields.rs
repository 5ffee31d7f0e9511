//! `info` and `infon`: one line for each field.

use std::fmt::Write as _;
use std::sync::Arc;

use super::number::{general, padded};
use super::scan::{FieldScan, Scan};
use super::{clock, dates, day, forget_data, json};
use crate::cube::{Content, Cube};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::ops::select::levels::levels_of;
use crate::ops::{Context, Outcome};
use crate::plan::expr::Expr;

/// A field of a variable, by what is printed of it.
pub(super) struct Field {
    pub(super) variable: usize,
    /// Its number among the fields of the variable.
    pub(super) number: usize,
    /// The step; fields that do not vary with time are of the first.
    pub(super) step: usize,
    pub(super) level: f64,
}

/// The dimensions of a data variable over which a field extends.
pub(super) fn horizontal(cube: &Cube, variable: usize) -> Vec<bool> {
    let dataset = &cube.dataset;
    let own = &dataset.variables[variable].dims;
    let mut of_field: Vec<usize> = Vec::new();
    for axis in [Axis::Longitude, Axis::Latitude] {
        if let Some(coordinate) = dataset.coordinate(variable, axis) {
            of_field.extend(&dataset.variables[coordinate].dims);
        }
    }
    own.iter().map(|dim| of_field.contains(dim)).collect()
}

/// All fields, step by step, in the order in which they are printed.
pub(super) fn fields(cube: &Cube, operator: &'static str) -> Result<Vec<Field>, CubeError> {
    let time = cube.time_if_any(operator)?.map(|time| time.dim);
    let steps = time.map_or(1, |dim| cube.dataset.dimensions[dim].len);
    let mut by_step: Vec<Vec<Field>> = (0..steps).map(|_| Vec::new()).collect();
    for variable in cube.dataset.data_variables() {
        let dims = &cube.dataset.variables[variable].dims;
        let is_horizontal = horizontal(cube, variable);
        let kept: Vec<usize> = (0..dims.len()).filter(|&i| !is_horizontal[i]).collect();
        let lens: Vec<usize> = kept
            .iter()
            .map(|&i| cube.dataset.dimensions[dims[i]].len)
            .collect();
        let (levels, level_dim) = levels_of(cube, variable);
        let mut number = 0;
        let Ok(()) = crate::plan::region::for_each_index(&lens, |index| {
            let at = |wanted: Option<usize>| {
                let found = kept.iter().position(|&i| Some(dims[i]) == wanted);
                found.map(|place| index[place])
            };
            let step = at(time).unwrap_or(0);
            let level = match level_dim {
                Some(_) => levels.get(at(level_dim).unwrap_or(0)),
                None => levels.first(),
            };
            if let Some(fields) = by_step.get_mut(step) {
                fields.push(Field {
                    variable,
                    number,
                    step,
                    level: level.copied().unwrap_or(0.0),
                });
            }
            number += 1;
            Ok::<(), std::convert::Infallible>(())
        });
    }
    Ok(by_step.into_iter().flatten().collect())
}

/// Puts scans in the place of the data of all variables; `other` gives the second operand of
/// each.
pub(super) fn put_scans(cube: &mut Cube, scan: Scan, other: impl Fn(usize) -> Option<Expr>) {
    for variable in cube.dataset.data_variables() {
        let Content::Lazy(child) = cube.contents[variable].clone() else {
            continue;
        };
        let children = std::iter::once(child).chain(other(variable)).collect();
        cube.contents[variable] = Content::Lazy(Expr::Operation(Arc::new(FieldScan {
            children,
            horizontal: horizontal(cube, variable),
            scan,
        })));
    }
    let data = cube.dataset.data_variables();
    let mut rest = cube.clone();
    forget_data(&mut rest);
    for index in (0..cube.contents.len()).filter(|index| !data.contains(index)) {
        cube.contents[index] = rest.contents[index].clone();
    }
}

/// The cells of a field.
pub(super) fn grid_size(cube: &Cube, variable: usize) -> usize {
    let shape = cube.dataset.shape(variable);
    let is_horizontal = horizontal(cube, variable);
    let lens = shape.iter().zip(is_horizontal).filter(|(_, is)| *is);
    lens.map(|(len, _)| len).product()
}

/// How a variable is called: its name, or its number with a minus, which stands for its code.
pub(super) fn identifier(cube: &Cube, variable: usize, by_name: bool) -> String {
    if by_name {
        return cube.dataset.variables[variable].name.clone();
    }
    let data = cube.dataset.data_variables();
    let place = data.iter().position(|&data| data == variable).unwrap_or(0);
    format!("-{}", place + 1)
}

/// `info`, `infon`.
pub(super) fn summary(mut cube: Cube, context: &Context<'_>, by_name: bool) -> Outcome {
    put_scans(&mut cube, Scan::Summary, |_| None);
    let operator = context.name();
    let as_json = context.options.json;
    let render = move |cube: &Cube| {
        let dates = dates(cube, operator)?;
        let width = Scan::Summary.width();
        let mut text = format!(
            "    -1 :       Date     Time   Level Gridsize    Miss :     Minimum        Mean     \
             Maximum : Parameter {}\n",
            if by_name { "name" } else { "ID" }
        );
        let mut values = Vec::new();
        for (place, field) in fields(cube, operator)?.iter().enumerate() {
            let numbers = cube.numbers(field.variable).unwrap_or_default();
            let numbers = numbers.get(field.number * width..(field.number + 1) * width);
            let &[missing, low, mean, high] = numbers.unwrap_or(&[f64::NAN; 4]) else {
                continue;
            };
            let size = grid_size(cube, field.variable);
            let name = identifier(cube, field.variable, by_name);
            if as_json {
                values.push(serde_json::json!({
                    "variable": name,
                    "time": dates.get(field.step).map(ToString::to_string),
                    "level": field.level,
                    "cells": size,
                    "missing": missing as u64,
                    "minimum": low,
                    "mean": mean,
                    "maximum": high,
                }));
                continue;
            }
            let (date, time) = dates
                .get(field.step)
                .map_or_else(no_date, |date| (day(date), clock(date)));
            let level = general(field.level, 6);
            // One number is its own minimum and maximum.
            let numbers = match size == 1 || missing as usize == size {
                true => format!("{:12}{:>12}{:12}", "", padded(mean, 5), ""),
                false => [low, mean, high]
                    .map(|n| format!("{:>12}", padded(n, 5)))
                    .concat(),
            };
            let _ = writeln!(
                text,
                "{:6} : {date:>10} {time:>8} {level:>7} {size:>8} {missing:>7} :{numbers} : {name:<14}",
                place + 1,
            );
        }
        Ok(if as_json {
            json(&serde_json::Value::Array(values))
        } else {
            text
        })
    };
    Outcome::Text(Box::new(cube), Box::new(render))
}

/// What stands for the date of what has none.
pub(super) fn no_date() -> (String, String) {
    ("0000-00-00".to_owned(), "00:00:00".to_owned())
}
