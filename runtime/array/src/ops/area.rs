//! Areas of grid cells on the unit sphere.
//!
//! A cell is the polygon of its corners with great circles between them, as CDO computes it;
//! on a 1 degree grid that is 5e-5 from the band between its parallels.

use crate::cube::Cube;

type Point = [f64; 3];

/// The areas of the cells of a grid of longitudes by latitudes, latitude by latitude; `None`
/// where edges cannot be told: a single row or column without bounds.
pub(crate) fn rectilinear(lons: &[[f64; 2]], lats: &[[f64; 2]]) -> Vec<f64> {
    let clip = |latitude: f64| latitude.clamp(-90.0, 90.0);
    let mut areas = Vec::with_capacity(lons.len() * lats.len());
    for &[south, north] in lats {
        let (south, north) = (clip(south), clip(north));
        areas.extend(lons.iter().map(|&[west, east]| {
            polygon(&[
                point(west, south),
                point(east, south),
                point(east, north),
                point(west, north),
            ])
        }));
    }
    areas
}

/// The areas of cells with these corners, `corners` of each in `lons` and `lats`.
pub(crate) fn polygons(lons: &[f64], lats: &[f64], corners: usize) -> Vec<f64> {
    let cells = lons.chunks(corners.max(1)).zip(lats.chunks(corners.max(1)));
    cells
        .map(|(lons, lats)| {
            let points: Vec<Point> = lons
                .iter()
                .zip(lats)
                .map(|(&lon, &lat)| point(lon, lat))
                .collect();
            polygon(&points)
        })
        .collect()
}

/// The lower and upper edge of each cell of a one-dimensional coordinate: its bounds, else the
/// middles between centres, the outermost mirrored.
pub(crate) fn edges(cube: &Cube, coordinate: usize) -> Option<Vec<[f64; 2]>> {
    let centres = cube.numbers(coordinate)?;
    let bounds = cube
        .dataset
        .bounds(coordinate)
        .and_then(|bounds| cube.numbers(bounds));
    if let Some(bounds) = bounds.filter(|bounds| bounds.len() == 2 * centres.len()) {
        return Some(bounds.as_chunks::<2>().0.to_vec());
    }
    let [first, second, ..] = *centres else {
        return None;
    };
    let mut edges = vec![first - (second - first) / 2.0];
    edges.extend(
        centres
            .windows(2)
            .map(|pair| pair[0] + (pair[1] - pair[0]) / 2.0),
    );
    let last = centres.len() - 1;
    edges.push(centres[last] + (centres[last] - centres[last - 1]) / 2.0);
    Some(edges.windows(2).map(|pair| [pair[0], pair[1]]).collect())
}

/// The areas of the cells of a grid with these coordinates, over the dimensions given first.
pub(crate) fn of_grid(cube: &Cube, lon: usize, lat: usize) -> Option<(Vec<usize>, Vec<f64>)> {
    let dims = |coordinate: usize| cube.dataset.variables[coordinate].dims.as_slice();
    match (dims(lon), dims(lat)) {
        (&[x], &[y]) if x != y => {
            let (lons, lats) = (edges(cube, lon)?, edges(cube, lat)?);
            Some((vec![y, x], rectilinear(&lons, &lats)))
        }
        (x, y) if x == y && !x.is_empty() => {
            let cells = cube.numbers(lon)?.len();
            let lons = cube.numbers(cube.dataset.bounds(lon)?)?;
            let lats = cube.numbers(cube.dataset.bounds(lat)?)?;
            let corners = lons.len() / cells.max(1);
            let fits = corners >= 3 && lons.len() == corners * cells && lats.len() == lons.len();
            fits.then(|| (x.to_vec(), polygons(lons, lats, corners)))
        }
        _ => None,
    }
}

fn point(longitude: f64, latitude: f64) -> Point {
    let (sin_lon, cos_lon) = longitude.to_radians().sin_cos();
    let (sin_lat, cos_lat) = latitude.to_radians().sin_cos();
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

/// The polygon as triangles that share its first corner.
fn polygon(corners: &[Point]) -> f64 {
    let Some((a, rest)) = corners.split_first() else {
        return 0.0;
    };
    rest.windows(2)
        .map(|pair| triangle(a, &pair[0], &pair[1]))
        .sum()
}

/// The spherical excess.
///
/// Source: Van Oosterom and Strackee (1983).
fn triangle(a: &Point, b: &Point, c: &Point) -> f64 {
    let dot = |p: &Point, q: &Point| p[0] * q[0] + p[1] * q[1] + p[2] * q[2];
    let cross = [
        b[1] * c[2] - b[2] * c[1],
        b[2] * c[0] - b[0] * c[2],
        b[0] * c[1] - b[1] * c[0],
    ];
    let volume = dot(a, &cross).abs();
    2.0 * volume.atan2(1.0 + dot(a, b) + dot(b, c) + dot(c, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cells_of_a_globe_cover_it() {
        let lons: Vec<[f64; 2]> = (0..72)
            .map(|i| [f64::from(i) * 5.0, f64::from(i + 1) * 5.0])
            .collect();
        let lats: Vec<[f64; 2]> = (-18..18)
            .map(|i| [f64::from(i) * 5.0, f64::from(i + 1) * 5.0])
            .collect();
        let total: f64 = rectilinear(&lons, &lats).iter().sum();
        // Great circles are not parallels, but together the cells leave no gap.
        assert!(
            (total / (4.0 * std::f64::consts::PI) - 1.0).abs() < 1e-12,
            "{total}"
        );
    }

    #[test]
    fn an_octant_is_an_eighth_of_the_sphere() {
        let area = polygons(&[0.0, 90.0, 0.0], &[0.0, 0.0, 90.0], 3)[0];
        assert!((area - std::f64::consts::FRAC_PI_2).abs() < 1e-14, "{area}");
    }
}
