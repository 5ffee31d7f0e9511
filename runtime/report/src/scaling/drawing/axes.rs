//! The frame of a plot: paper, title, legend, and a value axis with round numbers.

use std::fmt::Write as _;

use crate::chart::escape;
use crate::nice;

/// The size of every plot, in CSS pixels.
pub(super) const WIDTH: f64 = 360.0;
pub(super) const HEIGHT: f64 = 264.0;
/// Where values are drawn.
pub(super) const LEFT: f64 = 44.0;
pub(super) const RIGHT: f64 = WIDTH - 12.0;
pub(super) const BOTTOM: f64 = HEIGHT - 36.0;
/// About how wide a letter is.
const LETTER: f64 = 6.9;
/// Names longer than this are cut.
const MAX_LEGEND_LETTERS: usize = 24;

/// A value axis.
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    top: f64,
}

impl Axis {
    /// An axis that holds all values: from zero, or by powers.
    pub(super) fn new(values: impl Iterator<Item = f64>, log: bool, top: f64) -> Option<Self> {
        let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0));
        let (low, high) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        (high > 0.0).then_some(())?;
        let (low, high) = if log {
            (low / 1.15, high * 1.15)
        } else {
            (0.0, high * 1.08)
        };
        Some(Self {
            low,
            high,
            log,
            top,
        })
    }

    /// An axis from zero to a known end.
    pub(super) fn up_to(high: f64, top: f64) -> Self {
        Self {
            low: 0.0,
            high,
            log: false,
            top,
        }
    }

    /// The height of a value, held within the plot.
    pub(super) fn y(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low).ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - self.top)
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.log {
            return nice::ticks(self.low, self.high, 5);
        }
        let mut found = Vec::new();
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        for power in first..=last {
            found.extend([1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
        }
        found.retain(|tick| (self.low..=self.high).contains(tick));
        // Over many powers of ten their halves would crowd.
        if found.len() > 8 {
            found.retain(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-9);
        }
        found
    }

    /// Lines and numbers.
    pub(super) fn draw(&self, svg: &mut String, scale: f64) {
        for tick in self.ticks() {
            let y = self.y(tick);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {y:.1}H{RIGHT}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 6.0,
                y + 3.8,
                super::axis_number(tick * scale)
            );
        }
    }
}

/// Opens a plot; returns it and where values may begin below its legend.
pub(super) fn open(title: &str, y_label: &str, legend: &[(String, String)]) -> (String, f64) {
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#,
        escape(title)
    );
    let _ = write!(
        svg,
        r#"<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/><text class="title" x="12" y="20">{}</text><text x="{RIGHT}" y="20" text-anchor="end">{}</text>"#,
        escape(title),
        escape(y_label)
    );
    let (mut x, mut y) = (14.0, 38.0);
    for (class, name) in legend {
        let name: String = if name.chars().count() > MAX_LEGEND_LETTERS {
            name.chars()
                .take(MAX_LEGEND_LETTERS - 1)
                .chain(['\u{2026}'])
                .collect()
        } else {
            name.clone()
        };
        let width = 26.0 + LETTER * name.chars().count() as f64;
        if x + width > RIGHT && x > 14.0 {
            (x, y) = (14.0, y + 16.0);
        }
        let _ = write!(
            svg,
            r#"<rect class="f-{class}" x="{x:.1}" y="{:.1}" width="9" height="9" rx="2"/><text class="key" x="{:.1}" y="{y:.1}">{}</text>"#,
            y - 8.5,
            x + 13.0,
            escape(&name)
        );
        x += width;
    }
    (svg, y + 14.0)
}

/// The axis below: sizes where they lie.
pub(super) fn sizes(svg: &mut String, places: &[(f64, String)]) {
    let mut last = f64::NEG_INFINITY;
    for (x, text) in places {
        let half = LETTER * text.chars().count() as f64 / 2.0 + 3.0;
        if x - half < last {
            continue;
        }
        last = x + half;
        let _ = write!(
            svg,
            r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            BOTTOM + 15.0,
            escape(text)
        );
    }
    let _ = write!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">ranks</text>"#,
        f64::midpoint(LEFT, RIGHT),
        HEIGHT - 7.0
    );
}
