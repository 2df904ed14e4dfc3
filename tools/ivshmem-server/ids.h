/* SPDX-License-Identifier: MIT */
/*
 * Which client gets which id.
 */
#ifndef IDS_H
#define IDS_H

#include <stdint.h>

#include "protocol.h"

/* Numbers below are those of a handshake's first messages: see queue.h. */
#define IDS_FIRST_EVENT	3

/**
 * struct ids - The ids. All zero is the beginning.
 * @events:   how many were given out and taken back, ever
 * @fresh:    the lowest id that was never given out
 * @head:     counts the ids that were given out again
 * @tail:     counts those that were taken back
 * @released: ring of the ids that are free again, in the order in which they
 *            became free, each with the number of that event
 *
 * Each change takes effect with a single store, so that the ids are whole
 * wherever the server is killed; an id or the number of an event may be lost.
 */
struct ids {
	uint64_t events;
	uint32_t fresh;
	uint32_t head;
	uint32_t tail;
	struct {
		uint64_t number;
		uint32_t id;
	} released[PROTOCOL_IDS];
};

int ids_get(struct ids *ids, uint64_t oldest);
void ids_put(struct ids *ids, unsigned int id);

/**
 * ids_next_event() - Tell the number of the next event.
 * @ids: the ids
 *
 * Return: the number that the next id to be given out or taken back gets.
 */
static inline uint64_t ids_next_event(const struct ids *ids)
{
	return IDS_FIRST_EVENT + ids->events;
}

#endif /* IDS_H */
