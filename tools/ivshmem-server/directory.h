/* SPDX-License-Identifier: MIT */
/*
 * The directory of peers in the shared memory.
 */
#ifndef DIRECTORY_H
#define DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ivshmem-directory.h"

/* Of memory that is the directory's beside what peers have. */
#define DIRECTORY_MIN_SIZE	16384

struct peer;

/**
 * struct directory - The directory of peers. All zero is none.
 * @content: what stands in it
 * @source:  a file to copy it from
 * @size:    bytes of the shared memory
 * @shared:  the directory in a mapping of it, or NULL
 * @failed:  it could not be written the last time
 */
struct directory {
	struct ivshmem_directory content;
	int source;
	uint64_t size;
	char *shared;
	bool failed;
};

int directory_open(struct directory *directory, int memory, uint64_t size);
void directory_publish(struct directory *directory, struct peer **peers,
		       size_t count);
void directory_close(struct directory *directory);

#endif /* DIRECTORY_H */
