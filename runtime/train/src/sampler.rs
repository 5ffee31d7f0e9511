//! Which samples are whose: shuffled by seed and epoch, cut into batches for all ranks together,
//! and only then among them, so that any number of ranks sees the same batches.

use std::ops::Range;

use crate::random::{Random, seed_of};

/// Tells the order of an epoch from the other things that a run draws.
const PURPOSE: u64 = 1;

/// The samples of every step.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    pub(crate) samples: usize,
    pub(crate) batch_size: usize,
    pub(crate) drop_last: bool,
    pub(crate) seed: u64,
    pub(crate) rank: usize,
    pub(crate) ranks: usize,
    pub(crate) pieces: usize,
}

impl Sampler {
    pub(crate) fn steps(&self) -> u64 {
        let steps = match self.drop_last {
            true => self.samples / self.batch_size,
            false => self.samples.div_ceil(self.batch_size),
        };
        steps as u64
    }

    /// How many samples a step has over all ranks.
    pub(crate) fn batch(&self, step: u64) -> usize {
        self.range(step).len()
    }

    /// What the caller computes in a step: so many pieces, of which some may be empty.
    pub(crate) fn pieces(&self, step: u64) -> Vec<Range<usize>> {
        let own = share(&self.range(step), self.rank, self.ranks);
        (0..self.pieces)
            .map(|piece| share(&own, piece, self.pieces))
            .collect()
    }

    fn range(&self, step: u64) -> Range<usize> {
        let start = step as usize * self.batch_size;
        start..(start + self.batch_size).min(self.samples)
    }

    /// All samples in the order of an epoch; what [`pieces`](Self::pieces) says are places in it.
    pub(crate) fn order(&self, epoch: u64) -> Vec<usize> {
        Random::new(seed_of(self.seed, &[PURPOSE, epoch])).permutation(self.samples)
    }
}

/// One of `parts` nearly equal parts; the first is empty only if all are.
pub(crate) fn share(range: &Range<usize>, part: usize, parts: usize) -> Range<usize> {
    let edge = |part: usize| range.start + (range.len() * part).div_ceil(parts);
    edge(part)..edge(part + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_rank(base: &Sampler, rank: usize, ranks: usize, pieces: usize) -> Sampler {
        Sampler {
            rank,
            ranks,
            pieces,
            ..base.clone()
        }
    }

    proptest! {
        #[test]
        fn every_sample_is_seen_once_by_whichever_ranks(
            samples in 1_usize..200, batch_size in 1_usize..40, seed: u64,
            ranks in 1_usize..6, pieces in 1_usize..4,
        ) {
            let base = Sampler {
                samples, batch_size, drop_last: false, seed, rank: 0, ranks: 1, pieces: 1,
            };
            let order = base.order(3);
            let mut seen = Vec::new();
            for step in 0..base.steps() {
                let whole = base.pieces(step).concat_ranges();
                let parted: Vec<usize> = (0..ranks)
                    .flat_map(|rank| of_rank(&base, rank, ranks, pieces).pieces(step).concat_ranges())
                    .collect();
                // The same batch in the same order, whoever computes it.
                prop_assert_eq!(&whole, &parted);
                prop_assert_eq!(whole.len(), base.batch(step));
                prop_assert!(!of_rank(&base, 0, ranks, pieces).pieces(step)[0].is_empty());
                seen.extend(parted.into_iter().map(|place| order[place]));
            }
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..samples));
        }
    }

    trait Concat {
        fn concat_ranges(self) -> Vec<usize>;
    }

    impl Concat for Vec<Range<usize>> {
        fn concat_ranges(self) -> Vec<usize> {
            self.into_iter().flatten().collect()
        }
    }

    #[test]
    fn epochs_and_seeds_have_orders_of_their_own() {
        let base = Sampler {
            samples: 50,
            batch_size: 8,
            drop_last: true,
            seed: 1,
            rank: 0,
            ranks: 1,
            pieces: 1,
        };
        assert_eq!(base.steps(), 6);
        assert_eq!(base.order(0), base.order(0));
        assert_ne!(base.order(0), base.order(1));
        let other = Sampler {
            seed: 2,
            ..base.clone()
        };
        assert_ne!(base.order(0), other.order(0));
    }
}
