// SPDX-License-Identifier: MIT
/*
 * read(), readv() and O_NONBLOCK. Needs a device that nobody else rings meanwhile.
 */
#include <sys/uio.h>

#include "dev.h"

#define SIZE	sizeof(struct ivshmem_event)

static struct ivshmem_info info;

/* A vector, or where there are fewer, one that there is. */
static unsigned int at(unsigned int v)
{
	return v % info.vectors;
}

static void set_nonblock(int fd, bool on)
{
	NEED(fcntl(fd, F_SETFL, on ? O_NONBLOCK : 0) == 0);
}

/* Bytes of a buffer that are still poison, from its end. */
static size_t poison_left(const void *buf, size_t size)
{
	const unsigned char *p = buf;
	size_t n = 0;

	while (n < size && p[size - 1 - n] == 0xcc)
		n++;
	return n;
}

static bool event_is(const struct ivshmem_event *event, unsigned int vector,
		     uint64_t count)
{
	return event->vector == vector && event->flags == 0 &&
	       event->status == dev_status(&info) && event->count == count;
}

static void test_size(int fd)
{
	unsigned char buf[2 * SIZE];
	unsigned int i;

	/* Too small, whether there is an event or not. */
	for (i = 0; i < SIZE; i++)
		EXPECT_ERRNO(read(fd, buf, i), EINVAL);
	dev_ring_self(fd, 0);
	EXPECT_ERRNO(read(fd, buf, 0), EINVAL);
	EXPECT_ERRNO(read(fd, buf, SIZE - 1), EINVAL);

	/* Whole events only, and nothing behind them. */
	POISON(buf);
	EXPECT_EQ(read(fd, buf, SIZE), SIZE);
	EXPECT_EQ(poison_left(buf, sizeof(buf)), SIZE);
	for (i = SIZE + 1; i < 2 * SIZE; i++) {
		dev_ring_self(fd, 0);
		dev_ring_self(fd, at(1));
		POISON(buf);
		EXPECT_EQ(read(fd, buf, i), SIZE);
		EXPECT_EQ(poison_left(buf, sizeof(buf)), SIZE);
		if (at(1))
			EXPECT_EQ(read(fd, buf, i), SIZE);
		EXPECT_ERRNO(read(fd, buf, i), EAGAIN);
	}
}

static void test_nonblock(int fd)
{
	struct ivshmem_event event;
	uint64_t count;

	POISON(event);
	EXPECT_ERRNO(read(fd, &event, SIZE), EAGAIN);
	EXPECT_EQ(poison_left(&event, SIZE), SIZE);
	count = dev_ring_self(fd, at(2));
	EXPECT_EQ(read(fd, &event, SIZE), SIZE);
	EXPECT(event_is(&event, at(2), count));
	EXPECT_ERRNO(read(fd, &event, SIZE), EAGAIN);
	/* A bad buffer is no matter while there is nothing to put into it. */
	EXPECT_ERRNO(read(fd, dev_fence(1), SIZE), EAGAIN);
	/* The file offset plays no part. */
	count = dev_ring_self(fd, at(2));
	EXPECT_EQ(pread(fd, &event, SIZE, 4096), SIZE);
	EXPECT(event_is(&event, at(2), count));
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
}

/* Rings of one vector add up in one event; of several, each has its own. */
static void test_vectors(int fd)
{
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];
	uint64_t counts[IVSHMEM_MAX_VECTORS];
	unsigned int v, i, bad = 0, nr = info.vectors;
	unsigned char seen[IVSHMEM_MAX_VECTORS] = "";

	for (v = 0; v < nr; v++) {
		for (i = 0; i <= v % 3; i++)
			counts[v] = dev_ring_self(fd, v);
	}
	POISON(events);
	EXPECT_EQ(read(fd, events, sizeof(events)), nr * SIZE);
	for (i = 0; i < nr; i++) {
		v = events[i].vector;
		bad += v >= nr || seen[v]++ || !event_is(&events[i], v, counts[v]);
	}
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(poison_left(events, sizeof(events)), sizeof(events) - nr * SIZE);

	/* A small buffer gets round to all, though one of them keeps ringing. */
	memset(seen, 0, sizeof(seen));
	for (v = 0; v < nr; v++)
		dev_ring_self(fd, v);
	for (i = 0; i < nr; i++) {
		bad += read(fd, events, SIZE) != SIZE || events[0].vector >= nr;
		if (!bad)
			seen[events[0].vector]++;
		dev_ring_self(fd, 0);
	}
	for (v = 0; v < nr; v++)
		bad += seen[v] != 1;
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(read(fd, events, sizeof(events)), SIZE);
	EXPECT(event_is(&events[0], 0, dev_count(fd, 0)));
}

