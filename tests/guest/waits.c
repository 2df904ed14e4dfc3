// SPDX-License-Identifier: MIT
/*
 * IVSHMEM_WAIT. Needs a device that nobody else rings meanwhile.
 */
#include <sched.h>
#include <sys/wait.h>

#include "dev.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME	0x80
#endif

#define MS	UINT64_C(1000000)

/* How late a deadline may be noticed on a busy machine. */
#define LATE	(3 * TAP_SECOND)

static struct ivshmem_info info;
static uint32_t second;	/* the first, where there is no other */

/* Calls WAIT with a struct that, refused, must come back as it was. */
static void refused(int fd, const struct ivshmem_wait *wait, int wanted,
		    const char *what)
{
	struct ivshmem_wait copy = *wait;
	int ret = ioctl(fd, IVSHMEM_WAIT, &copy), err = errno;

	tap_ok(ret == -1 && err == wanted, "%s: %s%s", what,
	       strerrorname_np(wanted), ret ? "" : ", but it returned 0");
	tap_ok(!memcmp(&copy, wait, sizeof(copy)), "%s: nothing changed", what);
}

static void test_invalid(int fd)
{
	const struct ivshmem_wait good = {
		.count = dev_count(fd, 0),
		.timeout_ns = tap_now() + DEV_LONG,
	};
	struct ivshmem_wait wait;
	char what[32];
	int i;

	for (i = 1; i < 32; i++) {
		wait = good;
		wait.flags = 1U << i;
		snprintf(what, sizeof(what), "flag %d", i);
		refused(fd, &wait, EINVAL, what);
	}
	for (i = 0; i < 3 * 32; i++) {
		wait = good;
		wait.reserved[i / 32] = 1U << i % 32;
		snprintf(what, sizeof(what), "reserved bit %d", i);
		refused(fd, &wait, EINVAL, what);
	}
	wait = good;
	wait.vector = info.vectors;
	refused(fd, &wait, EINVAL, "vector past the end");
	wait.vector = 0x10000;
	refused(fd, &wait, EINVAL, "vector 0x10000");
	wait.vector = IVSHMEM_ANY_VECTOR - 1;
	refused(fd, &wait, EINVAL, "vector 0xfffffffe");
}

static void test_fault(int fd)
{
	struct ivshmem_wait wait = { .count = dev_count(fd, 0) };
	char *fence = dev_fence(1);

	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, -1L), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, fence), EFAULT);
	memcpy(fence - sizeof(wait) + 1, &wait, sizeof(wait) - 1);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, fence - sizeof(wait) + 1), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, dev_readonly(&wait, sizeof(wait))),
		     EFAULT);
	memcpy(fence - sizeof(wait), &wait, sizeof(wait));
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, fence - sizeof(wait)), ETIMEDOUT);
}

/* A count that differs: at once, whatever the timeout; and only it changes. */
static void test_differs(int fd)
{
	const uint64_t timeouts[] = { 0, 1, tap_now() + DEV_LONG, UINT64_MAX };
	uint64_t count = dev_count(fd, second);
	const uint64_t counts[] = { count - 1, count + 1, count + 1000,
				    count ^ 1ULL << 32, count ^ 1ULL << 63 };
	unsigned int i, j;

	for (i = 0; i < sizeof(timeouts) / sizeof(*timeouts); i++) {
		for (j = 0; j < sizeof(counts) / sizeof(*counts); j++) {
			struct ivshmem_wait wait = {
				.count = counts[j],
				.timeout_ns = timeouts[i],
				.busy_ns = 123,
				.vector = second,
				.doorbell = 0xcccccccc,
			}, wanted = wait;

			wanted.count = count;
			EXPECT_EQ(ioctl(fd, IVSHMEM_WAIT, &wait), 0);
			EXPECT_EQ(memcmp(&wait, &wanted, sizeof(wait)), 0);
		}
	}
}

