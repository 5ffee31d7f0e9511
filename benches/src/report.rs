//! One benchmark's result: figures, each with its target, and where they were measured.
//!
//! Called by the `bench_*` programs, which build a [`Report`], add [`Figure`]s and end with
//! [`Report::finish`]. Printed as a table, or with `--json` as one JSON document on standard
//! output.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::machine::{self, Machine};

/// Exit code of a benchmark that ran and missed a target.
pub const EXIT_MISSED: i32 = 3;

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Reached by this value or a smaller one.
    AtMost(f64),
    /// Reached by this value or a larger one.
    AtLeast(f64),
}

impl Target {
    fn reached(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

/// One measured number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The number, in `unit`.
    pub value: f64,
    /// Unit of `value` and of the target.
    pub unit: String,
    /// The promise, where there is one.
    pub target: Option<Target>,
    /// Whether the promise is kept, where there is one.
    pub reached: Option<bool>,
}

impl Figure {
    /// Makes a figure with no target.
    #[must_use]
    pub fn new(name: impl Into<String>, value: f64, unit: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value,
            unit: unit.into(),
            target: None,
            reached: None,
        }
    }

    /// Holds the figure to `limit` or less.
    #[must_use]
    pub fn at_most(self, limit: f64) -> Self {
        self.against(Target::AtMost(limit))
    }

    /// Holds the figure to `limit` or more.
    #[must_use]
    pub fn at_least(self, limit: f64) -> Self {
        self.against(Target::AtLeast(limit))
    }

    fn against(mut self, target: Target) -> Self {
        self.reached = Some(target.reached(self.value));
        self.target = Some(target);
        self
    }
}

/// The figures of one benchmark run, and everything needed to compare them with another's.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the benchmark.
    pub bench: String,
    /// How the figures were measured, in a sentence.
    pub method: String,
    /// Commit of the checkout, with `+changes` if it was not clean.
    pub commit: String,
    /// `release` or `dev`: how this program, and usually what it measures, was compiled.
    pub profile: &'static str,
    /// Seconds since 1970 at the start.
    pub started_unix_s: u64,
    /// The machine.
    pub machine: Machine,
    /// Peers by name, each with the version it prints.
    pub peers: BTreeMap<String, String>,
    /// The numbers, in the order they were added.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Begins a report; the machine is described now, before the benchmark loads it.
    #[must_use]
    pub fn new(bench: impl Into<String>, method: impl Into<String>) -> Self {
        Self {
            bench: bench.into(),
            method: method.into(),
            commit: machine::commit(),
            profile: if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            },
            started_unix_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_secs()),
            machine: Machine::describe(),
            peers: BTreeMap::new(),
            figures: Vec::new(),
        }
    }

    /// Notes the version of a peer, as the first line that `program arguments…` prints.
    pub fn peer(&mut self, name: &str, program: &str, arguments: &[&str]) {
        self.peers
            .insert(name.to_owned(), machine::version(program, arguments));
    }

    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Prints the report and returns the exit code: 0, or [`EXIT_MISSED`] if a target was
    /// missed.
    #[must_use]
    pub fn finish(&self, json: bool) -> i32 {
        if json {
            match serde_json::to_string_pretty(self) {
                Ok(text) => println!("{text}"),
                Err(error) => eprintln!("cannot write the result as JSON: {error}"),
            }
        } else {
            print!("{}", self.table());
        }
        let missed = self
            .figures
            .iter()
            .any(|figure| figure.reached == Some(false));
        if missed { EXIT_MISSED } else { 0 }
    }

    /// Returns the report as text, one figure a line.
    #[must_use]
    pub fn table(&self) -> String {
        let machine = &self.machine;
        let mut text = format!("{}: {}\n", self.bench, self.method);
        let gib = machine.memory_bytes as f64 / f64::from(1 << 30);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  on {} x {}, {gib:.0} GiB, {}, kernel {}, load {}",
            machine.cpu_count, machine.cpu, machine.system, machine.kernel, machine.load
        );
        let _ = writeln!(text, "  commit {}, {} build", self.commit, self.profile);
        for (name, version) in &self.peers {
            let _ = writeln!(text, "  {name}: {version}");
        }
        let width = self
            .figures
            .iter()
            .map(|figure| figure.name.chars().count())
            .max();
        for figure in &self.figures {
            let _ = writeln!(text, "{}", row(figure, width.unwrap_or(0)));
        }
        text
    }

    /// Tells figures from the first of them on as they are, on standard error: a run that takes
    /// long may be cut off before it [`finish`](Self::finish)es.
    pub fn tell(&self, first: usize) {
        for figure in self.figures.iter().skip(first) {
            eprintln!("{}", row(figure, 0));
        }
    }
}

fn row(figure: &Figure, width: usize) -> String {
    let value = number(figure.value);
    let base = format!("  {:<width$}  {value:>10} {}", figure.name, figure.unit);
    let Some(target) = figure.target else {
        return base;
    };
    let (sign, limit) = match target {
        Target::AtMost(limit) => ("<=", limit),
        Target::AtLeast(limit) => (">=", limit),
    };
    let verdict = if figure.reached == Some(true) {
        "reached"
    } else {
        "MISSED"
    };
    format!("{base}  (target {sign} {}) {verdict}", number(limit))
}

/// Four significant digits are more than any of these measurements repeat to.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1000.0 || magnitude == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 0.01 {
        format!("{value:.3}")
    } else {
        format!("{value:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_decides_the_exit_code() {
        let mut report = Report::new("sample", "by hand");
        report.add(Figure::new("ratio", 1.05, "times").at_most(1.05));
        report.add(Figure::new("rate", 1200.0, "events/s").at_least(1000.0));
        report.add(Figure::new("seen", 3.0, "files"));
        assert_eq!(report.finish(true), 0);
        report.add(Figure::new("ratio", 1.06, "times").at_most(1.05));
        assert_eq!(report.finish(false), EXIT_MISSED);
    }

    #[test]
    fn a_value_that_is_not_a_number_misses_its_target() {
        assert_eq!(
            Figure::new("ratio", f64::NAN, "times").at_most(1.0).reached,
            Some(false)
        );
    }

    #[test]
    fn a_row_names_figure_unit_target_and_verdict() {
        let figure = Figure::new("p99 of intake", 12.5, "ms").at_most(20.0);
        assert_eq!(
            row(&figure, 13),
            "  p99 of intake        12.5 ms  (target <= 20.0) reached"
        );
    }
}
