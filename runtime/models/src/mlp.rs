//! Layers of numbers, each joined with all of the next.

use crate::backend::Backend;
use burn_tensor::Tensor;
use mizar_train::LearnError;
use serde::{Deserialize, Serialize};

use crate::layers::{Activation, Linear};
use crate::network::{Network, Parameter, Parameters};

/// A multilayer perceptron: any shape of a sample, laid flat, to `outputs` numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mlp {
    /// Numbers of a sample.
    pub inputs: usize,
    /// Numbers that come out.
    pub outputs: usize,
    /// The widths of the layers in between.
    pub hidden: Vec<usize>,
    /// What follows each of those.
    #[serde(default)]
    pub activation: Activation,
    /// Whether the last layer gives 0 at the start.
    #[serde(default)]
    pub starts_at_zero: bool,
}

impl Mlp {
    fn layers(&self) -> Vec<Linear> {
        let widths = std::iter::once(&self.inputs).chain(&self.hidden);
        let widths: Vec<usize> = widths.chain([&self.outputs]).copied().collect();
        let last = widths.len() - 2;
        let layer = |(index, pair): (usize, &[usize])| Linear {
            name: format!("layers.{index}"),
            inputs: pair[0],
            outputs: pair[1],
            activation: match index == last {
                true => Activation::None,
                false => self.activation,
            },
            starts_at_zero: self.starts_at_zero && index == last,
        };
        widths.windows(2).enumerate().map(layer).collect()
    }
}

impl Network<2, 2> for Mlp {
    fn parameters(&self) -> Vec<Parameter> {
        self.layers().iter().flat_map(Linear::parameters).collect()
    }

    fn input_shape(&self, batch: &[usize]) -> Result<[usize; 2], LearnError> {
        match batch {
            [samples, rest @ ..] if rest.iter().product::<usize>() == self.inputs => {
                Ok([*samples, self.inputs])
            }
            found => Err(LearnError::Shape {
                what: "inputs",
                expected: format!("(samples, {} numbers)", self.inputs),
                found: found.to_vec(),
            }),
        }
    }

    fn forward<B: Backend>(&self, parameters: &Parameters<B>, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let layers = self.layers();
        layers
            .iter()
            .fold(input, |flow, layer| layer.forward(parameters, flow))
    }
}
