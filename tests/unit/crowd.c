// SPDX-License-Identifier: MIT
/*
 * Many clients of one server: crowd SOCKET PEERS VECTORS
 *
 * Connects them one after another, as fast as the server takes them, and counts
 * what each gets. When all have all, prints the seconds that it took, how many
 * have connected and how many messages have come, and keeps them until standard
 * input ends. Fails, after the same line, if that ends before, or if the server
 * hangs up.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

struct client {
	int sock;
	unsigned long got;
};

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Returns false if nobody listens any more. */
static bool join(int loop, struct client *client, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };

	CHECK(strlen(path) < sizeof(addr.sun_path));
	memcpy(addr.sun_path, path, strlen(path));
	client->sock = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(client->sock >= 0);
	if (connect(client->sock, (struct sockaddr *)&addr, sizeof(addr)))
		return false;
	CHECK(!epoll_ctl(loop, EPOLL_CTL_ADD, client->sock, &event));
	return true;
}

/*
 * Without room for file descriptors: the kernel drops them. Returns false if the
 * server has hung up.
 */
static bool receive(struct client *client, unsigned long *total)
{
	char bytes[4096];
	ssize_t n;

	while ((n = recv(client->sock, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		client->got += n / 8;
		*total += n / 8;
	}
	return n < 0 && errno == EAGAIN;
}

int main(int argc, char **argv)
{
	struct epoll_event event = { .events = EPOLLIN }, events[64];
	unsigned long peers, whole, total = 0, joined = 0;
	struct client *clients;
	struct rlimit limit;
	bool served = true;
	double begin;
	int loop, n, i;

	CHECK(argc == 4);
	peers = strtoul(argv[2], NULL, 10);
	/* The version, its id, the memory, and all vectors of all. */
	whole = 3 + peers * strtoul(argv[3], NULL, 10);
	clients = calloc(peers, sizeof(*clients));
	CHECK(clients);
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	loop = epoll_create1(0);
	CHECK(loop >= 0);
	CHECK(!epoll_ctl(loop, EPOLL_CTL_ADD, STDIN_FILENO, &event));

	begin = seconds();
	while (served && total < peers * whole) {
		if (joined < peers) {
			served = join(loop, &clients[joined], argv[1]);
			joined += served;
		}
		n = epoll_wait(loop, events, 64, joined < peers ? 0 : -1);
		for (i = 0; served && i < n; i++)
			served = events[i].data.ptr &&
				 receive(events[i].data.ptr, &total);
	}
	for (i = 0; served && (unsigned long)i < peers; i++)
		CHECK(clients[i].got == whole);
	printf("%.6f %lu %lu\n", seconds() - begin, joined, total);
	fflush(stdout);
	if (!served)
		return 1;
	while (read(STDIN_FILENO, events, sizeof(events)) > 0)
		;
	return 0;
}
