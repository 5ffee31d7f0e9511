//! What is learned: parameters, the optimizer's arrays, the running mean, and who holds which
//! part of them.
//!
//! Replicated strategies hold everything in the order of the flat array. ZeRO's hold, of the
//! arrays of the optimizer (and in stage 3 of the parameters), the rank's parts of all buckets,
//! end to end. A [`Segment`] says where a piece of either is.

mod phase;
mod stored;

use std::ops::Range;

use mizar_comm::ReduceOperation;
pub(crate) use phase::PhaseState;
use phase::{check, replicated};
pub(crate) use stored::Which;

use crate::optimizer::Update;
use crate::plan::{Plan, Segment};
use crate::world::World;
use crate::{Layout, Options, Phase, Result, Strategy};

/// Everything that is learned.
pub(crate) struct State {
    pub(crate) strategy: Strategy,
    /// All parameters; empty in ZeRO-3.
    full: Vec<f32>,
    /// In ZeRO-3, those that no phase changes.
    frozen: Vec<(Range<usize>, Vec<f32>)>,
    len: usize,
    pub(crate) phases: Vec<PhaseState>,
}

/// The sum of a bucket's gradients over all ranks.
pub(crate) enum Reduced {
    /// Of the whole bucket.
    Whole(Vec<f32>),
    /// Of the caller's part.
    Part(Vec<f32>),
}

impl Reduced {
    /// Of a segment of what is owned, whose rank has parts of this length.
    fn of(&self, segment: &Segment, rank: usize, part: usize) -> &[f32] {
        match self {
            Self::Whole(values) => &values[segment.in_bucket()],
            Self::Part(values) => &values[segment.at - rank * part..][..segment.len()],
        }
    }

    /// The caller's part, which may be shorter than a part at the end of a bucket.
    pub(crate) fn own_part(&self, rank: usize, part: usize, len: usize) -> &[f32] {
        let from = (rank * part).min(len);
        let to = ((rank + 1) * part).min(len);
        match self {
            Self::Whole(values) => &values[from..to],
            Self::Part(values) => &values[..to - from],
        }
    }
}

impl Strategy {
    /// Is the optimizer's state spread over the ranks?
    pub(crate) fn is_sharded(self) -> bool {
        matches!(self, Self::Zero1 | Self::Zero2 | Self::Zero3)
    }
}

impl State {
    /// Takes the parameters, which are the same on all ranks, and begins with nothing learned.
    ///
    /// # Errors
    /// [`TrainError::Contract`](crate::TrainError::Contract) if the phases cannot be.
    pub(crate) fn new(
        options: &Options,
        layout: &Layout,
        phases: &[Phase],
        full: Vec<f32>,
        world: &World,
    ) -> Result<Self> {
        check(layout, phases)?;
        let mut states: Vec<PhaseState> = phases
            .iter()
            .map(|phase| PhaseState::new(options, layout, phase, &full, world))
            .collect();
        let mut state = Self {
            strategy: options.strategy,
            len: full.len(),
            frozen: Vec::new(),
            phases: Vec::new(),
            full,
        };
        if options.strategy == Strategy::Zero3 {
            let mut ranges: Vec<_> = states.iter().map(|phase| phase.range.clone()).collect();
            ranges.sort_by_key(|range| range.start);
            for range in complement(&ranges, state.len) {
                let values = state.full[range.clone()].to_vec();
                state.frozen.push((range, values));
            }
            for phase in &mut states {
                phase.shard = collect(&state.full, &phase.owned);
            }
            state.full = Vec::new();
        }
        state.phases = states;
        Ok(state)
    }

    /// Bytes that are kept between steps, gradients apart.
    pub(crate) fn bytes(&self) -> usize {
        let frozen: usize = self.frozen.iter().map(|(_, values)| values.len()).sum();
        let of_phase = |phase: &PhaseState| {
            let slots: usize = phase.slots.iter().map(Vec::len).sum();
            phase.shard.len() + slots + phase.ema.as_ref().map_or(0, Vec::len)
        };
        let phases: usize = self.phases.iter().map(of_phase).sum();
        4 * (self.full.len() + frozen + phases)
    }

