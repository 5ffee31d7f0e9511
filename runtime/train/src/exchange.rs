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
    /// ZeRO-2 and 3: the caller's parts, summed over the pieces of a step.
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
    pub(crate) fn begin_step(&mut self, plan: &Plan) {
        self.buffers.resize(plan.buckets.len(), Vec::new());
        self.parts.clear();
        self.computed = 0;
        self.trouble = None;
        self.overflows = false;
    }

    /// ZeRO-2 and 3 keep no gradients but their parts, so each piece of a step is sent.
    fn keeps_parts(&self) -> bool {
        matches!(self.strategy, Strategy::Zero2 | Strategy::Zero3)
    }

    /// Memory for a bucket is had when its first gradient comes.
    fn open(&mut self, world: &World, plan: &Plan, bucket: usize) {
        let length = plan.buckets[bucket].padded(world.size());
        self.buffers[bucket].resize(length, 0.0);
    }

    /// A piece begins; gradients travel after the last, in ZeRO-2 and 3 after each.
    pub(crate) fn begin_piece(&mut self, plan: &Plan, is_last: bool) {
        self.sends = match self.strategy {
            Strategy::LocalSgd => false,
            _ => is_last || self.keeps_parts(),
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
        self.open(world, plan, bucket);
        let adds = self.computed > 0 && !self.keeps_parts();
        let into = &mut self.buffers[bucket][piece.at..piece.at + gradient.len()];
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
            self.send(world, plan);
        }
    }

    fn breaks(&mut self, what: String) {
        if self.trouble.is_none() {
            self.trouble = Some(Trouble::Contract(what));
        }
    }

    /// Sends the next bucket.
    fn send(&mut self, world: &World, plan: &Plan) {
        let index = self.sent;
        self.sent += 1;
        self.open(world, plan, index);
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
    ) -> Result<()> {
        if was_computed
            && self.trouble.is_none()
            && let Some(index) = self.seen.iter().position(|seen| !seen)
        {
            let tensor = plan.first() + index;
            self.breaks(format!("it gives no gradient for tensor {tensor}"));
        }
        let has_nothing = !was_computed && (self.keeps_parts() || self.computed == 0);
        if has_nothing {
            self.buffers.iter_mut().for_each(|buffer| buffer.fill(0.0));
        }
        self.computed += usize::from(was_computed);
        while self.sends && self.sent < plan.buckets.len() {
            self.send(world, plan);
        }
        if self.keeps_parts() {
            self.add_parts(world)?;
        }
        Ok(())
    }

    fn add_parts(&mut self, world: &World) -> Result<()> {
        let is_first = self.parts.is_empty();
        for (index, pending) in self.pending.iter_mut().enumerate() {
            let part = match pending.take() {
                Some(pending) => world.wait(pending)?,
                None => std::mem::take(&mut self.buffers[index]),
            };
            if is_first {
                self.parts.push(part);
            } else {
                let pairs = self.parts[index].iter_mut().zip(part);
                pairs.for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(())
    }

    /// The sums of all buckets over all ranks; under local SGD the caller's own.
    ///
    /// # Errors
    /// A lost rank.
    pub(crate) fn finish(&mut self, world: &World, plan: &Plan) -> Result<Vec<Reduced>> {
        if self.keeps_parts() {
            let parts = std::mem::take(&mut self.parts);
            return Ok(parts.into_iter().map(Reduced::Part).collect());
        }
        // Under local SGD a rank without samples has opened none.
        (0..plan.buckets.len())
            .filter(|bucket| self.pending[*bucket].is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|bucket| self.open(world, plan, bucket));
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
        let of_bucket = |bucket: &crate::plan::Bucket| match self.keeps_parts() {
            true => bucket.part,
            false => bucket.padded(ranks),
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use mizar_comm::collective::Engine;

    use super::*;
    use crate::Layout;

    const LIMIT: Duration = Duration::from_secs(60);

    fn on_ranks(ranks: usize, job: impl Fn(World) + Sync) {
        std::thread::scope(|scope| {
            for comm in mizar_comm::threads(ranks) {
                let job = &job;
                scope.spawn(move || {
                    let engine = Engine::start(move || Ok(Box::new(comm)), LIMIT).unwrap();
                    job(World::new(engine));
                });
            }
        });
    }

    /// Three tensors of four numbers, each a bucket.
    fn plan(ranks: usize) -> Plan {
        let layout = Layout::new((0..3).map(|tensor| (tensor.to_string(), vec![4])));
        Plan::new(&layout, (0..3).rev(), ranks, 1e-6, 1e-6)
    }

    fn is_complete(exchange: &mut Exchange, bucket: usize) -> bool {
        let pending = exchange.pending[bucket].as_mut();
        pending.is_some_and(Pending::is_complete)
    }

    #[test]
    fn a_bucket_is_summed_while_the_backward_pass_runs() {
        on_ranks(2, |world| {
            let plan = plan(2);
            let mut exchange = Exchange::new(&Options::default());
            exchange.begin_step(&plan);
            exchange.begin_piece(&plan, true);
            let gradient = [world.rank() as f32 + 1.0; 4];
            exchange.ready(&world, &plan, (2, &gradient), 0.5, 1.0);
            // The pass goes no further until the sum of its first bucket is there.
            let begin = Instant::now();
            while !is_complete(&mut exchange, 0) {
                assert!(begin.elapsed() < LIMIT, "nothing is sent before the end");
                std::thread::yield_now();
            }
            // One that comes too early waits for its turn.
            exchange.ready(&world, &plan, (0, &gradient), 0.5, 1.0);
            assert!(exchange.pending[2].is_none() && exchange.sent == 1);
            exchange.ready(&world, &plan, (1, &gradient), 0.5, 1.0);
            assert_eq!(exchange.sent, 3);
            exchange.end_piece(&world, &plan, true).unwrap();
            for reduced in exchange.finish(&world, &plan).unwrap() {
                let Reduced::Whole(values) = reduced else {
                    panic!("a part");
                };
                assert_eq!(values, [1.5; 4]);
            }
            assert_eq!(exchange.trouble, None);
        });
    }

    #[test]
    fn nothing_is_sent_while_gradients_accumulate() {
        on_ranks(2, |world| {
            let plan = plan(2);
            let mut exchange = Exchange::new(&Options::default());
            exchange.begin_step(&plan);
            for is_last in [false, true] {
                exchange.begin_piece(&plan, is_last);
                for tensor in (0..3).rev() {
                    exchange.ready(&world, &plan, (tensor, &[1.0; 4]), 0.25, 1.0);
                }
                assert_eq!(exchange.sent, if is_last { 3 } else { 0 });
                exchange.end_piece(&world, &plan, true).unwrap();
            }
            let reduced = exchange.finish(&world, &plan).unwrap();
            let is_right =
                |reduced: &Reduced| matches!(reduced, Reduced::Whole(v) if *v == [1.0; 4]);
            assert!(reduced.iter().all(is_right));
            assert_eq!(world.engine.traffic().collectives, 3);
        });
    }

    #[test]
    fn squares_are_summed_whatever_the_length() {
        for length in 0..40 {
            let values: Vec<f32> = (0..length).map(|value| value as f32).collect();
            let right: f64 = (0..length).map(|value| f64::from(value * value)).sum();
            assert_eq!(square_sum(&values), right);
        }
    }
}
