/* Spends known amounts of time: two ranks compute, sleep and wait for each other, and write what
 * they measured themselves, by the clocks, to <argv[1]>.<rank>. */
#include <mpi.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double clock_s(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

/* Computes for so many seconds of CPU time; returns how long that took. */
static double compute(double seconds) {
  double begin = clock_s(CLOCK_MONOTONIC);
  double end = clock_s(CLOCK_PROCESS_CPUTIME_ID) + seconds;
  volatile double x = 1;
  while (clock_s(CLOCK_PROCESS_CPUTIME_ID) < end)
    for (int i = 0; i < 10000; i++)
      x = x * 1.0000001 + 1e-9;
  return clock_s(CLOCK_MONOTONIC) - begin;
}

int main(int argc, char **argv) {
  double in = 1, out, begin, init, under, wait, finalize;
  int rank;
  char path[4096];
  MPI_Request request;
  begin = clock_s(CLOCK_MONOTONIC);
  MPI_Init(&argc, &argv);
  init = clock_s(CLOCK_MONOTONIC) - begin;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Barrier(MPI_COMM_WORLD);
  begin = clock_s(CLOCK_MONOTONIC);
  if (rank == 0) {
    compute(1.0);
    MPI_Iallreduce(&in, &out, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD, &request);
    under = compute(0.5);
  } else {
    /* The other has computed 1.5 s of CPU time by then, unless the machine is very busy. */
    usleep(2500000);
    MPI_Iallreduce(&in, &out, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD, &request);
    under = 0;
  }
  begin = clock_s(CLOCK_MONOTONIC);
  MPI_Wait(&request, MPI_STATUS_IGNORE);
  wait = clock_s(CLOCK_MONOTONIC) - begin;
  begin = clock_s(CLOCK_MONOTONIC);
  MPI_Finalize();
  finalize = clock_s(CLOCK_MONOTONIC) - begin;
  snprintf(path, sizeof path, "%s.%d", argv[1], rank);
  FILE *file = fopen(path, "w");
  fprintf(file, "{\"init\": %.6f, \"under\": %.6f, \"wait\": %.6f, \"finalize\": %.6f}\n", init,
          under, wait, finalize);
  fclose(file);
  return 0;
}
