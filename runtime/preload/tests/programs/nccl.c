/* Calls NCCL a known number of times, as rank 1 of 4; linked with the double in fake_nccl.c. */
#include <stddef.h>

typedef struct {
  char bytes[128];
} ncclUniqueId;
int ncclCommInitRank(void **, int, ncclUniqueId, int);
int ncclAllReduce(const void *, void *, size_t, int, int, void *, void *);
int ncclReduceScatter(const void *, void *, size_t, int, int, void *, void *);
int ncclAllGather(const void *, void *, size_t, int, void *, void *);
int ncclBroadcast(const void *, void *, size_t, int, int, void *, void *);
int ncclGroupEnd(void);

enum { F16 = 6, F32 = 7, F64 = 8 };

int main(void) {
  float in[64], out[64];
  void *comm, *stream = (void *)7;
  int failed = 0;
  ncclUniqueId id;
  for (int i = 0; i < 128; i++)
    id.bytes[i] = (char)i;
  failed |= ncclCommInitRank(&comm, 4, id, 1);
  for (int i = 0; i < 5; i++)
    failed |= ncclAllReduce(in, out, 10, F32, 0, comm, stream);
  failed |= ncclReduceScatter(in, out, 3, F64, 0, comm, stream);
  failed |= ncclAllGather(in, out, 7, F16, comm, stream);
  failed |= ncclBroadcast(in, out, 2, F32, 0, comm, stream);
  failed |= ncclBroadcast(in, out, 2, F32, 1, comm, stream);
  failed |= ncclGroupEnd();
  return failed;
}
