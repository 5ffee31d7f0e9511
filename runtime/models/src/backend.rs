//! What a network needs of a back end: all that Burn's have, convolutions and activations.
//!
//! Burn makes the gradient of a kernel by a convolution whose kernel is as large as the field,
//! which on a CPU costs several times the forward pass, and activations of several passes over
//! memory. So the layers call operations of our own ([`crate::convolution`],
//! [`crate::activation`]), which are told to Burn's autodiff here.

mod flex;

use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_tensor::{Tensor, TensorMetadata as _, TensorPrimitive, backend};

use crate::activation::Pointwise;
use crate::layers::Edges;
use crate::network::Primitive;

/// A back end of Burn on which networks run.
pub trait Backend: backend::Backend {
    /// A convolution: `(samples, inputs, field…)` to `(samples, outputs, coarse…)`, by weights
    /// `(outputs, inputs, kernel…)`, on one to three dimensions of space.
    #[doc(hidden)]
    fn gather(
        field: Primitive<Self>,
        weight: Primitive<Self>,
        bias: Primitive<Self>,
        how: Window,
    ) -> Primitive<Self>;

    /// A transposed convolution whose kernel has the extent of its stride:
    /// `(samples, inputs, coarse…)` to `(samples, outputs, field…)`, by weights
    /// `(inputs, outputs, kernel…)`.
    #[doc(hidden)]
    fn spread(
        coarse: Primitive<Self>,
        weight: Primitive<Self>,
        bias: Primitive<Self>,
    ) -> Primitive<Self>;

    /// The largest of each two by two cells of fields whose height and width are even.
    #[doc(hidden)]
    fn halve(field: Primitive<Self>) -> Primitive<Self>;

    /// Two fields of the same samples and extent, the channels of the second after the first's.
    #[doc(hidden)]
    fn join(fields: [Primitive<Self>; 2]) -> Primitive<Self>;

    /// An activation.
    #[doc(hidden)]
    fn pointwise(input: Primitive<Self>, how: Pointwise) -> Primitive<Self>;
}

/// A back end whose convolutions have gradients, so that networks can learn on it.
pub trait Differentiable: Backend {
    /// The gradients of [`Backend::gather`] by what is wanted of field, weight and bias.
    #[doc(hidden)]
    fn gather_backward(
        field: Primitive<Self>,
        weight: Primitive<Self>,
        how: Window,
        gradient: Primitive<Self>,
        wanted: [bool; 3],
    ) -> [Option<Primitive<Self>>; 3];

    /// The gradients of [`Backend::spread`] by what is wanted of field, weight and bias.
    #[doc(hidden)]
    fn spread_backward(
        coarse: Primitive<Self>,
        weight: Primitive<Self>,
        gradient: Primitive<Self>,
        wanted: [bool; 3],
    ) -> [Option<Primitive<Self>>; 3];

    /// The gradient of [`Backend::halve`].
    #[doc(hidden)]
    fn halve_backward(field: Primitive<Self>, gradient: Primitive<Self>) -> Primitive<Self>;

    /// Undoes [`Backend::join`], where the first had so many channels.
    #[doc(hidden)]
    fn part(joined: Primitive<Self>, channels: usize) -> [Primitive<Self>; 2];

    /// The gradient of [`Backend::pointwise`].
    #[doc(hidden)]
    fn pointwise_backward(
        input: Primitive<Self>,
        how: Pointwise,
        gradient: Primitive<Self>,
    ) -> Primitive<Self>;
}

/// How a kernel goes over a field.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Its step.
    pub stride: usize,
    /// Cells beyond each edge that it sees.
    pub reach: usize,
    /// What is there.
    pub edges: Edges,
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Primitive<B> {
    tensor.into_primitive().tensor()
}

/// [`Backend::gather`] of tensors.
pub(crate) fn gather<B: Backend, const D: usize>(
    field: Tensor<B, D>,
    (weight, bias): (Tensor<B, D>, Tensor<B, 1>),
    how: Window,
) -> Tensor<B, D> {
    let made = B::gather(primitive(field), primitive(weight), primitive(bias), how);
    Tensor::from_primitive(TensorPrimitive::Float(made))
}

/// [`Backend::spread`] of tensors.
pub(crate) fn spread<B: Backend, const D: usize>(
    coarse: Tensor<B, D>,
    (weight, bias): (Tensor<B, D>, Tensor<B, 1>),
) -> Tensor<B, D> {
    let made = B::spread(primitive(coarse), primitive(weight), primitive(bias));
    Tensor::from_primitive(TensorPrimitive::Float(made))
}

/// [`Backend::halve`] of a tensor.
pub(crate) fn halve<B: Backend>(field: Tensor<B, 4>) -> Tensor<B, 4> {
    Tensor::from_primitive(TensorPrimitive::Float(B::halve(primitive(field))))
}

/// [`Backend::join`] of tensors.
pub(crate) fn join<B: Backend, const D: usize>(fields: [Tensor<B, D>; 2]) -> Tensor<B, D> {
    let made = B::join(fields.map(primitive));
    Tensor::from_primitive(TensorPrimitive::Float(made))
}

