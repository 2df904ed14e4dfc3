// SPDX-License-Identifier: MIT
/* The shared memory. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

void *ivshmem_map(struct ivshmem *ivs, uint64_t offset, uint64_t length, int prot)
{
	uint64_t skew = offset & (sysconf(_SC_PAGESIZE) - 1);
	char *addr;

	if (!length || offset > ivs->size || length > ivs->size - offset) {
		errno = EINVAL;
		return NULL;
	}
	if (length > SIZE_MAX - skew) {
		errno = ENOMEM;
		return NULL;
	}

	addr = mmap(NULL, length + skew, prot, MAP_SHARED, ivs->fd, offset - skew);
	if (addr == MAP_FAILED)
		return NULL;
	return addr + skew;
}

int ivshmem_unmap(void *addr, size_t length)
{
	size_t skew = (uintptr_t)addr & (sysconf(_SC_PAGESIZE) - 1);

	return munmap((char *)addr - skew, length + skew);
}
