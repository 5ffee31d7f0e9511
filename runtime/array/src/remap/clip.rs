//! The area that two cells on the sphere have in common.
//!
//! One cell is clipped by the circles of the other's edges, one after the other. Sides of
//! either may be great circles or parallels; areas of what is left follow from its edges
//! alone, with signs, so pieces that the clipping joins by a seam do no harm.

use crate::grid::sphere::{self, Circle, Edge, Outline, Point, cross, dot};

/// A clipped edge or area this small is rounding.
const ROUNDING: f64 = 1e-15;

/// The square of half the chord (in radians) between two crossings that count as one touch:
/// what lies between them is nothing.
const TOUCHING: f64 = 1e-12;

/// An edge (in radians) that is shorter has no direction.
const SHORT: f64 = 1e-13;

/// The area that `subject` has in common with `clip` on the unit sphere.
pub(super) fn overlap(subject: &Outline, clip: &Outline) -> f64 {
    if clip.is_convex() {
        // Parallels last: by then no pole is left inside of what they clip, around which one
        // could lie without crossing an edge.
        let some = |parallels: bool| {
            let edges = clip.edges();
            edges.filter(move |edge| edge.parallel.is_some() == parallels)
        };
        let edges = some(false).chain(some(true));
        return area_inside(subject, edges.map(|edge| edge.circle()));
    }
    // Triangles that share a corner, those outside with a minus, make up any polygon. Only
    // cells of curved grids come here: their edges are great circles.
    let corners: Vec<Point> = clip.corners().copied().collect();
    let Some((first, rest)) = corners.split_first() else {
        return 0.0;
    };
    rest.windows(2)
        .map(|pair| {
            let sign = dot(first, &cross(&pair[0], &pair[1])).signum();
            let turned = match sign < 0.0 {
                true => [*first, pair[1], pair[0]],
                false => [*first, pair[0], pair[1]],
            };
            let circle = |i: usize| Circle {
                normal: sphere::normalised(cross(&turned[i], &turned[(i + 1) % 3])),
                offset: 0.0,
            };
            sign * area_inside(subject, (0..3).map(circle))
        })
        .sum()
}

/// The area of a cell.
pub(super) fn area(outline: &Outline) -> f64 {
    area_of(&outline.edges().collect::<Vec<_>>())
}

fn area_inside(subject: &Outline, circles: impl Iterator<Item = Circle>) -> f64 {
    let mut edges: Vec<Edge> = subject.edges().collect();
    let mut kept = Vec::with_capacity(edges.len() + 4);
    for circle in circles {
        kept.clear();
        clip_by(&edges, &circle, &mut kept);
        if kept.len() < 2 {
            return 0.0;
        }
        std::mem::swap(&mut edges, &mut kept);
    }
    area_of(&edges)
}

fn area_of(edges: &[Edge]) -> f64 {
    let corners: Vec<Point> = edges.iter().map(|edge| edge.from).collect();
    let slivers: f64 = edges.iter().map(|edge| edge.sliver()).sum();
    let area = sphere::polygon(&corners) + slivers;
    if area > ROUNDING { area } else { 0.0 }
}

/// What of a closed line lies on the positive side of a circle; gaps are closed along it.
fn clip_by(edges: &[Edge], circle: &Circle, kept: &mut Vec<Edge>) {
    for edge in edges {
        let mut from = edge.from;
        for cut in crossings(edge, circle)
            .into_iter()
            .flatten()
            .chain([edge.to])
        {
            let piece = Edge {
                from,
                to: cut,
                ..*edge
            };
            if is_inside(&piece, circle) {
                join(kept, &piece.from, circle);
                kept.push(piece);
            }
            from = cut;
        }
    }
    if let Some(first) = kept.first().map(|edge| edge.from) {
        join(kept, &first, circle);
    }
}

/// Adds an edge along the circle from the end of what is kept to `to`.
fn join(kept: &mut Vec<Edge>, to: &Point, circle: &Circle) {
    let Some(last) = kept.last() else {
        return;
    };
    if sphere::distance_squared(&last.to, to) > ROUNDING * ROUNDING {
        let height = circle.offset / circle.normal[2];
        kept.push(Edge {
            from: last.to,
            to: *to,
            parallel: (circle.offset != 0.0).then_some(height),
        });
    }
}

/// Positive inside.
fn side(point: &Point, circle: &Circle) -> f64 {
    dot(point, &circle.normal) - circle.offset
}

