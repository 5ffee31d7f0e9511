//! What one phase learns, and which part of it a rank holds.

use std::ops::Range;

use super::Which;
use crate::plan::{Plan, Segment};
use crate::world::World;
use crate::{Layout, Options, Phase, Result, Strategy, TrainError};

/// What one phase learns.
pub(crate) struct PhaseState {
    pub(crate) plan: Plan,
    /// Its parameters in the flat array.
    pub(crate) range: Range<usize>,
    /// What the caller updates.
    pub(crate) owned: Vec<Segment>,
    /// In ZeRO-3, the owned parameters.
    pub(super) shard: Vec<f32>,
    /// The optimizer's arrays for what is owned.
    pub(crate) slots: Vec<Vec<f32>>,
    /// The running mean of what is owned.
    pub(crate) ema: Option<Vec<f32>>,
    /// Steps of the optimizer.
    pub(crate) steps: u64,
}

impl PhaseState {
    pub(super) fn new(
        options: &Options,
        layout: &Layout,
        phase: &Phase,
        full: &[f32],
        world: &World,
    ) -> Self {
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

    pub(super) fn array(&self, which: Which) -> &[f32] {
        match which {
            Which::Parameters => &self.shard,
            Which::Slot(slot) => &self.slots[slot],
            Which::Ema => self.ema.as_deref().unwrap_or(&[]),
        }
    }

    /// Puts what all ranks own of an array into its places.
    pub(super) fn gather(&self, world: &World, own: &[f32], full: &mut [f32]) -> Result<()> {
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
pub(super) fn replicated(plan: &Plan, range: &Range<usize>) -> Vec<Segment> {
    let mut segments = plan.all();
    for segment in &mut segments {
        segment.local = segment.flat.start - range.start;
    }
    segments
}

/// Can these be the phases of a step?
pub(super) fn check(layout: &Layout, phases: &[Phase]) -> Result<()> {
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
