//! The scalability report as one self-contained page: inline style and drawings, no script, no
//! requests.

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;

use super::drawing::{self, drawings};
use super::schema::{EnergyFigure, Estimate, Scaling};
use super::words;
use crate::format;
use crate::html::{HtmlError, MAX_EMBEDDED_BYTES, STYLE, data_uri};

const PAGE: &str = include_str!("page.html");
const OWN_STYLE: &str = include_str!("page.css");

/// A law in one line.
#[derive(Serialize)]
struct LawLine {
    strategy: String,
    law: &'static str,
    words: String,
    residuals: String,
}

/// Makes the page.
///
/// # Errors
/// [`HtmlError`] if the template is wrong, which the tests exclude.
pub fn render(report: &Scaling) -> Result<String, HtmlError> {
    let mut environment = Environment::new();
    add_filters(&mut environment);
    environment.add_template("page.html", PAGE)?;
    let json = serde_json::to_string(report).unwrap_or_default();
    let embedded = (json.len() <= MAX_EMBEDDED_BYTES).then(|| data_uri(&json));
    let plots: Vec<Value> = drawings(report)
        .into_iter()
        .map(|plot| context! { name => plot.name, title => plot.title, svg => Value::from_safe_string(plot.svg) })
        .collect();
    let costs: Vec<String> = report.runs.iter().map(words::own_cost).collect();
    let page = environment.get_template("page.html")?.render(context! {
        report => Value::from(Serde(report)),
        style => Value::from_safe_string(format!("{STYLE}\n{}\n{OWN_STYLE}", drawing::STYLE)),
        plots => plots,
        laws => Value::from(Serde(laws(report))),
        times => report.points.iter().map(|p| words::estimate(Some(&p.epoch_time_s), words::seconds)).collect::<Vec<_>>(),
        speedups => words(report, |p| p.speedup.as_ref(), words::times_word),
        efficiencies => words(report, |p| p.efficiency.as_ref(), |share| format::share(Some(share))),
        throughputs => words(report, |p| p.throughput.as_ref(), format::number),
        gpu_energies => energies(report, |p| p.gpu_energy.as_ref()),
        node_energies => energies(report, |p| p.node_energy.as_ref()),
        methods => methods(report),
        costs => costs,
        json_uri => embedded,
    })?;
    Ok(page)
}

fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter("ranks", words::ranks);
    environment.add_filter("share", format::share);
    environment.add_filter("duration", format::duration);
    environment.add_filter("seconds", words::seconds);
    environment.add_filter("number", format::number);
}

type PointOf<'r, T> = fn(&'r super::schema::Point) -> Option<&'r T>;

fn words<'r>(
    report: &'r Scaling,
    of: PointOf<'r, Estimate>,
    show: fn(f64) -> String,
) -> Vec<String> {
    report
        .points
        .iter()
        .map(|point| words::estimate(of(point), show))
        .collect()
}

fn energies<'r>(report: &'r Scaling, of: PointOf<'r, EnergyFigure>) -> Vec<String> {
    let shown = |figure: &EnergyFigure| {
        format!(
            "{} \u{b1} {}",
            words::watt_hours(figure.total_wh.value),
            words::watt_hours(figure.bound_wh)
        )
    };
    report
        .points
        .iter()
        .map(|point| of(point).map_or_else(|| "-".to_owned(), shown))
        .collect()
}

fn methods(report: &Scaling) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for point in &report.points {
        let energies = [
            ("GPU energy", &point.gpu_energy),
            ("Node energy", &point.node_energy),
        ];
        let energies = energies
            .into_iter()
            .filter_map(|(what, figure)| Some(format!("{what}: {}", figure.as_ref()?.method)));
        let split = point
            .computation
            .iter()
            .map(|split| format!("Computation: {}", split.method));
        for line in energies.chain(split) {
            if !found.contains(&line) {
                found.push(line);
            }
        }
    }
    found
}

fn laws(report: &Scaling) -> Vec<LawLine> {
    let mut lines = Vec::new();
    for strategy in &report.strategies {
        for fit in &strategy.fits {
            let residual =
                |r: &super::fit::Residual| format!("{}: {:+.1} %", r.ranks, r.relative * 100.0);
            lines.push(LawLine {
                strategy: strategy.name.clone(),
                law: words::law(fit.law),
                words: words::law_words(fit),
                residuals: fit
                    .residuals
                    .iter()
                    .map(residual)
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        }
    }
    lines
}
