/* Collectives of the ranks of one node, in the memory that they share: link with -lmizar_collective.
 *
 * Every call but mizar_group_error and mizar_group_free is made by all ranks of a group in the same
 * order, and gives 0 or, with a message that names rank, node and collective, 1. A group is used by
 * one thread at a time. */
#ifndef MIZAR_COLLECTIVE_H
#define MIZAR_COLLECTIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mizar_group mizar_group;

enum mizar_kind { MIZAR_F32 = 1, MIZAR_F64 = 2, MIZAR_F16 = 3, MIZAR_BF16 = 4 };

/* The group of `size` ranks that meet in `folder`, which is empty and open to this user alone; NULL
 * if that fails. No wait is longer than `time_limit_s`. */
mizar_group *mizar_group_create(const char *folder, uint32_t rank, uint32_t size,
                                double time_limit_s);

/* Replaces numbers by their sum over all ranks, divided by `mean` (1: the sum). */
int mizar_group_all_reduce(mizar_group *group, void *values, size_t count, int kind, double mean);

/* Replaces numbers by those of rank `root`. */
int mizar_group_broadcast(mizar_group *group, void *values, size_t count, int kind, uint32_t root);

/* Returns once all ranks are here. */
int mizar_group_barrier(mizar_group *group);

/* Why the last call of this thread failed; valid until its next. */
const char *mizar_group_error(void);

/* Lets go of a group; NULL is none. */
void mizar_group_free(mizar_group *group);

#ifdef __cplusplus
}
#endif

#endif
