// SPDX-License-Identifier: MIT
/* Doorbells and interrupts. */
#include <errno.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

int ivshmem_ring(struct ivshmem *ivs, unsigned int peer, unsigned int vector)
{
	/* What does not fit would ring somebody else. */
	if (peer > IVSHMEM_MAX_PEER || vector > UINT16_MAX) {
		errno = EINVAL;
		return -1;
	}
	return ioctl(ivs->fd, IVSHMEM_RING_DOORBELL,
		     (unsigned long)IVSHMEM_DOORBELL(peer, vector));
}

/* The device takes a point in time, so that a restarted wait does not drift. */
static uint64_t deadline(int64_t timeout_ns)
{
	struct timespec now;

	if (timeout_ns < 0)
		return IVSHMEM_WAIT_FOREVER;
	if (!timeout_ns)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec + timeout_ns;
}

int ivshmem_wait(struct ivshmem *ivs, unsigned int vector, uint64_t *count,
		 int64_t timeout_ns)
{
	struct ivshmem_wait wait = {
		.count = *count,
		.timeout_ns = deadline(timeout_ns),
		.vector = vector,
	};

	if (ioctl(ivs->fd, IVSHMEM_WAIT, &wait))
		return -1;
	*count = wait.count;
	return 0;
}

int ivshmem_count(struct ivshmem *ivs, unsigned int vector, uint64_t *count)
{
	uint64_t now = UINT64_MAX;

	/* No vector has fired that often, so this does not wait. */
	if (ivshmem_wait(ivs, vector, &now, 0))
		return -1;
	*count = now;
	return 0;
}

ssize_t ivshmem_read_events(struct ivshmem *ivs, struct ivshmem_event *events,
			    size_t max)
{
	ssize_t bytes;

	/* There are no more, and the product cannot overflow. */
	if (max > IVSHMEM_MAX_VECTORS)
		max = IVSHMEM_MAX_VECTORS;
	bytes = read(ivs->fd, events, max * sizeof(*events));
	return bytes < 0 ? -1 : bytes / (ssize_t)sizeof(*events);
}

int ivshmem_set_eventfd(struct ivshmem *ivs, unsigned int vector, int fd)
{
	struct ivshmem_eventfd bind = {
		.fd = fd,
		.vector = vector,
	};

	return ioctl(ivs->fd, IVSHMEM_SET_EVENTFD, &bind);
}

int ivshmem_subscribe(struct ivshmem *ivs, const uint64_t *bitmap,
		      unsigned int bits)
{
	struct ivshmem_subscribe subscribe = {
		.bitmap = (uintptr_t)bitmap,
		.bits = bits,
		.flags = bitmap ? 0 : IVSHMEM_SUBSCRIBE_ALL,
	};

	return ioctl(ivs->fd, IVSHMEM_SUBSCRIBE, &subscribe);
}
