// SPDX-License-Identifier: MIT
/*
 * 64 threads, each waiting for a vector of its own, and one ring: only one
 * thread is woken. Counted by how often threads have gone to sleep: one that was
 * woken does so once more, also when it found that the interrupt was none of its
 * business. With PREEMPT_RT threads also sleep for locks: a few times more do not
 * count there.
 */
#include <sys/epoll.h>

#include "irq.h"

#define THREADS	64
#define FEW	4

struct waiter {
	struct dev_call call;
	uint32_t vector;
	int epfd;
	atomic_uint woken;	/* returned from its call */
};

static struct waiter waiters[THREADS];
static atomic_bool stop;
static unsigned int spare;	/* sleeps for locks */

static void wait_read(struct waiter *w)
{
	struct ivshmem_event event;

	NEED(read(w->call.fd, &event, sizeof(event)) == sizeof(event));
	NEED(event.vector == w->vector);
}

/* Each takes its event out, or it would be told of it again. */
static void take_event(struct waiter *w)
{
	struct pollfd pfd = { .fd = w->call.fd, .events = POLLIN };

	if (poll(&pfd, 1, 0) == 1)
		wait_read(w);
}

static void wait_poll(struct waiter *w)
{
	struct pollfd pfd = { .fd = w->call.fd, .events = POLLIN };

	NEED(poll(&pfd, 1, -1) == 1);
	take_event(w);
}

static void wait_poll_all(struct waiter *w)
{
	struct pollfd pfd = { .fd = w->call.fd, .events = POLLIN };
	struct ivshmem_event event;

	NEED(poll(&pfd, 1, -1) == 1);
	NEED(read(w->call.fd, &event, sizeof(event)) == sizeof(event));
}

static void wait_epoll(struct waiter *w)
{
	struct epoll_event event;

	NEED(epoll_wait(w->epfd, &event, 1, -1) == 1);
	take_event(w);
}

static void wait_ioctl(struct waiter *w)
{
	uint64_t *count = w->call.arg;

	NEED(!dev_wait(w->call.fd, w->vector, count, 1000 * TAP_SECOND));
}

static void wait_any(struct waiter *w)
{
	uint64_t *count = w->call.arg;

	NEED(!dev_wait(w->call.fd, IVSHMEM_ANY_VECTOR, count,
		       1000 * TAP_SECOND));
}

static void (*wait_function)(struct waiter *w);

static long long waiter_main(struct dev_call *c)
{
	struct waiter *w = (struct waiter *)c;

	while (!stop) {
		wait_function(w);
		w->woken++;
	}
	return 0;
}

/* How often all together have gone to sleep since then. */
static unsigned int slept_since(const long *before)
{
	unsigned int i, sum = 0;

	for (i = 0; i < THREADS; i++)
		sum += irq_switches(waiters[i].call.tid) - before[i];
	return sum;
}

/*
 * Runs 64 threads in @function, and rings for some of them. @shared: all use one
 * open file. @wanted: how many threads a ring is to wake.
 */
static void run(const char *what, void (*function)(struct waiter *w), long nr,
		bool choose, bool shared, unsigned int wanted)
{
	static const unsigned int rung[] = { 0, 17, 63 };
	static uint64_t counts[THREADS];
	long before[THREADS];
	unsigned int i, r, slept, returned[THREADS];
	int file = -1;

	tap_note("%s", what);
	stop = false;
	wait_function = function;
	if (shared)
		file = dev_open(O_RDWR);
	for (i = 0; i < THREADS; i++) {
		struct epoll_event event = { .events = EPOLLIN };
		struct waiter *w = &waiters[i];

		memset(w, 0, sizeof(*w));
		w->vector = i;
		w->call.call = waiter_main;
		w->call.fd = shared ? file : dev_open(O_RDWR);
		w->call.arg = &counts[i];
		if (choose)
			NEED(!irq_subscribe(w->call.fd, UINT64_C(1) << i));
		counts[i] = dev_count(w->call.fd, function == wait_any ?
				      IVSHMEM_ANY_VECTOR : i);
		w->epfd = epoll_create1(0);
		NEED(w->epfd >= 0);
		NEED(!epoll_ctl(w->epfd, EPOLL_CTL_ADD, w->call.fd, &event));
		dev_call_start(&w->call);
	}

	for (r = 0; r < sizeof(rung) / sizeof(*rung); r++) {
		for (i = 0; i < THREADS; i++)
			dev_call_asleep(&waiters[i].call, nr);
		for (i = 0; i < THREADS; i++) {
			before[i] = irq_switches(waiters[i].call.tid);
			returned[i] = waiters[i].woken;
		}
		irq_fire(rung[r]);
		EXPECT_WITHIN(waiters[rung[r]].woken == returned[rung[r]] + 1,
			      20000);
		EXPECT_WITHIN(slept_since(before) >= wanted, 20000);
		/* All sleep again: whoever was woken has been counted. */
		for (i = 0; i < THREADS; i++)
			dev_call_asleep(&waiters[i].call, nr);
		slept = slept_since(before);
		EXPECT(slept >= wanted && slept <= wanted + spare);
		slept = irq_switches(waiters[rung[r]].call.tid) - before[rung[r]];
		EXPECT(slept >= 1 && slept <= 1 + spare);
	}

	stop = true;
	for (i = 0; i < THREADS; i++)
		irq_ring(i);
	for (i = 0; i < THREADS; i++) {
		NEED(dev_call_end(&waiters[i].call, DEV_LONG));
		close(waiters[i].epfd);
		if (!shared)
			close(waiters[i].call.fd);
	}
	if (shared)
		close(file);
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 240);
	if (!access("/sys/kernel/realtime", F_OK))
		spare = FEW;
	irq_start(THREADS);

	run("read, a file each", wait_read, SYS_read, true, false, 1);
	run("poll, a file each", wait_poll, SYS_poll, true, false, 1);
	run("epoll, a file each", wait_epoll, SYS_epoll_wait, true, false, 1);
	run("WAIT for any, a file each", wait_any, SYS_ioctl, true, false, 1);
	run("WAIT for one, a file each", wait_ioctl, SYS_ioctl, true, false, 1);
	run("WAIT for one, one file, all subscribed", wait_ioctl, SYS_ioctl,
	    false, true, 1);
	/* The count is one that can rise. */
	run("poll, a file each, all subscribed", wait_poll_all, SYS_poll, false,
	    false, THREADS);
	return tap_finish();
}
