// SPDX-License-Identifier: MIT
/*
 * The shortest way through the device: information, memory, a ring to itself,
 * and each of the ways to hear it. Needs a device with a doorbell:
 *
 *	basic NODE [pin]
 *
 * With "pin", one of revision 0 that has an interrupt pin.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/ivshmem.h>

#include "tap.h"

static void test_info(int fd, bool pin, struct ivshmem_info *info)
{
	unsigned int i;

	POISON(*info);
	EXPECT_EQ(ioctl(fd, IVSHMEM_GET_INFO, info), 0);
	EXPECT_EQ(info->features,
		  IVSHMEM_FEATURE_DOORBELL | IVSHMEM_FEATURE_INTERRUPT);
	EXPECT(info->size >= 4096 && (info->size & (info->size - 1)) == 0);
	EXPECT(info->position <= IVSHMEM_MAX_PEER);
	EXPECT(info->vectors >= 1 && info->vectors <= IVSHMEM_MAX_VECTORS);
	EXPECT_EQ(info->irq_mode, pin ? IVSHMEM_IRQ_INTX : IVSHMEM_IRQ_MSIX);
	EXPECT_EQ(info->revision, !pin);
	EXPECT_EQ(info->cache_mode, IVSHMEM_CACHE_WRITE_BACK);
	for (i = 0; i < 8 && !info->reserved[i]; i++)
		;
	EXPECT_EQ(i, 8);
	EXPECT_EQ(lseek(fd, 0, SEEK_END), info->size);
}

static void test_memory(int fd, size_t size)
{
	unsigned char *mem, *again;

	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(mem != MAP_FAILED);
	again = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, size - 4096);
	NEED(again != MAP_FAILED);
	mem[0] = 0x5a;
	mem[size - 1] = 0xa5;
	EXPECT_EQ(mem[0], 0x5a);
	EXPECT_EQ(again[4095], 0xa5);
	EXPECT_EQ(munmap(again, 4096), 0);
	EXPECT_EQ(munmap(mem, size), 0);
}

static void test_ring(int fd, const struct ivshmem_info *info)
{
	unsigned int vector = info->vectors - 1;
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct ivshmem_wait wait = { .vector = vector };
	struct ivshmem_event event;

	EXPECT_EQ(poll(&pfd, 1, 0), 0);
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EAGAIN);

	/* The count so far. */
	wait.count = UINT64_MAX;
	EXPECT_EQ(ioctl(fd, IVSHMEM_WAIT, &wait), 0);

	wait.timeout_ns = tap_now() + 10 * TAP_SECOND;
	EXPECT_EQ(ioctl(fd, IVSHMEM_RING_DOORBELL,
			IVSHMEM_DOORBELL(info->position, vector)), 0);
	EXPECT_EQ(ioctl(fd, IVSHMEM_WAIT, &wait), 0);
	EXPECT_EQ(poll(&pfd, 1, 0), 1);
	EXPECT_EQ(pfd.revents, POLLIN);

	POISON(event);
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(event.vector, vector);
	EXPECT_EQ(event.flags, 0);
	EXPECT_EQ(event.status, info->irq_mode == IVSHMEM_IRQ_INTX);
	EXPECT_EQ(event.count, wait.count);

	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EAGAIN);
	wait.timeout_ns = 0;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ETIMEDOUT);
}

int main(int argc, char **argv)
{
	struct ivshmem_info info;
	int fd;

	tap_start(argc, argv, 30);
	fd = open(tap_device, O_RDWR | O_NONBLOCK);
	NEED(fd >= 0);
	test_info(fd, argc > 2, &info);
	test_memory(fd, info.size);
	test_ring(fd, &info);
	EXPECT_EQ(close(fd), 0);
	return tap_finish();
}
