//! One-sided communication: windows, transfers, and what completes them.

#![allow(non_snake_case, reason = "MPI's names")]
#![allow(clippy::too_many_arguments, reason = "MPI's functions")]

use crate::ffi::wrap::functions;
use crate::hook::{Bytes, Requests, Row};

functions! {
    MPI_Win_create mpi_win_create_ mpi_win_create_f08_ (base, size, unit, info, comm, window)
        Row::of("MPI_Win_create", Bytes::None, Some(4), Requests::None);
    MPI_Win_allocate mpi_win_allocate_ mpi_win_allocate_f08_ (size, unit, info, comm, base, window)
        Row::of("MPI_Win_allocate", Bytes::None, Some(3), Requests::None);
    MPI_Win_fence mpi_win_fence_ mpi_win_fence_f08_ (assertion, window)
        Row::of("MPI_Win_fence", Bytes::None, None, Requests::None);
    MPI_Win_free mpi_win_free_ mpi_win_free_f08_ (window)
        Row::of("MPI_Win_free", Bytes::None, None, Requests::None);
    MPI_Put mpi_put_ mpi_put_f08_ (origin, count, datatype, target, displacement, target_count, target_type, window)
        Row::of("MPI_Put", Bytes::Count(1, 2), None, Requests::None);
    MPI_Get mpi_get_ mpi_get_f08_ (origin, count, datatype, target, displacement, target_count, target_type, window)
        Row::of("MPI_Get", Bytes::None, None, Requests::None);
    MPI_Accumulate mpi_accumulate_ mpi_accumulate_f08_ (origin, count, datatype, target, displacement, target_count, target_type, op, window)
        Row::of("MPI_Accumulate", Bytes::Count(1, 2), None, Requests::None);
    MPI_Get_accumulate mpi_get_accumulate_ mpi_get_accumulate_f08_ (origin, count, datatype, result, result_count, result_type, target, displacement, target_count, target_type, op, window)
        Row::of("MPI_Get_accumulate", Bytes::Count(1, 2), None, Requests::None);
    MPI_Fetch_and_op mpi_fetch_and_op_ mpi_fetch_and_op_f08_ (origin, result, datatype, target, displacement, op, window)
        Row::of("MPI_Fetch_and_op", Bytes::None, None, Requests::None);
    MPI_Compare_and_swap mpi_compare_and_swap_ mpi_compare_and_swap_f08_ (origin, compare, result, datatype, target, displacement, window)
        Row::of("MPI_Compare_and_swap", Bytes::None, None, Requests::None);
    MPI_Win_lock mpi_win_lock_ mpi_win_lock_f08_ (kind, rank, assertion, window)
        Row::of("MPI_Win_lock", Bytes::None, None, Requests::None);
    MPI_Win_unlock mpi_win_unlock_ mpi_win_unlock_f08_ (rank, window)
        Row::of("MPI_Win_unlock", Bytes::None, None, Requests::None);
    MPI_Win_lock_all mpi_win_lock_all_ mpi_win_lock_all_f08_ (assertion, window)
        Row::of("MPI_Win_lock_all", Bytes::None, None, Requests::None);
    MPI_Win_unlock_all mpi_win_unlock_all_ mpi_win_unlock_all_f08_ (window)
        Row::of("MPI_Win_unlock_all", Bytes::None, None, Requests::None);
    MPI_Win_flush mpi_win_flush_ mpi_win_flush_f08_ (rank, window)
        Row::of("MPI_Win_flush", Bytes::None, None, Requests::None);
    MPI_Win_flush_all mpi_win_flush_all_ mpi_win_flush_all_f08_ (window)
        Row::of("MPI_Win_flush_all", Bytes::None, None, Requests::None);
    MPI_Win_start mpi_win_start_ mpi_win_start_f08_ (group, assertion, window)
        Row::of("MPI_Win_start", Bytes::None, None, Requests::None);
    MPI_Win_complete mpi_win_complete_ mpi_win_complete_f08_ (window)
        Row::of("MPI_Win_complete", Bytes::None, None, Requests::None);
    MPI_Win_post mpi_win_post_ mpi_win_post_f08_ (group, assertion, window)
        Row::of("MPI_Win_post", Bytes::None, None, Requests::None);
    MPI_Win_wait mpi_win_wait_ mpi_win_wait_f08_ (window)
        Row::of("MPI_Win_wait", Bytes::None, None, Requests::None);
}
