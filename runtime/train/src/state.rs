//! What is learned: parameters, the optimizer's arrays, the running mean, and who holds which
//! part of them.
//!
//! Replicated strategies hold everything in the order of the flat array. ZeRO's hold, of the
//! arrays of the optimizer (and in stage 3 of the parameters), the rank's parts of all buckets,
//! end to end. A [`Segment`] says where a piece of either is.

use std::ops::Range;

use mizar_comm::ReduceOperation;

use crate::optimizer::Update;
use crate::plan::{Plan, Segment};
use crate::world::World;
use crate::{Layout, Options, Phase, Result, Strategy, TrainError};

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

/// What one phase learns.
pub(crate) struct PhaseState {
    pub(crate) plan: Plan,
    /// Its parameters in the flat array.
    pub(crate) range: Range<usize>,
    /// What the caller updates.
    pub(crate) owned: Vec<Segment>,
    /// In ZeRO-3, the owned parameters.
    shard: Vec<f32>,
    /// The optimizer's arrays for what is owned.
    pub(crate) slots: Vec<Vec<f32>>,
    /// The running mean of what is owned.
    pub(crate) ema: Option<Vec<f32>>,
    /// Steps of the optimizer.
    pub(crate) steps: u64,
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
    /// [`TrainError::Contract`] if the phases cannot be.
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

    /// What the caller writes to a checkpoint of the array that `which` chooses: all ranks
    /// together write each number once. Replicated arrays are cut by the parts of buckets.
    pub(crate) fn share(&self, rank: usize, which: Which) -> (Vec<Range<usize>>, Vec<f32>) {
        let (mut ranges, mut values) = (Vec::new(), Vec::new());
        if which == Which::Parameters && rank == 0 {
            self.frozen_parts(&mut ranges, &mut values);
        }
        for phase in &self.phases {
            for segment in phase.plan.segments(rank) {
                let from = match (which, self.strategy) {
                    (Which::Parameters, Strategy::Zero3) => &phase.shard[segment.in_list()],
                    (Which::Parameters, _) => &self.full[segment.flat.clone()],
                    (Which::Slot(_) | Which::Ema, strategy) => {
                        let array = phase.array(which);
                        match strategy.is_sharded() {
                            true => &array[segment.in_list()],
                            false => {
                                let start = segment.flat.start - phase.range.start;
                                &array[start..start + segment.len()]
                            }
                        }
                    }
                };
                values.extend_from_slice(from);
                ranges.push(segment.flat);
            }
        }
        (ranges, values)
    }

    fn frozen_parts(&self, ranges: &mut Vec<Range<usize>>, values: &mut Vec<f32>) {
        let mut changed: Vec<_> = self
            .phases
            .iter()
            .map(|phase| phase.range.clone())
            .collect();
        changed.sort_by_key(|range| range.start);
        for (index, range) in complement(&changed, self.len).into_iter().enumerate() {
            match self.strategy {
                Strategy::Zero3 => values.extend_from_slice(&self.frozen[index].1),
                _ => values.extend_from_slice(&self.full[range.clone()]),
            }
            ranges.push(range);
        }
    }

