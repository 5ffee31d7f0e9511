//! The plots of a scalability report, under the names that itwinai gives them.
//!
//! Each is an SVG of its own, with its text in it, as wide as a phone: scaled up it stays sharp,
//! scaled down it need not be. Colours follow the reader's light or dark scheme. Bars of error
//! are the intervals of the figures; where a figure has none, no bar is drawn.

mod axes;
mod bars;
mod lines;

use serde::Serialize;

use super::fit::Law;
use super::schema::{Estimate, Point, Scaling};
use crate::format;
use bars::{Bars, Group, Part};
use lines::{Curve, Dot, Lines, Series};

/// The style of all drawings, for a page that holds several.
pub const STYLE: &str = include_str!("drawing.css");

/// Strategies that get a colour of their own; more share them.
pub(super) const COLOURS: usize = 6;

/// A plot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drawing {
    /// Its file's name, without `.svg`.
    pub name: &'static str,
    /// What it shows.
    pub title: String,
    /// The drawing, without its style.
    pub svg: String,
}

impl Drawing {
    /// The drawing as a file of its own.
    #[must_use]
    pub fn file(&self) -> String {
        let styled = self
            .svg
            .replacen('>', &format!("><style>{STYLE}</style>"), 1);
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{styled}\n")
    }
}

/// All plots for which something was measured.
#[must_use]
pub fn drawings(report: &Scaling) -> Vec<Drawing> {
    [
        absolute(report),
        speedup(report),
        efficiency(report),
        energy(report),
        utilization(report),
        computation(report),
        communication(report),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Names of strategies in the order of their colours.
fn names(report: &Scaling) -> Vec<&str> {
    report
        .strategies
        .iter()
        .map(|strategy| &strategy.name[..])
        .collect()
}

/// Measured dots of each strategy, and its law where one could be fitted.
fn series<'r>(
    report: &'r Scaling,
    of: impl Fn(&Point) -> Option<Estimate>,
    law: impl Fn(&'r Scaling, &str, f64) -> Option<f64>,
) -> Vec<Series<'r>> {
    let one = |name: &'r str| {
        let own = || report.points.iter().filter(|point| point.strategy == name);
        let dots: Vec<Dot> = own()
            .filter_map(|point| {
                let y = of(point)?;
                Some(Dot {
                    x: f64::from(point.ranks),
                    y,
                })
            })
            .collect();
        let from = dots.iter().map(|dot| dot.x).reduce(f64::min)?;
        let to = dots.iter().map(|dot| dot.x).reduce(f64::max)?;
        Some(Series {
            name,
            curve: Curve::sampled(from, to, |ranks| law(report, name, ranks)),
            dots,
        })
    };
    names(report).into_iter().filter_map(one).collect()
}

/// The time that a strategy's law gives: the universal one where it could be fitted.
fn law_time(report: &Scaling, name: &str, ranks: f64) -> Option<f64> {
    let strategy = report
        .strategies
        .iter()
        .find(|strategy| strategy.name == name)?;
    let usl = strategy.fits.iter().find(|fit| fit.law == Law::Usl);
    let (time, _) = usl.or(strategy.fits.first())?.predict(ranks);
    (time > 0.0).then_some(time)
}

fn baseline_time(report: &Scaling, name: &str) -> Option<f64> {
    let is_base = |p: &&Point| p.strategy == name && Some(p.ranks) == report.baseline_ranks;
    Some(report.points.iter().find(is_base)?.epoch_time_s.value)
}

fn absolute(report: &Scaling) -> Option<Drawing> {
    let lines = Lines {
        title: "Epoch time",
        y_label: "seconds, log",
        log: true,
        series: series(report, |point| Some(point.epoch_time_s), law_time),
        ideal: None,
        level: None,
        percent: false,
    };
    drawing("absolute_epoch_time", "Epoch time by ranks", lines.svg()?)
}

fn speedup(report: &Scaling) -> Option<Drawing> {
    let law = |report: &Scaling, name: &str, ranks: f64| {
        Some(baseline_time(report, name)? / law_time(report, name, ranks)?)
    };
    let base = f64::from(report.baseline_ranks?);
    let weak = report.weak;
    let lines = Lines {
        title: "Speedup",
        y_label: "times the baseline, log",
        log: true,
        series: series(report, |point| point.speedup, law),
        ideal: Some(Box::new(move |ranks| if weak { 1.0 } else { ranks / base })),
        level: None,
        percent: false,
    };
    drawing(
        "relative_epoch_time_speedup",
        "Speedup by ranks; dotted: ideal",
        lines.svg()?,
    )
}

fn efficiency(report: &Scaling) -> Option<Drawing> {
    let weak = report.weak;
    let law = |report: &Scaling, name: &str, ranks: f64| {
        let ideal = if weak {
            1.0
        } else {
            ranks / f64::from(report.baseline_ranks?)
        };
        Some(baseline_time(report, name)? / law_time(report, name, ranks)? / ideal)
    };
    let lines = Lines {
        title: "Efficiency",
        y_label: "%",
        log: false,
        series: series(report, |point| point.efficiency, law),
        ideal: None,
        level: Some(report.target_efficiency),
        percent: true,
    };
    drawing(
        "efficiency",
        "Efficiency by ranks; dotted: target",
        lines.svg()?,
    )
}

