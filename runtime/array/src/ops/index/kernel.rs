//! What an index is of one cell: of its days, or of its days and those of a second input.
//!
//! Rules that need more than the days of one span are in modules of their own: runs of days in
//! [`super::spells`], growing seasons in [`super::season`], percentiles of a base period in
//! [`super::base_period`].

use super::season::Part;
use super::spells::{self, Measure};
use crate::ops::grouping::Group;
use crate::plan::series::SeriesKernel;

/// Whether a day counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Above(f64),
    Below(f64),
    AtLeast(f64),
    /// Below the first, and the second input below the second.
    BothBelow(f64, f64),
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
    /// Something about runs of days.
    Spells(Test, Measure),
    /// Percent of all days.
    Percent(Test),
    /// Percent of the days above 0 that are above the reference.
    WetPercent,
    /// Percent of the sum of all days, due to those above 0 and the reference.
    WetShare,
    /// Of a growing season: so many days in a row above or below a limit start and end it.
    Season {
        part: Part,
        days: usize,
        limit: f64,
    },
    /// Percent of the days above (or below) a percentile of the days around them in a base
    /// period.
    BeyondBase {
        is_above: bool,
        /// From 0 to 1.
        percentile: f64,
        window_days: usize,
        years: (i32, i32),
    },
    /// The sum of the days above a percentile of the wet days of a base period.
    HeavyTotal {
        /// From 0 to 1.
        percentile: f64,
        years: (i32, i32),
    },
}

/// One index of each group of steps.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) groups: Vec<Group>,
    pub(super) rule: Rule,
    /// Whether a run counts where the day after it lies, as CDO has it.
    pub(super) ends_day_after: bool,
}

impl SeriesKernel for Index {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        let reference = inputs.get(1).copied().unwrap_or(inputs[0]);
        let day = |step: usize| (inputs[0][step], reference[step]);
        if let Rule::Spells(test, measure) = self.rule {
            let days: Vec<Option<bool>> = (0..inputs[0].len())
                .map(|step| is_valid(&day(step)).then(|| test.holds(day(step))))
                .collect();
            spells::measure(&days, &self.groups, measure, self.ends_day_after, out);
            return;
        }
        for (group, out) in self.groups.iter().zip(out) {
            *out = self.rule.of(group.iter().cloned().flatten().map(day));
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
            Self::BothBelow(limit, of_second) => value < limit && reference < of_second,
            Self::AboveReference(offset) => value > reference + offset,
            Self::BelowReference(offset) => value < reference - offset,
        }
    }
}

fn is_valid(day: &(f64, f64)) -> bool {
    !day.0.is_nan() && !day.1.is_nan()
}

impl Rule {
    /// Whether it goes by the dates of the steps, not only by their groups.
    pub(super) fn needs_dates(self) -> bool {
        matches!(
            self,
            Self::Season { .. } | Self::BeyondBase { .. } | Self::HeavyTotal { .. }
        )
    }

    /// Of the days of one group, those in which they are enough.
    fn of(self, days: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
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
            Self::Percent(test) => 100.0 * counted(test) / given.count() as f64,
            Self::WetPercent => {
                100.0 * beyond.count() as f64 / given.filter(|&v| v > 0.0).count() as f64
            }
            Self::WetShare => 100.0 * beyond.sum::<f64>() / given.sum::<f64>(),
            // Computed by kernels of their own.
            Self::Spells(..)
            | Self::Season { .. }
            | Self::BeyondBase { .. }
            | Self::HeavyTotal { .. } => f64::NAN,
        }
    }
}