    /// Takes from a checkpoint what the caller holds of these numbers of the flat array.
    pub(crate) fn place(&mut self, which: Which, start: usize, values: &[f32]) {
        let given = start..start + values.len();
        if which == Which::Parameters {
            if self.strategy != Strategy::Zero3 {
                self.full[given].copy_from_slice(values);
                return;
            }
            for (range, frozen) in &mut self.frozen {
                overlay(range, frozen, &given, values);
            }
        }
        let strategy = self.strategy;
        for phase in &mut self.phases {
            let owned = std::mem::take(&mut phase.owned);
            let array = match which {
                Which::Parameters => &mut phase.shard,
                Which::Slot(slot) => &mut phase.slots[slot],
                Which::Ema => match &mut phase.ema {
                    Some(ema) => ema,
                    None => &mut phase.shard,
                },
            };
            debug_assert!(which != Which::Parameters || strategy == Strategy::Zero3);
            for segment in &owned {
                overlay(&segment.flat, &mut array[segment.in_list()], &given, values);
            }
            phase.owned = owned;
        }
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

/// An array that is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The parameters.
    Parameters,
    /// One of the optimizer's.
    Slot(usize),
    /// The running mean.
    Ema,
}

impl PhaseState {
    fn new(options: &Options, layout: &Layout, phase: &Phase, full: &[f32], world: &World) -> Self {
        let tensors = &layout.tensors()[phase.tensors.clone()];
        let start = tensors.first().map_or(0, |tensor| tensor.start);
        let end = tensors.last().map_or(start, |tensor| tensor.range().end);
        let range = start..end;
        let (first_mb, bucket_mb) = match options.strategy {
            Strategy::Fused => (options.fused.fusion_mb, options.fused.fusion_mb),
            _ => (options.first_bucket_mb, options.bucket_mb),
        };
        let order = phase.tensors.clone().rev();
        let plan = Plan::new(layout, order, world.size(), first_mb, bucket_mb);
        let owned = match options.strategy.is_sharded() {
            true => plan.segments(world.rank()),
            false => replicated(&plan, &range),
        };
        let len = owned.iter().map(Segment::len).sum();
        let ema = options.ema.map(|_| {
            let mut ema = vec![0.0; len];
            for segment in &owned {
                ema[segment.in_list()].copy_from_slice(&full[segment.flat.clone()]);
            }
            ema
        });
        Self {
            slots: vec![vec![0.0; len]; options.optimizer.slots().len()],
            ema,
            shard: Vec::new(),
            steps: 0,
            plan,
            range,
            owned,
        }
    }

    fn array(&self, which: Which) -> &[f32] {
        match which {
            Which::Parameters => &self.shard,
            Which::Slot(slot) => &self.slots[slot],
            Which::Ema => self.ema.as_deref().unwrap_or(&[]),
        }
    }

    /// Puts what all ranks own of an array into its places.
    fn gather(&self, world: &World, own: &[f32], full: &mut [f32]) -> Result<()> {
        let mut owned = self.owned.iter().peekable();
        let mut pending = Vec::new();
        for (index, bucket) in self.plan.buckets.iter().enumerate() {
            let mut part = Vec::with_capacity(bucket.part);
            while let Some(segment) = owned.next_if(|segment| segment.bucket == index) {
                part.extend_from_slice(&own[segment.in_list()]);
            }
            part.resize(bucket.part, 0.0);
            pending.push(world.engine.all_gather(part));
        }
        for (bucket, pending) in self.plan.buckets.iter().zip(pending) {
            let values = world.wait(pending)?;
            for piece in &bucket.tensors {
                full[piece.flat.clone()]
                    .copy_from_slice(&values[piece.at..piece.at + piece.flat.len()]);
            }
        }
        Ok(())
    }
}

/// Everything, with places in the order of the flat array.
fn replicated(plan: &Plan, range: &Range<usize>) -> Vec<Segment> {
    let mut segments = plan.all();
    for segment in &mut segments {
        segment.local = segment.flat.start - range.start;
    }
    segments
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

/// Copies what two stretches of the flat array have in common.
fn overlay(range: &Range<usize>, into: &mut [f32], given: &Range<usize>, values: &[f32]) {
    let from = range.start.max(given.start);
    let to = range.end.min(given.end);
    if from < to {
        into[from - range.start..to - range.start]
            .copy_from_slice(&values[from - given.start..to - given.start]);
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

fn check(layout: &Layout, phases: &[Phase]) -> Result<()> {
    let tensors = layout.tensors().len();
    let contract = |what: String| Err(TrainError::Contract { what });
    if phases.is_empty() {
        return contract("it has no phase".to_owned());
    }
    for (index, phase) in phases.iter().enumerate() {
        let Range { start, end } = phase.tensors;
        if start >= end || end > tensors {
            let name = &phase.name;
            return contract(format!(
                "phase {name} has tensors {start}..{end} of {tensors}"
            ));
        }
        let shares = |other: &&Phase| other.tensors.start < end && start < other.tensors.end;
        if let Some(other) = phases[..index].iter().find(shares) {
            let (one, two) = (&other.name, &phase.name);
            return contract(format!("phases {one} and {two} change the same tensors"));
        }
    }
    Ok(())
}
