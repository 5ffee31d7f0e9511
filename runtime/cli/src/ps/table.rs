//! The rows of `mizar ps` for people.

use mizar_report::format;
use mizar_report::text::{printable, table};

use super::{Hang, Row};

/// A table; a user with many steps sees each as a line.
pub(super) fn render(rows: &[Row]) -> String {
    let mut table = table(
        &[
            "job", "user", "name", "node", "step", "ranks", "elapsed", "CPUs", "memory", "I/O",
        ],
        5,
    );
    for row in rows {
        table.add_row([
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
        ]);
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
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
        insta::assert_snapshot!(render(&[row, young]));
    }
}
