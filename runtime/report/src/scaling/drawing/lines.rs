//! Figures over ranks: dots with their intervals, and the law that was fitted as a line.

use std::fmt::Write as _;

use super::COLOURS;
use super::axes::{Axis, BOTTOM, LEFT, RIGHT, open, sizes};
use crate::scaling::schema::Estimate;

/// Points of a curve.
const CURVE_POINTS: u32 = 60;

/// A measured figure.
pub(super) struct Dot {
    pub(super) x: f64,
    pub(super) y: Estimate,
}

/// A law between the sizes that were measured.
pub(super) struct Curve(Vec<(f64, f64)>);

impl Curve {
    /// Samples a law, evenly by powers.
    pub(super) fn sampled(from: f64, to: f64, of: impl Fn(f64) -> Option<f64>) -> Self {
        let at = |index: u32| {
            let ranks = from * (to / from).powf(f64::from(index) / f64::from(CURVE_POINTS));
            Some((ranks, of(ranks)?))
        };
        Self(if to > from {
            (0..=CURVE_POINTS).filter_map(at).collect()
        } else {
            Vec::new()
        })
    }
}

/// The figures of a strategy.
pub(super) struct Series<'r> {
    pub(super) name: &'r str,
    pub(super) dots: Vec<Dot>,
    pub(super) curve: Curve,
}

/// A plot.
pub(super) struct Lines<'r> {
    pub(super) title: &'static str,
    pub(super) y_label: &'static str,
    /// Values by powers?
    pub(super) log: bool,
    pub(super) series: Vec<Series<'r>>,
    /// What would be perfect.
    pub(super) ideal: Option<Box<dyn Fn(f64) -> f64>>,
    /// A value to reach.
    pub(super) level: Option<f64>,
    /// Are values shares?
    pub(super) percent: bool,
}

impl Lines<'_> {
    /// The drawing; `None` if there is nothing to draw.
    pub(super) fn svg(&self) -> Option<String> {
        let xs = || {
            self.series
                .iter()
                .flat_map(|series| &series.dots)
                .map(|dot| dot.x)
        };
        let (from, to) = (xs().reduce(f64::min)?, xs().reduce(f64::max)?);
        let x = |ranks: f64| {
            let pad = 16.0;
            if to > from {
                LEFT + pad + (ranks / from).ln() / (to / from).ln() * (RIGHT - LEFT - 2.0 * pad)
            } else {
                f64::midpoint(LEFT, RIGHT)
            }
        };
        let legend: Vec<(String, String)> = self
            .series
            .iter()
            .enumerate()
            .map(|(index, series)| (class(index), series.name.to_owned()))
            .collect();
        let (mut svg, top) = open(self.title, self.y_label, &legend);
        let ideal_ends = self.ideal.iter().flat_map(|ideal| [ideal(from), ideal(to)]);
        let dots = self.series.iter().flat_map(|series| &series.dots);
        let values = dots
            .flat_map(|dot| [Some(dot.y.value), dot.y.low, dot.y.high])
            .flatten();
        let axis = Axis::new(values.chain(ideal_ends).chain(self.level), self.log, top)?;
        axis.draw(&mut svg, if self.percent { 100.0 } else { 1.0 });
        let mut places: Vec<f64> = xs().collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let places: Vec<(f64, String)> = places
            .into_iter()
            .map(|ranks| (x(ranks), format!("{ranks}")))
            .collect();
        sizes(&mut svg, &places);
        if let Some(ideal) = &self.ideal {
            let ends = (axis.y(ideal(from)), axis.y(ideal(to)));
            let _ = write!(
                svg,
                r#"<path class="ideal" d="M{:.1} {:.1}L{:.1} {:.1}"/>"#,
                x(from),
                ends.0,
                x(to),
                ends.1
            );
        }
        if let Some(level) = self.level {
            let y = axis.y(level);
            let _ = write!(svg, r#"<path class="ideal" d="M{LEFT} {y:.1}H{RIGHT}"/>"#);
        }
        for (index, series) in self.series.iter().enumerate() {
            // Strategies at the same size stand beside each other, or their bars would hide.
            let shift = (index as f64 - (self.series.len() - 1) as f64 / 2.0) * 5.0;
            curve(&mut svg, series, index, &axis, &x);
            for dot in &series.dots {
                draw_dot(&mut svg, dot, index, &axis, x(dot.x) + shift);
            }
        }
        Some(svg + "</svg>")
    }
}

fn class(index: usize) -> String {
    format!("s{}", index % COLOURS)
}

fn curve(
    svg: &mut String,
    series: &Series<'_>,
    index: usize,
    axis: &Axis,
    x: &impl Fn(f64) -> f64,
) {
    let mut path = String::new();
    for (ranks, value) in &series.curve.0 {
        let start = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{start}{:.1} {:.1}", x(*ranks), axis.y(*value));
    }
    if !path.is_empty() {
        let _ = write!(svg, r#"<path class="law l-{}" d="{path}"/>"#, class(index));
    }
}

fn draw_dot(svg: &mut String, dot: &Dot, index: usize, axis: &Axis, x: f64) {
    let class = class(index);
    if let (Some(low), Some(high)) = (dot.y.low, dot.y.high) {
        let (bottom, top) = (axis.y(low).min(BOTTOM), axis.y(high));
        let _ = write!(
            svg,
            r#"<path class="whisker l-{class}" d="M{:.1} {top:.1}h6m-3 0V{bottom:.1}m-3 0h6"/>"#,
            x - 3.0
        );
    }
    let y = axis.y(dot.y.value);
    // Shapes tell strategies apart without colours.
    let _ = match index % 4 {
        0 => write!(
            svg,
            r#"<circle class="f-{class}" cx="{x:.1}" cy="{y:.1}" r="4"/>"#
        ),
        1 => write!(
            svg,
            r#"<rect class="f-{class}" x="{:.1}" y="{:.1}" width="7" height="7"/>"#,
            x - 3.5,
            y - 3.5
        ),
        2 => write!(
            svg,
            r#"<path class="f-{class}" d="M{x:.1} {:.1}l5 5l-5 5l-5 -5Z"/>"#,
            y - 5.0
        ),
        _ => write!(
            svg,
            r#"<path class="f-{class}" d="M{x:.1} {:.1}l5 9h-10Z"/>"#,
            y - 5.5
        ),
    };
}
