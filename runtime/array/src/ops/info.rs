//! Operators that print: what a file holds (`sinfon`, `showname`), numbers of each field
//! (`infon`), and how two inputs differ (`diffn`). Columns and numbers are CDO's, so that scripts
//! which read them go on working; with `--json` the same comes as JSON.

mod difference;
mod fields;
mod number;
mod scan;
mod structure;
mod table;

pub(crate) use table::table;

use std::sync::Arc;

use crate::cube::{Content, Cube};
use crate::error::CubeError;
use crate::ops::{Context, Outcome};
use crate::time_axis::DateTime;

/// Makes a text of structure alone: no data is read.
fn of_structure(
    mut cube: Cube,
    render: impl Fn(&Cube) -> Result<String, CubeError> + Send + Sync + 'static,
) -> Outcome {
    forget_data(&mut cube);
    Outcome::Text(Box::new(cube), Box::new(render))
}

/// Puts nothing in the place of what would be read.
fn forget_data(cube: &mut Cube) {
    for content in &mut cube.contents {
        if let Content::Lazy(_) = content {
            *content = Content::Numbers(Arc::new(Vec::new()));
        }
    }
}

/// The dates of the steps; none without a time axis.
fn dates(cube: &Cube, operator: &'static str) -> Result<Vec<DateTime>, CubeError> {
    match cube.time_if_any(operator)? {
        None => Ok(Vec::new()),
        Some(time) => {
            let dates = time.axis.dates();
            dates.map_err(|source| CubeError::Time { operator, source })
        }
    }
}

/// `2000-01-16`.
fn day(date: &DateTime) -> String {
    format!("{:04}-{:02}-{:02}", date.year, date.month, date.day)
}

/// `12:00:00`.
fn clock(date: &DateTime) -> String {
    format!("{:02}:{:02}:{:02}", date.hour, date.minute, date.second)
}

/// The lines that a list of words makes: one, or JSON.
fn list(context: &Context<'_>, words: Vec<String>) -> String {
    if context.options.json {
        return json(&serde_json::json!(words));
    }
    format!("{}\n", words.concat())
}

fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
