//! A field on a grid of longitudes and latitudes, drawn as a map in SVG.
//!
//! Cells are drawn as they are: no smoothing, no projection, no coast lines; missing ones stay
//! blank. Amounts get viridis, fields about zero a diverging scale with white at zero.

use std::fmt::Write as _;

use crate::chart::escape;
use crate::colour::Scale;
use crate::html::base64;
use crate::nice;

/// A field to draw.
#[derive(Clone, Copy, Debug)]
pub struct Field<'f> {
    /// What it is, in words.
    pub title: &'f str,
    /// Where and when: time, level, file.
    pub subtitle: &'f str,
    /// Of the values.
    pub units: &'f str,
    /// Centres of the columns, degrees east, rising or falling.
    pub longitudes: &'f [f64],
    /// Centres of the rows, degrees north, rising or falling.
    pub latitudes: &'f [f64],
    /// `latitudes.len() × longitudes.len()`, longitude fastest; NaN is missing.
    pub values: &'f [f64],
}

/// Why a field cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// Values and coordinates do not match.
    #[error("{values} values do not fill {rows} rows of {columns} columns")]
    Shape {
        /// How many values.
        values: usize,
        /// How many latitudes.
        rows: usize,
        /// How many longitudes.
        columns: usize,
    },
    /// A coordinate is missing or not in order.
    #[error("the {axis} are not finite numbers in rising or falling order")]
    Coordinate {
        /// Which.
        axis: &'static str,
    },
    /// Nothing but missing values.
    #[error("all values are missing")]
    Empty,
    /// The picture inside could not be encoded.
    #[error("the picture cannot be encoded")]
    Png(#[from] png::EncodingError),
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 66.0;
const RIGHT: f64 = 118.0;
const BOTTOM: f64 = 58.0;
const MAP_WIDTH: f64 = WIDTH - LEFT - RIGHT;
/// The most pixels of the picture inside, in each direction.
const MAX_PIXELS: usize = 1440;
/// Fewer cells get several pixels each, so that viewers that smooth do not blur them.
const MIN_PIXELS: usize = 720;

/// Draws the map.
///
/// # Errors
/// [`MapError`].
pub fn svg(field: &Field<'_>) -> Result<String, MapError> {
    let (rows, columns) = (field.latitudes.len(), field.longitudes.len());
    if rows * columns != field.values.len() || field.values.is_empty() {
        return Err(MapError::Shape {
            values: field.values.len(),
            rows,
            columns,
        });
    }
    let view = View::of(field)?;
    let range = Range::of(field.values).ok_or(MapError::Empty)?;
    let picture = raster(field, &view, &range)?;
    let height = TOP + view.height + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\" font-family=\"system-ui, \
         'Segoe UI', 'DejaVu Sans', sans-serif\" fill=\"#16202c\">\n\
         <title>{title}, {subtitle}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"20\" font-weight=\"600\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"49\" font-size=\"13\" fill=\"#566475\">{subtitle}</text>\n\
         <rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{MAP_WIDTH}\" height=\"{h:.1}\" fill=\"#eceff3\"/>\n\
         <image x=\"{LEFT}\" y=\"{TOP}\" width=\"{MAP_WIDTH}\" height=\"{h:.1}\" \
         preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" \
         href=\"data:image/png;base64,{data}\"/>\n",
        title = escape(field.title),
        subtitle = escape(field.subtitle),
        h = view.height,
        data = base64(&picture),
    );
    axes(&mut svg, &view);
    colour_bar(&mut svg, &view, &range, field.units);
    summary(&mut svg, field, &view);
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Which part of the globe is shown, and where its cells end.
struct View {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
    height: f64,
}

impl View {
    fn of(field: &Field<'_>) -> Result<Self, MapError> {
        let (west, east) = outer(field.longitudes, "longitudes")?;
        let (south, north) = outer(field.latitudes, "latitudes")?;
        let (south, north) = (south.max(-90.0), north.min(90.0));
        // A field around the globe is shown with Greenwich in its middle.
        let around = east - west > 359.0;
        let (west, east) = if around {
            (-180.0, 180.0)
        } else {
            (west, east)
        };
        let height = (MAP_WIDTH * (north - south) / (east - west)).clamp(150.0, 620.0);
        Ok(Self {
            west,
            east,
            south,
            north,
            height,
        })
    }

    fn x(&self, longitude: f64) -> f64 {
        LEFT + MAP_WIDTH * (longitude - self.west) / (self.east - self.west)
    }

    fn y(&self, latitude: f64) -> f64 {
        TOP + self.height * (self.north - latitude) / (self.north - self.south)
    }
}

/// The outer edges of cells with these centres.
fn outer(centres: &[f64], axis: &'static str) -> Result<(f64, f64), MapError> {
    let rising = centres.windows(2).all(|pair| pair[0] < pair[1]);
    let falling = centres.windows(2).all(|pair| pair[0] > pair[1]);
    if centres.iter().any(|centre| !centre.is_finite()) || !(rising || falling) {
        return Err(MapError::Coordinate { axis });
    }
    let (first, last) = (centres[0], centres[centres.len() - 1]);
    let half = match centres {
        [_] => (0.5, 0.5),
        many => {
            let count = many.len();
            (
                (many[1] - many[0]).abs() / 2.0,
                (many[count - 1] - many[count - 2]).abs() / 2.0,
            )
        }
    };
    if falling && centres.len() > 1 {
        Ok((last - half.1, first + half.0))
    } else {
        Ok((first - half.0, last + half.1))
    }
}

/// What the ends of the colour bar stand for.
struct Range {
    low: f64,
    high: f64,
    scale: Scale,
}

impl Range {
    fn of(values: &[f64]) -> Option<Self> {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let low = finite().reduce(f64::min)?;
        let high = finite().reduce(f64::max)?;
        // About as far below zero as above: a difference, an anomaly, a wind.
        const MOST_LOPSIDED: f64 = 5.0;
        let far = high.abs().max(low.abs());
        if low < 0.0 && high > 0.0 && far / high.min(-low) <= MOST_LOPSIDED {
            return Some(Self {
                low: -far,
                high: far,
                scale: Scale::Diverging,
            });
        }
        // One value everywhere still needs a range around it.
        let margin = if high > low { 0.0 } else { far.max(1.0) * 0.01 };
        Some(Self {
            low: low - margin,
            high: high + margin,
            scale: Scale::Sequential,
        })
    }

    fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// The cells as a PNG: each pixel takes the cell whose centre is nearest.
fn raster(field: &Field<'_>, view: &View, range: &Range) -> Result<Vec<u8>, MapError> {
    let width = pixels(field.longitudes.len());
    let height = pixels(field.latitudes.len());
    let column_of: Vec<usize> = (0..width)
        .map(|x| {
            let share = (x as f64 + 0.5) / width as f64;
            nearest_longitude(
                field.longitudes,
                view.west + share * (view.east - view.west),
            )
        })
        .collect();
    let mut bytes = Vec::with_capacity(width * height * 4);
    for y in 0..height {
        let share = (y as f64 + 0.5) / height as f64;
        let latitude = view.north - share * (view.north - view.south);
        let row = nearest(
            field
                .latitudes
                .iter()
                .map(|centre| (centre - latitude).abs()),
        );
        for &column in &column_of {
            let value = field.values[row * field.longitudes.len() + column];
            if value.is_finite() {
                let [red, green, blue] = range.scale.at(range.place(value));
                bytes.extend([red, green, blue, 255]);
            } else {
                bytes.extend([0; 4]);
            }
        }
    }
    let mut picture = Vec::new();
    let mut encoder = png::Encoder::new(&mut picture, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&bytes)?;
    Ok(picture)
}

fn pixels(cells: usize) -> usize {
    let each = MIN_PIXELS.div_ceil(cells.max(1)).max(1);
    (cells * each).clamp(1, MAX_PIXELS)
}

fn nearest_longitude(centres: &[f64], longitude: f64) -> usize {
    nearest(centres.iter().map(|centre| {
        let apart = (centre - longitude).rem_euclid(360.0);
        apart.min(360.0 - apart)
    }))
}

fn nearest(distances: impl Iterator<Item = f64>) -> usize {
    let least = distances
        .enumerate()
        .reduce(|a, b| if b.1 < a.1 { b } else { a });
    least.map_or(0, |(index, _)| index)
}

fn axes(svg: &mut String, view: &View) {
    let step_for = |span: f64| {
        let steps = [0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
        steps
            .into_iter()
            .find(|step| span / step <= 7.0)
            .unwrap_or(60.0)
    };
    let marks = |low: f64, high: f64| {
        let step = step_for(high - low);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        (first..=last).map(move |index| index as f64 * step)
    };
    let bottom = TOP + view.height;
    for longitude in marks(view.west, view.east) {
        let x = view.x(longitude);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{:.1}\" stroke=\"#16202c\" stroke-opacity=\".16\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"12\" text-anchor=\"middle\">{}</text>",
            bottom + 5.0,
            bottom + 19.0,
            degrees((longitude + 180.0).rem_euclid(360.0) - 180.0, "E", "W")
        );
    }
    for latitude in marks(view.south, view.north) {
        let y = view.y(latitude);
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {y:.1}H{:.1}\" stroke=\"#16202c\" stroke-opacity=\".16\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\" text-anchor=\"end\">{}</text>",
            LEFT - 5.0,
            LEFT + MAP_WIDTH,
            LEFT - 8.0,
            y + 4.0,
            degrees(latitude, "N", "S")
        );
    }
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{MAP_WIDTH}\" height=\"{:.1}\" fill=\"none\" \
         stroke=\"#16202c\" stroke-opacity=\".5\"/>",
        view.height
    );
}

