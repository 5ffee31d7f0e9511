//! The report as one self-contained page: inline style and drawings, no script, no requests.

use std::cmp::Ordering;

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;

use crate::chart::{self, Row, Tick};
use crate::gpus::Gpu;
use crate::schema::{Balance, Count, Node, Rank, Report};
use crate::series::Series;
use crate::{format, split};

/// Up to this many ranks or nodes get a chart each; more become a heat map.
const MAX_MULTIPLES: usize = 12;
/// Up to this many ranks get a bar with their name; more become a strip of bars.
const MAX_NAMED_BARS: usize = 24;
/// A larger report is not put into the page a second time as JSON.
pub(crate) const MAX_EMBEDDED_BYTES: usize = 1 << 20;

const PAGE: &str = include_str!("page.html");
pub(crate) const STYLE: &str = include_str!("page.css");

/// The page could not be made: a fault of the template, not of the report.
#[derive(Debug, thiserror::Error)]
#[error("the page could not be made")]
pub struct HtmlError(#[from] minijinja::Error);

/// Charts of one quantity.
#[derive(Serialize)]
struct Panel {
    title: &'static str,
    /// What the colours or heights mean.
    note: String,
    class: &'static str,
    rows: Vec<PanelRow>,
    heat: Option<Heat>,
}

#[derive(Serialize)]
struct PanelRow {
    label: String,
    figure: String,
    svg: Value,
}

#[derive(Serialize)]
struct Heat {
    svg: Value,
    legend: Value,
    first: String,
    last: String,
    largest: String,
    height_px: usize,
}

/// The CPU seconds of a step's ranks.
#[derive(Serialize)]
struct Bars {
    step: String,
    /// Its place in the report.
    index: usize,
    balance: Balance,
    rows: Vec<Bar>,
    strip: Option<Value>,
}

#[derive(Serialize)]
struct Bar {
    label: String,
    figure: String,
    percent: f64,
    busiest: bool,
}

/// A counter of a device.
#[derive(Serialize)]
struct DeviceRow<'r> {
    node: &'r str,
    device: &'r str,
    class: &'r str,
    count: &'r Count,
}

/// A quantity of something that a panel shows.
struct Drawn<'r> {
    label: String,
    row: Row<'r>,
}

/// Makes the page.
///
/// # Errors
/// [`HtmlError`] if the template is wrong, which the tests exclude.
pub fn render(report: &Report) -> Result<String, HtmlError> {
    let mut environment = Environment::new();
    add_filters(&mut environment);
    environment.add_template("page.html", PAGE)?;
    let communication = split::page::render(&mut environment, report)?;
    let axis: Vec<Tick> = chart::ticks(report.job.elapsed_s);
    let json = serde_json::to_string(report).unwrap_or_default();
    let embedded = (json.len() <= MAX_EMBEDDED_BYTES).then(|| data_uri(&json));
    let document = serde_json::to_string_pretty(&report.provenance.document).unwrap_or_default();
    let page = environment.get_template("page.html")?.render(context! {
        report => Value::from(Serde(report)),
        style => Value::from_safe_string(STYLE.to_owned()),
        axis => Value::from(Serde(axis)),
        rank_panels => Value::from(Serde(rank_panels(report))),
        node_panels => Value::from(Serde(node_panels(report))),
        gpu_panels => Value::from(Serde(gpu_panels(report))),
        communication => Value::from_safe_string(communication),
        bars => Value::from(Serde(bars(report))),
        devices => Value::from(Serde(devices(report))),
        json_uri => embedded,
        prov_uri => data_uri(&document),
        script_name => report.provenance.script.as_ref().map(|script| script.path.clone()),
    })?;
    Ok(page)
}

/// Rows of a page that many nodes would make too long to read.
const MAX_DEVICE_ROWS: usize = 64;

fn devices(report: &Report) -> Vec<DeviceRow<'_>> {
    let mut rows = Vec::new();
    for node in &report.nodes {
        for device in &node.devices {
            let counts = device.counts.iter().filter(|count| count.is_of_interest());
            rows.extend(counts.map(|count| DeviceRow {
                node: &node.node,
                device: &device.device,
                class: &device.class,
                count,
            }));
        }
    }
    rows.truncate(MAX_DEVICE_ROWS);
    rows
}

fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter("bytes", format::bytes);
    environment.add_filter("byte_rate", format::byte_rate);
    environment.add_filter("share", format::share);
    environment.add_filter("counted", |value: Option<f64>, unit: String| {
        format::counted(value, &unit)
    });
    environment.add_filter("counted_rate", |rate: Option<f64>, unit: String| {
        format::counted_rate(rate, &unit)
    });
    environment.add_filter("duration", format::duration);
    environment.add_filter("cpu_time", format::cpu_time);
    environment.add_filter("energy", format::energy);
    environment.add_filter("power", format::power);
    environment.add_filter("energy_bound", crate::gpus::words::energy_words);
    environment.add_filter("instant", format::instant);
    environment.add_filter("number", format::number);
    environment.add_filter("percent", |share: Option<f64>| {
        format!("{:.1}", share.unwrap_or(0.0).clamp(0.0, 1.0) * 100.0)
    });
    environment.add_filter("file_name", |path: String| {
        path.rsplit('/').next().unwrap_or(&path).to_owned()
    });
    environment.add_filter("digest", |digest: String| {
        digest.chars().take(16).collect::<String>()
    });
}

fn rank_panels(report: &Report) -> Vec<Panel> {
    let elapsed_s = report.job.elapsed_s;
    let drawn = |of: fn(&Rank) -> &Option<Series>| -> Vec<Drawn<'_>> {
        let drawn = |rank| {
            let rank: &Rank = rank;
            Some(Drawn {
                label: format!("{}.{} · {}", rank.step, rank.rank, rank.node),
                row: Row {
                    series: of(rank).as_ref()?,
                    from_s: rank.start_s,
                    to_s: rank.start_s + rank.elapsed_s,
                },
            })
        };
        report.ranks.iter().filter_map(drawn).collect()
    };
    let cpus = |cpus: f64| format!("{} CPUs", format::number(cpus));
    let bytes = |bytes: f64| format::bytes(Some(bytes as u64));
    let rate = |rate: f64| format::byte_rate(Some(rate));
    [
        panel(
            "CPU",
            "cpu",
            &drawn(|rank| &rank.cpu_busy),
            elapsed_s,
            1.0,
            &cpus,
        ),
        panel(
            "Memory",
            "memory",
            &drawn(|rank| &rank.memory),
            elapsed_s,
            0.0,
            &bytes,
        ),
        panel(
            "Read and written",
            "io",
            &drawn(|rank| &rank.io_rate),
            elapsed_s,
            0.0,
            &rate,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn node_panels(report: &Report) -> Vec<Panel> {
    let elapsed_s = report.job.elapsed_s;
    let drawn = |of: fn(&Node) -> &Series| -> Vec<Drawn<'_>> {
        let drawn = |node| {
            let node: &Node = node;
            Drawn {
                label: node.node.clone(),
                row: Row {
                    series: of(node),
                    from_s: 0.0,
                    to_s: elapsed_s,
                },
            }
        };
        report.nodes.iter().map(drawn).collect()
    };
    let share = |share: f64| format::share(Some(share));
    let rate = |rate: f64| format::byte_rate(Some(rate));
    let power = |watts: f64| format::power(Some(watts));
    [
        panel(
            "CPUs busy",
            "cpu",
            &drawn(|node| &node.cpu_busy),
            elapsed_s,
            1.0,
            &share,
        ),
        panel(
            "Memory in use",
            "memory",
            &drawn(|node| &node.memory_used),
            elapsed_s,
            1.0,
            &share,
        ),
        panel(
            "Received",
            "io",
            &drawn(|node| &node.received_rate),
            elapsed_s,
            0.0,
            &rate,
        ),
        panel(
            "Sent",
            "io",
            &drawn(|node| &node.sent_rate),
            elapsed_s,
            0.0,
            &rate,
        ),
        panel(
            "Power",
            "power",
            &drawn(|node| &node.power),
            elapsed_s,
            0.0,
            &power,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn gpu_panels(report: &Report) -> Vec<Panel> {
    let elapsed_s = report.job.elapsed_s;
    let gpus = report.gpu.iter().flat_map(|gpus| &gpus.devices);
    let drawn = |of: fn(&Gpu) -> &Series| -> Vec<Drawn<'_>> {
        let drawn = |gpu| {
            let gpu: &Gpu = gpu;
            Drawn {
                label: format!("{}:{}", gpu.node, gpu.gpu),
                row: Row {
                    series: of(gpu),
                    from_s: 0.0,
                    to_s: elapsed_s,
                },
            }
        };
        gpus.clone().map(drawn).collect()
    };
    let share = |share: f64| format::share(Some(share));
    let bytes = |bytes: f64| format::bytes(Some(bytes as u64));
    let power = |watts: f64| format::power(Some(watts));
    let (busy, memory) = (drawn(|gpu| &gpu.busy), drawn(|gpu| &gpu.memory));
    let watts = drawn(|gpu| &gpu.power);
    [
        panel("Busy", "cpu", &busy, elapsed_s, 1.0, &share),
        panel("Memory", "memory", &memory, elapsed_s, 0.0, &bytes),
        panel("Power", "power", &watts, elapsed_s, 0.0, &power),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A panel; `None` if nothing of it was observed. All its charts share one scale, which
/// reaches at least to `least`.
fn panel(
    title: &'static str,
    class: &'static str,
    drawn: &[Drawn<'_>],
    elapsed_s: f64,
    least: f64,
    say: &dyn Fn(f64) -> String,
) -> Option<Panel> {
    let largest = drawn
        .iter()
        .filter_map(|one| one.row.series.largest())
        .reduce(f64::max)?;
    let largest = largest.max(least);
    if drawn.len() > MAX_MULTIPLES {
        let rows: Vec<Row<'_>> = drawn.iter().map(|one| one.row).collect();
        let label = format!(
            "{title} of {} over time, from 0 to {}",
            drawn.len(),
            say(largest)
        );
        let heat = Heat {
            svg: Value::from_safe_string(chart::heat(&rows, elapsed_s, largest, &label)),
            legend: Value::from_safe_string(chart::legend()),
            first: drawn.first()?.label.clone(),
            last: drawn.last()?.label.clone(),
            largest: say(largest),
            height_px: (drawn.len() * 8).clamp(140, 420),
        };
        let note = "one line each".to_owned();
        return Some(Panel {
            title,
            note,
            class,
            rows: Vec::new(),
            heat: Some(heat),
        });
    }
    let rows = drawn.iter().map(|one| {
        let peak = one.row.series.largest();
        let figure = peak.map_or_else(|| format::NOT_MEASURED.to_owned(), say);
        let label = format!("{title} of {} over time, at most {figure}", one.label);
        let svg = chart::area(one.row, elapsed_s, largest, &label);
        PanelRow {
            label: one.label.clone(),
            figure,
            svg: Value::from_safe_string(svg),
        }
    });
    let note = format!("full height is {}", say(largest));
    Some(Panel {
        title,
        note,
        class,
        rows: rows.collect(),
        heat: None,
    })
}

fn bars(report: &Report) -> Vec<Bars> {
    let steps = report.steps.iter().enumerate().filter_map(|(index, step)| {
        let balance = step.balance.clone()?;
        let ranks: Vec<(&Rank, f64)> = report
            .ranks
            .iter()
            .filter(|rank| rank.step == step.step)
            .filter_map(|rank| Some((rank, rank.cpu_s?)))
            .collect();
        let times: Vec<f64> = ranks.iter().map(|rank| rank.1).collect();
        let largest = times
            .iter()
            .copied()
            .max_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal))?;
        let named = ranks.len() <= MAX_NAMED_BARS;
        let bar = |(rank, cpu_s): &(&Rank, f64)| Bar {
            label: format!("rank {} · {}", rank.rank, rank.node),
            figure: format::duration(*cpu_s),
            percent: if largest > 0.0 {
                100.0 * cpu_s / largest
            } else {
                0.0
            },
            busiest: rank.rank == balance.busiest_rank,
        };
        let label = format!(
            "CPU time of the {} ranks of step {}",
            ranks.len(),
            step.step
        );
        Some(Bars {
            step: step.step.clone(),
            index,
            rows: if named {
                ranks.iter().map(bar).collect()
            } else {
                Vec::new()
            },
            strip: (!named)
                .then(|| Value::from_safe_string(chart::bars(&times, balance.mean_cpu_s, &label))),
            balance,
        })
    });
    steps.collect()
}

/// JSON as a link that a browser saves without asking anybody.
pub(crate) fn data_uri(json: &str) -> String {
    format!("data:application/json;base64,{}", base64(json.as_bytes()))
}

/// Base64 with the usual alphabet and padding.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_the_standard_says() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
