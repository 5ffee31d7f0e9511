//! A network with a loss, as the trainer's `Learner`.
//!
//! Parameters lie on the device between steps; each step wraps them for Burn's autodiff, runs
//! forward here and backward on a thread of its own, and hands gradients on in the order in
//! which the backward pass finds them (see [`crate::hook`]).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::backend::{Backend, Differentiable};
use burn_autodiff::Autodiff;
use burn_tensor::backend::AutodiffBackend;
use burn_tensor::{ElementConversion as _, Shape, Tensor, TensorData, TensorPrimitive};
use mizar_train::{Array, Batch, Layout, LearnError, Learner};

use crate::hook::{self, Told};
use crate::loss::Loss;
use crate::network::{Network, Parameter, Parameters, Primitive, Tap, draw};

/// A network that learns its targets.
pub struct Supervised<N, B: Differentiable, const I: usize, const O: usize> {
    network: N,
    loss: Loss,
    weights: Weights<B>,
}

impl<N: Network<I, O>, B: Differentiable, const I: usize, const O: usize> Supervised<N, B, I, O> {
    /// A learner of this network on a device, with parameters drawn by `seed`.
    pub fn new(network: N, loss: Loss, seed: u64, device: B::Device) -> Self {
        let weights = Weights::new(&network.parameters(), seed, device);
        Self {
            network,
            loss,
            weights,
        }
    }

    fn input<A: Backend<Device = B::Device>>(
        &self,
        inputs: &Array,
    ) -> Result<Tensor<A, I>, LearnError> {
        let shape = self.network.input_shape(&inputs.shape)?;
        Ok(tensor(inputs.values.clone(), shape, &self.weights.device))
    }

    fn loss_of<A: Backend<Device = B::Device>>(
        &self,
        parameters: &Parameters<A>,
        batch: &Batch,
    ) -> Result<Tensor<A, 1>, LearnError> {
        let output = self
            .network
            .forward(parameters, self.input::<A>(&batch.inputs)?);
        let shape = output.dims();
        if batch.targets.values.len() != shape.iter().product::<usize>() {
            return Err(LearnError::Shape {
                what: "targets",
                expected: format!("{shape:?}"),
                found: batch.targets.shape.clone(),
            });
        }
        Ok(self.loss.of(output, &batch.targets.values))
    }
}

