//! How fast collectives are: nccl-tests' method and figures, over whatever a [`Group`] runs on.
//!
//! A time is that of the slowest rank, the mean of several calls after some that do not count.
//! Bus bandwidth is the algorithm's times [`Collective::bus_factor`], so that figures of
//! different numbers of ranks compare with the hardware.

use std::time::Instant;

use crate::collective::{Collective, DataType, Element, Group};
use crate::{Communicator, ReduceOperation, Result};

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Which collective.
    pub what: Collective,
    /// On which numbers.
    pub kind: DataType,
    /// How they are folded, where they are.
    pub operation: ReduceOperation,
    /// The smallest array, all of it.
    pub min_bytes: usize,
    /// The largest.
    pub max_bytes: usize,
    /// From one size to the next.
    pub factor: usize,
    /// Calls that do not count.
    pub warm_up: u32,
    /// Calls that do.
    pub iterations: u32,
    /// Compare results with what they must be?
    pub check: bool,
}

/// Figures of one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Bytes of the largest array that a rank gives or gets.
    pub bytes: usize,
    /// Numbers in it.
    pub count: usize,
    /// Into another array.
    pub out_of_place: Timing,
    /// Onto the array that was given; the same where an operation has no such form.
    pub in_place: Timing,
    /// `MPI_Allreduce` on the same arrays, microseconds, if asked for.
    pub mpi_us: Option<f64>,
}

/// One way's figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Of a call on the slowest rank.
    pub time_us: f64,
    /// Bytes over time.
    pub algorithm_gb_s: f64,
    /// What the busiest link carried.
    pub bus_gb_s: f64,
    /// Results that were wrong on all ranks, if they were looked at.
    pub wrong: Option<u64>,
}

/// Does the same by other means, on the same arrays: from, to.
pub type Peer<'a, C> = &'a dyn Fn(&C, &[f32], &mut [f32]) -> Result<()>;

/// Measures all sizes, and calls `told` with each; every rank does so together.
///
/// # Errors
/// [`CommError`](crate::CommError) of a collective.
pub fn run<C: Communicator>(
    group: &mut Group<C>,
    plan: &Plan,
    peer: Option<Peer<'_, C>>,
    told: &mut dyn FnMut(&Row),
) -> Result<()> {
    match plan.kind {
        DataType::F32 => sizes::<C, f32>(group, plan, peer, told),
        DataType::F64 => sizes::<C, f64>(group, plan, peer, told),
        DataType::F16 => sizes::<C, half::f16>(group, plan, peer, told),
        DataType::Bf16 => sizes::<C, half::bf16>(group, plan, peer, told),
    }
}

fn sizes<C: Communicator, T: Element + From<u8>>(
    group: &mut Group<C>,
    plan: &Plan,
    peer: Option<Peer<'_, C>>,
    told: &mut dyn FnMut(&Row),
) -> Result<()> {
    let unit = size_of::<T>() * group.size();
    let mut bytes = plan.min_bytes;
    loop {
        // Whole parts for all ranks.
        let rounded = bytes.max(unit) / unit * unit;
        told(&size::<C, T>(group, plan, rounded, peer)?);
        let next = bytes.saturating_mul(plan.factor.max(2));
        if next > plan.max_bytes {
            return Ok(());
        }
        bytes = next;
    }
}

/// Small whole numbers, whose sums are exact in every type.
fn number<T: From<u8>>(rank: usize, cell: usize) -> T {
    T::from(((rank + cell) % 3) as u8)
}

fn size<C: Communicator, T: Element + From<u8>>(
    group: &mut Group<C>,
    plan: &Plan,
    bytes: usize,
    peer: Option<Peer<'_, C>>,
) -> Result<Row> {
    let (rank, ranks) = (group.rank(), group.size());
    let count = bytes / size_of::<T>();
    let given = match plan.what {
        Collective::AllGather => count / ranks,
        _ => count,
    };
    let own: Vec<T> = (0..given).map(|cell| number(rank, cell)).collect();
    let mut values = own.clone();
    let mut call = |group: &mut Group<C>, in_place: bool| -> Result<Option<Vec<T>>> {
        match plan.what {
            Collective::AllReduce if !in_place => {
                values.copy_from_slice(&own);
                group.all_reduce(&mut values, plan.operation).map(|()| None)
            }
            Collective::AllReduce => group.all_reduce(&mut values, plan.operation).map(|()| None),
            Collective::Broadcast => group.broadcast(0, &mut values).map(|()| None),
            Collective::Barrier => group.barrier().map(|()| None),
            Collective::ReduceScatter => {
                group.reduce_scatter(&mut values, plan.operation).map(Some)
            }
            Collective::AllGather => group.all_gather(&own).map(Some),
            Collective::AllToAll => group.all_to_all(&own).map(Some),
        }
    };
    let mut timing = |group: &mut Group<C>, in_place: bool| -> Result<Timing> {
        let time_s = time(group, plan, |group| call(group, in_place).map(drop))?;
        let algorithm_gb_s = bytes as f64 / time_s * 1e-9;
        Ok(Timing {
            time_us: time_s * 1e6,
            algorithm_gb_s,
            bus_gb_s: algorithm_gb_s * plan.what.bus_factor(ranks),
            wrong: None,
        })
    };
    let mut out_of_place = timing(group, false)?;
    let mut in_place = timing(group, true)?;
    if plan.check {
        let wrong = wrong::<C, T>(group, plan, &own)?;
        (out_of_place.wrong, in_place.wrong) = (wrong, wrong);
    }
    let mpi_us = match peer {
        Some(peer) if plan.what == Collective::AllReduce && T::TYPE == DataType::F32 => {
            let from = vec![1.0_f32; count];
            let mut to = vec![0.0_f32; count];
            let mut by_mpi = |group: &mut Group<C>| peer(group.communicator(), &from, &mut to);
            Some(time(group, plan, &mut by_mpi)? * 1e6)
        }
        _ => None,
    };
    Ok(Row {
        bytes,
        count,
        out_of_place,
        in_place,
        mpi_us,
    })
}

