//! The tables of a scalability report, as CSV: first the columns that itwinai's have, by its
//! names and in its units, then ours.

use super::schema::{EnergyFigure, Estimate, Point, Scaling};

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its file's name, without `.csv`.
    pub name: &'static str,
    /// Titles of its columns.
    pub header: Vec<&'static str>,
    /// Its rows; as many cells as titles.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The table as CSV with quotes where RFC 4180 wants them.
    #[must_use]
    pub fn csv(&self) -> String {
        let line = |cells: Vec<String>| cells.join(",") + "\n";
        let mut text = line(self.header.iter().map(|title| quoted(title)).collect());
        for row in &self.rows {
            text += &line(row.iter().map(|cell| quoted(cell)).collect());
        }
        text
    }
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// All tables; those without a row too, so that scripts find every file.
#[must_use]
pub fn tables(report: &Scaling) -> Vec<Table> {
    vec![
        epoch_time(report),
        gpu_data(report),
        computation(report),
        fits(report),
        runs(report),
        excluded(report),
    ]
}

fn number(value: Option<f64>) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or_else(String::new, |value| value.to_string())
}

fn value(estimate: Option<&Estimate>) -> String {
    number(estimate.map(|estimate| estimate.value))
}

fn low(estimate: Option<&Estimate>) -> String {
    number(estimate.and_then(|estimate| estimate.low))
}

fn high(estimate: Option<&Estimate>) -> String {
    number(estimate.and_then(|estimate| estimate.high))
}

fn basis(estimate: &Estimate) -> String {
    serde_json::to_value(estimate.basis)
        .ok()
        .and_then(|basis| Some(basis.as_str()?.to_owned()))
        .unwrap_or_default()
}

fn epoch_time(report: &Scaling) -> Table {
    let row = |point: &Point| {
        let (time, speedup) = (Some(&point.epoch_time_s), point.speedup.as_ref());
        let (efficiency, throughput) = (point.efficiency.as_ref(), point.throughput.as_ref());
        vec![
            point.strategy.clone(),
            point.ranks.to_string(),
            value(time),
            low(time),
            high(time),
            basis(&point.epoch_time_s),
            point.run_count.to_string(),
            point.epoch_count.to_string(),
            point.warm_up_count.to_string(),
            value(speedup),
            low(speedup),
            high(speedup),
            value(efficiency),
            low(efficiency),
            high(efficiency),
            value(throughput),
        ]
    };
    Table {
        name: "epoch_time",
        header: vec![
            "strategy",
            "global_world_size",
            "avg_epoch_time",
            "avg_epoch_time_low",
            "avg_epoch_time_high",
            "interval",
            "runs",
            "epochs",
            "warm_up_epochs",
            "speedup",
            "speedup_low",
            "speedup_high",
            "efficiency",
            "efficiency_low",
            "efficiency_high",
            "samples_per_s",
        ],
        rows: report.points.iter().map(row).collect(),
    }
}

fn gpu_data(report: &Scaling) -> Table {
    let row = |point: &Point| {
        let gpu = point.gpu_energy.as_ref();
        let node = point.node_energy.as_ref();
        let of = |figure: Option<&EnergyFigure>| {
            [
                number(figure.map(|figure| figure.bound_wh)),
                number(figure.and_then(|figure| figure.warm_up_wh)),
                value(figure.and_then(|figure| figure.epoch_wh.as_ref())),
                number(figure.map(|figure| figure.unobserved_s)),
                figure.map_or_else(String::new, |figure| figure.method.clone()),
            ]
        };
        let mut cells = vec![
            point.strategy.clone(),
            point.ranks.to_string(),
            value(gpu.map(|figure| &figure.total_wh)),
            number(point.gpu_utilization.map(|share| share * 100.0)),
        ];
        cells.extend(of(gpu));
        cells.push(value(node.map(|figure| &figure.total_wh)));
        cells.extend(of(node));
        cells.push(number(point.gpu_hours));
        cells.push(number(point.gpu_hours_busy));
        cells.push(number(point.cpus_busy_per_rank));
        cells.push(number(point.wh_per_sample));
        cells
    };
    Table {
        name: "gpu_data",
        header: vec![
            "strategy",
            "global_world_size",
            "total_energy_wh",
            "utilization",
            "energy_bound_wh",
            "warm_up_energy_wh",
            "epoch_energy_wh",
            "unobserved_s",
            "method",
            "node_energy_wh",
            "node_energy_bound_wh",
            "node_warm_up_energy_wh",
            "node_epoch_energy_wh",
            "node_unobserved_s",
            "node_method",
            "gpu_hours",
            "gpu_hours_busy",
            "cpus_busy_per_rank",
            "wh_per_sample",
        ],
        rows: report.points.iter().map(row).collect(),
    }
}

