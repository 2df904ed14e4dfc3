// SPDX-License-Identifier: MIT
/*
 * Who may do what: files opened for reading or writing only, opened with O_EXCL,
 * and users who are not root.
 */
#include <sys/wait.h>

#include "irq.h"

#define RW	(PROT_READ | PROT_WRITE)

static void *map(int fd, int prot, int flags)
{
	return mmap(NULL, irq_info.size, prot, flags, fd, 0);
}

#define MAP_REFUSED(fd, prot, flags, wanted) \
	EXPECT_ERRNO((intptr_t)map(fd, prot, flags), wanted)

/* Reads, waits and maps to read; neither rings nor maps to write. */
static void test_rdonly(void)
{
	int fd = dev_open(O_RDONLY | O_NONBLOCK), efd = irq_eventfd(), mem;
	struct ivshmem_wait wait = {
		.count = irq_count(0),
		.timeout_ns = tap_now() + DEV_LONG,
		.flags = IVSHMEM_WAIT_RING,
		.doorbell = irq_self(irq_second),
	};
	struct ivshmem_event event;
	struct ivshmem_info info;
	unsigned char *view, *write;
	uint64_t counts[2] = { irq_count(0), irq_count(irq_second) };

	EXPECT_ERRNO(ioctl(fd, IVSHMEM_RING_DOORBELL, irq_self(0)), EPERM);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), EPERM);
	EXPECT_EQ(wait.flags, IVSHMEM_WAIT_RING);
	/* Even a doorbell that is wrong, so that it tells nothing. */
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_RING_DOORBELL,
			   irq_self(irq_info.vectors)), EPERM);

	EXPECT_EQ(ioctl(fd, IVSHMEM_GET_INFO, &info), 0);
	EXPECT_EQ(irq_subscribe(fd, irq_second ? 3 : 1), 0);
	EXPECT_EQ(irq_bind(fd, irq_second, efd), 0);
	irq_fire(irq_second);
	EXPECT_EQ(irq_take(efd), 1);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(event.vector, irq_second);
	EXPECT_EQ(event.count, counts[1] + 1);
	EXPECT_EQ(dev_wait(fd, irq_second, &counts[1], 0), 0);
	EXPECT_EQ(irq_count(0), counts[0] + !irq_second);

	MAP_REFUSED(fd, RW, MAP_SHARED, EACCES);
	MAP_REFUSED(fd, PROT_WRITE, MAP_SHARED, EACCES);
	MAP_REFUSED(fd, RW, MAP_SHARED_VALIDATE, EACCES);
	MAP_REFUSED(fd, RW, MAP_PRIVATE, EINVAL);
	MAP_REFUSED(fd, PROT_READ, MAP_PRIVATE, EINVAL);

	write = map(irq_bell, RW, MAP_SHARED);
	NEED(write != MAP_FAILED);
	write[0] = 1;
	view = map(fd, PROT_READ, MAP_SHARED);
	NEED(view != MAP_FAILED);
	EXPECT_EQ(view[0], 1);
	EXPECT_ERRNO(mprotect(view, irq_info.size, RW), EACCES);
	EXPECT_ERRNO(mprotect(view, 4096, PROT_WRITE), EACCES);
	EXPECT_EQ(mprotect(view, irq_info.size, PROT_NONE), 0);
	EXPECT_ERRNO(mprotect(view, irq_info.size, RW), EACCES);
	EXPECT_EQ(mprotect(view, irq_info.size, PROT_READ), 0);
	EXPECT_EQ(dev_fault(view, 2), SIGSEGV);
	/* Calls cannot write there for it either. */
	EXPECT_ERRNO(ioctl(irq_bell, IVSHMEM_GET_INFO, view), EFAULT);
	/* What a debugger writes through, which private memory lets pass. */
	mem = open("/proc/self/mem", O_RDWR);
	NEED(mem >= 0);
	EXPECT_ERRNO(pwrite(mem, "x", 1, (uintptr_t)view), EIO);
	close(mem);
	EXPECT_EQ(view[0], 1);
	munmap(view, irq_info.size);
	munmap(write, irq_info.size);
	close(efd);
	close(fd);
}

/* Rings and waits; neither reads nor maps, for there is no mapping to write only. */
static void test_wronly(void)
{
	int fd = dev_open(O_WRONLY);
	struct ivshmem_event event;
	uint64_t count = irq_count(0);

	EXPECT_EQ(ioctl(fd, IVSHMEM_RING_DOORBELL, irq_self(0)), 0);
	EXPECT_EQ(dev_wait(fd, 0, &count, DEV_LONG), 0);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EBADF);
	MAP_REFUSED(fd, PROT_WRITE, MAP_SHARED, EACCES);
	MAP_REFUSED(fd, PROT_READ, MAP_SHARED, EACCES);
	MAP_REFUSED(fd, RW, MAP_SHARED, EACCES);
	EXPECT_ERRNO(write(fd, &event, sizeof(event)), EINVAL);
	close(fd);
}