    /// All parameters: collective in ZeRO-3.
    ///
    /// # Errors
    /// A lost rank.
    pub(crate) fn parameters(&self, world: &World) -> Result<std::borrow::Cow<'_, [f32]>> {
        if self.strategy != Strategy::Zero3 {
            return Ok(self.full.as_slice().into());
        }
        let mut full = vec![0.0; self.len];
        for (range, values) in &self.frozen {
            full[range.clone()].copy_from_slice(values);
        }
        for phase in &self.phases {
            phase.gather(world, &phase.shard, &mut full)?;
        }
        Ok(full.into())
    }

    /// The running mean of all parameters, if one is kept; parameters that do not change as they
    /// are. Collective.
    ///
    /// # Errors
    /// A lost rank.
    pub(crate) fn averaged(&self, world: &World) -> Result<Option<Vec<f32>>> {
        if self.phases.iter().all(|phase| phase.ema.is_none()) {
            return Ok(None);
        }
        let mut full = self.parameters(world)?.into_owned();
        for phase in &self.phases {
            let Some(ema) = &phase.ema else { continue };
            if self.strategy.is_sharded() {
                phase.gather(world, ema, &mut full)?;
            } else {
                full[phase.range.clone()].copy_from_slice(ema);
            }
        }
        Ok(Some(full))
    }

    /// A step of a phase's optimizer by the gradients of its buckets. In ZeRO-1 and 2 the new
    /// parameters go to all ranks.
    ///
    /// # Errors
    /// A lost rank.
    pub(crate) fn update(
        &mut self,
        world: &World,
        phase: usize,
        update: Update,
        reduced: &[Reduced],
        ema: Option<f64>,
    ) -> Result<()> {
        let rank = world.rank();
        let (strategy, full) = (self.strategy, &mut self.full);
        let phase = &mut self.phases[phase];
        let PhaseState {
            plan,
            owned,
            shard,
            slots,
            ema: mean,
            ..
        } = phase;
        let mut pending = Vec::new();
        let mut rest = owned.iter().peekable();
        for (index, bucket) in plan.buckets.iter().enumerate() {
            let mut part = Vec::new();
            while let Some(segment) = rest.next_if(|segment| segment.bucket == index) {
                let parameters = match strategy {
                    Strategy::Zero3 => &mut shard[segment.in_list()],
                    _ => &mut full[segment.flat.clone()],
                };
                let gradients = reduced[index].of(segment, rank, bucket.part);
                let mut slots: Vec<&mut [f32]> = slots
                    .iter_mut()
                    .map(|slot| &mut slot[segment.in_list()])
                    .collect();
                update.apply(parameters, gradients, &mut slots);
                if let (Some(decay), Some(mean)) = (ema, mean.as_mut()) {
                    follow(&mut mean[segment.in_list()], parameters, decay);
                }
                part.extend_from_slice(match strategy {
                    Strategy::Zero1 | Strategy::Zero2 => parameters,
                    _ => &[],
                });
            }
            if matches!(strategy, Strategy::Zero1 | Strategy::Zero2) && world.size() > 1 {
                part.resize(bucket.part, 0.0);
                pending.push((index, world.engine.all_gather(part)));
            }
        }
        for (index, pending) in pending {
            let values = world.wait(pending)?;
            for piece in &plan.buckets[index].tensors {
                full[piece.flat.clone()]
                    .copy_from_slice(&values[piece.at..piece.at + piece.flat.len()]);
            }
        }
        phase.steps = update.step;
        Ok(())
    }

    /// Replaces what ranks learned apart by their mean, and says how far they were from it: the
    /// largest distance over the norm of the mean.
    ///
    /// # Errors
    /// A lost rank.
    pub(crate) fn meet(&mut self, world: &World, ema: Option<f64>) -> Result<f64> {
        let share = 1.0 / world.size() as f32;
        let mean_of = |values: &[f32]| -> Result<Vec<f32>> {
            let pending = world
                .engine
                .all_reduce(values.to_vec(), ReduceOperation::Sum);
            let mut mean = world.wait(pending)?;
            mean.iter_mut().for_each(|value| *value *= share);
            Ok(mean)
        };
        let (mut distance, mut norm) = (0.0, 0.0);
        for phase in &mut self.phases {
            let own = &mut self.full[phase.range.clone()];
            let mean = mean_of(own)?;
            for (own, mean) in own.iter().zip(&mean) {
                distance += (f64::from(*own) - f64::from(*mean)).powi(2);
                norm += f64::from(*mean).powi(2);
            }
            own.copy_from_slice(&mean);
            for slot in &mut phase.slots {
                *slot = mean_of(slot)?;
            }
            if let (Some(decay), Some(average)) = (ema, phase.ema.as_mut()) {
                follow(average, own, decay);
            }
        }
        let distances = world.exchange_words(&[f64::to_bits(distance)])?;
        let farthest = distances.iter().map(|words| f64::from_bits(words[0]));
        let farthest = farthest.fold(0.0, f64::max);
        Ok((farthest / norm.max(f64::MIN_POSITIVE)).sqrt())
    }

    /// Has the buckets of a phase hold its tensors in this order. For replicated strategies.
    pub(crate) fn plan_again(&mut self, phase: usize, plan: Plan) {
        let phase = &mut self.phases[phase];
        phase.owned = replicated(&plan, &phase.range);
        phase.plan = plan;
    }

    #[cfg(test)]
    pub(crate) fn full_mut(&mut self) -> &mut [f32] {
        &mut self.full
    }
}

fn collect(full: &[f32], segments: &[Segment]) -> Vec<f32> {
    let parts = segments.iter().map(|segment| &full[segment.flat.clone()]);
    parts.collect::<Vec<_>>().concat()
}

/// One step of a running mean.
fn follow(mean: &mut [f32], values: &[f32], decay: f64) {
    let (keep, fresh) = (decay as f32, (1.0 - decay) as f32);
    for (mean, value) in mean.iter_mut().zip(values) {
        *mean = keep * *mean + fresh * value;
    }
}

/// What lies between sorted ranges.
fn complement(ranges: &[Range<usize>], len: usize) -> Vec<Range<usize>> {
    let mut between = Vec::new();
    let mut at = 0;
    for range in ranges {
        if at < range.start {
            between.push(at..range.start);
        }
        at = at.max(range.end);
    }
    if at < len {
        between.push(at..len);
    }
    between
}
