//! Drawings of series as SVG: small multiples of a few, heat maps of many.
//!
//! An SVG here holds shapes alone and stretches to the width it gets; its text stands beside
//! it in HTML, so that it stays readable on a phone. Cells that were not observed while the
//! thing existed are grey, and no line crosses them.

use std::fmt::Write as _;

use crate::colour::Scale;
use crate::series::Series;

/// The height of a small multiple in its own units.
const HEIGHT: f64 = 100.0;
/// Distinct colours of a heat map; more make the file larger and nothing clearer.
const HEAT_LEVELS: f64 = 40.0;

/// A series and the time in which the thing that it describes existed, in seconds after the
/// job's start.
#[derive(Clone, Copy, Debug)]
pub struct Row<'s> {
    /// What was seen.
    pub series: &'s Series,
    /// From when on it could have been seen.
    pub from_s: f64,
    /// Until when.
    pub to_s: f64,
}

/// A small multiple: an area over time, with `largest` at its top.
#[must_use]
pub fn area(row: Row<'_>, elapsed_s: f64, largest: f64, label: &str) -> String {
    let cells = width_in_cells(row.series, elapsed_s);
    let mut svg = open(cells, HEIGHT, label);
    for (from, to) in unobserved(row) {
        let _ = write!(
            svg,
            r#"<rect class="gap" x="{from:.2}" y="0" width="{:.2}" height="{HEIGHT}"/>"#,
            to - from
        );
    }
    let mut path = String::new();
    let mut open_run = false;
    for (cell, value) in row.series.values.iter().enumerate() {
        match value {
            Some(value) => {
                let share = if largest > 0.0 {
                    (value / largest).clamp(0.0, 1.0)
                } else {
                    0.0
                };
                let y = HEIGHT * (1.0 - share);
                if !open_run {
                    let _ = write!(path, "M{cell} {HEIGHT}");
                    open_run = true;
                }
                let _ = write!(path, "V{y:.1}H{}", cell + 1);
            }
            None if open_run => {
                let _ = write!(path, "V{HEIGHT}Z");
                open_run = false;
            }
            None => {}
        }
    }
    if open_run {
        let _ = write!(path, "V{HEIGHT}Z");
    }
    if !path.is_empty() {
        let _ = write!(svg, r#"<path class="area" d="{path}"/>"#);
    }
    svg + "</svg>"
}

/// A heat map: one line of cells a row, coloured from 0 to `largest`.
#[must_use]
pub fn heat(rows: &[Row<'_>], elapsed_s: f64, largest: f64, label: &str) -> String {
    let cells = rows
        .first()
        .map_or(1.0, |row| width_in_cells(row.series, elapsed_s));
    let mut svg = open(cells, rows.len() as f64, label);
    for (y, row) in rows.iter().enumerate() {
        for (from, to) in unobserved(*row) {
            let _ = write!(
                svg,
                r#"<rect class="gap" x="{from:.2}" y="{y}" width="{:.2}" height="1"/>"#,
                to - from
            );
        }
        for (from, count, level) in runs(row.series, largest) {
            let colour = Scale::Sequential.hex(level / HEAT_LEVELS);
            let _ = write!(
                svg,
                r#"<rect x="{from}" y="{y}" width="{count}" height="1" fill="{colour}"/>"#
            );
        }
    }
    svg + "</svg>"
}

/// The colours of a heat map from left to right.
#[must_use]
pub fn legend() -> String {
    let mut svg = open(
        HEAT_LEVELS,
        1.0,
        "colour scale from nothing to the largest value",
    );
    for level in 0..HEAT_LEVELS as u32 {
        let colour = Scale::Sequential.hex(f64::from(level) / (HEAT_LEVELS - 1.0));
        let _ = write!(
            svg,
            r#"<rect x="{level}" y="0" width="1" height="1" fill="{colour}"/>"#
        );
    }
    svg + "</svg>"
}

/// Vertical bars, one a value, with a line at `mean`.
#[must_use]
pub fn bars(values: &[f64], mean: f64, label: &str) -> String {
    let largest = values
        .iter()
        .copied()
        .fold(0.0, f64::max)
        .max(f64::MIN_POSITIVE);
    let mut svg = open(values.len().max(1) as f64, HEIGHT, label);
    for (x, value) in values.iter().enumerate() {
        let height = HEIGHT * value / largest;
        let _ = write!(
            svg,
            r#"<rect class="bar" x="{x}" y="{:.1}" width="0.8" height="{height:.1}"/>"#,
            HEIGHT - height
        );
    }
    let y = HEIGHT * (1.0 - mean / largest);
    let _ = write!(
        svg,
        r#"<path class="mean" d="M0 {y:.1}H{}"/>"#,
        values.len()
    );
    svg + "</svg>"
}

/// A time on the axis below charts.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Tick {
    /// Where, in percent of the width.
    pub percent: f64,
    /// What it says.
    pub text: String,
}

/// Round times after the start, at most five.
#[must_use]
pub fn ticks(elapsed_s: f64) -> Vec<Tick> {
    const STEPS_S: [f64; 20] = [
        0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0,
        7200.0, 14_400.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0,
    ];
    const MAX_TICKS: f64 = 4.0;
    if elapsed_s <= 0.0 {
        return Vec::new();
    }
    let fits = |step: &&f64| elapsed_s / **step <= MAX_TICKS;
    let step_s = STEPS_S
        .iter()
        .find(fits)
        .copied()
        .unwrap_or(elapsed_s / MAX_TICKS);
    (0..=(elapsed_s / step_s * 1.000_001) as u32)
        .map(|index| {
            let time_s = f64::from(index) * step_s;
            Tick {
                percent: 100.0 * time_s / elapsed_s,
                text: tick_text(time_s),
            }
        })
        .collect()
}

fn tick_text(time_s: f64) -> String {
    match time_s {
        0.0 => "0".to_owned(),
        days if days >= 86_400.0 && days % 86_400.0 == 0.0 => format!("{} d", days / 86_400.0),
        hours if hours >= 3600.0 && hours % 3600.0 == 0.0 => format!("{} h", hours / 3600.0),
        minutes if minutes >= 60.0 && minutes % 60.0 == 0.0 => format!("{} min", minutes / 60.0),
        seconds => format!("{seconds} s"),
    }
}

fn open(width: f64, height: f64, label: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {width:.3} {height}" preserveAspectRatio="none" role="img" aria-label="{}">"#,
        escape(label)
    )
}