/// Whether an edge that does not cross the circle, but may touch it, is on the positive side.
fn is_inside(edge: &Edge, circle: &Circle) -> bool {
    let sides = [edge.from, middle(edge), edge.to].map(|point| side(&point, circle));
    let farthest = sides.into_iter().max_by(|a, b| a.abs().total_cmp(&b.abs()));
    farthest.is_some_and(|side| side > 0.0)
}

/// The middle of an edge.
fn middle(edge: &Edge) -> Point {
    let sum = [0, 1, 2].map(|axis| edge.from[axis] + edge.to[axis]);
    match edge.parallel {
        None => sphere::normalised(sum),
        Some(height) => on_parallel([sum[0], sum[1]], height),
    }
}

/// The point of a parallel in a horizontal direction.
fn on_parallel(direction: [f64; 2], height: f64) -> Point {
    let length = direction[0].hypot(direction[1]);
    let radius = (1.0 - height * height).max(0.0).sqrt() / length.max(f64::MIN_POSITIVE);
    [direction[0] * radius, direction[1] * radius, height]
}

/// Where an edge crosses a circle, in its order: nowhere, once or twice.
fn crossings(edge: &Edge, circle: &Circle) -> [Option<Point>; 2] {
    let (start, end) = (side(&edge.from, circle), side(&edge.to, circle));
    let both_flat = edge.parallel.is_none() && circle.offset == 0.0;
    if both_flat {
        // Two great circles: once if the ends are on both sides.
        if start * end >= 0.0 {
            return [None, None];
        }
        let at = [0, 1, 2].map(|axis| end * edge.from[axis] - start * edge.to[axis]);
        let at = at.map(|x| if end < 0.0 { -x } else { x });
        return [Some(sphere::normalised(at)), None];
    }
    // What is left of an edge may be too short to have a direction.
    if sphere::distance_squared(&edge.from, &edge.to) < SHORT * SHORT {
        return [None, None];
    }
    let own = edge.circle();
    let Some(points) = intersections(&own, circle) else {
        return [None, None];
    };
    let whole = share(edge, &edge.to);
    let mut found = points
        .map(|point| (share(edge, &point), point))
        .map(|(share, point)| (share > 0.0 && share < whole).then_some((share, point)));
    if let [Some(a), Some(b)] = &found
        && a.0 > b.0
    {
        found.swap(0, 1);
    }
    if found[0].is_none() {
        found.swap(0, 1);
    }
    found.map(|found| found.map(|(_, point)| point))
}

/// How far along an edge a point of its circle is, as an angle from 0 to a turn.
fn share(edge: &Edge, point: &Point) -> f64 {
    let normal = match edge.parallel {
        // Around the axis, in the direction of the edge.
        Some(_) => [0.0, 0.0, cross(&edge.from, &edge.to)[2].signum()],
        None => sphere::normalised(cross(&edge.from, &edge.to)),
    };
    let flat = |p: &Point| {
        let along = dot(p, &normal);
        [0, 1, 2].map(|axis| p[axis] - along * normal[axis])
    };
    let (from, to) = (flat(&edge.from), flat(point));
    let angle = f64::atan2(dot(&cross(&from, &to), &normal), dot(&from, &to));
    angle.rem_euclid(std::f64::consts::TAU)
}

