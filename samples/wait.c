// SPDX-License-Identifier: MIT
/*
 * Has this vector fired since I last looked? Waiting for one vector by its count
 * misses no interrupt, whatever the program does between two waits.
 *
 *	wait VECTOR TIMES
 *
 * waits for a vector that many times, for at most ten seconds each.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <ivshmem.h>
#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT	(10 * INT64_C(1000000000))

int main(int argc, char **argv)
{
	struct ivshmem *ivs;
	unsigned int vector;
	uint64_t count;
	long times;

	if (argc != 3)
		errx(EXIT_FAILURE, "usage: wait VECTOR TIMES");
	vector = strtoul(argv[1], NULL, 10);
	times = strtol(argv[2], NULL, 10);

	ivs = ivshmem_open("/dev/ivshmem0", O_RDONLY);
	if (!ivs)
		err(EXIT_FAILURE, "/dev/ivshmem0");
	/* What is known from here on: how often it has fired so far. */
	if (ivshmem_count(ivs, vector, &count))
		err(EXIT_FAILURE, "vector %u", vector);
	puts("ready");
	fflush(stdout);

	while (times-- > 0) {
		uint64_t before = count;

		/* Returns at once if the count is no longer this one. */
		if (ivshmem_wait(ivs, vector, &count, TIMEOUT)) {
			if (errno != ETIMEDOUT)
				err(EXIT_FAILURE, "wait");
			puts("nothing for ten seconds");
			continue;
		}
		printf("vector %u has fired %llu times more\n", vector,
		       (unsigned long long)(count - before));
		fflush(stdout);
	}
	ivshmem_close(ivs);
	return 0;
}
