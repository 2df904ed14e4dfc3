// SPDX-License-Identifier: MIT
/*
 * Events as completions of io_uring: a read waits in the kernel beside all else
 * that the program has asked for, and no thread waits for it.
 *
 *	io_uring TIMES
 *
 * needs liburing.
 */
#include <err.h>
#include <fcntl.h>
#include <ivshmem.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct ivshmem_event events[64];
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct ivshmem *ivs;
	long left;
	int ret, i;

	if (argc != 2)
		errx(EXIT_FAILURE, "usage: io_uring TIMES");
	ivs = ivshmem_open("/dev/ivshmem0", O_RDONLY);
	if (!ivs)
		err(EXIT_FAILURE, "/dev/ivshmem0");
	ret = io_uring_queue_init(8, &ring, 0);
	if (ret)
		errx(EXIT_FAILURE, "io_uring: %s", strerror(-ret));

	for (left = strtol(argv[1], NULL, 10); left > 0;) {
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_read(sqe, ivshmem_fd(ivs), events, sizeof(events),
				   -1);
		io_uring_submit(&ring);
		puts("reading");
		fflush(stdout);

		/* Here a server would have its sockets and files, too. */
		ret = io_uring_wait_cqe(&ring, &cqe);
		if (!ret)
			ret = cqe->res;
		if (ret < 0)
			errx(EXIT_FAILURE, "read: %s", strerror(-ret));
		io_uring_cqe_seen(&ring, cqe);

		for (i = 0; i < ret / (int)sizeof(*events); i++, left--)
			printf("vector %u has fired %llu times\n",
			       events[i].vector, (unsigned long long)events[i].count);
	}
	io_uring_queue_exit(&ring);
	ivshmem_close(ivs);
	return 0;
}
