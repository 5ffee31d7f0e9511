//! The lines of `mizar top`: from what was found and what the user asked for, to text. Pure.

mod head;
mod table;

use mizar_report::text::printable;

use super::keys::{Sort, State};
use super::view::{Node, View};
use head::head;
use table::table;

/// Without a terminal a line may be this long.
const PLAIN_COLUMNS: usize = 200;
/// Letters of a bar.
const BAR: usize = 10;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Title,
    Header,
    Alarm,
    Faint,
}

/// A line, no longer than the terminal is wide.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) style: Style,
}

/// The whole screen.
pub(super) fn lines(view: &View, state: &State, (columns, rows): (usize, usize)) -> Vec<Line> {
    let mut lines = head(view, rows);
    if state.help {
        lines.extend(help());
    } else {
        let room = rows.saturating_sub(lines.len() + 2);
        lines.extend(table(view, state, columns, state.offset, room));
    }
    lines.truncate(rows.saturating_sub(1));
    while lines.len() + 1 < rows {
        lines.push(line(Style::Plain, ""));
    }
    lines.push(foot(view, state, rows));
    for line in &mut lines {
        line.text = cut(&line.text, columns);
    }
    lines
}

/// Ranks that fit on a screen of this size.
pub(super) fn room(view: &View, (_, rows): (usize, usize)) -> usize {
    rows.saturating_sub(head(view, rows).len() + 2)
}

/// All of it as text, for a pipe.
pub(super) fn plain(view: &View, state: &State) -> String {
    let mut lines = head(view, usize::MAX);
    lines.extend(table(view, state, PLAIN_COLUMNS, 0, usize::MAX));
    let aged = ages(view);
    if !aged.is_empty() {
        lines.push(line(Style::Plain, aged));
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(line.text.trim_end());
        text.push('\n');
    }
    text
}

fn line(style: Style, text: impl Into<String>) -> Line {
    Line {
        text: text.into(),
        style,
    }
}

fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns).collect()
}

/// A share as a bar.
fn bar(share: Option<f64>) -> String {
    let filled = share.map_or(0, |share| {
        (share.clamp(0.0, 1.0) * BAR as f64).round() as usize
    });
    format!("[{}{}]", "|".repeat(filled), " ".repeat(BAR - filled))
}

/// Which nodes are seen through their records, and how old that is.
fn ages(view: &View) -> String {
    let from_records: Vec<&Node> = view
        .nodes
        .iter()
        .filter(|node| node.source == "record")
        .collect();
    let oldest = from_records
        .iter()
        .filter_map(|node| node.age_s)
        .fold(0.0, f64::max);
    match &from_records[..] {
        [] => String::new(),
        [only] => printable(&format!("{} from its record, {oldest:.0} s old", only.node)),
        several => format!(
            "{} nodes from their records, up to {oldest:.0} s old",
            several.len()
        ),
    }
}

fn foot(view: &View, state: &State, rows: usize) -> Line {
    let sort = match state.sort {
        Sort::Cpu => "CPU",
        Sort::Memory => "memory",
        Sort::Io => "I/O",
        Sort::Gpu => "GPU",
        Sort::Exposed => "exposed",
        Sort::Rank => "rank",
        Sort::Node => "node",
    };
    let mut parts = vec![format!(
        "by {sort}{} every {} s{}",
        if state.reversed { " reversed," } else { "," },
        state.interval_s,
        if state.paused { ", PAUSED" } else { "" }
    )];
    let (all, fits) = (
        view.rank_count(),
        rows.saturating_sub(head(view, rows).len() + 2),
    );
    if all > fits {
        parts.push(format!(
            "{} to {} of {all}",
            state.offset + 1,
            (state.offset + fits).min(all)
        ));
    }
    let aged = ages(view);
    if !aged.is_empty() {
        parts.push(aged);
    }
    parts.push("h help, q quit".to_owned());
    line(Style::Faint, parts.join(" · "))
}

fn help() -> Vec<Line> {
    [
        "",
        "sort by   c CPU   m memory   i I/O   g GPU   e exposed communication   r rank   n node",
        "          R reverses",
        "move      arrows, Page Up, Page Down, Home, End",
        "refresh   + faster, - slower, p or space pause",
        "leave     q, Esc, Ctrl-C",
        "",
        "time      = computing   # computing and communicating   x communicating, exposed",
        "          o I/O   . idle: a letter a tenth of the last interval",
        "faint     from the record of another node: some seconds old",
    ]
    .map(|text| line(Style::Plain, text))
    .into()
}

