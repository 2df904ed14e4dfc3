// SPDX-License-Identifier: MIT
/*
 * Programs in several VMs that share memory and ring each other.
 *
 *	peers DEVICE RUN ping PEER ROUNDS	fills a message, rings, checks the
 *						answer
 *	peers DEVICE RUN pong PEER ROUNDS	answers
 *	peers DEVICE RUN mesh PEER...		rings each of the others in turn,
 *						and hears each of them
 *
 * The two of a pair, or all of a mesh, are started at the same time, with the
 * same number of the run, which is another each time.
 */
#include <sched.h>

#include "dev.h"

#define MESSAGE		1024	/* words */
#define PATIENCE	(60 * TAP_SECOND)
#define MESH_ROUNDS	200

static int fd;
static struct ivshmem_info info;

#define MAX_POSITION	64

/* The first pages of the shared memory, each slot written by its owner only. */
static struct board {
	uint32_t present[MAX_POSITION];		/* number of the run */
	uint32_t heard[MAX_POSITION][MAX_POSITION];	/* rings from whom */
} *board;
static uint64_t *boxes[2];
static uint32_t run;

static void map_all(void)
{
	char *mem = dev_map(fd, info.size, 0);

	board = (struct board *)mem;
	boxes[0] = (uint64_t *)(mem + sizeof(*board));
	/* The other box ends with the last byte of the memory. */
	boxes[1] = (uint64_t *)(mem + info.size) - MESSAGE;
}

/* Waits until another VM has stored a value. */
static void await(const uint32_t *slot, uint32_t value)
{
	uint64_t end = tap_now() + PATIENCE;

	while (__atomic_load_n(slot, __ATOMIC_ACQUIRE) != value) {
		if (tap_now() > end)
			tap_bail("a peer does not come: %u, not %u", *slot, value);
		sched_yield();
	}
}

/* Waits until a peer is there. */
static void meet(uint32_t peer)
{
	__atomic_store_n(&board->present[info.position], run, __ATOMIC_RELEASE);
	await(&board->present[peer], run);
}

/* Plain stores: the ring is what orders them before the peer's loads. */
static void fill(uint64_t *box, uint64_t seed)
{
	unsigned int i;

	for (i = 0; i < MESSAGE; i++)
		box[i] = seed * 0x9e3779b97f4a7c15 + i;
}

static unsigned int differ(const uint64_t *box, uint64_t seed)
{
	unsigned int i, bad = 0;

	for (i = 0; i < MESSAGE; i++)
		bad += box[i] != seed * 0x9e3779b97f4a7c15 + i;
	return bad;
}

static void ping(uint32_t peer, unsigned int rounds, bool first)
{
	uint64_t count = dev_count(fd, 1), start = count;
	uint64_t any = dev_count(fd, IVSHMEM_ANY_VECTOR);
	unsigned int round, bad = 0, wrong = 0;

	NEED(peer < MAX_POSITION && peer != info.position);
	meet(peer);
	for (round = 1; round <= rounds && !bad; round++) {
		if (first) {
			fill(boxes[0], round);
			bad += dev_ring(fd, peer, 1) != 0;
		}
		/* Each waits for the other, so each ring is one interrupt. */
		bad += dev_wait(fd, 1, &count, PATIENCE) != 0;
		bad += count != start + round;
		wrong += differ(boxes[first], first ? ~round : round);
		if (!first) {
			fill(boxes[1], ~round);
			bad += dev_ring(fd, peer, 1) != 0;
		}
	}
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(wrong, 0);
	EXPECT_EQ(round, rounds + 1);
	EXPECT_EQ(dev_count(fd, IVSHMEM_ANY_VECTOR), any + rounds);
}

/*
 * Everyone rings everyone else, on the vector that is its own number in the list
 * of arguments; and again once the other has heard it, so that no two rings
 * become one interrupt.
 */
static void mesh(int nr, char **peers)
{
	uint32_t position[8], *heard = board->heard[info.position];
	uint64_t counts[8], starts[8], wanted;
	int i, self = -1, bad = 0;
	unsigned int round;

	NEED(nr <= 8 && nr <= (int)info.vectors);
	for (i = 0; i < nr; i++) {
		starts[i] = dev_count(fd, i);
		counts[i] = starts[i];
		position[i] = atoi(peers[i]);
		NEED(position[i] < MAX_POSITION);
		heard[position[i]] = 0;
		if (position[i] == info.position)
			self = i;
	}
	NEED(self >= 0);
	for (i = 0; i < nr; i++)
		meet(position[i]);
	for (round = 1; round <= MESH_ROUNDS && !bad; round++) {
		for (i = 0; i < nr; i++) {
			if (i == self)
				continue;
			await(&board->heard[position[i]][info.position], round - 1);
			bad += dev_ring(fd, position[i], self) != 0;
		}
		for (i = 0; i < nr; i++) {
			if (i == self)
				continue;
			bad += dev_wait(fd, i, &counts[i], PATIENCE) != 0;
			bad += counts[i] != starts[i] + round;
			__atomic_store_n(&heard[position[i]], round,
					 __ATOMIC_RELEASE);
		}
	}
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(round, MESH_ROUNDS + 1);
	for (i = 0; i < nr; i++) {
		wanted = starts[i] + (i == self ? 0 : MESH_ROUNDS);
		EXPECT_EQ(dev_count(fd, i), wanted);
	}
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 150);
	NEED(argc >= 6);
	run = atoi(argv[2]);
	fd = dev_open(O_RDWR);
	info = dev_info(fd);
	NEED(info.position < MAX_POSITION);
	map_all();
	if (!strcmp(argv[3], "mesh"))
		mesh(argc - 4, argv + 4);
	else
		ping(atoi(argv[4]), atoi(argv[5]), !strcmp(argv[3], "ping"));
	return tap_finish();
}
