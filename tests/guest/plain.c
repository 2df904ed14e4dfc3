// SPDX-License-Identifier: MIT
/*
 * A device that cannot be waited for: plain memory, or a doorbell on a machine
 * that has no interrupt for it.
 *
 *	plain DEVICE SIZE plain|doorbell
 */
#include <poll.h>
#include <sys/epoll.h>

#include "dev.h"

static void test_info(int fd, uint64_t size, uint32_t features)
{
	struct ivshmem_info info, wanted = {
		.size = size, .features = features, .revision = 1,
	};

	POISON(info);
	EXPECT_EQ(ioctl(fd, IVSHMEM_GET_INFO, &info), 0);
	EXPECT_EQ(info.features, features);
	EXPECT_EQ(info.size, size);
	EXPECT_EQ(info.position, 0);
	EXPECT_EQ(info.vectors, 0);
	EXPECT_EQ(info.irq_mode, IVSHMEM_IRQ_NONE);
	EXPECT_EQ(memcmp(&info, &wanted, sizeof(info)), 0);
	EXPECT_EQ(lseek(fd, 0, SEEK_END), size);
	EXPECT_ERRNO(lseek(fd, 1, SEEK_END), EINVAL);
}

static void test_read(void)
{
	struct ivshmem_event event;
	int fd = dev_open(O_RDWR | O_NONBLOCK);

	EXPECT_ERRNO(read(fd, &event, sizeof(event)), ENXIO);
	EXPECT_ERRNO(read(fd, &event, sizeof(event) - 1), EINVAL);
	close(fd);
	fd = dev_open(O_RDONLY);
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), ENXIO);
	close(fd);
}

static void test_wait(int fd)
{
	const struct ivshmem_wait good = { .timeout_ns = IVSHMEM_WAIT_FOREVER };
	struct ivshmem_wait wait = good;

	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ENXIO);
	wait.vector = IVSHMEM_ANY_VECTOR;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ENXIO);
	wait = good;
	wait.count = 1;
	wait.timeout_ns = 0;
	wait.flags = IVSHMEM_WAIT_RING;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ENXIO);
	EXPECT_EQ(wait.count, 1);
	EXPECT_EQ(wait.flags, IVSHMEM_WAIT_RING);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, NULL), EFAULT);
	wait = good;
	wait.flags = 2;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), EINVAL);
}

/* There is nothing to bind to, or to choose from. */
static void test_choose(int fd)
{
	struct ivshmem_subscribe all = { .flags = IVSHMEM_SUBSCRIBE_ALL };
	struct ivshmem_subscribe none = { 0 };
	struct ivshmem_eventfd unbind = { .fd = -1 };

	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SET_EVENTFD, &unbind), ENXIO);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SET_EVENTFD, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SUBSCRIBE, &all), ENXIO);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SUBSCRIBE, &none), ENXIO);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SUBSCRIBE, NULL), EFAULT);
}

/* An error at once, and no sleep for ever. */
static void test_poll(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLOUT };
	struct epoll_event event = { .events = EPOLLIN };
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	EXPECT_EQ(poll(&pfd, 1, -1), 1);
	EXPECT_EQ(pfd.revents, POLLERR);
	EXPECT_EQ(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event), 0);
	EXPECT_EQ(epoll_wait(epfd, &event, 1, -1), 1);
	EXPECT_EQ(event.events, EPOLLERR);
	close(epfd);
}

static void test_ring(int fd, bool doorbell)
{
	if (doorbell) {
		EXPECT_EQ(dev_ring(fd, 0, 0), 0);
		EXPECT_EQ(dev_ring(fd, IVSHMEM_MAX_PEER, 0), 0);
		EXPECT_ERRNO(dev_ring(fd, 0, 4), EINVAL);
	} else {
		EXPECT_ERRNO(dev_ring(fd, 0, 0), ENXIO);
		EXPECT_ERRNO(dev_ring(fd, IVSHMEM_MAX_PEER, 0xffff), ENXIO);
	}
}

static void test_memory(int fd, size_t size)
{
	unsigned char *mem = dev_map(fd, size, 0), *last;

	last = dev_map(fd, 4096, size - 4096);
	mem[0] = 1;
	mem[size - 1] = 2;
	last[1] = 3;
	EXPECT_EQ(mem[0], 1);
	EXPECT_EQ(last[4095], 2);
	EXPECT_EQ(mem[size - 4095], 3);
	EXPECT_ERRNO((intptr_t)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, size),
		     ENXIO);
	EXPECT_EQ(munmap(mem, size), 0);
	EXPECT_EQ(munmap(last, 4096), 0);
}

int main(int argc, char **argv)
{
	bool doorbell;
	uint64_t size;
	int fd;

	tap_start(argc, argv, 30);
	NEED(argc == 4);
	size = strtoull(argv[2], NULL, 0);
	doorbell = !strcmp(argv[3], "doorbell");
	fd = dev_open(O_RDWR);
	test_info(fd, size, doorbell ? IVSHMEM_FEATURE_DOORBELL : 0);
	test_read();
	test_wait(fd);
	test_choose(fd);
	test_poll(fd);
	test_ring(fd, doorbell);
	test_memory(fd, size);
	return tap_finish();
}
