//! The rows of the operators that print.

use super::fields::{self, horizontal};
use super::number::general;
use super::{clock, dates, day, difference, json, list, of_structure, structure};
use crate::cube::Cube;
use crate::error::CubeError;
use crate::ops::many::in_order;
use crate::ops::select::levels::levels_of;
use crate::ops::{Context, Inputs, Operator, Outcome, Outputs};
use crate::time_axis::DateTime;

const ANY: std::ops::RangeInclusive<usize> = 0..=usize::MAX;

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let mut rows = of_fields();
    rows.extend(of_files());
    rows.extend(of_names());
    rows.extend(of_time());
    rows
}

fn of_fields() -> Vec<Operator> {
    let info = |name: &'static str, by_name: bool| {
        Operator::new(
            name,
            "Numbers of each field: missing cells, minimum, mean, maximum",
            move |inputs, context| {
                let cube = in_order(inputs, context.name())?;
                Ok(fields::summary(cube, context, by_name))
            },
        )
        .inputs(Inputs::AtLeastOne)
        .outputs(Outputs::Text)
        .details(
            "A line for each step, level and variable; the mean is unweighted. The inputs are put \
             one after the\nother in time. Columns are CDO's.",
        )
        .example(format!("-{name} in.nc"))
    };
    let diff =
        |name: &'static str, by_name: bool| {
            Operator::new(name, "Compare two inputs field by field", move |mut inputs, context| {
            let right = inputs.remove(1);
            difference::compare(inputs.remove(0), &right, context, by_name)
        })
        .inputs(Inputs::Exactly(2))
        .outputs(Outputs::Text)
        .details(
            "A line for each field that differs: cells that do, whether signs differ (S) or one is \
             zero (Z), and the\nlargest absolute and relative difference. Variables go by name. \
             The exit code is 1 if a field differs.",
        )
        .example(format!("-{name} a.nc b.nc"))
        };
    vec![
        info("info", false),
        info("infon", true),
        info("infov", true),
        diff("diff", false),
        diff("diffn", true),
        diff("diffv", true),
    ]
}

fn of_files() -> Vec<Operator> {
    let sinfo = |name: &'static str, by_name: bool| {
        text(
            name,
            "What a file holds: variables, grid, levels, times",
            move |cube, context| {
                if context.options.json {
                    return Ok(of_structure(cube, |cube| Ok(json(&describe(cube)?))));
                }
                let operator = context.name();
                Ok(of_structure(cube, move |cube| {
                    structure::summary(cube, operator, by_name)
                }))
            },
        )
        .details("No data is read. Columns are CDO's.")
    };
    let atts = |name: &'static str, summary: &'static str, of_file: bool, of_data: bool| {
        text(name, summary, move |cube, context| {
            let patterns = context.arguments.to_vec();
            Ok(of_structure(cube, move |cube| {
                Ok(structure::attributes(cube, &patterns, of_file, of_data))
            }))
        })
    };
    vec![
        sinfo("sinfo", false),
        sinfo("sinfon", true),
        sinfo("sinfov", true),
        text("zaxisdes", "Describe vertical axes", |cube, _| {
            Ok(of_structure(cube, |cube| Ok(structure::vertical_axes(cube))))
        })
        .details("As CDO describes them; variables without levels lie on a surface."),
        atts("showatts", "Show attributes of data variables and of the file", true, true)
            .details("All attributes of all data variables, then those of the file."),
        atts("showattsglob", "Show attributes of the file", true, false)
            .details("Those that the whole file has."),
        atts("showattsvar", "Show attributes of data variables", false, true)
            .details("Those of each data variable."),
        atts("showattribute", "Show some attributes", true, true)
            .arguments("[[variable@]attribute,...]", ANY)
            .details("Patterns (* and ?) name attributes of variables, or of the file without `variable@`.")
            .example("-showattribute,tas@units in.nc"),
    ]
}

fn of_names() -> Vec<Operator> {
    let of_data =
        |name: &'static str, summary: &'static str, of: fn(&Cube, usize) -> Option<String>| {
            words(name, summary, move |cube, _| {
                let data = cube.dataset.data_variables().into_iter();
                Ok(data.filter_map(|variable| of(cube, variable)).collect())
            })
        };
    vec![
        of_data("showname", "Show names of variables", |cube, variable| {
            Some(format!(" {}", cube.dataset.variables[variable].name))
        }),
        of_data(
            "showstdname",
            "Show standard names of variables",
            |cube, variable| {
                let attributes = &cube.dataset.variables[variable].attributes;
                Some(format!(
                    " {}",
                    attributes.get_text("standard_name").unwrap_or("unknown")
                ))
            },
        ),
        of_data("showunit", "Show units of variables", |cube, variable| {
            let attributes = &cube.dataset.variables[variable].attributes;
            attributes
                .get_text("units")
                .map(|units| format!(" {units}"))
        }),
        lines(
            "showlevel",
            "Show levels of each variable",
            |cube, variable| {
                let levels = levels_of(cube, variable).0;
                levels
                    .iter()
                    .map(|level| format!(" {}", general(*level, 9)))
                    .collect()
            },
        ),
        lines(
            "nlevel",
            "Number of levels of each variable",
            |cube, variable| levels_of(cube, variable).0.len().to_string(),
        ),
        lines(
            "ngridpoints",
            "Number of cells of each variable",
            |cube, variable| fields::grid_size(cube, variable).to_string(),
        ),
        count("npar", "Number of variables", |cube, _| {
            Ok(cube.dataset.data_variables().len())
        }),
        count("nvar", "Number of variables", |cube, _| {
            Ok(cube.dataset.data_variables().len())
        }),
        count("ngrids", "Number of horizontal grids", |cube, _| {
            let data = cube.dataset.data_variables().into_iter();
            let mut grids: Vec<Vec<usize>> = data
                .map(|variable| {
                    let dims = cube.dataset.variables[variable].dims.iter();
                    let own = dims.zip(horizontal(cube, variable)).filter(|(_, is)| *is);
                    own.map(|(dim, _)| *dim).collect()
                })
                .collect();
            grids.sort_unstable();
            grids.dedup();
            Ok(grids.len())
        }),
    ]
}