static void test_timeout(int fd)
{
	static const uint64_t busy[] = { 0, 1, 5 * MS, UINT64_MAX };
	static const uint32_t vectors[] = { 0, IVSHMEM_ANY_VECTOR };
	unsigned int i, j;

	for (i = 0; i < sizeof(busy) / sizeof(*busy); i++) {
		for (j = 0; j < 2; j++) {
			struct ivshmem_wait wait = {
				.busy_ns = busy[i],
				.vector = vectors[j],
			};
			uint64_t count, start, end;

			count = dev_count(fd, wait.vector);
			wait.count = count;
			start = tap_now();
			EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ETIMEDOUT);
			wait.timeout_ns = 1;
			EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ETIMEDOUT);
			wait.timeout_ns = start;
			EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ETIMEDOUT);
			EXPECT(tap_now() < start + LATE);

			wait.timeout_ns = tap_now() + 30 * MS;
			EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ETIMEDOUT);
			end = tap_now();
			EXPECT(end >= wait.timeout_ns);
			EXPECT(end < wait.timeout_ns + LATE);
			EXPECT_EQ(wait.count, count);
		}
	}
}

/* In a time namespace that is 2 s ahead, times are those of the initial one. */
static int in_namespace(int fd)
{
	struct ivshmem_wait wait = { .count = dev_count(fd, 0) };
	uint64_t start = tap_now();

	wait.timeout_ns = start - 2 * TAP_SECOND + 30 * MS;
	return ioctl(fd, IVSHMEM_WAIT, &wait) != -1 || errno != ETIMEDOUT ||
	       tap_now() < start + 30 * MS || tap_now() > start + LATE;
}

static void test_namespace(int fd)
{
	static const char offset[] = "monotonic 2 0";
	pid_t child = fork();
	int offsets, status;

	NEED(child >= 0);
	if (!child) {
		if (unshare(CLONE_NEWTIME))
			_exit(100);
		offsets = open("/proc/self/timens_offsets", O_WRONLY);
		NEED(write(offsets, offset, sizeof(offset) - 1) > 0);
		/* It is for those who are born from now on. */
		child = fork();
		NEED(child >= 0);
		if (!child)
			_exit(in_namespace(fd));
		NEED(waitpid(child, &status, 0) == child);
		_exit(status != 0);
	}
	NEED(waitpid(child, &status, 0) == child);
	NEED(WIFEXITED(status));
	if (WEXITSTATUS(status) == 100)
		tap_note("the kernel has no time namespaces");
	else
		EXPECT_EQ(WEXITSTATUS(status), 0);
}

/* Asleep, with each kind of timeout that does not end it, until it rings. */
static void test_sleep(int fd)
{
	const uint64_t timeouts[] = {
		IVSHMEM_WAIT_FOREVER, IVSHMEM_WAIT_FOREVER - 1, 1ULL << 63,
		INT64_MAX, INT64_MAX - 1, tap_now() + 2 * DEV_LONG,
	};
	const uint32_t vectors[] = { second, IVSHMEM_ANY_VECTOR };
	unsigned int i, j;

	for (i = 0; i < sizeof(timeouts) / sizeof(*timeouts); i++) {
		for (j = 0; j < 2; j++) {
			struct ivshmem_wait wait = {
				.count = dev_count(fd, vectors[j]),
				.timeout_ns = timeouts[i],
				.vector = vectors[j],
			};
			struct dev_call c = {
				.call = dev_call_wait, .fd = fd, .arg = &wait,
			};
			uint64_t count = wait.count;

			dev_call_start(&c);
			dev_call_asleep(&c, SYS_ioctl);
			EXPECT_EQ(dev_ring(fd, info.position, second), 0);
			NEED(dev_call_end(&c, DEV_LONG));
			EXPECT_EQ(c.ret, 0);
			EXPECT_EQ(wait.count, count + 1);
			EXPECT_EQ(wait.timeout_ns, timeouts[i]);
		}
	}
}

