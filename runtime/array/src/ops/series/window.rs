//! Running windows: a statistic of each `width` neighbouring steps.

use crate::ops::grouping::Group;
use crate::ops::statistic::Statistic;
use crate::plan::series::SeriesKernel;

/// A statistic of each window. Missing values are treated as the statistic does.
///
/// Source: van Herk (1992) and Gil and Werman (1993): the series is cut into pieces as long as
/// the window, which then is the end of one piece and the start of the next. Three merges a
/// step, and no rounding errors that would be carried along the series.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) width: usize,
    pub(super) statistic: Statistic,
}

/// What is kept of some neighbouring steps.
#[derive(Clone, Copy, Debug)]
struct Kept {
    count: f64,
    sum: f64,
    mean: f64,
    /// Squared distances from the mean.
    squares: f64,
    least: f64,
    greatest: f64,
}

impl Kept {
    fn of(value: f64) -> Self {
        let is_valid = !value.is_nan();
        let or_zero = if is_valid { value } else { 0.0 };
        Self {
            count: f64::from(u8::from(is_valid)),
            sum: or_zero,
            mean: or_zero,
            squares: 0.0,
            least: value,
            greatest: value,
        }
    }

    /// Both, of which `right` is later. Source: Chan, Golub and LeVeque (1979).
    fn merge(self, right: Self) -> Self {
        let count = self.count + right.count;
        let share = if count > 0.0 {
            right.count / count
        } else {
            0.0
        };
        let delta = right.mean - self.mean;
        Self {
            count,
            sum: self.sum + right.sum,
            mean: self.mean + delta * share,
            squares: self.squares + right.squares + delta * delta * self.count * share,
            // These pass over NaN.
            least: self.least.min(right.least),
            greatest: self.greatest.max(right.greatest),
        }
    }

    fn finish(self, statistic: Statistic, width: usize) -> f64 {
        let Self { count, sum, .. } = self;
        let when = |holds: bool, value: f64| if holds { value } else { f64::NAN };
        let variance = || when(count > 0.0, self.squares / count);
        let variance1 = || when(count > 1.0, self.squares / (count - 1.0));
        match statistic {
            Statistic::Minimum => self.least,
            Statistic::Maximum => self.greatest,
            Statistic::Range => self.greatest - self.least,
            Statistic::Sum => when(count > 0.0, sum),
            Statistic::Mean => when(count > 0.0, sum / count),
            Statistic::Average => when(count as usize == width, sum / count),
            Statistic::Variance => variance(),
            Statistic::Variance1 => variance1(),
            Statistic::StandardDeviation => variance().sqrt(),
            Statistic::StandardDeviation1 => variance1().sqrt(),
            // Others have no running form.
            _ => f64::NAN,
        }
    }
}

impl SeriesKernel for Running {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        let (series, width) = (inputs[0], self.width);
        // From each step to the end of its piece.
        let mut ends: Vec<Kept> = series.iter().map(|&value| Kept::of(value)).collect();
        for step in (0..series.len().saturating_sub(1)).rev() {
            if (step + 1) % width > 0 {
                ends[step] = ends[step].merge(ends[step + 1]);
            }
        }
        // From the start of the piece that the window ends in to its end.
        let mut start: Option<Kept> = None;
        for (step, &value) in series.iter().enumerate() {
            let value = Kept::of(value);
            start = Some(match start.filter(|_| step % width > 0) {
                Some(start) => start.merge(value),
                None => value,
            });
            let Some(first) = (step + 1).checked_sub(width) else {
                continue;
            };
            let kept = match start {
                Some(start) if first % width > 0 => ends[first].merge(start),
                _ => ends[first],
            };
            out[first] = kept.finish(self.statistic, width);
        }
    }
}

/// A statistic of all steps of some windows, which may overlap.
#[derive(Debug)]
pub(super) struct OfWindows {
    /// Of each step of the result.
    pub(super) windows: Vec<Group>,
    pub(super) statistic: Statistic,
}

impl SeriesKernel for OfWindows {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        for (windows, out) in self.windows.iter().zip(out) {
            let values = windows.iter().flat_map(|window| &inputs[0][window.clone()]);
            let kept = values.map(|&value| Kept::of(value)).reduce(Kept::merge);
            let count = windows.iter().map(std::ops::Range::len).sum();
            *out = kept.map_or(f64::NAN, |kept| kept.finish(self.statistic, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn windows_are_as_if_each_were_alone(
            values in proptest::collection::vec(proptest::option::weighted(0.8, -1e3..1e3_f64), 1..40),
            width in 1_usize..12,
        ) {
            let values: Vec<f64> = values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect();
            proptest::prop_assume!(width <= values.len());
            let of = |statistic, series: &[f64], width| {
                let mut out = vec![0.0; series.len() - width + 1];
                Running { width, statistic }.apply(&[series], &mut out);
                out
            };
            for statistic in [
                Statistic::Minimum, Statistic::Range, Statistic::Sum, Statistic::Average,
                Statistic::Variance1, Statistic::StandardDeviation,
            ] {
                let found = of(statistic, &values, width);
                for (window, found) in values.windows(width).zip(found) {
                    let alone = of(statistic, window, width)[0];
                    let same = found.is_nan() && alone.is_nan() || (found - alone).abs() <= 1e-6;
                    proptest::prop_assert!(same, "{statistic:?} {window:?}: {found} {alone}");
                }
            }
        }
    }
}
