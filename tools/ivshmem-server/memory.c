// SPDX-License-Identifier: MIT
/*
 * The memory that the peers share.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "memory.h"

/* Linux 6.3; younger than the headers of some C libraries. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL	0x0008U
#endif

/**
 * memory_create() - Make zeroed memory of a fixed size.
 * @size: bytes
 *
 * The seals keep any peer from changing the size, which would kill the others
 * with SIGBUS. QEMU refuses the device if more than that is sealed.
 *
 * Return: its file descriptor, or a negative errno after a line in the log.
 */
int memory_create(uint64_t size)
{
	const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	int fd, error;

	/* A system can be set up to forbid memory that could be executed. */
	fd = memfd_create("ivshmem", flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("ivshmem", flags);
	if (fd >= 0 && !ftruncate(fd, size) && !fcntl(fd, F_ADD_SEALS, seals))
		return fd;

	error = errno;
	if (fd >= 0)
		close(fd);
	log_err("cannot make %ju bytes of shared memory: %s", (uintmax_t)size,
		strerror(error));
	return -error;
}
