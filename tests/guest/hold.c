// SPDX-License-Identifier: MIT
/*
 * Keeps a device in use until it is killed, after printing "# held".
 *
 *	hold DEVICE open|map|read|wait
 *	hold DEVICE until	has memory mapped whose first byte is 1, until that
 *				becomes 2
 */
#include "dev.h"

int main(int argc, char **argv)
{
	struct ivshmem_wait wait = { .timeout_ns = IVSHMEM_WAIT_FOREVER };
	struct ivshmem_event event;
	struct dev_call c = { 0 };
	unsigned char *mem;

	tap_start(argc, argv, 120);
	NEED(argc == 3);
	c.fd = dev_open(O_RDWR);
	switch (*argv[2]) {
	case 'm':
		mem = dev_map(c.fd, 4096, 0);
		mem[0] = 1;
		NEED(close(c.fd) == 0);
		break;
	case 'u':
		mem = dev_map(c.fd, 4096, 0);
		__atomic_store_n(mem, 1, __ATOMIC_RELAXED);
		tap_note("held");
		EXPECT_WITHIN(__atomic_load_n(mem, __ATOMIC_RELAXED) != 1, 90000);
		EXPECT_EQ(*mem, 2);
		return tap_finish();
	case 'r':
		c.call = dev_call_read;
		c.arg = &event;
		dev_call_start(&c);
		dev_call_asleep(&c, SYS_read);
		break;
	case 'w':
		wait.count = dev_count(c.fd, 0);
		c.call = dev_call_wait;
		c.arg = &wait;
		dev_call_start(&c);
		dev_call_asleep(&c, SYS_ioctl);
		break;
	}
	tap_note("held");
	for (;;)
		pause();
}
