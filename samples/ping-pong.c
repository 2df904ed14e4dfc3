// SPDX-License-Identifier: MIT
/*
 * How long does it take to ask a peer and to have its answer?
 *
 *	peer 1:		ping-pong pong 0
 *	peer 0:		ping-pong ping 1
 *
 * Both ends need a device of the same ivshmem-server. The question is a number
 * in the shared memory, the answer the same number beside it; a doorbell tells
 * the other end to look.
 */
#include <err.h>
#include <fcntl.h>
#include <ivshmem.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define VECTOR		0
#define OFFSET		4096	/* where in the memory the numbers are */
#define TIMEOUT		(30 * INT64_C(1000000000))

struct table {
	atomic_uint question;
	atomic_uint answer;
};

static struct ivshmem *ivs;
static struct table *table;
static unsigned int peer;

static void ring_peer(void)
{
	if (ivshmem_ring(ivs, peer, VECTOR))
		err(EXIT_FAILURE, "ring peer %u", peer);
}

/*
 * Looks before it sleeps, and again after each interrupt: an interrupt says
 * that something has happened, what it was stands in the memory. None is missed
 * in between, since *count was taken before the look.
 */
static void await(atomic_uint *where, unsigned int value,
		  uint64_t *count)
{
	while (atomic_load(where) != value)
		if (ivshmem_wait(ivs, VECTOR, count, TIMEOUT))
			err(EXIT_FAILURE, "wait for number %u", value);
}

static void pong(unsigned int rounds, uint64_t count)
{
	unsigned int i;

	for (i = 1; i <= rounds; i++) {
		await(&table->question, i, &count);
		atomic_store(&table->answer, i);
		ring_peer();
	}
}

static int compare(const void *left, const void *right)
{
	const double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static void ping(unsigned int rounds, uint64_t count)
{
	double *took = calloc(rounds, sizeof(*took));
	unsigned int i;

	if (!took)
		err(EXIT_FAILURE, "memory");
	for (i = 0; i < rounds; i++) {
		double start = now_us();

		atomic_store(&table->question, i + 1);
		ring_peer();
		await(&table->answer, i + 1, &count);
		took[i] = now_us() - start;
	}
	qsort(took, rounds, sizeof(*took), compare);
	printf("%u round trips: median %.0f us, fastest %.0f, slowest %.0f\n",
	       rounds, took[rounds / 2], took[0], took[rounds - 1]);
	free(took);
}

int main(int argc, char **argv)
{
	const char *device = argc > 4 ? argv[4] : "/dev/ivshmem0";
	unsigned int rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 100;
	uint64_t count;

	if (argc < 3 || !rounds ||
	    (strcmp(argv[1], "ping") && strcmp(argv[1], "pong")))
		errx(EXIT_FAILURE, "usage: ping-pong ping|pong PEER [ROUNDS [DEVICE]]");
	peer = strtoul(argv[2], NULL, 10);

	ivs = ivshmem_open(device, O_RDWR);
	if (!ivs || ivshmem_count(ivs, VECTOR, &count))
		err(EXIT_FAILURE, "%s", device);
	table = ivshmem_map(ivs, OFFSET, sizeof(*table), PROT_READ | PROT_WRITE);
	if (!table)
		err(EXIT_FAILURE, "map");

	if (!strcmp(argv[1], "ping")) {
		ping(rounds, count);
	} else {
		/* What an earlier run has left would pass for this one's. */
		atomic_store(&table->question, 0);
		atomic_store(&table->answer, 0);
		puts("ready");
		fflush(stdout);
		pong(rounds, count);
	}
	ivshmem_unmap(table, sizeof(*table));
	ivshmem_close(ivs);
	return 0;
}
