/* SPDX-License-Identifier: MIT */
/*
 * What outlives the server's process.
 */
#ifndef STATE_H
#define STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "fdset.h"
#include "ids.h"

struct peer;

/**
 * struct state_peer - What is known of the last holder of an id.
 * @joined:   number of the event that gave it the id; 0 if it never was told of
 * @progress: how far it has come, see queue.h
 * @since:    when it got the id, in milliseconds of CLOCK_MONOTONIC
 * @vectors:  how many vectors it has
 * @gone:     it has left
 */
struct state_peer {
	uint64_t joined;
	uint64_t progress;
	uint64_t since;
	uint32_t vectors;
	uint32_t gone;
};

/**
 * struct state_data - Memory that a server can take over from another.
 * @magic:  tells that it is this
 * @layout: and which form of it
 * @size:   bytes of shared memory
 * @ids:    the ids
 * @peers:  by id
 */
struct state_data {
	char magic[8];
	uint64_t layout;
	uint64_t size;
	struct ids ids;
	struct state_peer peers[PROTOCOL_IDS];
};

/**
 * struct state - What outlives the server's process.
 * @data:  the memory
 * @kept:  the service manager keeps it, and what peers have
 * @boxed: file descriptors of peers that it keeps
 * @limit: how many that may be
 * @boxes: how many peers that are
 */
struct state {
	struct state_data *data;
	bool kept;
	uint64_t boxed;
	uint64_t limit;
	unsigned int boxes;
};

int state_create(struct state *state, uint64_t size, bool kept);
int state_open(struct state *state, int fd, uint64_t size);
void state_close(struct state *state);

void state_add_peer(struct state *state, struct peer *peer);
int state_keep_peer(struct state *state, const struct peer *peer);
void state_remove_peer(struct state *state, const struct peer *peer);
void state_forget_peer(struct state *state, const struct peer *peer);
struct peer *state_load_peer(struct state *state, int box);

#endif /* STATE_H */
