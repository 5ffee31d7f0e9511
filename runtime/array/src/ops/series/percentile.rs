//! Percentiles of groups of steps, by the methods that CDO and NumPy name.

use crate::ops::grouping::Group;
use crate::plan::series::SeriesKernel;

/// Where between the sorted values a percentile lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The value at rank max(1, ⌈pn⌉): NumPy's `inverted_cdf`.
    #[default]
    NearestRank,
    /// Interpolated at (n+1)p: NumPy's `weibull`.
    Nist,
    /// Interpolated at (n-1)p + 1.
    Linear,
    /// Interpolated at (n+⅓)p + ⅓: NumPy's `median_unbiased`.
    RType8,
    /// Interpolated at np + ½.
    Hazen,
    /// The value below where `Linear` interpolates.
    Lower,
    /// The value above where `Linear` interpolates.
    Higher,
    /// The middle of both.
    Midpoint,
    /// That which is nearer, of equally near ones the even.
    Nearest,
}

/// The names of options and parameters.
const NAMES: [(&str, Method); 15] = [
    ("nrank", Method::NearestRank),
    ("inverted_cdf", Method::NearestRank),
    ("nist", Method::Nist),
    ("weibull", Method::Nist),
    ("rtype8", Method::RType8),
    ("median_unbiased", Method::RType8),
    ("numpy", Method::Linear),
    ("linear", Method::Linear),
    ("numpy_linear", Method::Linear),
    ("hazen", Method::Hazen),
    ("lower", Method::Lower),
    ("numpy_lower", Method::Lower),
    ("higher", Method::Higher),
    ("midpoint", Method::Midpoint),
    ("nearest", Method::Nearest),
];

/// What the option takes, for errors.
pub(crate) const EXPECTED: &str =
    "nrank, nist, rtype8, linear, hazen, lower, higher, midpoint or nearest";

impl Method {
    /// The method called `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, method)| *method)
    }

    /// The name that is written to files.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(_, method)| *method == self);
        found.map_or("", |(name, _)| name)
    }

    /// The place among n sorted values, from 0, with a fraction where it lies between two.
    fn place(self, n: usize, p: f64) -> f64 {
        let count = n as f64;
        let linear = (count - 1.0) * p;
        let place = match self {
            // The error of p in percent must not move a whole rank.
            Self::NearestRank => {
                let rank = p * count;
                let near = rank.round();
                let whole = if (rank - near).abs() < 1e-9 * count {
                    near
                } else {
                    rank.ceil()
                };
                whole - 1.0
            }
            Self::Nist => (count + 1.0) * p - 1.0,
            Self::RType8 => (count + 1.0 / 3.0) * p + 1.0 / 3.0 - 1.0,
            Self::Hazen => count * p - 0.5,
            Self::Linear => linear,
            Self::Lower => linear.floor(),
            Self::Higher => linear.ceil(),
            Self::Midpoint => linear.floor().midpoint(linear.ceil()),
            Self::Nearest => linear.round_ties_even(),
        };
        place.clamp(0.0, count - 1.0)
    }

    /// The percentile (p from 0 to 1) of values without NaN, which are reordered; NaN of none.
    pub(crate) fn of(self, values: &mut [f64], p: f64) -> f64 {
        if values.is_empty() {
            return f64::NAN;
        }
        let place = self.place(values.len(), p);
        let (low, fraction) = (place.floor() as usize, place.fract());
        let (_, &mut below, above) = values.select_nth_unstable_by(low, f64::total_cmp);
        if fraction == 0.0 {
            return below;
        }
        let above = above.iter().copied().fold(f64::INFINITY, f64::min);
        below + (above - below) * fraction
    }
}

impl Method {
    /// The percentile of two lists together, each ascending and without NaN.
    pub(crate) fn of_both(self, left: &[f64], right: &[f64], p: f64) -> f64 {
        let count = left.len() + right.len();
        if count == 0 {
            return f64::NAN;
        }
        let place = self.place(count, p);
        let (low, fraction) = (place.floor() as usize, place.fract());
        let below = nth_of_both(left, right, low);
        if fraction == 0.0 {
            return below;
        }
        below + (nth_of_both(left, right, low + 1) - below) * fraction
    }
}

