// SPDX-License-Identifier: MIT
/*
 * Which vectors have fired? Reading an open device tells, and waits if none has.
 *
 *	read TIMES
 *
 * prints what it hears until it has been told of that many events. Have a peer
 * run `ivshmemctl ring` to give it some.
 */
#include <err.h>
#include <fcntl.h>
#include <ivshmem.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	struct ivshmem_event events[64];
	struct ivshmem *ivs;
	long left;
	ssize_t i, n;

	if (argc != 2)
		errx(EXIT_FAILURE, "usage: read TIMES");
	left = strtol(argv[1], NULL, 10);

	/* A handle sees what comes from now on. */
	ivs = ivshmem_open("/dev/ivshmem0", O_RDONLY);
	if (!ivs)
		err(EXIT_FAILURE, "/dev/ivshmem0");
	puts("ready");
	fflush(stdout);

	while (left > 0) {
		n = ivshmem_read_events(ivs, events, 64);
		if (n < 0)
			err(EXIT_FAILURE, "read");
		/* One entry a vector. Rings close together count as one. */
		for (i = 0; i < n; i++)
			printf("vector %u has fired %llu times\n",
			       events[i].vector, (unsigned long long)events[i].count);
		fflush(stdout);
		left -= n;
	}
	ivshmem_close(ivs);
	return 0;
}
