/* SPDX-License-Identifier: MIT */
/*
 * What the programs share, beside dev.h, that test who hears an interrupt. They
 * ring their own device, so that one VM is enough.
 *
 * Nothing here waits for a time, but for a state.
 */
#ifndef IRQ_H
#define IRQ_H

#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include <linux/membarrier.h>

#include "dev.h"

/* An open file that rings and counts, and with which nothing else is done. */
static int irq_bell TAP_UNUSED = -1;
static struct ivshmem_info irq_info TAP_UNUSED;
/* The second vector, or the only one. */
static uint32_t irq_second TAP_UNUSED;

/* Opens the bell; skips the program where there are too few vectors. */
static inline void irq_start(unsigned int vectors)
{
	irq_bell = dev_open(O_RDWR);
	irq_info = dev_info(irq_bell);
	irq_second = dev_second(&irq_info);
	if (irq_info.vectors < vectors)
		tap_skip_all("needs %u vectors, there are %u", vectors,
			     irq_info.vectors);
}

static inline uint64_t irq_count(uint32_t vector)
{
	return dev_count(irq_bell, vector);
}

/* The argument of RING_DOORBELL that interrupts this machine. */
static inline unsigned long irq_self(unsigned int vector)
{
	return IVSHMEM_DOORBELL(irq_info.position, vector);
}

/* Rings, and does not wait for what comes of it. */
static inline void irq_ring(unsigned int vector)
{
	NEED(ioctl(irq_bell, IVSHMEM_RING_DOORBELL, irq_self(vector)) == 0);
}

/*
 * Returns once every interrupt handler that runs now has ended: the barrier is a
 * grace period, and a handler delays it.
 */
static inline void irq_settle(void)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		NEED(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0);
}

/* Makes one interrupt, and returns once its handler has ended. */
static inline void irq_fire(unsigned int vector)
{
	dev_ring_self(irq_bell, vector);
	irq_settle();
}

/* What poll() says of a descriptor now. */
static inline short irq_poll(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLOUT };

	NEED(poll(&pfd, 1, 0) >= 0);
	return pfd.revents;
}

/* Subscribes to the vectors whose bits are set, of the first 64. */
static inline int irq_subscribe(int fd, uint64_t vectors)
{
	struct ivshmem_subscribe req = {
		.bitmap = (uintptr_t)&vectors,
		.bits = 64,
	};

	return ioctl(fd, IVSHMEM_SUBSCRIBE, &req);
}

static inline int irq_bind(int fd, uint32_t vector, int efd)
{
	struct ivshmem_eventfd req = { .fd = efd, .vector = vector };

	return ioctl(fd, IVSHMEM_SET_EVENTFD, &req);
}

static inline int irq_eventfd(void)
{
	int efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	NEED(efd >= 0);
	return efd;
}

/* The value of an eventfd, which then is 0; 0 if it was. */
static inline uint64_t irq_take(int efd)
{
	uint64_t value;

	if (read(efd, &value, sizeof(value)) == sizeof(value))
		return value;
	NEED(errno == EAGAIN);
	return 0;
}

/* The number after a word in a file of /proc. */
static inline long irq_proc_number(const char *path, const char *word)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[4096], *line;
	ssize_t n;

	NEED(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	NEED(n > 0);
	text[n] = '\0';
	line = strstr(text, word);
	NEED(line);
	return strtol(line + strlen(word), NULL, 10);
}

/* How often a thread has gone to sleep. */
static inline long irq_switches(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
	return irq_proc_number(path, "\nvoluntary_ctxt_switches:");
}

/*
 * The number that the next eventfd has: the lowest that is free. So it rises if
 * somebody does not let go of one.
 */
static inline long irq_next_eventfd(void)
{
	int efd = irq_eventfd();
	char path[64];
	long id;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", efd);
	id = irq_proc_number(path, "eventfd-id:");
	close(efd);
	return id;
}

static inline long long irq_call_poll(struct dev_call *c)
{
	struct pollfd pfd = { .fd = c->fd, .events = POLLIN };

	return poll(&pfd, 1, -1);
}

#endif /* IRQ_H */
