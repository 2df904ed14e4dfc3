// SPDX-License-Identifier: MIT
/*
 * Calls for which there is no memory: ENOMEM, and all is as it was. The test
 * has the kernel refuse memory once to a thread that is called STARVED.
 *
 *	nomem DEVICE open|bind|subscribe
 */
#include <sys/prctl.h>

#include "irq.h"

#define STARVED	"starved"

static void starve(bool on)
{
	NEED(!prctl(PR_SET_NAME, on ? STARVED : "nomem"));
}

static void test_open(void)
{
	starve(true);
	EXPECT_ERRNO(open(tap_device, O_RDWR), ENOMEM);
	starve(false);
	/* What was refused is not counted as open, and keeps nobody out. */
	close(dev_open(O_RDWR));
	close(irq_bell);
	irq_bell = dev_open(O_RDWR | O_EXCL);
	irq_fire(0);
}

static void test_bind(void)
{
	int fd = dev_open(O_RDWR), efd = irq_eventfd(), other = irq_eventfd();

	EXPECT_EQ(irq_bind(fd, 0, efd), 0);
	starve(true);
	EXPECT_ERRNO(irq_bind(fd, 0, other), ENOMEM);
	/* Letting go takes none. */
	EXPECT_EQ(irq_bind(irq_bell, 0, -1), 0);
	starve(false);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd), 1);
	EXPECT_EQ(irq_take(other), 0);
	EXPECT_EQ(irq_bind(fd, 0, other), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(other), 1);
}

static void test_subscribe(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	/* Of a device with one vector: none. */
	uint64_t another = irq_second << 1;

	EXPECT_EQ(irq_subscribe(fd, 1), 0);
	starve(true);
	EXPECT_ERRNO(irq_subscribe(fd, another), ENOMEM);
	starve(false);
	if (irq_second) {
		irq_fire(1);
		EXPECT_EQ(irq_poll(fd), 0);
	}
	irq_fire(0);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	EXPECT_EQ(irq_subscribe(fd, another), 0);
	EXPECT_EQ(irq_poll(fd), 0);
	irq_fire(irq_second);
	EXPECT_EQ(irq_poll(fd), irq_second ? POLLIN : 0);
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 60);
	NEED(argc == 3);
	irq_start(1);
	if (!strcmp(argv[2], "open"))
		test_open();
	else if (!strcmp(argv[2], "bind"))
		test_bind();
	else
		test_subscribe();
	return tap_finish();
}
