//! The table of ranks: which columns fit, in which order ranks stand.

use mizar_report::format;
use mizar_report::text::printable;

use super::{BAR, Line, Style, bar, cut, line};
use crate::top::keys::{Sort, State};
use crate::top::view::{Node, Rank, View};

/// A rank where it is.
pub(super) type Row<'v> = (&'v Node, &'v Rank);

/// A column of the table of ranks.
struct Column {
    title: &'static str,
    width: usize,
    right: bool,
    /// What goes first where there is no room: the highest.
    spare: u8,
    text: fn(Row<'_>) -> String,
}

/// How a rank spent its time, a letter a tenth: computing, hidden, exposed, I/O, idle.
fn split_bar(rank: &Rank) -> String {
    let Some(split) = rank.split else {
        return "-".to_owned();
    };
    let parts = [
        ('=', split.compute - split.hidden),
        ('#', split.hidden),
        ('x', split.exposed),
        ('o', split.io),
        ('.', split.idle),
    ];
    let mut text = String::new();
    let mut until = 0.0;
    for (letter, share) in parts {
        until += share.max(0.0);
        let end = (until.clamp(0.0, 1.0) * BAR as f64).round() as usize;
        while text.len() < end {
            text.push(letter);
        }
    }
    text
}

fn dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn columns(view: &View) -> Vec<Column> {
    let column = |title, width, right, spare, text| Column {
        title,
        width,
        right,
        spare,
        text,
    };
    let first = view.nodes.first().map(|node| node.job);
    let ranks = || view.nodes.iter().flat_map(|node| &node.ranks);
    let longest = view
        .nodes
        .iter()
        .map(|node| node.node.chars().count())
        .max()
        .unwrap_or(4);
    let mut columns = Vec::new();
    if view.nodes.iter().any(|node| Some(node.job) != first) {
        columns.push(column("job", 8, true, 0, |(node, _)| node.job.to_string()));
    }
    columns.push(column("rank", 6, true, 0, |(_, rank)| {
        rank.rank.to_string()
    }));
    columns.push(column("step", 6, true, 4, |(_, rank)| rank.step.clone()));
    columns.push(column(
        "node",
        longest.clamp(4, 20),
        false,
        1,
        |(node, _)| printable(&node.node),
    ));
    columns.push(column("pid", 8, true, 6, |(_, rank)| rank.pid.to_string()));
    columns.push(column("CPUs", 6, true, 0, |(_, rank)| {
        dash(rank.cpus_busy.map(format::number))
    }));
    columns.push(column("", BAR + 2, false, 5, |(_, rank)| {
        bar(rank.cpus_busy)
    }));
    columns.push(column("memory", 10, true, 0, |(_, rank)| {
        dash(rank.memory_bytes.map(|bytes| format::bytes(Some(bytes))))
    }));
    columns.push(column("I/O", 12, true, 0, |(_, rank)| {
        dash(
            rank.io_bytes_per_s
                .map(|rate| format::byte_rate(Some(rate))),
        )
    }));
    columns.push(column("threads", 7, true, 7, |(_, rank)| {
        dash(rank.threads.map(|t| t.to_string()))
    }));
    if ranks().any(|rank| !rank.gpus.is_empty()) {
        columns.push(column("GPU", 6, true, 1, |(node, rank)| {
            dash(
                rank.gpu_busy(node)
                    .map(|busy| format!("{:.0} %", busy * 100.0)),
            )
        }));
        columns.push(column("of", 7, false, 5, |(_, rank)| {
            rank.gpus
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        }));
    }
    if ranks().any(|rank| rank.split.is_some()) {
        columns.push(column("exposed", 7, true, 1, |(_, rank)| {
            dash(
                rank.split
                    .map(|split| format!("{:.0} %", split.exposed * 100.0)),
            )
        }));
        columns.push(column("time", BAR, false, 3, |(_, rank)| split_bar(rank)));
    }
    if ranks().any(|rank| rank.call.is_some()) {
        columns.push(column("in call", 20, false, 2, |(_, rank)| {
            rank.call.as_ref().map_or_else(String::new, |call| {
                let for_s = (mizar_core::clock::unix_ns() - call.since_ns).max(0) as f64 / 1e9;
                printable(&format!("{} {}", call.name, format::duration(for_s)))
            })
        }));
    }
    columns
}

/// Leaves out the columns that can be spared until the rest fits.
fn fitting(mut columns: Vec<Column>, width: usize) -> Vec<Column> {
    let needed = |columns: &[Column]| columns.iter().map(|column| column.width + 1).sum::<usize>();
    while needed(&columns) > width {
        let spare = columns.iter().map(|column| column.spare).max().unwrap_or(0);
        let Some(place) = columns.iter().rposition(|c| c.spare == spare && spare > 0) else {
            break;
        };
        columns.remove(place);
    }
    columns
}

/// The header and the ranks from `offset` on that there is room for.
pub(super) fn table(
    view: &View,
    state: &State,
    width: usize,
    offset: usize,
    room: usize,
) -> Vec<Line> {
    if view.nodes.is_empty() {
        return Vec::new();
    }
    let columns = fitting(columns(view), width);
    let cell = |column: &Column, text: &str| {
        let text = cut(text, column.width);
        if column.right {
            format!("{text:>width$}", width = column.width)
        } else {
            format!("{text:<width$}", width = column.width)
        }
    };
    let titles: Vec<String> = columns
        .iter()
        .map(|column| cell(column, column.title))
        .collect();
    let mut lines = vec![line(Style::Header, titles.join(" "))];
    for row in sorted(view, state).into_iter().skip(offset).take(room) {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| cell(column, &(column.text)(row)))
            .collect();
        let style = if row.0.source == "record" {
            Style::Faint
        } else {
            Style::Plain
        };
        lines.push(line(style, cells.join(" ")));
    }
    lines
}

/// All ranks in the order asked for; what is not known comes last.
pub(super) fn sorted<'v>(view: &'v View, state: &State) -> Vec<Row<'v>> {
    let mut rows: Vec<Row<'v>> = view
        .nodes
        .iter()
        .flat_map(|node| node.ranks.iter().map(move |rank| (node, rank)))
        .collect();
    let place = |(node, rank): &Row<'v>| (node.job, rank.step.clone(), rank.rank);
    rows.sort_by_key(place);
    let value = |(node, rank): &Row<'v>| match state.sort {
        Sort::Cpu => rank.cpus_busy,
        Sort::Memory => rank.memory_bytes.map(|bytes| bytes as f64),
        Sort::Io => rank.io_bytes_per_s,
        Sort::Gpu => rank.gpu_busy(node),
        Sort::Exposed => rank.split.map(|split| split.exposed),
        Sort::Rank | Sort::Node => None,
    };
    match state.sort {
        Sort::Rank => {}
        Sort::Node => rows.sort_by(|a, b| (a.0.job, &a.0.node).cmp(&(b.0.job, &b.0.node))),
        _ => rows.sort_by(|a, b| {
            let of = |row| value(row).unwrap_or(f64::NEG_INFINITY);
            of(b).total_cmp(&of(a))
        }),
    }
    if state.reversed {
        rows.reverse();
    }
    rows
}
