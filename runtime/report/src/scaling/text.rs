//! The scalability report for a terminal.

use super::schema::{EnergyFigure, Point, Scaling};
use super::words::{estimate, law, law_words, own_cost, ranks, seconds, times_word, watt_hours};
use crate::format;
use crate::text::{printable, put, put_table, table};

/// Rows of a table that may be long; the JSON has all.
const MAX_ROWS: usize = 40;

/// The report as text, ending in a newline.
#[must_use]
pub fn render(report: &Scaling) -> String {
    let mut out = String::new();
    head(&mut out, report);
    excluded(&mut out, report);
    if !report.points.is_empty() {
        advice(&mut out, report);
        times(&mut out, report);
        energy(&mut out, report);
        computation(&mut out, report);
        phases(&mut out, report);
        laws(&mut out, report);
    }
    runs(&mut out, report);
    out
}

fn head(out: &mut String, report: &Scaling) {
    let runs = report.runs.len();
    put(
        out,
        &format!(
            "Scalability of {runs} run{} in {} size{} · {} scaling",
            if runs == 1 { "" } else { "s" },
            report.points.len(),
            if report.points.len() == 1 { "" } else { "s" },
            if report.weak { "weak" } else { "strong" },
        ),
    );
    let baseline = report.baseline_ranks.map_or_else(
        || "no run can be compared".to_owned(),
        |count| format!("baseline {} for all strategies", ranks(count)),
    );
    put(
        out,
        &format!(
            "  {baseline} · intervals {:.0} %: Student's t over runs, * block bootstrap of one run's \
         epochs (seed {})",
            report.confidence * 100.0,
            report.seed
        ),
    );
    for note in &report.notes {
        put(out, &printable(&format!("  Note: {note}.")));
    }
}

fn excluded(out: &mut String, report: &Scaling) {
    if report.excluded.is_empty() {
        return;
    }
    put(out, "");
    put(out, "Not compared");
    for run in &report.excluded {
        put(
            out,
            &printable(&format!(
                "  {} ({}, {}): {}",
                run.source,
                run.strategy,
                ranks(run.ranks),
                run.reasons.join("; ")
            )),
        );
    }
}

fn advice(out: &mut String, report: &Scaling) {
    put(out, "");
    put(out, "Next");
    for strategy in &report.strategies {
        for sentence in &strategy.advice.text {
            put(out, &printable(&format!("  {}: {sentence}", strategy.name)));
        }
    }
}

fn times(out: &mut String, report: &Scaling) {
    let what = if report.runs.iter().all(|run| run.observed == "epochs") {
        "epoch"
    } else {
        "time"
    };
    let has_samples = report.points.iter().any(|point| point.throughput.is_some());
    let mut header = vec![
        "strategy",
        "ranks",
        "runs",
        "epochs",
        "warm-up",
        what,
        "speedup",
        "efficiency",
    ];
    if has_samples {
        header.push("samples/s");
    }
    let mut rows = table(&header, 1);
    for point in &report.points {
        let mut row = vec![
            printable(&point.strategy),
            point.ranks.to_string(),
            point.run_count.to_string(),
            point.epoch_count.to_string(),
            format!("{} dropped", point.warm_up_count),
            estimate(Some(&point.epoch_time_s), seconds),
            estimate(point.speedup.as_ref(), times_word),
            estimate(point.efficiency.as_ref(), |share| {
                format::share(Some(share))
            }),
        ];
        if has_samples {
            row.push(estimate(point.throughput.as_ref(), format::number));
        }
        rows.add_row(row);
    }
    put_table(out, "Time", &rows);
}

fn energy(out: &mut String, report: &Scaling) {
    let measured = |p: &&Point| {
        p.gpu_energy.is_some()
            || p.node_energy.is_some()
            || p.gpu_utilization.is_some()
            || p.cpus_busy_per_rank.is_some()
    };
    if !report.points.iter().any(|point| measured(&point)) {
        return;
    }
    let mut rows = table(
        &[
            "strategy",
            "ranks",
            "GPU energy",
            "node energy",
            "of an epoch",
            "warm-up",
            "GPU busy",
            "CPUs a rank",
            "GPU-hours",
        ],
        1,
    );
    let mut methods: Vec<String> = Vec::new();
    for point in &report.points {
        let figure = |figure: &Option<EnergyFigure>| {
            figure.as_ref().map_or_else(
                || "-".to_owned(),
                |found| {
                    format!(
                        "{} \u{b1} {}",
                        watt_hours(found.total_wh.value),
                        watt_hours(found.bound_wh)
                    )
                },
            )
        };
        let first = point.gpu_energy.as_ref().or(point.node_energy.as_ref());
        for (what, found) in [("GPU", &point.gpu_energy), ("node", &point.node_energy)] {
            if let Some(found) = found {
                let line = format!("{what} energy: {}", found.method);
                if !methods.contains(&line) {
                    methods.push(line);
                }
                // Half a second at either end is how readings fall, not a gap.
                if found.unobserved_s > 1.0 {
                    methods.push(format!(
                        "{} at {}: {} of a run {} energy was not observed",
                        point.strategy,
                        ranks(point.ranks),
                        format::duration(found.unobserved_s),
                        what
                    ));
                }
            }
        }
        rows.add_row([
            printable(&point.strategy),
            point.ranks.to_string(),
            figure(&point.gpu_energy),
            figure(&point.node_energy),
            estimate(first.and_then(|found| found.epoch_wh.as_ref()), watt_hours),
            first
                .and_then(|found| found.warm_up_wh)
                .map_or_else(|| "-".to_owned(), watt_hours),
            point
                .gpu_utilization
                .map_or_else(|| "-".to_owned(), |share| format::share(Some(share))),
            point
                .cpus_busy_per_rank
                .map_or_else(|| "-".to_owned(), format::number),
            point
                .gpu_hours
                .map_or_else(|| "-".to_owned(), |hours| format!("{hours:.3}")),
        ]);
    }
    put_table(
        out,
        "Energy and use, mean of the runs \u{b1} what a measurement can be wrong by",
        &rows,
    );
    for line in methods {
        put(out, &printable(&format!("  {line}")));
    }
}

