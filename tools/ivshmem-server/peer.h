/* SPDX-License-Identifier: MIT */
/*
 * One client.
 */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "fdset.h"
#include "loop.h"
#include "queue.h"

struct server;

/**
 * struct peer - One client.
 * @watch:   its socket
 * @server:  the server that it belongs to
 * @vectors: its eventfds
 * @queue:   what it still has to be sent
 * @cred:    who it was when it connected
 * @id:      its id
 * @joined:  number of the event that gave it its id
 * @since:   when it got its id, in milliseconds
 * @spared:  when sending to it last failed for a reason that is not its fault,
 *           in milliseconds
 * @read:    when it was last seen to have read all, in milliseconds
 * @starved: sending to it has to be tried again, for such a reason
 * @gone:    it is no peer any more and is about to be freed
 * @next:    the next in &server.gone
 */
struct peer {
	struct watch watch;
	struct server *server;
	struct fdset *vectors;
	struct queue queue;
	struct ucred cred;
	unsigned int id;
	uint64_t joined;
	uint64_t since;
	uint64_t spared;
	uint64_t read;
	bool starved;
	bool gone;
	struct peer *next;
};

struct peer *peer_create(int sock, struct fdset *vectors);
void peer_free(struct peer *peer);
int peer_send(struct peer *peer, int loop, uint64_t now);
int peer_receive(struct peer *peer);
bool peer_hopeless(struct peer *peer, uint64_t stall_ms, uint64_t now);
uint64_t peer_deadline(const struct peer *peer, uint64_t stall_ms);

#endif /* PEER_H */
