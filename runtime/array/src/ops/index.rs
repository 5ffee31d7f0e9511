//! Climate indices of daily series (ECA, ETCCDI): days over a limit, runs of such days, shares
//! beyond a reference. Names and parameters are CDO's.
//!
//! The rows are in [`table`], what is computed of one cell in [`kernel`]. Left out are the indices
//! of growing seasons and ETCCDI's bootstrapped percentiles.

mod kernel;
mod rows;
mod table;

pub(crate) use table::table;

use std::sync::Arc;

use super::grouping::Grouping;
use super::pair::{Matching, combine};
use super::time::{Choices, Regrouping};
use super::{Context, Outcome};
use crate::cube::{Content, Cube};
use crate::dataset::{Attributes, DType};
use crate::error::CubeError;
use crate::plan::expr::Expr;
use crate::plan::series::Series;
use kernel::{Index, Rule};

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
        // The reference at the cells and steps of the input.
        let reference = |_: &mut _, _: usize, others: &[usize]| others[0];
        let name = context.name();
        let of_reference = inputs[0].time_if_any(name)?;
        let steps = of_reference.map_or(1, |time| time.axis.values.len());
        let matching = if steps == 1 || steps == time.axis.values.len() {
            Matching::Step
        } else {
            Matching::Calendar(Grouping::DayOfYear)
        };
        let aligned = combine(cube.clone(), &inputs, name, matching, &reference)?;
        children.extend(aligned.lazy(first).cloned());
        if aligned.dataset.shape(first) != cube.dataset.shape(first) {
            let problem = "the reference has more steps than the input".to_owned();
            return Err(context.refused(problem));
        }
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
    let of_rule = |rule: Rule, axis: usize| {
        Expr::Series(Arc::new(Series {
            children: children.clone(),
            axis,
            steps: groups.len(),
            kernel: Arc::new(Index {
                groups: groups.clone(),
                rule,
            }),
        }))
    };
    let first_rule = request.outputs[0].rule;
    let make = |_: &Expr, axis: usize, _: &mut _| of_rule(first_rule, axis);
    let mut cube = regrouping.apply(cube, &time, context, make)?;
    let Some(index) = cube.dataset.variable_index(&name) else {
        return Err(context.refused(format!("variable `{name}` has no values over time")));
    };
    let axis = cube.dataset.variables[index].dims.iter();
    let axis = axis.clone().position(|&dim| dim == time.dim).unwrap_or(0);
    let before = cube.dataset.variables[index].clone();
    for (place, output) in request.outputs.iter().enumerate() {
        let mut variable = before.clone();
        variable.name.clone_from(&output.name);
        describe(&mut variable.attributes, output);
        if !matches!(variable.dtype, DType::F32 | DType::F64) {
            variable.dtype = DType::F64;
        }
        if place == 0 {
            cube.dataset.variables[index] = variable;
        } else {
            cube.push(variable, Content::Lazy(of_rule(output.rule, axis)));
        }
    }
    Ok(cube.into())
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
