//! Climate indices of daily series (ECA, ETCCDI): days over a limit, runs of such days, shares
//! beyond a reference. Names and parameters are CDO's.
//!
//! The rows are in [`rows`], what is computed of one cell in [`kernel`] and the modules that it
//! names, what a second input is in [`reference`].

mod base_period;
mod kernel;
mod reference;
mod rows;
mod season;
mod spells;
mod table;

pub(crate) use table::table;

use std::sync::Arc;

use super::grouping::{Group, Grouping};
use super::time::{Choices, Regrouping};
use super::{Context, Outcome};
use crate::cube::{Content, Cube, TimeCoordinate};
use crate::dataset::{Attributes, DType};
use crate::error::CubeError;
use crate::plan::expr::Expr;
use crate::plan::series::{Series, SeriesKernel};
use base_period::{BeyondBase, HeavyTotal};
use kernel::{Index, Rule};
use reference::Second;
use season::GrowingSeason;

/// One variable of the result.
struct Output {
    name: String,
    long_name: String,
    units: Option<&'static str>,
    rule: Rule,
}

/// What is computed, and for which spans of time.
struct Request {
    outputs: Vec<Output>,
    grouping: Grouping,
    /// As [`Regrouping::stamps_last`].
    stamps_last: bool,
    second: Second,
}

/// Computes indices of the first variable of the first input, which a second may be the
/// reference of.
fn compute(
    mut inputs: Vec<Cube>,
    context: &mut Context<'_>,
    request: &Request,
) -> Result<Outcome, CubeError> {
    let mut cube = inputs.remove(0);
    let time = cube.time(context.name())?;
    let groups = Choices::default().groups(&time, request.grouping, context)?;
    let data = cube.dataset.data_variables();
    let varies = |&index: &usize| cube.dataset.variables[index].dims.contains(&time.dim);
    let Some(first) = data.iter().copied().find(varies) else {
        return Err(context.refused("no data variable varies with time".to_owned()));
    };
    let mut children: Vec<Expr> = cube.lazy(first).cloned().into_iter().collect();
    if !inputs.is_empty() {
        let second = inputs.swap_remove(0);
        let along = request.second.along(&cube, first, second, context)?;
        children.extend(along);
    }
    let others: Vec<String> = data
        .iter()
        .filter(|&&index| index != first)
        .map(|&index| cube.dataset.variables[index].name.clone())
        .collect();
    if !others.is_empty() {
        context.warn(format!(
            "takes the first variable, not {}",
            others.join(", ")
        ));
    }
    let name = cube.dataset.variables[first].name.clone();
    cube.retain(|index| index == first || !data.contains(&index));
    let time = cube.time(context.name())?;
    let regrouping = Regrouping {
        groups: &groups,
        grouping: request.grouping,
        method: None,
        stamps_last: request.stamps_last,
    };
    let kernels = request.outputs.iter();
    let kernels = kernels.map(|output| kernel(output.rule, &groups, &time, context));
    let kernels = kernels.collect::<Result<Vec<_>, _>>()?;
    let by_kernel = |kernel: &Arc<dyn SeriesKernel>, axis: usize| {
        Expr::Series(Arc::new(Series {
            children: children.clone(),
            axis,
            steps: groups.len(),
            kernel: Arc::clone(kernel),
        }))
    };
    let make = |_: &Expr, axis: usize, _: &mut _| by_kernel(&kernels[0], axis);
    let mut cube = regrouping.apply(cube, &time, context, make)?;
    let Some(index) = cube.dataset.variable_index(&name) else {
        return Err(context.refused(format!("variable `{name}` has no values over time")));
    };
    let axis = cube.dataset.variables[index].dims.iter();
    let axis = axis.clone().position(|&dim| dim == time.dim).unwrap_or(0);
    let before = cube.dataset.variables[index].clone();
    for (place, (output, kernel)) in request.outputs.iter().zip(&kernels).enumerate() {
        let mut variable = before.clone();
        variable.name.clone_from(&output.name);
        describe(&mut variable.attributes, output);
        if !matches!(variable.dtype, DType::F32 | DType::F64) {
            variable.dtype = DType::F64;
        }
        if place == 0 {
            cube.dataset.variables[index] = variable;
        } else {
            cube.push(variable, Content::Lazy(by_kernel(kernel, axis)));
        }
    }
    Ok(cube.into())
}

/// What computes a rule.
fn kernel(
    rule: Rule,
    groups: &[Group],
    time: &TimeCoordinate,
    context: &Context<'_>,
) -> Result<Arc<dyn SeriesKernel>, CubeError> {
    let by_cdo = context.options.cdo;
    let dates = match rule.needs_dates() {
        true => time.dates(context.name())?,
        false => Vec::new(),
    };
    let refused = |problem: String| context.refused(problem);
    Ok(match rule {
        Rule::Season { part, days, limit } => {
            let calendar = time.axis.calendar;
            let season = GrowingSeason::new(groups, &dates, calendar, (part, days, limit));
            Arc::new(season)
        }
        Rule::BeyondBase {
            is_above,
            percentile,
            window_days,
            years,
        } => {
            let limit = (is_above, percentile);
            let beyond = BeyondBase::new(groups, &dates, window_days, years, limit);
            Arc::new(beyond.map_err(refused)?)
        }
        Rule::HeavyTotal { percentile, years } => {
            let total = HeavyTotal::new(groups, &dates, years, percentile, by_cdo);
            Arc::new(total.map_err(refused)?)
        }
        rule => Arc::new(Index {
            groups: groups.to_vec(),
            rule,
            ends_day_after: by_cdo,
        }),
    })
}

/// Leaves of the attributes what tells where a value is, and says what it is now.
fn describe(attributes: &mut Attributes, output: &Output) {
    let kept = ["coordinates", "grid_mapping"];
    let names: Vec<String> = attributes.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().filter(|name| !kept.contains(&name.as_str())) {
        attributes.remove(name);
    }
    attributes.set("long_name", output.long_name.as_str());
    if let Some(units) = output.units {
        attributes.set("units", units);
    }
}
