//! The learning rate of each step.

use crate::{Options, Schedule};

/// The learning rate of the step with this number, from 0, of a run of so many steps.
pub(crate) fn learning_rate(options: &Options, step: u64, steps_per_epoch: u64) -> f64 {
    let base = options.learning_rate;
    let warmup = options.warmup_steps;
    if step < warmup {
        return base * (step + 1) as f64 / warmup as f64;
    }
    match options.schedule {
        Schedule::Constant => base,
        Schedule::Step { epochs, factor } => {
            let times = step / steps_per_epoch.max(1) / epochs;
            base * factor.powi(i32::try_from(times).unwrap_or(i32::MAX))
        }
        Schedule::Cosine { minimum } => {
            let total = options.epochs.saturating_mul(steps_per_epoch);
            let length = total.saturating_sub(warmup).max(1) as f64;
            let done = ((step - warmup) as f64 / length).min(1.0);
            minimum + 0.5 * (base - minimum) * (1.0 + (std::f64::consts::PI * done).cos())
        }
    }
}
