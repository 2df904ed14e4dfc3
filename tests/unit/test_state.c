// SPDX-License-Identifier: MIT
/*
 * How many peers the server lets the service manager keep: no more than it can
 * name in one environment variable.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "peer.h"
#include "service.h"
#include "state.h"

/* What execve() takes in one string. */
#define MAX_STRING	131072

static size_t length;
static unsigned int stored;

int service_store(const char *name, int fd)
{
	CHECK(fd >= 0);
	length += strlen(name) + 1;
	stored++;
	return 0;
}

void service_forget(const char *name)
{
	length -= strlen(name) + 1;
	stored--;
}

int main(void)
{
	struct fdset *vectors = fdset_from_eventfds(1);
	struct state state = { 0 };
	struct peer *peer;
	unsigned int id;
	int ends[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	peer = peer_create(ends[0], vectors);
	CHECK(peer);
	CHECK(!state_create(&state, 4096, true));
	/* Of files there is no want here. */
	state.limit = UINT64_MAX;
	/* The longest name that an instance can have, and what else is passed. */
	length += sizeof("LISTEN_FDNAMES=") + sizeof("ivshmem-server@.socket") +
		  255 + sizeof("lock");
	CHECK(!service_store("memory", 0));

	/* The names of these are the longest. */
	for (id = PROTOCOL_IDS - 1; ; id--) {
		peer->id = id;
		if (state_keep_peer(&state, peer))
			break;
		CHECK(id > PROTOCOL_IDS / 2);
	}
	CHECK(state_keep_peer(&state, peer) == -EMFILE);
	CHECK(length <= MAX_STRING);
	CHECK(PROTOCOL_IDS - 1 - id == 11000);

	/* There is room for as many as leave. */
	peer->id = PROTOCOL_IDS - 1;
	state_forget_peer(&state, peer);
	peer->id = id;
	CHECK(!state_keep_peer(&state, peer));
	CHECK(state_keep_peer(&state, peer) == -EMFILE);

	state_close(&state);
	peer_free(peer);
	close(ends[0]);
	close(ends[1]);
	return 0;
}
