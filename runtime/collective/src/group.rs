//! A group of a node, and the kinds of numbers that cross the C interface.

use std::ffi::c_int;
use std::path::Path;
use std::time::Duration;

use half::{bf16, f16};
use mizar_comm::collective::{DataType, Element, Group};
use mizar_comm::{Files, ReduceOperation};

/// A kind of numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind(DataType);

impl Kind {
    /// As the interface numbers them.
    pub(crate) fn of(number: c_int) -> Result<Self, String> {
        let known = DataType::ALL.into_iter();
        let kind = known.clone().find(|kind| *kind as c_int == number);
        kind.map(Self)
            .ok_or_else(|| format!("{number} is no kind of numbers: 1 f32, 2 f64, 3 f16, 4 bf16"))
    }
}

impl Kind {
    /// Of one number.
    pub(crate) fn bytes(self) -> usize {
        self.0.size_bytes()
    }
}

/// Ranks of this node.
pub(crate) struct NodeGroup {
    group: Group<Files>,
    /// What ended it: ranks that failed once are not in step any more.
    failed: Option<String>,
}

/// Divides what has been summed.
trait Divide: Element {
    fn divide(self, by: f64) -> Self;
}

impl Divide for f32 {
    #[allow(clippy::cast_possible_truncation, reason = "a count of ranks")]
    fn divide(self, by: f64) -> Self {
        self / by as Self
    }
}

impl Divide for f64 {
    fn divide(self, by: f64) -> Self {
        self / by
    }
}

impl Divide for f16 {
    fn divide(self, by: f64) -> Self {
        Self::from_f32(self.to_f32().divide(by))
    }
}

impl Divide for bf16 {
    fn divide(self, by: f64) -> Self {
        Self::from_f32(self.to_f32().divide(by))
    }
}

fn cast<T: Element>(bytes: &mut [u8]) -> Result<&mut [T], String> {
    if bytes.is_empty() {
        return Ok(&mut []);
    }
    let misaligned = |_| format!("numbers of {} bytes must be aligned", size_of::<T>());
    bytemuck::try_cast_slice_mut(bytes).map_err(misaligned)
}

impl NodeGroup {
    pub(crate) fn meet(
        folder: &Path,
        rank: usize,
        size: usize,
        time_limit: Duration,
    ) -> Result<Self, String> {
        let comm = Files::open(folder, rank, size, time_limit);
        let group = comm.and_then(|comm| Group::new(comm, time_limit));
        let group = group.map_err(|error| mizar_core::chain(&error))?;
        if group.node_count() != 1 {
            return Err("the ranks are not on one node, or cannot share its /dev/shm".to_owned());
        }
        Ok(Self {
            group,
            failed: None,
        })
    }

    fn done(&mut self, done: mizar_comm::Result<()>) -> Result<(), String> {
        done.map_err(|error| {
            let text = mizar_core::chain(&error);
            self.failed = Some(text.clone());
            text
        })
    }

    fn check(&self) -> Result<(), String> {
        match &self.failed {
            None => Ok(()),
            Some(text) => Err(format!("the group ended before: {text}")),
        }
    }

    pub(crate) fn all_reduce(
        &mut self,
        bytes: &mut [u8],
        kind: Kind,
        mean: f64,
    ) -> Result<(), String> {
        match kind.0 {
            DataType::F32 => self.sum::<f32>(cast(bytes)?, mean),
            DataType::F64 => self.sum::<f64>(cast(bytes)?, mean),
            DataType::F16 => self.sum::<f16>(cast(bytes)?, mean),
            DataType::Bf16 => self.sum::<bf16>(cast(bytes)?, mean),
        }
    }

    fn sum<T: Divide>(&mut self, values: &mut [T], mean: f64) -> Result<(), String> {
        self.check()?;
        let done = self.group.all_reduce(values, ReduceOperation::Sum);
        self.done(done)?;
        if mean != 1.0 {
            for value in values {
                *value = value.divide(mean);
            }
        }
        Ok(())
    }

    pub(crate) fn broadcast(
        &mut self,
        bytes: &mut [u8],
        kind: Kind,
        root: usize,
    ) -> Result<(), String> {
        self.check()?;
        let done = match kind.0 {
            DataType::F32 => self.group.broadcast::<f32>(root, cast(bytes)?),
            DataType::F64 => self.group.broadcast::<f64>(root, cast(bytes)?),
            DataType::F16 => self.group.broadcast::<f16>(root, cast(bytes)?),
            DataType::Bf16 => self.group.broadcast::<bf16>(root, cast(bytes)?),
        };
        self.done(done)
    }

    pub(crate) fn barrier(&mut self) -> Result<(), String> {
        self.check()?;
        let done = self.group.barrier();
        self.done(done)
    }
}