/* O_EXCL, with no other file open at first. */
static void test_exclusive(void)
{
	static const int modes[] = { O_RDWR, O_RDONLY, O_WRONLY };
	int fd, copy, other;
	unsigned int i;
	void *mem;
	pid_t child;
	int go[2];

	for (i = 0; i < 3; i++) {
		fd = dev_open(modes[i] | O_EXCL);
		EXPECT_ERRNO(open(tap_device, O_RDWR), EBUSY);
		EXPECT_ERRNO(open(tap_device, O_RDONLY), EBUSY);
		EXPECT_ERRNO(open(tap_device, O_WRONLY), EBUSY);
		EXPECT_ERRNO(open(tap_device, O_RDWR | O_EXCL), EBUSY);
		EXPECT_EQ(close(fd), 0);

		/* The other way round. */
		fd = dev_open(modes[i]);
		EXPECT_ERRNO(open(tap_device, O_RDWR | O_EXCL), EBUSY);
		EXPECT_ERRNO(open(tap_device, O_RDONLY | O_EXCL), EBUSY);
		/* A refusal leaves no trace: others may still come. */
		other = dev_open(O_RDWR);
		EXPECT_EQ(close(fd), 0);
		EXPECT_ERRNO(open(tap_device, O_RDWR | O_EXCL), EBUSY);
		EXPECT_EQ(close(other), 0);
	}

	/* It is the open file's, which copies share. */
	fd = dev_open(O_RDWR | O_EXCL);
	copy = dup(fd);
	NEED(copy >= 0);
	EXPECT_EQ(close(fd), 0);
	EXPECT_ERRNO(open(tap_device, O_RDWR), EBUSY);
	NEED(!pipe(go));
	child = fork();
	NEED(child >= 0);
	if (!child) {
		char byte;

		close(go[1]);
		_exit(read(go[0], &byte, 1) != 0);
	}
	EXPECT_EQ(close(copy), 0);
	EXPECT_ERRNO(open(tap_device, O_RDWR), EBUSY);
	close(go[0]);
	close(go[1]);
	EXPECT_EQ(waitpid(child, NULL, 0), child);
	fd = open(tap_device, O_RDWR | O_EXCL);
	EXPECT(fd >= 0);

	/* A mapping keeps the open file, and so the device, to itself. */
	mem = map(fd, RW, MAP_SHARED);
	NEED(mem != MAP_FAILED);
	EXPECT_EQ(close(fd), 0);
	EXPECT_ERRNO(open(tap_device, O_RDWR), EBUSY);
	munmap(mem, irq_info.size);

	/* Opened anew through /proc it is another open file. */
	fd = dev_open(O_RDWR | O_EXCL);
	{
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		EXPECT_ERRNO(open(path, O_RDWR), EBUSY);
	}
	EXPECT_EQ(close(fd), 0);
	fd = dev_open(O_RDWR);
	EXPECT_EQ(close(fd), 0);
}

/* Who may open it may do everything, and needs no capability for it. */
static bool can_use(int fd)
{
	uint64_t count = dev_count(fd, 0);
	unsigned char *mem = map(fd, RW, MAP_SHARED);

	if (mem == MAP_FAILED)
		return false;
	mem[0] = 1;
	return !irq_subscribe(fd, 1) && !irq_bind(fd, 0, irq_eventfd()) &&
	       !ioctl(fd, IVSHMEM_RING_DOORBELL, irq_self(0)) &&
	       !dev_wait(fd, 0, &count, DEV_LONG);
}

/* Somebody who is neither root nor in the group; and somebody who is. */
static int as_user(gid_t gid)
{
	pid_t child = fork();
	int status, fd;

	NEED(child >= 0);
	if (!child) {
		if (setgid(gid) || setuid(65534))
			_exit(200);
		fd = open(tap_device, O_RDWR);
		if (fd < 0)
			_exit(errno);
		_exit(can_use(fd) ? 0 : 201);
	}
	NEED(waitpid(child, &status, 0) == child);
	NEED(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_users(void)
{
	const gid_t gid = 4711;

	NEED(!chown(tap_device, 0, gid));
	EXPECT_EQ(as_user(65534), EACCES);
	EXPECT_EQ(as_user(gid), 0);
	NEED(!chown(tap_device, 0, 0));
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 60);
	irq_start(1);
	test_rdonly();
	test_wronly();
	close(irq_bell);
	test_exclusive();
	test_users();
	return tap_finish();
}
