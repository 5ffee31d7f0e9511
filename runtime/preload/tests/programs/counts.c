/* Makes a known number of calls with a known number of bytes, for two ranks; the test has the
 * sums, worked out by hand. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  int rank, size, flag = 0, which;
  double in[6] = {1, 2, 3, 4, 5, 6}, out[12];
  int counts[2] = {1, 2}, displacements[2] = {0, 1}, numbers[8] = {0};
  char text[16] = "seven b";
  MPI_Request requests[2];
  MPI_File file;
  MPI_Comm half;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  for (int i = 0; i < 10; i++)
    MPI_Allreduce(in, out, 3, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  MPI_Allreduce(MPI_IN_PLACE, in, 3, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  MPI_Bcast(numbers, 5, MPI_INT, 0, MPI_COMM_WORLD);
  MPI_Scatter(in, 2, MPI_DOUBLE, out, 2, MPI_DOUBLE, 1, MPI_COMM_WORLD);
  MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, out, 4, MPI_DOUBLE, MPI_COMM_WORLD);
  MPI_Gatherv(in, counts[rank], MPI_DOUBLE, out, counts, displacements, MPI_DOUBLE, 0,
              MPI_COMM_WORLD);
  MPI_Alltoallv(in, counts, displacements, MPI_DOUBLE, out,
                (int[2]){counts[rank], counts[rank]}, (int[2]){0, 4}, MPI_DOUBLE,
                MPI_COMM_WORLD);
  MPI_Alltoall(in, 1, MPI_DOUBLE, out, 1, MPI_DOUBLE, MPI_COMM_WORLD);
  MPI_Reduce_scatter_block(in, out, 2, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  if (rank == 0)
    MPI_Send(text, 7, MPI_CHAR, 1, 5, MPI_COMM_WORLD);
  else
    MPI_Recv(text, 7, MPI_CHAR, 0, 5, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  MPI_Sendrecv(in, 2, MPI_INT, 1 - rank, 1, numbers, 2, MPI_INT, 1 - rank, 1, MPI_COMM_WORLD,
               MPI_STATUS_IGNORE);
  for (int i = 0; i < 4; i++) {
    MPI_Irecv(numbers, 4, MPI_INT, 1 - rank, i, MPI_COMM_WORLD, &requests[0]);
    MPI_Isend(numbers + 4, 4, MPI_INT, 1 - rank, i, MPI_COMM_WORLD, &requests[1]);
    if (i == 0) {
      MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    } else if (i == 1) {
      MPI_Waitany(2, requests, &which, MPI_STATUS_IGNORE);
      MPI_Waitany(2, requests, &which, MPI_STATUS_IGNORE);
    } else if (i == 2) {
      MPI_Wait(&requests[0], MPI_STATUS_IGNORE);
      MPI_Wait(&requests[1], MPI_STATUS_IGNORE);
    } else {
      for (flag = 0; !flag;)
        MPI_Testall(2, requests, &flag, MPI_STATUSES_IGNORE);
    }
  }
  MPI_Iallreduce(in, out, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD, &requests[0]);
  MPI_Wait(&requests[0], MPI_STATUS_IGNORE);
  /* Half a communicator each: no collective of all ranks. */
  MPI_Comm_split(MPI_COMM_WORLD, rank, 0, &half);
  MPI_Barrier(half);
  MPI_Barrier(MPI_COMM_WORLD);
  if (argc > 1) {
    MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL,
                  &file);
    MPI_File_write_at_all(file, (MPI_Offset)rank * 48, in, 6, MPI_DOUBLE, MPI_STATUS_IGNORE);
    MPI_File_close(&file);
  }
  MPI_Finalize();
  return 0;
}
