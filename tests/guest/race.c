// SPDX-License-Identifier: MIT
/*
 * Rings against everything that waits: no wait hangs, no count goes back, and
 * nothing is reported that was not so.
 *
 *	race DEVICE phase RINGS	one ring a wait, which comes about when the wait
 *				goes to sleep
 *	race DEVICE window RINGS	the same, where the kernel is made to be
 *				late in the middle of the wait
 *	race DEVICE free RINGS	a thread rings without a pause while others wait
 *				in each way that there is
 */
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>

#include "dev.h"

static struct ivshmem_info info;
static uint32_t second;	/* the first, where there is no other */
static unsigned long rings;

/*
 * Whether what began then has not taken long. A wait that an interrupt should
 * have ended, and the clock did, finds the new count all the same.
 */
static bool soon(uint64_t start)
{
	return tap_now() < start + DEV_LONG / 2;
}

/* Ways to hear of the second vector: true if one more interrupt than *count came. */
static bool hear(unsigned int kind, int fd, uint64_t *count)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t before = *count, start = tap_now();
	struct ivshmem_event event;

	switch (kind) {
	case 0:
		if (dev_wait(fd, second, count, DEV_LONG))
			return false;
		break;
	case 1:
		if (dev_wait(fd, IVSHMEM_ANY_VECTOR, count, DEV_LONG))
			return false;
		break;
	default:
		/* Only poll() has an end, so that a hang is noticed. */
		if (before & 1 && poll(&pfd, 1, DEV_LONG / 1000000) != 1)
			return false;
		if (read(fd, &event, sizeof(event)) != sizeof(event) ||
		    event.vector != second)
			return false;
		*count = event.count;
	}
	return *count == before + 1 && soon(start);
}

static void spin(unsigned int turns)
{
	while (turns--)
		__asm__ __volatile__("" ::: "memory");
}

static uint32_t dice(void)
{
	static uint32_t state = 12345;

	state = state * 1664525 + 1013904223;
	return state >> 8;
}

/* How often this thread has gone to sleep. */
static long sleeps(void)
{
	struct rusage usage;

	NEED(getrusage(RUSAGE_THREAD, &usage) == 0);
	return usage.ru_nvcsw;
}

/*
 * The moment that matters is short: between the look at the count and the sleep.
 * So, after each ring, this dawdles for about as long as an interrupt takes. If
 * the wait then sleeps, it came too early, and the next one comes later.
 */
static void test_phase(int fd)
{
	const int fds[3] = { fd, fd, dev_open(O_RDONLY) };
	uint64_t counts[3] = {
		dev_count(fd, second), dev_count(fd, IVSHMEM_ANY_VECTOR),
		dev_count(fd, second),
	};
	unsigned int turns = 1000, bad = 0;
	unsigned long i, slept = 0;

	for (i = 0; i < rings && !bad; i++) {
		unsigned int width = turns / 4 + 16, j;
		long before;

		NEED(dev_ring(fd, info.position, second) == 0);
		spin(turns - width / 2 + dice() % width);
		before = sleeps();
		/* The first of them races; for the others it has come. */
		bad += !hear(i % 3, fds[i % 3], &counts[i % 3]);
		if (sleeps() != before) {
			slept++;
			turns += turns / 32 + 1;
		} else {
			turns -= turns > 32 ? turns / 32 : 0;
		}
		for (j = i + 1; j < i + 3 && !bad; j++)
			bad += !hear(j % 3, fds[j % 3], &counts[j % 3]);
		if (bad)
			tap_note("ring %lu: errno %s", i, strerrorname_np(errno));
	}
	tap_note("slept %lu of %lu times, %u turns", slept, i, turns);
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(i, rings);
	EXPECT_EQ(counts[0], counts[2]);
	close(fds[2]);
}

static unsigned int asked, rung;
static bool stop;

/* Rings a little after it is asked to, while the one who asked goes to sleep. */
static void *run_ringer(void *data)
{
	int fd = *(int *)data;

	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		uint64_t end = tap_now() + 100000 + dice() % 1000000;

		if (__atomic_load_n(&asked, __ATOMIC_ACQUIRE) == rung) {
			sched_yield();
			continue;
		}
		while (tap_now() < end)
			;
		rung++;
		NEED(dev_ring(fd, info.position, second) == 0);
	}
	return NULL;
}

