// SPDX-License-Identifier: MIT
/*
 * Prints the events of a device as they come, for a test that compares them:
 *
 *	intx_events NODE NUMBER [late]
 *
 * "late": subscribes to vector 0 only when it has fired once.
 */
#include "irq.h"

static void subscribe_late(int fd)
{
	uint64_t count;

	irq_start(1);
	count = irq_count(0);
	NEED(!irq_subscribe(fd, 0));
	tap_note("ready");
	EXPECT_EQ(dev_wait(fd, 0, &count, DEV_LONG), 0);
	irq_settle();
	NEED(!irq_subscribe(fd, 1));
	tap_note("subscribed");
}

int main(int argc, char **argv)
{
	struct ivshmem_event event;
	unsigned int number;
	int fd;

	tap_start(argc, argv, 120);
	NEED(argc >= 3);
	number = strtoul(argv[2], NULL, 10);
	fd = dev_open(O_RDONLY);
	if (argc > 3)
		subscribe_late(fd);
	else
		tap_note("ready");
	while (number--) {
		POISON(event);
		EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
		tap_note("event vector=%u flags=%#x status=%#x", event.vector,
			 event.flags, event.status);
	}
	return tap_finish();
}