/// Seconds of a call on the slowest rank.
fn time<C: Communicator>(
    group: &mut Group<C>,
    plan: &Plan,
    mut call: impl FnMut(&mut Group<C>) -> Result<()>,
) -> Result<f64> {
    for _ in 0..plan.warm_up {
        call(group)?;
    }
    group.barrier()?;
    let begin = Instant::now();
    for _ in 0..plan.iterations.max(1) {
        call(group)?;
    }
    let mean_s = begin.elapsed().as_secs_f64() / f64::from(plan.iterations.max(1));
    let mut slowest = [mean_s];
    group.all_reduce(&mut slowest, ReduceOperation::Maximum)?;
    Ok(slowest[0])
}

/// How many results differ from what they must be, on all ranks together; `None` where there is
/// nothing to compare.
fn wrong<C: Communicator, T: Element + From<u8>>(
    group: &mut Group<C>,
    plan: &Plan,
    own: &[T],
) -> Result<Option<u64>> {
    let (rank, ranks) = (group.rank(), group.size());
    let folded = |cell: usize| {
        let mut sum = [number::<T>(0, cell)];
        for other in 1..ranks {
            T::fold(plan.operation, &mut sum, &[number(other, cell)]);
        }
        sum[0]
    };
    let part = own.len() / ranks;
    let mut values = own.to_vec();
    let (found, right): (Vec<T>, Box<dyn Fn(usize) -> T>) = match plan.what {
        Collective::Barrier => return Ok(None),
        Collective::AllReduce => {
            group.all_reduce(&mut values, plan.operation)?;
            (values, Box::new(folded))
        }
        Collective::Broadcast => {
            group.broadcast(0, &mut values)?;
            (values, Box::new(|cell| number(0, cell)))
        }
        Collective::ReduceScatter => {
            let found = group.reduce_scatter(&mut values, plan.operation)?;
            (found, Box::new(move |cell| folded(rank * part + cell)))
        }
        Collective::AllGather => {
            let length = own.len().max(1);
            let right = move |cell: usize| number(cell / length, cell % length);
            (group.all_gather(own)?, Box::new(right))
        }
        Collective::AllToAll => {
            let length = part.max(1);
            let right = move |cell: usize| number(cell / length, rank * part + cell % length);
            (group.all_to_all(own)?, Box::new(right))
        }
    };
    let here = found
        .iter()
        .enumerate()
        .filter(|(cell, value)| **value != right(*cell))
        .count();
    let mut all = [here as f64];
    group.all_reduce(&mut all, ReduceOperation::Sum)?;
    Ok(Some(all[0] as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::DEFAULT_TIME_LIMIT;
    use crate::run_threads;

    #[test]
    fn every_collective_is_measured_and_right() {
        for what in Collective::ALL {
            for kind in DataType::ALL {
                let plan = Plan {
                    what,
                    kind,
                    operation: ReduceOperation::Sum,
                    min_bytes: 8,
                    max_bytes: 4096,
                    factor: 8,
                    warm_up: 1,
                    iterations: 2,
                    check: true,
                };
                let rows = run_threads(3, |comm| {
                    let mut group = Group::on(comm, "here", DEFAULT_TIME_LIMIT).unwrap();
                    let mut rows = Vec::new();
                    run(&mut group, &plan, None, &mut |row| rows.push(*row)).unwrap();
                    rows
                });
                assert_eq!(rows[0].len(), 4);
                for row in &rows[0] {
                    assert!(row.in_place.time_us > 0.0);
                    let none_to_check = what == Collective::Barrier;
                    assert_eq!(
                        row.in_place.wrong,
                        (!none_to_check).then_some(0),
                        "{what:?}"
                    );
                }
            }
        }
    }
}
