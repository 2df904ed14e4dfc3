// SPDX-License-Identifier: MIT
/*
 * The busy-polling of IVSHMEM_WAIT: it does not sleep, within bounds, and lets
 * others have the processor. Sets the module's parameter.
 */
#include <sched.h>
#include <sys/resource.h>

#include "irq.h"

#define MS		UINT64_C(1000000)
#define PARAMETER	"/sys/module/ivshmem/parameters/busy_poll_max_ns"
#define ROUNDS		20

static void set_max(const char *value)
{
	int fd = open(PARAMETER, O_WRONLY | O_CLOEXEC);

	NEED(fd >= 0);
	NEED(write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	close(fd);
}

static long get_max(void)
{
	char text[32] = "";
	int fd = open(PARAMETER, O_RDONLY | O_CLOEXEC);

	NEED(fd >= 0);
	NEED(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return strtol(text, NULL, 10);
}

static uint64_t cpu_time(void)
{
	struct timespec ts;

	NEED(!clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts));
	return ts.tv_sec * TAP_SECOND + ts.tv_nsec;
}

static long sleeps(void)
{
	struct rusage usage;

	NEED(!getrusage(RUSAGE_THREAD, &usage));
	return usage.ru_nvcsw;
}

static atomic_uint asked;

/* Rings for each round that has begun, some time after that. */
static long long call_ring(struct dev_call *c TAP_UNUSED)
{
	unsigned int i, ms;

	for (i = 1; i <= ROUNDS; i++) {
		while (asked < i)
			tap_pause();
		for (ms = 0; ms < 5; ms++)
			tap_pause();
		irq_ring(0);
	}
	return 0;
}

/* Waits for what another thread rings; returns in how many rounds it slept. */
static unsigned int slept(uint64_t busy_ns)
{
	struct dev_call c = { .call = call_ring };
	unsigned int i, sum = 0;

	asked = 0;
	dev_call_start(&c);
	for (i = 0; i < ROUNDS; i++) {
		struct ivshmem_wait wait = {
			.count = irq_count(0),
			.timeout_ns = tap_now() + DEV_LONG,
			.busy_ns = busy_ns,
		};
		long before = sleeps();

		asked = i + 1;
		NEED(!ioctl(irq_bell, IVSHMEM_WAIT, &wait));
		sum += sleeps() != before;
	}
	NEED(dev_call_end(&c, DEV_LONG));
	return sum;
}

/* Polling, it never sleeps; otherwise it does. */
static void test_no_sleep(void)
{
	set_max("10000000000");
	EXPECT_EQ(slept(DEV_LONG), 0);
	EXPECT_EQ(slept(0), ROUNDS);
	/* No bound at all, for neither. */
	set_max("18446744073709551615");
	EXPECT_EQ(slept(UINT64_MAX), 0);
	/* It is the module's owner who decides. */
	set_max("0");
	EXPECT_EQ(get_max(), 0);
	EXPECT_EQ(slept(DEV_LONG), ROUNDS);
}

/* How much of the processor a wait of 200 ms takes for which nothing comes. */
static uint64_t used(uint64_t busy_ns, uint32_t vector)
{
	struct ivshmem_wait wait = {
		.count = dev_count(irq_bell, vector),
		.timeout_ns = tap_now() + 200 * MS,
		.busy_ns = busy_ns,
		.vector = vector,
	};
	uint64_t before = cpu_time(), end = wait.timeout_ns;

	EXPECT_ERRNO(ioctl(irq_bell, IVSHMEM_WAIT, &wait), ETIMEDOUT);
	EXPECT(tap_now() >= end);
	EXPECT_EQ(wait.busy_ns, busy_ns);
	return cpu_time() - before;
}

/*
 * The least of some attempts: on a host that has no time for the guest, what
 * passes meanwhile is counted as used.
 */
static bool used_at_most(uint64_t busy_ns, uint32_t vector, uint64_t most)
{
	unsigned int i;
	uint64_t ns;

	for (i = 0; i < 5; i++) {
		ns = used(busy_ns, vector);
		tap_note("busy for %llu us, used %llu us",
			 (long long)busy_ns / 1000, (long long)ns / 1000);
		if (ns <= most)
			return true;
	}
	return false;
}

/* The budget is kept: by the caller's number, by the parameter, by the timeout. */
static void test_budget(uint32_t vector)
{
	set_max("10000000000");
	EXPECT(used_at_most(0, vector, 20 * MS));
	EXPECT(used_at_most(60 * MS, vector, 100 * MS));
	EXPECT(used(60 * MS, vector) > 40 * MS);
	EXPECT(used(UINT64_MAX, vector) > 140 * MS);

	set_max("60000000");
	EXPECT(used_at_most(UINT64_MAX, vector, 100 * MS));
	EXPECT(used(UINT64_MAX, vector) > 40 * MS);
}

/* With a timeout of 0, or when the count differs already, it does not poll. */
static uint64_t used_in_vain(void)
{
	struct ivshmem_wait wait = { .count = irq_count(0), .busy_ns = DEV_LONG };
	uint64_t start = tap_now(), before = cpu_time();

	EXPECT_ERRNO(ioctl(irq_bell, IVSHMEM_WAIT, &wait), ETIMEDOUT);
	wait.timeout_ns = 1;
	EXPECT_ERRNO(ioctl(irq_bell, IVSHMEM_WAIT, &wait), ETIMEDOUT);
	wait.count--;
	wait.timeout_ns = IVSHMEM_WAIT_FOREVER;
	EXPECT_EQ(ioctl(irq_bell, IVSHMEM_WAIT, &wait), 0);
	EXPECT(tap_now() - start < 5 * TAP_SECOND);
	return cpu_time() - before;
}

static void test_no_need(void)
{
	uint64_t least = UINT64_MAX, ns;
	unsigned int i;

	set_max("10000000000");
	/* As with used_at_most(). */
	for (i = 0; i < 5 && least >= 100 * MS; i++) {
		ns = used_in_vain();
		least = ns < least ? ns : least;
	}
	EXPECT(least < 100 * MS);
}

static void handler(int sig TAP_UNUSED)
{
}

/* Runs in the kernel for long, so that /proc says "running" of it. */
static void await_running(struct dev_call *c)
{
	uint64_t end = tap_now() + DEV_LONG;
	clockid_t clock;
	struct timespec ts;

	while (!__atomic_load_n(&c->tid, __ATOMIC_ACQUIRE))
		tap_pause();
	NEED(!pthread_getcpuclockid(c->thread, &clock));
	do {
		tap_pause();
		NEED(!clock_gettime(clock, &ts));
		NEED(tap_now() < end);
	} while (ts.tv_sec * TAP_SECOND + ts.tv_nsec < 10 * MS);
}

static void test_signal(void)
{
	struct sigaction sa = { .sa_handler = handler };
	struct ivshmem_wait wait = {
		.count = irq_count(0),
		.timeout_ns = IVSHMEM_WAIT_FOREVER,
		.busy_ns = UINT64_MAX,
		.flags = IVSHMEM_WAIT_RING,
		.doorbell = irq_self(irq_second),
	};
	struct dev_call c = {
		.call = dev_call_wait, .fd = irq_bell, .arg = &wait,
	};
	uint64_t other = irq_count(1), start = tap_now();

	set_max("100000000000");
	NEED(!sigaction(SIGUSR1, &sa, NULL));
	dev_call_start(&c);
	await_running(&c);
	NEED(!pthread_kill(c.thread, SIGUSR1));
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, -1);
	EXPECT_EQ(c.err, EINTR);
	EXPECT_EQ(wait.flags, 0);
	EXPECT(tap_now() - start < 15 * TAP_SECOND);
	EXPECT_WITHIN(irq_count(1) == other + 1, 10000);

	/* Handled and started again, until the interrupt comes. */
	sa.sa_flags = SA_RESTART;
	NEED(!sigaction(SIGUSR1, &sa, NULL));
	wait.flags = IVSHMEM_WAIT_RING;
	dev_call_start(&c);
	await_running(&c);
	NEED(!pthread_kill(c.thread, SIGUSR1));
	tap_pause();
	NEED(!pthread_kill(c.thread, SIGUSR1));
	irq_fire(0);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, 0);
	EXPECT_EQ(irq_count(1), other + 2);
}

