//! Operators over the steps of a time axis: reductions of groups of steps, as `timmean`,
//! `monmean`, `ymonmean`, `timselmean`.
//!
//! Here is what an operator does to the structure; how the steps are put together is in
//! [`axis`], what is asked for in [`table`].

mod axis;
mod choices;
mod table;
mod trend;

pub(crate) use choices::Choices;
pub(crate) use table::table;

use std::sync::Arc;

use super::grouping::{Group, Grouping, sets};
use super::statistic::Statistic;
use super::units::Change;
use super::{Context, Outcome};
use crate::cube::{Content, Cube, TimeCoordinate};
use crate::dataset::{Attributes, Variable};
use crate::error::CubeError;
use crate::plan::expr::{Expr, TimeReduction};

/// Reduces every variable that varies with time.
fn reduce(
    cube: Cube,
    context: &mut Context<'_>,
    grouping: Grouping,
    statistic: Statistic,
) -> Result<Outcome, CubeError> {
    let time = cube.time(context.name())?;
    let choices = Choices::read(context, 0, &choices::of(grouping))?;
    let groups = choices.groups(&time, grouping, context)?;
    let numbers = match statistic {
        Statistic::WeightedMean | Statistic::WeightedAverage => {
            Some(Arc::new(month_lengths(&time, context)?))
        }
        _ => None,
    };
    let what = Reduction {
        groups: &groups,
        grouping,
        statistic,
        numbers,
        stamps_last: false,
    };
    Ok(what.apply(cube, &time, context)?.into())
}

/// Reduces sets of so many steps, whatever their dates.
fn reduce_sets(
    cube: Cube,
    context: &mut Context<'_>,
    statistic: Statistic,
) -> Result<Outcome, CubeError> {
    let time = cube.time(context.name())?;
    let groups = sets_of(context, 0, time.axis.values.len())?;
    let what = Reduction {
        groups: &groups,
        grouping: Grouping::All,
        statistic,
        numbers: None,
        stamps_last: false,
    };
    Ok(what.apply(cube, &time, context)?.into())
}

/// The sets that the parameters from `first` on tell: `nsets[,offset[,skip]]`.
pub(crate) fn sets_of(
    context: &Context<'_>,
    first: usize,
    steps: usize,
) -> Result<Vec<Group>, CubeError> {
    let parameters = context.parameters();
    let count = parameters.count(first, 1, "a number of steps, at least 1")?;
    let mut rest = [0; 2];
    for (number, index) in rest.iter_mut().zip(first + 1..parameters.values.len()) {
        *number = parameters.count(index, 0, "a number of steps to leave out")?;
    }
    Ok(sets(steps, count, rest[0], rest[1]))
}

/// The days of each step's month: a monthly mean weighs as many.
fn month_lengths(time: &TimeCoordinate, context: &Context<'_>) -> Result<Vec<f64>, CubeError> {
    let calendar = time.axis.calendar;
    let dates = time.dates(context.name())?;
    let is_same = |pair: &[crate::time_axis::DateTime]| {
        (pair[0].year, pair[0].month) == (pair[1].year, pair[1].month)
    };
    if let Some(step) = dates.windows(2).position(is_same) {
        let problem = format!(
            "steps {} and {} are of one month, {:04}-{:02}: it takes monthly data",
            step + 1,
            step + 2,
            dates[step].year,
            dates[step].month
        );
        return Err(context.refused(problem));
    }
    let days = |date: &crate::time_axis::DateTime| {
        f64::from(calendar.days_in_month(date.year, date.month))
    };
    Ok(dates.iter().map(days).collect())
}

/// What a reduction does to each variable.
pub(crate) struct Reduction<'a> {
    pub(crate) groups: &'a [Group],
    pub(crate) grouping: Grouping,
    pub(crate) statistic: Statistic,
    /// As [`TimeReduction::numbers`].
    pub(crate) numbers: Option<Arc<Vec<f64>>>,
    /// As [`Regrouping::stamps_last`].
    pub(crate) stamps_last: bool,
}

