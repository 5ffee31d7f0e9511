//! Points, outlines and areas on the unit sphere.
//!
//! A cell is bounded by great circles, or by parallels where both ends of an edge have the same
//! latitude: that is how CDO's conservative remapping has it. Its areas (`gridarea`, and the
//! weights of field means) know great circles only; on a 1 degree grid that is 5e-5 from the
//! band between parallels.

/// A unit vector.
pub(crate) type Point = [f64; 3];

/// Latitudes that differ by less (in degrees) are one parallel.
const PARALLEL_TOLERANCE_DEGREES: f64 = 1e-9;

/// Corners that are nearer to each other (in radians) are one.
const CORNER_TOLERANCE: f64 = 1e-12;

/// The circle that an edge lies on: the points p with `normal` · p = `offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Circle {
    pub(crate) normal: Point,
    pub(crate) offset: f64,
}

/// From one corner along a circle to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) from: Point,
    pub(crate) to: Point,
    /// The sine of the latitude if the edge is part of a parallel.
    pub(crate) parallel: Option<f64>,
}

/// The corners of a cell around it, counterclockwise as seen from outside.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    /// Each with whether the edge to the next is part of a parallel.
    corners: Vec<(Point, bool)>,
}

impl Outline {
    /// From corners in degrees, in either direction; repeated ones count once. Sides are great
    /// circles unless the cell lies between meridians and parallels, as those of NEMO's grids
    /// do outside of the north: a triangle's side is none, even between equal latitudes.
    pub(crate) fn of_corners(lons: &[f64], lats: &[f64]) -> Self {
        let mut outline = Self::new(lons, lats);
        if !is_rectangle(lons, lats) {
            let corners = outline.corners.iter_mut();
            corners.for_each(|(_, is_parallel)| *is_parallel = false);
        }
        outline
    }

    /// From corners in degrees, in either direction; repeated ones count once. Sides between
    /// equal latitudes are parallels.
    pub(crate) fn new(lons: &[f64], lats: &[f64]) -> Self {
        let count = lons.len().min(lats.len());
        let mut corners: Vec<(Point, f64)> = Vec::with_capacity(count);
        for (&lon, &lat) in lons.iter().zip(lats) {
            let corner = point(lon, lat.clamp(-90.0, 90.0));
            if corners
                .last()
                .is_none_or(|(last, _)| !is_same(last, &corner))
            {
                corners.push((corner, lat));
            }
        }
        while corners.len() > 1 && is_same(&corners[0].0, &corners[corners.len() - 1].0) {
            corners.pop();
        }
        let points: Vec<Point> = corners.iter().map(|(corner, _)| *corner).collect();
        if polygon(&points) < 0.0 {
            corners.reverse();
        }
        let next = |i: usize| corners[(i + 1) % corners.len()].1;
        let is_parallel = |i: usize| {
            let lat = corners[i].1;
            (next(i) - lat).abs() <= PARALLEL_TOLERANCE_DEGREES && lat != 0.0
        };
        let corners = (0..corners.len()).map(|i| (corners[i].0, is_parallel(i)));
        Self {
            corners: corners.collect(),
        }
    }

    /// Whether it bounds anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.corners.len() < 3 && !self.corners.iter().any(|(_, is_parallel)| *is_parallel)
    }

    /// The edges around.
    pub(crate) fn edges(&self) -> impl Iterator<Item = Edge> + '_ {
        let count = self.corners.len();
        (0..count).map(move |i| {
            let (from, is_parallel) = self.corners[i];
            let (to, _) = self.corners[(i + 1) % count];
            Edge {
                from,
                to,
                parallel: is_parallel.then_some(f64::midpoint(from[2], to[2])),
            }
        })
    }

    /// Whether every circle of an edge has all corners on one side.
    pub(crate) fn is_convex(&self) -> bool {
        self.edges().all(|edge| {
            let circle = edge.circle();
            let side = |corner: &Point| dot(corner, &circle.normal) - circle.offset;
            self.corners()
                .all(|corner| side(corner) > -CORNER_TOLERANCE)
        })
    }

    /// The corners.
    pub(crate) fn corners(&self) -> impl Iterator<Item = &Point> {
        self.corners.iter().map(|(corner, _)| corner)
    }
}

impl Edge {
    /// The circle it lies on, with the cell on the positive side.
    pub(crate) fn circle(&self) -> Circle {
        match self.parallel {
            Some(height) => {
                // Eastward edges have the cell to the north.
                let eastward = cross(&self.from, &self.to)[2] > 0.0;
                let sign = if eastward { 1.0 } else { -1.0 };
                Circle {
                    normal: [0.0, 0.0, sign],
                    offset: sign * height,
                }
            }
            None => Circle {
                normal: normalised(cross(&self.from, &self.to)),
                offset: 0.0,
            },
        }
    }

    /// What to add to the area of the polygon of great circles because this edge is part of a
    /// parallel: the sliver between the two.
    pub(crate) fn sliver(&self) -> f64 {
        let Some(height) = self.parallel else {
            return 0.0;
        };
        let turn = f64::atan2(
            cross(&self.from, &self.to)[2],
            self.from[0] * self.to[0] + self.from[1] * self.to[1],
        );
        // Seen from the nearer pole, so that the two areas to be subtracted are small.
        let pole = [0.0, 0.0, 1_f64.copysign(height)];
        let cap = turn * (1.0 - height.abs());
        let wedge = triangle(&pole, &self.from, &self.to).abs().copysign(turn);
        (cap - wedge) * pole[2]
    }
}