fn of_time() -> Vec<Operator> {
    /// A part of each date; of equal ones in a row the first.
    fn of_dates(
        name: &'static str,
        summary: &'static str,
        runs: bool,
        of: fn(&DateTime) -> String,
    ) -> Operator {
        words(name, summary, move |cube, operator| {
            let mut words: Vec<String> = dates(cube, operator)?.iter().map(of).collect();
            if runs {
                words.dedup();
            }
            Ok(words)
        })
    }
    fn runs(
        name: &'static str,
        summary: &'static str,
        of: fn(&DateTime) -> (i32, u8, u8),
    ) -> Operator {
        count(name, summary, move |cube, operator| {
            let mut keys: Vec<_> = dates(cube, operator)?.iter().map(of).collect();
            keys.dedup();
            Ok(keys.len())
        })
    }
    vec![
        of_dates("showdate", "Show dates", true, |date| {
            format!("  {}", day(date))
        }),
        of_dates("showtime", "Show times of day", false, |date| {
            format!(" {}", clock(date))
        }),
        of_dates("showtimestamp", "Show dates and times", false, |date| {
            format!("  {}T{}", day(date), clock(date))
        }),
        of_dates("showyear", "Show years", true, |date| {
            format!(" {}", date.year)
        }),
        of_dates("showmon", "Show months", true, |date| {
            format!(" {:2}", date.month)
        }),
        count("ntime", "Number of steps", |cube, operator| {
            Ok(cube
                .time_if_any(operator)?
                .map_or(1, |time| time.axis.values.len()))
        }),
        runs("ndate", "Number of dates", |date| {
            (date.year, date.month, date.day)
        }),
        runs("nmon", "Number of months", |date| {
            (date.year, date.month, 0)
        }),
        runs("nyear", "Number of years", |date| (date.year, 0, 0)),
    ]
}

/// An operator that makes a text of one input.
fn text<F>(name: &'static str, summary: &'static str, family: F) -> Operator
where
    F: Fn(Cube, &mut Context<'_>) -> Result<Outcome, CubeError> + Send + Sync + 'static,
{
    Operator::new(name, summary, move |mut inputs, context| {
        family(inputs.remove(0), context)
    })
    .outputs(Outputs::Text)
    .example(format!("-{name} in.nc"))
}

/// An operator that prints words on one line.
fn words<F>(name: &'static str, summary: &'static str, of: F) -> Operator
where
    F: Fn(&Cube, &'static str) -> Result<Vec<String>, CubeError> + Send + Sync + 'static,
{
    text(name, summary, move |cube, context| {
        let words = of(&cube, context.name())?;
        let trimmed = |word: &String| word.trim().to_owned();
        let line = match context.options.json {
            true => list(context, words.iter().map(trimmed).collect()),
            false => list(context, words),
        };
        Ok(of_structure(cube, move |_| Ok(line.clone())))
    })
    .details("On one line; what repeats in a row is shown once, except times of day.")
}

/// An operator that prints a line for each data variable.
fn lines(name: &'static str, summary: &'static str, of: fn(&Cube, usize) -> String) -> Operator {
    text(name, summary, move |cube, context| {
        let data = cube.dataset.data_variables().into_iter();
        let words: Vec<String> = data.map(|variable| of(&cube, variable)).collect();
        let line = match context.options.json {
            true => list(
                context,
                words.iter().map(|word| word.trim().to_owned()).collect(),
            ),
            false => words.iter().map(|word| format!("{word}\n")).collect(),
        };
        Ok(of_structure(cube, move |_| Ok(line.clone())))
    })
    .details("A line for each variable.")
}

/// An operator that prints a number.
fn count<F>(name: &'static str, summary: &'static str, of: F) -> Operator
where
    F: Fn(&Cube, &'static str) -> Result<usize, CubeError> + Send + Sync + 'static,
{
    text(name, summary, move |cube, context| {
        let line = format!("{}\n", of(&cube, context.name())?);
        Ok(of_structure(cube, move |_| Ok(line.clone())))
    })
    .details("One number.")
}

/// The structure as JSON.
fn describe(cube: &Cube) -> Result<serde_json::Value, CubeError> {
    let dataset = &cube.dataset;
    let variables = dataset.data_variables().into_iter().map(|variable| {
        let own = &dataset.variables[variable];
        let dims = own.dims.iter().map(|&dim| &dataset.dimensions[dim]);
        let dims: Vec<_> = dims
            .map(|dim| serde_json::json!([dim.name, dim.len]))
            .collect();
        serde_json::json!({
            "name": own.name,
            "units": own.attributes.get_text("units"),
            "standard_name": own.attributes.get_text("standard_name"),
            "type": format!("{:?}", own.dtype),
            "dimensions": dims,
            "levels": levels_of(cube, variable).0,
            "cells": fields::grid_size(cube, variable),
        })
    });
    let variables: Vec<_> = variables.collect();
    let dates = dates(cube, "sinfo")?;
    let dates: Vec<String> = dates.iter().map(ToString::to_string).collect();
    Ok(serde_json::json!({"variables": variables, "times": dates}))
}
