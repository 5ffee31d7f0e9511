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
        Schedule::Constant {} => base,
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn rates_are_those_of_the_formulas_in_numpy() {
        let golden = include_str!("../tests/golden/optimizers.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let golden = &golden["schedules"];
        for case in golden["cases"].as_array().unwrap() {
            let options = Options {
                learning_rate: golden["learning_rate"].as_f64().unwrap(),
                epochs: golden["epochs"].as_u64().unwrap(),
                schedule: serde_json::from_value(case["schedule"].clone()).unwrap(),
                warmup_steps: case["warmup_steps"].as_u64().unwrap(),
                ..Options::default()
            };
            let steps_per_epoch = golden["steps_per_epoch"].as_u64().unwrap();
            for (step, right) in case["rates"].as_array().unwrap().iter().enumerate() {
                let found = learning_rate(&options, step as u64, steps_per_epoch);
                let right = right.as_f64().unwrap();
                assert!(
                    (found - right).abs() < 1e-12,
                    "{case}: step {step} has {found}"
                );
            }
        }
    }
}
