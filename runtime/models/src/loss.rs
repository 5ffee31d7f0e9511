//! What is made small.

use crate::backend::Backend;
use burn_tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::learner::tensor;

/// How far an output is from its target: the mean over the numbers of a sample, then over
/// samples. A target that is NaN is missing: it counts nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// The square of the difference.
    #[default]
    Mse,
    /// The difference.
    Mae,
    /// The square of a difference below 1, halved; beyond it grows evenly. Source: Huber (1964).
    Huber,
}

impl Loss {
    pub(crate) fn of<B: Backend, const D: usize>(
        self,
        output: Tensor<B, D>,
        targets: &[f32],
    ) -> Tensor<B, 1> {
        let shape = output.dims();
        let device = output.device();
        if !targets.iter().any(|target| target.is_nan()) {
            let target = tensor(targets.to_vec(), shape, &device);
            return self.each(output - target).mean();
        }
        let weights = tensor(sample_weights(targets, shape[0]), shape, &device);
        let known = targets.iter().map(|t| if t.is_nan() { 0.0 } else { *t });
        let target = tensor(known.collect(), shape, &device);
        (self.each(output - target) * weights).sum()
    }

    /// The loss of plain numbers: of a baseline, beside that of a model.
    #[must_use]
    pub fn of_values(self, outputs: &[f32], targets: &[f32], samples: usize) -> f64 {
        let weights = sample_weights(targets, samples);
        let each = |((output, target), weight): ((&f32, &f32), &f32)| {
            let difference = f64::from(output - target);
            let size = difference.abs();
            let loss = match self {
                Self::Mse => difference * difference,
                Self::Mae => size,
                Self::Huber if size < 1.0 => 0.5 * difference * difference,
                Self::Huber => size - 0.5,
            };
            if *weight == 0.0 {
                0.0
            } else {
                loss * f64::from(*weight)
            }
        };
        outputs.iter().zip(targets).zip(&weights).map(each).sum()
    }

    fn each<B: Backend, const D: usize>(self, difference: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Mse => difference.clone() * difference,
            Self::Mae => difference.abs(),
            Self::Huber => {
                let size = difference.abs();
                let near = size.clone().clamp_max(1.0);
                near.clone() * (size - near * 0.5)
            }
        }
    }
}

/// For each number, its share in the mean: 0 for missing ones; the samples count alike however
/// much of them is missing, so that the loss does not depend on who computes which samples.
fn sample_weights(targets: &[f32], samples: usize) -> Vec<f32> {
    let size = targets.len() / samples.max(1);
    let mut weights = Vec::with_capacity(targets.len());
    for sample in targets.chunks(size.max(1)) {
        let known = sample.iter().filter(|target| !target.is_nan()).count();
        #[allow(clippy::cast_precision_loss, reason = "a weight")]
        let weight = 1.0 / (known.max(1) * samples) as f32;
        weights.extend(sample.iter().map(|t| if t.is_nan() { 0.0 } else { weight }));
    }
    weights
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;
    use burn_tensor::ElementConversion as _;

    use super::*;

    fn both(loss: Loss, output: [f32; 6], target: [f32; 6]) -> [f64; 2] {
        let made = tensor::<Flex, 2>(output.to_vec(), [2, 3], &Default::default());
        let of_tensors = loss.of(made, &target).into_scalar().elem();
        [of_tensors, loss.of_values(&output, &target, 2)]
    }

    #[test]
    fn missing_targets_count_nowhere_and_samples_alike() {
        let output = [1.0, 2.0, 3.0, 0.0, 0.5, 9.0];
        let missing = [0.0, 0.0, f32::NAN, 0.0, f32::NAN, f32::NAN];
        // By hand: samples (1 + 4) / 2 and 0 / 1.
        assert_eq!(both(Loss::Mse, output, missing), [1.25, 1.25]);
        assert_eq!(both(Loss::Mae, output, missing), [0.75, 0.75]);
        // Halves of 1, then 2 - 1/2: (0.5 + 1.5) / 2 and 0.
        assert_eq!(both(Loss::Huber, output, missing), [0.5, 0.5]);
        let known = [0.0; 6];
        for value in both(Loss::Mse, output, known) {
            assert!((value - 95.25 / 6.0).abs() < 1e-6);
        }
    }
}