/*
 * Each kind of wait. The interrupt comes while a processor is late, which is
 * certain with a second one that rings, and likely where the wait rings itself.
 */
static bool wait_late(int fd, int reader, unsigned int kind)
{
	struct pollfd pfd = { .fd = reader, .events = POLLIN };
	struct ivshmem_wait wait = {
		.vector = kind & 1 ? IVSHMEM_ANY_VECTOR : second,
		.timeout_ns = tap_now() + DEV_LONG,
		.flags = kind < 2 ? IVSHMEM_WAIT_RING : 0,
		.doorbell = IVSHMEM_DOORBELL(info.position, second),
	};
	struct ivshmem_event event;
	uint64_t start = tap_now();

	wait.count = dev_count(fd, wait.vector);
	if (kind >= 2)
		__atomic_fetch_add(&asked, 1, __ATOMIC_RELEASE);
	switch (kind) {
	case 5:
		if (poll(&pfd, 1, DEV_LONG / 1000000) != 1)
			return false;
		break;
	case 4:
		break;
	default:
		if (ioctl(fd, IVSHMEM_WAIT, &wait))
			return false;
	}
	return read(reader, &event, sizeof(event)) == sizeof(event) &&
	       soon(start);
}

/* Where a part of each wait is late, see the test that starts this. */
static void test_window(int fd)
{
	int reader = dev_open(O_RDONLY), bad = 0;
	pthread_t ringer;
	unsigned long i;

	/* A read() that hangs is ended by this. */
	alarm(60);
	NEED(!pthread_create(&ringer, NULL, run_ringer, &fd));
	for (i = 0; i < rings && !bad; i++) {
		uint64_t count = dev_count(fd, second);

		bad += !wait_late(fd, reader, i % 6);
		bad += dev_count(fd, second) != count + 1;
		if (bad)
			tap_note("ring %lu: errno %s", i, strerrorname_np(errno));
	}
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(i, rings);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	NEED(!pthread_join(ringer, NULL));
	close(reader);
}

/* Waiters of the free race. */
struct waiter {
	const char *name;
	bool (*wait)(struct waiter *w);
	int flags;
	uint32_t vector;
	int fd;
	uint64_t count;		/* what it has seen */
	unsigned long turns;
	unsigned long nothing;
	char error[64];
	pthread_t thread;
};

static bool fail(struct waiter *w, const char *what)
{
	snprintf(w->error, sizeof(w->error), "%s: errno %s", what,
		 strerrorname_np(errno));
	return false;
}

static bool turn_wait(struct waiter *w)
{
	uint64_t before = w->count, start = tap_now();

	if (dev_wait(w->fd, w->vector, &w->count, 3 * DEV_LONG) || !soon(start))
		return fail(w, "WAIT");
	if (w->count <= before)
		return fail(w, "the count goes back");
	return true;
}

static bool turn_ring(struct waiter *w)
{
	struct ivshmem_wait wait = {
		.count = w->count,
		.timeout_ns = tap_now() + 3 * DEV_LONG,
		.vector = w->vector,
		.flags = IVSHMEM_WAIT_RING,
		.doorbell = IVSHMEM_DOORBELL(info.position, w->vector),
	};
	uint64_t start = tap_now();

	if (ioctl(w->fd, IVSHMEM_WAIT, &wait) || !soon(start))
		return fail(w, "WAIT");
	if (wait.count <= w->count)
		return fail(w, "the count goes back");
	w->count = wait.count;
	return true;
}

/* Events that came in one read; false for what must not be. */
static bool turn_events(struct waiter *w)
{
	struct ivshmem_event events[2];
	ssize_t n = read(w->fd, events, sizeof(events));
	int i;

	if (n < 0 && errno == EAGAIN && w->flags & O_NONBLOCK) {
		w->nothing++;
		return true;
	}
	if (n <= 0 || n % sizeof(*events))
		return fail(w, "read");
	for (i = 0; i < n / (int)sizeof(*events); i++) {
		if (events[i].vector == w->vector) {
			if (events[i].count <= w->count)
				return fail(w, "the count goes back");
			w->count = events[i].count;
		}
	}
	return true;
}

