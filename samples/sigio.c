// SPDX-License-Identifier: MIT
/*
 * A signal for each interrupt, for a program that is busy with something else and
 * does not want to ask.
 *
 *	sigio TIMES
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <ivshmem.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile sig_atomic_t rung;

static void handler(int sig)
{
	(void)sig;
	rung = 1;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = handler };
	struct ivshmem_event events[64];
	sigset_t blocked, before;
	struct ivshmem *ivs;
	ssize_t i, n;
	long left;
	int fd;

	if (argc != 2)
		errx(EXIT_FAILURE, "usage: sigio TIMES");
	ivs = ivshmem_open("/dev/ivshmem0", O_RDONLY | O_NONBLOCK);
	if (!ivs)
		err(EXIT_FAILURE, "/dev/ivshmem0");

	/* The signal waits until the program can take it, below. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGIO);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	sigaction(SIGIO, &action, NULL);

	/* Who gets it; and that it is wanted at all. */
	fd = ivshmem_fd(ivs);
	if (fcntl(fd, F_SETOWN, getpid()) ||
	    fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC))
		err(EXIT_FAILURE, "fcntl");
	puts("ready");
	fflush(stdout);

	for (left = strtol(argv[1], NULL, 10); left > 0;) {
		/* Stands for the work. */
		while (!rung)
			sigsuspend(&before);
		rung = 0;
		/* Signals do not count: read until there is nothing left. */
		while ((n = ivshmem_read_events(ivs, events, 64)) > 0)
			for (i = 0; i < n; i++, left--)
				printf("vector %u has fired %llu times\n",
				       events[i].vector,
				       (unsigned long long)events[i].count);
		/* Unplugging sends the signal, too. */
		if (n < 0 && errno != EAGAIN)
			err(EXIT_FAILURE, "read");
		fflush(stdout);
	}
	ivshmem_close(ivs);
	return 0;
}
