//! What the types of options cannot check.

use super::{Optimizer, Options, Precision, Schedule, Strategy};

/// A key whose value makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key} = {found}: expected {expected}")]
pub struct OptionError {
    /// The key, with dots.
    pub key: &'static str,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub expected: &'static str,
}

fn refuse(
    key: &'static str,
    found: &dyn std::fmt::Debug,
    expected: &'static str,
) -> Result<(), OptionError> {
    let found = format!("{found:?}");
    Err(OptionError {
        key,
        found,
        expected,
    })
}

impl Options {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`OptionError`] of the first key that makes no sense.
    pub fn check(&self) -> Result<(), OptionError> {
        let counts = [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size as u64),
            ("accumulate", self.accumulate as u64),
            ("prefetch", self.prefetch as u64),
            ("validate_every", self.validate_every),
            ("local_sgd.every", self.local_sgd.every),
            ("checkpoint.keep", self.checkpoint.keep as u64),
        ];
        if let Some((key, found)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return refuse(key, &found, "at least 1");
        }
        let sizes = [
            ("learning_rate", Some(self.learning_rate)),
            ("clip_norm", self.clip_norm),
            ("loss_scale", Some(self.loss_scale)),
            ("bucket_mb", Some(self.bucket_mb)),
            ("first_bucket_mb", Some(self.first_bucket_mb)),
            ("fused.fusion_mb", Some(self.fused.fusion_mb)),
        ];
        for (key, found) in sizes {
            if let Some(found) = found
                && !(found > 0.0 && found.is_finite())
            {
                return refuse(key, &found, "a number above 0");
            }
        }
        if let Some(decay) = self.ema
            && !(0.0..1.0).contains(&decay)
        {
            return refuse("ema", &decay, "a decay from 0 to below 1");
        }
        self.check_schedule()?;
        self.check_optimizer()?;
        if self.strategy == Strategy::LocalSgd && self.precision == Precision::F16 {
            let expected = "f32 or bf16 with strategy local-sgd: ranks that step alone cannot agree on a loss scale";
            return refuse("precision", &self.precision, expected);
        }
        Ok(())
    }

    fn check_schedule(&self) -> Result<(), OptionError> {
        match self.schedule {
            Schedule::Step { epochs: 0, .. } => refuse("schedule.epochs", &0, "at least 1"),
            Schedule::Step { factor, .. } if !(factor > 0.0 && factor.is_finite()) => {
                refuse("schedule.factor", &factor, "a number above 0")
            }
            Schedule::Cosine { minimum } if !(0.0..=self.learning_rate).contains(&minimum) => {
                refuse("schedule.minimum", &minimum, "0 to the learning rate")
            }
            _ => Ok(()),
        }
    }

    fn check_optimizer(&self) -> Result<(), OptionError> {
        let below_one = "0 to below 1";
        let not_negative = "0 or more";
        let checks: Vec<(&'static str, f64, bool, &'static str)> = match self.optimizer {
            Optimizer::Sgd(sgd) => vec![
                (
                    "optimizer.momentum",
                    sgd.momentum,
                    (0.0..1.0).contains(&sgd.momentum),
                    below_one,
                ),
                (
                    "optimizer.momentum",
                    sgd.momentum,
                    !sgd.nesterov || sgd.momentum > 0.0,
                    "above 0 with nesterov",
                ),
                (
                    "optimizer.weight_decay",
                    sgd.weight_decay,
                    sgd.weight_decay >= 0.0,
                    not_negative,
                ),
            ],
            Optimizer::Adam(adam) | Optimizer::AdamW(adam) => vec![
                (
                    "optimizer.beta1",
                    adam.beta1,
                    (0.0..1.0).contains(&adam.beta1),
                    below_one,
                ),
                (
                    "optimizer.beta2",
                    adam.beta2,
                    (0.0..1.0).contains(&adam.beta2),
                    below_one,
                ),
                (
                    "optimizer.epsilon",
                    adam.epsilon,
                    adam.epsilon > 0.0,
                    "above 0",
                ),
                (
                    "optimizer.weight_decay",
                    adam.weight_decay,
                    adam.weight_decay >= 0.0,
                    not_negative,
                ),
            ],
        };
        match checks.into_iter().find(|(_, _, good, _)| !good) {
            None => Ok(()),
            Some((key, found, _, expected)) => Err(OptionError {
                key,
                found: found.to_string(),
                expected,
            }),
        }
    }
}
