// SPDX-License-Identifier: MIT
/*
 * Every vector that the device was granted works, and no other can be waited
 * for. Prints how many there are.
 *
 *	vectors DEVICE VECTORS [new]	that the device has, of which it may use
 *					fewer; and whether none has interrupted yet
 */
#include "irq.h"

/* Bitmap and eventfds reach the last vector, and none beside it. */
static void test_each(int fd, unsigned int nr)
{
	static uint64_t words[IVSHMEM_MAX_VECTORS / 64];
	struct ivshmem_subscribe req = {
		.bitmap = (uintptr_t)words, .bits = IVSHMEM_MAX_VECTORS,
	};
	static struct ivshmem_event events[IVSHMEM_MAX_VECTORS];
	const unsigned int some[] = { 0, 63, 64, 127, 128, 1024, nr - 1 };
	unsigned int i, v, bad = 0;
	int efd = irq_eventfd();

	for (i = 0; i < sizeof(some) / sizeof(*some); i++) {
		unsigned int one = some[i] < nr ? some[i] : nr - 1;

		memset(words, 0, sizeof(words));
		words[one / 64] = UINT64_C(1) << one % 64;
		bad += ioctl(fd, IVSHMEM_SUBSCRIBE, &req) != 0;
		bad += irq_bind(fd, one, efd) != 0;
		for (v = 0; v < nr; v++)
			dev_ring_self(fd, v);
		irq_settle();
		bad += irq_take(efd) != 1;
		bad += read(fd, events, sizeof(events)) != sizeof(*events);
		bad += events[0].vector != one;
		bad += irq_bind(fd, one, -1) != 0;
	}
	EXPECT_EQ(bad, 0);

	/* The first that is not there. */
	if (nr < IVSHMEM_MAX_VECTORS) {
		words[nr / 64] |= UINT64_C(1) << nr % 64;
		EXPECT_ERRNO(ioctl(fd, IVSHMEM_SUBSCRIBE, &req), EINVAL);
		EXPECT_ERRNO(irq_bind(fd, nr, efd), EINVAL);
	}
	close(efd);
}

int main(int argc, char **argv)
{
	static struct ivshmem_event events[IVSHMEM_MAX_VECTORS];
	static uint64_t before[IVSHMEM_MAX_VECTORS];
	unsigned int v, has, bad = 0, silent = 0, wrong = 0;
	struct ivshmem_wait wait = { 0 };
	struct ivshmem_info info;
	uint64_t all;
	int fd;

	tap_start(argc, argv, 120);
	NEED(argc == 3 || argc == 4);
	has = atoi(argv[2]);
	fd = dev_open(O_RDWR | O_NONBLOCK);
	info = dev_info(fd);
	tap_note("vectors: %u", info.vectors);
	EXPECT(info.vectors >= 1 && info.vectors <= has);

	all = dev_count(fd, IVSHMEM_ANY_VECTOR);
	for (v = 0; v < info.vectors; v++)
		before[v] = dev_count(fd, v);
	if (argc == 4) {
		for (v = 0; v < info.vectors; v++)
			bad += before[v] != 0;
		EXPECT_EQ(bad, 0);
		EXPECT_EQ(all, 0);
	}

	/* One after the other: each counts, no other one does. */
	for (v = 0; v < info.vectors; v++) {
		uint64_t count = dev_count(fd, v);
		uint64_t any = dev_count(fd, IVSHMEM_ANY_VECTOR);

		bad += count != before[v];
		bad += dev_ring(fd, info.position, v) != 0;
		silent += dev_wait(fd, v, &count, DEV_LONG) != 0;
		bad += count != before[v] + 1;
		bad += dev_count(fd, IVSHMEM_ANY_VECTOR) != any + 1;
	}
	EXPECT_EQ(silent, 0);
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(read(fd, events, sizeof(events)),
		  info.vectors * sizeof(*events));
	for (v = 0; v < info.vectors; v++)
		wrong += events[v].vector != v ||
			 events[v].count != before[v] + 1;
	EXPECT_EQ(wrong, 0);

	/* All at once. */
	for (v = 0; v < info.vectors; v++)
		bad += dev_ring(fd, info.position, v) != 0;
	for (v = 0; v < info.vectors; v++) {
		uint64_t count = before[v] + 1;

		bad += dev_wait(fd, v, &count, DEV_LONG) != 0;
		bad += count != before[v] + 2;
	}
	EXPECT_EQ(bad, 0);

	/* A vector that was not granted here is still one that peers have. */
	for (v = info.vectors; v < has; v++) {
		bad += dev_ring(fd, info.position, v) != 0;
		wait.vector = v;
		bad += ioctl(fd, IVSHMEM_WAIT, &wait) != -1 || errno != EINVAL;
	}
	EXPECT_EQ(bad, 0);
	EXPECT_ERRNO(dev_ring(fd, info.position, has), EINVAL);
	wait.vector = has;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), EINVAL);
	EXPECT(dev_quiet(fd, 50));
	EXPECT_EQ(dev_count(fd, IVSHMEM_ANY_VECTOR), all + 2 * info.vectors);
	test_each(fd, info.vectors);
	return tap_finish();
}
