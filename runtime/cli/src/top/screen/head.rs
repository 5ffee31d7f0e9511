//! What stands above the ranks: the job, totals, hangs, GPUs.

use mizar_report::format;
use mizar_report::text::printable;

use super::{Line, Style, bar, line};
use crate::top::view::{Rank, View};

/// Lines for hangs, at most.
const MAX_HANGS: usize = 3;

/// The lines; `rows` are those of the screen, of which GPUs take a third at most.
pub(super) fn head(view: &View, rows: usize) -> Vec<Line> {
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
