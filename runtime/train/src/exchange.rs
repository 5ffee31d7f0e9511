//! Gradients on their way: collected tensor by tensor while the backward pass runs, and sent
//! bucket by bucket as soon as each is full, in the same order on all ranks.

use half::{bf16, f16};
use mizar_comm::ReduceOperation;
use mizar_comm::collective::Pending;

use crate::plan::Plan;
use crate::precision::are_finite;
use crate::state::Reduced;
use crate::world::World;
use crate::{Compression, Options, Precision, Result, Strategy};

/// Numbers that are looked at and copied at a time, while they are in the cache.
const CHUNK: usize = 4096;

/// What is wrong with a gradient on this rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The model breaks its contract.
    Contract(String),
    /// This tensor's is not finite.
    NotFinite(usize),
}

/// The gradients of a phase.
pub(crate) struct Exchange {
    strategy: Strategy,
    compression: Compression,
    precision: Precision,
    /// One for each bucket, with room for equal parts; empty while it travels.
    buffers: Vec<Vec<f32>>,
    /// ZeRO-2: the caller's parts, summed over the pieces of a step.
    parts: Vec<Vec<f32>>,
    pending: Vec<Option<Pending<f32>>>,
    /// Tensors that each bucket waits for in this piece.
    missing: Vec<usize>,
    seen: Vec<bool>,
    /// The order in which tensors came in this piece.
    pub(crate) order: Vec<usize>,
    /// Buckets that were sent in this piece.
    sent: usize,
    /// Pieces with samples that were computed in this step.
    computed: usize,
    sends: bool,
    scratch: Vec<f32>,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) overflows: bool,
}

