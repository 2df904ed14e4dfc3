// SPDX-License-Identifier: MIT
/*
 * Prints the events of a device as they come, for a test that compares them:
 *
 *	intx_events NODE NUMBER
 */
#include <fcntl.h>
#include <sys/ioctl.h>

#include <linux/ivshmem.h>

#include "tap.h"

int main(int argc, char **argv)
{
	struct ivshmem_event event;
	unsigned int number;
	int fd;

	tap_start(argc, argv, 120);
	NEED(argc == 3);
	number = strtoul(argv[2], NULL, 10);
	fd = open(tap_device, O_RDONLY);
	NEED(fd >= 0);
	tap_note("ready");
	while (number--) {
		POISON(event);
		EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
		tap_note("event vector=%u flags=%#x status=%#x", event.vector,
			 event.flags, event.status);
	}
	return tap_finish();
}
