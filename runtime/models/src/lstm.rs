//! Sequences in, numbers out: the hydrologist's surrogate of a catchment or a cell.

use crate::backend::Backend;
use burn_tensor::Tensor;
use mizar_train::LearnError;
use serde::{Deserialize, Serialize};

use crate::layers::{Activation, Linear, LstmLayer};
use crate::network::{Network, Parameter, Parameters};

/// Layers of long short-term memory over `(samples, steps, inputs)`; a linear layer makes
/// `outputs` numbers of the last step's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lstm {
    /// Numbers at each step.
    pub inputs: usize,
    /// Numbers that come out after the last step.
    pub outputs: usize,
    /// Cells of each layer.
    pub hidden: usize,
    /// How many layers.
    #[serde(default = "one")]
    pub layers: usize,
    /// Whether the output is 0 at the start.
    #[serde(default)]
    pub starts_at_zero: bool,
}

fn one() -> usize {
    1
}

impl Lstm {
    fn layers(&self) -> Vec<LstmLayer> {
        let layer = |index| LstmLayer {
            name: format!("lstm.{index}"),
            inputs: if index == 0 { self.inputs } else { self.hidden },
            hidden: self.hidden,
        };
        (0..self.layers).map(layer).collect()
    }

    fn head(&self) -> Linear {
        Linear {
            name: "head".to_owned(),
            inputs: self.hidden,
            outputs: self.outputs,
            activation: Activation::None,
            starts_at_zero: self.starts_at_zero,
        }
    }
}

impl Network<3, 2> for Lstm {
    fn parameters(&self) -> Vec<Parameter> {
        let layers = self.layers();
        let layers = layers.iter().flat_map(LstmLayer::parameters);
        layers.chain(self.head().parameters()).collect()
    }

    fn input_shape(&self, batch: &[usize]) -> Result<[usize; 3], LearnError> {
        match *batch {
            [samples, steps, inputs] if inputs == self.inputs && steps > 0 => {
                Ok([samples, steps, inputs])
            }
            _ => Err(LearnError::Shape {
                what: "inputs",
                expected: format!("(samples, steps, {})", self.inputs),
                found: batch.to_vec(),
            }),
        }
    }

    fn forward<B: Backend>(&self, parameters: &Parameters<B>, input: Tensor<B, 3>) -> Tensor<B, 2> {
        let layers = self.layers();
        let states = layers
            .iter()
            .fold(input, |flow, layer| layer.forward(parameters, flow));
        let [samples, steps, hidden] = states.dims();
        let last = states.narrow(1, steps - 1, 1).reshape([samples, hidden]);
        self.head().forward(parameters, last)
    }
}