impl Exchange {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            strategy: options.strategy,
            compression: options.fused.compression,
            precision: options.precision,
            buffers: Vec::new(),
            parts: Vec::new(),
            pending: Vec::new(),
            missing: Vec::new(),
            seen: Vec::new(),
            order: Vec::new(),
            sent: 0,
            computed: 0,
            sends: false,
            scratch: Vec::new(),
            trouble: None,
            overflows: false,
        }
    }

    /// A step begins.
    pub(crate) fn begin_step(&mut self, plan: &Plan, ranks: usize) {
        self.buffers.resize(plan.buckets.len(), Vec::new());
        for (buffer, bucket) in self.buffers.iter_mut().zip(&plan.buckets) {
            buffer.resize(bucket.padded(ranks), 0.0);
        }
        self.parts.clear();
        self.computed = 0;
        self.trouble = None;
        self.overflows = false;
    }

    /// A piece begins; gradients travel after the last, in ZeRO-2 after each.
    pub(crate) fn begin_piece(&mut self, plan: &Plan, is_last: bool) {
        self.sends = match self.strategy {
            Strategy::LocalSgd => false,
            Strategy::Zero2 => true,
            _ => is_last,
        };
        self.missing = plan
            .buckets
            .iter()
            .map(|bucket| bucket.tensors.len())
            .collect();
        let tensors = self.missing.iter().sum();
        self.seen = vec![false; tensors];
        self.order.clear();
        self.pending = plan.buckets.iter().map(|_| None).collect();
        self.sent = 0;
    }

    /// Takes the gradient of a tensor, of the mean over samples that are `weight` of all.
    pub(crate) fn ready(
        &mut self,
        world: &World,
        plan: &Plan,
        (tensor, gradient): (usize, &[f32]),
        weight: f32,
        scale: f32,
    ) {
        let Some((bucket, piece)) = plan.place(tensor) else {
            return self.breaks(format!(
                "it gives a gradient for tensor {tensor} of another phase"
            ));
        };
        if gradient.len() != piece.flat.len() {
            let (found, expected) = (gradient.len(), piece.flat.len());
            return self.breaks(format!(
                "the gradient of tensor {tensor} has {found} numbers instead of {expected}"
            ));
        }
        let seen = tensor - plan.first();
        if std::mem::replace(&mut self.seen[seen], true) {
            return self.breaks(format!("it gives the gradient of tensor {tensor} twice"));
        }
        self.order.push(tensor);
        let into = &mut self.buffers[bucket][piece.at..piece.at + gradient.len()];
        let adds = self.computed > 0 && self.strategy != Strategy::Zero2;
        let mut is_finite = true;
        for (into, gradient) in into.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK)) {
            is_finite &= are_finite(gradient);
            let gradient = if self.precision == Precision::F32 {
                gradient
            } else {
                self.scratch.clear();
                self.scratch.extend_from_slice(gradient);
                self.overflows |= self.precision.round_gradient(&mut self.scratch, scale);
                &self.scratch
            };
            let pairs = into.iter_mut().zip(gradient);
            match adds {
                true => pairs.for_each(|(sum, value)| *sum += weight * value),
                false => pairs.for_each(|(sum, value)| *sum = weight * value),
            }
        }
        if !is_finite && self.trouble.is_none() {
            self.trouble = Some(Trouble::NotFinite(tensor));
        }
        self.missing[bucket] -= 1;
        while self.sends && self.missing.get(self.sent) == Some(&0) {
            self.send(world);
        }
    }

    fn breaks(&mut self, what: String) {
        if self.trouble.is_none() {
            self.trouble = Some(Trouble::Contract(what));
        }
    }

    /// Sends the next bucket.
    fn send(&mut self, world: &World) {
        let index = self.sent;
        self.sent += 1;
        let is_compressed =
            self.strategy == Strategy::Fused && self.compression != Compression::None;
        if world.size() == 1 && !is_compressed {
            return;
        }
        let values = std::mem::take(&mut self.buffers[index]);
        let engine = &world.engine;
        let sum = ReduceOperation::Sum;
        self.pending[index] = Some(match (self.strategy, self.compression) {
            (Strategy::Fused, Compression::Fp16) => engine.all_reduce_narrow::<f16>(values),
            (Strategy::Fused, Compression::Bf16) => engine.all_reduce_narrow::<bf16>(values),
            (Strategy::Zero1 | Strategy::Zero2 | Strategy::Zero3, _) => {
                engine.reduce_scatter(values, sum)
            }
            _ => engine.all_reduce(values, sum),
        });
    }

    /// A piece ends; `was_computed` if the caller had samples in it. Whatever went wrong here,
    /// the others get their buckets.
    ///
    /// # Errors
    /// A lost rank.
    pub(crate) fn end_piece(
        &mut self,
        world: &World,
        plan: &Plan,
        was_computed: bool,
        is_last: bool,
    ) -> Result<()> {
        if was_computed
            && self.trouble.is_none()
            && let Some(index) = self.seen.iter().position(|seen| !seen)
        {
            let tensor = plan.first() + index;
            self.breaks(format!("it gives no gradient for tensor {tensor}"));
        }
        let has_nothing = match self.strategy {
            Strategy::Zero2 => !was_computed,
            _ => is_last && self.computed == 0 && !was_computed,
        };
        if has_nothing {
            self.buffers.iter_mut().for_each(|buffer| buffer.fill(0.0));
        }
        self.computed += usize::from(was_computed);
        while self.sends && self.sent < plan.buckets.len() {
            self.send(world);
        }
        if self.strategy == Strategy::Zero2 {
            self.add_parts(world, plan)?;
        }
        Ok(())
    }

    fn add_parts(&mut self, world: &World, plan: &Plan) -> Result<()> {
        let is_first = self.parts.is_empty();
        for (index, bucket) in plan.buckets.iter().enumerate() {
            let part = match self.pending[index].take() {
                Some(pending) => world.wait(pending)?,
                None => self.buffers[index].clone(),
            };
            if is_first {
                self.parts.push(part);
            } else {
                let pairs = self.parts[index].iter_mut().zip(part);
                pairs.for_each(|(sum, value)| *sum += value);
            }
            self.buffers[index].resize(bucket.padded(world.size()), 0.0);
        }
        Ok(())
    }

    /// The sums of all buckets over all ranks; under local SGD the caller's own.
    ///
    /// # Errors
    /// A lost rank.
    pub(crate) fn finish(&mut self, world: &World) -> Result<Vec<Reduced>> {
        if self.strategy == Strategy::Zero2 {
            let parts = std::mem::take(&mut self.parts);
            return Ok(parts.into_iter().map(Reduced::Part).collect());
        }
        let scatters = self.strategy.is_sharded();
        let mut reduced = Vec::with_capacity(self.pending.len());
        for (pending, buffer) in self.pending.iter_mut().zip(&mut self.buffers) {
            reduced.push(match pending.take() {
                Some(pending) if scatters => Reduced::Part(world.wait(pending)?),
                Some(pending) => Reduced::Whole(world.wait(pending)?),
                None => Reduced::Whole(std::mem::take(buffer)),
            });
        }
        Ok(reduced)
    }

    /// Takes back what [`finish`](Self::finish) gave, for the next step.
    pub(crate) fn reclaim(&mut self, reduced: Vec<Reduced>) {
        for (buffer, reduced) in self.buffers.iter_mut().zip(reduced) {
            if let Reduced::Whole(values) = reduced {
                *buffer = values;
            }
        }
    }

    /// Forgets the buffers: the plan has changed.
    pub(crate) fn forget(&mut self) {
        self.buffers.clear();
    }

    /// Bytes of gradients that are kept through a step.
    pub(crate) fn bytes(&self, plan: &Plan, ranks: usize) -> usize {
        let of_bucket = |bucket: &crate::plan::Bucket| match self.strategy {
            Strategy::Zero2 => bucket.part,
            _ => bucket.padded(ranks),
        };
        4 * plan.buckets.iter().map(of_bucket).sum::<usize>()
    }
}

/// The sum of squares, in double precision and in an order that depends on the length alone.
pub(crate) fn square_sum(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*value) * f64::from(*value);
        }
    }
    let rest: f64 = rest.iter().map(|value| f64::from(*value).powi(2)).sum();
    lanes.iter().sum::<f64>() + rest
}
