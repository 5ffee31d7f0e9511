//! `mizar plot`: a picture of a variable: a map, or a line along its only axis. `mizar cube
//! --plot` draws its result the same way.
//!
//! Left out: drawing ([`mizar_report::map`], [`mizar_report::line`]) and reading
//! ([`mizar_array::storage`]).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use mizar_array::dataset::Axis;
use mizar_array::storage::Source;
use mizar_array::time_axis::{Calendar, DateTime, TimeUnits};
use mizar_report::{line, map, raster};

use crate::stdout;

/// A variable with more values than this on the axes shown is no picture but a mistake.
const MAX_CELLS: usize = 1 << 27;
/// Labels along a time axis.
const MAX_LABELS: usize = 8;

const EXAMPLES: &str = "\
Examples:
  mizar plot out.nc -o map.svg                  the first variable with data
  mizar plot out.nc tas --time 7 -o july.svg    one step of a variable
  mizar plot series.nc tas -o series.png        a single axis becomes a line

A variable on longitudes and latitudes becomes a map, one along a single axis (a series, a
profile, a zonal mean) a line.";

/// Arguments of `mizar plot`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A NetCDF file
    input: PathBuf,
    /// A variable; the first with data if not given
    variable: Option<String>,
    /// The picture, an SVG or PNG file
    #[arg(short, long, value_name = "FILE.svg|FILE.png")]
    output: PathBuf,
    /// Which time step, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    time: u32,
    /// Which level, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    level: u32,
}

