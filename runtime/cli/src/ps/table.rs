//! The rows of `mizar ps` for people.

use mizar_report::format;
use mizar_report::text::{printable, table};

use super::gpus::StepGpus;
use super::{Hang, Row};

/// A table; a user with many steps sees each as a line.
pub(super) fn render(rows: &[Row]) -> String {
    let with_gpus = rows.iter().any(|row| row.gpus.is_some());
    let mut header = vec![
        "job", "user", "name", "node", "step", "ranks", "elapsed", "CPUs", "memory", "I/O",
    ];
    if with_gpus {
        header.extend(["GPUs busy", "GPU memory", "GPU power"]);
    }
    let mut table = table(&header, 5);
    for row in rows {
        let mut cells = vec![
            row.job.to_string(),
            printable(&row.user),
            printable(format::job_title(&row.name)),
            printable(&row.node),
            row.step.clone(),
            format!("{} of {}", row.ranks_here, row.ranks),
            format::duration(row.elapsed_s),
            of(
                row.cpus_busy.map(format::number),
                row.cpus_allocated.map(|cpus| cpus.to_string()),
            ),
            of(
                row.memory_bytes.map(|bytes| format::bytes(Some(bytes))),
                row.memory_limit_bytes
                    .map(|bytes| format::bytes(Some(bytes))),
            ),
            row.io_bytes_per_s
                .map_or_else(|| "-".to_owned(), |rate| format::byte_rate(Some(rate))),
        ];
        if with_gpus {
            cells.extend(gpu_cells(row.gpus.as_ref()));
        }
        table.add_row(cells);
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let is_replayed = |row: &Row| row.gpus.as_ref().is_some_and(|gpus| gpus.replayed);
    if rows.iter().any(is_replayed) {
        text += &format!("GPUs: {}.\n", mizar_report::gpus::REPLAYED);
    }
    text
}

/// `85.0 % of 2`, memory and power of all of them.
fn gpu_cells(gpus: Option<&StepGpus>) -> [String; 3] {
    let Some(gpus) = gpus else {
        return ["-"; 3].map(str::to_owned);
    };
    let size = |bytes: u64| format::bytes(Some(bytes));
    [
        of(
            gpus.busy.map(|busy| format::share(Some(busy))),
            Some(gpus.count.to_string()),
        ),
        of(
            gpus.memory_used_bytes.map(size),
            gpus.memory_total_bytes.map(size),
        ),
        gpus.power_watts
            .map_or_else(|| "-".to_owned(), |watts| format::power(Some(watts))),
    ]
}

/// A line for each hang.
pub(super) fn hangs(hangs: &[Hang]) -> String {
    let line = |hang: &Hang| printable(&format!("! job {}, {}", hang.job, hang.text)) + "\n";
    hangs.iter().map(line).collect()
}

/// `used of limit`; `-` where there is none.
fn of(used: Option<String>, limit: Option<String>) -> String {
    let used = used.unwrap_or_else(|| "-".to_owned());
    match limit {
        Some(limit) => format!("{used} of {limit}"),
        None => used,
    }
}

#[cfg(test)]
mod tests {
    use mizar_core::ids::JobId;

    use super::*;

    #[test]
    fn rows_read_as_expected() {
        let row = Row {
            job: JobId(77),
            user: "alice".to_owned(),
            name: "mean\u{1b}[2J".to_owned(),
            node: "n1".to_owned(),
            step: "0".to_owned(),
            ranks_here: 2,
            ranks: 4,
            elapsed_s: 75.0,
            cpus_busy: Some(1.5),
            cpus_allocated: Some(2),
            memory_bytes: Some(3 << 30),
            memory_limit_bytes: Some(4 << 30),
            io_bytes_per_s: Some(2e6),
            gpus: None,
            source: "mizard",
        };
        let young = Row {
            step: "batch".to_owned(),
            cpus_busy: None,
            cpus_allocated: None,
            memory_bytes: None,
            memory_limit_bytes: None,
            io_bytes_per_s: None,
            ..row.clone()
        };
        insta::assert_snapshot!(render(&[row.clone(), young.clone()]));
        let gpus = StepGpus {
            count: 4,
            busy: Some(0.853),
            memory_used_bytes: Some(123 << 30),
            memory_total_bytes: Some(320 << 30),
            power_watts: Some(2481.0),
            replayed: true,
        };
        let with_gpus = Row {
            gpus: Some(gpus),
            ..row
        };
        insta::assert_snapshot!("rows_with_gpus", render(&[with_gpus, young]));
    }
}
