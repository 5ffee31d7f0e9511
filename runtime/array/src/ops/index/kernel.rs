//! What an index is of one cell: of its days, or of its days and those of a reference.

use crate::ops::grouping::Group;
use crate::plan::series::SeriesKernel;

/// Whether a day counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Above(f64),
    Below(f64),
    AtLeast(f64),
    /// Above the reference by more than this.
    AboveReference(f64),
    /// Below the reference by more than this.
    BelowReference(f64),
}

/// What is made of the days of a span.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Count(Test),
    /// The sum of the first minus the value, of days below the second.
    Deficit(f64, f64),
    MeanOf(Test),
    Maximum,
    /// The greatest value minus the least of the second input.
    RangeOverBoth,
    LongestRun(Test),
    /// Runs of at least so many days.
    Runs(Test, usize),
    /// Days that are in such runs.
    DaysInRuns(Test, usize),
    /// Percent of all days.
    Percent(Test),
    /// Percent of the days above 0 that are above the reference.
    WetPercent,
    /// Percent of the sum of all days, due to those above 0 and the reference.
    WetShare,
}

/// One index of each group of steps.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) groups: Vec<Group>,
    pub(super) rule: Rule,
}

impl SeriesKernel for Index {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        let reference = inputs.get(1).copied().unwrap_or(inputs[0]);
        for (group, out) in self.groups.iter().zip(out) {
            let steps = group.iter().cloned().flatten();
            let days = steps.map(|step| (inputs[0][step], reference[step]));
            *out = self.rule.of(days);
        }
    }
}

impl Test {
    /// A missing value or reference is no such day.
    fn holds(self, (value, reference): (f64, f64)) -> bool {
        match self {
            Self::Above(limit) => value > limit,
            Self::Below(limit) => value < limit,
            Self::AtLeast(limit) => value >= limit,
            Self::AboveReference(offset) => value > reference + offset,
            Self::BelowReference(offset) => value < reference - offset,
        }
    }
}

impl Rule {
    fn of(self, days: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
        let is_valid = |day: &(f64, f64)| !day.0.is_nan() && !day.1.is_nan();
        let valid = days.clone().filter(is_valid);
        if valid.clone().next().is_none() {
            return f64::NAN;
        }
        let counted = |test: Test| valid.clone().filter(|&day| test.holds(day)).count() as f64;
        let sum = |test: Test| {
            let chosen = valid.clone().filter(|&day| test.holds(day));
            chosen.map(|(value, _)| value).sum::<f64>()
        };
        // Percents are of these, whether or not there is a reference.
        let given = days
            .clone()
            .map(|day| day.0)
            .filter(|value| !value.is_nan());
        let wet = valid.clone().filter(|day| day.0 > 0.0 && day.0 > day.1);
        let beyond = wet.map(|day| day.0);
        match self {
            Self::Count(test) => counted(test),
            Self::Deficit(from, limit) => {
                let cold = valid.filter(|day| day.0 < limit);
                cold.map(|(value, _)| from - value).sum()
            }
            Self::MeanOf(test) => sum(test) / counted(test),
            Self::Maximum => valid.map(|day| day.0).fold(f64::NAN, f64::max),
            Self::RangeOverBoth => {
                let greatest = days.clone().map(|day| day.0).fold(f64::NAN, f64::max);
                greatest - days.map(|day| day.1).fold(f64::NAN, f64::min)
            }
            Self::LongestRun(test) => runs(days, test).into_iter().max().unwrap_or(0) as f64,
            Self::Runs(test, least) => {
                let runs = runs(days, test).into_iter();
                runs.filter(|&length| length >= least).count() as f64
            }
            Self::DaysInRuns(test, least) => {
                let runs = runs(days, test).into_iter();
                runs.filter(|&length| length >= least).sum::<usize>() as f64
            }
            Self::Percent(test) => 100.0 * counted(test) / given.count() as f64,
            Self::WetPercent => {
                100.0 * beyond.count() as f64 / given.filter(|&v| v > 0.0).count() as f64
            }
            Self::WetShare => 100.0 * beyond.sum::<f64>() / given.sum::<f64>(),
        }
    }
}

/// The lengths of runs of days; one that is open at an end counts.
fn runs(days: impl Iterator<Item = (f64, f64)>, test: Test) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut length = 0;
    for day in days {
        if test.holds(day) {
            length += 1;
        } else if length > 0 {
            lengths.push(length);
            length = 0;
        }
    }
    if length > 0 {
        lengths.push(length);
    }
    lengths
}
