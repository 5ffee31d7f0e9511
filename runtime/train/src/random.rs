//! Random numbers that are the same on every machine and in every release: what a run draws
//! follows from its seed and from where in the run it is drawn.
//!
//! Source: SplitMix64 of Steele, Lea and Flood (2014); bounded numbers by Lemire (2019).

const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A seed for each place in a run: other places give others.
pub(crate) fn seed_of(seed: u64, place: &[u64]) -> u64 {
    let start = mix(seed.wrapping_add(INCREMENT));
    place.iter().fold(start, |seed, word| {
        mix(seed.wrapping_add(INCREMENT) ^ mix(word.wrapping_add(INCREMENT)))
    })
}

/// A stream of random numbers.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(INCREMENT);
        mix(self.0)
    }

    /// A number below `bound`, each as likely as the others; `bound` is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        loop {
            let wide = u128::from(self.next()) * u128::from(bound);
            let low = wide as u64;
            if low >= bound.wrapping_neg() % bound {
                return (wide >> 64) as u64;
            }
        }
    }

    /// The numbers below `count` in random order.
    pub(crate) fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for place in (1..count).rev() {
            order.swap(place, self.below(place as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_paper() {
        // The first numbers of the reference implementation from seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn permutations_are_fair() {
        let mut counts = [0_u32; 6];
        for seed in 0..6000 {
            let order = Random::new(seed_of(7, &[seed])).permutation(3);
            counts[order[0] * 2 + usize::from(order[1] > order[2])] += 1;
        }
        // A thousand each; five standard deviations are 144.
        assert!(
            counts.iter().all(|count| count.abs_diff(1000) < 144),
            "{counts:?}"
        );
    }
}
