/* SPDX-License-Identifier: MIT */
/*
 * The directory of peers: ids of those who are there now, in the last
 * IVSHMEM_DIRECTORY_SIZE bytes of the shared memory, where ivshmem-server keeps
 * it if it is run with --directory.
 *
 * Peers only read it. Nothing keeps one from writing there too, so it is a hint
 * and no more: check what is read before using it. The server writes all of it
 * anew whenever a peer joins or leaves.
 */
#ifndef IVSHMEM_DIRECTORY_H
#define IVSHMEM_DIRECTORY_H

#include <stdint.h>

#define IVSHMEM_DIRECTORY_SIZE		12288
#define IVSHMEM_DIRECTORY_MAGIC		"ivshmdir"
#define IVSHMEM_DIRECTORY_VERSION	1
#define IVSHMEM_DIRECTORY_IDS		65536

/**
 * struct ivshmem_directory - What stands there; integers are little-endian.
 * @magic:      IVSHMEM_DIRECTORY_MAGIC, without a zero at its end
 * @version:    IVSHMEM_DIRECTORY_VERSION; another one has another form
 * @count:      how many peers there are
 * @generation: odd while the server writes. A reader that finds the same even
 *              number before and after has read what belongs together
 * @reserved:   0
 * @present:    peer n is there if bit n % 8 of byte n / 8 is set
 */
struct ivshmem_directory {
	uint8_t magic[8];
	uint32_t version;
	uint32_t count;
	uint64_t generation;
	uint8_t reserved[4072];
	uint8_t present[IVSHMEM_DIRECTORY_IDS / 8];
};

#endif /* IVSHMEM_DIRECTORY_H */
