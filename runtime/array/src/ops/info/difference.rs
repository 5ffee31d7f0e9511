//! `diff` and `diffn`: which fields of two inputs differ, and by how much.

use std::fmt::Write as _;

use super::fields::{fields, grid_size, identifier, no_date, put_scans};
use super::number::{general, padded};
use super::scan::Scan;
use super::{clock, dates, day, json};
use crate::cube::Cube;
use crate::error::CubeError;
use crate::ops::{Context, Outcome};

/// Fields that differ by more are counted apart.
const LARGE: f64 = 0.001;

/// Compares variables of the same name; the inputs must have the same shapes.
pub(super) fn compare(
    mut left: Cube,
    right: &Cube,
    context: &Context<'_>,
    by_name: bool,
) -> Result<Outcome, CubeError> {
    let operator = context.name();
    for variable in left.dataset.data_variables() {
        let name = &left.dataset.variables[variable].name;
        let found = right.dataset.variable_index(name);
        let shape = left.dataset.shape(variable);
        let problem = match found.map(|found| right.dataset.shape(found)) {
            Some(other) if other == shape => continue,
            Some(other) => {
                format!("`{name}` is {shape:?} in the first and {other:?} in the second")
            }
            None => format!("the second has no `{name}`"),
        };
        return Err(CubeError::Mismatch { operator, problem });
    }
    let names: Vec<String> = left
        .dataset
        .variables
        .iter()
        .map(|v| v.name.clone())
        .collect();
    let other = |variable: usize| {
        let found = right.dataset.variable_index(&names[variable])?;
        right.lazy(found).cloned()
    };
    put_scans(&mut left, Scan::Difference, other);
    let style = Style {
        by_name,
        as_json: context.options.json,
        counts_alone: context.options.silent,
    };
    let render = move |cube: &Cube| {
        let report = report(cube, operator, style)?;
        match report.differs {
            // Printed, and the exit code tells.
            true => Err(CubeError::Differs {
                report: report.text,
            }),
            false => Ok(report.text),
        }
    };
    Ok(Outcome::Text(Box::new(left), Box::new(render)))
}

/// How differences are told.
#[derive(Clone, Copy)]
struct Style {
    by_name: bool,
    as_json: bool,
    /// With `-s` fields are counted, not listed.
    counts_alone: bool,
}

struct Report {
    text: String,
    differs: bool,
}

fn report(cube: &Cube, operator: &'static str, style: Style) -> Result<Report, CubeError> {
    let dates = dates(cube, operator)?;
    let width = Scan::Difference.width();
    let mut text = format!(
        "               Date     Time   Level Gridsize    Miss    Diff : S Z  Max_Absdiff \
         Max_Reldiff : Parameter {}\n",
        if style.by_name { "name" } else { "ID" }
    );
    if style.counts_alone {
        text.clear();
    }
    let fields = fields(cube, operator)?;
    let (mut differing_fields, mut large) = (0, 0);
    let mut values = Vec::new();
    for (place, field) in fields.iter().enumerate() {
        let numbers = cube.numbers(field.variable).unwrap_or_default();
        let numbers = numbers.get(field.number * width..(field.number + 1) * width);
        let Some(&[missing, differing, sign, zero, absolute, relative]) = numbers else {
            continue;
        };
        if differing == 0.0 {
            continue;
        }
        differing_fields += 1;
        large += usize::from(absolute > LARGE || relative >= 1.0);
        let name = identifier(cube, field.variable, style.by_name);
        if style.as_json {
            values.push(serde_json::json!({
                "variable": name,
                "time": dates.get(field.step).map(ToString::to_string),
                "level": field.level,
                "differing": differing as u64,
                "absolute": absolute,
                "relative": relative,
            }));
            continue;
        }
        if style.counts_alone {
            continue;
        }
        let (date, time) = dates
            .get(field.step)
            .map_or_else(no_date, |date| (day(date), clock(date)));
        let flag = |flag: f64| if flag > 0.0 { 'T' } else { 'F' };
        let (sign, zero) = (flag(sign), flag(zero));
        let (absolute, relative) = (padded(absolute, 5), padded(relative, 5));
        let (level, size) = (general(field.level, 6), grid_size(cube, field.variable));
        let _ = writeln!(
            text,
            "{:6} : {date:>10} {time:>8} {level:>7} {size:>8} {missing:>7} {differing:>7} : {sign} \
             {zero} {absolute:>12}{relative:>12} : {name:<11}",
            place + 1,
        );
    }
    let all = fields.len();
    if style.as_json {
        let value = serde_json::json!({"fields": all, "differing": values});
        text = json(&value);
    } else if differing_fields == 0 {
        text.clear();
    } else {
        let _ = writeln!(text, "  {differing_fields} of {all} records differ");
        if large != differing_fields {
            let _ = writeln!(text, "  {large} of {all} records differ more than {LARGE}");
        }
    }
    Ok(Report {
        text,
        differs: differing_fields > 0,
    })
}