/* Each open file has its own view, which starts with the open. */
static void test_files(int fd)
{
	int early = dev_open(O_RDONLY | O_NONBLOCK);
	int twin = dup(early);
	struct ivshmem_event event;
	uint64_t count = dev_ring_self(fd, at(1));
	int late = dev_open(O_RDONLY | O_NONBLOCK);

	EXPECT_EQ(read(fd, &event, SIZE), SIZE);
	EXPECT_ERRNO(read(late, &event, SIZE), EAGAIN);
	POISON(event);
	EXPECT_EQ(read(early, &event, SIZE), SIZE);
	EXPECT(event_is(&event, at(1), count));
	EXPECT_ERRNO(read(twin, &event, SIZE), EAGAIN);
	count = dev_ring_self(fd, at(1));
	EXPECT_EQ(read(twin, &event, SIZE), SIZE);
	EXPECT(event_is(&event, at(1), count));
	EXPECT_ERRNO(read(early, &event, SIZE), EAGAIN);
	EXPECT_EQ(read(late, &event, SIZE), SIZE);
	EXPECT(event_is(&event, at(1), count));
	close(early);
	close(twin);
	close(late);
	EXPECT_EQ(read(fd, &event, SIZE), SIZE);
}

/* A buffer that is bad costs an error and no event. */
static void test_fault(int fd)
{
	char *fence = dev_fence(1);
	struct ivshmem_event event, events[4];
	uint64_t count = dev_ring_self(fd, at(3)), first;
	struct iovec iov[2] = {
		{ fence - 8, 8 }, { fence, 8 },
	};

	EXPECT_ERRNO(read(fd, fence, SIZE), EFAULT);
	EXPECT_ERRNO(read(fd, fence - 1, SIZE), EFAULT);
	EXPECT_ERRNO(read(fd, fence - SIZE + 1, SIZE), EFAULT);
	EXPECT_ERRNO(read(fd, dev_readonly("", 1), SIZE), EFAULT);
	EXPECT_ERRNO(readv(fd, iov, 2), EFAULT);
	POISON(event);
	EXPECT_EQ(read(fd, &event, SIZE), SIZE);
	EXPECT(event_is(&event, at(3), count));
	EXPECT_ERRNO(read(fd, &event, SIZE), EAGAIN);

	if (info.vectors == 1)
		return;
	/* Room for one and a half: one comes, the other is not lost. */
	first = dev_ring_self(fd, 0);
	count = dev_ring_self(fd, at(1));
	EXPECT_EQ(read(fd, fence - SIZE - 8, 2 * SIZE), SIZE);
	memcpy(&events[0], fence - SIZE - 8, SIZE);
	EXPECT_EQ(read(fd, &events[1], 3 * SIZE), SIZE);
	if (events[0].vector == 0) {
		EXPECT(event_is(&events[0], 0, first));
		EXPECT(event_is(&events[1], 1, count));
	} else {
		EXPECT(event_is(&events[0], 1, count));
		EXPECT(event_is(&events[1], 0, first));
	}
	EXPECT_ERRNO(read(fd, &event, SIZE), EAGAIN);
}

/* The buffer may lie in the device's own memory. */
static void test_own_memory(int fd)
{
	char *mem = dev_map(fd, info.size, 0);
	uint64_t count = dev_ring_self(fd, at(1));
	struct ivshmem_event event;

	EXPECT_EQ(read(fd, mem + info.size - SIZE, SIZE), SIZE);
	memcpy(&event, mem + info.size - SIZE, SIZE);
	EXPECT(event_is(&event, at(1), count));
	munmap(mem, info.size);
}

