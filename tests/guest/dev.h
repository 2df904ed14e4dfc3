/* SPDX-License-Identifier: MIT */
/*
 * What the guest programs do with a device again and again. Nothing here is a
 * test point; what must work for a test to make sense ends the program.
 */
#ifndef DEV_H
#define DEV_H

#include <fcntl.h>
#include <setjmp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <linux/ivshmem.h>

#include "tap.h"

/* Where the C library has to make them of others. */
#ifndef SYS_poll
#define SYS_poll	SYS_ppoll
#define SYS_epoll_wait	SYS_epoll_pwait
#endif

/* Longest that anything which must happen may take. */
#define DEV_LONG	(20 * TAP_SECOND)

#define DEV_BUSY_MAX	"/sys/module/ivshmem/parameters/busy_poll_max_ns"

/* Writes what a file is to hold, and returns what it held. */
static inline char *dev_exchange(const char *path, const char *value)
{
	static char old[128];
	int fd = open(path, O_RDWR);
	ssize_t n;

	NEED(fd >= 0);
	n = read(fd, old, sizeof(old) - 1);
	NEED(n >= 0);
	old[n] = '\0';
	NEED(pwrite(fd, value, strlen(value), 0) > 0);
	close(fd);
	return old;
}

static inline int dev_open(int flags)
{
	int fd = open(tap_device, flags | O_CLOEXEC);

	NEED(fd >= 0);
	return fd;
}

static inline struct ivshmem_info dev_info(int fd)
{
	struct ivshmem_info info;

	NEED(ioctl(fd, IVSHMEM_GET_INFO, &info) == 0);
	return info;
}

static inline uint32_t dev_position(int fd)
{
	return dev_info(fd).position;
}

/* The second vector, or the only one of a device with an interrupt pin. */
static inline uint32_t dev_second(const struct ivshmem_info *info)
{
	return info->vectors > 1;
}

/* What read() says of the status after a ring. */
static inline uint32_t dev_status(const struct ivshmem_info *info)
{
	return info->irq_mode == IVSHMEM_IRQ_INTX;
}

static inline int dev_ring(int fd, uint32_t peer, uint32_t vector)
{
	return ioctl(fd, IVSHMEM_RING_DOORBELL, IVSHMEM_DOORBELL(peer, vector));
}

/* The count of a vector, or of all. */
static inline uint64_t dev_count(int fd, uint32_t vector)
{
	struct ivshmem_wait wait = { .count = UINT64_MAX, .vector = vector };

	NEED(ioctl(fd, IVSHMEM_WAIT, &wait) == 0);
	return wait.count;
}

/* Opens the device to hear of one vector only. */
static inline int dev_open_for(uint32_t vector, int flags)
{
	uint64_t vectors[IVSHMEM_MAX_VECTORS / 64] = { 0 };
	struct ivshmem_subscribe only = {
		.bitmap = (uintptr_t)vectors, .bits = IVSHMEM_MAX_VECTORS,
	};
	int fd = dev_open(flags);

	vectors[vector / 64] = UINT64_C(1) << vector % 64;
	NEED(!ioctl(fd, IVSHMEM_SUBSCRIBE, &only));
	return fd;
}

/* WAIT from a count, with a deadline this far away. */
static inline int dev_wait(int fd, uint32_t vector, uint64_t *count,
			   uint64_t ns)
{
	struct ivshmem_wait wait = {
		.count = *count,
		.timeout_ns = ns ? tap_now() + ns : 0,
		.vector = vector,
	};
	int ret = ioctl(fd, IVSHMEM_WAIT, &wait);

	*count = wait.count;
	return ret;
}

/* Rings a vector of its own, and returns once that has been counted. */
static inline uint64_t dev_ring_self(int fd, uint32_t vector)
{
	uint64_t count = dev_count(fd, vector);

	NEED(dev_ring(fd, dev_position(fd), vector) == 0);
	NEED(dev_wait(fd, vector, &count, DEV_LONG) == 0);
	return count;
}

