//! Gradients told while the backward pass runs.
//!
//! Burn gives gradients when all of its backward pass is over; a trainer that exchanges them
//! meanwhile needs each as soon as it is known. So every parameter passes through an operation
//! that changes nothing, whose backward step sends the gradient through a channel.
//!
//! Burn goes backward by depth: an operation on a leaf alone would come at the very end. This one
//! has the input of its layer as a second parent (which gets no gradient from it), so its turn
//! comes right after its layer's, before all that made that input.

use std::sync::mpsc::Sender;

use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_tensor::backend::{Backend, BackendTypes};

type Inner<B> = <B as BackendTypes>::FloatTensorPrimitive;
type Outer<B> = <Autodiff<B> as BackendTypes>::FloatTensorPrimitive;

/// Which parameter, and the gradient of the loss by it.
pub(crate) type Told<B> = (usize, Inner<B>);

/// `parameter` as it is; when the backward pass reaches it, its gradient is sent.
pub(crate) fn tell<B: Backend>(
    index: usize,
    parameter: Outer<B>,
    input: &Outer<B>,
    sender: Sender<Option<Told<B>>>,
) -> Outer<B> {
    let value = parameter.primitive.clone();
    let nodes = [parameter.node.clone(), input.node.clone()];
    let prepared = Backward::<B, 2>::prepare::<NoCheckpointing>(Tell, nodes)
        .compute_bound()
        .stateful();
    match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(State::<B> { index, sender }, value),
        OpsKind::UnTracked(prepared) => prepared.finish(value),
    }
}

#[derive(Debug)]
struct Tell;

#[derive(Debug)]
struct State<B: Backend> {
    index: usize,
    sender: Sender<Option<Told<B>>>,
}

impl<B: Backend> Clone for State<B> {
    fn clone(&self) -> Self {
        Self {
            index: self.index,
            sender: self.sender.clone(),
        }
    }
}

impl<B: Backend> Backward<B, 2> for Tell {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        // Nobody listens any more where the caller has given up.
        let _ = ops.state.sender.send(Some((ops.state.index, gradient)));
    }
}
