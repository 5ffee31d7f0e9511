//! Fields in, fields out, at one scale: what is learned is added to what is known.

use crate::backend::Backend;
use burn_tensor::Tensor;
use mizar_train::LearnError;
use serde::{Deserialize, Serialize};

use crate::layers::{Activation, Conv2d, Edges};
use crate::network::{Network, Parameter, Parameters};
use crate::unet::field_shape;

/// A residual network over `(samples, inputs, height, width)`: blocks of two convolutions, each
/// added to its own input. Without normalisation of batches, so a sample's result does not
/// depend on those beside it.
///
/// Source: He et al. (2016); that it starts near the identity, Zhang et al. (2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resnet {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Channels of the blocks.
    pub width: usize,
    /// How many blocks.
    pub blocks: usize,
    /// What is beyond the edges.
    #[serde(default)]
    pub edges: Edges,
    /// What follows the first convolution of each block.
    #[serde(default)]
    pub activation: Activation,
    /// Whether the output is 0 at the start.
    #[serde(default)]
    pub starts_at_zero: bool,
}

impl Resnet {
    fn stem(&self) -> Conv2d {
        Conv2d {
            edges: self.edges,
            activation: self.activation,
            ..Conv2d::new("stem", self.inputs, self.width, 3)
        }
    }

    fn block(&self, index: usize) -> [Conv2d; 2] {
        let conv = |part: usize| Conv2d {
            edges: self.edges,
            ..Conv2d::new(format!("blocks.{index}.{part}"), self.width, self.width, 3)
        };
        let first = Conv2d {
            activation: self.activation,
            ..conv(0)
        };
        let second = Conv2d {
            starts_at_zero: true,
            ..conv(1)
        };
        [first, second]
    }

    fn head(&self) -> Conv2d {
        Conv2d {
            starts_at_zero: self.starts_at_zero,
            ..Conv2d::new("head", self.width, self.outputs, 1)
        }
    }
}

impl Network<4, 4> for Resnet {
    fn parameters(&self) -> Vec<Parameter> {
        let blocks = (0..self.blocks).flat_map(|index| self.block(index));
        std::iter::once(self.stem())
            .chain(blocks)
            .chain([self.head()])
            .flat_map(|conv| conv.parameters())
            .collect()
    }

    fn input_shape(&self, batch: &[usize]) -> Result<[usize; 4], LearnError> {
        field_shape(batch, self.inputs)
    }

    fn forward<B: Backend>(&self, parameters: &Parameters<B>, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let mut flow = self.stem().forward(parameters, input);
        for index in 0..self.blocks {
            let [first, second] = self.block(index);
            let added = first.forward(parameters, flow.clone());
            flow = flow + second.forward(parameters, added);
        }
        self.head().forward(parameters, flow)
    }
}