/* Whether nothing interrupts for some milliseconds. */
static inline bool dev_quiet(int fd, unsigned int ms)
{
	uint64_t count = dev_count(fd, IVSHMEM_ANY_VECTOR);

	return dev_wait(fd, IVSHMEM_ANY_VECTOR, &count,
			ms * UINT64_C(1000000)) == -1 && errno == ETIMEDOUT;
}

/* Maps memory of the device that must be there. */
static inline void *dev_map(int fd, size_t size, off_t offset)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			 offset);

	NEED(mem != MAP_FAILED);
	return mem;
}

/* Pages of anonymous memory of which the last cannot be touched. */
static inline char *dev_fence(size_t pages)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *mem = mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	NEED(mem != MAP_FAILED);
	NEED(mprotect(mem + pages * page, page, PROT_NONE) == 0);
	memset(mem, 0xcc, pages * page);
	return mem + pages * page;
}

/* A page that can be read only, filled from a buffer. */
static inline void *dev_readonly(const void *data, size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *mem = mmap(NULL, page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	NEED(mem != MAP_FAILED);
	memset(mem, 0xcc, page);
	memcpy(mem, data, size);
	NEED(mprotect(mem, page, PROT_READ) == 0);
	return mem;
}

static __thread sigjmp_buf dev_fault_jump;

static inline void dev_fault_handler(int sig)
{
	siglongjmp(dev_fault_jump, sig);
}

/* The signal that reading a byte, or writing value there, raises; or 0. */
static inline int dev_fault(unsigned char *addr, int value)
{
	int sig = sigsetjmp(dev_fault_jump, 1);

	if (!sig) {
		signal(SIGBUS, dev_fault_handler);
		signal(SIGSEGV, dev_fault_handler);
		if (value < 0)
			__atomic_load_n(addr, __ATOMIC_RELAXED);
		else
			__atomic_store_n(addr, value, __ATOMIC_RELAXED);
	}
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	return sig;
}

/**
 * struct dev_call - A blocking call in a thread of its own.
 * @call: makes the call; what it returns, and errno, are kept
 * @arg:  for @call to use
 * @ret:  what the call returned, once dev_call_end() is true
 * @err:  errno after it
 */
struct dev_call {
	long long (*call)(struct dev_call *c);
	void *arg;
	int fd;
	long long ret;
	int err;
	pthread_t thread;
	pid_t tid;
};

static inline void *dev_call_run(void *data)
{
	struct dev_call *c = data;

	__atomic_store_n(&c->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	errno = 0;
	c->ret = c->call(c);
	c->err = errno;
	return NULL;
}

static inline void dev_call_start(struct dev_call *c)
{
	c->tid = 0;
	NEED(pthread_create(&c->thread, NULL, dev_call_run, c) == 0);
}

/* Waits until the thread sleeps in the system call of this number. */
static inline void dev_call_asleep(struct dev_call *c, long nr)
{
	uint64_t end = tap_now() + DEV_LONG;
	char path[64], text[64] = "";
	pid_t tid;

	while (!(tid = __atomic_load_n(&c->tid, __ATOMIC_ACQUIRE)))
		tap_pause();
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t n;

		NEED(fd >= 0);
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		NEED(n > 0);
		text[n] = '\0';
		if (*text != 'r' && strtol(text, NULL, 10) == nr)
			return;
		if (tap_now() > end)
			tap_bail("not asleep in call %ld: %s", nr, text);
		tap_pause();
	}
}

/* Whether the call has returned, after waiting for that for some time. */
static inline bool dev_call_end(struct dev_call *c, uint64_t ns)
{
	uint64_t end;
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	end = ts.tv_sec * TAP_SECOND + ts.tv_nsec + ns;
	ts.tv_sec = end / TAP_SECOND;
	ts.tv_nsec = end % TAP_SECOND;
	return pthread_timedjoin_np(c->thread, NULL, &ts) == 0;
}

static inline long long dev_call_wait(struct dev_call *c)
{
	return ioctl(c->fd, IVSHMEM_WAIT, c->arg);
}

static inline long long dev_call_read(struct dev_call *c)
{
	return read(c->fd, c->arg, sizeof(struct ivshmem_event));
}

#endif /* DEV_H */
