// SPDX-License-Identifier: MIT
/*
 * Two devices of one machine that are peers of each other, with interrupt pins:
 *
 *	intx_pair NODE NODE ROUNDS
 *
 * Each of ROUNDS rings there and back is heard exactly once. Then one side rings
 * as fast as it can: rings may become one interrupt, but what was written to the
 * memory before the last of them is always noticed.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/ivshmem.h>

#include "tap.h"

#define PATIENCE	(20 * TAP_SECOND)

struct side {
	int fd;
	struct ivshmem_info info;
	volatile uint64_t *mem;
	uint64_t count;
};

static void side_open(struct side *side, const char *node)
{
	struct ivshmem_wait wait = { .count = UINT64_MAX };

	side->fd = open(node, O_RDWR | O_NONBLOCK);
	NEED(side->fd >= 0);
	NEED(!ioctl(side->fd, IVSHMEM_GET_INFO, &side->info));
	EXPECT_EQ(side->info.irq_mode, IVSHMEM_IRQ_INTX);
	EXPECT_EQ(side->info.vectors, 1);
	EXPECT_EQ(side->info.features,
		  IVSHMEM_FEATURE_DOORBELL | IVSHMEM_FEATURE_INTERRUPT);
	side->mem = mmap(NULL, side->info.size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, side->fd, 0);
	NEED(side->mem != MAP_FAILED);
	NEED(!ioctl(side->fd, IVSHMEM_WAIT, &wait));
	side->count = wait.count;
}

static bool side_ring(struct side *side, const struct side *peer)
{
	return !ioctl(side->fd, IVSHMEM_RING_DOORBELL,
		      IVSHMEM_DOORBELL(peer->info.position, 1));
}

/* Waits until there was an interrupt since the last time. */
static bool side_hears(struct side *side)
{
	struct ivshmem_wait wait = {
		.count = side->count,
		.timeout_ns = tap_now() + PATIENCE,
	};

	if (ioctl(side->fd, IVSHMEM_WAIT, &wait))
		return false;
	side->count = wait.count;
	return true;
}

static void test_rounds(struct side *a, struct side *b, unsigned int rounds)
{
	uint64_t begin_a = a->count, begin_b = b->count;
	struct ivshmem_event event;
	unsigned int i;

	for (i = 0; i < rounds; i++) {
		if (!side_ring(a, b) || !side_hears(b))
			break;
		if (!side_ring(b, a) || !side_hears(a))
			break;
	}
	EXPECT_EQ(i, rounds);
	EXPECT_EQ(a->count - begin_a, rounds);
	EXPECT_EQ(b->count - begin_b, rounds);

	POISON(event);
	EXPECT_EQ(read(b->fd, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(event.vector, 0);
	EXPECT_EQ(event.flags, 0);
	EXPECT_EQ(event.status, 1);
	EXPECT_EQ(event.count, b->count);
	EXPECT_ERRNO(read(b->fd, &event, sizeof(event)), EAGAIN);
}

static struct side sides[2];
static unsigned int storm_length;
static bool storm_rang = true;

static void *storm(void *arg)
{
	unsigned int i;

	for (i = 1; i <= storm_length; i++) {
		__atomic_store_n(sides[0].mem, i, __ATOMIC_SEQ_CST);
		if (!side_ring(&sides[0], &sides[1]))
			storm_rang = false;
	}
	return arg;
}

static void test_storm(unsigned int rings)
{
	uint64_t seen = 0, begin = sides[1].count;
	pthread_t thread;

	storm_length = rings;
	*sides[0].mem = 0;
	NEED(!pthread_create(&thread, NULL, storm, NULL));
	while (seen < rings && side_hears(&sides[1]))
		seen = __atomic_load_n(sides[1].mem, __ATOMIC_SEQ_CST);
	NEED(!pthread_join(thread, NULL));
	EXPECT(storm_rang);
	EXPECT_EQ(seen, rings);
	tap_note("%llu interrupts for %u rings",
		 (unsigned long long)(sides[1].count - begin), rings);
	EXPECT(sides[1].count - begin <= rings);
}

int main(int argc, char **argv)
{
	unsigned int rounds;

	tap_start(argc, argv, 500);
	NEED(argc == 4);
	rounds = strtoul(argv[3], NULL, 10);
	side_open(&sides[0], argv[1]);
	side_open(&sides[1], argv[2]);
	test_rounds(&sides[0], &sides[1], rounds);
	test_storm(rounds / 4);
	return tap_finish();
}
