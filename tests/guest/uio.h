/* SPDX-License-Identifier: MIT */
/*
 * The UIO face of a device, found by the name of its other one, /dev/ivshmemN.
 */
#ifndef UIO_H
#define UIO_H

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/ivshmem.h>

#include "tap.h"

#define UIO_MAP(n)	((off_t)(n) * 4096)

/* Registers, in words. */
enum {
	UIO_MASK,
	UIO_STATUS,
	UIO_POSITION,
	UIO_DOORBELL,
	UIO_STRIDE = 8,		/* between those of the first design */
};

static char uio_name[32];

/* Finds the UIO device beside tap_device; its name goes to uio_name. */
static TAP_UNUSED void uio_find(void)
{
	const char *node = strrchr(tap_device, '/') + 1;
	struct dirent *entry;
	char path[128];
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/class/misc/%s/device/uio", node);
	dir = opendir(path);
	NEED(dir);
	while ((entry = readdir(dir))) {
		if (!strncmp(entry->d_name, "uio", 3))
			snprintf(uio_name, sizeof(uio_name), "%.16s",
				 entry->d_name);
	}
	closedir(dir);
	NEED(*uio_name);
}

static TAP_UNUSED int uio_open(int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/%s", uio_name);
	return open(path, flags);
}

/* Reads an attribute of a map, without its newline. */
static TAP_UNUSED const char *uio_map_attr(unsigned int map, const char *attr)
{
	static char value[64];
	char path[128];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/sys/class/uio/%s/maps/map%u/%s",
		 uio_name, map, attr);
	fd = open(path, O_RDONLY);
	NEED(fd >= 0);
	got = read(fd, value, sizeof(value) - 1);
	NEED(got >= 0);
	close(fd);
	value[got] = 0;
	value[strcspn(value, "\n")] = 0;
	return value;
}

/* What poll() tells of a device without interrupts, or of none. */
static TAP_UNUSED bool uio_failed(int revents)
{
	/* Older kernels take -EIO for a mask of events. */
	return revents == POLLERR || revents == (POLLIN | POLLERR | POLLHUP);
}

#endif /* UIO_H */
