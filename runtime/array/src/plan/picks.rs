//! Indices taken along one dimension.

use std::ops::Range;

/// Indices of a source, as runs in the order of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picks {
    runs: Vec<Range<usize>>,
    len: usize,
}

/// A run of indices and where it lies in what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) source: Range<usize>,
    pub(crate) offset: usize,
}

impl Picks {
    /// All of a dimension.
    pub(crate) fn all(len: usize) -> Self {
        Self::from_runs(vec![0..len])
    }

    /// Each index in turn; adjacent ones are joined.
    pub(crate) fn from_indices(indices: impl IntoIterator<Item = usize>) -> Self {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for index in indices {
            match runs.last_mut() {
                Some(run) if run.end == index => run.end += 1,
                _ => runs.push(index..index + 1),
            }
        }
        Self::from_runs(runs)
    }

    fn from_runs(runs: Vec<Range<usize>>) -> Self {
        let len = runs.iter().map(Range::len).sum();
        Self { runs, len }
    }

    /// How many indices are taken.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether this takes all of a dimension of this length, in order.
    pub(crate) fn is_all(&self, len: usize) -> bool {
        self.len == len && self.runs.iter().all(|run| *run == (0..len))
    }

    /// The taken indices in order.
    pub(crate) fn indices(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().cloned().flatten()
    }

    /// What `outer` takes of what this takes.
    pub(crate) fn compose(&self, outer: &Self) -> Self {
        let runs = outer
            .runs
            .iter()
            .flat_map(|run| self.pieces(run))
            .map(|piece| piece.source);
        Self::from_runs(runs.collect())
    }

    /// The runs of source indices behind a range of the result.
    pub(crate) fn pieces(&self, range: &Range<usize>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for run in &self.runs {
            let (low, high) = (range.start.max(start), range.end.min(start + run.len()));
            if low < high {
                let source = run.start + (low - start)..run.start + (high - start);
                pieces.push(Piece {
                    source,
                    offset: low - range.start,
                });
            }
            start += run.len();
        }
        pieces
    }

    /// Where the result is cut if the source is cut at `cuts` (ascending): there, and between
    /// runs.
    pub(crate) fn cuts(&self, cuts: &[usize]) -> Vec<usize> {
        let mut result = vec![0];
        let mut start = 0;
        for run in &self.runs {
            let inside = cuts.iter().filter(|&&cut| run.start < cut && cut < run.end);
            result.extend(inside.map(|cut| start + cut - run.start));
            start += run.len();
            result.push(start);
        }
        result.dedup();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_the_result_is_found_in_the_source() {
        let picks = Picks::from_indices([8, 9, 0, 1, 2]);
        assert_eq!(picks.len(), 5);
        let pieces = picks.pieces(&(1..4));
        assert_eq!(
            pieces,
            [
                Piece {
                    source: 9..10,
                    offset: 0
                },
                Piece {
                    source: 0..2,
                    offset: 1
                }
            ]
        );
        assert_eq!(picks.cuts(&[0, 4, 9, 10]), [0, 1, 2, 5]);
        assert!(Picks::from_indices(0..4).is_all(4));
        assert!(!Picks::from_indices(0..4).is_all(5));
    }

    proptest::proptest! {
        #[test]
        fn composing_is_taking_from_what_was_taken(
            inner in proptest::collection::vec(0_usize..50, 1..20),
            outer in proptest::collection::vec(0_usize..1000, 0..20),
        ) {
            let outer: Vec<usize> = outer.into_iter().map(|index| index % inner.len()).collect();
            let expected: Vec<usize> = outer.iter().map(|&index| inner[index]).collect();
            let composed =
                Picks::from_indices(inner).compose(&Picks::from_indices(outer));
            proptest::prop_assert_eq!(composed.indices().collect::<Vec<_>>(), expected);
        }
    }
}