impl<N: Network<I, O>, B: Differentiable, const I: usize, const O: usize> Learner
    for Supervised<N, B, I, O>
{
    fn layout(&self) -> &Layout {
        &self.weights.layout
    }

    fn initial(&self) -> Vec<f32> {
        self.weights.initial()
    }

    fn load(&mut self, parameters: &[f32]) {
        self.weights.load(parameters);
    }

    fn gradients(
        &mut self,
        _phase: usize,
        batch: &Batch,
        _random: u64,
        ready: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<f64, LearnError> {
        let (sender, receiver) = channel();
        let all = 0..self.weights.layout.tensors().len();
        let parameters = self.weights.tracked(&sender, all.clone());
        let loss = self.loss_of(&parameters, batch)?;
        drop(parameters);
        Ok(backward(
            loss,
            (sender, receiver),
            &self.weights.layout,
            all,
            ready,
        ))
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<f64, LearnError> {
        let loss = self.loss_of(&self.weights.plain(), batch)?;
        Ok(loss.into_scalar().elem())
    }

    fn predict(&mut self, inputs: &Array) -> Result<Array, LearnError> {
        let input = self.input::<B>(inputs)?;
        Ok(array(self.network.forward(&self.weights.plain(), input)))
    }
}

/// Parameters on a device.
pub(crate) struct Weights<B: Differentiable> {
    pub(crate) layout: Layout,
    list: Vec<Parameter>,
    names: Arc<Vec<String>>,
    seed: u64,
    pub(crate) device: B::Device,
    tensors: Vec<Primitive<B>>,
}

impl<B: Differentiable> Weights<B> {
    pub(crate) fn new(list: &[Parameter], seed: u64, device: B::Device) -> Self {
        let layout = Layout::new(list.iter().map(|p| (p.name.clone(), p.shape.clone())));
        let names = Arc::new(list.iter().map(|p| p.name.clone()).collect());
        let mut weights = Self {
            layout,
            list: list.to_vec(),
            names,
            seed,
            device,
            tensors: Vec::new(),
        };
        weights.load(&weights.initial());
        weights
    }

    pub(crate) fn initial(&self) -> Vec<f32> {
        draw(&self.list, self.seed)
    }

    pub(crate) fn load(&mut self, values: &[f32]) {
        let one = |tensor: &mizar_train::Tensor| {
            let data = TensorData::new(values[tensor.range()].to_vec(), tensor.shape.clone());
            B::float_from_data(data, &self.device)
        };
        self.tensors = self.layout.tensors().iter().map(one).collect();
    }

    /// For a forward pass alone.
    pub(crate) fn plain(&self) -> Parameters<B> {
        Parameters::new(Arc::clone(&self.names), self.tensors.clone(), None)
    }

    /// For a forward pass whose backward pass tells the gradients of these tensors.
    pub(crate) fn tracked(
        &self,
        sender: &Sender<Message<B>>,
        learning: std::ops::Range<usize>,
    ) -> Parameters<Autodiff<B>> {
        let wrap = |(index, tensor): (usize, &Primitive<B>)| {
            let tensor = Autodiff::<B>::from_inner(tensor.clone());
            match learning.contains(&index) {
                true => tensor.require_grad(),
                false => tensor,
            }
        };
        let tensors = self.tensors.iter().enumerate().map(wrap).collect();
        let sender = sender.clone();
        let learning = learning.clone();
        let tap: Tap<Autodiff<B>> =
            Box::new(
                move |index, parameter, input| match learning.contains(&index) {
                    true => hook::tell::<B>(index, parameter, &input, sender.clone()),
                    false => parameter,
                },
            );
        Parameters::new(Arc::clone(&self.names), tensors, Some(tap))
    }
}

/// A gradient, or that there are no more.
pub(crate) type Message<B> = Option<Told<B>>;

/// Runs the backward pass of `loss` and hands the gradients of the tensors in `phase` to
/// `ready` as they come; a tensor that the loss does not depend on gets zeros at the end.
/// Returns the loss.
pub(crate) fn backward<B: Differentiable>(
    loss: Tensor<Autodiff<B>, 1>,
    (sender, receiver): (Sender<Message<B>>, Receiver<Message<B>>),
    layout: &Layout,
    phase: std::ops::Range<usize>,
    ready: &mut dyn FnMut(usize, &[f32]),
) -> f64 {
    let value = loss.clone().inner().into_scalar().elem();
    let mut is_told = vec![false; layout.tensors().len()];
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Ends the wait below even if the backward pass panics.
            let _end = End::<B>(sender);
            loss.backward();
        });
        while let Ok(Some((index, gradient))) = receiver.recv() {
            if phase.contains(&index) {
                is_told[index] = true;
                ready(index, &values::<B>(gradient));
            }
        }
    });
    for index in phase.filter(|&index| !is_told[index]) {
        ready(index, &vec![0.0; layout.tensors()[index].len()]);
    }
    value
}

struct End<B: Backend>(Sender<Message<B>>);

impl<B: Backend> Drop for End<B> {
    fn drop(&mut self) {
        let _ = self.0.send(None);
    }
}

fn values<B: Backend>(primitive: Primitive<B>) -> Vec<f32> {
    // Rank 1 is a formality: the data keep their order.
    let tensor = Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(primitive));
    plain(tensor.into_data())
}

pub(crate) fn tensor<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, Shape::from(shape)), device)
}

pub(crate) fn array<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Array {
    let shape = tensor.dims().to_vec();
    let values = plain(tensor.into_data());
    Array { shape, values }
}

fn plain(data: TensorData) -> Vec<f32> {
    data.convert::<f32>()
        .into_vec()
        .expect("the numbers were just made f32")
}
