//! The kinds of calls that are counted, and their numbers in a ring and a record.
//!
//! New ones are added at the end: a number keeps its meaning.

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// All ranks of a communicator take part.
    Collective,
    /// A rank and its neighbours in a topology.
    Neighbourhood,
    /// Beginning and end of MPI.
    Setup,
    /// Two ranks.
    PointToPoint,
    /// Waits or asks for operations begun before.
    Completion,
    /// One rank moves data.
    OneSided,
    /// MPI-IO.
    File,
    /// NCCL or RCCL.
    Gpu,
    /// The system's files, outside of MPI; only calls that blocked noticeably.
    System,
}

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What people know it by.
    pub name: &'static str,
    /// What it is.
    pub family: Family,
}

const fn kind(name: &'static str, family: Family) -> Kind {
    Kind { name, family }
}

/// The number of a call.
///
/// # Panics
/// If there is none of that name: in a constant, a fault that the compiler shows.
#[must_use]
pub const fn number(name: &str) -> usize {
    let mut index = 0;
    while index < KINDS.len() {
        if same(KINDS[index].name.as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    panic!("no such call")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

const _: () = assert!(KINDS.len() <= crate::ring::MAX_CALLS);

/// All of them, by number.
pub const KINDS: &[Kind] = &[
    kind("MPI_Barrier", Family::Collective),
    kind("MPI_Bcast", Family::Collective),
    kind("MPI_Reduce", Family::Collective),
    kind("MPI_Allreduce", Family::Collective),
    kind("MPI_Gather", Family::Collective),
    kind("MPI_Gatherv", Family::Collective),
    kind("MPI_Scatter", Family::Collective),
    kind("MPI_Scatterv", Family::Collective),
    kind("MPI_Allgather", Family::Collective),
    kind("MPI_Allgatherv", Family::Collective),
    kind("MPI_Alltoall", Family::Collective),
    kind("MPI_Alltoallv", Family::Collective),
    kind("MPI_Alltoallw", Family::Collective),
    kind("MPI_Reduce_scatter", Family::Collective),
    kind("MPI_Reduce_scatter_block", Family::Collective),
    kind("MPI_Scan", Family::Collective),
    kind("MPI_Exscan", Family::Collective),
    kind("MPI_Ibarrier", Family::Collective),
    kind("MPI_Ibcast", Family::Collective),
    kind("MPI_Ireduce", Family::Collective),
    kind("MPI_Iallreduce", Family::Collective),
    kind("MPI_Igather", Family::Collective),
    kind("MPI_Igatherv", Family::Collective),
    kind("MPI_Iscatter", Family::Collective),
    kind("MPI_Iscatterv", Family::Collective),
    kind("MPI_Iallgather", Family::Collective),
    kind("MPI_Iallgatherv", Family::Collective),
    kind("MPI_Ialltoall", Family::Collective),
    kind("MPI_Ialltoallv", Family::Collective),
    kind("MPI_Ialltoallw", Family::Collective),
    kind("MPI_Ireduce_scatter", Family::Collective),
    kind("MPI_Ireduce_scatter_block", Family::Collective),
    kind("MPI_Iscan", Family::Collective),
    kind("MPI_Iexscan", Family::Collective),
    kind("MPI_Neighbor_allgather", Family::Neighbourhood),
    kind("MPI_Neighbor_allgatherv", Family::Neighbourhood),
    kind("MPI_Neighbor_alltoall", Family::Neighbourhood),
    kind("MPI_Neighbor_alltoallv", Family::Neighbourhood),
    kind("MPI_Neighbor_alltoallw", Family::Neighbourhood),
    kind("MPI_Ineighbor_allgather", Family::Neighbourhood),
    kind("MPI_Ineighbor_allgatherv", Family::Neighbourhood),
    kind("MPI_Ineighbor_alltoall", Family::Neighbourhood),
    kind("MPI_Ineighbor_alltoallv", Family::Neighbourhood),
    kind("MPI_Ineighbor_alltoallw", Family::Neighbourhood),
    kind("MPI_Comm_dup", Family::Collective),
    kind("MPI_Comm_split", Family::Collective),
    kind("MPI_Comm_split_type", Family::Collective),
    kind("MPI_Comm_create", Family::Collective),
    kind("MPI_Comm_free", Family::Collective),
    kind("MPI_Win_create", Family::Collective),
    kind("MPI_Win_allocate", Family::Collective),
    kind("MPI_Win_fence", Family::Collective),
    kind("MPI_Win_free", Family::Collective),
    kind("MPI_Init", Family::Setup),
    kind("MPI_Init_thread", Family::Setup),
    kind("MPI_Finalize", Family::Setup),
    kind("MPI_Send", Family::PointToPoint),
    kind("MPI_Bsend", Family::PointToPoint),
    kind("MPI_Ssend", Family::PointToPoint),
    kind("MPI_Rsend", Family::PointToPoint),
    kind("MPI_Recv", Family::PointToPoint),
    kind("MPI_Sendrecv", Family::PointToPoint),
    kind("MPI_Sendrecv_replace", Family::PointToPoint),
    kind("MPI_Probe", Family::PointToPoint),
    kind("MPI_Mprobe", Family::PointToPoint),
    kind("MPI_Mrecv", Family::PointToPoint),
    kind("MPI_Isend", Family::PointToPoint),
    kind("MPI_Ibsend", Family::PointToPoint),
    kind("MPI_Issend", Family::PointToPoint),
    kind("MPI_Irsend", Family::PointToPoint),
    kind("MPI_Irecv", Family::PointToPoint),
    kind("MPI_Imrecv", Family::PointToPoint),
    kind("MPI_Start", Family::PointToPoint),
    kind("MPI_Startall", Family::PointToPoint),
    kind("MPI_Wait", Family::Completion),
    kind("MPI_Waitall", Family::Completion),
    kind("MPI_Waitany", Family::Completion),
    kind("MPI_Waitsome", Family::Completion),
    kind("MPI_Test", Family::Completion),
    kind("MPI_Testall", Family::Completion),
    kind("MPI_Testany", Family::Completion),
    kind("MPI_Testsome", Family::Completion),
    kind("MPI_Iprobe", Family::Completion),
    kind("MPI_Improbe", Family::Completion),
    kind("MPI_Put", Family::OneSided),
    kind("MPI_Get", Family::OneSided),
    kind("MPI_Accumulate", Family::OneSided),
    kind("MPI_Get_accumulate", Family::OneSided),
    kind("MPI_Fetch_and_op", Family::OneSided),
    kind("MPI_Compare_and_swap", Family::OneSided),
    kind("MPI_Win_lock", Family::OneSided),
    kind("MPI_Win_unlock", Family::OneSided),
    kind("MPI_Win_lock_all", Family::OneSided),
    kind("MPI_Win_unlock_all", Family::OneSided),
    kind("MPI_Win_flush", Family::OneSided),
    kind("MPI_Win_flush_all", Family::OneSided),
    kind("MPI_Win_start", Family::OneSided),
    kind("MPI_Win_complete", Family::OneSided),
    kind("MPI_Win_post", Family::OneSided),
    kind("MPI_Win_wait", Family::OneSided),
    kind("MPI_File_open", Family::File),
    kind("MPI_File_close", Family::File),
    kind("MPI_File_sync", Family::File),
    kind("MPI_File_read", Family::File),
    kind("MPI_File_write", Family::File),
    kind("MPI_File_read_at", Family::File),
    kind("MPI_File_write_at", Family::File),
    kind("MPI_File_read_all", Family::File),
    kind("MPI_File_write_all", Family::File),
    kind("MPI_File_read_at_all", Family::File),
    kind("MPI_File_write_at_all", Family::File),
    kind("MPI_File_read_shared", Family::File),
    kind("MPI_File_write_shared", Family::File),
    kind("MPI_File_read_ordered", Family::File),
    kind("MPI_File_write_ordered", Family::File),
    kind("MPI_File_iread", Family::File),
    kind("MPI_File_iwrite", Family::File),
    kind("MPI_File_iread_at", Family::File),
    kind("MPI_File_iwrite_at", Family::File),
    kind("ncclAllReduce", Family::Gpu),
    kind("ncclReduceScatter", Family::Gpu),
    kind("ncclAllGather", Family::Gpu),
    kind("ncclBroadcast", Family::Gpu),
    kind("ncclBcast", Family::Gpu),
    kind("ncclReduce", Family::Gpu),
    kind("ncclSend", Family::Gpu),
    kind("ncclRecv", Family::Gpu),
    kind("ncclGroupEnd", Family::Gpu),
    kind("ncclCommInitRank", Family::Gpu),
    kind("ncclCommInitAll", Family::Gpu),
    kind("ncclCommInitRankConfig", Family::Gpu),
    kind("slow file read", Family::System),
    kind("slow file write", Family::System),
    kind("slow file sync", Family::System),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_meaning() {
        assert_eq!(number("MPI_Barrier"), 0);
        assert_eq!(number("MPI_Allreduce"), 3);
        assert_eq!(KINDS[number("ncclAllReduce")].family, Family::Gpu);
        for (index, kind) in KINDS.iter().enumerate() {
            assert_eq!(number(kind.name), index, "{} is there twice", kind.name);
        }
    }
}
