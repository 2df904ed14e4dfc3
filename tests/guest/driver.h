/* SPDX-License-Identifier: MIT */
/* Takes the driver away from a device, and gives it back. */
#ifndef DRIVER_H
#define DRIVER_H

#include "dev.h"

#define DRIVER		"/sys/bus/pci/drivers/ivshmem/"

static char driver_address[32];	/* of the device, on the PCI bus */

static inline void driver_find(void)
{
	char path[64], target[128] = "";

	snprintf(path, sizeof(path), "/sys/class/misc/%s/device",
		 strrchr(tap_device, '/') + 1);
	NEED(readlink(path, target, sizeof(target) - 1) > 0);
	snprintf(driver_address, sizeof(driver_address), "%s",
		 strrchr(target, '/') + 1);
}

/* Writes the address to "unbind" or "bind"; returns once that is done, or -1. */
static inline long driver_try(const char *what)
{
	char path[64];
	long ret;
	int fd;

	snprintf(path, sizeof(path), DRIVER "%s", what);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ret = write(fd, driver_address, strlen(driver_address));
	close(fd);
	return ret;
}

static inline void driver_write(const char *what)
{
	NEED(driver_try(what) > 0);
}

#endif /* DRIVER_H */