/* Each of many that wait for one vector is woken, and of another none. */
static void test_others(int fd)
{
	struct ivshmem_wait waits[8], other = { .vector = 0 };
	struct dev_call calls[8], idle = {
		.call = dev_call_wait, .fd = fd, .arg = &other,
	};
	unsigned int i, woken = 0;

	other.count = dev_count(fd, 0);
	other.timeout_ns = IVSHMEM_WAIT_FOREVER;
	dev_call_start(&idle);
	dev_call_asleep(&idle, SYS_ioctl);
	for (i = 0; i < 8; i++) {
		waits[i] = (struct ivshmem_wait){
			.count = dev_count(fd, second),
			.timeout_ns = IVSHMEM_WAIT_FOREVER,
			.vector = second,
		};
		calls[i] = (struct dev_call){
			.call = dev_call_wait, .arg = &waits[i],
			.fd = i % 2 ? fd : dev_open(O_RDONLY),
		};
		dev_call_start(&calls[i]);
	}
	for (i = 0; i < 8; i++)
		dev_call_asleep(&calls[i], SYS_ioctl);
	EXPECT_EQ(dev_ring(fd, info.position, second), 0);
	for (i = 0; i < 8; i++) {
		NEED(dev_call_end(&calls[i], DEV_LONG));
		woken += calls[i].ret == 0;
		if (calls[i].fd != fd)
			close(calls[i].fd);
	}
	EXPECT_EQ(woken, 8);
	EXPECT(!dev_call_end(&idle, 20 * MS));
	EXPECT_EQ(dev_ring(fd, info.position, 0), 0);
	NEED(dev_call_end(&idle, DEV_LONG));
	EXPECT_EQ(idle.ret, 0);
	EXPECT_EQ(other.count, dev_count(fd, 0));
}

/* The count of one call is the start of the next. */
static void test_sequence(int fd)
{
	struct ivshmem_wait wait = { .vector = second };
	unsigned int i, bad = 0;

	wait.count = dev_count(fd, second);
	for (i = 0; i < 200; i++) {
		uint64_t before = wait.count;

		wait.timeout_ns = tap_now() + DEV_LONG;
		bad += dev_ring(fd, info.position, second) != 0;
		bad += ioctl(fd, IVSHMEM_WAIT, &wait) != 0;
		bad += wait.count != before + 1;
	}
	EXPECT_EQ(bad, 0);

	/* What came before the call is not lost. */
	dev_ring_self(fd, second);
	dev_ring_self(fd, second);
	wait.timeout_ns = 0;
	EXPECT_EQ(ioctl(fd, IVSHMEM_WAIT, &wait), 0);
	EXPECT_EQ(wait.count, dev_count(fd, second));
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ETIMEDOUT);
}

static void test_any(int fd)
{
	uint64_t sum = 0, any;
	uint32_t v;

	for (v = 0; v < info.vectors; v++)
		sum += dev_count(fd, v);
	any = dev_count(fd, IVSHMEM_ANY_VECTOR);
	EXPECT_EQ(any, sum);
	for (v = 0; v < info.vectors; v++) {
		EXPECT_EQ(dev_ring(fd, info.position, v), 0);
		EXPECT_EQ(dev_wait(fd, IVSHMEM_ANY_VECTOR, &any, DEV_LONG), 0);
		EXPECT_EQ(any, ++sum);
	}
	EXPECT_ERRNO(dev_wait(fd, IVSHMEM_ANY_VECTOR, &any, 0), ETIMEDOUT);
}

/* Waiting and reading do not know of each other. */
static void test_apart(int fd)
{
	struct ivshmem_event events[8];
	uint64_t count;
	int reader = dev_open(O_RDONLY | O_NONBLOCK);

	count = dev_ring_self(fd, 0);
	EXPECT_EQ(dev_count(reader, 0), count);
	EXPECT_EQ(read(reader, events, sizeof(events)), sizeof(*events));
	EXPECT_EQ(events[0].count, count);
	count--;
	EXPECT_EQ(dev_wait(reader, 0, &count, 0), 0);
	/* That a file does not block is said of read(). */
	EXPECT_ERRNO(dev_wait(reader, 0, &count, 20 * MS), ETIMEDOUT);
	close(reader);
}