impl Reduction<'_> {
    pub(crate) fn apply(
        self,
        cube: Cube,
        time: &TimeCoordinate,
        context: &Context<'_>,
    ) -> Result<Cube, CubeError> {
        let regrouping = Regrouping {
            groups: self.groups,
            grouping: self.grouping,
            method: cell_method(self.grouping, self.statistic),
            stamps_last: self.stamps_last,
        };
        let is_like_cdo = context.options.cdo;
        let of_child = |child: &Expr, axis: usize, variable: &mut Variable| {
            describe(self.statistic, variable, is_like_cdo);
            Expr::Time(Arc::new(TimeReduction {
                child: child.clone(),
                axis,
                groups: self.groups.to_vec(),
                numbers: self.numbers.clone(),
                statistic: self.statistic,
            }))
        };
        regrouping.apply(cube, time, context, of_child)
    }
}

/// A change of the time axis from steps to groups of them.
pub(crate) struct Regrouping<'a> {
    pub(crate) groups: &'a [Group],
    /// What the groups are: of climatologies it decides the metadata.
    pub(crate) grouping: Grouping,
    /// What is appended to `cell_methods`.
    pub(crate) method: Option<String>,
    /// Whether the time of a group is by default that of its last step, not the middle.
    pub(crate) stamps_last: bool,
}

impl Regrouping<'_> {
    /// `make` gives the values of a variable from those before and the dimension of time.
    pub(crate) fn apply(
        &self,
        mut cube: Cube,
        time: &TimeCoordinate,
        context: &Context<'_>,
        make: impl Fn(&Expr, usize, &mut Variable) -> Expr,
    ) -> Result<Cube, CubeError> {
        if self.groups.is_empty() {
            return Err(CubeError::NothingSelected {
                operator: context.name(),
                found: match time.axis.values.len() {
                    0 => "the time axis has no steps".to_owned(),
                    count => format!("there are no groups of the {count} steps"),
                },
            });
        }
        let bounds_variable = time.bounds.as_ref().map(|(variable, _)| *variable);
        let is_axis = |index| index == time.variable || Some(index) == bounds_variable;
        for index in (0..cube.contents.len()).filter(|&index| !is_axis(index)) {
            let variable = &mut cube.dataset.variables[index];
            let Some(axis) = variable.dims.iter().position(|&dim| dim == time.dim) else {
                continue;
            };
            if let Content::Lazy(child) = &cube.contents[index] {
                cube.contents[index] = Content::Lazy(make(child, axis, variable));
                if let Some(method) = &self.method {
                    add_cell_method(&mut variable.attributes, method);
                }
            }
        }
        // Texts have no mean: those that vary with time are left out.
        let varies = |index: usize| cube.dataset.variables[index].dims.contains(&time.dim);
        let keeps: Vec<bool> = (0..cube.contents.len())
            .map(|index| !(varies(index) && matches!(cube.contents[index], Content::Texts(_))))
            .collect();
        axis::replace(&mut cube, time, self, context.options.time_stamp);
        cube.retain(|index| keeps.get(index).copied().unwrap_or(true));
        Ok(cube)
    }
}

/// Variances are in squared units. Counts and places are not in the units of the values, nor what
/// their standard name says.
fn describe(statistic: Statistic, variable: &mut Variable, is_like_cdo: bool) {
    let long_name = match statistic {
        Statistic::Variance | Statistic::Variance1 if !is_like_cdo => {
            return Change::Variance.apply(&mut variable.attributes);
        }
        Statistic::Count => "number of valid values",
        Statistic::MinimumIndex => "step of the least value, from 0",
        Statistic::MaximumIndex => "step of the greatest value, from 0",
        _ => return,
    };
    variable.attributes.remove("standard_name");
    variable.attributes.set("long_name", long_name);
    variable.attributes.set("units", "1");
}

fn cell_method(grouping: Grouping, statistic: Statistic) -> Option<String> {
    let method = statistic.cell_method()?;
    Some(match grouping.cycle() {
        Some(cycle) => format!("time: {method} within {cycle} time: {method} over {cycle}"),
        None => format!("time: {method}"),
    })
}

/// Appends to `cell_methods` (CF 7.3: in the order of application).
pub(crate) fn add_cell_method(attributes: &mut Attributes, method: &str) {
    let text = match attributes.get_text("cell_methods").map(str::trim) {
        Some(before) if !before.is_empty() => format!("{before} {method}"),
        _ => method.to_owned(),
    };
    attributes.set("cell_methods", text);
}
