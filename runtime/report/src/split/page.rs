//! Communication for the page: a stacked bar a rank, the calls, and the marked sections over
//! time.

use minijinja::{Environment, context, value::Serde};
use serde::Serialize;

use crate::schema::Report;
use crate::split::{Communication, RankSplit, Section};

/// Up to this many ranks have a bar of their own.
const MAX_BARS: usize = 64;
/// Up to this many ranks have a line of sections.
const MAX_LINES: usize = 24;
/// Kinds of calls in the table.
const MAX_CALLS: usize = 24;

const TEMPLATE: &str = include_str!("communication.html");

#[derive(Serialize)]
struct Bar<'r> {
    rank: &'r RankSplit,
    /// Percent of the time that the rank was watched.
    compute: f64,
    hidden: f64,
    exposed: f64,
    io: f64,
    idle: f64,
}

#[derive(Serialize)]
struct Line<'r> {
    label: String,
    sections: Vec<Piece<'r>>,
}

#[derive(Serialize)]
struct Piece<'r> {
    name: &'r str,
    from: f64,
    width: f64,
    /// Sections in turn differ in shade.
    odd: bool,
}

/// The part of the page, empty if there is nothing to show.
///
/// # Errors
/// If the template is wrong, which the tests exclude.
pub(crate) fn render(
    environment: &mut Environment<'_>,
    report: &Report,
) -> Result<String, minijinja::Error> {
    let Some(found) = &report.communication else {
        return Ok(String::new());
    };
    environment.add_template("communication.html", TEMPLATE)?;
    let page = environment.get_template("communication.html")?;
    page.render(context! {
        found => minijinja::Value::from(Serde(found)),
        bars => minijinja::Value::from(Serde(bars(found))),
        lines => minijinja::Value::from(Serde(lines(found, report.job.elapsed_s))),
        calls => minijinja::Value::from(Serde(&found.calls[..found.calls.len().min(MAX_CALLS)])),
    })
}

fn bars(found: &Communication) -> Vec<Bar<'_>> {
    let bar = |rank| {
        let rank: &RankSplit = rank;
        let RankSplit { time, .. } = rank;
        let percent = |s: f64| {
            if time.watched_s > 0.0 {
                100.0 * s / time.watched_s
            } else {
                0.0
            }
        };
        Bar {
            rank,
            compute: percent(time.compute_s - time.hidden_s),
            hidden: percent(time.hidden_s),
            exposed: percent(time.exposed_s),
            io: percent(time.io_s),
            idle: percent(time.idle_s),
        }
    };
    found.ranks.iter().take(MAX_BARS).map(bar).collect()
}

fn lines(found: &Communication, elapsed_s: f64) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for section in &found.sections {
        let label = format!("{}.{}", section.step, section.rank);
        let place = lines.iter().position(|line| line.label == label);
        let place = match place {
            Some(place) => place,
            None if lines.len() < MAX_LINES => {
                lines.push(Line {
                    label,
                    sections: Vec::new(),
                });
                lines.len() - 1
            }
            None => continue,
        };
        let line = &mut lines[place].sections;
        line.push(piece(section, elapsed_s, line.len() % 2 == 1));
    }
    lines.sort_by(|a, b| a.label.cmp(&b.label));
    lines
}

fn piece(section: &Section, elapsed_s: f64, odd: bool) -> Piece<'_> {
    let percent = |s: f64| (100.0 * s / elapsed_s.max(1e-9)).clamp(0.0, 100.0);
    let from = percent(section.from_s);
    Piece {
        name: &section.name,
        from,
        width: percent(section.to_s.unwrap_or(elapsed_s)) - from,
        odd,
    }
}
