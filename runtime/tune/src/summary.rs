//! What a study found so far: a table, CSV, JSON and a drawing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mizar_report::chart::escape;
use mizar_report::nice;
use serde::Serialize;

use crate::ledger::{Ending, Trial};
use crate::space::{Parameter, Value};
use crate::study::{Method, Study};

/// A study's results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The name of this layout; fields may be added under it.
    pub schema: &'static str,
    /// The metric's name.
    pub metric: String,
    /// The trials, the best first; those without a metric last.
    pub trials: Vec<TrialRow>,
    /// Runs that are going on.
    pub running: usize,
    /// Runs that failed.
    pub failed: usize,
    /// Runs that were lost with their workers, begun again or not.
    pub lost: usize,
    /// Hours of GPUs in all.
    pub gpu_hours: f64,
    /// Watt hours in all, as far as commands told.
    pub energy_wh: f64,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialRow {
    /// Its number.
    pub trial: usize,
    /// Its values.
    pub values: BTreeMap<String, Value>,
    /// The highest rung with a metric.
    pub rung: Option<usize>,
    /// The metric there.
    pub metric: Option<f64>,
    /// How its last run stands: `measured`, `running`, `failed: …`, `lost`.
    pub state: String,
    /// How long its runs took together.
    pub elapsed_s: f64,
}

impl Summary {
    /// Of a ledger.
    #[must_use]
    pub fn of(study: &Study, trials: &[Trial]) -> Self {
        let mut rows: Vec<TrialRow> = trials.iter().enumerate().map(row).collect();
        rows.sort_by(|left, right| {
            // Trials of a higher rung were given more: only they compare with each other.
            let rungs = right.rung.cmp(&left.rung);
            rungs.then_with(|| match (left.metric, right.metric) {
                (Some(a), Some(b)) => study.compare(a, b).then(left.trial.cmp(&right.trial)),
                _ => left.trial.cmp(&right.trial),
            })
        });
        let runs = || trials.iter().flat_map(|trial| trial.runs.values());
        let joules: f64 = runs().filter_map(|run| run.energy_joules).sum();
        let is_failed = |ending: &Option<Ending>| matches!(ending, Some(Ending::Failed { .. }));
        Self {
            schema: "mizar-tune/1",
            metric: study.metric.clone(),
            trials: rows,
            running: runs().filter(|run| run.ending.is_none()).count(),
            failed: runs().filter(|run| is_failed(&run.ending)).count(),
            lost: trials.iter().map(|trial| trial.lost_count).sum(),
            gpu_hours: runs().map(|run| run.gpu_hours).sum::<f64>(),
            energy_wh: joules / 3600.0,
        }
    }

    /// The best trial, if one was measured.
    #[must_use]
    pub fn best(&self) -> Option<&TrialRow> {
        self.trials.first().filter(|row| row.metric.is_some())
    }

    /// The table as people read it, of at most `rows` trials.
    #[must_use]
    pub fn text(&self, rows: usize) -> String {
        let mut text = String::new();
        let names: Vec<&String> = self
            .trials
            .first()
            .map_or_else(Vec::new, |row| row.values.keys().collect());
        let mut lines: Vec<Vec<String>> = vec![
            ["trial", "rung", &self.metric]
                .into_iter()
                .chain(names.iter().map(|name| name.as_str()))
                .chain(["state"])
                .map(str::to_owned)
                .collect(),
        ];
        for row in self.trials.iter().take(rows) {
            let number =
                |value: Option<f64>| value.map_or_else(|| "-".to_owned(), nice::significant);
            let value = |name: &&String| match row.values.get(*name) {
                Some(Value::Number(number)) => nice::significant(*number),
                Some(value) => value.to_string(),
                None => "-".to_owned(),
            };
            let mut line = vec![
                row.trial.to_string(),
                row.rung
                    .map_or_else(|| "-".to_owned(), |rung| rung.to_string()),
                number(row.metric),
            ];
            line.extend(names.iter().map(value));
            line.push(row.state.clone());
            lines.push(line);
        }
        let columns = lines[0].len();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<usize> = (0..columns)
            .map(|column| width(column).unwrap_or(0))
            .collect();
        for line in &lines {
            let cells = line
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            let joined = cells.collect::<Vec<_>>().join("  ");
            text.push_str(joined.trim_end());
            text.push('\n');
        }
        if self.trials.len() > rows {
            let _ = writeln!(text, "and {} more", self.trials.len() - rows);
        }
        let _ = write!(
            text,
            "\n{} trials, {} running, {} failed, {} lost",
            self.trials.len(),
            self.running,
            self.failed,
            self.lost
        );
        if self.gpu_hours > 0.0 {
            let _ = write!(text, ", {:.3} GPU hours", self.gpu_hours);
        }
        if self.energy_wh > 0.0 {
            let _ = write!(text, ", {:.1} Wh", self.energy_wh);
        }
        text.push('\n');
        text
    }