/// Text made safe inside HTML and SVG, in attributes too.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn width_in_cells(series: &Series, elapsed_s: f64) -> f64 {
    let cells = if series.cell_s > 0.0 {
        elapsed_s / series.cell_s
    } else {
        1.0
    };
    if cells > 0.0 { cells } else { 1.0 }
}

/// Runs of cells without a value while the thing existed, in cells.
fn unobserved(row: Row<'_>) -> Vec<(f64, f64)> {
    let cell_s = row.series.cell_s.max(f64::MIN_POSITIVE);
    let mut runs: Vec<(f64, f64)> = Vec::new();
    for (cell, _) in row
        .series
        .values
        .iter()
        .enumerate()
        .filter(|(_, value)| value.is_none())
    {
        let from = (cell as f64).max(row.from_s / cell_s);
        let to = (cell as f64 + 1.0).min(row.to_s / cell_s);
        match runs.last_mut() {
            _ if to <= from => {}
            Some(last) if last.1 == from => last.1 = to,
            _ => runs.push((from, to)),
        }
    }
    runs
}

/// Runs of cells that get the same colour: first cell, how many, level.
fn runs(series: &Series, largest: f64) -> Vec<(usize, usize, f64)> {
    let mut runs: Vec<(usize, usize, f64)> = Vec::new();
    for (cell, value) in series.values.iter().enumerate() {
        let Some(value) = value else { continue };
        let share = if largest > 0.0 { value / largest } else { 0.0 };
        let level = (share.clamp(0.0, 1.0) * HEAT_LEVELS).round();
        match runs.last_mut() {
            Some(last) if last.0 + last.1 == cell && last.2 == level => last.1 += 1,
            _ => runs.push((cell, 1, level)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[Option<f64>]) -> Series {
        Series {
            cell_s: 1.0,
            values: values.to_vec(),
        }
    }

    #[test]
    fn an_area_stops_at_a_gap_and_the_gap_is_grey() {
        let series = series(&[Some(1.0), Some(0.5), None, Some(1.0)]);
        let svg = area(
            Row {
                series: &series,
                from_s: 0.0,
                to_s: 4.0,
            },
            4.0,
            1.0,
            "a \"b\"",
        );
        assert_eq!(
            svg,
            "<svg viewBox=\"0 0 4.000 100\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"a &quot;b&quot;\">\
             <rect class=\"gap\" x=\"2.00\" y=\"0\" width=\"1.00\" height=\"100\"/>\
             <path class=\"area\" d=\"M0 100V0.0H1V50.0H2V100ZM3 100V0.0H4V100Z\"/></svg>"
        );
    }

    #[test]
    fn equal_neighbours_share_a_rectangle() {
        let series = series(&[Some(1.0), Some(1.0), None, Some(0.0)]);
        let svg = heat(
            &[Row {
                series: &series,
                from_s: 0.0,
                to_s: 2.0,
            }],
            4.0,
            1.0,
            "",
        );
        assert_eq!(svg.matches("<rect").count(), 2);
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (elapsed_s, texts) in [
            (4.2, vec!["0", "2 s", "4 s"]),
            (60.0, vec!["0", "20 s", "40 s", "1 min"]),
            (7200.0, vec!["0", "30 min", "1 h", "90 min", "2 h"]),
            (0.0, vec![]),
        ] {
            let found: Vec<String> = ticks(elapsed_s).into_iter().map(|tick| tick.text).collect();
            assert_eq!(found, texts);
        }
    }
}
