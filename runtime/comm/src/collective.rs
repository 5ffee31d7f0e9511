//! Collectives over arrays of numbers, as training needs them: in shared memory within a node,
//! over the [`Communicator`] between nodes.
//!
//! A [`Group`] is made once by all ranks together and then used by all in the same order. Within
//! a node every rank folds its share of the array, so that each value crosses memory as seldom
//! as can be, and a small array goes in one exchange. Between nodes the first rank of each
//! speaks for it.
//!
//! **Invariant:** values are folded in the order of ranks within a node, and the nodes in order:
//! the bits of a result are the same on every rank and in every run with the same ranks on the
//! same number of nodes. (The array engine, whose results must not depend on that either, folds
//! by [`Communicator::all_reduce`].)
//!
//! **Invariant:** no wait is for ever. A rank that does not come within the time limit is an
//! error that names it, its node and the collective; ranks that call different collectives, or
//! the same with different lengths, are told so before any memory is touched.
//!
//! Left out: NCCL and RCCL, whose arrays lie on devices.

mod across;
mod element;
mod engine;
mod node;
mod segment;

use std::time::Duration;

pub use self::element::{DataType, Element, Narrow};
pub use self::engine::{Engine, Pending, Traffic};
use self::node::Node;
use crate::{CommError, Communicator, ReduceOperation, Result, Tag};

/// How long a rank waits for another unless told otherwise.
pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(300);

/// What ranks do together; for errors and for the check that all do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Collective {
    /// All wait for all.
    Barrier = 1,
    /// All get the fold of all.
    AllReduce,
    /// Each gets its part of the fold of all.
    ReduceScatter,
    /// All get the parts of all.
    AllGather,
    /// All get what one has.
    Broadcast,
    /// Each gets its part of what each has.
    AllToAll,
}

impl Collective {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Barrier,
        Self::AllReduce,
        Self::ReduceScatter,
        Self::AllGather,
        Self::Broadcast,
        Self::AllToAll,
    ];

    /// As in MPI, without the prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Barrier => "barrier",
            Self::AllReduce => "all_reduce",
            Self::ReduceScatter => "reduce_scatter",
            Self::AllGather => "all_gather",
            Self::Broadcast => "broadcast",
            Self::AllToAll => "all_to_all",
        }
    }

    /// How many bytes cross a link for each byte of the largest array that a rank gives or gets,
    /// in the best of algorithms: nccl-tests' factor from algorithm to bus bandwidth.
    #[must_use]
    pub fn bus_factor(self, ranks: usize) -> f64 {
        let n = ranks.max(1) as f64;
        match self {
            Self::AllReduce => 2.0 * (n - 1.0) / n,
            Self::ReduceScatter | Self::AllGather | Self::AllToAll => (n - 1.0) / n,
            Self::Broadcast | Self::Barrier => 1.0,
        }
    }
}

/// Ranks that compute together.
#[derive(Debug)]
pub struct Group<C> {
    comm: C,
    node: Node,
    layout: Layout,
}

/// Which ranks share a node.
#[derive(Clone, Debug)]
struct Layout {
    rank: usize,
    /// Ranks of each node, in order; nodes by their first rank.
    nodes: Vec<Vec<usize>>,
    /// The name of each rank's node.
    names: Vec<String>,
    time_limit: Duration,
    /// The caller's node among them.
    own: usize,
}

impl Layout {
    fn of(rank: usize, names: Vec<String>, time_limit: Duration) -> Self {
        let mut nodes: Vec<Vec<usize>> = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match nodes.iter_mut().find(|node| names[node[0]] == *name) {
                Some(node) => node.push(index),
                None => nodes.push(vec![index]),
            }
        }
        let own = nodes.iter().position(|node| node.contains(&rank));
        Self {
            rank,
            nodes,
            names,
            time_limit,
            own: own.unwrap_or(0),
        }
    }

    fn ranks_here(&self) -> &[usize] {
        &self.nodes[self.own]
    }

    /// A message of another node's rank, or who did not send it.
    fn receive<C: Communicator>(
        &self,
        comm: &C,
        rank: usize,
        tag: Tag,
        what: Collective,
    ) -> Result<Vec<u8>> {
        comm.receive_within(rank, tag, self.time_limit)?
            .ok_or_else(|| CommError::TimedOut {
                rank,
                node: self.names[rank].clone(),
                collective: what.name(),
                limit_s: self.time_limit.as_secs_f64(),
            })
    }

    fn is_leader(&self) -> bool {
        self.ranks_here().first() == Some(&self.rank)
    }
}