/// The points of two circles, if they cross.
fn intersections(p: &Circle, q: &Circle) -> Option<[Point; 2]> {
    let axis = cross(&p.normal, &q.normal);
    let square = dot(&axis, &axis);
    if square < ROUNDING * ROUNDING {
        return None;
    }
    // The point of both planes nearest to the middle of the sphere.
    let cosine = dot(&p.normal, &q.normal);
    let (a, b) = (
        (p.offset - q.offset * cosine) / square,
        (q.offset - p.offset * cosine) / square,
    );
    let base = [0, 1, 2].map(|k| a * p.normal[k] + b * q.normal[k]);
    let rest = 1.0 - dot(&base, &base);
    if rest <= TOUCHING {
        return None;
    }
    let length = (rest / square).sqrt();
    let at = |sign: f64| [0, 1, 2].map(|k| base[k] + sign * length * axis[k]);
    Some([at(1.0), at(-1.0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rectangle(west: f64, east: f64, south: f64, north: f64) -> Outline {
        Outline::new(&[west, east, east, west], &[south, south, north, north])
    }

    fn band(west: f64, east: f64, south: f64, north: f64) -> f64 {
        (east - west).to_radians() * (north.to_radians().sin() - south.to_radians().sin())
    }

    #[test]
    fn rectangles_share_rectangles() {
        let a = rectangle(0.0, 20.0, 50.0, 70.0);
        for (other, shared) in [
            ([10.0, 30.0, 60.0, 80.0], [10.0, 20.0, 60.0, 70.0]),
            ([-5.0, 25.0, 55.0, 58.0], [0.0, 20.0, 55.0, 58.0]),
            ([5.0, 6.0, 40.0, 90.0], [5.0, 6.0, 50.0, 70.0]),
            ([0.0, 20.0, 50.0, 70.0], [0.0, 20.0, 50.0, 70.0]),
            ([-10.0, 40.0, -10.0, 80.0], [0.0, 20.0, 50.0, 70.0]),
        ] {
            let [w, e, s, n] = other;
            let b = rectangle(w, e, s, n);
            let [w, e, s, n] = shared;
            let expected = band(w, e, s, n);
            for area in [overlap(&a, &b), overlap(&b, &a)] {
                assert!(
                    (area / expected - 1.0).abs() < 1e-11,
                    "{other:?}: {area} {expected}"
                );
            }
        }
        assert_eq!(overlap(&a, &rectangle(30.0, 40.0, 50.0, 70.0)), 0.0);
        assert_eq!(overlap(&a, &rectangle(0.0, 20.0, 70.0, 80.0)), 0.0);
        assert_eq!(overlap(&a, &rectangle(180.0, 200.0, 50.0, 70.0)), 0.0);
    }

    #[test]
    fn a_great_circle_may_cross_a_parallel_twice() {
        // The chord from (0, 60) to (40, 60) bulges over 61 degrees north.
        let lens = Outline::new(&[0.0, 40.0, 20.0], &[60.0, 60.000_1, 50.0]);
        let whole = area(&lens);
        let low = overlap(&lens, &rectangle(-10.0, 50.0, 40.0, 61.0));
        let high = overlap(&lens, &rectangle(-10.0, 50.0, 61.0, 80.0));
        assert!(high > 0.0 && low < whole);
        assert!((low + high - whole).abs() < 1e-12, "{low} {high} {whole}");
    }

    #[test]
    fn concave_cells_are_clipped_right() {
        let arrow = Outline::new(&[0.0, 10.0, 0.0, 4.0], &[0.0, 5.0, 10.0, 5.0]);
        let whole = area(&arrow);
        let around = rectangle(-5.0, 15.0, -5.0, 15.0);
        assert!((overlap(&around, &arrow) - whole).abs() < 1e-12);
        assert!((overlap(&arrow, &around) - whole).abs() < 1e-12);
    }

    proptest::proptest! {
        #[test]
        fn halves_share_as_much_as_the_whole(
            west in -20.0..10.0_f64, south in -60.0..50.0_f64, turn in 0.0..std::f64::consts::TAU,
            offset in (-8.0..8.0, -8.0..8.0_f64), size in 5.0..20.0_f64,
        ) {
            let cell = rectangle(west, west + 10.0, south, south + 7.0);
            let middle = (west + 5.0 + offset.0, south + 3.5 + offset.1);
            let corner = |third: f64| {
                let (sin, cos) = (turn + third * std::f64::consts::TAU / 3.0).sin_cos();
                (middle.0 + size * cos, middle.1 + size * sin)
            };
            let [a, b, c] = [corner(0.0), corner(1.0), corner(2.0)];
            let outline = |corners: [(f64, f64); 3]| {
                Outline::new(&corners.map(|p| p.0), &corners.map(|p| p.1))
            };
            // A place on the great circle from a to b.
            let (p, q) = (sphere::point(a.0, a.1), sphere::point(b.0, b.1));
            let m = sphere::normalised([p[0] + q[0], p[1] + q[1], p[2] + q[2]]);
            let m = (m[1].atan2(m[0]).to_degrees(), m[2].asin().to_degrees());
            for swap in [false, true] {
                let share = |corners| match swap {
                    true => overlap(&outline(corners), &cell),
                    false => overlap(&cell, &outline(corners)),
                };
                let (whole, left, right) = (share([a, b, c]), share([a, m, c]), share([m, b, c]));
                proptest::prop_assert!(
                    (left + right - whole).abs() < 1e-12,
                    "{swap}: {left} {right} {whole}",
                );
            }
            let swapped = overlap(&outline([a, b, c]), &cell);
            let straight = overlap(&cell, &outline([a, b, c]));
            proptest::prop_assert!((swapped - straight).abs() < 1e-12, "{swapped} {straight}");
        }
    }
}