static void test_ring(int fd)
{
	const uint32_t self = IVSHMEM_DOORBELL(info.position, second);
	struct ivshmem_wait wait = {
		.count = dev_count(fd, second),
		.timeout_ns = tap_now() + DEV_LONG,
		.vector = second,
		.flags = IVSHMEM_WAIT_RING,
		.doorbell = self,
	};
	uint64_t before = wait.count;
	int reader = dev_open(O_RDONLY);

	EXPECT_EQ(ioctl(fd, IVSHMEM_WAIT, &wait), 0);
	EXPECT_EQ(wait.count, before + 1);
	EXPECT_EQ(wait.flags, 0);
	EXPECT_EQ(wait.doorbell, self);

	/* The same struct once more waits and does not ring. */
	wait.timeout_ns = tap_now() + 20 * MS;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ETIMEDOUT);
	EXPECT_EQ(wait.count, before + 1);

	/* It rings even when there is nothing to wait for. */
	wait.count = before;
	wait.flags = IVSHMEM_WAIT_RING;
	EXPECT_EQ(ioctl(fd, IVSHMEM_WAIT, &wait), 0);
	EXPECT_EQ(wait.flags, 0);
	before++;
	EXPECT_WITHIN(dev_count(fd, second) == before + 1, 10000);

	/* Nobody answers. */
	wait.count = before + 1;
	wait.flags = IVSHMEM_WAIT_RING;
	wait.doorbell = IVSHMEM_DOORBELL(IVSHMEM_MAX_PEER, second);
	wait.timeout_ns = tap_now() + 20 * MS;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ETIMEDOUT);
	EXPECT_EQ(wait.flags, 0);

	/* The struct can be read only, which is noticed after that. */
	wait.count = dev_count(fd, second);
	wait.flags = IVSHMEM_WAIT_RING;
	wait.doorbell = self;
	wait.timeout_ns = tap_now() + DEV_LONG;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, dev_readonly(&wait, sizeof(wait))),
		     EFAULT);
	EXPECT_EQ(dev_count(fd, second), wait.count + 1);

	/* Errors of ringing. */
	wait.flags = IVSHMEM_WAIT_RING;
	wait.timeout_ns = tap_now() + DEV_LONG;
	wait.doorbell = IVSHMEM_DOORBELL(info.position, info.vectors);
	if (info.irq_mode == IVSHMEM_IRQ_MSIX)
		refused(fd, &wait, EINVAL, "ring past the end");
	wait.doorbell = self;
	refused(reader, &wait, EPERM, "ring through a file opened to read");
	/* Of waiting: then it does not ring. */
	wait.vector = info.vectors;
	refused(fd, &wait, EINVAL, "ring, but wait past the end");
	wait.vector = second;
	wait.reserved[1] = 1;
	refused(fd, &wait, EINVAL, "ring with reserved field");
	EXPECT(dev_quiet(fd, 50));

	/* The doorbell is of no interest without the flag. */
	wait = (struct ivshmem_wait){
		.count = dev_count(fd, second), .vector = second,
		.doorbell = 0xffffffff,
	};
	EXPECT_ERRNO(ioctl(reader, IVSHMEM_WAIT, &wait), ETIMEDOUT);
	wait.doorbell = self;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ETIMEDOUT);
	EXPECT(dev_quiet(fd, 20));
	close(reader);
}

/* Polling before the sleep changes nothing but the time it takes. */
static void test_busy(int fd)
{
	static const uint64_t busy[] = { 1, 1000, 100 * MS, UINT64_MAX };
	unsigned int i;

	for (i = 0; i < sizeof(busy) / sizeof(*busy); i++) {
		struct ivshmem_wait wait = {
			.count = dev_count(fd, 0),
			.timeout_ns = tap_now() + DEV_LONG,
			.busy_ns = busy[i],
			.flags = IVSHMEM_WAIT_RING,
			.doorbell = IVSHMEM_DOORBELL(info.position, 0),
		};
		uint64_t before = wait.count;

		EXPECT_EQ(ioctl(fd, IVSHMEM_WAIT, &wait), 0);
		EXPECT_EQ(wait.count, before + 1);
		EXPECT_EQ(wait.busy_ns, busy[i]);
	}
}

int main(int argc, char **argv)
{
	int fd;

	tap_start(argc, argv, 120);
	fd = dev_open(O_RDWR);
	info = dev_info(fd);
	NEED(info.vectors);
	second = dev_second(&info);
	test_invalid(fd);
	test_fault(fd);
	test_differs(fd);
	test_timeout(fd);
	test_namespace(fd);
	test_sleep(fd);
	if (second)
		test_others(fd);
	test_sequence(fd);
	test_any(fd);
	test_apart(fd);
	test_ring(fd);
	test_busy(fd);
	return tap_finish();
}