static bool turn_poll(struct waiter *w)
{
	struct pollfd pfd = { .fd = w->fd, .events = POLLIN };

	if (poll(&pfd, 1, 3 * DEV_LONG / 1000000) != 1 || pfd.revents != POLLIN)
		return fail(w, "poll");
	return turn_events(w);
}

static struct waiter waiters[] = {
	{ .name = "WAIT", .wait = turn_wait },
	{ .name = "WAIT for another vector", .wait = turn_wait, .vector = 1 },
	{ .name = "WAIT for any vector", .wait = turn_wait,
	  .vector = IVSHMEM_ANY_VECTOR },
	{ .name = "WAIT that rings itself", .wait = turn_ring,
	  .flags = O_RDWR, .vector = 2 },
	{ .name = "read", .wait = turn_events },
	{ .name = "read at any moment", .wait = turn_events,
	  .flags = O_NONBLOCK },
	{ .name = "poll and read", .wait = turn_poll, .flags = O_NONBLOCK,
	  .vector = 1 },
};

#define WAITERS	(sizeof(waiters) / sizeof(*waiters))

static void *run_waiter(void *data)
{
	struct waiter *w = data;

	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		if (!w->wait(w))
			break;
		__atomic_store_n(&w->turns, w->turns + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Whether each waiter knows of the last interrupt of its vector. */
static bool caught_up(int fd)
{
	unsigned int i;

	for (i = 0; i < WAITERS; i++) {
		/* This one always makes itself another. */
		if (waiters[i].wait == turn_ring ||
		    waiters[i].vector == IVSHMEM_ANY_VECTOR)
			continue;
		if (__atomic_load_n(&waiters[i].count, __ATOMIC_ACQUIRE) !=
		    dev_count(fd, waiters[i].vector))
			return false;
	}
	return true;
}

static void test_free(int fd)
{
	uint64_t start[2], last[3] = { 0 };
	unsigned int i, backwards = 0;
	unsigned long n;

	for (i = 0; i < 2; i++)
		start[i] = dev_count(fd, i);
	for (i = 0; i < WAITERS; i++) {
		waiters[i].fd = dev_open(waiters[i].flags);
		waiters[i].count = dev_count(fd, waiters[i].vector);
		NEED(!pthread_create(&waiters[i].thread, NULL, run_waiter,
				     &waiters[i]));
	}
	for (n = 0; n < rings; n++) {
		NEED(dev_ring(fd, info.position, n & 1) == 0);
		if (n % 16)
			continue;
		for (i = 0; i < 3; i++) {
			uint64_t count = dev_count(fd, i);

			backwards += count < last[i];
			last[i] = count;
		}
	}
	EXPECT_EQ(backwards, 0);
	/* The last ring of all, too, reaches everyone. */
	EXPECT_WITHIN(caught_up(fd), 20000);
	for (i = 0; i < 2; i++) {
		uint64_t count = dev_count(fd, i) - start[i];

		tap_note("vector %u: %lu rings, %llu interrupts", i, rings / 2,
			 (unsigned long long)count);
		EXPECT(count >= 1 && count <= rings / 2);
	}

	/* So that those who sleep notice the end. */
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < 3; i++)
		dev_ring_self(fd, i);
	for (i = 0; i < WAITERS; i++) {
		struct waiter *w = &waiters[i];

		NEED(!pthread_join(w->thread, NULL));
		tap_ok(!*w->error && w->turns, "%s: %s", w->name, w->error);
		tap_note("%lu turns, %lu in vain", w->turns, w->nothing);
		close(w->fd);
	}
}

int main(int argc, char **argv)
{
	int fd;

	tap_start(argc, argv, 240);
	NEED(argc == 4);
	rings = strtoul(argv[3], NULL, 0);
	fd = dev_open(O_RDWR);
	info = dev_info(fd);
	NEED(info.vectors >= (strcmp(argv[2], "free") ? 1 : 3));
	second = dev_second(&info);
	if (!strcmp(argv[2], "phase"))
		test_phase(fd);
	else if (!strcmp(argv[2], "window"))
		test_window(fd);
	else
		test_free(fd);
	return tap_finish();
}
