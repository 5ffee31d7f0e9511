//! Series of as many steps as before: cumulated sums, sorted values, runs of steps.

use crate::plan::series::SeriesKernel;

/// The sum of the steps so far; a missing one counts as 0.
#[derive(Debug)]
pub(super) struct Cumulated;

impl SeriesKernel for Cumulated {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        let mut sum = 0.0;
        for (value, out) in inputs[0].iter().zip(out) {
            sum += if value.is_nan() { 0.0 } else { *value };
            *out = sum;
        }
    }
}

/// The values in ascending order, missing ones last.
#[derive(Debug)]
pub(super) struct Sorted;

impl SeriesKernel for Sorted {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        out.copy_from_slice(inputs[0]);
        // Of one sign, so that missing values sort last.
        out.iter_mut()
            .filter(|value| value.is_nan())
            .for_each(|value| *value = f64::NAN);
        out.sort_unstable_by(f64::total_cmp);
    }
}

/// The length so far of the run of steps that are not zero; a missing one ends it.
#[derive(Debug)]
pub(super) struct RunLengths;

impl SeriesKernel for RunLengths {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        let mut length = 0.0;
        for (value, out) in inputs[0].iter().zip(out) {
            length = if is_in_run(*value) { length + 1.0 } else { 0.0 };
            *out = length;
        }
    }
}

/// The length of each run at its last step, elsewhere missing.
#[derive(Debug)]
pub(super) struct RunEnds;

impl SeriesKernel for RunEnds {
    fn apply(&self, inputs: &[&[f64]], out: &mut [f64]) {
        let series = inputs[0];
        let mut length = 0.0;
        for (step, out) in out.iter_mut().enumerate() {
            length = if is_in_run(series[step]) {
                length + 1.0
            } else {
                0.0
            };
            let goes_on = series.get(step + 1).is_some_and(|next| is_in_run(*next));
            *out = if length > 0.0 && !goes_on {
                length
            } else {
                f64::NAN
            };
        }
    }
}

fn is_in_run(value: f64) -> bool {
    value != 0.0 && !value.is_nan()
}