    /// All trials as CSV.
    #[must_use]
    pub fn csv(&self) -> String {
        let names: Vec<&String> = self
            .trials
            .first()
            .map_or_else(Vec::new, |row| row.values.keys().collect());
        let quoted = |cell: &str| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.to_owned(),
        };
        let mut text = format!("trial,rung,{}", quoted(&self.metric));
        names
            .iter()
            .for_each(|name| text.push_str(&format!(",{}", quoted(name))));
        text.push_str(",elapsed_s,state\n");
        for row in &self.trials {
            let rung = row.rung.map_or_else(String::new, |rung| rung.to_string());
            let metric = row
                .metric
                .map_or_else(String::new, |metric| metric.to_string());
            let _ = write!(text, "{},{rung},{metric}", row.trial);
            for name in &names {
                let value = row
                    .values
                    .get(*name)
                    .map_or_else(String::new, Value::to_string);
                let _ = write!(text, ",{}", quoted(&value));
            }
            let _ = writeln!(text, ",{},{}", row.elapsed_s, quoted(&row.state));
        }
        text
    }

    /// The metric over each parameter, a panel each, as SVG; the best trial stands out.
    #[must_use]
    pub fn svg(&self, study: &Study) -> String {
        let measured: Vec<&TrialRow> = self
            .trials
            .iter()
            .filter(|row| row.metric.is_some())
            .collect();
        let metrics = measured.iter().filter_map(|row| row.metric);
        let low = metrics.clone().fold(f64::INFINITY, f64::min);
        let high = metrics.fold(f64::NEG_INFINITY, f64::max);
        let rows = study.space.len().div_ceil(COLUMNS);
        let (width, height) = (COLUMNS.min(study.space.len()) * PANEL.0, rows * PANEL.1);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\" aria-label=\"{} over each parameter\">\n<style>{STYLE}</style>\n",
            escape(&self.metric)
        );
        for (index, (name, parameter)) in study.space.iter().enumerate() {
            let (column, row) = (index % COLUMNS, index / COLUMNS);
            let (left, top) = (column * PANEL.0, row * PANEL.1);
            let _ = writeln!(svg, "<g transform=\"translate({left} {top})\">");
            let panel = Panel {
                name,
                parameter,
                low,
                high,
                metric: &self.metric,
                has_rungs: study.method == Method::Asha,
            };
            panel.draw(&measured, &mut svg);
            svg.push_str("</g>\n");
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn row((number, trial): (usize, &Trial)) -> TrialRow {
    let measured = trial
        .runs
        .keys()
        .rev()
        .find_map(|&rung| Some((rung, trial.metric(rung)?)));
    let state = match trial.runs.values().next_back().map(|run| &run.ending) {
        Some(Some(Ending::Measured { .. })) => "measured".to_owned(),
        Some(Some(Ending::Failed { reason })) => format!("failed: {reason}"),
        Some(Some(Ending::Lost)) => "lost".to_owned(),
        Some(None) => "running".to_owned(),
        None => "waiting".to_owned(),
    };
    TrialRow {
        trial: number,
        values: trial.values.clone(),
        rung: measured.map(|(rung, _)| rung),
        metric: measured.map(|(_, metric)| metric),
        state,
        elapsed_s: trial.runs.values().map(|run| run.elapsed_s).sum(),
    }
}

/// Panels beside each other, and their size.
const COLUMNS: usize = 2;
const PANEL: (usize, usize) = (360, 240);
/// What is drawn in lies within these, left, top, right, bottom.
const FRAME: (f64, f64, f64, f64) = (64.0, 30.0, 346.0, 196.0);

const STYLE: &str = "text{font:12px sans-serif;fill:#222}.t{font-weight:bold}\
    line{stroke:#ccc}.p{fill:#2a6fbb;fill-opacity:.7}.b{fill:#d1495b}\
    @media(prefers-color-scheme:dark){text{fill:#ddd}line{stroke:#555}.p{fill:#7fb2e5}.b{fill:#ff8a94}}";

/// One parameter's.
struct Panel<'a> {
    name: &'a str,
    parameter: &'a Parameter,
    low: f64,
    high: f64,
    metric: &'a str,
    has_rungs: bool,
}

