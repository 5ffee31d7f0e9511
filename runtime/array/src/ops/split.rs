//! One input to many files: by calendar, by number of steps, by variable, by level.

mod table;

pub(crate) use table::table;

use super::select;
use super::{Context, Outcome, Parameters};
use crate::cube::Cube;
use crate::error::CubeError;
use crate::ops::select::levels::levels_of;
use crate::plan::picks::Picks;
use crate::time_axis::DateTime;

/// Files of one split: more is a mistake, and would take minutes to write.
const FILES_MAX: usize = 10_000;

/// By a key of each step's date; those of one key go to one file.
fn by_date(
    cube: Cube,
    context: &Context<'_>,
    of_stamp: bool,
    key: fn(&DateTime) -> String,
) -> Result<Outcome, CubeError> {
    let operator = context.name();
    let time = cube.time(operator)?;
    let dates = if of_stamp {
        time.axis
            .dates()
            .map_err(|source| CubeError::Time { operator, source })?
    } else {
        time.dates(operator)?
    };
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (step, date) in dates.iter().enumerate() {
        let key = key(date);
        match groups.iter_mut().rev().find(|(known, _)| *known == key) {
            Some((_, steps)) => steps.push(step),
            None => groups.push((key, vec![step])),
        }
    }
    of_steps(&cube, operator, time.dim, groups)
}

/// `splitsel,nsets[,offset[,skip]]`.
fn by_count(cube: Cube, context: &Context<'_>) -> Result<Outcome, CubeError> {
    let parameters = context.parameters();
    let sets = count(&parameters, 0, 1)?;
    let (offset, skip) = (count(&parameters, 1, 0)?, count(&parameters, 2, 0)?);
    if sets == 0 {
        return Err(parameters.wrong(0, "a number of steps, at least 1"));
    }
    let time = cube.time(context.name())?;
    let len = time.axis.values.len();
    let starts = (offset..len).step_by(sets.saturating_add(skip));
    let groups = starts.enumerate().map(|(number, start)| {
        let end = start.saturating_add(sets).min(len);
        (format!("{:06}", number + 1), (start..end).collect())
    });
    of_steps(&cube, context.name(), time.dim, groups.collect())
}

fn count(parameters: &Parameters<'_>, index: usize, default: usize) -> Result<usize, CubeError> {
    match parameters.values.get(index) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| parameters.wrong(index, "a number of steps")),
    }
}

fn of_steps(
    cube: &Cube,
    operator: &'static str,
    dim: usize,
    groups: Vec<(String, Vec<usize>)>,
) -> Result<Outcome, CubeError> {
    if groups.is_empty() || groups.len() > FILES_MAX {
        let found = format!(
            "{} files would be made, 1 to {FILES_MAX} can be",
            groups.len()
        );
        return Err(CubeError::NothingSelected { operator, found });
    }
    let file = |(key, steps): (String, Vec<usize>)| {
        let mut part = cube.clone();
        part.pick(dim, &Picks::from_indices(steps));
        (key, part)
    };
    Ok(Outcome::Named(groups.into_iter().map(file).collect()))
}

/// `splitname`.
fn by_name(cube: &Cube) -> Outcome {
    let file = |variable: usize| {
        let mut part = cube.clone();
        select::keep(&mut part, &[variable]);
        (
            cube.dataset.variables[variable].name.replace("/", "_"),
            part,
        )
    };
    Outcome::Named(
        cube.dataset
            .data_variables()
            .into_iter()
            .map(file)
            .collect(),
    )
}

/// `splitlevel`.
fn by_level(cube: &Cube, context: &mut Context<'_>) -> Result<Outcome, CubeError> {
    let data = cube.dataset.data_variables().into_iter();
    let mut levels: Vec<f64> = data
        .flat_map(|variable| levels_of(cube, variable).0)
        .collect();
    levels.sort_unstable_by(f64::total_cmp);
    levels.dedup();
    let mut files = Vec::new();
    for level in levels {
        let mut part = cube.clone();
        select::levels::pick(&mut part, context, true, |_, value| value == level)?;
        files.push((format!("{level:06}"), part));
    }
    Ok(Outcome::Named(files))
}