/* On one processor, somebody else runs meanwhile. */
static void test_yield(void)
{
	struct ivshmem_wait wait = {
		.count = irq_count(0),
		.timeout_ns = tap_now() + 2 * TAP_SECOND,
		.busy_ns = UINT64_MAX,
	};
	struct dev_call c = {
		.call = dev_call_wait, .fd = irq_bell, .arg = &wait,
	};
	uint64_t last = tap_now(), now, longest = 0;
	cpu_set_t one;

	set_max("100000000000");
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	NEED(!sched_setaffinity(0, sizeof(one), &one));
	dev_call_start(&c);
	while (!dev_call_end(&c, 1)) {
		now = tap_now();
		if (now - last > longest)
			longest = now - last;
		last = now;
	}
	tap_note("the longest pause was %llu us", (long long)longest / 1000);
	EXPECT_EQ(c.err, ETIMEDOUT);
	EXPECT(longest < TAP_SECOND);
}

int main(int argc, char **argv)
{
	char value[32];
	long max;

	tap_start(argc, argv, 120);
	irq_start(1);
	max = get_max();
	EXPECT(max > 0 && max <= 1000000);
	test_no_sleep();
	test_budget(irq_second);
	test_budget(IVSHMEM_ANY_VECTOR);
	test_no_need();
	if (irq_second)
		test_signal();
	test_yield();
	snprintf(value, sizeof(value), "%ld", max);
	set_max(value);
	EXPECT_EQ(get_max(), max);
	return tap_finish();
}