fn degrees(value: f64, above: &str, below: &str) -> String {
    let size = value.abs();
    match value {
        _ if size < 1e-9 => "0°".to_owned(),
        _ if (size - 180.0).abs() < 1e-9 => "180°".to_owned(),
        value if value > 0.0 => format!("{size}°{above}"),
        _ => format!("{size}°{below}"),
    }
}

fn colour_bar(svg: &mut String, view: &View, range: &Range, units: &str) {
    const STOPS: u32 = 20;
    const BAR_WIDTH: f64 = 16.0;
    let x = LEFT + MAP_WIDTH + 22.0;
    svg.push_str("<defs><linearGradient id=\"bar\" x1=\"0\" x2=\"0\" y1=\"1\" y2=\"0\">");
    for stop in 0..=STOPS {
        let place = f64::from(stop) / f64::from(STOPS);
        let _ = write!(
            svg,
            "<stop offset=\"{place:.2}\" stop-color=\"{}\"/>",
            range.scale.hex(place)
        );
    }
    let _ = writeln!(
        svg,
        "</linearGradient></defs>\n\
         <rect x=\"{x}\" y=\"{TOP}\" width=\"{BAR_WIDTH}\" height=\"{:.1}\" fill=\"url(#bar)\" \
         stroke=\"#16202c\" stroke-opacity=\".5\"/>\n\
         <text x=\"{x}\" y=\"{:.1}\" font-size=\"13\">{}</text>",
        view.height,
        TOP - 10.0,
        escape(units)
    );
    let ticks = nice::ticks(range.low, range.high, 6);
    let step = ticks.get(1).map_or(1.0, |second| second - ticks[0]);
    for tick in ticks {
        let y = TOP + view.height * (1.0 - range.place(tick));
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {y:.1}h5\" stroke=\"#16202c\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\">{}</text>",
            x + BAR_WIDTH,
            x + BAR_WIDTH + 9.0,
            y + 4.0,
            nice::label(tick, step)
        );
    }
}

