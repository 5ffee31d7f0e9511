//! The few statistics that a scalability report rests on: medians, Student's t and a seeded
//! block bootstrap.
//!
//! Used by the rest of [`crate::scaling`]. Left out: anything that assumes more of epochs than
//! that neighbours may depend on each other.

/// How sure an interval is: 95 %.
pub const CONFIDENCE: f64 = 0.95;
/// Resamples of a bootstrap: the interval's ends then wander by less than 1 % of its width.
pub const RESAMPLES: usize = 2000;
/// Fewer observations of one run say nothing of their spread.
pub const MIN_BOOTSTRAP: usize = 4;

/// The middle of the numbers, or the mean of the two in the middle; `None` of nothing.
#[must_use]
pub fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The arithmetic mean; `None` of nothing.
#[must_use]
pub fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// Half the width of the interval of the mean of independent replicates, by Student's t;
/// `None` of fewer than two.
#[must_use]
pub fn half_width_of_mean(replicates: &[f64]) -> Option<f64> {
    let count = replicates.len();
    if count < 2 {
        return None;
    }
    let mean = mean(replicates)?;
    let squares: f64 = replicates.iter().map(|x| (x - mean).powi(2)).sum();
    let error = (squares / (count - 1) as f64 / count as f64).sqrt();
    Some(student_t((count - 1) as f64) * error)
}

/// The two-sided quantile of Student's t at [`CONFIDENCE`] for so many degrees of freedom.
///
/// Source: the distribution function by the regularised incomplete beta function, inverted by
/// bisection.
#[must_use]
pub fn student_t(degrees_of_freedom: f64) -> f64 {
    if degrees_of_freedom <= 0.0 {
        return f64::INFINITY;
    }
    let outside = |t: f64| {
        let x = degrees_of_freedom / (degrees_of_freedom + t * t);
        incomplete_beta(degrees_of_freedom / 2.0, 0.5, x)
    };
    // The widest that is asked for, of one degree of freedom, is 12.7.
    let (mut low, mut high) = (0.0, 1e3);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if outside(middle) > 1.0 - CONFIDENCE {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The regularised incomplete beta function, by Lentz's continued fraction.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = (a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp();
    front * beta_fraction(a, b, x) / a
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const MAX_TERMS: u32 = 500;
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in (1..=MAX_TERMS).map(f64::from) {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            change = d * c;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// The logarithm of the gamma function of a positive number.
///
/// Source: Stirling's series after the argument is raised above 15 by the recurrence.
fn ln_gamma(x: f64) -> f64 {
    let mut x = x;
    let mut shift = 0.0;
    while x < 15.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse
        * (1.0 / 12.0
            - square
                * (1.0 / 360.0
                    - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0))));
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

/// The interval of the median of one run's epochs, which may depend on their neighbours:
/// resampled in circular blocks of the cube root of their number. The same seed gives the same
/// interval. `None` of fewer than [`MIN_BOOTSTRAP`].
#[must_use]
pub fn bootstrap_median(epochs: &[f64], seed: u64) -> Option<(f64, f64)> {
    let count = epochs.len();
    if count < MIN_BOOTSTRAP {
        return None;
    }
    let block = (count as f64).cbrt().round().max(1.0) as usize;
    let mut random = SplitMix(seed);
    let mut medians = Vec::with_capacity(RESAMPLES);
    let mut sample = Vec::with_capacity(count + block);
    for _ in 0..RESAMPLES {
        sample.clear();
        while sample.len() < count {
            let first = (random.next() % count as u64) as usize;
            sample.extend((0..block).map(|offset| epochs[(first + offset) % count]));
        }
        sample.truncate(count);
        medians.extend(median(&sample));
    }
    medians.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Some((quantile(&medians, tail), quantile(&medians, 1.0 - tail)))
}

/// A quantile of sorted numbers, between neighbours in proportion (type 7 of Hyndman and Fan).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

/// Steele, Lea and Flood's SplitMix64: enough for resampling, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