fn computation(out: &mut String, report: &Scaling) {
    if report
        .points
        .iter()
        .all(|point| point.computation.is_none())
    {
        return;
    }
    let mut rows = table(
        &[
            "strategy",
            "ranks",
            "computing",
            "least",
            "most",
            "communicating",
            "exposed",
            "hidden of it",
            "I/O",
            "idle",
        ],
        1,
    );
    let mut methods: Vec<&str> = Vec::new();
    let share = |share: Option<f64>| {
        share.map_or_else(|| "-".to_owned(), |share| format::share(Some(share)))
    };
    for point in &report.points {
        let Some(split) = &point.computation else {
            continue;
        };
        if !methods.contains(&&split.method[..]) {
            methods.push(&split.method);
        }
        rows.add_row([
            printable(&point.strategy),
            point.ranks.to_string(),
            share(Some(split.compute)),
            share(Some(split.compute_min)),
            share(Some(split.compute_max)),
            share(split.communication),
            share(split.exposed),
            share(split.overlap),
            share(split.io),
            share(split.idle),
        ]);
    }
    put_table(out, "Where the time goes, means over ranks", &rows);
    for method in methods {
        put(out, &printable(&format!("  {method}")));
    }
}

fn phases(out: &mut String, report: &Scaling) {
    let mut names: Vec<&str> = report
        .points
        .iter()
        .flat_map(|point| &point.phases)
        .map(|phase| &phase.name[..])
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return;
    }
    let shown: Vec<String> = names.iter().map(|name| printable(name)).collect();
    let mut header = vec!["strategy", "ranks"];
    header.extend(shown.iter().map(String::as_str));
    let mut rows = table(&header, 1);
    for point in &report.points {
        let mut row = vec![printable(&point.strategy), point.ranks.to_string()];
        row.extend(names.iter().map(|name| {
            let found = point.phases.iter().find(|phase| phase.name == *name);
            found.map_or_else(|| "-".to_owned(), |phase| seconds(phase.seconds))
        }));
        rows.add_row(row);
    }
    put_table(out, "Parts of an epoch, on its slowest rank", &rows);
}

fn laws(out: &mut String, report: &Scaling) {
    put(out, "");
    put(out, "Laws");
    for strategy in &report.strategies {
        for fit in &strategy.fits {
            let line = format!("  {}, {}: {}", strategy.name, law(fit.law), law_words(fit));
            put(out, &printable(&line));
            let residuals: Vec<String> = fit
                .residuals
                .iter()
                .take(MAX_ROWS)
                .map(|residual| format!("{}: {:+.1} %", residual.ranks, residual.relative * 100.0))
                .collect();
            put(out, &format!("    residuals {}", residuals.join(", ")));
        }
        for why in &strategy.unfitted {
            put(out, &printable(&format!("  {}: {why}", strategy.name)));
        }
    }
}

fn runs(out: &mut String, report: &Scaling) {
    if report.runs.is_empty() {
        return;
    }
    let mut rows = table(
        &[
            "run",
            "strategy",
            "ranks",
            "kept",
            "warm-up",
            "time",
            "elapsed",
            "gaps",
            "own overhead",
        ],
        2,
    );
    for run in report.runs.iter().take(MAX_ROWS) {
        rows.add_row([
            printable(&run.source),
            printable(&run.strategy),
            run.ranks.to_string(),
            run.kept_s.len().to_string(),
            run.warm_up_count.to_string(),
            seconds(run.time_s),
            format::duration(run.elapsed_s),
            format::duration(run.gap_s),
            own_cost(run),
        ]);
    }
    put_table(out, "Runs", &rows);
    for run in report.runs.iter().take(MAX_ROWS) {
        for note in &run.notes {
            put(out, &printable(&format!("  {}: {note}", run.source)));
        }
    }
    let more = report.runs.len().saturating_sub(MAX_ROWS);
    if more > 0 {
        put(out, &format!("  … and {more} more; --json has all"));
    }
}
