// SPDX-License-Identifier: MIT
/*
 * How the server judges a client by what becomes of a message for it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "peer.h"

#define STALL_MS	1000

/* What sending fails with, or 0. */
static int failure;

ssize_t __wrap_sendmsg(int sock, const struct msghdr *msg, int flags)
{
	if (!failure)
		return __real_sendmsg(sock, msg, flags);
	errno = failure;
	return -1;
}

static int ends[2], loop;

/* A watched peer with one message, queued at 100, that waits for it. */
static struct peer *make_peer(void)
{
	struct peer *peer;

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	peer = peer_create(ends[0], fdset_from_eventfds(3));
	CHECK(peer);
	CHECK(peer->vectors->count == 3);
	CHECK(peer->cred.pid == getpid() && peer->cred.uid == getuid());
	CHECK(!loop_add(loop, &peer->watch, EPOLLIN));
	CHECK(!queue_reserve(&peer->queue, 1));
	queue_push(&peer->queue, 0, 1, NULL, 100);
	CHECK(peer_deadline(peer, STALL_MS) == 100 + STALL_MS);
	return peer;
}

static void free_peer(struct peer *peer)
{
	close(ends[0]);
	close(ends[1]);
	peer_free(peer);
	failure = 0;
}

static void test_sent(void)
{
	struct peer *peer = make_peer();

	CHECK(!peer_send(peer, loop, 200));
	CHECK(queue_empty(&peer->queue));
	CHECK(!peer->starved);
	CHECK(peer->watch.events == EPOLLIN);
	free_peer(peer);
}

/* The client does not read: its time runs, and there is an event to wait for. */
static void test_blocked(void)
{
	struct peer *peer = make_peer();

	failure = EAGAIN;
	CHECK(!peer_send(peer, loop, 200));
	CHECK(!peer->starved);
	CHECK(peer->watch.events == (EPOLLIN | EPOLLOUT));
	CHECK(peer_deadline(peer, STALL_MS) == 100 + STALL_MS);

	failure = 0;
	CHECK(!peer_send(peer, loop, 300));
	CHECK(peer->watch.events == EPOLLIN);
	free_peer(peer);
}

/* The host is short of something: the client's time begins again after it. */
static void test_starved(int error)
{
	struct peer *peer = make_peer();

	failure = error;
	CHECK(!peer_send(peer, loop, 5000));
	CHECK(peer->starved);
	CHECK(peer->watch.events == EPOLLIN);
	CHECK(peer_deadline(peer, STALL_MS) == 5000 + STALL_MS);

	failure = EAGAIN;
	CHECK(!peer_send(peer, loop, 5500));
	CHECK(!peer->starved);
	CHECK(peer->watch.events == (EPOLLIN | EPOLLOUT));
	CHECK(peer_deadline(peer, STALL_MS) == 5000 + STALL_MS);
	free_peer(peer);
}

/* It is waited for twice as long, and longer if it has done all it could. */
static void test_hopeless(void)
{
	struct peer *peer = make_peer();
	const uint64_t end = 100 + 2 * STALL_MS;
	char byte[8];

	failure = ETOOMANYREFS;
	CHECK(!peer_send(peer, loop, 200));
	/* The message is of its handshake. */
	CHECK(!peer_hopeless(peer, STALL_MS, end - 1));
	CHECK(peer_hopeless(peer, STALL_MS, end));

	/* The message is of another one's. */
	failure = 0;
	CHECK(!peer_send(peer, loop, 300));
	CHECK(!peer_hopeless(peer, STALL_MS, end));
	CHECK(!queue_reserve(&peer->queue, 1));
	queue_push(&peer->queue, 1, 1, NULL, 100);
	failure = ETOOMANYREFS;
	CHECK(!peer_send(peer, loop, 300));
	CHECK(!peer_hopeless(peer, STALL_MS, end + 2 * STALL_MS - 1));
	CHECK(peer_hopeless(peer, STALL_MS, end + 2 * STALL_MS));
	CHECK(recv(ends[1], byte, sizeof(byte), 0) == sizeof(byte));
	CHECK(!peer_hopeless(peer, STALL_MS, 10 * end));

	/* It is sent one more, and has as long for that. */
	failure = 0;
	CHECK(!peer_send(peer, loop, 10 * end));
	CHECK(!queue_reserve(&peer->queue, 1));
	queue_push(&peer->queue, 1, 1, NULL, 100);
	failure = ETOOMANYREFS;
	CHECK(!peer_send(peer, loop, 10 * end));
	CHECK(!peer_hopeless(peer, STALL_MS, 10 * end + 2 * STALL_MS - 1));
	CHECK(peer_hopeless(peer, STALL_MS, 10 * end + 2 * STALL_MS));
	free_peer(peer);
}

static void test_fatal(int error)
{
	struct peer *peer = make_peer();

	failure = error;
	CHECK(peer_send(peer, loop, 200) == -error);
	free_peer(peer);
}

static void test_receive(void)
{
	struct peer *peer = make_peer();

	CHECK(!peer_receive(peer));
	CHECK(send(ends[1], "x", 1, 0) == 1);
	CHECK(peer_receive(peer) == -EPROTO);
	CHECK(!shutdown(ends[1], SHUT_WR));
	CHECK(peer_receive(peer) == -ECONNRESET);
	free_peer(peer);

	/* A client that closes with a message unread. */
	peer = make_peer();
	CHECK(!peer_send(peer, loop, 200));
	close(ends[1]);
	CHECK(peer_receive(peer) == -ECONNRESET);
	free_peer(peer);
}

static void test_no_socket(void)
{
	struct fdset *set = fdset_from_eventfds(1);

	CHECK(!peer_create(-1, set));
	CHECK(errno == EBADF);
	fdset_put(set);
}

int main(void)
{
	loop = loop_open();
	CHECK(loop >= 0);
	test_sent();
	test_blocked();
	test_starved(ETOOMANYREFS);
	test_starved(ENOBUFS);
	test_starved(ENOMEM);
	test_hopeless();
	test_fatal(EPIPE);
	test_fatal(ECONNRESET);
	test_fatal(EBADF);
	test_receive();
	test_no_socket();
	close(loop);
	return 0;
}
