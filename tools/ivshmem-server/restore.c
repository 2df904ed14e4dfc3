// SPDX-License-Identifier: MIT
/*
 * Going on where another server's process has ended.
 *
 * What a client has still to be sent is not kept: it follows from how far the
 * client has come and from who has joined and left since, because all clients
 * are told of the same events in the order of their numbers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "protocol.h"
#include "restore.h"

static int restore_append(struct server *server, struct peer *peer)
{
	int ret = server_reserve_peer(server);

	if (!ret)
		server->peers[server->count++] = peer;
	return ret;
}

static int compare_joined(const void *a, const void *b)
{
	const struct peer *const *x = a, *const *y = b;

	return ((*x)->joined > (*y)->joined) - ((*x)->joined < (*y)->joined);
}

/* An id is here, free again, or was lost: then its holder has left, too. */
static void restore_lost(struct server *server, const bool *seen)
{
	struct state_data *data = server->state.data;
	unsigned int id;

	for (id = 0; id < data->ids.fresh; id++) {
		if (seen[id])
			continue;
		/* Nobody was told of one that was about to get the id. */
		if (data->peers[id].gone)
			data->peers[id].joined = 0;
		data->peers[id].gone = true;
		ids_put(&data->ids, id);
	}
}

/**
 * restore_peers() - Make peers again of what the service manager has kept.
 * @server: the server, with the state of the other
 * @fds:    what the manager has passed
 * @count:  how many that are
 *
 * Return: 0 or a negative errno.
 */
int restore_peers(struct server *server, struct service_fd *fds, int count)
{
	struct state_data *data = server->state.data;
	struct ids *ids = &data->ids;
	bool *seen = calloc(PROTOCOL_IDS, sizeof(*seen));
	struct peer *peer;
	unsigned int id;
	int i, ret = 0;
	uint32_t r;

	if (!seen)
		return -ENOMEM;
	for (r = ids->head; r != ids->tail; r++) {
		id = ids->released[r % PROTOCOL_IDS].id;
		data->peers[id].gone = true;
		seen[id] = true;
	}

	for (i = 0; !ret && i < count; i++) {
		if (fds[i].fd < 0 || strncmp(fds[i].name, "peer-", 5))
			continue;
		peer = state_load_peer(&server->state, fds[i].fd);
		if (!peer) {
			log_warn("cannot take over %s: %s", fds[i].name,
				 strerror(errno));
			service_forget(fds[i].name);
		} else if (seen[peer->id]) {
			/* The other had no time to have it forgotten. */
			state_forget_peer(&server->state, peer);
			close(peer->watch.fd);
			peer_free(peer);
		} else {
			seen[peer->id] = true;
			ret = restore_append(server, peer);
		}
	}
	if (!ret && server->count)
		qsort(server->peers, server->count, sizeof(*server->peers),
		      compare_joined);
	if (!ret)
		restore_lost(server, seen);
	free(seen);
	return ret;
}

static int restore_push(struct peer *peer, uint64_t number, int64_t value,
			struct fdset *fds)
{
	int ret = queue_reserve(&peer->queue, 1);

	if (!ret)
		queue_push(&peer->queue, number, value, fds, loop_now());
	return ret;
}

/*
 * A peer left while its vectors were being told. The client counts, so it gets
 * the rest: eventfds that nobody has.
 */
static int restore_torn(struct state_data *data, struct peer *peer,
			uint64_t number)
{
	struct ids *ids = &data->ids;
	struct fdset *nobodys;
	unsigned int id;
	uint32_t r;
	int ret;

	for (r = ids->head; r != ids->tail; r++) {
		id = ids->released[r % PROTOCOL_IDS].id;
		if (data->peers[id].joined != number)
			continue;
		nobodys = fdset_from_eventfds(data->peers[id].vectors);
		if (!nobodys)
			return -errno;
		ret = restore_push(peer, number, id, nobodys);
		fdset_put(nobodys);
		return ret;
	}
	return -EINVAL;
}

static int restore_queue(struct server *server, struct peer *peer)
{
	const int64_t head[IDS_FIRST_EVENT] = {
		PROTOCOL_VERSION, peer->id, PROTOCOL_MEMORY
	};
	struct state_data *data = server->state.data;
	const uint64_t from = *peer->queue.progress >> QUEUE_NUMBER_SHIFT;
	const unsigned int sent = *peer->queue.progress & QUEUE_SENT;
	struct ids *ids = &data->ids;
	uint32_t r = server->options.quiet_departures ? ids->tail : ids->head;
	uint64_t joined, left, known;
	unsigned int id, n;
	size_t i = 0;
	int ret = 0;

	for (n = from; !ret && n < IDS_FIRST_EVENT; n++)
		ret = restore_push(peer, n, head[n], head[n] == PROTOCOL_MEMORY ?
				   server->memory : NULL);

	while (i < server->count && server->peers[i]->joined < from)
		i++;
	if (!ret && sent &&
	    (i == server->count || server->peers[i]->joined != from))
		ret = restore_torn(data, peer, from);

	while (!ret && (i < server->count || r != ids->tail)) {
		joined = i < server->count ? server->peers[i]->joined :
			 UINT64_MAX;
		left = r != ids->tail ?
		       ids->released[r % PROTOCOL_IDS].number : UINT64_MAX;
		if (joined < left) {
			ret = restore_push(peer, joined, server->peers[i]->id,
					   server->peers[i]->vectors);
			i++;
			continue;
		}
		id = ids->released[r++ % PROTOCOL_IDS].id;
		known = data->peers[id].joined;
		if (left >= from && left > peer->joined && known &&
		    (known < from || (known == from && sent)))
			ret = restore_push(peer, left, id, NULL);
	}
	peer->queue.sent = sent;
	return ret;
}

/**
 * restore_queues() - Find out what each peer has still to be sent.
 * @server: the server, with its peers
 *
 * A peer to which the other sent a message when it was killed may have it or
 * not, and would miscount. It has to leave; there is at most one.
 *
 * Return: 0 or a negative errno.
 */
int restore_queues(struct server *server)
{
	struct peer *peer;
	size_t i;
	int ret;

	for (i = 0; i < server->count; i++) {
		peer = server->peers[i];
		if (*peer->queue.progress & QUEUE_SENDING) {
			server_part(server, peer, -EILSEQ);
			continue;
		}
		ret = restore_queue(server, peer);
		if (ret)
			return ret;
	}
	return 0;
}
