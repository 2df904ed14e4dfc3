// SPDX-License-Identifier: MIT
/* A device node: opening, closing, what it is. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

struct ivshmem *ivshmem_open(const char *where, int flags)
{
	struct ivshmem_info info;
	struct ivshmem *ivs;
	struct stat st;

	if (flags & ~(O_RDWR | O_NONBLOCK | O_EXCL | O_CLOEXEC)) {
		errno = EINVAL;
		return NULL;
	}
	if (stat(where, &st))
		return NULL;
	/* To open a FIFO would block; it is no device either. */
	if (!S_ISCHR(st.st_mode)) {
		errno = ENOTTY;
		return NULL;
	}

	ivs = malloc(sizeof(*ivs));
	if (!ivs)
		return NULL;
	ivs->fd = open(where, flags | O_CLOEXEC | O_NOCTTY);
	if (ivs->fd < 0 || ivshmem_get_info(ivs, &info)) {
		ivshmem_close(ivs);
		return NULL;
	}
	ivs->size = info.size;
	return ivs;
}

void ivshmem_close(struct ivshmem *ivs)
{
	int saved = errno;

	if (!ivs)
		return;
	if (ivs->fd >= 0)
		close(ivs->fd);
	free(ivs);
	errno = saved;
}

int ivshmem_fd(const struct ivshmem *ivs)
{
	return ivs->fd;
}

int ivshmem_get_info(struct ivshmem *ivs, struct ivshmem_info *info)
{
	return ioctl(ivs->fd, IVSHMEM_GET_INFO, info);
}
