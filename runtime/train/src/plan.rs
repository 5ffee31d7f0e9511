//! How the gradients of a phase travel: in buckets of tensors, each cut into a part for every
//! rank.

use std::ops::Range;

use crate::Layout;

/// Bytes of a number.
const NUMBER_BYTES: f64 = 4.0;

/// The buckets of a phase, in the order in which they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) buckets: Vec<Bucket>,
    /// The first tensor of the phase.
    first: usize,
    /// Of each of its tensors: its bucket, and its place there.
    places: Vec<(usize, usize)>,
}

/// Tensors that are sent together.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    /// In ascending order.
    pub(crate) tensors: Vec<Piece>,
    /// Numbers in it.
    pub(crate) len: usize,
    /// The length of a rank's part; all parts together may be longer than the bucket.
    pub(crate) part: usize,
}

/// A tensor in a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) tensor: usize,
    /// Where it is in the flat array.
    pub(crate) flat: Range<usize>,
    /// Where it begins in the bucket.
    pub(crate) at: usize,
}

/// Numbers that lie together both in a bucket and in the flat array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) bucket: usize,
    /// Where it begins in the bucket.
    pub(crate) at: usize,
    /// Where it is in the flat array.
    pub(crate) flat: Range<usize>,
    /// Where it begins among all segments of its list.
    pub(crate) local: usize,
}

impl Segment {
    pub(crate) fn len(&self) -> usize {
        self.flat.len()
    }

    /// Where it is in its bucket.
    pub(crate) fn in_bucket(&self) -> Range<usize> {
        self.at..self.at + self.len()
    }

    /// Where it is among all segments of its list.
    pub(crate) fn in_list(&self) -> Range<usize> {
        self.local..self.local + self.len()
    }
}

impl Bucket {
    /// With what fills the last part.
    pub(crate) fn padded(&self, ranks: usize) -> usize {
        self.part * ranks
    }
}

impl Plan {
    /// Fills buckets with the tensors of a phase in this order, the first up to `first_mb`, the
    /// others up to `bucket_mb`. A larger tensor has a bucket of its own.
    pub(crate) fn new(
        layout: &Layout,
        order: impl Iterator<Item = usize>,
        ranks: usize,
        first_mb: f64,
        bucket_mb: f64,
    ) -> Self {
        let tensors = layout.tensors();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut filled = 0;
        for tensor in order {
            let limit_mb = if groups.len() <= 1 {
                first_mb
            } else {
                bucket_mb
            };
            let limit = (limit_mb * 1e6 / NUMBER_BYTES) as usize;
            let len = tensors[tensor].len();
            match groups.last_mut() {
                Some(group) if filled + len <= limit => {
                    group.push(tensor);
                    filled += len;
                }
                _ => {
                    groups.push(vec![tensor]);
                    filled = len;
                }
            }
        }
        let bucket = |mut group: Vec<usize>| {
            group.sort_unstable();
            let mut len = 0;
            let tensors = group.into_iter().map(|tensor| {
                let flat = tensors[tensor].range();
                let at = len;
                len += flat.len();
                Piece { tensor, flat, at }
            });
            let tensors: Vec<_> = tensors.collect();
            let part = len.div_ceil(ranks);
            Bucket { tensors, len, part }
        };
        let buckets: Vec<Bucket> = groups.into_iter().map(bucket).collect();
        Self::of(buckets)
    }

    fn of(buckets: Vec<Bucket>) -> Self {
        let mut places = Vec::new();
        for (index, bucket) in buckets.iter().enumerate() {
            for (place, piece) in bucket.tensors.iter().enumerate() {
                places.push((piece.tensor, (index, place)));
            }
        }
        places.sort_unstable();
        Self {
            first: places.first().map_or(0, |(tensor, _)| *tensor),
            places: places.into_iter().map(|(_, place)| place).collect(),
            buckets,
        }
    }

    /// The first tensor of the phase.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// The bucket of a tensor and its piece there, if it is of this phase.
    pub(crate) fn place(&self, tensor: usize) -> Option<(usize, &Piece)> {
        let index = tensor.checked_sub(self.first)?;
        let (bucket, place) = *self.places.get(index)?;
        Some((bucket, &self.buckets[bucket].tensors[place]))
    }

    /// What is in a rank's parts of all buckets.
    pub(crate) fn segments(&self, rank: usize) -> Vec<Segment> {
        self.cut(|bucket| bucket.part * rank..bucket.part * (rank + 1))
    }

    /// All buckets.
    pub(crate) fn all(&self) -> Vec<Segment> {
        self.cut(|bucket| 0..bucket.len)
    }

    fn cut(&self, of: impl Fn(&Bucket) -> Range<usize>) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut local = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            let wanted = of(bucket);
            for piece in &bucket.tensors {
                let from = piece.at.max(wanted.start);
                let to = (piece.at + piece.flat.len()).min(wanted.end);
                if from >= to {
                    continue;
                }
                let start = piece.flat.start + (from - piece.at);
                let flat = start..start + (to - from);
                local += flat.len();
                match segments.last_mut() {
                    Some(last) if last.bucket == index && last.flat.end == flat.start => {
                        last.flat.end = flat.end;
                    }
                    _ => segments.push(Segment {
                        bucket: index,
                        at: from,
                        local: local - flat.len(),
                        flat,
                    }),
                }
            }
        }
        segments
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_of_all_ranks_are_the_whole(
            sizes in proptest::collection::vec(0_usize..40, 1..12), ranks in 1_usize..6,
            limit in 1_usize..60, is_reversed: bool,
        ) {
            let layout = Layout::new(sizes.iter().map(|size| (size.to_string(), vec![*size])));
            let mb = limit as f64 * 4e-6;
            let count = sizes.len();
            let order: Vec<usize> = match is_reversed {
                true => (0..count).rev().collect(),
                false => (0..count).step_by(2).chain((1..count).step_by(2)).collect(),
            };
            let plan = Plan::new(&layout, order.into_iter(), ranks, mb / 2.0, mb);
            let mut seen = vec![0; layout.len()];
            for rank in 0..ranks {
                let mut local = 0;
                for segment in plan.segments(rank) {
                    prop_assert_eq!(segment.local, local);
                    local += segment.len();
                    let part = plan.buckets[segment.bucket].part;
                    prop_assert!(segment.at >= part * rank && segment.in_bucket().end <= part * (rank + 1));
                    segment.flat.for_each(|cell| seen[cell] += 1);
                }
            }
            prop_assert!(seen.iter().all(|count| *count == 1));
            for (tensor, size) in sizes.iter().enumerate() {
                let (_, piece) = plan.place(tensor).unwrap();
                prop_assert_eq!(piece.flat.len(), *size);
            }
            prop_assert!(plan.place(count).is_none());
            for bucket in &plan.buckets {
                prop_assert!(bucket.len <= limit || bucket.tensors.len() == 1);
            }
        }
    }

    #[test]
    fn the_first_bucket_is_small_and_holds_the_last_tensors() {
        let layout = Layout::new((0..6).map(|index| (index.to_string(), vec![10])));
        let plan = Plan::new(&layout, (0..6).rev(), 2, 40e-6, 120e-6);
        let tensors = |bucket: &Bucket| -> Vec<usize> {
            bucket.tensors.iter().map(|piece| piece.tensor).collect()
        };
        let found: Vec<_> = plan.buckets.iter().map(tensors).collect();
        assert_eq!(found, [vec![5], vec![2, 3, 4], vec![0, 1]]);
        assert_eq!(plan.all().len(), 3);
    }
}
