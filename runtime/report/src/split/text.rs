//! Communication for a terminal.

use comfy_table::Table;

use crate::format;
use crate::split::{Communication, Shares};
use crate::text::{printable, table};

/// Rows of a table that may be long; the JSON has all.
const MAX_ROWS: usize = 16;

/// The tables, each with its title.
pub(crate) fn tables(found: &Communication) -> Vec<(String, Table)> {
    let mut tables = Vec::new();
    if !found.ranks.is_empty() {
        tables.push(("Time of the ranks".to_owned(), ranks(found)));
    }
    if !found.calls.is_empty() {
        tables.push((title("Calls", found.calls.len()), calls(found)));
    }
    if !found.section_totals.is_empty() {
        let count = found.section_totals.len();
        tables.push((title("Marked sections", count), sections(found)));
    }
    if !found.figures.is_empty() {
        let count = found.figures.len();
        tables.push((title("Figures of merit", count), figures(found)));
    }
    tables
}

fn title(name: &str, count: usize) -> String {
    if count > MAX_ROWS {
        format!("{name} (the first {MAX_ROWS} of {count})")
    } else {
        name.to_owned()
    }
}

fn ranks(found: &Communication) -> Table {
    let mut rows = table(
        &[
            "step", "rank", "node", "watched", "compute", "hidden", "exposed", "I/O", "idle",
        ],
        3,
    );
    let row = |time: &Shares| {
        let part = |s: f64| {
            let share = (time.watched_s > 0.0).then(|| s / time.watched_s);
            format!("{} {:>6}", format::duration(s), format::share(share))
        };
        [
            format::duration(time.watched_s),
            part(time.compute_s),
            part(time.hidden_s),
            part(time.exposed_s),
            part(time.io_s),
            part(time.idle_s),
        ]
    };
    for rank in found.ranks.iter().take(MAX_ROWS) {
        let [watched, parts @ ..] = row(&rank.time);
        let head = [
            rank.step.clone(),
            rank.rank.to_string(),
            printable(&rank.node),
            watched,
        ];
        rows.add_row(head.into_iter().chain(parts));
    }
    if found.ranks.len() > 1 {
        let [watched, parts @ ..] = row(&found.total);
        let head = ["all".to_owned(), String::new(), String::new(), watched];
        rows.add_row(head.into_iter().chain(parts));
    }
    rows
}

fn calls(found: &Communication) -> Table {
    let mut rows = table(&["step", "call", "ranks", "count", "bytes", "time"], 2);
    for call in found.calls.iter().take(MAX_ROWS) {
        rows.add_row([
            call.step.clone(),
            printable(&call.call),
            call.ranks.to_string(),
            call.count.to_string(),
            format::bytes(Some(call.bytes)),
            format::duration(call.time_s),
        ]);
    }
    rows
}

fn sections(found: &Communication) -> Table {
    let mut rows = table(&["section", "count", "mean", "shortest", "longest"], 1);
    for section in found.section_totals.iter().take(MAX_ROWS) {
        rows.add_row([
            printable(&section.name),
            section.count.to_string(),
            format::duration(section.mean_s),
            format::duration(section.min_s),
            format::duration(section.max_s),
        ]);
    }
    rows
}

fn figures(found: &Communication) -> Table {
    let mut rows = table(&["figure", "step", "rank", "after", "value"], 3);
    for figure in found.figures.iter().take(MAX_ROWS) {
        rows.add_row([
            printable(&figure.name),
            figure.step.clone(),
            figure.rank.to_string(),
            format::duration(figure.time_s),
            format!("{}", figure.value),
        ]);
    }
    rows
}