/// Whether each side of a cell runs along a meridian or a parallel, or ends at a pole.
fn is_rectangle(lons: &[f64], lats: &[f64]) -> bool {
    let count = lons.len().min(lats.len());
    (0..count).all(|i| {
        let next = (i + 1) % count;
        let turn = (lons[next] - lons[i]).rem_euclid(360.0);
        let is_meridian = turn.min(360.0 - turn) <= PARALLEL_TOLERANCE_DEGREES;
        let is_parallel = (lats[next] - lats[i]).abs() <= PARALLEL_TOLERANCE_DEGREES;
        let at_pole = lats[i].abs().max(lats[next].abs()) >= 90.0;
        is_meridian || is_parallel || at_pole
    })
}

/// The unit vector of a longitude and a latitude in degrees.
pub(crate) fn point(longitude: f64, latitude: f64) -> Point {
    let (sin_lon, cos_lon) = longitude.to_radians().sin_cos();
    let (sin_lat, cos_lat) = latitude.to_radians().sin_cos();
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

pub(crate) fn dot(p: &Point, q: &Point) -> f64 {
    p[0] * q[0] + p[1] * q[1] + p[2] * q[2]
}

pub(crate) fn cross(p: &Point, q: &Point) -> Point {
    [
        p[1] * q[2] - p[2] * q[1],
        p[2] * q[0] - p[0] * q[2],
        p[0] * q[1] - p[1] * q[0],
    ]
}

pub(crate) fn normalised(p: Point) -> Point {
    let length = dot(&p, &p).sqrt();
    if length > 0.0 {
        p.map(|x| x / length)
    } else {
        p
    }
}

/// The square of the straight distance.
pub(crate) fn distance_squared(p: &Point, q: &Point) -> f64 {
    let d = [p[0] - q[0], p[1] - q[1], p[2] - q[2]];
    dot(&d, &d)
}

fn is_same(p: &Point, q: &Point) -> bool {
    distance_squared(p, q) < CORNER_TOLERANCE * CORNER_TOLERANCE
}

/// The area of a polygon of great circles, positive if it runs counterclockwise: the sum of
/// triangles that share its first corner.
pub(crate) fn polygon(corners: &[Point]) -> f64 {
    let Some((a, rest)) = corners.split_first() else {
        return 0.0;
    };
    rest.windows(2)
        .map(|pair| triangle(a, &pair[0], &pair[1]))
        .sum()
}

/// The spherical excess, positive if the corners run counterclockwise.
///
/// Source: Van Oosterom and Strackee (1983).
pub(crate) fn triangle(a: &Point, b: &Point, c: &Point) -> f64 {
    let volume = dot(a, &cross(b, c));
    2.0 * volume.atan2(1.0 + dot(a, b) + dot(b, c) + dot(c, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_octant_is_an_eighth_of_the_sphere() {
        let corners = [point(0.0, 0.0), point(90.0, 0.0), point(0.0, 90.0)];
        let area = polygon(&corners);
        assert!((area - std::f64::consts::FRAC_PI_2).abs() < 1e-14, "{area}");
    }

    #[test]
    fn only_rectangles_have_parallels() {
        let parallels = |lons: &[f64], lats: &[f64]| {
            let outline = Outline::of_corners(lons, lats);
            outline
                .edges()
                .filter(|edge| edge.parallel.is_some())
                .count()
        };
        assert_eq!(
            parallels(&[0.0, 10.0, 10.0, 0.0], &[20.0, 20.0, 30.0, 30.0]),
            2
        );
        assert_eq!(
            parallels(&[355.0, 5.0, 365.0, -5.0], &[20.0, 20.0, 30.0, 30.0]),
            2
        );
        assert_eq!(parallels(&[0.0, 10.0, 5.0], &[80.0, 80.0, 90.0]), 1);
        assert_eq!(parallels(&[0.0, 10.0, 5.0], &[20.0, 20.0, 30.0]), 0);
        assert_eq!(
            parallels(&[0.0, 10.0, 9.0, 1.0], &[20.0, 20.0, 30.0, 30.0]),
            0
        );
    }

    #[test]
    fn slivers_make_bands_of_polygons() {
        for (south, north) in [(10.0, 20.0), (-80.0, -75.0), (-5.0, 5.0), (60.0, 90.0)] {
            for lons in [[0.0, 10.0, 10.0, 0.0], [10.0, 0.0, 0.0, 10.0]] {
                let outline = Outline::new(&lons, &[south, south, north, north]);
                let corners: Vec<Point> = outline.corners().copied().collect();
                let slivers: f64 = outline.edges().map(|edge| edge.sliver()).sum();
                let height = f64::to_radians(north).sin() - f64::to_radians(south).sin();
                let expected = 10_f64.to_radians() * height;
                let area = polygon(&corners) + slivers;
                assert!(
                    (area / expected - 1.0).abs() < 1e-12,
                    "{south}: {area} {expected}"
                );
            }
        }
    }
}
