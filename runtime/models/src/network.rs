//! What a model is: its parameters and its forward pass, over any back end of Burn.
//!
//! Every model of the library and every model of a user implements [`Network`];
//! [`Supervised`](crate::Supervised) makes a `mizar_train::Learner` of it. A network holds
//! hyperparameters only: its parameters come from the trainer's flat array at every step.

use std::sync::{Arc, Mutex};

use crate::backend::Backend;
use burn_tensor::backend::BackendTypes;
use burn_tensor::{Tensor, TensorPrimitive};
use mizar_train::LearnError;

/// A parameter that a network has.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its path in the model, `encoder.0.weight`: unique, stable between releases.
    pub name: String,
    /// Its shape, slowest dimension first.
    pub shape: Vec<usize>,
    /// What it is at the start.
    pub start: Start,
}

/// What a parameter is before the first step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// All the same.
    Constant(f32),
    /// Drawn evenly from `-bound` to `bound`.
    Uniform {
        /// The bound.
        bound: f32,
    },
}

impl Start {
    /// Keeps the variance of what goes through a layer with so many inputs for each output, if
    /// a ReLU follows. Source: He et al. (2015).
    #[must_use]
    pub fn he(inputs: usize) -> Self {
        Self::evenly(6.0, inputs)
    }

    /// Keeps the variance where nothing, or a function that is straight near 0, follows.
    /// Source: LeCun et al. (1998).
    #[must_use]
    pub fn lecun(inputs: usize) -> Self {
        Self::evenly(3.0, inputs)
    }

    fn evenly(gain: f32, inputs: usize) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^24 inputs")]
        let inputs = inputs.max(1) as f32;
        Self::Uniform {
            bound: (gain / inputs).sqrt(),
        }
    }
}

/// A forward pass from tensors of `I` dimensions to tensors of `O`, of both of which the first
/// is the sample.
pub trait Network<const I: usize, const O: usize>: Send {
    /// The parameters in the order in which the forward pass needs them.
    fn parameters(&self) -> Vec<Parameter>;

    /// The shape in which [`forward`](Self::forward) takes a batch of this shape, which has as
    /// many numbers.
    ///
    /// # Errors
    /// [`LearnError::Shape`] if it cannot.
    fn input_shape(&self, batch: &[usize]) -> Result<[usize; I], LearnError>;

    /// What comes out.
    fn forward<B: Backend>(&self, parameters: &Parameters<B>, input: Tensor<B, I>) -> Tensor<B, O>;
}

/// Numbers on the device.
pub(crate) type Primitive<B> = <B as BackendTypes>::FloatTensorPrimitive;

/// Puts a gradient's messenger between a parameter and its use in a layer with this input.
pub(crate) type Tap<B> =
    Box<dyn Fn(usize, Primitive<B>, Primitive<B>) -> Primitive<B> + Send + Sync>;

/// The parameters of a network in one forward pass.
pub struct Parameters<B: Backend> {
    names: Arc<Vec<String>>,
    tensors: Vec<Primitive<B>>,
    tap: Option<Tap<B>>,
    /// Those that went through the tap: a parameter used twice has one gradient.
    tapped: Mutex<Vec<Option<Primitive<B>>>>,
}

impl<B: Backend> Parameters<B> {
    pub(crate) fn new(
        names: Arc<Vec<String>>,
        tensors: Vec<Primitive<B>>,
        tap: Option<Tap<B>>,
    ) -> Self {
        let tapped = Mutex::new(vec![None; tensors.len()]);
        Self {
            names,
            tensors,
            tap,
            tapped,
        }
    }

    /// The parameter of this name, for a layer whose input is `input`: once the backward pass
    /// is through with that layer, its gradient is told to the trainer.
    ///
    /// # Panics
    /// If the network did not list a parameter of this name with `D` dimensions.
    #[must_use]
    pub fn tensor<const D: usize, const A: usize>(
        &self,
        name: &str,
        input: &Tensor<B, A>,
    ) -> Tensor<B, D> {
        let index = self.names.iter().position(|other| other == name);
        let Some(index) = index else {
            panic!("the network did not list the parameter `{name}`");
        };
        let tensor = self.tensors[index].clone();
        let tensor = match (&self.tap, self.tapped.lock()) {
            (Some(tap), Ok(mut tapped)) => tapped[index]
                .get_or_insert_with(|| tap(index, tensor, input.clone().into_primitive().tensor()))
                .clone(),
            _ => tensor,
        };
        Tensor::from_primitive(TensorPrimitive::Float(tensor))
    }
}

/// Draws the parameters of a network: the same numbers from the same seed, on every machine.
pub(crate) fn draw(parameters: &[Parameter], seed: u64) -> Vec<f32> {
    let mut values = Vec::new();
    for (index, parameter) in parameters.iter().enumerate() {
        let count: usize = parameter.shape.iter().product();
        match parameter.start {
            Start::Constant(value) => values.extend(std::iter::repeat_n(value, count)),
            Start::Uniform { bound } => {
                let mut random = Random::new(seed ^ (index as u64 + 1).wrapping_mul(0x9E37_79B9));
                values.extend((0..count).map(|_| random.between(-bound, bound)));
            }
        }
    }
    values
}

/// SplitMix64: small, well mixed, and its sequence is defined everywhere.
/// Source: Steele, Lea and Flood (2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        #[allow(clippy::cast_precision_loss, reason = "24 bits fit")]
        let share = (self.bits() >> 40) as f32 / 16_777_216.0;
        low + (high - low) * share
    }

    /// A number of mean 0 and variance 1, nearly normal: the sum of twelve even ones, which
    /// needs no logarithm and so has the same bits everywhere.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.between(0.0, 1.0)).sum::<f32>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_of_the_seed_and_within_their_bound() {
        let parameter = |name: &str| Parameter {
            name: name.to_owned(),
            shape: vec![100, 10],
            start: Start::he(10),
        };
        let list = [parameter("a"), parameter("b")];
        let values = draw(&list, 7);
        assert_eq!(values, draw(&list, 7));
        assert_ne!(values, draw(&list, 8));
        assert_ne!(values[..1000], values[1000..]);
        let bound = 0.6_f32.sqrt();
        assert!(values.iter().all(|value| value.abs() <= bound));
        let mean_square = values.iter().map(|value| value * value).sum::<f32>() / 2000.0;
        assert!((mean_square - 0.2).abs() < 0.02, "{mean_square}");
    }
}
