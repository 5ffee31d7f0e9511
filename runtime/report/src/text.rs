//! The report for a terminal.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::gpus::words;
use crate::schema::{Advice, File, IoTotals, Report, Severity};
use crate::{format, split};

/// Rows of a table that may be long; the JSON has all.
const MAX_ROWS: usize = 16;

/// The report as text, ending in a newline.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    figures(&mut out, report);
    advice(&mut out, report);
    steps(&mut out, report);
    ranks(&mut out, report);
    for (title, rows) in report.communication.iter().flat_map(split::text::tables) {
        put_table(&mut out, &title, &rows);
    }
    nodes(&mut out, report);
    gpus(&mut out, report);
    devices(&mut out, report);
    files(&mut out, report);
    measurement(&mut out, report);
    out
}

/// Terminals obey control characters; names of jobs and files must not command them.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A table without frames, its numbers to the right.
#[must_use]
pub fn table(header: &[&str], numbers_from: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 2 } else { 1 }, 1));
        if index >= numbers_from {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

pub(crate) fn put(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

pub(crate) fn put_table(out: &mut String, title: &str, table: &Table) {
    put(out, "");
    put(out, title);
    for line in table.lines() {
        put(out, &line);
    }
}

fn head(out: &mut String, report: &Report) {
    let job = &report.job;
    put(
        out,
        &printable(&format!("Job {} · {} · {}", job.id, job.title, job.state)),
    );
    let place = [
        &job.user,
        &job.account,
        &job.partition,
        &job.cluster,
        &job.nodes,
    ];
    let place: Vec<&str> = place
        .map(String::as_str)
        .into_iter()
        .filter(|p| !p.is_empty())
        .collect();
    put(out, &printable(&format!("  {}", place.join(" · "))));
    let start = format::instant(job.start_s);
    let end = job
        .end_s
        .map_or_else(|| "its last reading".to_owned(), format::instant);
    let limit = job.time_limit_s.map_or_else(String::new, |limit_s| {
        format!(" of {}", format::duration(limit_s as f64))
    });
    put(
        out,
        &format!(
            "  {start} to {end}: {}{limit}",
            format::duration(job.elapsed_s)
        ),
    );
}

fn figures(out: &mut String, report: &Report) {
    let cpu = &report.cpu;
    let of_cpus = cpu.allocated.map_or_else(String::new, |cpus| {
        format!(
            " ({} of {cpus} CPUs busy)",
            cpu.mean_busy.map_or_else(String::new, format::number)
        )
    });
    let memory = &report.memory;
    let of_limit = memory.limit_bytes.map_or_else(
        || " (no limit)".to_owned(),
        |limit| {
            format!(
                " of {} ({})",
                format::bytes(Some(limit)),
                format::share(memory.used_share)
            )
        },
    );
    let on = memory
        .node
        .as_ref()
        .map_or_else(String::new, |node| format!(" on {node}"));
    let network = &report.network;
    let rows = [
        (
            "CPU efficiency",
            format!("{}{of_cpus}", format::share(cpu.efficiency)),
            &cpu.method,
        ),
        (
            "Memory peak",
            format!("{}{of_limit}{on}", format::bytes(memory.peak_bytes)),
            &memory.method,
        ),
        ("I/O", io_words(&report.io.totals), &report.io.method),
        (
            "Node traffic",
            format!(
                "{} in, {} out",
                format::bytes(network.received_bytes),
                format::bytes(network.sent_bytes)
            ),
            &network.method,
        ),
        ("Node energy", energy_words(report), &report.energy.method),
    ];
    let rows = rows.map(|(name, figure, method)| (name, figure, method.clone()));
    let of_gpus = report.gpu.as_ref().map(words::figures);
    put(out, "");
    for (name, figure, method) in rows.into_iter().chain(of_gpus.into_iter().flatten()) {
        let method = if method == format::NOT_MEASURED {
            String::new()
        } else {
            method
        };
        put(
            out,
            &printable(&format!("  {name:15} {figure:42} {method}")),
        );
    }
}

fn energy_words(report: &Report) -> String {
    match report.energy.joules {
        Some(_) => format!(
            "{}, {} on average",
            words::energy_words(report.energy.joules, report.energy.bound_joules, false),
            format::power(report.energy.mean_watts)
        ),
        None => format::NOT_MEASURED.to_owned(),
    }
}

fn io_words(io: &IoTotals) -> String {
    match (io.read_bytes, io.written_bytes) {
        (None, None) => format::NOT_MEASURED.to_owned(),
        (read, written) => {
            format!(
                "{} read, {} written",
                format::bytes(read),
                format::bytes(written)
            )
        }
    }
}

fn advice(out: &mut String, report: &Report) {
    if report.advice.is_empty() {
        return;
    }
    put(out, "");
    put(out, "Advice");
    for Advice {
        severity,
        message,
        action,
        directive,
        ..
    } in &report.advice
    {
        let mark = match severity {
            Severity::Critical => "!!",
            Severity::Warning => " !",
            Severity::Note => " -",
        };
        put(out, &printable(&format!("  {mark} {message}")));
        put(out, &printable(&format!("     {action}")));
        if let Some(directive) = directive {
            put(out, &format!("     {directive}"));
        }
    }
}

fn steps(out: &mut String, report: &Report) {
    let mut rows = table(
        &[
            "step",
            "command",
            "ranks",
            "nodes",
            "elapsed",
            "CPU",
            "largest rank",
            "max/mean",
        ],
        2,
    );
    for step in &report.steps {
        rows.add_row([
            step.step.clone(),
            shortened(&printable(&step.command)),
            step.task_count.to_string(),
            step.node_count.to_string(),
            format::duration(step.elapsed_s),
            format::cpu_time(step.cpu_s),
            format::bytes(step.rank_peak_bytes),
            step.balance.as_ref().map_or_else(
                || "-".to_owned(),
                |balance| format!("{:.2}", balance.max_over_mean),
            ),
        ]);
    }
    if !report.steps.is_empty() {
        put_table(out, "Steps", &rows);
    }
}

fn shortened(command: &str) -> String {
    const MAX_CHARS: usize = 44;
    match command.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command.to_owned(),
    }
}

fn ranks(out: &mut String, report: &Report) {
    let header = [
        "step", "rank", "node", "status", "elapsed", "CPU", "memory", "read", "written",
    ];
    let mut rows = table(&header, 4);
    for rank in report.ranks.iter().take(MAX_ROWS) {
        rows.add_row([
            rank.step.clone(),
            rank.rank.to_string(),
            printable(&rank.node),
            rank.status.clone(),
            format::duration(rank.elapsed_s),
            format::cpu_time(rank.cpu_s),
            format::bytes(rank.peak_bytes),
            format::bytes(rank.io.read_bytes),
            format::bytes(rank.io.written_bytes),
        ]);
    }
    if !report.ranks.is_empty() {
        put_table(out, "Ranks", &rows);
        more(out, report.ranks.len());
    }
}

fn nodes(out: &mut String, report: &Report) {
    let header = [
        "node",
        "job CPUs",
        "efficiency",
        "memory",
        "limit",
        "energy",
    ];
    let mut rows = table(&header, 1);
    for node in report.nodes.iter().take(MAX_ROWS) {
        rows.add_row([
            printable(&node.node),
            node.job_cpus
                .map_or_else(|| "unknown".to_owned(), |cpus| cpus.to_string()),
            format::share(node.job_cpu_efficiency),
            format::bytes(node.memory_peak_bytes),
            node.memory_limit_bytes
                .map_or_else(|| "none".to_owned(), |limit| format::bytes(Some(limit))),
            format::energy(node.joules),
        ]);
    }
    if !report.nodes.is_empty() {
        put_table(out, "Nodes", &rows);
        more(out, report.nodes.len());
    }
}

fn gpus(out: &mut String, report: &Report) {
    let Some(gpus) = &report.gpu else {
        return;
    };
    let title = match &gpus.replayed {
        Some(replayed) => format!("GPUs ({replayed})"),
        None => "GPUs".to_owned(),
    };
    let tables = [
        (title, words::devices(gpus)),
        ("GPU use by rank".to_owned(), words::ranks(gpus)),
        ("What befell GPUs".to_owned(), words::events(gpus)),
    ];
    for (title, (table, count)) in tables {
        if count > 0 {
            put_table(out, &title, &table);
            more(out, count);
        }
    }
}

fn devices(out: &mut String, report: &Report) {
    let header = [
        "node",
        "device",
        "",
        "counted",
        "while the job ran",
        "most in one second",
    ];
    let mut rows = table(&header, 4);
    let mut shown = 0;
    for node in &report.nodes {
        for device in &node.devices {
            for count in device.counts.iter().filter(|count| count.is_of_interest()) {
                shown += 1;
                if shown > MAX_ROWS {
                    continue;
                }
                rows.add_row([
                    printable(&node.node),
                    printable(&device.device),
                    printable(&device.class),
                    printable(&count.quantity),
                    format::counted(count.value, &count.unit),
                    format::counted_rate(count.max_per_s, &count.unit),
                ]);
            }
        }
    }
    if shown > 0 {
        put_table(
            out,
            "Devices (all that the nodes did, other jobs included)",
            &rows,
        );
        more(out, shown);
    }
}

fn more(out: &mut String, count: usize) {
    if let Some(hidden) = count.checked_sub(MAX_ROWS).filter(|&hidden| hidden > 0) {
        put(out, &format!("  and {hidden} more: see --json or --html"));
    }
}

fn files(out: &mut String, report: &Report) {
    let provenance = &report.provenance;
    let mut rows = table(&["", "file", "size", "SHA-256"], 4);
    let mut row = |role: &str, file: &File| {
        let digest = file
            .sha256
            .as_deref()
            .map(|digest| digest.get(..16).unwrap_or(digest));
        let digest = digest.or(file.note.as_deref()).unwrap_or("not taken yet");
        rows.add_row([
            role.to_owned(),
            printable(&file.path),
            format::bytes(file.size_bytes),
            printable(digest),
        ]);
    };
    provenance
        .script
        .iter()
        .for_each(|file| row("script", file));
    provenance
        .inputs
        .iter()
        .take(MAX_ROWS)
        .for_each(|file| row("used", file));
    provenance
        .outputs
        .iter()
        .take(MAX_ROWS)
        .for_each(|file| row("made", file));
    if !rows.is_empty() {
        put_table(out, "Files", &rows);
        more(out, provenance.inputs.len().max(provenance.outputs.len()));
    }
}

/// Below this share of the ranks' time the totals miss something worth a word.
const WELL_OBSERVED: f64 = 0.95;

fn measurement(out: &mut String, report: &Report) {
    let measured = &report.measurement;
    put(out, "");
    let interval = measured
        .interval_median_s
        .map_or_else(String::new, |median| {
            format!(
                ", every {} ({}at most {})",
                format::duration(median),
                measured
                    .interval_asked_s
                    .map_or_else(String::new, |asked_s| format!(
                        "asked: {}, ",
                        format::duration(asked_s)
                    )),
                measured
                    .interval_max_s
                    .map_or_else(String::new, format::duration)
            )
        });
    let mut line = String::new();
    let _ = write!(
        line,
        "Measured with {} readings of ranks{interval}; mizard itself used ",
        measured.task_reading_count
    );
    match (measured.own_cpu_s, measured.own_cpu_share) {
        (Some(cpu_s), Some(share)) => {
            let _ = write!(
                line,
                "{} of CPU ({:.2} % of one CPU).",
                format::duration(cpu_s),
                share * 100.0
            );
        }
        _ => line.push_str("an unknown amount of CPU."),
    }
    put(out, &line);
    if let Some(share) = report
        .completeness
        .observed_share
        .filter(|share| *share < WELL_OBSERVED)
    {
        put(
            out,
            &format!(
                "Readings cover {} of the ranks' time; what a rank did after its last one is not counted.",
                format::share(Some(share))
            ),
        );
    }
    if !report.completeness.complete && report.job.state == "finished" {
        put(out, "Some nodes have not finished their record.");
    }
}
