//! Collectives: blocking, begun, and of neighbours, and what makes communicators.
//!
//! Of neighbours' collectives the bytes are those for one neighbour, and of their variants with
//! counts none: how many neighbours there are is the topology's secret.

#![allow(non_snake_case, reason = "MPI's names")]
#![allow(clippy::too_many_arguments, reason = "MPI's functions")]

use crate::ffi::wrap::functions;
use crate::hook::{Bytes, Requests, Row};

functions! {
    MPI_Barrier mpi_barrier_ mpi_barrier_f08_ (comm)
        Row::of("MPI_Barrier", Bytes::None, Some(0), Requests::None);
    MPI_Bcast mpi_bcast_ mpi_bcast_f08_ (buffer, count, datatype, root, comm)
        Row::of("MPI_Bcast", Bytes::Root(1, 2, 3, 4), Some(4), Requests::None);
    MPI_Reduce mpi_reduce_ mpi_reduce_f08_ (send, receive, count, datatype, op, root, comm)
        Row::of("MPI_Reduce", Bytes::Count(2, 3), Some(6), Requests::None);
    MPI_Allreduce mpi_allreduce_ mpi_allreduce_f08_ (send, receive, count, datatype, op, comm)
        Row::of("MPI_Allreduce", Bytes::Count(2, 3), Some(5), Requests::None);
    MPI_Gather mpi_gather_ mpi_gather_f08_ (send, count, datatype, receive, receive_count, receive_type, root, comm)
        Row::of("MPI_Gather", Bytes::Own([0, 1, 2], [4, 5]), Some(7), Requests::None);
    MPI_Gatherv mpi_gatherv_ mpi_gatherv_f08_ (send, count, datatype, receive, receive_counts, displacements, receive_type, root, comm)
        Row::of("MPI_Gatherv", Bytes::OwnOfCounts([0, 1, 2], [4, 6], 8), Some(8), Requests::None);
    MPI_Scatter mpi_scatter_ mpi_scatter_f08_ (send, count, datatype, receive, receive_count, receive_type, root, comm)
        Row::of("MPI_Scatter", Bytes::RootEach(1, 2, 6, 7), Some(7), Requests::None);
    MPI_Scatterv mpi_scatterv_ mpi_scatterv_f08_ (send, counts, displacements, datatype, receive, receive_count, receive_type, root, comm)
        Row::of("MPI_Scatterv", Bytes::RootCounts(1, 3, 7, 8), Some(8), Requests::None);
    MPI_Allgather mpi_allgather_ mpi_allgather_f08_ (send, count, datatype, receive, receive_count, receive_type, comm)
        Row::of("MPI_Allgather", Bytes::Own([0, 1, 2], [4, 5]), Some(6), Requests::None);
    MPI_Allgatherv mpi_allgatherv_ mpi_allgatherv_f08_ (send, count, datatype, receive, receive_counts, displacements, receive_type, comm)
        Row::of("MPI_Allgatherv", Bytes::OwnOfCounts([0, 1, 2], [4, 6], 7), Some(7), Requests::None);
    MPI_Alltoall mpi_alltoall_ mpi_alltoall_f08_ (send, count, datatype, receive, receive_count, receive_type, comm)
        Row::of("MPI_Alltoall", Bytes::OwnEach([0, 1, 2], [4, 5], 6), Some(6), Requests::None);
    MPI_Alltoallv mpi_alltoallv_ mpi_alltoallv_f08_ (send, counts, displacements, datatype, receive, receive_counts, receive_displacements, receive_type, comm)
        Row::of("MPI_Alltoallv", Bytes::Counts([0, 1, 3], [5, 7], 8), Some(8), Requests::None);
    MPI_Alltoallw mpi_alltoallw_ mpi_alltoallw_f08_ (send, counts, displacements, types, receive, receive_counts, receive_displacements, receive_types, comm)
        Row::of("MPI_Alltoallw", Bytes::CountsTypes([0, 1, 3], [5, 7], 8), Some(8), Requests::None);
    MPI_Reduce_scatter mpi_reduce_scatter_ mpi_reduce_scatter_f08_ (send, receive, counts, datatype, op, comm)
        Row::of("MPI_Reduce_scatter", Bytes::Counts([0, 2, 3], [2, 3], 5), Some(5), Requests::None);
    MPI_Reduce_scatter_block mpi_reduce_scatter_block_ mpi_reduce_scatter_block_f08_ (send, receive, count, datatype, op, comm)
        Row::of("MPI_Reduce_scatter_block", Bytes::Each(2, 3, 5), Some(5), Requests::None);
    MPI_Scan mpi_scan_ mpi_scan_f08_ (send, receive, count, datatype, op, comm)
        Row::of("MPI_Scan", Bytes::Count(2, 3), Some(5), Requests::None);
    MPI_Exscan mpi_exscan_ mpi_exscan_f08_ (send, receive, count, datatype, op, comm)
        Row::of("MPI_Exscan", Bytes::Count(2, 3), Some(5), Requests::None);
    MPI_Ibarrier mpi_ibarrier_ mpi_ibarrier_f08_ (comm, request)
        Row::of("MPI_Ibarrier", Bytes::None, Some(0), Requests::Begin(1));
    MPI_Ibcast mpi_ibcast_ mpi_ibcast_f08_ (buffer, count, datatype, root, comm, request)
        Row::of("MPI_Ibcast", Bytes::Root(1, 2, 3, 4), Some(4), Requests::Begin(5));
    MPI_Ireduce mpi_ireduce_ mpi_ireduce_f08_ (send, receive, count, datatype, op, root, comm, request)
        Row::of("MPI_Ireduce", Bytes::Count(2, 3), Some(6), Requests::Begin(7));
    MPI_Iallreduce mpi_iallreduce_ mpi_iallreduce_f08_ (send, receive, count, datatype, op, comm, request)
        Row::of("MPI_Iallreduce", Bytes::Count(2, 3), Some(5), Requests::Begin(6));
    MPI_Igather mpi_igather_ mpi_igather_f08_ (send, count, datatype, receive, receive_count, receive_type, root, comm, request)
        Row::of("MPI_Igather", Bytes::Own([0, 1, 2], [4, 5]), Some(7), Requests::Begin(8));
    MPI_Igatherv mpi_igatherv_ mpi_igatherv_f08_ (send, count, datatype, receive, receive_counts, displacements, receive_type, root, comm, request)
        Row::of("MPI_Igatherv", Bytes::OwnOfCounts([0, 1, 2], [4, 6], 8), Some(8), Requests::Begin(9));
    MPI_Iscatter mpi_iscatter_ mpi_iscatter_f08_ (send, count, datatype, receive, receive_count, receive_type, root, comm, request)
        Row::of("MPI_Iscatter", Bytes::RootEach(1, 2, 6, 7), Some(7), Requests::Begin(8));
    MPI_Iscatterv mpi_iscatterv_ mpi_iscatterv_f08_ (send, counts, displacements, datatype, receive, receive_count, receive_type, root, comm, request)
        Row::of("MPI_Iscatterv", Bytes::RootCounts(1, 3, 7, 8), Some(8), Requests::Begin(9));
    MPI_Iallgather mpi_iallgather_ mpi_iallgather_f08_ (send, count, datatype, receive, receive_count, receive_type, comm, request)
        Row::of("MPI_Iallgather", Bytes::Own([0, 1, 2], [4, 5]), Some(6), Requests::Begin(7));
    MPI_Iallgatherv mpi_iallgatherv_ mpi_iallgatherv_f08_ (send, count, datatype, receive, receive_counts, displacements, receive_type, comm, request)
        Row::of("MPI_Iallgatherv", Bytes::OwnOfCounts([0, 1, 2], [4, 6], 7), Some(7), Requests::Begin(8));
    MPI_Ialltoall mpi_ialltoall_ mpi_ialltoall_f08_ (send, count, datatype, receive, receive_count, receive_type, comm, request)
        Row::of("MPI_Ialltoall", Bytes::OwnEach([0, 1, 2], [4, 5], 6), Some(6), Requests::Begin(7));
    MPI_Ialltoallv mpi_ialltoallv_ mpi_ialltoallv_f08_ (send, counts, displacements, datatype, receive, receive_counts, receive_displacements, receive_type, comm, request)
        Row::of("MPI_Ialltoallv", Bytes::Counts([0, 1, 3], [5, 7], 8), Some(8), Requests::Begin(9));
    MPI_Ialltoallw mpi_ialltoallw_ mpi_ialltoallw_f08_ (send, counts, displacements, types, receive, receive_counts, receive_displacements, receive_types, comm, request)
        Row::of("MPI_Ialltoallw", Bytes::CountsTypes([0, 1, 3], [5, 7], 8), Some(8), Requests::Begin(9));
    MPI_Ireduce_scatter mpi_ireduce_scatter_ mpi_ireduce_scatter_f08_ (send, receive, counts, datatype, op, comm, request)
        Row::of("MPI_Ireduce_scatter", Bytes::Counts([0, 2, 3], [2, 3], 5), Some(5), Requests::Begin(6));
    MPI_Ireduce_scatter_block mpi_ireduce_scatter_block_ mpi_ireduce_scatter_block_f08_ (send, receive, count, datatype, op, comm, request)
        Row::of("MPI_Ireduce_scatter_block", Bytes::Each(2, 3, 5), Some(5), Requests::Begin(6));
    MPI_Iscan mpi_iscan_ mpi_iscan_f08_ (send, receive, count, datatype, op, comm, request)
        Row::of("MPI_Iscan", Bytes::Count(2, 3), Some(5), Requests::Begin(6));
    MPI_Iexscan mpi_iexscan_ mpi_iexscan_f08_ (send, receive, count, datatype, op, comm, request)
        Row::of("MPI_Iexscan", Bytes::Count(2, 3), Some(5), Requests::Begin(6));
    MPI_Neighbor_allgather mpi_neighbor_allgather_ mpi_neighbor_allgather_f08_ (send, count, datatype, receive, receive_count, receive_type, comm)
        Row::of("MPI_Neighbor_allgather", Bytes::Count(1, 2), Some(6), Requests::None);
    MPI_Neighbor_allgatherv mpi_neighbor_allgatherv_ mpi_neighbor_allgatherv_f08_ (send, count, datatype, receive, receive_counts, displacements, receive_type, comm)
        Row::of("MPI_Neighbor_allgatherv", Bytes::Count(1, 2), Some(7), Requests::None);
    MPI_Neighbor_alltoall mpi_neighbor_alltoall_ mpi_neighbor_alltoall_f08_ (send, count, datatype, receive, receive_count, receive_type, comm)
        Row::of("MPI_Neighbor_alltoall", Bytes::Count(1, 2), Some(6), Requests::None);
    MPI_Neighbor_alltoallv mpi_neighbor_alltoallv_ mpi_neighbor_alltoallv_f08_ (send, counts, displacements, datatype, receive, receive_counts, receive_displacements, receive_type, comm)
        Row::of("MPI_Neighbor_alltoallv", Bytes::None, Some(8), Requests::None);
    MPI_Neighbor_alltoallw mpi_neighbor_alltoallw_ mpi_neighbor_alltoallw_f08_ (send, counts, displacements, types, receive, receive_counts, receive_displacements, receive_types, comm)
        Row::of("MPI_Neighbor_alltoallw", Bytes::None, Some(8), Requests::None);
    MPI_Ineighbor_allgather mpi_ineighbor_allgather_ mpi_ineighbor_allgather_f08_ (send, count, datatype, receive, receive_count, receive_type, comm, request)
        Row::of("MPI_Ineighbor_allgather", Bytes::Count(1, 2), Some(6), Requests::Begin(7));
    MPI_Ineighbor_allgatherv mpi_ineighbor_allgatherv_ mpi_ineighbor_allgatherv_f08_ (send, count, datatype, receive, receive_counts, displacements, receive_type, comm, request)
        Row::of("MPI_Ineighbor_allgatherv", Bytes::Count(1, 2), Some(7), Requests::Begin(8));
    MPI_Ineighbor_alltoall mpi_ineighbor_alltoall_ mpi_ineighbor_alltoall_f08_ (send, count, datatype, receive, receive_count, receive_type, comm, request)
        Row::of("MPI_Ineighbor_alltoall", Bytes::Count(1, 2), Some(6), Requests::Begin(7));
    MPI_Ineighbor_alltoallv mpi_ineighbor_alltoallv_ mpi_ineighbor_alltoallv_f08_ (send, counts, displacements, datatype, receive, receive_counts, receive_displacements, receive_type, comm, request)
        Row::of("MPI_Ineighbor_alltoallv", Bytes::None, Some(8), Requests::Begin(9));
    MPI_Ineighbor_alltoallw mpi_ineighbor_alltoallw_ mpi_ineighbor_alltoallw_f08_ (send, counts, displacements, types, receive, receive_counts, receive_displacements, receive_types, comm, request)
        Row::of("MPI_Ineighbor_alltoallw", Bytes::None, Some(8), Requests::Begin(9));
    MPI_Comm_dup mpi_comm_dup_ mpi_comm_dup_f08_ (comm, new)
        Row::of("MPI_Comm_dup", Bytes::None, Some(0), Requests::None);
    MPI_Comm_split mpi_comm_split_ mpi_comm_split_f08_ (comm, colour, key, new)
        Row::of("MPI_Comm_split", Bytes::None, Some(0), Requests::None);
    MPI_Comm_split_type mpi_comm_split_type_ mpi_comm_split_type_f08_ (comm, kind, key, info, new)
        Row::of("MPI_Comm_split_type", Bytes::None, Some(0), Requests::None);
    MPI_Comm_create mpi_comm_create_ mpi_comm_create_f08_ (comm, group, new)
        Row::of("MPI_Comm_create", Bytes::None, Some(0), Requests::None);
    MPI_Comm_free mpi_comm_free_ mpi_comm_free_f08_ (comm)
        Row::of("MPI_Comm_free", Bytes::None, None, Requests::None);
}
