// SPDX-License-Identifier: MIT
/*
 * A question and its answer with one system call each, and without going to sleep
 * when the answer is quick: IVSHMEM_WAIT rings first, then looks for a while, and
 * sleeps only after that. It costs a processor; the system's owner bounds it by
 * the module parameter busy_poll_max_ns.
 *
 *	peer 1:		busy-poll answer 0 TIMES
 *	peer 0:		busy-poll ask 1 TIMES
 */
#include <err.h>
#include <fcntl.h>
#include <ivshmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#define VECTOR	1
#define BUSY	(500 * 1000)	/* nanoseconds */

static long sleeps(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_nvcsw;
}

int main(int argc, char **argv)
{
	struct ivshmem_wait wait = {
		.timeout_ns = IVSHMEM_WAIT_FOREVER,
		.busy_ns = BUSY,
		.vector = VECTOR,
	};
	unsigned int peer, i, times;
	struct ivshmem *ivs;
	uint64_t count;
	long before;

	if (argc != 4)
		errx(EXIT_FAILURE, "usage: busy-poll ask|answer PEER TIMES");
	peer = strtoul(argv[2], NULL, 10);
	times = strtoul(argv[3], NULL, 10);
	ivs = ivshmem_open("/dev/ivshmem0", O_RDWR);
	if (!ivs || ivshmem_count(ivs, VECTOR, &count))
		err(EXIT_FAILURE, "/dev/ivshmem0");
	/* The call takes the count that is known, and puts the new one there. */
	wait.count = count;
	wait.doorbell = IVSHMEM_DOORBELL(peer, VECTOR);
	puts("ready");
	fflush(stdout);

	before = sleeps();
	for (i = 0; i < times; i++) {
		/* Who answers does not ring before the first question. */
		if (i > 0 || !strcmp(argv[1], "ask"))
			wait.flags = IVSHMEM_WAIT_RING;
		if (ioctl(ivshmem_fd(ivs), IVSHMEM_WAIT, &wait))
			err(EXIT_FAILURE, "wait");
	}
	if (!strcmp(argv[1], "answer") && ivshmem_ring(ivs, peer, VECTOR))
		err(EXIT_FAILURE, "ring");
	printf("%u interrupts, slept for %ld of them\n", times,
	       sleeps() - before);
	ivshmem_close(ivs);
	return 0;
}