/// Least, largest and mean, the mean weighted by the area of the cells (cosine of latitude).
fn summary(svg: &mut String, field: &Field<'_>, view: &View) {
    let (mut sum, mut weights) = (0.0, 0.0);
    let (mut least, mut largest) = (f64::INFINITY, f64::NEG_INFINITY);
    for (row, latitude) in field
        .values
        .chunks(field.longitudes.len())
        .zip(field.latitudes)
    {
        let weight = latitude.to_radians().cos();
        for value in row.iter().filter(|value| value.is_finite()) {
            sum += weight * value;
            weights += weight;
            least = least.min(*value);
            largest = largest.max(*value);
        }
    }
    let mean = if weights > 0.0 {
        nice::significant(sum / weights)
    } else {
        "-".to_owned()
    };
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.1}\" font-size=\"12\" fill=\"#566475\">least {} · area mean {mean} \
         · largest {} {}</text>",
        TOP + view.height + 44.0,
        nice::significant(least),
        nice::significant(largest),
        escape(field.units)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<'f>(longitudes: &'f [f64], latitudes: &'f [f64], values: &'f [f64]) -> Field<'f> {
        Field {
            title: "t",
            subtitle: "s",
            units: "K",
            longitudes,
            latitudes,
            values,
        }
    }

    #[test]
    fn pixels_take_the_nearest_cell_whatever_the_order() {
        // Two rows from north to south, four columns around the globe from 0 to 270 east.
        let longitudes = [0.0, 90.0, 180.0, 270.0];
        let values = [1.0, 2.0, 3.0, 4.0, f64::NAN, 6.0, 7.0, 8.0];
        let field = field(&longitudes, &[45.0, -45.0], &values);
        let view = View::of(&field).unwrap();
        assert_eq!(
            (view.west, view.east, view.south, view.north),
            (-180.0, 180.0, -90.0, 90.0)
        );
        let range = Range::of(&values).unwrap();
        let picture = raster(&field, &view, &range).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(picture))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let at = |x: f64, y: f64| {
            let column = (x * f64::from(info.width)) as usize;
            let row = (y * f64::from(info.height)) as usize;
            let from = (row * info.width as usize + column) * 4;
            [
                pixels[from],
                pixels[from + 1],
                pixels[from + 2],
                pixels[from + 3],
            ]
        };
        let colour = |value: f64| {
            let [red, green, blue] = range.scale.at(range.place(value));
            [red, green, blue, 255]
        };
        // 90 west is the column of 270 east; Greenwich is in the middle.
        assert_eq!(at(0.25, 0.25), colour(4.0));
        assert_eq!(at(0.5, 0.25), colour(1.0));
        assert_eq!(at(0.75, 0.75), colour(6.0));
        assert_eq!(at(0.5, 0.75), [0; 4]);
    }

    #[test]
    fn fields_about_zero_are_white_at_zero() {
        let range = Range::of(&[-2.0, 5.0]).unwrap();
        assert_eq!((range.scale, range.place(0.0)), (Scale::Diverging, 0.5));
        assert_eq!(Range::of(&[-0.1, 300.0]).unwrap().scale, Scale::Sequential);
        assert!(Range::of(&[f64::NAN]).is_none());
        assert!(Range::of(&[3.0]).unwrap().place(3.0) == 0.5);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        assert!(matches!(
            svg(&field(&[0.0, 1.0], &[0.0], &[1.0])),
            Err(MapError::Shape { .. })
        ));
        let unordered = svg(&field(&[0.0, 2.0, 1.0], &[0.0], &[1.0; 3]));
        assert!(matches!(
            unordered,
            Err(MapError::Coordinate { axis: "longitudes" })
        ));
        assert!(matches!(
            svg(&field(&[0.0], &[0.0], &[f64::NAN])),
            Err(MapError::Empty)
        ));
    }

    #[test]
    fn text_is_escaped_and_a_region_keeps_its_place() {
        let hostile = Field {
            title: "<b>&",
            ..field(&[10.0, 11.0], &[50.0, 51.0], &[270.0, 271.0, 272.0, 273.0])
        };
        let svg = svg(&hostile).unwrap();
        assert!(svg.contains("&lt;b&gt;&amp;") && svg.contains(">10°E<") && svg.contains(">51°N<"));
    }
}
