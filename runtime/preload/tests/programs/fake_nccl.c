/* A double of NCCL for tests: the binary interface and no communication. It stands for no GPU, and
 * no time in it means anything but the pause in making a communicator, a quarter of a second. */
#include <stddef.h>
#include <unistd.h>

typedef struct {
  char bytes[128];
} ncclUniqueId;
static int ranks, rank;

int ncclCommCount(void *comm, int *count) { return (void)comm, *count = ranks, 0; }
int ncclCommUserRank(void *comm, int *user) { return (void)comm, *user = rank, 0; }
int ncclCommInitRank(void **comm, int count, ncclUniqueId id, int mine) {
  usleep(250000);
  /* The identifier has come whole, and by value. */
  for (int i = 0; i < 128; i++)
    if (id.bytes[i] != (char)i)
      return 4;
  *comm = &ranks, ranks = count, rank = mine;
  return 0;
}
int ncclAllReduce(const void *s, void *r, size_t n, int t, int op, void *comm, void *stream) {
  return stream == (void *)7 && op == 0 && n > 0 && t >= 0 && comm && s && r ? 0 : 4;
}
int ncclReduceScatter(const void *s, void *r, size_t n, int t, int op, void *comm, void *stream) {
  return ncclAllReduce(s, r, n, t, op, comm, stream);
}
int ncclAllGather(const void *s, void *r, size_t n, int t, void *comm, void *stream) {
  return ncclAllReduce(s, r, n, t, 0, comm, stream);
}
int ncclBroadcast(const void *s, void *r, size_t n, int t, int root, void *comm, void *stream) {
  return (void)root, ncclAllReduce(s, r, n, t, 0, comm, stream);
}
int ncclGroupEnd(void) { return 0; }
