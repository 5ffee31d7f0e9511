//! Reductions of groups of steps: `timmean`, `monmean`, `ymonmean` and their kind.

mod table;

pub(crate) use table::table;

use std::sync::Arc;

use super::grouping::{Group, Grouping};
use super::statistic::Statistic;
use crate::command::TimeStamp;
use crate::cube::{Content, Cube, TimeCoordinate};
use crate::dataset::{Attributes, DType, Variable};
use crate::error::CubeError;
use crate::plan::expr::{Expr, TimeReduction};

/// Reduces every variable that varies with time.
fn reduce(
    mut cube: Cube,
    operator: &'static str,
    grouping: Grouping,
    statistic: Statistic,
    stamp: TimeStamp,
) -> Result<Cube, CubeError> {
    let time = cube.time(operator)?;
    let groups = grouping.groups(&time.dates(operator)?);
    if groups.is_empty() {
        let found = "the time axis has no steps".to_owned();
        return Err(CubeError::NothingSelected { operator, found });
    }
    let bounds_variable = time.bounds.as_ref().map(|(variable, _)| *variable);
    let is_axis = |index| index == time.variable || Some(index) == bounds_variable;
    for index in (0..cube.contents.len()).filter(|&index| !is_axis(index)) {
        let variable = &mut cube.dataset.variables[index];
        let Some(axis) = variable.dims.iter().position(|&dim| dim == time.dim) else {
            continue;
        };
        if let Content::Lazy(child) = &cube.contents[index] {
            let reduction = TimeReduction {
                child: child.clone(),
                axis,
                groups: groups.clone(),
                statistic,
            };
            cube.contents[index] = Content::Lazy(Expr::Time(Arc::new(reduction)));
            add_cell_method(&mut variable.attributes, &cell_method(grouping, statistic));
        }
    }
    // Texts have no mean: those that vary with time are left out.
    let varies = |index: usize| cube.dataset.variables[index].dims.contains(&time.dim);
    let keeps: Vec<bool> = (0..cube.contents.len())
        .map(|index| !(varies(index) && matches!(cube.contents[index], Content::Texts(_))))
        .collect();
    replace_axis(&mut cube, &time, &groups, grouping, stamp);
    cube.retain(|index| keeps.get(index).copied().unwrap_or(true));
    Ok(cube)
}

fn cell_method(grouping: Grouping, statistic: Statistic) -> String {
    let method = statistic.cell_method();
    if grouping.is_climatology() {
        format!("time: {method} within years time: {method} over years")
    } else {
        format!("time: {method}")
    }
}

/// Appends to `cell_methods` (CF 7.3: in the order of application).
pub(crate) fn add_cell_method(attributes: &mut Attributes, method: &str) {
    let text = match attributes.get_text("cell_methods").map(str::trim) {
        Some(before) if !before.is_empty() => format!("{before} {method}"),
        _ => method.to_owned(),
    };
    attributes.set("cell_methods", text);
}

/// Puts the groups' times and bounds in the place of those of the steps.
fn replace_axis(
    cube: &mut Cube,
    time: &TimeCoordinate,
    groups: &[Group],
    grouping: Grouping,
    stamp: TimeStamp,
) {
    let bounds: Vec<[f64; 2]> = groups
        .iter()
        .map(|group| group_bounds(time, group))
        .collect();
    let stamps = groups.iter().zip(&bounds).map(|(group, bounds)| {
        let value = |step: Option<usize>| step.map_or(f64::NAN, |step| time.axis.values[step]);
        let steps: Vec<usize> = group.iter().cloned().flatten().collect();
        match stamp {
            // The last contributor, as CDO does: the middle of the span would be another month.
            TimeStamp::Default if grouping.is_climatology() => value(steps.last().copied()),
            TimeStamp::Default => bounds[0] + (bounds[1] - bounds[0]) / 2.0,
            TimeStamp::First => value(steps.first().copied()),
            TimeStamp::Middle => value(steps.get(steps.len() / 2).copied()),
            TimeStamp::Last => value(steps.last().copied()),
        }
    });
    cube.contents[time.variable] = Content::Numbers(Arc::new(stamps.collect()));
    cube.dataset.dimensions[time.dim].len = groups.len();
    let coordinate = &mut cube.dataset.variables[time.variable];
    if !matches!(coordinate.dtype, DType::F64 | DType::F32) {
        coordinate.dtype = DType::F64;
    }
    let kind = if grouping.is_climatology() || time.is_climatology && time.bounds.is_some() {
        "climatology"
    } else {
        "bounds"
    };
    let content = Content::Numbers(Arc::new(bounds.into_iter().flatten().collect()));
    set_bounds(cube, time, kind, content);
}

fn set_bounds(cube: &mut Cube, time: &TimeCoordinate, kind: &str, content: Content) {
    let other = if kind == "bounds" {
        "climatology"
    } else {
        "bounds"
    };
    let attributes = &mut cube.dataset.variables[time.variable].attributes;
    attributes.remove(other);
    let index = match &time.bounds {
        Some((index, _)) => {
            let index = *index;
            if kind == "climatology" && !time.is_climatology {
                cube.dataset.variables[index].name = String::new();
                let name = cube.free_name("climatology_bnds");
                cube.dataset.variables[index].name = name;
            }
            let variable = &mut cube.dataset.variables[index];
            if !matches!(variable.dtype, DType::F64 | DType::F32) {
                variable.dtype = DType::F64;
            }
            cube.contents[index] = content;
            index
        }
        None => {
            let name = match kind {
                "climatology" => cube.free_name("climatology_bnds"),
                _ => {
                    let coordinate = &cube.dataset.variables[time.variable].name;
                    cube.free_name(&format!("{coordinate}_bnds"))
                }
            };
            let dims = vec![time.dim, cube.dimension("bnds", 2)];
            let attributes = Attributes::default();
            cube.push(
                Variable {
                    name,
                    dtype: DType::F64,
                    dims,
                    attributes,
                },
                content,
            );
            cube.dataset.variables.len() - 1
        }
    };
    let name = cube.dataset.variables[index].name.clone();
    cube.dataset.variables[time.variable]
        .attributes
        .set(kind, name);
}

/// From the start of the first step to the end of the last; of stamps without bounds, from the
/// first to the last.
fn group_bounds(time: &TimeCoordinate, group: &Group) -> [f64; 2] {
    let steps = || group.iter().cloned().flatten();
    let of = |step: usize| match &time.bounds {
        Some((_, bounds)) => bounds[step],
        None => [time.axis.values[step]; 2],
    };
    let from = steps()
        .map(|step| of(step)[0])
        .fold(f64::INFINITY, f64::min);
    let to = steps()
        .map(|step| of(step)[1])
        .fold(f64::NEG_INFINITY, f64::max);
    [from, to]
}
