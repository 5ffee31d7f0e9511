/* Makes MPI calls at a pace that does not depend on the clock: so many iterations of arithmetic
 * between two calls. Prints the CPU seconds and the wall seconds of its loop, and the number of
 * calls. Called by bench_comm with and without the preloaded library.
 *
 *   comm ROUNDS ITERATIONS     a round is an all-reduce, an isend, an irecv and a waitall
 *   comm calibrate             prints the iterations of 100 microseconds
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double clock_s(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

static volatile double sink;

static void work(long iterations) {
  double x = 1;
  for (long i = 0; i < iterations; i++)
    x = x * 1.0000001 + 1e-9;
  sink = x;
}

int main(int argc, char **argv) {
  double in = 1, out, received;
  MPI_Request requests[2];
  if (argc == 2 && strcmp(argv[1], "calibrate") == 0) {
    double begin = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    work(100000000);
    double used = clock_s(CLOCK_PROCESS_CPUTIME_ID) - begin;
    printf("%ld\n", (long)(100000000 * 1e-4 / used));
    return 0;
  }
  if (argc != 3)
    return 2;
  long rounds = atol(argv[1]), iterations = atol(argv[2]);
  MPI_Init(&argc, &argv);
  double cpu = 0, wall = 0;
  for (long i = -100; i < rounds; i++) {
    if (i == 0) {
      cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
      wall = clock_s(CLOCK_MONOTONIC);
    }
    work(iterations);
    MPI_Allreduce(&in, &out, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_SELF);
    work(iterations);
    MPI_Irecv(&received, 1, MPI_DOUBLE, 0, 0, MPI_COMM_SELF, &requests[0]);
    work(iterations);
    MPI_Isend(&in, 1, MPI_DOUBLE, 0, 0, MPI_COMM_SELF, &requests[1]);
    work(iterations);
    MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
  }
  printf("%.9f %.9f %ld\n", clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu,
         clock_s(CLOCK_MONOTONIC) - wall, 4 * rounds);
  MPI_Finalize();
  return 0;
}