/// [`Backend::pointwise`] of a tensor.
pub(crate) fn pointwise<B: Backend, const D: usize>(
    input: Tensor<B, D>,
    how: Pointwise,
) -> Tensor<B, D> {
    let made = B::pointwise(primitive(input), how);
    Tensor::from_primitive(TensorPrimitive::Float(made))
}

/// A halved field in the graph of the backward pass.
#[derive(Debug)]
struct Halve;

impl<B: Differentiable> Backward<B, 1> for Halve {
    type State = Primitive<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let [Some(parent)] = ops.parents else { return };
        gradients.register::<B>(parent.id, B::halve_backward(ops.state, gradient));
    }
}

/// Joined fields in the graph of the backward pass.
#[derive(Debug)]
struct Join;

impl<B: Differentiable> Backward<B, 2> for Join {
    /// The channels of the first.
    type State = usize;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parts = B::part(gradients.consume::<B>(&ops.node), ops.state);
        for (parent, part) in ops.parents.into_iter().zip(parts) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, part);
            }
        }
    }
}

/// An activation in the graph of the backward pass.
#[derive(Debug)]
struct Activate;

impl<B: Differentiable> Backward<B, 1> for Activate {
    type State = (Primitive<B>, Pointwise);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let [Some(parent)] = ops.parents else { return };
        let (input, how) = ops.state;
        gradients.register::<B>(parent.id, B::pointwise_backward(input, how, gradient));
    }
}

/// One of the two convolutions in the graph of the backward pass.
#[derive(Debug)]
struct Convolution;

#[derive(Clone, Debug)]
struct State<T> {
    field: T,
    weight: T,
    /// None for [`Backend::spread`].
    how: Option<Window>,
}

impl<B: Differentiable> Backward<B, 3> for Convolution {
    type State = State<Primitive<B>>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let wanted = [0, 1, 2].map(|parent| ops.parents[parent].is_some());
        let State { field, weight, how } = ops.state;
        let made = match how {
            Some(how) => B::gather_backward(field, weight, how, gradient, wanted),
            None => B::spread_backward(field, weight, gradient, wanted),
        };
        for (parent, made) in ops.parents.into_iter().zip(made) {
            if let (Some(parent), Some(made)) = (parent, made) {
                gradients.register::<B>(parent.id, made);
            }
        }
    }
}

fn tracked<B: Differentiable>(
    parents: [Primitive<Autodiff<B>>; 3],
    how: Option<Window>,
) -> Primitive<Autodiff<B>> {
    let nodes = [0, 1, 2].map(|parent| parents[parent].node.clone());
    let [field, weight, bias] = parents.map(|parent| parent.primitive);
    let state = State {
        field: field.clone(),
        weight: weight.clone(),
        how,
    };
    let made = match how {
        Some(how) => B::gather(field, weight, bias, how),
        None => B::spread(field, weight, bias),
    };
    let prepared = Backward::<B, 3>::prepare::<NoCheckpointing>(Convolution, nodes)
        .compute_bound()
        .stateful();
    match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(state, made),
        OpsKind::UnTracked(prepared) => prepared.finish(made),
    }
}

impl<B: Differentiable> Backend for Autodiff<B> {
    fn gather(
        field: Primitive<Self>,
        weight: Primitive<Self>,
        bias: Primitive<Self>,
        how: Window,
    ) -> Primitive<Self> {
        tracked([field, weight, bias], Some(how))
    }

    fn spread(
        coarse: Primitive<Self>,
        weight: Primitive<Self>,
        bias: Primitive<Self>,
    ) -> Primitive<Self> {
        tracked([coarse, weight, bias], None)
    }

    fn halve(field: Primitive<Self>) -> Primitive<Self> {
        let made = B::halve(field.primitive.clone());
        let prepared = Backward::<B, 1>::prepare::<NoCheckpointing>(Halve, [field.node])
            .compute_bound()
            .stateful();
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(field.primitive, made),
            OpsKind::UnTracked(prepared) => prepared.finish(made),
        }
    }

    fn join(fields: [Primitive<Self>; 2]) -> Primitive<Self> {
        let channels = fields[0].primitive.shape()[1];
        let nodes = [0, 1].map(|field| fields[field].node.clone());
        let made = B::join(fields.map(|field| field.primitive));
        let prepared = Backward::<B, 2>::prepare::<NoCheckpointing>(Join, nodes)
            .compute_bound()
            .stateful();
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(channels, made),
            OpsKind::UnTracked(prepared) => prepared.finish(made),
        }
    }

    fn pointwise(input: Primitive<Self>, how: Pointwise) -> Primitive<Self> {
        let made = B::pointwise(input.primitive.clone(), how);
        let prepared = Backward::<B, 1>::prepare::<NoCheckpointing>(Activate, [input.node])
            .compute_bound()
            .stateful();
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((input.primitive, how), made),
            OpsKind::UnTracked(prepared) => prepared.finish(made),
        }
    }
}