impl<C: Communicator> Group<C> {
    /// Makes the group of all ranks of `comm`; all call it together.
    ///
    /// # Errors
    /// [`CommError`] if ranks cannot speak to each other, or a node has no shared memory left.
    pub fn new(comm: C, time_limit: Duration) -> Result<Self> {
        let name = segment::host();
        Self::on(comm, &name, time_limit)
    }

    /// As [`new`](Self::new), with a name for the node: for tests, whose nodes are one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(comm: C, node: &str, time_limit: Duration) -> Result<Self> {
        let names = comm.all_gather(node.as_bytes())?;
        let names = names
            .into_iter()
            .map(|name| String::from_utf8_lossy(&name).into_owned())
            .collect();
        let layout = Layout::of(comm.rank(), names, time_limit);
        let ranks = layout.ranks_here().to_vec();
        let name = layout.names[layout.rank].clone();
        let node = Node::join(&comm, &layout.nodes, ranks, name, time_limit)?;
        Ok(Self { comm, node, layout })
    }

    /// The caller's number.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.layout.rank
    }

    /// How many ranks there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.layout.names.len()
    }

    /// How many nodes they are on.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.layout.nodes.len()
    }

    /// Returns once all have called it.
    ///
    /// # Errors
    /// [`CommError`] if a rank does not come or does something else.
    pub fn barrier(&mut self) -> Result<()> {
        let mut nothing: [f32; 0] = [];
        self.all_reduce_as(Collective::Barrier, &mut nothing, ReduceOperation::Sum)
    }

    /// Replaces `values` by their fold over all ranks.
    ///
    /// # Errors
    /// [`CommError`] if a rank does not come, does something else, or brings another length.
    pub fn all_reduce<T: Element>(
        &mut self,
        values: &mut [T],
        operation: ReduceOperation,
    ) -> Result<()> {
        self.all_reduce_as(Collective::AllReduce, values, operation)
    }

    fn all_reduce_as<T: Element>(
        &mut self,
        what: Collective,
        values: &mut [T],
        operation: ReduceOperation,
    ) -> Result<()> {
        self.node
            .begin(what, T::TYPE, values.len(), operation as u8);
        self.node.all_reduce(values, operation)?;
        if self.node_count() == 1 {
            return Ok(());
        }
        // What nodes bring is compared by their first ranks; others wait for what comes of it.
        let folded = match self.layout.is_leader() {
            true => across::all_reduce(&self.comm, &self.layout, what, values, operation),
            false => Ok(()),
        };
        self.node.share(values, folded)
    }

    /// Replaces `values` by their sum over all ranks, sent as `W`: what a rank brings is rounded
    /// to `W`, summed in single precision in the order of ranks, and the sum is rounded to `W`.
    /// The bits are the same on every rank, a single one included.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce).
    pub fn all_reduce_narrow<W: Narrow>(&mut self, values: &mut [f32]) -> Result<()> {
        let (length, ranks) = (values.len(), self.size());
        let part = length.div_ceil(ranks);
        let mut wire = vec![W::default(); part * ranks];
        W::round(values, &mut wire[..length]);
        let theirs = self.all_to_all(&wire)?;
        let mut sum = vec![0.0_f32; part];
        let mut wide = vec![0.0_f32; part];
        for (rank, slice) in theirs.chunks_exact(part.max(1)).enumerate() {
            if rank == 0 {
                W::widen(slice, &mut sum);
            } else {
                W::widen(slice, &mut wide);
                f32::fold(ReduceOperation::Sum, &mut sum, &wide);
            }
        }
        let mut rounded = vec![W::default(); part];
        W::round(&sum, &mut rounded);
        let all = self.all_gather(&rounded)?;
        W::widen(&all[..length], values);
        Ok(())
    }

    /// The caller's part of the fold of `values` over all ranks, which is cut into as many equal
    /// parts as there are ranks.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce); [`CommError::Indivisible`] if it cannot be cut so.
    pub fn reduce_scatter<T: Element>(
        &mut self,
        values: &mut [T],
        operation: ReduceOperation,
    ) -> Result<Vec<T>> {
        let part = self.part_length(values.len())?;
        let own = self.rank() * part..(self.rank() + 1) * part;
        if self.node_count() > 1 {
            self.all_reduce_as(Collective::ReduceScatter, values, operation)?;
            return Ok(values[own].to_vec());
        }
        let what = Collective::ReduceScatter;
        self.node
            .begin(what, T::TYPE, values.len(), operation as u8);
        let mut result = vec![T::default(); part];
        self.node.reduce_scatter(values, &mut result, operation)?;
        Ok(result)
    }

    /// The `part` of every rank, in the order of ranks; all bring the same length.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce).
    pub fn all_gather<T: Element>(&mut self, part: &[T]) -> Result<Vec<T>> {
        let what = Collective::AllGather;
        self.node.begin(what, T::TYPE, part.len(), 0);
        let mut here = vec![T::default(); part.len() * self.layout.ranks_here().len()];
        self.node.all_gather(part, &mut here)?;
        if self.node_count() == 1 {
            return Ok(here);
        }
        let mut all = vec![T::default(); part.len() * self.size()];
        let gathered = match self.layout.is_leader() {
            true => across::all_gather(&self.comm, &self.layout, what, &here, &mut all),
            false => Ok(()),
        };
        self.node.share(&mut all, gathered)?;
        Ok(all)
    }

    /// Replaces `values` on every rank by those of `root`.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce); [`CommError::NoSuchRank`].
    pub fn broadcast<T: Element>(&mut self, root: usize, values: &mut [T]) -> Result<()> {
        crate::check_root(self.rank(), self.size(), root)?;
        let what = Collective::Broadcast;
        self.node.begin(what, T::TYPE, values.len(), root as u8);
        let root_node = self
            .layout
            .nodes
            .iter()
            .position(|node| node.contains(&root));
        if root_node == Some(self.layout.own) {
            let ranks = self.layout.ranks_here();
            let place = ranks.iter().position(|rank| *rank == root).unwrap_or(0);
            self.node.broadcast(place, values)?;
        }
        if self.node_count() == 1 {
            return Ok(());
        }
        let sent = match self.layout.is_leader() {
            true => {
                let from = root_node.unwrap_or(0);
                across::broadcast(&self.comm, &self.layout, what, from, values)
            }
            false => Ok(()),
        };
        self.node.share(values, sent)
    }

    /// Part `i` of `values` goes to rank `i`; returns the parts for the caller in rank order.
    ///
    /// # Errors
    /// As [`reduce_scatter`](Self::reduce_scatter).
    pub fn all_to_all<T: Element>(&mut self, values: &[T]) -> Result<Vec<T>> {
        self.part_length(values.len())?;
        self.node
            .begin(Collective::AllToAll, T::TYPE, values.len(), 0);
        let mut result = vec![T::default(); values.len()];
        if self.node_count() == 1 {
            self.node.all_to_all(values, &mut result)?;
            return Ok(result);
        }
        across::all_to_all(&self.comm, &self.layout, values, &mut result)?;
        Ok(result)
    }

    fn part_length(&self, length: usize) -> Result<usize> {
        let ranks = self.size();
        if length.is_multiple_of(ranks) {
            return Ok(length / ranks);
        }
        Err(CommError::Indivisible { length, ranks })
    }

    /// The communicator that the group was made of.
    pub fn communicator(&self) -> &C {
        &self.comm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_in_the_order_of_their_first_ranks() {
        let names = ["b", "a", "b", "c", "a"].map(str::to_owned).to_vec();
        let layout = Layout::of(4, names, DEFAULT_TIME_LIMIT);
        assert_eq!(layout.nodes, [vec![0, 2], vec![1, 4], vec![3]]);
        assert_eq!(layout.own, 1);
        assert!(!layout.is_leader());
    }

    #[test]
    fn bus_bandwidth_is_that_of_nccl_tests() {
        assert_eq!(Collective::AllReduce.bus_factor(4), 1.5);
        assert_eq!(Collective::AllGather.bus_factor(4), 0.75);
        assert_eq!(Collective::Broadcast.bus_factor(4), 1.0);
        assert_eq!(Collective::AllReduce.bus_factor(1), 0.0);
    }
}
