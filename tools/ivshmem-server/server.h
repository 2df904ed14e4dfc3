/* SPDX-License-Identifier: MIT */
/*
 * The server: who is there, and who has to hear of whom.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control.h"
#include "directory.h"
#include "fdset.h"
#include "ids.h"
#include "loop.h"
#include "notify.h"
#include "options.h"
#include "peer.h"
#include "rate.h"
#include "socket.h"
#include "state.h"
#include "status.h"

/**
 * struct server - The server.
 * @options:    what the command line asks for
 * @loop:       the event loop
 * @listener:   the socket that clients connect to
 * @file:       its place in the file system
 * @signals:    a signalfd
 * @control:    the socket that the server can be asked on
 * @counts:     what has happened
 * @started:    when it started, in milliseconds
 * @memory:     the shared memory, a set of one
 * @memory_lock: what keeps other servers from it, or -1
 * @state:      what outlives this process
 * @nobody:     an eventfd in place of those of peers that have left
 * @peers:      every peer that has not been freed, in the order of joining
 * @count:      how many
 * @capacity:   for how many there is room
 * @gone:       peers that are to be freed when no event for them can be pending
 * @rates:      which users' clients have come lately
 * @refused:    which users' clients have been refused lately
 * @notify:     what rings peers
 * @directory:  who is there, for the peers to see
 * @check_at:   when a peer has to be looked at, or LOOP_NEVER
 * @listen_at:  when to go on accepting after a shortage, or LOOP_NEVER
 * @alive_at:   when the service manager wants a sign of life, or LOOP_NEVER
 * @connecting: a client waits to be accepted
 * @unable:     accepting the last one failed for want of something
 * @stop:       a signal has asked for the end
 */
struct server {
	struct options options;
	int loop;
	struct watch listener;
	struct socket_file file;
	struct watch signals;
	struct control control;
	struct status_counts counts;
	uint64_t started;
	struct fdset *memory;
	int memory_lock;
	struct state state;
	int nobody;
	struct peer **peers;
	size_t count;
	size_t capacity;
	struct peer *gone;
	struct rates rates;
	struct rates refused;
	struct notify notify;
	struct directory directory;
	uint64_t check_at;
	uint64_t listen_at;
	uint64_t alive_at;
	bool connecting;
	bool unable;
	bool stop;
};

int server_open(struct server *server);
int server_run(struct server *server);
void server_close(struct server *server);

int server_reserve_peer(struct server *server);
void server_part(struct server *server, struct peer *peer, int error);

#endif /* SERVER_H */