/// Bars of each strategy side by side at each size.
fn grouped(
    report: &Scaling,
    title: &'static str,
    y_label: &'static str,
    of: impl Fn(&Point) -> Option<(f64, Option<f64>, Option<f64>)>,
) -> Option<String> {
    let names = names(report);
    let colour = |name: &str| names.iter().position(|other| *other == name).unwrap_or(0);
    let mut groups: Vec<Group> = Vec::new();
    for point in &report.points {
        let Some((value, low, high)) = of(point) else {
            continue;
        };
        let part = Part {
            class: format!("s{}", colour(&point.strategy) % COLOURS),
            value,
        };
        groups.push(Group {
            ranks: point.ranks,
            parts: vec![part],
            low,
            high,
        });
    }
    groups.sort_by_key(|group| group.ranks);
    let legend = names
        .iter()
        .enumerate()
        .map(|(index, name)| (format!("s{}", index % COLOURS), (*name).to_owned()))
        .collect();
    Bars {
        title,
        y_label,
        groups,
        legend,
        top: None,
    }
    .svg()
}

fn energy(report: &Scaling) -> Option<Drawing> {
    let is_gpu = report.points.iter().any(|point| point.gpu_energy.is_some());
    let title = if is_gpu {
        "GPU energy of a run"
    } else {
        "Node energy of a run"
    };
    let svg = grouped(report, title, "Wh", |point| {
        let figure = if is_gpu {
            point.gpu_energy.as_ref()
        } else {
            point.node_energy.as_ref()
        }?;
        let wh = figure.total_wh;
        // Between runs where there are several, else what the measurement can be wrong by.
        let low = wh.low.unwrap_or(wh.value - figure.bound_wh);
        let high = wh.high.unwrap_or(wh.value + figure.bound_wh);
        Some((wh.value, Some(low.max(0.0)), Some(high)))
    })?;
    drawing("gpu_energy_plot", "Energy by ranks", svg)
}

fn utilization(report: &Scaling) -> Option<Drawing> {
    let is_gpu = report
        .points
        .iter()
        .any(|point| point.gpu_utilization.is_some());
    let (title, label) = if is_gpu {
        ("GPU utilisation", "%")
    } else {
        ("CPUs busy a rank", "CPUs")
    };
    let svg = grouped(report, title, label, |point| {
        let value = if is_gpu {
            point.gpu_utilization? * 100.0
        } else {
            point.cpus_busy_per_rank?
        };
        Some((value, None, None))
    })?;
    drawing("utilization_plot", "Utilisation by ranks", svg)
}

/// A bar a point, from below: the parts of the ranks' time.
fn stacked(
    report: &Scaling,
    title: &'static str,
    legend: &[(&str, &str)],
    parts: impl Fn(&super::schema::Computation) -> Option<Vec<f64>>,
) -> Option<String> {
    let group = |point: &Point| {
        let values = parts(point.computation.as_ref()?)?;
        let parts = values
            .into_iter()
            .zip(legend)
            .map(|(share, (class, _))| Part {
                class: (*class).to_owned(),
                value: share * 100.0,
            });
        Some(Group {
            ranks: point.ranks,
            parts: parts.collect(),
            low: None,
            high: None,
        })
    };
    let mut groups: Vec<Group> = report.points.iter().filter_map(group).collect();
    groups.sort_by_key(|group| group.ranks);
    let legend = legend
        .iter()
        .map(|(class, name)| ((*class).to_owned(), (*name).to_owned()))
        .collect();
    Bars {
        title,
        y_label: "% of wall time",
        groups,
        legend,
        top: Some(100.0),
    }
    .svg()
}

fn computation(report: &Scaling) -> Option<Drawing> {
    let legend = [("compute", "computing"), ("other", "other")];
    let svg = stacked(report, "Computation and other", &legend, |split| {
        Some(vec![split.compute, 1.0 - split.compute])
    })?;
    drawing(
        "computation_vs_other_plot",
        &with_order(report, "Computation against everything else"),
        svg,
    )
}

fn communication(report: &Scaling) -> Option<Drawing> {
    let legend = [
        ("compute", "computing"),
        ("hidden", "and communicating"),
        ("exposed", "communicating"),
        ("io", "I/O"),
        ("idle", "idle"),
    ];
    let svg = stacked(report, "Computation and communication", &legend, |split| {
        let hidden = split.communication? - split.exposed.or(split.communication)?;
        let exposed = split.exposed.or(split.communication)?;
        // Hidden communication lies within computing: counted once.
        let (io, idle) = (split.io.unwrap_or(0.0), split.idle.unwrap_or(0.0));
        Some(vec![split.compute - hidden, hidden, exposed, io, idle])
    })?;
    drawing(
        "computation_vs_communication_plot",
        &with_order(report, "Computation against communication"),
        svg,
    )
}

/// Bars of parts have the parts' colours: which is whose, their order tells.
fn with_order(report: &Scaling, title: &str) -> String {
    match &names(report)[..] {
        [] | [_] => title.to_owned(),
        several => format!(
            "{title}; bars of a size from the left: {}",
            several.join(", ")
        ),
    }
}

fn drawing(name: &'static str, title: &str, svg: String) -> Option<Drawing> {
    Some(Drawing {
        name,
        title: title.to_owned(),
        svg,
    })
}

/// The plots as one line each, for people who want to know what was written.
#[must_use]
pub fn described(drawings: &[Drawing]) -> String {
    let lines = drawings
        .iter()
        .map(|drawing| format!("{}.svg: {}", drawing.name, drawing.title));
    lines.collect::<Vec<_>>().join("\n")
}

/// A number for an axis.
fn axis_number(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.01 {
        format!("{value:.0e}")
    } else {
        short(value)
    }
}

fn short(value: f64) -> String {
    let text = format::number(value);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
