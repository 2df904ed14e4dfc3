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
 * @oldest: number of the event that gave the client that has been there for
 *          longest its id; UINT64_MAX if there is no client
 *
 * Return: the id, or -EUSERS if there is none that may be used.
 */
int ids_get(struct ids *ids, uint64_t oldest)
{
	unsigned int id, head = ids->head % PROTOCOL_IDS;

	if (ids->fresh < PROTOCOL_IDS) {
		id = ids->fresh++;
	} else {
		/* The others left later, so none of them will do either. */
		if (ids->head == ids->tail ||
		    ids->released[head].number > oldest)
			return -EUSERS;
		id = ids->released[head].id;
		ids->head++;
	}
	ids->events++;
	return id;
}

/**
 * ids_put() - Take an id back.
 * @ids: the ids
 * @id:  the id of a client that has left
 */
void ids_put(struct ids *ids, unsigned int id)
{
	unsigned int tail = ids->tail % PROTOCOL_IDS;

	ids->released[tail].number = ids_next_event(ids);
	ids->released[tail].id = id;
	ids->events++;
	/* Not before the entry is there. */
	__atomic_store_n(&ids->tail, ids->tail + 1, __ATOMIC_RELEASE);
}
