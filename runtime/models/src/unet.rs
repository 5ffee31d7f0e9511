//! Fields in, fields out, seen at several scales.

use crate::backend::{self, Backend};
use burn_tensor::Tensor;
use mizar_train::LearnError;
use serde::{Deserialize, Serialize};

use crate::layers::{Activation, Conv2d, Double2d, Edges};
use crate::network::{Network, Parameter, Parameters};

/// A U-Net over `(samples, inputs, height, width)`: on the way down each level halves the field
/// and doubles the channels, on the way up it is joined with what was seen on the way down.
/// Fields of any extent are taken: they are padded to what can be halved, and cut again.
///
/// Source: Ronneberger, Fischer and Brox (2015), with padded convolutions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unet {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Channels of the first level.
    pub width: usize,
    /// How often the field is halved.
    pub depth: usize,
    /// What is beyond the edges.
    #[serde(default)]
    pub edges: Edges,
    /// What follows each convolution but the last.
    #[serde(default)]
    pub activation: Activation,
    /// Whether the output is 0 at the start.
    #[serde(default)]
    pub starts_at_zero: bool,
}

impl Unet {
    fn conv(&self, name: String, inputs: usize, outputs: usize) -> Conv2d {
        Conv2d {
            edges: self.edges,
            activation: self.activation,
            ..Conv2d::new(name, inputs, outputs, 3)
        }
    }

    fn pair(&self, name: &str, inputs: usize, outputs: usize) -> [Conv2d; 2] {
        [
            self.conv(format!("{name}.0"), inputs, outputs),
            self.conv(format!("{name}.1"), outputs, outputs),
        ]
    }

    fn channels(&self, level: usize) -> usize {
        self.width << level
    }

    /// Level 0 first; the last is the bottom.
    fn down(&self, level: usize) -> [Conv2d; 2] {
        let inputs = match level {
            0 => self.inputs,
            level => self.channels(level - 1),
        };
        self.pair(&format!("down.{level}"), inputs, self.channels(level))
    }

    fn up(&self, level: usize) -> (Double2d, [Conv2d; 2]) {
        let (here, below) = (self.channels(level), self.channels(level + 1));
        let double = Double2d {
            name: format!("up.{level}.double"),
            inputs: below,
            outputs: here,
        };
        (double, self.pair(&format!("up.{level}"), 2 * here, here))
    }

    fn head(&self) -> Conv2d {
        Conv2d {
            starts_at_zero: self.starts_at_zero,
            ..Conv2d::new("head", self.width, self.outputs, 1)
        }
    }
}

fn through<B: Backend>(
    convs: &[Conv2d; 2],
    parameters: &Parameters<B>,
    flow: Tensor<B, 4>,
) -> Tensor<B, 4> {
    convs
        .iter()
        .fold(flow, |flow, conv| conv.forward(parameters, flow))
}

impl Network<4, 4> for Unet {
    fn parameters(&self) -> Vec<Parameter> {
        let mut list = Vec::new();
        for level in 0..=self.depth {
            list.extend(self.down(level).iter().flat_map(Conv2d::parameters));
        }
        for level in (0..self.depth).rev() {
            let (double, convs) = self.up(level);
            list.extend(double.parameters());
            list.extend(convs.iter().flat_map(Conv2d::parameters));
        }
        list.extend(self.head().parameters());
        list
    }

    fn input_shape(&self, batch: &[usize]) -> Result<[usize; 4], LearnError> {
        field_shape(batch, self.inputs)
    }

    fn forward<B: Backend>(&self, parameters: &Parameters<B>, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [samples, _, height, width] = input.dims();
        let mut flow = padded(input, 1 << self.depth);
        let mut seen = Vec::new();
        for level in 0..self.depth {
            let field = through(&self.down(level), parameters, flow);
            flow = backend::halve(field.clone());
            seen.push(field);
        }
        flow = through(&self.down(self.depth), parameters, flow);
        for level in (0..self.depth).rev() {
            let (double, convs) = self.up(level);
            let doubled = double.forward(parameters, flow);
            let joined = match seen.pop() {
                Some(field) => backend::join([field, doubled]),
                None => doubled,
            };
            flow = through(&convs, parameters, joined);
        }
        let output = self.head().forward(parameters, flow);
        output.slice([0..samples, 0..self.outputs, 0..height, 0..width])
    }
}

/// A field whose edges repeat until height and width are multiples of `step`.
fn padded<B: Backend>(field: Tensor<B, 4>, step: usize) -> Tensor<B, 4> {
    let mut field = field;
    for dim in [2, 3] {
        let len = field.dims()[dim];
        let more = len.next_multiple_of(step) - len;
        if more > 0 {
            let edge = field.clone().narrow(dim, len - 1, 1).repeat_dim(dim, more);
            field = Tensor::cat(vec![field, edge], dim);
        }
    }
    field
}

/// What a network over fields of so many channels takes.
pub(crate) fn field_shape(batch: &[usize], channels: usize) -> Result<[usize; 4], LearnError> {
    match *batch {
        [samples, found, height, width] if found == channels && height > 0 && width > 0 => {
            Ok([samples, found, height, width])
        }
        _ => Err(LearnError::Shape {
            what: "inputs",
            expected: format!("(samples, {channels}, height, width)"),
            found: batch.to_vec(),
        }),
    }
}
