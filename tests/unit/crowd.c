// SPDX-License-Identifier: MIT
/*
 * Many clients of one server: crowd SOCKET PEERS VECTORS
 *
 * Connects them one after another, as fast as the server takes them, and counts
 * what each gets. Prints the seconds until all have all, and keeps them until
 * standard input ends.
 */
#include <errno.h>
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

static void join(int loop, struct client *client, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };

	CHECK(strlen(path) < sizeof(addr.sun_path));
	memcpy(addr.sun_path, path, strlen(path));
	client->sock = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(client->sock >= 0);
	CHECK(!connect(client->sock, (struct sockaddr *)&addr, sizeof(addr)));
	CHECK(!epoll_ctl(loop, EPOLL_CTL_ADD, client->sock, &event));
}

/* Without room for file descriptors: the kernel drops them. */
static unsigned long receive(struct client *client)
{
	unsigned long messages = 0;
	char bytes[4096];
	ssize_t n;

	while ((n = recv(client->sock, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		messages += n / 8;
	CHECK(n < 0 && errno == EAGAIN);
	client->got += messages;
	return messages;
}

int main(int argc, char **argv)
{
	unsigned long peers, whole, total = 0, joined = 0;
	struct epoll_event events[64];
	struct rlimit limit;
	struct client *clients;
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

	begin = seconds();
	while (total < peers * whole) {
		if (joined < peers)
			join(loop, &clients[joined++], argv[1]);
		n = epoll_wait(loop, events, 64, joined < peers ? 0 : -1);
		for (i = 0; i < n; i++)
			total += receive(events[i].data.ptr);
	}
	for (joined = 0; joined < peers; joined++)
		CHECK(clients[joined].got == whole);
	printf("%.3f\n", seconds() - begin);
	fflush(stdout);
	while (read(STDIN_FILENO, events, sizeof(events)) > 0)
		;
	return 0;
}