/// The value that would stand at `index` if both ascending lists were merged; the second is
/// short.
fn nth_of_both(left: &[f64], right: &[f64], index: usize) -> f64 {
    let value = |list: &[f64], index: usize| list.get(index).copied().unwrap_or(f64::INFINITY);
    // So many of the second come before it: the first number that leaves the next of the
    // second after what is taken of the first.
    let mut of_right = index.saturating_sub(left.len());
    while of_right < right.len().min(index) && right[of_right] < value(left, index - of_right - 1) {
        of_right += 1;
    }
    value(left, index - of_right).min(value(right, of_right))
}

/// A percentile of each group of steps. Missing values are skipped.
#[derive(Debug)]
pub(super) struct Percentile {
    pub(super) groups: Vec<Group>,
    /// From 0 to 1.
    pub(super) p: f64,
    pub(super) method: Method,
}

impl SeriesKernel for Percentile {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        let series = inputs[0];
        let mut valid = Vec::with_capacity(series.len());
        for (group, out) in self.groups.iter().zip(out) {
            valid.clear();
            for run in group {
                valid.extend(series[run.clone()].iter().filter(|value| !value.is_nan()));
            }
            *out = self.method.of(&mut valid, self.p);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values by NumPy 2: `np.percentile([3, 1, 4, 1.5, 9, 2.6, 5], p, method=...)`.
    #[test]
    fn methods_agree_with_numpy() {
        let values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0];
        for (method, expected) in EXPECTED_BY_NUMPY {
            for (p, expected) in PERCENTS.into_iter().zip(expected) {
                let found = Method::find(method)
                    .unwrap()
                    .of(&mut values.clone(), p / 100.0);
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{method} {p}: {found}, not {expected}"
                );
            }
        }
    }

    const PERCENTS: [f64; 7] = [0.0, 10.0, 25.0, 50.0, 77.0, 90.0, 100.0];

    const EXPECTED_BY_NUMPY: [(&str, [f64; 7]); 9] = [
        ("inverted_cdf", [1.0, 1.0, 1.5, 3.0, 5.0, 9.0, 9.0]),
        ("weibull", [1.0, 1.0, 1.5, 3.0, 5.64, 9.0, 9.0]),
        (
            "median_unbiased",
            [
                1.0,
                1.0333333333333,
                1.6833333333333,
                3.0,
                4.98,
                8.7333333333333,
                9.0,
            ],
        ),
        ("linear", [1.0, 1.3, 2.05, 3.0, 4.62, 6.6, 9.0]),
        ("hazen", [1.0, 1.1, 1.775, 3.0, 4.89, 8.2, 9.0]),
        ("lower", [1.0, 1.0, 1.5, 3.0, 4.0, 5.0, 9.0]),
        ("higher", [1.0, 1.5, 2.6, 3.0, 5.0, 9.0, 9.0]),
        ("midpoint", [1.0, 1.25, 2.05, 3.0, 4.5, 7.0, 9.0]),
        ("nearest", [1.0, 1.5, 2.6, 3.0, 5.0, 5.0, 9.0]),
    ];

    #[test]
    fn two_lists_are_as_their_sorted_union() {
        let values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0, 4.0];
        for split in 0..=values.len() {
            let (mut left, mut right) = (values[..split].to_vec(), values[split..].to_vec());
            left.sort_unstable_by(f64::total_cmp);
            right.sort_unstable_by(f64::total_cmp);
            for p in PERCENTS.map(|percent| percent / 100.0) {
                let expected = Method::RType8.of(&mut values.clone(), p);
                let found = Method::RType8.of_both(&left, &right, p);
                assert!((found - expected).abs() < 1e-12, "{split} {p}: {found}");
            }
        }
    }

    #[test]
    fn few_values() {
        for (_, method) in NAMES {
            assert!(method.of(&mut [], 0.5).is_nan());
            assert!(method.of_both(&[], &[], 0.5).is_nan());
            assert_eq!(method.of(&mut [7.0], 0.9).to_bits(), 7.0_f64.to_bits());
        }
    }
}