static void test_readv(int fd)
{
	unsigned char buf[4 * SIZE];
	struct iovec split[] = {
		{ buf, 1 }, { buf + 1, 0 }, { buf + 1, 20 }, { buf + 21, 10 },
		{ buf + 31, 33 },
	};
	struct iovec small[] = { { buf, 8 }, { buf + 8, 7 } };
	struct ivshmem_event events[4];
	uint64_t counts[4];
	unsigned int i, bad = 0, nr = info.vectors < 4 ? info.vectors : 4;

	EXPECT_ERRNO(readv(fd, small, 2), EINVAL);
	EXPECT_ERRNO(readv(fd, split, 5), EAGAIN);
	for (i = 0; i < nr; i++)
		counts[i] = dev_ring_self(fd, i);
	EXPECT_ERRNO(readv(fd, small, 2), EINVAL);
	POISON(buf);
	EXPECT_EQ(readv(fd, split, 5), nr * SIZE);
	memcpy(events, buf, sizeof(events));
	for (i = 0; i < nr; i++)
		bad += !event_is(&events[i], events[i].vector,
				 counts[events[i].vector & 3]);
	EXPECT_EQ(bad, 0);

	counts[0] = dev_ring_self(fd, 0);
	small[1].iov_len = 8;
	POISON(buf);
	EXPECT_EQ(readv(fd, small, 2), SIZE);
	memcpy(events, buf, SIZE);
	EXPECT(event_is(&events[0], 0, counts[0]));
	EXPECT_EQ(poison_left(buf, sizeof(buf)), sizeof(buf) - SIZE);
}

static void test_block(int fd)
{
	struct ivshmem_event event;
	struct dev_call c = { .call = dev_call_read, .fd = fd, .arg = &event };
	uint64_t count;
	unsigned int i;

	for (i = 0; i < 20; i++) {
		POISON(event);
		dev_call_start(&c);
		dev_call_asleep(&c, SYS_read);
		count = dev_ring_self(fd, i % info.vectors);
		NEED(dev_call_end(&c, DEV_LONG));
		if (c.ret != SIZE || !event_is(&event, i % info.vectors, count))
			break;
	}
	EXPECT_EQ(i, 20);

	/* Not asleep when there is something already. */
	count = dev_ring_self(fd, at(1));
	EXPECT_EQ(read(fd, &event, SIZE), SIZE);
	EXPECT(event_is(&event, at(1), count));
}

/* Two that read one open file share its events. */
static void test_share(int fd)
{
	struct ivshmem_event events[2];
	struct dev_call c[2];
	unsigned int i, first;
	uint64_t counts[2], end;

	for (i = 0; i < 2; i++) {
		c[i] = (struct dev_call){
			.call = dev_call_read, .fd = fd, .arg = &events[i],
		};
		dev_call_start(&c[i]);
	}
	for (i = 0; i < 2; i++)
		dev_call_asleep(&c[i], SYS_read);
	counts[0] = dev_ring_self(fd, 0);
	end = tap_now() + DEV_LONG;
	for (first = 0; !dev_call_end(&c[first], 0); first = !first) {
		NEED(tap_now() < end);
		tap_pause();
	}
	EXPECT_EQ(c[first].ret, SIZE);
	EXPECT(event_is(&events[first], 0, counts[0]));
	dev_call_asleep(&c[!first], SYS_read);
	counts[1] = dev_ring_self(fd, at(1));
	NEED(dev_call_end(&c[!first], DEV_LONG));
	EXPECT_EQ(c[!first].ret, SIZE);
	EXPECT(event_is(&events[!first], at(1), counts[1]));
}

int main(int argc, char **argv)
{
	int fd;

	tap_start(argc, argv, 120);
	fd = dev_open(O_RDWR | O_NONBLOCK);
	info = dev_info(fd);
	NEED(info.vectors);
	test_nonblock(fd);
	test_size(fd);
	test_vectors(fd);
	test_files(fd);
	test_fault(fd);
	test_own_memory(fd);
	test_readv(fd);
	set_nonblock(fd, false);
	test_block(fd);
	test_share(fd);
	set_nonblock(fd, true);
	test_nonblock(fd);
	return tap_finish();
}