impl Panel<'_> {
    fn draw(&self, rows: &[&TrialRow], svg: &mut String) {
        let (left, top, right, bottom) = FRAME;
        let text = |svg: &mut String, x: f64, y: f64, anchor: &str, words: &str| {
            let words = escape(words);
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
            );
        };
        let title = format!("{} over {}", self.metric, self.name);
        let _ = writeln!(
            svg,
            "<text class=\"t\" x=\"{left}\" y=\"18\">{}</text>",
            escape(&title)
        );
        if rows.is_empty() {
            text(
                svg,
                left,
                (top + bottom) / 2.0,
                "start",
                "nothing measured yet",
            );
            return;
        }
        let span = if self.high > self.low {
            self.high - self.low
        } else {
            1.0
        };
        let y = |metric: f64| bottom - (metric - self.low) / span * (bottom - top);
        for tick in nice::ticks(self.low, self.low + span, 4) {
            let at = y(tick);
            let _ = writeln!(
                svg,
                "<line x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
            );
            text(svg, left - 6.0, at + 4.0, "end", &nice::significant(tick));
        }
        let x = |place: f64| left + place * (right - left);
        let ends: Vec<(f64, String)> = match self.parameter {
            Parameter::Choice { values } => {
                let place = |value: &Value| Some((self.parameter.place(value)?, value.to_string()));
                values.iter().filter_map(place).collect()
            }
            Parameter::Range { low, high, .. } => [(0.0, *low), (1.0, *high)]
                .map(|(place, end)| (place, nice::significant(end)))
                .to_vec(),
        };
        for (place, words) in ends {
            text(svg, x(place), bottom + 18.0, "middle", &words);
        }
        // The best, which come first, are drawn over the others.
        for (index, row) in rows.iter().enumerate().rev() {
            let place = row
                .values
                .get(self.name)
                .and_then(|value| self.parameter.place(value));
            let (Some(place), Some(metric)) = (place, row.metric) else {
                continue;
            };
            let class = if index == 0 { "b" } else { "p" };
            let radius = if self.has_rungs {
                3.0 + row.rung.unwrap_or(0) as f64
            } else {
                4.0
            };
            let _ = writeln!(
                svg,
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}</title></circle>",
                x(place),
                y(metric),
                escape(&format!("trial {}: {metric}", row.trial))
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Run;
    use crate::study::tests::{STUDY, study};

    fn trial(rate: f64, endings: &[Ending]) -> Trial {
        let run = |(rung, ending): (usize, &Ending)| {
            let run = Run {
                ending: Some(ending.clone()),
                worker: String::new(),
                elapsed_s: 1.5,
                gpu_hours: 0.25,
                energy_joules: Some(7200.0),
            };
            (rung, run)
        };
        Trial {
            values: BTreeMap::from([("rate".to_owned(), Value::Number(rate))]),
            runs: endings.iter().enumerate().map(run).collect(),
            lost_count: 0,
        }
    }

    fn summary() -> (Study, Summary) {
        let study = study(STUDY).unwrap();
        let measured = |metric| Ending::Measured { metric };
        let failed = Ending::Failed {
            reason: "exit code 3: a, \"b\"".to_owned(),
        };
        let trials = [
            trial(0.01, &[measured(2.0)]),
            trial(0.02, &[measured(3.0), measured(2.5)]),
            trial(0.05, &[failed]),
            trial(0.001, &[measured(1.0)]),
        ];
        let summary = Summary::of(&study, &trials);
        (study, summary)
    }

    #[test]
    fn the_best_of_the_highest_rung_comes_first() {
        let (_, summary) = summary();
        let order: Vec<usize> = summary.trials.iter().map(|row| row.trial).collect();
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!(summary.best().unwrap().metric, Some(2.5));
        assert_eq!((summary.gpu_hours, summary.energy_wh), (1.25, 10.0));
        let text = summary.text(2);
        assert!(
            text.starts_with(
                "trial  rung  loss     rate        state\n1      1     2.50000  0.0200000   measured\n"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "and 2 more\n\n4 trials, 0 running, 1 failed, 0 lost, 1.250 GPU hours, 10.0 Wh"
            ),
            "{text}"
        );
    }

    #[test]
    fn csv_quotes_what_must_be() {
        let (_, summary) = summary();
        let csv = summary.csv();
        assert!(
            csv.starts_with("trial,rung,loss,rate,elapsed_s,state\n1,1,2.5,0.02,3,measured\n"),
            "{csv}"
        );
        assert!(
            csv.ends_with("2,,,0.05,1.5,\"failed: exit code 3: a, \"\"b\"\"\"\n"),
            "{csv}"
        );
    }

    #[test]
    fn each_measured_trial_is_a_dot_in_each_panel() {
        let (study, summary) = summary();
        let svg = summary.svg(&study);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("class=\"b\"").count(), 1);
        let empty = Summary::of(&study, &[]).svg(&study);
        assert!(empty.contains("nothing measured yet"));
    }
}
