//! A series of values along one coordinate, drawn as a line in SVG; missing values break it.

use std::fmt::Write as _;

use crate::chart::escape;
use crate::nice;

/// A series to draw.
#[derive(Clone, Debug)]
pub struct Line<'l> {
    /// What it is, in words.
    pub title: &'l str,
    /// Where, and of which file.
    pub subtitle: &'l str,
    /// Of the values.
    pub units: &'l str,
    /// What the coordinate is.
    pub along: &'l str,
    /// The coordinate.
    pub places: &'l [f64],
    /// Labels for some places; round numbers if empty.
    pub labels: Vec<(f64, String)>,
    /// One value a place; NaN is missing.
    pub values: &'l [f64],
}

/// Why a series cannot be drawn.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LineError {
    /// Values and places do not match.
    #[error("{values} values at {places} places")]
    Shape {
        /// How many values.
        values: usize,
        /// How many places.
        places: usize,
    },
    /// Nothing but missing values.
    #[error("all values are missing")]
    Empty,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 54.0;

/// Draws the line.
///
/// # Errors
/// [`LineError`].
pub fn svg(line: &Line<'_>) -> Result<String, LineError> {
    let (places, values) = (line.places, line.values);
    if places.len() != values.len() {
        return Err(LineError::Shape {
            values: values.len(),
            places: places.len(),
        });
    }
    let (low, high) = ends(values.iter().copied()).ok_or(LineError::Empty)?;
    let (from, to) = ends(places.iter().copied()).ok_or(LineError::Empty)?;
    let margin = if high > low {
        0.05 * (high - low)
    } else {
        high.abs().max(1.0) * 0.05
    };
    let (low, high) = (low - margin, high + margin);
    let width = if to > from { to - from } else { 1.0 };
    let x = |place: f64| LEFT + (WIDTH - LEFT - RIGHT) * (place - from) / width;
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low);
    let mut svg = head(line);
    let ticks = nice::ticks(low, high, 6);
    let step = ticks.get(1).map_or(1.0, |second| second - ticks[0]);
    for tick in ticks {
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {0:.1}H{1}\" stroke=\"#16202c\" stroke-opacity=\".12\"/>\
             <text x=\"{2}\" y=\"{3:.1}\" font-size=\"12\" text-anchor=\"end\">{4}</text>",
            y(tick),
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(tick) + 4.0,
            nice::label(tick, step)
        );
    }
    for (place, text) in labels(line, from, to) {
        let _ = writeln!(
            svg,
            "<path d=\"M{0:.1} {1}v5\" stroke=\"#16202c\" stroke-opacity=\".5\"/>\
             <text x=\"{0:.1}\" y=\"{2}\" font-size=\"12\" text-anchor=\"middle\">{3}</text>",
            x(place),
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 19.0,
            escape(&text)
        );
    }
    draw(&mut svg, line, x, y);
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn ends(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    numbers
        .filter(|number| number.is_finite())
        .fold(None, |ends, number| match ends {
            None => Some((number, number)),
            Some((low, high)) => Some((f64::min(low, number), f64::max(high, number))),
        })
}

fn head(line: &Line<'_>) -> String {
    let (title, subtitle) = (escape(line.title), escape(line.subtitle));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" font-family=\"system-ui, 'Segoe UI', \
         'DejaVu Sans', sans-serif\" fill=\"#16202c\">\n<title>{title}, {subtitle}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"20\" font-weight=\"600\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"49\" font-size=\"13\" fill=\"#566475\">{subtitle}</text>\n\
         <text x=\"{0}\" y=\"49\" font-size=\"13\" text-anchor=\"end\">{1}</text>\n\
         <text x=\"{2}\" y=\"{3}\" font-size=\"12\" fill=\"#566475\" text-anchor=\"middle\">{4}</text>\n",
        WIDTH - RIGHT,
        escape(line.units),
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0,
        escape(line.along)
    )
}

fn labels(line: &Line<'_>, from: f64, to: f64) -> Vec<(f64, String)> {
    if !line.labels.is_empty() {
        return line.labels.clone();
    }
    let ticks = nice::ticks(from, to, 7);
    let step = ticks.get(1).map_or(1.0, |second| second - ticks[0]);
    ticks
        .into_iter()
        .map(|tick| (tick, nice::label(tick, step)))
        .collect()
}

/// The line, and points where there are few; a lone point between missing ones is seen too.
fn draw(svg: &mut String, line: &Line<'_>, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
    const MAX_POINTS: usize = 80;
    let mut path = String::new();
    let mut pen_down = false;
    for (place, value) in line.places.iter().zip(line.values) {
        if place.is_finite() && value.is_finite() {
            let command = if pen_down { 'L' } else { 'M' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(*place), y(*value));
            pen_down = true;
            if line.values.len() <= MAX_POINTS {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\" fill=\"#0b6fc2\"/>",
                    x(*place),
                    y(*value)
                );
            }
        } else {
            pen_down = false;
        }
    }
    let _ = writeln!(
        svg,
        "<path d=\"{path}\" fill=\"none\" stroke=\"#0b6fc2\" stroke-width=\"2\" \
         stroke-linejoin=\"round\" stroke-linecap=\"round\"/>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'l>(places: &'l [f64], values: &'l [f64]) -> Line<'l> {
        let (title, subtitle, units, along) = ("t", "<s>", "K", "time");
        Line {
            title,
            subtitle,
            units,
            along,
            places,
            labels: Vec::new(),
            values,
        }
    }

    #[test]
    fn missing_values_break_the_line() {
        let svg = svg(&line(&[0.0, 1.0, 2.0, 3.0], &[1.0, 2.0, f64::NAN, 1.0])).unwrap();
        let path = svg
            .lines()
            .find(|line| line.starts_with("<path d=\"M") && line.contains("L"));
        assert_eq!(path.unwrap().matches('M').count(), 2, "{svg}");
        assert!(svg.contains("&lt;s&gt;"));
    }

    #[test]
    fn nothing_to_draw_is_said() {
        assert_eq!(svg(&line(&[0.0], &[f64::NAN])), Err(LineError::Empty));
        let wrong = Err(LineError::Shape {
            values: 1,
            places: 2,
        });
        assert_eq!(svg(&line(&[0.0, 1.0], &[1.0])), wrong);
        assert!(svg(&line(&[5.0], &[1.0])).is_ok());
    }
}
