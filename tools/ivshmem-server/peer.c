// SPDX-License-Identifier: MIT
/*
 * One client.
 */
#include <errno.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <unistd.h>

#include "peer.h"

/**
 * peer_create() - Make a peer.
 * @sock:    the client's socket; not the peer's yet if this fails
 * @vectors: its eventfds; the same holds
 *
 * Return: the peer, or NULL and errno.
 */
struct peer *peer_create(int sock, struct fdset *vectors)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	socklen_t len = sizeof(peer->cred);
	int error;

	if (!peer)
		return NULL;

	peer->watch.fd = sock;
	peer->vectors = vectors;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer->cred, &len)) {
		error = errno;
		free(peer);
		errno = error;
		return NULL;
	}
	return peer;
}

/**
 * peer_free() - Forget a peer. Its socket is the caller's to close.
 * @peer: the peer
 */
void peer_free(struct peer *peer)
{
	queue_clear(&peer->queue);
	fdset_put(peer->vectors);
	free(peer);
}

/**
 * peer_send() - Send what the client takes, and watch it accordingly.
 * @peer: the peer
 * @loop: the loop that watches it
 * @now:  the time, in milliseconds
 *
 * The kernel limits the file descriptors that are on their way in all sockets
 * of a user (ETOOMANYREFS), and can be short of memory. Such a client is marked
 * as starved: there is no event to wait for, and the fault is not its own.
 *
 * Return: 0, or a negative errno if the client cannot be served any more.
 */
int peer_send(struct peer *peer, int loop, uint64_t now)
{
	uint32_t events = EPOLLIN;
	int ret = queue_send(&peer->queue, peer->watch.fd);

	peer->starved = false;
	switch (ret) {
	case 0:
		break;
	case -EAGAIN:
		events |= EPOLLOUT;
		break;
	case -ETOOMANYREFS:
	case -ENOBUFS:
	case -ENOMEM:
		peer->starved = true;
		peer->spared = now;
		break;
	default:
		return ret;
	}
	return loop_change(loop, &peer->watch, events);
}

/**
 * peer_receive() - Find out why the client's socket is readable.
 * @peer: the peer
 *
 * Return: 0 if there is nothing, -ECONNRESET if the client has gone, -EPROTO if
 * it sent something, which the protocol has no place for, or another negative
 * errno.
 */
int peer_receive(struct peer *peer)
{
	char byte;
	ssize_t n = recv(peer->watch.fd, &byte, 1, MSG_DONTWAIT);

	if (n > 0)
		return -EPROTO;
	if (n == 0)
		return -ECONNRESET;
	return errno == EAGAIN ? 0 : -errno;
}

/**
 * peer_deadline() - Tell until when the client has to take its next message.
 * @peer:     the peer, whose queue is not empty
 * @stall_ms: how long a message may wait
 *
 * What counts is how long the oldest message has waited, not when the client
 * last took one: one that takes less than it is sent would never catch up.
 *
 * Return: the time, in milliseconds.
 */
uint64_t peer_deadline(const struct peer *peer, uint64_t stall_ms)
{
	uint64_t since = queue_oldest(&peer->queue);

	return (since > peer->spared ? since : peer->spared) + stall_ms;
}

/* Whether the client has not read all that was sent. */
static bool peer_unread(const struct peer *peer)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	return !getsockopt(peer->watch.fd, SOL_SOCKET, SO_MEMINFO, info, &len) &&
	       info[SK_MEMINFO_WMEM_ALLOC];
}

/**
 * peer_hopeless() - Tell whether to wait no longer for a client that starves.
 * @peer:     the peer, which is starved
 * @stall_ms: how long a message may wait
 * @now:      the time, in milliseconds
 *
 * Clients that do not read can use up what all others need, for ever. After twice
 * the time, so that others have gone that only stall, one that has at no time read
 * all that it was sent is at fault, and one in its handshake is no use to anybody:
 * QEMU stands still in it. Any other can wait.
 *
 * To be called whenever sending has been tried, to see what the client reads.
 *
 * Return: true if it is to be parted from.
 */
bool peer_hopeless(struct peer *peer, uint64_t stall_ms, uint64_t now)
{
	if (!peer_unread(peer))
		peer->read = now;
	if (queue_empty(&peer->queue) ||
	    now < queue_oldest(&peer->queue) + 2 * stall_ms)
		return false;
	return queue_number(&peer->queue) <= peer->joined ||
	       now >= peer->read + 2 * stall_ms;
}
