//! Point to point: blocking, begun, and the calls that complete what was begun.

#![allow(non_snake_case, reason = "MPI's names")]
#![allow(clippy::too_many_arguments, reason = "MPI's functions")]

use crate::ffi::wrap::functions;
use crate::hook::{Bytes, Requests, Row};

functions! {
    MPI_Send mpi_send_ mpi_send_f08_ (buffer, count, datatype, destination, tag, comm)
        Row::of("MPI_Send", Bytes::Count(1, 2), None, Requests::None);
    MPI_Bsend mpi_bsend_ mpi_bsend_f08_ (buffer, count, datatype, destination, tag, comm)
        Row::of("MPI_Bsend", Bytes::Count(1, 2), None, Requests::None);
    MPI_Ssend mpi_ssend_ mpi_ssend_f08_ (buffer, count, datatype, destination, tag, comm)
        Row::of("MPI_Ssend", Bytes::Count(1, 2), None, Requests::None);
    MPI_Rsend mpi_rsend_ mpi_rsend_f08_ (buffer, count, datatype, destination, tag, comm)
        Row::of("MPI_Rsend", Bytes::Count(1, 2), None, Requests::None);
    MPI_Recv mpi_recv_ mpi_recv_f08_ (buffer, count, datatype, source, tag, comm, status)
        Row::of("MPI_Recv", Bytes::None, None, Requests::None);
    MPI_Sendrecv mpi_sendrecv_ mpi_sendrecv_f08_ (send, count, datatype, destination, tag, receive, receive_count, receive_type, source, receive_tag, comm, status)
        Row::of("MPI_Sendrecv", Bytes::Count(1, 2), None, Requests::None);
    MPI_Sendrecv_replace mpi_sendrecv_replace_ mpi_sendrecv_replace_f08_ (buffer, count, datatype, destination, tag, source, receive_tag, comm, status)
        Row::of("MPI_Sendrecv_replace", Bytes::Count(1, 2), None, Requests::None);
    MPI_Probe mpi_probe_ mpi_probe_f08_ (source, tag, comm, status)
        Row::of("MPI_Probe", Bytes::None, None, Requests::None);
    MPI_Mprobe mpi_mprobe_ mpi_mprobe_f08_ (source, tag, comm, message, status)
        Row::of("MPI_Mprobe", Bytes::None, None, Requests::None);
    MPI_Mrecv mpi_mrecv_ mpi_mrecv_f08_ (buffer, count, datatype, message, status)
        Row::of("MPI_Mrecv", Bytes::None, None, Requests::None);
    MPI_Iprobe mpi_iprobe_ mpi_iprobe_f08_ (source, tag, comm, flag, status)
        Row::of("MPI_Iprobe", Bytes::None, None, Requests::None);
    MPI_Improbe mpi_improbe_ mpi_improbe_f08_ (source, tag, comm, flag, message, status)
        Row::of("MPI_Improbe", Bytes::None, None, Requests::None);
    MPI_Isend mpi_isend_ mpi_isend_f08_ (buffer, count, datatype, destination, tag, comm, request)
        Row::of("MPI_Isend", Bytes::Count(1, 2), None, Requests::Begin(6));
    MPI_Ibsend mpi_ibsend_ mpi_ibsend_f08_ (buffer, count, datatype, destination, tag, comm, request)
        Row::of("MPI_Ibsend", Bytes::Count(1, 2), None, Requests::Begin(6));
    MPI_Issend mpi_issend_ mpi_issend_f08_ (buffer, count, datatype, destination, tag, comm, request)
        Row::of("MPI_Issend", Bytes::Count(1, 2), None, Requests::Begin(6));
    MPI_Irsend mpi_irsend_ mpi_irsend_f08_ (buffer, count, datatype, destination, tag, comm, request)
        Row::of("MPI_Irsend", Bytes::Count(1, 2), None, Requests::Begin(6));
    MPI_Irecv mpi_irecv_ mpi_irecv_f08_ (buffer, count, datatype, source, tag, comm, request)
        Row::of("MPI_Irecv", Bytes::None, None, Requests::Begin(6));
    MPI_Imrecv mpi_imrecv_ mpi_imrecv_f08_ (buffer, count, datatype, message, request)
        Row::of("MPI_Imrecv", Bytes::None, None, Requests::Begin(4));
    MPI_Start mpi_start_ mpi_start_f08_ (request)
        Row::of("MPI_Start", Bytes::None, None, Requests::Begin(0));
    MPI_Startall mpi_startall_ mpi_startall_f08_ (count, requests)
        Row::of("MPI_Startall", Bytes::None, None, Requests::BeginAll(0, 1));
    MPI_Wait mpi_wait_ mpi_wait_f08_ (request, status)
        Row::of("MPI_Wait", Bytes::None, None, Requests::Wait(0));
    MPI_Waitall mpi_waitall_ mpi_waitall_f08_ (count, requests, statuses)
        Row::of("MPI_Waitall", Bytes::None, None, Requests::WaitAll(0, 1));
    MPI_Waitany mpi_waitany_ mpi_waitany_f08_ (count, requests, which, status)
        Row::of("MPI_Waitany", Bytes::None, None, Requests::WaitAny(0, 1, 2));
    MPI_Waitsome mpi_waitsome_ mpi_waitsome_f08_ (count, requests, done, which, statuses)
        Row::of("MPI_Waitsome", Bytes::None, None, Requests::WaitSome(0, 1, 2, 3));
    MPI_Test mpi_test_ mpi_test_f08_ (request, flag, status)
        Row::of("MPI_Test", Bytes::None, None, Requests::Test(0, 1));
    MPI_Testall mpi_testall_ mpi_testall_f08_ (count, requests, flag, statuses)
        Row::of("MPI_Testall", Bytes::None, None, Requests::TestAll(0, 1, 2));
    MPI_Testany mpi_testany_ mpi_testany_f08_ (count, requests, which, flag, status)
        Row::of("MPI_Testany", Bytes::None, None, Requests::TestAny(0, 1, 2, 3));
    MPI_Testsome mpi_testsome_ mpi_testsome_f08_ (count, requests, done, which, statuses)
        Row::of("MPI_Testsome", Bytes::None, None, Requests::WaitSome(0, 1, 2, 3));
}
