//! What a step of the optimizer does to some of the parameters.
//!
//! All of it is element by element, so it does not matter who holds which of them. The formulas
//! are those of PyTorch 2 (`torch.optim.SGD`, `Adam`, `AdamW`), in single precision with factors
//! computed in double precision.

use crate::{Adam, Optimizer};

impl Optimizer {
    /// As in a configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sgd(_) => "sgd",
            Self::Adam(_) => "adam",
            Self::AdamW(_) => "adamw",
        }
    }

    /// The arrays that it keeps, each as long as the parameters: named as PyTorch names them.
    #[must_use]
    pub fn slots(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd(sgd) if sgd.momentum == 0.0 => &[],
            Self::Sgd(_) => &["momentum_buffer"],
            Self::Adam(_) | Self::AdamW(_) => &["exp_avg", "exp_avg_sq"],
        }
    }
}

/// One step, the same for all parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    pub(crate) optimizer: Optimizer,
    pub(crate) learning_rate: f64,
    /// Steps of this optimizer, this one included.
    pub(crate) step: u64,
    /// Gradients are multiplied by this first: clipping.
    pub(crate) factor: f32,
}

impl Update {
    /// Changes `parameters` by their `gradients`; `slots` are those of the optimizer, for the
    /// same parameters.
    pub(crate) fn apply(
        &self,
        parameters: &mut [f32],
        gradients: &[f32],
        slots: &mut [&mut [f32]],
    ) {
        match (self.optimizer, slots) {
            (Optimizer::Sgd(_), []) => self.plain(parameters, gradients),
            (Optimizer::Sgd(_), [momentum, ..]) => self.momentum(parameters, gradients, momentum),
            (Optimizer::Adam(adam), [mean, square, ..]) => {
                self.adam(&adam, false, parameters, gradients, mean, square);
            }
            (Optimizer::AdamW(adam), [mean, square, ..]) => {
                self.adam(&adam, true, parameters, gradients, mean, square);
            }
            (Optimizer::Adam(_) | Optimizer::AdamW(_), _) => {
                unreachable!("the state is made with the slots that the optimizer names")
            }
        }
    }

    fn weight_decay(&self) -> f32 {
        match self.optimizer {
            Optimizer::Sgd(sgd) => sgd.weight_decay as f32,
            Optimizer::Adam(adam) | Optimizer::AdamW(adam) => adam.weight_decay as f32,
        }
    }

    fn plain(&self, parameters: &mut [f32], gradients: &[f32]) {
        let (rate, decay, factor) = (self.learning_rate as f32, self.weight_decay(), self.factor);
        for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
            *parameter -= rate * (gradient * factor + decay * *parameter);
        }
    }

    fn momentum(&self, parameters: &mut [f32], gradients: &[f32], momentum: &mut [f32]) {
        let Optimizer::Sgd(sgd) = self.optimizer else {
            return;
        };
        let (rate, decay, factor) = (self.learning_rate as f32, self.weight_decay(), self.factor);
        let keep = sgd.momentum as f32;
        // PyTorch's buffer begins as the first gradient; ours, zero, becomes it.
        for ((parameter, gradient), momentum) in parameters.iter_mut().zip(gradients).zip(momentum)
        {
            let gradient = gradient * factor + decay * *parameter;
            *momentum = keep * *momentum + gradient;
            let step = if sgd.nesterov {
                gradient + keep * *momentum
            } else {
                *momentum
            };
            *parameter -= rate * step;
        }
    }

    fn adam(
        &self,
        adam: &Adam,
        decoupled: bool,
        parameters: &mut [f32],
        gradients: &[f32],
        mean: &mut [f32],
        square: &mut [f32],
    ) {
        let t = i32::try_from(self.step).unwrap_or(i32::MAX);
        let correction1 = 1.0 - adam.beta1.powi(t);
        let correction2 = (1.0 - adam.beta2.powi(t)).sqrt();
        let rate = (self.learning_rate / correction1) as f32;
        let root = (1.0 / correction2) as f32;
        let (beta1, beta2) = (adam.beta1 as f32, adam.beta2 as f32);
        let (fresh1, fresh2) = ((1.0 - adam.beta1) as f32, (1.0 - adam.beta2) as f32);
        let (epsilon, factor) = (adam.epsilon as f32, self.factor);
        let decay = if decoupled { 0.0 } else { self.weight_decay() };
        let shrink = match decoupled {
            true => (1.0 - self.learning_rate * adam.weight_decay) as f32,
            false => 1.0,
        };
        let states = mean.iter_mut().zip(square);
        for ((parameter, gradient), (mean, square)) in
            parameters.iter_mut().zip(gradients).zip(states)
        {
            let gradient = gradient * factor + decay * *parameter;
            *mean = beta1 * *mean + fresh1 * gradient;
            *square = beta2 * *square + fresh2 * (gradient * gradient);
            let step = *mean / (square.sqrt() * root + epsilon);
            *parameter = *parameter * shrink - rate * step;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn numbers(value: &Value) -> Vec<f32> {
        let numbers = value.as_array().unwrap().iter();
        numbers
            .map(|number| number.as_f64().unwrap() as f32)
            .collect()
    }

    #[test]
    fn steps_are_those_of_the_formulas_in_numpy() {
        let golden = include_str!("../tests/golden/optimizers.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let golden = &golden["optimizers"];
        for case in golden["cases"].as_array().unwrap() {
            let optimizer: Optimizer = serde_json::from_value(case["optimizer"].clone()).unwrap();
            let mut parameters = numbers(&golden["start"]);
            let mut slots = vec![vec![0.0; parameters.len()]; optimizer.slots().len()];
            for (index, gradients) in golden["gradients"].as_array().unwrap().iter().enumerate() {
                let update = Update {
                    optimizer,
                    learning_rate: case["learning_rate"].as_f64().unwrap(),
                    step: index as u64 + 1,
                    factor: 1.0,
                };
                let mut slots: Vec<&mut [f32]> = slots.iter_mut().map(Vec::as_mut_slice).collect();
                update.apply(&mut parameters, &numbers(gradients), &mut slots);
            }
            for (found, right) in parameters.iter().zip(numbers(&case["end"])) {
                let limit = 3e-6 * (1.0 + right.abs());
                assert!((found - right).abs() < limit, "{case}: {parameters:?}");
            }
        }
    }
}
