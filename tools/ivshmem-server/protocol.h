/* SPDX-License-Identifier: MIT */
/*
 * The messages of the ivshmem server protocol.
 *
 * All go from the server to a client, over a unix stream socket. Each is a
 * 64-bit little-endian signed integer, and at most one file descriptor comes
 * with it. In this order:
 *
 *   PROTOCOL_VERSION
 *   the client's own id
 *   PROTOCOL_MEMORY, with the shared memory
 *   for every other peer its id, once a vector, with the vector's eventfd
 *   the client's own id, once a vector, with the vector's eventfd
 *
 * and from then on a peer's id, once a vector, with the vector's eventfd, when
 * one joins, and an id without a file descriptor when one has left. Clients
 * count: the n-th eventfd of an id is its vector n.
 */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdint.h>

#define PROTOCOL_VERSION	0
#define PROTOCOL_MEMORY		(-1)
#define PROTOCOL_IDS		65536

/* The protocol knows no limit; this is how many MSI-X has. */
#define PROTOCOL_MAX_VECTORS	2048

int protocol_send(int sock, int64_t value, int fd);
void protocol_refuse(int sock, int error);

#endif /* PROTOCOL_H */
