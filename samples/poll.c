// SPDX-License-Identifier: MIT
/*
 * Waiting for a peer and for something else at the same time, here for input: a
 * line "PEER VECTOR" rings a doorbell, and what peers ring is printed.
 *
 *	poll
 *
 * ends when its input does, or when the device is unplugged.
 */
#include <err.h>
#include <fcntl.h>
#include <ivshmem.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void print_events(struct ivshmem *ivs)
{
	struct ivshmem_event events[64];
	ssize_t i, n = ivshmem_read_events(ivs, events, 64);

	for (i = 0; i < n; i++)
		printf("vector %u, count %llu\n", events[i].vector,
		       (unsigned long long)events[i].count);
	fflush(stdout);
}

int main(void)
{
	unsigned int peer, vector;
	struct pollfd fds[2];
	struct ivshmem *ivs;
	char line[64];
	ssize_t n;

	/* O_NONBLOCK: another thread may read what poll() has promised. */
	ivs = ivshmem_open("/dev/ivshmem0", O_RDWR | O_NONBLOCK);
	if (!ivs)
		err(EXIT_FAILURE, "/dev/ivshmem0");
	fds[0] = (struct pollfd){ .fd = ivshmem_fd(ivs), .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
	puts("ready");
	fflush(stdout);

	while (poll(fds, 2, -1) > 0) {
		if (fds[0].revents & POLLHUP)
			errx(EXIT_FAILURE, "the device has been unplugged");
		if (fds[0].revents & POLLIN)
			print_events(ivs);
		if (!fds[1].revents)
			continue;

		/* As a terminal has it: one line at a time. */
		n = read(STDIN_FILENO, line, sizeof(line) - 1);
		if (n <= 0)
			break;
		line[n] = '\0';
		if (sscanf(line, "%u %u", &peer, &vector) != 2)
			warnx("not PEER VECTOR: %s", line);
		else if (ivshmem_ring(ivs, peer, vector))
			warn("ring");
	}
	ivshmem_close(ivs);
	return 0;
}
