/* Two ranks that do not meet: after three collectives together, rank 0 enters an all-reduce while
 * rank 1 enters a barrier ("differ") or is in no call at all ("absent"). Never ends. */
#include <mpi.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
  double in = 1, out;
  int rank;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  for (int i = 0; i < 3; i++)
    MPI_Bcast(&in, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  if (rank == 0)
    MPI_Allreduce(&in, &out, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  else if (strcmp(argv[1], "differ") == 0)
    MPI_Barrier(MPI_COMM_WORLD);
  else
    sleep(600);
  MPI_Finalize();
  return 0;
}
