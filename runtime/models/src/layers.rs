//! Layers that models are made of: each knows its parameters and how it goes forward.
//!
//! Shapes of weights and their order are PyTorch's, so that state dictionaries can be compared.

use burn_tensor::{Tensor, activation, module};
use serde::{Deserialize, Serialize};

use crate::activation::Pointwise;
use crate::backend::{self, Backend, Window};
use crate::network::{Parameter, Parameters, Start};

/// What a leaky unit leaves of what is negative.
pub(crate) const LEAK: f32 = 0.2;

/// What follows a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Nothing.
    None,
    /// The positive part.
    #[default]
    Relu,
    /// The positive part, and a fifth of the negative.
    Leaky,
    /// x·Φ(x).
    Gelu,
    /// x·σ(x).
    Silu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Applies it.
    #[must_use]
    pub fn apply<B: Backend, const D: usize>(self, input: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::None => input,
            Self::Gelu => activation::gelu(input),
            Self::Tanh => activation::tanh(input),
            Self::Relu => backend::pointwise(input, Pointwise::Relu),
            Self::Leaky => backend::pointwise(input, Pointwise::Leaky),
            Self::Silu => backend::pointwise(input, Pointwise::Silu),
        }
    }

    fn start(self, inputs: usize) -> Start {
        match self {
            Self::None | Self::Tanh => Start::lecun(inputs),
            _ => Start::he(inputs),
        }
    }
}

fn parameter(layer: &str, name: &str, shape: Vec<usize>, start: Start) -> Parameter {
    Parameter {
        name: format!("{layer}.{name}"),
        shape,
        start,
    }
}

/// What most layers have: a `weight` and, of each output, a `bias` from 0.
fn weighted(name: &str, shape: Vec<usize>, start: Start, outputs: usize) -> Vec<Parameter> {
    let bias = Start::Constant(0.0);
    vec![
        parameter(name, "weight", shape, start),
        parameter(name, "bias", vec![outputs], bias),
    ]
}

/// Those of a layer that `input` goes through.
fn weight_and_bias<B: Backend, const D: usize>(
    all: &Parameters<B>,
    name: &str,
    input: &Tensor<B, D>,
) -> (Tensor<B, D>, Tensor<B, 1>) {
    let weight = all.tensor(&format!("{name}.weight"), input);
    (weight, all.tensor(&format!("{name}.bias"), input))
}

/// `(samples, inputs)` to `(samples, outputs)`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Its path.
    pub name: String,
    /// Numbers in.
    pub inputs: usize,
    /// Numbers out.
    pub outputs: usize,
    /// What follows.
    pub activation: Activation,
    /// Whether it gives 0 at the start, for the last layer of a correction.
    pub starts_at_zero: bool,
}

impl Linear {
    /// Its parameters: `weight` (outputs, inputs) and `bias`.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let start = match self.starts_at_zero {
            true => Start::Constant(0.0),
            false => self.activation.start(self.inputs),
        };
        let shape = vec![self.outputs, self.inputs];
        weighted(&self.name, shape, start, self.outputs)
    }

    /// Goes forward.
    #[must_use]
    pub fn forward<B: Backend>(&self, all: &Parameters<B>, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let (weight, bias) = weight_and_bias::<B, 2>(all, &self.name, &input);
        let sum = module::linear(input, weight.transpose(), Some(bias));
        self.activation.apply(sum)
    }
}

/// How the edges of fields go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edges {
    /// With zeros.
    #[default]
    Zero,
    /// East of the last column comes the first (a globe's longitudes); zeros beyond the poles.
    Globe,
}

/// `(samples, inputs, height, width)` to `(samples, outputs, height, width)`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Its path.
    pub name: String,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// The side of its kernel: odd.
    pub kernel: usize,
    /// The step of its kernel.
    pub stride: usize,
    /// What is beyond the edges.
    pub edges: Edges,
    /// What follows.
    pub activation: Activation,
    /// Whether it gives 0 at the start, for the last layer of a correction.
    pub starts_at_zero: bool,
}

impl Conv2d {
    /// A layer whose outputs have the extent of its inputs.
    #[must_use]
    pub fn new(name: impl Into<String>, inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self {
            name: name.into(),
            inputs,
            outputs,
            kernel,
            stride: 1,
            edges: Edges::Zero,
            activation: Activation::None,
            starts_at_zero: false,
        }
    }

    /// Its parameters: `weight` (outputs, inputs, kernel, kernel) and `bias`.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let start = match self.starts_at_zero {
            true => Start::Constant(0.0),
            false => self
                .activation
                .start(self.inputs * self.kernel * self.kernel),
        };
        let shape = vec![self.outputs, self.inputs, self.kernel, self.kernel];
        weighted(&self.name, shape, start, self.outputs)
    }

    /// Goes forward.
    #[must_use]
    pub fn forward<B: Backend>(&self, all: &Parameters<B>, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let parameters = weight_and_bias::<B, 4>(all, &self.name, &input);
        let window = Window {
            stride: self.stride,
            reach: self.kernel / 2,
            edges: self.edges,
        };
        self.activation
            .apply(backend::gather(input, parameters, window))
    }
}

/// Doubles height and width: `(samples, inputs, h, w)` to `(samples, outputs, 2h, 2w)`.
#[derive(Clone, Debug)]
pub struct Double2d {
    /// Its path.
    pub name: String,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
}

