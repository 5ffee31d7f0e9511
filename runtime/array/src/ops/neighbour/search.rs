//! The nearest of many points on the sphere, by a balanced tree.

/// On the unit sphere.
pub(super) type Point = [f64; 3];

/// Squared distances are compared in steps of this, so that neighbours to the east and west are
/// equally near whatever rounding says: 1.5 m on the Earth at distance 0.
const SQUARED_STEP: f64 = 1.0 / (1_u64 << 44) as f64;

/// Some of a list of points, halved at the median of one axis after the other.
pub(super) struct Tree<'a> {
    points: &'a [Point],
    /// Indices of points: the middle of each part divides it.
    order: Vec<usize>,
}

/// The nearest so far, the best first.
struct Best {
    /// Squared distance in steps, and index.
    found: Vec<(u64, usize)>,
    count: usize,
}

impl Best {
    fn offer(&mut self, squared: f64, index: usize) {
        let candidate = (steps(squared), index);
        if self.found.len() == self.count {
            if self.found.last().is_some_and(|worst| *worst <= candidate) {
                return;
            }
            self.found.pop();
        }
        let place = self.found.partition_point(|known| *known < candidate);
        self.found.insert(place, candidate);
    }

    /// Whether a point so far away could be one of them.
    fn reaches(&self, squared: f64) -> bool {
        let worst = self.found.last();
        self.found.len() < self.count || worst.is_some_and(|(worst, _)| steps(squared) <= *worst)
    }
}

fn steps(squared: f64) -> u64 {
    (squared / SQUARED_STEP).round() as u64
}

impl<'a> Tree<'a> {
    /// Of those points for whose index `takes` holds.
    pub(super) fn new(points: &'a [Point], takes: impl Fn(usize) -> bool) -> Self {
        let known = |index: &usize| takes(*index) && points[*index].iter().all(|x| x.is_finite());
        let mut order: Vec<usize> = (0..points.len()).filter(known).collect();
        divide(points, &mut order, 0);
        Self { points, order }
    }

    /// Up to `count` nearest points with their distances along the chord, the nearest first.
    pub(super) fn nearest(&self, to: &Point, count: usize) -> Vec<(f64, usize)> {
        let mut best = Best {
            found: Vec::with_capacity(count + 1),
            count,
        };
        if to.iter().all(|x| x.is_finite()) && count > 0 {
            self.visit(&self.order, 0, to, &mut best);
        }
        let distance = |index: usize| squared_distance(&self.points[index], to).sqrt();
        let found = best.found.into_iter();
        found.map(|(_, index)| (distance(index), index)).collect()
    }

    fn visit(&self, part: &[usize], axis: usize, to: &Point, best: &mut Best) {
        let Some((low, index, high)) = split(part) else {
            return;
        };
        let point = &self.points[index];
        best.offer(squared_distance(point, to), index);
        let beyond = to[axis] - point[axis];
        let (near, far) = if beyond < 0.0 {
            (low, high)
        } else {
            (high, low)
        };
        let next = (axis + 1) % 3;
        self.visit(near, next, to, best);
        if best.reaches(beyond * beyond) {
            self.visit(far, next, to, best);
        }
    }
}

fn split(part: &[usize]) -> Option<(&[usize], usize, &[usize])> {
    let middle = part.len() / 2;
    let (low, rest) = part.split_at(middle);
    let (index, high) = rest.split_first()?;
    Some((low, *index, high))
}

fn divide(points: &[Point], part: &mut [usize], axis: usize) {
    if part.len() < 2 {
        return;
    }
    let middle = part.len() / 2;
    let by_axis = |a: &usize, b: &usize| points[*a][axis].total_cmp(&points[*b][axis]);
    part.select_nth_unstable_by(middle, by_axis);
    let (low, high) = part.split_at_mut(middle);
    divide(points, low, (axis + 1) % 3);
    divide(points, &mut high[1..], (axis + 1) % 3);
}

fn squared_distance(a: &Point, b: &Point) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The place of a longitude and latitude in degrees.
pub(super) fn point(longitude: f64, latitude: f64) -> Point {
    let (sin_lon, cos_lon) = longitude.to_radians().sin_cos();
    let (sin_lat, cos_lat) = latitude.to_radians().sin_cos();
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_tree_finds_what_a_look_at_all_finds(
            places in proptest::collection::vec((0_i32..24, -6_i32..7), 0..60),
            to in (0_i32..24, -6_i32..7),
            count in 0_usize..6,
        ) {
            let of = |(lon, lat): (i32, i32)| point(f64::from(lon) * 15.0, f64::from(lat) * 15.0);
            let points: Vec<Point> = places.into_iter().map(of).collect();
            let to = of(to);
            let takes = |index: usize| index % 3 != 1;
            let mut all: Vec<(u64, usize)> = (0..points.len())
                .filter(|&index| takes(index))
                .map(|index| (steps(squared_distance(&points[index], &to)), index))
                .collect();
            all.sort_unstable();
            all.truncate(count);
            let expected: Vec<usize> = all.into_iter().map(|(_, index)| index).collect();
            let found = Tree::new(&points, takes).nearest(&to, count);
            let found: Vec<usize> = found.into_iter().map(|(_, index)| index).collect();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
