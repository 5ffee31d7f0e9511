//! Numbers that follow from the seed of a study and the number of a trial.

/// SplitMix64: a stream of well mixed numbers from any seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of one trial.
    pub(crate) fn of(seed: u64, trial: u64) -> Self {
        let mut random = Self(seed ^ trial.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of mean 0 and deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_even_and_those_of_trials_differ() {
        let mut random = Random::of(1, 7);
        let many: Vec<f64> = (0..20_000).map(|_| random.unit()).collect();
        let mean = many.iter().sum::<f64>() / many.len() as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let mut normal = Random::of(2, 0);
        let square: f64 = (0..20_000).map(|_| normal.normal().powi(2)).sum();
        assert!((square / 20_000.0 - 1.0).abs() < 0.05);
        assert_ne!(Random::of(1, 0).unit(), Random::of(1, 1).unit());
        assert_eq!(Random::of(1, 5).unit(), Random::of(1, 5).unit());
    }
}
