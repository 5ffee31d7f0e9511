//! Merging of partial results in an order that no schedule can change.
//!
//! The partials of `count` leaves form a binary tree over the leaves' indices: node `i` of
//! level `k` covers the leaves from `i << k` on, and two neighbours merge, left first, as soon
//! as both are there. Who computed which leaf, and when, does not matter.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A node's place: its level and its index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) level: u32,
    pub(crate) index: usize,
}

impl Place {
    /// The place of a leaf.
    pub(crate) fn leaf(index: usize) -> Self {
        Self { level: 0, index }
    }

    fn parent(self) -> Self {
        Self {
            level: self.level + 1,
            index: self.index / 2,
        }
    }

    /// The first leaf below.
    fn start(self) -> usize {
        self.index << self.level
    }
}

/// What can be merged with what follows it.
pub(crate) trait Merge {
    /// Adds `right`, which covers later leaves.
    fn merge(&mut self, right: Self);
}

/// Nodes that wait for their neighbours.
#[derive(Debug)]
pub(crate) struct Tree<T> {
    count: usize,
    waiting: Mutex<HashMap<Place, T>>,
}

impl<T: Merge> Tree<T> {
    /// A tree over so many leaves.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            count,
            waiting: Mutex::new(HashMap::new()),
        }
    }

    /// Adds a node and merges what can be merged. May be called from many threads.
    pub(crate) fn insert(&self, mut place: Place, mut node: T) {
        loop {
            let is_root = place.index == 0 && (1 << place.level) >= self.count;
            let sibling = Place {
                index: place.index ^ 1,
                ..place
            };
            if !is_root && sibling.start() >= self.count {
                // Nothing will ever come to the right of it.
                place = place.parent();
                continue;
            }
            let found = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let found = if is_root {
                    None
                } else {
                    waiting.remove(&sibling)
                };
                match found {
                    Some(found) => found,
                    None => {
                        waiting.insert(place, node);
                        return;
                    }
                }
            };
            // Merging is long: others may insert meanwhile.
            if place.index.is_multiple_of(2) {
                node.merge(found);
            } else {
                let right = std::mem::replace(&mut node, found);
                node.merge(right);
            }
            place = place.parent();
        }
    }

    /// What is left, by place: the root alone if all leaves came.
    pub(crate) fn into_nodes(self) -> Vec<(Place, T)> {
        let waiting = self
            .waiting
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut nodes: Vec<(Place, T)> = waiting.into_iter().collect();
        nodes.sort_by_key(|(place, _)| *place);
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of merges, spelled out.
    impl Merge for String {
        fn merge(&mut self, right: Self) {
            *self = format!("({self}{right})");
        }
    }

    fn merged(count: usize, order: impl IntoIterator<Item = usize>) -> Vec<(Place, String)> {
        let tree = Tree::new(count);
        order
            .into_iter()
            .for_each(|leaf| tree.insert(Place::leaf(leaf), format!("{leaf}")));
        tree.into_nodes()
    }

    #[test]
    fn the_tree_is_fixed_by_the_count() {
        for (count, expected) in [
            (1, "0"),
            (2, "(01)"),
            (3, "((01)2)"),
            (5, "(((01)(23))4)"),
            (7, "(((01)(23))((45)6))"),
        ] {
            let nodes = merged(count, 0..count);
            assert_eq!(nodes.len(), 1, "{count}");
            assert_eq!(nodes[0].1, expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn neither_order_nor_ranks_change_the_result(
            (count, order) in (1_usize..40).prop_flat_map(|count| {
                (Just(count), Just((0..count).collect::<Vec<_>>()).prop_shuffle())
            }),
            cut in 0_usize..40,
        ) {
            let expected = merged(count, 0..count);
            let cut = cut.min(count);
            let both = Tree::new(count);
            for part in [&order[..cut], &order[cut..]] {
                for (place, node) in merged(count, part.iter().copied()) {
                    both.insert(place, node);
                }
            }
            proptest::prop_assert_eq!(both.into_nodes(), expected);
        }
    }
    use proptest::strategy::{Just, Strategy as _};
}
