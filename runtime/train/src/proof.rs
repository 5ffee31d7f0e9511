//! The sync proof: do all ranks hold the same parameters, bit by bit?
//!
//! Every tensor is hashed, and the hashes of all are hashed to one digest, which the ranks
//! compare. Only if that differs do they exchange the hashes, to name tensor and ranks.

use xxhash_rust::xxh3::xxh3_64;

use crate::world::{World, name_ranks};
use crate::{Layout, Result, TrainError};

/// The hashes of the tensors of a flat array.
pub(crate) struct Digests {
    tensors: Vec<u64>,
    whole: u64,
}

impl Digests {
    pub(crate) fn of(layout: &Layout, parameters: &[f32]) -> Self {
        let hash = |range: std::ops::Range<usize>| {
            xxh3_64(bytemuck::cast_slice::<f32, u8>(&parameters[range]))
        };
        let tensors: Vec<u64> = layout
            .tensors()
            .iter()
            .map(|tensor| hash(tensor.range()))
            .collect();
        let whole = xxh3_64(bytemuck::cast_slice::<u64, u8>(&tensors));
        Self { tensors, whole }
    }

    /// For people and files.
    pub(crate) fn name(&self) -> String {
        format!("xxh3:{:016x}", self.whole)
    }

    /// Compares them over all ranks.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], the same on all ranks.
    pub(crate) fn compare(&self, world: &World, layout: &Layout) -> Result<()> {
        let all = world.exchange_words(&[self.whole])?;
        if all.iter().all(|words| words == &all[0]) {
            return Ok(());
        }
        let all = world.exchange_words(&self.tensors)?;
        let differs = |tensor: &usize| all.iter().any(|words| words[*tensor] != all[0][*tensor]);
        let differing: Vec<usize> = (0..self.tensors.len()).filter(differs).collect();
        let (tensor, ranks) = match differing.first() {
            Some(tensor) => {
                let hashes: Vec<u64> = all.iter().map(|words| words[*tensor]).collect();
                (layout.tensors()[*tensor].name.clone(), minority(&hashes))
            }
            None => ("the digest itself".to_owned(), vec![]),
        };
        Err(TrainError::Diverged {
            step: world.step.get(),
            tensor,
            ranks: name_ranks(&ranks),
            others: differing.len().saturating_sub(1),
        })
    }
}

/// The ranks whose hash is not that of most; where two are as many, not the one of the lower
/// rank.
fn minority(hashes: &[u64]) -> Vec<usize> {
    let count = |hash: u64| hashes.iter().filter(|other| **other == hash).count();
    let mut common = hashes[0];
    for hash in hashes {
        if count(*hash) > count(common) {
            common = *hash;
        }
    }
    (0..hashes.len())
        .filter(|rank| hashes[*rank] != common)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_differ_from_most_are_named() {
        assert_eq!(minority(&[5, 5, 7, 5]), [2]);
        assert_eq!(minority(&[7, 5, 5]), [0]);
        assert_eq!(minority(&[5, 7]), [1]);
        assert_eq!(minority(&[1, 2, 3]), [1, 2]);
    }

    #[test]
    fn one_bit_changes_the_digest_and_nothing_else_does() {
        let layout = Layout::new([("a".to_owned(), vec![3]), ("b".to_owned(), vec![2])]);
        let parameters = [0.0_f32, 1.0, 2.0, 3.0, 4.0];
        let digests = Digests::of(&layout, &parameters);
        assert_eq!(digests.name(), Digests::of(&layout, &parameters).name());
        for place in 0..5 {
            let mut other = parameters;
            other[place] = f32::from_bits(other[place].to_bits() ^ 1);
            assert_ne!(digests.name(), Digests::of(&layout, &other).name());
        }
        let mut other = parameters;
        other[0] = -0.0;
        assert_ne!(digests.name(), Digests::of(&layout, &other).name());
    }
}
