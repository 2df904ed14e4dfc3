// SPDX-License-Identifier: MIT
/*
 * A vector for each kind of work, and an eventfd for each vector: how a program
 * with an event loop hears of each kind apart from the others. An eventfd can be
 * handed to another process, or to KVM, like any other.
 *
 *	epoll-eventfd TIMES
 */
#include <err.h>
#include <fcntl.h>
#include <ivshmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct ivshmem_info info;
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event;
	struct ivshmem *ivs;
	unsigned int v;
	int *efds;
	long left;

	if (argc != 2)
		errx(EXIT_FAILURE, "usage: epoll-eventfd TIMES");
	ivs = ivshmem_open("/dev/ivshmem0", O_RDONLY);
	if (!ivs || ivshmem_get_info(ivs, &info))
		err(EXIT_FAILURE, "/dev/ivshmem0");

	efds = calloc(info.vectors, sizeof(*efds));
	if (!efds)
		err(EXIT_FAILURE, "memory");
	for (v = 0; v < info.vectors; v++) {
		efds[v] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (efds[v] < 0 || ivshmem_set_eventfd(ivs, v, efds[v]))
			err(EXIT_FAILURE, "vector %u", v);
		event = (struct epoll_event){ .events = EPOLLIN, .data.u32 = v };
		if (epoll_ctl(epfd, EPOLL_CTL_ADD, efds[v], &event))
			err(EXIT_FAILURE, "epoll_ctl");
	}
	puts("ready");
	fflush(stdout);

	for (left = strtol(argv[1], NULL, 10); left > 0; left--) {
		uint64_t value;

		if (epoll_wait(epfd, &event, 1, -1) != 1)
			err(EXIT_FAILURE, "epoll_wait");
		/* Unplugging signals each eventfd a last time. */
		if (ivshmem_get_info(ivs, &info))
			err(EXIT_FAILURE, "/dev/ivshmem0");
		v = event.data.u32;
		/* Reading says how often, and sets it back. */
		if (read(efds[v], &value, sizeof(value)) != sizeof(value))
			err(EXIT_FAILURE, "eventfd");
		printf("vector %u has fired %llu times more\n", v,
		       (unsigned long long)value);
		fflush(stdout);
	}
	/* Unbinds them all. */
	ivshmem_close(ivs);
	return 0;
}
