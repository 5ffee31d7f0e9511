//! A tree of boxes around points or cells, to find those near a place.
//!
//! Built by halving along the longest side, which needs no random numbers and no threads, so a
//! search visits in the same order always.

use crate::grid::sphere::Point;

/// Items of a leaf.
const LEAF_LEN_MAX: usize = 8;

/// A box along the axes of space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    low: Point,
    high: Point,
}

impl Bounds {
    pub(super) const NOTHING: Self = Self {
        low: [f64::INFINITY; 3],
        high: [f64::NEG_INFINITY; 3],
    };

    pub(super) fn of_point(point: &Point) -> Self {
        Self {
            low: *point,
            high: *point,
        }
    }

    pub(super) fn join(&mut self, other: &Self) {
        for axis in 0..3 {
            self.low[axis] = self.low[axis].min(other.low[axis]);
            self.high[axis] = self.high[axis].max(other.high[axis]);
        }
    }

    /// The same with this much more on every side.
    pub(super) fn grown(mut self, by: f64) -> Self {
        for axis in 0..3 {
            self.low[axis] -= by;
            self.high[axis] += by;
        }
        self
    }

    fn centre(&self, axis: usize) -> f64 {
        f64::midpoint(self.low[axis], self.high[axis])
    }

    fn overlaps(&self, other: &Self) -> bool {
        (0..3).all(|axis| self.low[axis] <= other.high[axis] && other.low[axis] <= self.high[axis])
    }

    /// The square of the distance to the nearest point of the box.
    fn distance_squared(&self, point: &Point) -> f64 {
        let outside = |axis: usize| {
            let below = self.low[axis] - point[axis];
            below.max(point[axis] - self.high[axis]).max(0.0)
        };
        (0..3).map(|axis| outside(axis) * outside(axis)).sum()
    }
}

/// Either a leaf or two halves.
struct Node {
    bounds: Bounds,
    /// The items of a leaf, in `order`; empty for halves.
    items: std::ops::Range<usize>,
    /// The second half; the first follows the node.
    second: usize,
}

/// The tree.
pub(super) struct Tree {
    bounds: Vec<Bounds>,
    order: Vec<u32>,
    nodes: Vec<Node>,
}

impl Tree {
    /// A tree of these boxes; at most `u32::MAX`.
    pub(super) fn new(bounds: Vec<Bounds>) -> Self {
        let mut order: Vec<u32> = (0..bounds.len() as u32).collect();
        let mut nodes = Vec::with_capacity(2 * bounds.len() / LEAF_LEN_MAX + 1);
        let len = order.len();
        build(&bounds, &mut order, 0..len, &mut nodes);
        Self {
            bounds,
            order,
            nodes,
        }
    }

    /// Calls `visit` with every item whose box overlaps `bounds`.
    pub(super) fn overlapping(&self, bounds: &Bounds, mut visit: impl FnMut(u32)) {
        let mut stack = vec![0];
        while let Some(index) = stack.pop() {
            let node = &self.nodes[index];
            if !node.bounds.overlaps(bounds) {
                continue;
            }
            if node.items.is_empty() {
                stack.push(node.second);
                stack.push(index + 1);
            }
            for &item in &self.order[node.items.clone()] {
                if self.bounds[item as usize].overlaps(bounds) {
                    visit(item);
                }
            }
        }
    }

    /// The `count` nearest items and the squares of their distances, nearest first. Of items at
    /// the same distance but for rounding, the first counts as nearer.
    pub(super) fn nearest(&self, point: &Point, count: usize) -> Vec<(u32, f64)> {
        let mut found: Vec<(u32, f64)> = Vec::with_capacity(count + 1);
        let mut stack = vec![(0, 0.0)];
        while let Some((index, distance)) = stack.pop() {
            if is_beyond(&found, count, distance) {
                continue;
            }
            let node = &self.nodes[index];
            for &item in &self.order[node.items.clone()] {
                let distance = self.bounds[item as usize].distance_squared(point);
                if !is_beyond(&found, count, distance) {
                    insert(&mut found, count, (item, distance));
                }
            }
            if node.items.is_empty() {
                let child = |index: usize| {
                    let bounds = &self.nodes[index].bounds;
                    (index, bounds.distance_squared(point))
                };
                let (first, second) = (child(index + 1), child(node.second));
                let nearer_last = match first.1 <= second.1 {
                    true => [second, first],
                    false => [first, second],
                };
                stack.extend(nearer_last);
            }
        }
        found
    }
}

/// Squares of distances that differ by less are those of ties.
fn tolerance(distance: f64) -> f64 {
    1e-12 * distance + 1e-30
}

fn is_beyond(found: &[(u32, f64)], count: usize, distance: f64) -> bool {
    found.len() == count
        && found
            .last()
            .is_some_and(|&(_, last)| distance > last + tolerance(last))
}

fn insert(found: &mut Vec<(u32, f64)>, count: usize, new: (u32, f64)) {
    let is_before = |&(item, distance): &(u32, f64)| {
        let difference = distance - new.1;
        if difference.abs() <= tolerance(distance) {
            item < new.0
        } else {
            difference < 0.0
        }
    };
    let place = found.iter().position(|known| !is_before(known));
    found.insert(place.unwrap_or(found.len()), new);
    found.truncate(count);
}

fn build(
    bounds: &[Bounds],
    order: &mut [u32],
    range: std::ops::Range<usize>,
    nodes: &mut Vec<Node>,
) {
    let items = &mut order[range.clone()];
    let mut whole = Bounds::NOTHING;
    let mut centres = Bounds::NOTHING;
    for &item in items.iter() {
        let own = &bounds[item as usize];
        whole.join(own);
        centres.join(&Bounds::of_point(&[
            own.centre(0),
            own.centre(1),
            own.centre(2),
        ]));
    }
    let index = nodes.len();
    nodes.push(Node {
        bounds: whole,
        items: 0..0,
        second: 0,
    });
    if items.len() <= LEAF_LEN_MAX {
        nodes[index].items = range;
        return;
    }
    let width = |axis: &usize| centres.high[*axis] - centres.low[*axis];
    let axis = (1..3).fold(0, |best, axis| match width(&axis) > width(&best) {
        true => axis,
        false => best,
    });
    let middle = items.len() / 2;
    items.select_nth_unstable_by(middle, |&a, &b| {
        let centre = |item: u32| bounds[item as usize].centre(axis);
        centre(a).total_cmp(&centre(b)).then(a.cmp(&b))
    });
    let middle = range.start + middle;
    build(bounds, order, range.start..middle, nodes);
    nodes[index].second = nodes.len();
    build(bounds, order, middle..range.end, nodes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::sphere::{distance_squared, point};

    proptest::proptest! {
        #[test]
        fn the_nearest_are_found(
            places in proptest::collection::vec((-180.0..180.0, -90.0..90.0), 1..200),
            place in (-180.0..180.0, -90.0..90.0),
            count in 1_usize..6,
        ) {
            let points: Vec<Point> = places.iter().map(|&(lon, lat)| point(lon, lat)).collect();
            let here = point(place.0, place.1);
            let tree = Tree::new(points.iter().map(Bounds::of_point).collect());
            let mut all: Vec<f64> = points.iter().map(|p| distance_squared(p, &here)).collect();
            all.sort_by(f64::total_cmp);
            all.truncate(count);
            let found: Vec<f64> = tree.nearest(&here, count).iter().map(|n| n.1).collect();
            proptest::prop_assert_eq!(found.len(), all.len());
            for (a, b) in found.iter().zip(&all) {
                proptest::prop_assert!((a - b).abs() < 1e-12);
            }
        }
    }
}