#[cfg(test)]
mod tests {
    use mizar_api::{LiveGpu, LiveSplit};
    use mizar_core::ids::JobId;

    use super::table::sorted;
    use super::*;
    use crate::top::view::Rank;

    fn rank(rank: u32, cpus: Option<f64>, exposed: f64) -> Rank {
        Rank {
            step: "0".to_owned(),
            rank,
            pid: 4000 + rank as i32,
            cpus_busy: cpus,
            memory_bytes: Some(u64::from(rank + 1) << 29),
            io_bytes_per_s: Some(2e6),
            threads: Some(2),
            gpus: vec![rank],
            split: Some(LiveSplit {
                compute: 0.9 - exposed,
                exposed,
                hidden: 0.1,
                io: 0.0,
                idle: 0.1,
            }),
            call: None,
        }
    }

    fn view(ranks: u32) -> View {
        let gpu = |gpu| LiveGpu {
            gpu,
            name: "H100".to_owned(),
            busy: Some(0.25 * f64::from(gpu + 1)),
            memory_used_bytes: Some(40 << 30),
            memory_total_bytes: Some(80 << 30),
            power_watts: Some(300.0),
            temperature_c: None,
            replayed: true,
            ..LiveGpu::default()
        };
        let node = |name: &str, source, ranks| Node {
            job: JobId(77),
            user: "alice".to_owned(),
            name: "train\u{1b}[2J".to_owned(),
            node: name.to_owned(),
            elapsed_s: 75.0,
            cpus: Some(4),
            memory_limit_bytes: None,
            gpus: (0..2).map(gpu).collect(),
            hang: None,
            source,
            age_s: (source == "record").then_some(4.2),
            ranks,
        };
        let mut here: Vec<Rank> = (0..ranks)
            .map(|r| rank(r, Some(0.25 * f64::from(r)), 0.1))
            .collect();
        here[0].cpus_busy = None;
        View {
            schema: "",
            time_s: 0.0,
            nodes: vec![
                node("n1", "mizard", here),
                node("n2", "record", vec![rank(ranks, Some(0.9), 0.4)]),
            ],
            reached: true,
            looked: Vec::new(),
        }
    }

    #[test]
    fn the_screen_reads_as_expected() {
        let text = |lines: Vec<Line>| -> String {
            lines
                .iter()
                .map(|l| format!("{}\n", l.text.trim_end()))
                .collect()
        };
        let state = State::new(Sort::Cpu, 2.0);
        insta::assert_snapshot!("wide", text(lines(&view(3), &state, (140, 14))));
        insta::assert_snapshot!("narrow", text(lines(&view(3), &state, (60, 12))));
        insta::assert_snapshot!("plain", plain(&view(3), &state));
    }

    #[test]
    fn no_line_leaves_the_screen_however_small_it_is() {
        for (columns, rows) in [(1, 1), (10, 3), (20, 5), (80, 24), (300, 100)] {
            for help in [false, true] {
                let mut state = State::new(Sort::Exposed, 2.0);
                state.help = help;
                state.offset = 7;
                let view = view(40);
                state.fit(room(&view, (columns, rows)), view.rank_count());
                let lines = lines(&view, &state, (columns, rows));
                assert_eq!(lines.len(), rows, "{columns} x {rows}");
                assert!(
                    lines
                        .iter()
                        .all(|line| line.text.chars().count() <= columns)
                );
                assert!(lines.iter().all(|line| !line.text.contains('\u{1b}')));
            }
        }
    }

    #[test]
    fn ranks_are_in_the_order_asked_for_and_the_unknown_come_last() {
        let view = view(4);
        let order = |sort, reversed| -> Vec<u32> {
            let mut state = State::new(sort, 2.0);
            state.reversed = reversed;
            sorted(&view, &state).iter().map(|row| row.1.rank).collect()
        };
        assert_eq!(order(Sort::Cpu, false), [4, 3, 2, 1, 0]);
        assert_eq!(order(Sort::Memory, false), [4, 3, 2, 1, 0]);
        assert_eq!(order(Sort::Exposed, false)[0], 4);
        assert_eq!(order(Sort::Rank, false), [0, 1, 2, 3, 4]);
        assert_eq!(order(Sort::Rank, true), [4, 3, 2, 1, 0]);
    }
}