fn computation(report: &Scaling) -> Table {
    let row = |point: &Point| {
        let split = point.computation.as_ref()?;
        Some(vec![
            point.gpus.unwrap_or(point.ranks).to_string(),
            point.strategy.clone(),
            number(Some(split.compute)),
            number(Some(split.compute_min)),
            number(Some(split.compute_max)),
            number(split.communication),
            number(split.exposed),
            number(split.overlap),
            number(split.io),
            number(split.idle),
            split.method.clone(),
        ])
    };
    Table {
        name: "computation_fraction",
        header: vec![
            "num_gpus",
            "strategy",
            "computation_fraction",
            "computation_min",
            "computation_max",
            "communication_fraction",
            "exposed_fraction",
            "overlap",
            "io_fraction",
            "idle_fraction",
            "method",
        ],
        rows: report.points.iter().filter_map(row).collect(),
    }
}

fn fits(report: &Scaling) -> Table {
    let mut rows = Vec::new();
    for strategy in &report.strategies {
        for fit in &strategy.fits {
            for parameter in &fit.parameters {
                rows.push(vec![
                    strategy.name.clone(),
                    super::words::law(fit.law).to_owned(),
                    parameter.name.to_owned(),
                    number(Some(parameter.value)),
                    number(parameter.low),
                    number(parameter.high),
                    parameter.at_bound.to_string(),
                    number(Some(fit.residual_rms)),
                ]);
            }
        }
    }
    Table {
        name: "fits",
        header: vec![
            "strategy",
            "law",
            "parameter",
            "value",
            "low",
            "high",
            "at_bound",
            "residual_rms",
        ],
        rows,
    }
}

fn runs(report: &Scaling) -> Table {
    let row = |run: &super::schema::RunSummary| {
        vec![
            run.source.clone(),
            run.strategy.clone(),
            run.ranks.to_string(),
            run.observed.to_owned(),
            number(Some(run.time_s)),
            run.kept_s.len().to_string(),
            run.warm_up_count.to_string(),
            run.steady.to_string(),
            number(Some(run.elapsed_s)),
            number(Some(run.gap_s)),
            number(run.own_cpu_s),
            number(run.own_cpu_share),
            run.notes.join("; "),
        ]
    };
    Table {
        name: "runs",
        header: vec![
            "run",
            "strategy",
            "global_world_size",
            "observed",
            "time_s",
            "epochs",
            "warm_up_epochs",
            "steady",
            "elapsed_s",
            "gap_s",
            "own_cpu_s",
            "own_cpu_share",
            "notes",
        ],
        rows: report.runs.iter().map(row).collect(),
    }
}

fn excluded(report: &Scaling) -> Table {
    let row = |run: &super::schema::Excluded| {
        vec![
            run.source.clone(),
            run.strategy.clone(),
            run.ranks.to_string(),
            run.reasons.join("; "),
        ]
    };
    Table {
        name: "excluded",
        header: vec!["run", "strategy", "global_world_size", "reasons"],
        rows: report.excluded.iter().map(row).collect(),
    }
}
