//! A grid as text, in the form that CDO prints and reads.

use std::fmt::Write as _;

use super::{Axis, Cells, Grid, Kind};

/// Where a line of numbers ends.
const LINE_LEN_MAX: usize = 80;

/// Digits that a double has in any case.
const DIGITS: usize = 15;

/// Steps that differ less from the first, as a share of it, are the same.
const STEP_TOLERANCE: f64 = 1e-3;

impl Grid {
    /// The description, which [`Grid::from_description`] reads again.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key:<9} = {value}");
        };
        let gridtype = match self.kind {
            Kind::LonLat => "lonlat",
            Kind::Gaussian(_) => "gaussian",
            Kind::Curvilinear => "curvilinear",
            Kind::Unstructured => "unstructured",
        };
        line("gridtype", &gridtype);
        line("gridsize", &self.size());
        if let &[rows, columns] = self.shape().as_slice() {
            line("xsize", &columns);
            line("ysize", &rows);
        }
        let names = &self.names;
        let is_each = matches!(self.cells, Cells::Each { .. });
        for (prefix, name, dimension, long, units) in [
            ("x", &names.lon, &names.x, &names.lon_long, "degrees_east"),
            ("y", &names.lat, &names.y, &names.lat_long, "degrees_north"),
        ] {
            line(&format!("{prefix}name"), name);
            if is_each {
                line(&format!("{prefix}dimname"), dimension);
            }
            if !long.is_empty() {
                line(&format!("{prefix}longname"), &format!("\"{long}\""));
            }
            line(&format!("{prefix}units"), &format!("\"{units}\""));
        }
        if let Kind::Gaussian(half) = self.kind {
            line("numLPE", &half);
        }
        match &self.cells {
            Cells::Axes { lon, lat } => {
                describe_axis(&mut text, "x", lon, false);
                let is_gaussian = matches!(self.kind, Kind::Gaussian(_));
                describe_axis(&mut text, "y", lat, is_gaussian);
            }
            Cells::Each {
                lons,
                lats,
                corners,
                ..
            } => {
                if let (Some(corners), Kind::Unstructured) = (corners, self.kind) {
                    let _ = writeln!(text, "{:<9} = {}", "nvertex", corners.count);
                }
                for (prefix, centres) in [("x", lons), ("y", lats)] {
                    numbers(&mut text, &format!("{prefix}vals"), centres);
                    if let Some(corners) = corners {
                        let of_axis = if prefix == "x" {
                            &corners.lons
                        } else {
                            &corners.lats
                        };
                        let rows = of_axis.chunks(corners.count);
                        bounds(&mut text, &format!("{prefix}bounds"), rows);
                    }
                }
            }
        }
        text
    }
}

fn describe_axis(text: &mut String, prefix: &str, axis: &Axis, always_values: bool) {
    match step_of(&axis.centres).filter(|_| !always_values) {
        Some(step) => {
            let first = general(axis.centres[0]);
            let _ = writeln!(text, "{:<9} = {first}", format!("{prefix}first"));
            let _ = writeln!(text, "{:<9} = {}", format!("{prefix}inc"), general(step));
        }
        None => numbers(text, &format!("{prefix}vals"), &axis.centres),
    }
    if let Some(pairs) = &axis.bounds {
        let rows = pairs.iter().map(|pair| &pair[..]);
        bounds(text, &format!("{prefix}bounds"), rows);
    }
}

/// The step of a regular axis.
fn step_of(centres: &[f64]) -> Option<f64> {
    let [first, .., last] = *centres else {
        return None;
    };
    let step = (last - first) / (centres.len() - 1) as f64;
    let is_regular = |pair: &[f64]| (pair[1] - pair[0] - step).abs() <= STEP_TOLERANCE * step.abs();
    centres.windows(2).all(is_regular).then_some(step)
}

fn numbers(text: &mut String, key: &str, values: &[f64]) {
    let start = format!("{key:<9} = ");
    let mut len = start.len();
    text.push_str(&start);
    for &value in values {
        if len > LINE_LEN_MAX {
            text.push_str("\n            ");
            len = start.len();
        }
        let word = general(value);
        len += word.len() + 1;
        text.push_str(&word);
        text.push(' ');
    }
    text.push('\n');
}

fn bounds<'a>(text: &mut String, key: &str, rows: impl Iterator<Item = &'a [f64]>) {
    let mut start = format!("{key:<9} = ");
    for row in rows {
        text.push_str(&start);
        for &value in row {
            text.push_str(&general(value));
            text.push(' ');
        }
        text.push('\n');
        start = " ".repeat(start.len());
    }
}

/// A number as C's `%.15g` has it.
fn general(value: f64) -> String {
    let scientific = format!("{value:.*e}", DIGITS - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |digits: &str| match digits.contains('.') {
        true => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => digits.to_owned(),
    };
    if (-4..DIGITS as i32).contains(&exponent) {
        let decimals = (DIGITS as i32 - 1 - exponent) as usize;
        return trim(&format!("{value:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_in_c() {
        for (value, text) in [
            (0.0, "0"),
            (-81.0, "-81"),
            (2.5, "2.5"),
            (73.799_213_628_563_2, "73.7992136285632"),
            (1e-7, "1e-07"),
            (1.5e20, "1.5e+20"),
            (0.1 + 0.2, "0.3"),
        ] {
            assert_eq!(general(value), text);
        }
    }

    #[test]
    fn a_description_gives_the_grid_again() {
        for name in ["r36x18", "n4", "t21grid", "lon=10_lat=50"] {
            let grid = Grid::from_name(name).unwrap();
            let text = grid.describe();
            let again = Grid::from_description(&text).unwrap();
            assert_eq!(again.describe(), text);
            assert_eq!(again.kind, grid.kind);
            assert_eq!(again.shape(), grid.shape());
        }
    }

    #[test]
    fn regular_grids_are_short() {
        let text = Grid::from_name("r20x10").unwrap().describe();
        let expected = "gridtype  = lonlat\ngridsize  = 200\nxsize     = 20\nysize     = 10\n\
                        xname     = lon\nxlongname = \"longitude\"\nxunits    = \"degrees_east\"\n\
                        yname     = lat\nylongname = \"latitude\"\nyunits    = \"degrees_north\"\n\
                        xfirst    = 0\nxinc      = 18\nyfirst    = -81\nyinc      = 18\n";
        assert_eq!(text, expected);
    }
}
