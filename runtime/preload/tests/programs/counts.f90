! Calls of every kind of argument, through the bindings that the preprocessor chooses: the old
! module, or Fortran 2008's with F08. The test has the sums, for two ranks.
program counts
#ifdef F08
  use mpi_f08
  implicit none
  type(MPI_Request) :: requests(2)
  type(MPI_Request) :: request
#else
  use mpi
  implicit none
  integer :: requests(2), request
#endif
  integer :: rank, ierror, i, which
  logical :: flag
  double precision :: values(6), results(12)
  integer :: numbers(8)
  values = 1
  numbers = 0
  call MPI_Init(ierror)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, ierror)
  do i = 1, 10
    call MPI_Allreduce(values, results, 3, MPI_DOUBLE_PRECISION, MPI_SUM, MPI_COMM_WORLD, ierror)
  end do
  call MPI_Allreduce(MPI_IN_PLACE, values, 3, MPI_DOUBLE_PRECISION, MPI_SUM, MPI_COMM_WORLD, ierror)
  call MPI_Bcast(numbers, 5, MPI_INTEGER, 0, MPI_COMM_WORLD, ierror)
  call MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, results, 4, MPI_DOUBLE_PRECISION, &
    MPI_COMM_WORLD, ierror)
  call MPI_Sendrecv(values, 2, MPI_INTEGER, 1 - rank, 1, numbers, 2, MPI_INTEGER, 1 - rank, 1, &
    MPI_COMM_WORLD, MPI_STATUS_IGNORE, ierror)
  do i = 1, 3
    call MPI_Irecv(numbers, 4, MPI_INTEGER, 1 - rank, i, MPI_COMM_WORLD, requests(1), ierror)
    call MPI_Isend(numbers(5), 4, MPI_INTEGER, 1 - rank, i, MPI_COMM_WORLD, requests(2), ierror)
    if (i == 1) then
      call MPI_Waitall(2, requests, MPI_STATUSES_IGNORE, ierror)
    else if (i == 2) then
      call MPI_Waitany(2, requests, which, MPI_STATUS_IGNORE, ierror)
      call MPI_Waitany(2, requests, which, MPI_STATUS_IGNORE, ierror)
    else
      flag = .false.
      do while (.not. flag)
        call MPI_Testall(2, requests, flag, MPI_STATUSES_IGNORE, ierror)
      end do
    end if
  end do
  call MPI_Iallreduce(values, results, 1, MPI_DOUBLE_PRECISION, MPI_SUM, MPI_COMM_WORLD, request, ierror)
  call MPI_Wait(request, MPI_STATUS_IGNORE, ierror)
  call MPI_Barrier(MPI_COMM_WORLD, ierror)
  call MPI_Finalize(ierror)
end program counts
