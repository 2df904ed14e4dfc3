// SPDX-License-Identifier: MIT
/* The directory of peers. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"
#include "ivshmem-directory.h"

/* A server that died while it wrote leaves an odd number, as a bad peer can. */
#define TRIES	100

static void peers_copy(struct ivshmem_directory *copy,
		       const struct ivshmem_directory *shared)
{
	uint64_t before, after;
	int i;

	for (i = 0; i < TRIES; i++) {
		before = __atomic_load_n(&shared->generation, __ATOMIC_ACQUIRE);
		memcpy(copy, shared, sizeof(*copy));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		after = __atomic_load_n(&shared->generation, __ATOMIC_RELAXED);
		if (before == after && !(le64toh(after) & 1))
			return;
	}
}

ssize_t ivshmem_peers(struct ivshmem *ivs, unsigned int *ids, size_t max)
{
	struct ivshmem_directory *shared, *copy;
	ssize_t count = -1;
	unsigned int id;

	if (ivs->size < sizeof(*shared)) {
		errno = ENOENT;
		return -1;
	}
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -1;
	shared = ivshmem_map(ivs, ivs->size - sizeof(*shared), sizeof(*shared),
			     PROT_READ);
	if (!shared)
		goto free_copy;
	peers_copy(copy, shared);
	ivshmem_unmap(shared, sizeof(*shared));

	errno = ENOENT;
	if (memcmp(copy->magic, IVSHMEM_DIRECTORY_MAGIC, sizeof(copy->magic)) ||
	    le32toh(copy->version) != IVSHMEM_DIRECTORY_VERSION)
		goto free_copy;
	count = 0;
	for (id = 0; id < IVSHMEM_DIRECTORY_IDS; id++) {
		if (!(copy->present[id / 8] & 1 << id % 8))
			continue;
		if ((size_t)count < max)
			ids[count] = id;
		count++;
	}

free_copy:
	free(copy);
	return count;
}
