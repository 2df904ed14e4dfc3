/* SPDX-License-Identifier: MIT */
#ifndef IVSHMEM_INTERNAL_H
#define IVSHMEM_INTERNAL_H

#include "ivshmem.h"

/**
 * struct ivshmem - An open device.
 * @fd:   its node
 * @size: bytes of shared memory, which never change
 */
struct ivshmem {
	int fd;
	uint64_t size;
};

#endif /* IVSHMEM_INTERNAL_H */
