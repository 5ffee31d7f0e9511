//! Bars at each size, one or several side by side, of one part or of several on top of each
//! other, with intervals.

use std::fmt::Write as _;

use super::axes::{Axis, BOTTOM, LEFT, RIGHT, open, sizes};

/// A piece of a bar.
pub(super) struct Part {
    pub(super) class: String,
    pub(super) value: f64,
}

/// A bar.
pub(super) struct Group {
    pub(super) ranks: u32,
    /// From below.
    pub(super) parts: Vec<Part>,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

/// A plot.
pub(super) struct Bars {
    pub(super) title: &'static str,
    pub(super) y_label: &'static str,
    /// By ranks.
    pub(super) groups: Vec<Group>,
    /// Classes and what they mean.
    pub(super) legend: Vec<(String, String)>,
    /// The end of the axis, if it is known.
    pub(super) top: Option<f64>,
}

impl Bars {
    /// The drawing; `None` if there is nothing to draw.
    pub(super) fn svg(&self) -> Option<String> {
        let (mut svg, top) = open(self.title, self.y_label, &self.legend);
        let total = |group: &Group| group.parts.iter().map(|part| part.value).sum::<f64>();
        let ends = self
            .groups
            .iter()
            .flat_map(|group| [Some(total(group)), group.high])
            .flatten();
        let axis = match self.top {
            _ if self.groups.is_empty() => return None,
            Some(end) => Axis::up_to(end, top),
            None => Axis::new(ends, false, top)?,
        };
        axis.draw(&mut svg, 1.0);
        let mut by_size: Vec<(u32, Vec<&Group>)> = Vec::new();
        for group in &self.groups {
            match by_size.last_mut() {
                Some((ranks, groups)) if *ranks == group.ranks => groups.push(group),
                _ => by_size.push((group.ranks, vec![group])),
            }
        }
        let slot = (RIGHT - LEFT) / by_size.len() as f64;
        let mut places = Vec::new();
        for (index, (ranks, groups)) in by_size.iter().enumerate() {
            let middle = LEFT + slot * (index as f64 + 0.5);
            let width = (slot * 0.76 / groups.len() as f64).min(34.0);
            for (place, group) in groups.iter().enumerate() {
                let x = middle + (place as f64 - groups.len() as f64 / 2.0) * width;
                bar(&mut svg, group, &axis, x, width * 0.9);
            }
            places.push((middle, ranks.to_string()));
        }
        sizes(&mut svg, &places);
        Some(svg + "</svg>")
    }
}

fn bar(svg: &mut String, group: &Group, axis: &Axis, x: f64, width: f64) {
    let mut below = 0.0;
    for part in &group.parts {
        let (bottom, top) = (axis.y(below), axis.y(below + part.value));
        below += part.value;
        let _ = write!(
            svg,
            r#"<rect class="f-{}" x="{x:.1}" y="{top:.1}" width="{width:.1}" height="{:.1}"/>"#,
            part.class,
            (bottom - top).max(0.0)
        );
    }
    if let (Some(low), Some(high)) = (group.low, group.high) {
        let (bottom, top) = (axis.y(low).min(BOTTOM), axis.y(high));
        let _ = write!(
            svg,
            r#"<path class="error" d="M{:.1} {top:.1}h6m-3 0V{bottom:.1}m-3 0h6"/>"#,
            x + width / 2.0 - 3.0
        );
    }
}
