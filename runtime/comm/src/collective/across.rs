//! Collectives between the first ranks of nodes, by messages.
//!
//! Arrays are folded along a tree over the nodes in their order, so that the bits depend on
//! their number alone, and come back the same way.

use super::element::Element;
use super::{Collective, Layout};
use crate::{CommError, Communicator, ReduceOperation, Result, Tag};

/// The stream of these messages.
const TAG: Tag = Tag::MAX - 1;

/// Numbers in a message: large arrays travel while they are folded.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

fn leader(layout: &Layout, node: usize) -> usize {
    layout.nodes[node][0]
}

fn receive<C: Communicator, T: Element>(
    comm: &C,
    layout: &Layout,
    what: Collective,
    node: usize,
    into: &mut [T],
) -> Result<()> {
    let rank = leader(layout, node);
    let bytes = layout.receive(comm, rank, TAG, what)?;
    if bytes.len() != size_of_val(into) {
        return Err(CommError::Mismatch {
            rank,
            node: layout.names[rank].clone(),
            expected: format!("{} of {} bytes", what.name(), size_of_val(into)),
            found: format!("{} bytes", bytes.len()),
        });
    }
    bytemuck::cast_slice_mut::<T, u8>(into).copy_from_slice(&bytes);
    Ok(())
}

fn send<C: Communicator, T: Element>(
    comm: &C,
    layout: &Layout,
    node: usize,
    values: &[T],
) -> Result<()> {
    comm.send(leader(layout, node), TAG, bytemuck::cast_slice(values))
}

/// Folds what the nodes have, and gives it to all of them.
pub(super) fn all_reduce<C: Communicator, T: Element>(
    comm: &C,
    layout: &Layout,
    what: Collective,
    values: &mut [T],
    operation: ReduceOperation,
) -> Result<()> {
    // A barrier brings no values, and still has to wait.
    if values.is_empty() {
        return all_reduce(comm, layout, what, &mut [T::default()], operation);
    }
    let (own, nodes) = (layout.own, layout.nodes.len());
    for part in values.chunks_mut(MESSAGE_BYTES_MAX / size_of::<T>()) {
        let mut theirs = vec![T::default(); part.len()];
        let mut stride = 1;
        while stride < nodes {
            if own % (2 * stride) == stride {
                send(comm, layout, own - stride, part)?;
                break;
            }
            if own + stride < nodes {
                receive(comm, layout, what, own + stride, &mut theirs)?;
                T::fold(operation, part, &theirs);
            }
            stride *= 2;
        }
        hand_down(comm, layout, what, part)?;
    }
    Ok(())
}

/// Sends what node 0 has along the tree to all nodes.
fn hand_down<C: Communicator, T: Element>(
    comm: &C,
    layout: &Layout,
    what: Collective,
    values: &mut [T],
) -> Result<()> {
    let (own, nodes) = (layout.own, layout.nodes.len());
    let mut stride = nodes.next_power_of_two() / 2;
    while stride > 0 {
        if own.is_multiple_of(2 * stride) && own + stride < nodes {
            send(comm, layout, own + stride, values)?;
        } else if own % (2 * stride) == stride {
            receive(comm, layout, what, own - stride, values)?;
        }
        stride /= 2;
    }
    Ok(())
}

/// Sends what node `root` has to all nodes.
pub(super) fn broadcast<C: Communicator, T: Element>(
    comm: &C,
    layout: &Layout,
    what: Collective,
    root: usize,
    values: &mut [T],
) -> Result<()> {
    if root != 0 && layout.own == root {
        send(comm, layout, 0, values)?;
    } else if root != 0 && layout.own == 0 {
        receive(comm, layout, what, root, values)?;
    }
    hand_down(comm, layout, what, values)
}

/// The parts of all ranks, in their order, of those that each node has.
pub(super) fn all_gather<C: Communicator, T: Element>(
    comm: &C,
    layout: &Layout,
    what: Collective,
    here: &[T],
    all: &mut [T],
) -> Result<()> {
    let length = here.len() / layout.ranks_here().len();
    let mut place = |ranks: &[usize], parts: &[T]| {
        for (part, rank) in parts.chunks_exact(length.max(1)).zip(ranks) {
            all[rank * length..][..length].copy_from_slice(part);
        }
    };
    if layout.own == 0 {
        place(layout.ranks_here(), here);
        for node in 1..layout.nodes.len() {
            let ranks = &layout.nodes[node];
            let mut parts = vec![T::default(); length * ranks.len()];
            receive(comm, layout, what, node, &mut parts)?;
            place(ranks, &parts);
        }
    } else {
        send(comm, layout, 0, here)?;
    }
    hand_down(comm, layout, what, all)
}

/// Part `i` of `values` goes to rank `i`, by a message between every two ranks: in each round
/// the ranks pair up, and the lower speaks first.
pub(super) fn all_to_all<C: Communicator, T: Element>(
    comm: &C,
    layout: &Layout,
    values: &[T],
    result: &mut [T],
) -> Result<()> {
    let part = values.len() / comm.size();
    let (own, size) = (comm.rank(), comm.size());
    let mine = own * part..(own + 1) * part;
    result[mine.clone()].copy_from_slice(&values[mine]);
    for round in 1..size.next_power_of_two() {
        let peer = own ^ round;
        if peer >= size {
            continue;
        }
        let give = || {
            let slice = &values[peer * part..][..part];
            comm.send(peer, TAG, bytemuck::cast_slice(slice))
        };
        if own < peer {
            give()?;
        }
        let bytes = layout.receive(comm, peer, TAG, Collective::AllToAll)?;
        let into = bytemuck::cast_slice_mut::<T, u8>(&mut result[peer * part..][..part]);
        if bytes.len() != into.len() {
            return Err(CommError::LengthMismatch {
                rank: peer,
                expected: into.len(),
                found: bytes.len(),
            });
        }
        into.copy_from_slice(&bytes);
        if own > peer {
            give()?;
        }
    }
    Ok(())
}
