/* SPDX-License-Identifier: MIT */
/*
 * The socket that a server can be asked for its status on.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include "loop.h"
#include "socket.h"

#define CONTROL_CLIENTS		8
#define CONTROL_REQUEST_SIZE	32

struct server;

/**
 * struct control_client - Somebody who asks.
 * @watch:    the connection, its fd -1 if nobody is there
 * @server:   the server
 * @turn:     the number of the connection
 * @request:  what has come
 * @received: how many bytes of it
 * @reply:    the answer, or NULL as long as the request is not whole
 * @length:   its bytes
 * @sent:     how many of them have been sent
 */
struct control_client {
	struct watch watch;
	struct server *server;
	uint64_t turn;
	char request[CONTROL_REQUEST_SIZE];
	size_t received;
	char *reply;
	size_t length;
	size_t sent;
};

/**
 * struct control - The socket that a server can be asked on.
 * @listener: the socket, its fd -1 if there is none
 * @file:     its place in the file system
 * @turn:     how many connections there have been
 * @clients:  who is connected
 */
struct control {
	struct watch listener;
	struct socket_file file;
	uint64_t turn;
	struct control_client clients[CONTROL_CLIENTS];
};

void control_init(struct control *control);
int control_open(struct control *control, struct server *server);
void control_close(struct control *control);

#endif /* CONTROL_H */
