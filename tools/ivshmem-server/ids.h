/* SPDX-License-Identifier: MIT */
/*
 * Which client gets which id.
 */
#ifndef IDS_H
#define IDS_H

#include <stdint.h>

#include "protocol.h"

/**
 * struct ids - The ids. All zero is the beginning.
 * @joins:    how many were given out, ever: the time as this file sees it
 * @fresh:    the lowest id that was never given out
 * @head:     index of the id that has been free for longest
 * @count:    how many ids are free again
 * @released: those, in the order in which they became free
 */
struct ids {
	uint64_t joins;
	unsigned int fresh;
	unsigned int head;
	unsigned int count;
	struct {
		uint64_t left;
		unsigned int id;
	} released[PROTOCOL_IDS];
};

int ids_get(struct ids *ids, uint64_t oldest);
void ids_put(struct ids *ids, unsigned int id);

#endif /* IDS_H */
