//! The lines of `mizar top`: from what was found and what the user asked for, to text. Pure.

use mizar_report::format;
use mizar_report::text::printable;

use super::keys::{Sort, State};
use super::view::{Node, Rank, View};

/// Lines for hangs, at most.
const MAX_HANGS: usize = 3;
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

/// A rank where it is.
type Row<'v> = (&'v Node, &'v Rank);

/// A column of the table of ranks.
struct Column {
    title: &'static str,
    width: usize,
    right: bool,
    /// What goes first where there is no room: the highest.
    spare: u8,
    text: fn(Row<'_>) -> String,
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

fn head(view: &View, rows: usize) -> Vec<Line> {
    let Some(first) = view.nodes.first() else {
        let mut lines = vec![line(Style::Title, "No watched job is running.")];
        lines.extend(
            view.looked
                .iter()
                .map(|looked| line(Style::Plain, printable(looked))),
        );
        return lines;
    };
    let one_job = view.nodes.iter().all(|node| node.job == first.job);
    let nodes = match view.nodes.len() {
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    };
    let ranks = view.rank_count();
    let ranks = format!("{ranks} rank{}", if ranks == 1 { "" } else { "s" });
    let title = if one_job {
        format!(
            "Job {} · {} · {} · {nodes} · {ranks} · {}",
            first.job,
            format::job_title(&first.name),
            first.user,
            format::duration(first.elapsed_s)
        )
    } else {
        let mut jobs: Vec<u32> = view.nodes.iter().map(|node| node.job.0).collect();
        jobs.dedup();
        format!("{} jobs · {nodes} · {ranks}", jobs.len())
    };
    let mut lines = vec![
        line(Style::Title, printable(&title)),
        line(Style::Plain, totals(view)),
    ];
    let hangs = view.nodes.iter().filter_map(|node| node.hang.as_ref());
    let mut hangs: Vec<&String> = hangs.collect();
    hangs.dedup();
    for hang in hangs.into_iter().take(MAX_HANGS) {
        lines.push(line(Style::Alarm, printable(&format!("Hang: {hang}"))));
    }
    lines.extend(gpu_lines(view, rows / 3));
    lines
}

fn totals(view: &View) -> String {
    let ranks = || view.nodes.iter().flat_map(|node| &node.ranks);
    let sum = |of: fn(&Rank) -> Option<f64>| {
        let known: Vec<f64> = ranks().filter_map(of).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>())
    };
    let cpus: Option<u32> = view.nodes.iter().map(|node| node.cpus).sum();
    let memory = sum(|rank| rank.memory_bytes.map(|bytes| bytes as f64));
    let mut parts = vec![
        format!(
            "CPUs {}{}",
            sum(|rank| rank.cpus_busy).map_or_else(|| "-".to_owned(), format::number),
            cpus.map_or_else(String::new, |cpus| format!(" of {cpus}"))
        ),
        format!(
            "memory {}",
            memory.map_or_else(|| "-".to_owned(), |bytes| format::bytes(Some(bytes as u64)))
        ),
        format!(
            "I/O {}",
            sum(|rank| rank.io_bytes_per_s)
                .map_or_else(|| "-".to_owned(), |rate| format::byte_rate(Some(rate)))
        ),
    ];
    let gpus: Vec<_> = view.nodes.iter().flat_map(|node| &node.gpus).collect();
    let busy: Vec<f64> = gpus.iter().filter_map(|gpu| gpu.busy).collect();
    if !busy.is_empty() {
        let mean = busy.iter().sum::<f64>() / busy.len() as f64;
        parts.push(format!("{} GPUs {:.0} % busy", gpus.len(), mean * 100.0));
    }
    let watts: Vec<f64> = gpus.iter().filter_map(|gpu| gpu.power_watts).collect();
    if !watts.is_empty() {
        parts.push(format!("{:.0} W", watts.iter().sum::<f64>()));
    }
    parts.join(" · ")
}

fn gpu_lines(view: &View, most: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let total = view.nodes.iter().map(|node| node.gpus.len()).sum::<usize>();
    for node in &view.nodes {
        for gpu in &node.gpus {
            if lines.len() + 1 >= most && total > most {
                lines.push(line(
                    Style::Faint,
                    format!("… {} more GPUs", total - lines.len()),
                ));
                return lines;
            }
            let known = |value: Option<f64>, unit: &str| {
                value.map_or_else(|| format!("- {unit}"), |value| format!("{value:.0} {unit}"))
            };
            let memory = |bytes: Option<u64>| {
                bytes.map_or_else(|| "-".to_owned(), |b| format::bytes(Some(b)))
            };
            let double = if gpu.replayed { " (test double)" } else { "" };
            lines.push(line(
                Style::Plain,
                printable(&format!(
                    "{:<10} GPU {:<2} {} {:>5}  {:>10} of {:<10} {:>6} {:>6}  {}{double}",
                    node.node,
                    gpu.gpu,
                    bar(gpu.busy),
                    known(gpu.busy.map(|busy| busy * 100.0), "%"),
                    memory(gpu.memory_used_bytes),
                    memory(gpu.memory_total_bytes),
                    known(gpu.power_watts, "W"),
                    known(gpu.temperature_c, "°C"),
                    gpu.name
                )),
            ));
        }
    }
    lines
}

/// A share as a bar.
fn bar(share: Option<f64>) -> String {
    let filled = share.map_or(0, |share| {
        (share.clamp(0.0, 1.0) * BAR as f64).round() as usize
    });
    format!("[{}{}]", "|".repeat(filled), " ".repeat(BAR - filled))
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

fn table(view: &View, state: &State, width: usize, offset: usize, room: usize) -> Vec<Line> {
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
fn sorted<'v>(view: &'v View, state: &State) -> Vec<Row<'v>> {
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

    use super::*;

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