/// Runs `mizar plot`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    draw(&args)?;
    stdout::print(&format!("{}\n", args.output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Draws the first data variable of a file, at its first time and level.
pub(crate) fn first(input: &Path, output: &Path) -> anyhow::Result<()> {
    at_step(input, output, 1)
}

/// The same at a step, counted from 1.
pub(crate) fn at_step(input: &Path, output: &Path, time: u32) -> anyhow::Result<()> {
    draw(&Args {
        input: input.to_owned(),
        variable: None,
        output: output.to_owned(),
        time,
        level: 1,
    })
}

/// Whether a picture can have this name.
pub(crate) fn check_name(output: &Path) -> anyhow::Result<()> {
    let extension = output.extension().and_then(std::ffi::OsStr::to_str);
    ensure!(
        matches!(extension, Some("svg" | "png")),
        "the picture {} is an SVG or PNG file: name it FILE.svg or FILE.png",
        output.display()
    );
    Ok(())
}

fn draw(args: &Args) -> anyhow::Result<()> {
    check_name(&args.output)?;
    let source = Source::open(&args.input)?;
    let view = View::of(&source, args)?;
    let svg = view.draw().with_context(|| {
        let (title, _) = view.words();
        format!("no picture of {title}, {}", view.subtitle)
    })?;
    let bytes = match args
        .output
        .extension()
        .is_some_and(|extension| extension == "png")
    {
        true => raster::png(&svg)?,
        false => svg.into_bytes(),
    };
    mizar_core::durable::write(&args.output, &bytes)
        .with_context(|| format!("cannot write {}", args.output.display()))
}

/// A variable, and which of its axes are shown.
struct View<'s> {
    source: &'s Source,
    variable: usize,
    /// Places of the axes in the variable's dimensions that are shown, slowest first.
    shown: Vec<usize>,
    /// One range a dimension.
    region: Vec<std::ops::Range<usize>>,
    subtitle: String,
}

impl<'s> View<'s> {
    fn of(source: &'s Source, args: &Args) -> anyhow::Result<Self> {
        let dataset = source.dataset();
        let variable = match &args.variable {
            Some(name) => dataset
                .variable_index(name)
                .with_context(|| format!("no variable `{name}`; {}", known(source)))?,
            None => *dataset
                .data_variables()
                .first()
                .with_context(|| format!("{} holds no data variable", args.input.display()))?,
        };
        let shape = dataset.shape(variable);
        let place = |axis| {
            dataset
                .axis_position(variable, axis)
                .filter(|&at| shape[at] > 1)
        };
        let (latitude, longitude) = (place(Axis::Latitude), place(Axis::Longitude));
        let shown: Vec<usize> = match (latitude, longitude) {
            (Some(latitude), Some(longitude)) => vec![latitude, longitude],
            (one, other) => {
                let long = shape.iter().position(|&len| len > 1);
                let first = one
                    .or(other)
                    .or(place(Axis::Time))
                    .or(place(Axis::Level))
                    .or(long);
                first.into_iter().collect()
            }
        };
        ensure!(
            !shown.is_empty(),
            "`{}` is a single value",
            dataset.variables[variable].name
        );
        let mut notes = Vec::new();
        let mut region = Vec::new();
        for (at, &len) in shape.iter().enumerate() {
            if shown.contains(&at) {
                region.push(0..len);
                continue;
            }
            let axis = [Axis::Time, Axis::Level]
                .into_iter()
                .find(|&axis| dataset.axis_position(variable, axis) == Some(at));
            let wanted = match axis {
                Some(Axis::Time) => args.time as usize,
                Some(_) => args.level as usize,
                None => 1,
            };
            let name = &dataset.dimensions[dataset.variables[variable].dims[at]].name;
            ensure!(
                wanted <= len,
                "`{name}` has {len} steps; there is no step {wanted}"
            );
            region.push(wanted - 1..wanted);
            if axis.is_some() {
                notes.extend(step_text(source, variable, at, wanted - 1)?);
            }
        }
        let file = args
            .input
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        notes.push(file);
        Ok(Self {
            source,
            variable,
            shown,
            region,
            subtitle: notes.join(" · "),
        })
    }

    fn draw(&self) -> anyhow::Result<String> {
        let (title, units) = self.words();
        let lengths: Vec<usize> = self.shown.iter().map(|&at| self.region[at].len()).collect();
        let cells = lengths.iter().product::<usize>();
        ensure!(
            cells <= MAX_CELLS,
            "{cells} cells are too many for a picture"
        );
        let mut values = vec![0.0; cells];
        self.source
            .read_f64(self.variable, &self.region, &mut values)?;
        match self.shown[..] {
            [latitude, longitude] => {
                let mut longitudes = self.coordinate(longitude)?;
                let latitudes = self.coordinate(latitude)?;
                if longitude < latitude {
                    values = transposed(&values, lengths[1]);
                }
                unwrap_degrees(&mut longitudes);
                Ok(map::svg(&map::Field {
                    title: &title,
                    subtitle: &self.subtitle,
                    units: &units,
                    longitudes: &longitudes,
                    latitudes: &latitudes,
                    values: &values,
                })?)
            }
            [at] => self.line(&title, &units, at, &values),
            _ => bail!("nothing to draw"),
        }
    }

    fn line(&self, title: &str, units: &str, at: usize, values: &[f64]) -> anyhow::Result<String> {
        let dataset = self.source.dataset();
        let dimension = dataset.variables[self.variable].dims[at];
        let places = self.coordinate(at)?;
        let coordinate = dataset.dimension_coordinate(dimension);
        let time = dataset.axis_position(self.variable, Axis::Time) == Some(at);
        let name = &dataset.dimensions[dimension].name;
        let of = coordinate.and_then(|c| dataset.variables[c].attributes.get_text("units"));
        let along = match of {
            Some(units) if !time => format!("{name} ({units})"),
            _ => name.clone(),
        };
        let dates = coordinate
            .filter(|_| time)
            .and_then(|c| dates(self.source, c, &places).ok());
        let labels = dates.map_or_else(Vec::new, |dates| {
            let every = places.len().div_ceil(MAX_LABELS).max(1);
            let all = places.iter().zip(&dates).step_by(every);
            all.map(|(place, date)| (*place, day(date))).collect()
        });
        Ok(line::svg(&line::Line {
            title,
            subtitle: &self.subtitle,
            units,
            along: &along,
            places: &places,
            labels,
            values,
        })?)
    }

    /// Title and units, from the attributes.
    fn words(&self) -> (String, String) {
        let variable = &self.source.dataset().variables[self.variable];
        let text = |name| variable.attributes.get_text(name).map(str::to_owned);
        let title = text("long_name").or_else(|| text("standard_name"));
        let title = match title {
            Some(words) => format!("{words} ({})", variable.name),
            None => variable.name.clone(),
        };
        (title, text("units").unwrap_or_default())
    }

    /// The coordinate of a dimension, or its indexes from 1.
    fn coordinate(&self, at: usize) -> anyhow::Result<Vec<f64>> {
        let dataset = self.source.dataset();
        let dimension = dataset.variables[self.variable].dims[at];
        match dataset.dimension_coordinate(dimension) {
            Some(coordinate) => read_all(self.source, coordinate),
            None => Ok((1..=self.region[at].len())
                .map(|index| index as f64)
                .collect()),
        }
    }
}

fn known(source: &Source) -> String {
    let dataset = source.dataset();
    let names: Vec<&str> = dataset
        .data_variables()
        .iter()
        .map(|&v| dataset.variables[v].name.as_str())
        .collect();
    format!("the file has {}", names.join(", "))
}

fn read_all(source: &Source, variable: usize) -> anyhow::Result<Vec<f64>> {
    let region = source.dataset().whole(variable);
    let mut values = vec![0.0; region.iter().map(ExactSizeIterator::len).product()];
    source.read_f64(variable, &region, &mut values)?;
    Ok(values)
}

/// What the chosen step of an axis that is not shown stands for: a date, `850 hPa`.
fn step_text(
    source: &Source,
    variable: usize,
    at: usize,
    step: usize,
) -> anyhow::Result<Option<String>> {
    let dataset = source.dataset();
    let dimension = dataset.variables[variable].dims[at];
    let Some(coordinate) = dataset.dimension_coordinate(dimension) else {
        return Ok(None);
    };
    let values = read_all(source, coordinate)?;
    let Some(value) = values.get(step) else {
        return Ok(None);
    };
    if dataset.axis(coordinate) == Some(Axis::Time)
        && let Ok(dates) = dates(source, coordinate, &[*value])
    {
        return Ok(dates.first().map(day));
    }
    let attributes = &dataset.variables[coordinate].attributes;
    let units = attributes.get_text("units").unwrap_or_default();
    Ok(Some(
        format!(
            "{} {} {units}",
            dataset.dimensions[dimension].name,
            plain(*value)
        )
        .trim()
        .to_owned(),
    ))
}

/// A coordinate to six digits: some models write 100000.00000001001 Pa.
fn plain(value: f64) -> String {
    format!("{value:.5e}").parse().unwrap_or(value).to_string()
}

fn dates(source: &Source, coordinate: usize, values: &[f64]) -> anyhow::Result<Vec<DateTime>> {
    let attributes = &source.dataset().variables[coordinate].attributes;
    let units: TimeUnits = attributes.get_text("units").unwrap_or_default().parse()?;
    let calendar: Calendar = attributes
        .get_text("calendar")
        .unwrap_or("standard")
        .parse()?;
    values
        .iter()
        .map(|&value| Ok(units.date(value, calendar)?))
        .collect()
}

fn day(date: &DateTime) -> String {
    format!("{:04}-{:02}-{:02}", date.year, date.month, date.day)
}

/// From columns of `rows` to rows of columns.
fn transposed(values: &[f64], rows: usize) -> Vec<f64> {
    let columns = values.len() / rows.max(1);
    (0..columns)
        .flat_map(|c| (0..rows).map(move |r| values[r * columns + c]))
        .collect()
}

/// Longitudes that jump (… 359, 0, 1 …) go on rising instead.
fn unwrap_degrees(longitudes: &mut [f64]) {
    let Some(&first) = longitudes.first() else {
        return;
    };
    let mut before = first;
    for longitude in longitudes.iter_mut().skip(1) {
        while *longitude < before - 180.0 {
            *longitude += 360.0;
        }
        before = *longitude;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_shown_without_the_noise_of_its_last_digits() {
        assert_eq!(plain(100_000.000_000_010_01), "100000");
        assert_eq!(plain(850.0), "850");
        assert_eq!(plain(0.992_556_099), "0.992556");
    }

    #[test]
    fn longitudes_across_greenwich_keep_rising() {
        let mut longitudes = [358.0, 359.0, 0.0, 1.0];
        unwrap_degrees(&mut longitudes);
        assert_eq!(longitudes, [358.0, 359.0, 360.0, 361.0]);
    }

    #[test]
    fn a_transposed_field_is_turned() {
        assert_eq!(
            transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
    }
}
