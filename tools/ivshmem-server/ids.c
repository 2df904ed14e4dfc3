// SPDX-License-Identifier: MIT
/*
 * Which client gets which id.
 *
 * QEMU corrupts its heap when an id that it saw leave is used again (7.2 to
 * 11.1), and a guest may still have the id written down. So ids count up, and
 * an id is used again only when all 65,536 have been given out, and only if all
 * clients that were there together with its last holder are gone.
 */
#include <errno.h>

#include "ids.h"

/**
 * ids_get() - Give out an id.
 * @ids:    the ids
 * @oldest: what @ids->joins was when the client that has been there for longest
 *          got its id; UINT64_MAX if there is no client
 *
 * Return: the id, or -EUSERS if there is none that may be used.
 */
int ids_get(struct ids *ids, uint64_t oldest)
{
	unsigned int id;

	if (ids->fresh < PROTOCOL_IDS) {
		id = ids->fresh++;
	} else {
		/* The others left later, so none of them will do either. */
		if (!ids->count || ids->released[ids->head].left > oldest)
			return -EUSERS;
		id = ids->released[ids->head].id;
		ids->head = (ids->head + 1) % PROTOCOL_IDS;
		ids->count--;
	}
	ids->joins++;
	return id;
}

/**
 * ids_put() - Take an id back.
 * @ids: the ids
 * @id:  the id of a client that has left
 */
void ids_put(struct ids *ids, unsigned int id)
{
	unsigned int tail = (ids->head + ids->count++) % PROTOCOL_IDS;

	ids->released[tail].left = ids->joins;
	ids->released[tail].id = id;
}