impl Double2d {
    /// Its parameters: `weight` (inputs, outputs, 2, 2) and `bias`.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let shape = vec![self.inputs, self.outputs, 2, 2];
        weighted(&self.name, shape, Start::lecun(self.inputs), self.outputs)
    }

    /// Goes forward.
    #[must_use]
    pub fn forward<B: Backend>(&self, all: &Parameters<B>, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let parameters = weight_and_bias::<B, 4>(all, &self.name, &input);
        backend::spread(input, parameters)
    }
}

/// A layer of long short-term memory: `(samples, steps, inputs)` to `(samples, steps, hidden)`.
/// Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000).
#[derive(Clone, Debug)]
pub struct LstmLayer {
    /// Its path.
    pub name: String,
    /// Numbers in at each step.
    pub inputs: usize,
    /// Cells.
    pub hidden: usize,
}

impl LstmLayer {
    /// Its parameters: `weight_ih` (4 hidden, inputs), `weight_hh` (4 hidden, hidden) and `bias`
    /// (4 hidden): gates input, forget, cell, output, as PyTorch orders them.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let gates = 4 * self.hidden;
        let name = &self.name;
        vec![
            parameter(
                name,
                "weight_ih",
                vec![gates, self.inputs],
                Start::lecun(self.inputs),
            ),
            parameter(
                name,
                "weight_hh",
                vec![gates, self.hidden],
                Start::lecun(3 * self.hidden),
            ),
            parameter(name, "bias", vec![gates], Start::Constant(0.0)),
        ]
    }

    /// Goes forward through all steps.
    #[must_use]
    pub fn forward<B: Backend>(&self, all: &Parameters<B>, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let [samples, steps, inputs] = input.dims();
        let hidden = self.hidden;
        let of_input: Tensor<B, 2> = all.tensor(&format!("{}.weight_ih", self.name), &input);
        let of_state: Tensor<B, 2> = all.tensor(&format!("{}.weight_hh", self.name), &input);
        let bias: Tensor<B, 1> = all.tensor(&format!("{}.bias", self.name), &input);
        let device = input.device();
        // What the inputs do to the gates, for all steps at once.
        let rows = input.reshape([samples * steps, inputs]);
        let driven = module::linear(rows, of_input.transpose(), Some(bias)).reshape([
            samples,
            steps,
            4 * hidden,
        ]);
        let of_state = of_state.transpose();
        let mut cell = Tensor::<B, 2>::zeros([samples, hidden], &device);
        let mut state = cell.clone();
        let mut states = Vec::with_capacity(steps);
        for step in 0..steps {
            let gates = driven
                .clone()
                .narrow(1, step, 1)
                .reshape([samples, 4 * hidden])
                + state.matmul(of_state.clone());
            let gate = |index: usize| gates.clone().narrow(1, index * hidden, hidden);
            let kept = activation::sigmoid(gate(1)) * cell;
            let added = activation::sigmoid(gate(0)) * activation::tanh(gate(2));
            cell = kept + added;
            state = activation::sigmoid(gate(3)) * activation::tanh(cell.clone());
            states.push(state.clone().unsqueeze_dim::<3>(1));
        }
        Tensor::cat(states, 1)
    }
}

/// `(samples, inputs, depth, height, width)` to `(samples, outputs, …)`, of the same extent or,
/// with a stride of 2, of half.
#[derive(Clone, Debug)]
pub struct Conv3d {
    /// Its path.
    pub name: String,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// The step of its kernel of 3×3×3.
    pub stride: usize,
    /// What follows.
    pub activation: Activation,
}

impl Conv3d {
    /// Its parameters: `weight` (outputs, inputs, 3, 3, 3) and `bias`.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let shape = vec![self.outputs, self.inputs, 3, 3, 3];
        let start = self.activation.start(27 * self.inputs);
        weighted(&self.name, shape, start, self.outputs)
    }

    /// Goes forward.
    #[must_use]
    pub fn forward<B: Backend>(&self, all: &Parameters<B>, input: Tensor<B, 5>) -> Tensor<B, 5> {
        let parameters = weight_and_bias::<B, 5>(all, &self.name, &input);
        let window = Window {
            stride: self.stride,
            reach: 1,
            edges: Edges::Zero,
        };
        self.activation
            .apply(backend::gather(input, parameters, window))
    }
}

/// Doubles all three extents: `(samples, inputs, d, h, w)` to `(samples, outputs, 2d, 2h, 2w)`.
#[derive(Clone, Debug)]
pub struct Double3d {
    /// Its path.
    pub name: String,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// What follows.
    pub activation: Activation,
}

impl Double3d {
    /// Its parameters: `weight` (inputs, outputs, 2, 2, 2) and `bias`.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let shape = vec![self.inputs, self.outputs, 2, 2, 2];
        let start = self.activation.start(self.inputs);
        weighted(&self.name, shape, start, self.outputs)
    }

    /// Goes forward.
    #[must_use]
    pub fn forward<B: Backend>(&self, all: &Parameters<B>, input: Tensor<B, 5>) -> Tensor<B, 5> {
        let parameters = weight_and_bias::<B, 5>(all, &self.name, &input);
        self.activation.apply(backend::spread(input, parameters))
    }
}
