// SPDX-License-Identifier: MIT
/*
 * For LD_PRELOAD: makes the file named by IVSHMEM_FAKE look like the memory of
 * a device /dev/ivshmem0 at position 3 with 4 vectors, so that what a program
 * does with a device can be tested where there is none. Truncating the file
 * takes the memory away, as an unplug does.
 *
 * IVSHMEM_FAKE_EVENTS has a digit for each event to read, its vector; j stands
 * for a peer that joins as on the first devices, x for an unplug. Doorbells that
 * ring are written to standard error. To be like an INTx device, vector 65535
 * can be rung.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#define NODE	"/dev/ivshmem0"
#define VECTORS	4

static int fake_fd = -1;
static unsigned long long count;
static unsigned long long subscribed = (1 << VECTORS) - 1;

static int fail(int error)
{
	errno = error;
	return -1;
}

int stat64(const char *path, struct stat64 *st)
{
	if (strcmp(path, NODE))
		return fstatat64(AT_FDCWD, path, st, 0);
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFCHR;
	return 0;
}

int open64(const char *path, int flags, ...)
{
	bool fake = !strcmp(path, NODE);
	int fd;

	fd = openat64(AT_FDCWD, fake ? getenv("IVSHMEM_FAKE") : path, flags);
	if (fake)
		fake_fd = fd;
	else if (fd == fake_fd)
		fake_fd = -1;	/* It was closed, and is now another file. */
	return fd;
}

static int fake_info(struct ivshmem_info *info)
{
	struct stat64 st;

	if (fstatat64(fake_fd, "", &st, AT_EMPTY_PATH))
		return -1;
	*info = (struct ivshmem_info) {
		.size = st.st_size,
		.features = IVSHMEM_FEATURE_DOORBELL | IVSHMEM_FEATURE_INTERRUPT,
		.position = 3,
		.vectors = VECTORS,
		.revision = 1,
		.irq_mode = IVSHMEM_IRQ_MSIX,
	};
	return 0;
}

static int fake_ring(unsigned long value)
{
	if ((value & 0xffff) >= VECTORS && (value & 0xffff) != 0xffff)
		return fail(EINVAL);
	fprintf(stderr, "ring %lu %lu\n", value >> 16, value & 0xffff);
	return 0;
}

static bool clock_is_before(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec < then->tv_sec ||
	       (now.tv_sec == then->tv_sec && now.tv_nsec < then->tv_nsec);
}

/* Vector 2 has fired 17 times, the others never; all do at the end of time. */
static int fake_wait(struct ivshmem_wait *wait)
{
	bool any = wait->vector == IVSHMEM_ANY_VECTOR;
	unsigned long long now = any || wait->vector == 2 ? 17 : 0;
	struct timespec until = {
		.tv_sec = wait->timeout_ns / 1000000000,
		.tv_nsec = wait->timeout_ns % 1000000000,
	};

	if (wait->vector >= VECTORS && !any)
		return fail(EINVAL);
	if (wait->count == now) {
		if (wait->timeout_ns != IVSHMEM_WAIT_FOREVER) {
			/* A time in the past would wait too, if not for long. */
			if (wait->timeout_ns && !clock_is_before(&until))
				return fail(EDOM);
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until,
					NULL);
			return fail(ETIMEDOUT);
		}
		now++;
	}
	wait->count = now;
	return 0;
}

static int fake_subscribe(const struct ivshmem_subscribe *subscribe)
{
	bool all = subscribe->flags & IVSHMEM_SUBSCRIBE_ALL;

	if (subscribe->bits > VECTORS || (all && subscribe->bitmap))
		return fail(EINVAL);
	subscribed = all ? (1 << VECTORS) - 1 :
		*(unsigned long long *)(unsigned long)subscribe->bitmap;
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	unsigned long arg;
	va_list args;

	va_start(args, request);
	arg = va_arg(args, unsigned long);
	va_end(args);
	if (fd != fake_fd)
		return syscall(SYS_ioctl, fd, request, arg);
	switch (request) {
	case IVSHMEM_GET_INFO:
		return fake_info((void *)arg);
	case IVSHMEM_RING_DOORBELL:
		return fake_ring(arg);
	case IVSHMEM_WAIT:
		return fake_wait((void *)arg);
	case IVSHMEM_SUBSCRIBE:
		return fake_subscribe((void *)arg);
	}
	return fail(ENOTTY);
}

ssize_t read(int fd, void *buf, size_t bytes)
{
	static const char *events;
	struct ivshmem_event *event = buf;

	if (fd != fake_fd)
		return syscall(SYS_read, fd, buf, bytes);
	if (bytes < sizeof(*event) || bytes > SSIZE_MAX)
		return fail(EINVAL);
	if (!events)
		events = getenv("IVSHMEM_FAKE_EVENTS");
	while (events && *events && *events != 'x') {
		*event = (struct ivshmem_event) { .count = ++count };
		if (*events == 'j') {
			event->flags = IVSHMEM_EVENT_JOIN;
			event->status = 0xffffffff;
		} else {
			event->vector = *events - '0';
		}
		events++;
		if (subscribed >> event->vector & 1)
			return sizeof(*event);
	}
	if (events && *events)
		return fail(ENODEV);
	/* It would block for ever. */
	return fail(fcntl(fd, F_GETFL) & O_NONBLOCK ? EAGAIN : EDEADLK);
}

/* Never takes all of much, as any file may. */
ssize_t write(int fd, const void *buf, size_t bytes)
{
	return syscall(SYS_write, fd, buf, bytes < 99999 ? bytes : 99999);
}

/* Says of a full standard output only now that it lost something. */
int close(int fd)
{
	if (fd == STDOUT_FILENO && getenv("IVSHMEM_FAKE_FULL"))
		return fail(EDQUOT);
	return syscall(SYS_close, fd);
}

/* There is nothing to wait for but the timeout. */
int ppoll(struct pollfd *fds, nfds_t nr, const struct timespec *timeout,
	  const sigset_t *mask)
{
	(void)fds;
	(void)nr;
	(void)mask;
	return nanosleep(timeout, NULL);
}
