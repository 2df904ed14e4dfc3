// SPDX-License-Identifier: MIT
/*
 * What outlives the server's process, killed or not: kept by the service
 * manager as file descriptors.
 *
 * - "memory", the shared memory;
 * - "state", a memfd with struct state_data, which the server works in;
 * - "peer-ID" for each peer, a box: a socket with messages that nobody ever
 *   takes out, in which the kernel keeps the peer's own socket and its eventfds,
 *   in order. The manager knows no order, tells eventfds not apart, and can pass
 *   on only as many names as fit in one environment variable.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer.h"
#include "service.h"
#include "state.h"

#define STATE_MAGIC	"ivshmem"
/* To be changed with any struct that is in the memory or in a box. */
#define STATE_LAYOUT	1

/* As many as the kernel allows in a message. */
#define BOX_FDS		253

/*
 * The names of all have to fit in one environment variable of 128 KiB, with up
 * to 11 bytes for each of these; without that no server could be started again.
 */
#define MAX_BOXES	11000

/**
 * struct box_message - What comes with some of a peer's file descriptors.
 * @id:    the peer's id
 * @count: how many file descriptors all its messages have, the peer's socket
 *         and its vectors
 */
struct box_message {
	uint32_t id;
	uint32_t count;
};

static int state_map(struct state *state, int fd)
{
	struct rlimit limit;
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *data = mmap(NULL, sizeof(*state->data), PROT_READ | PROT_WRITE,
			  flags, fd, 0);

	if (data == MAP_FAILED)
		return -errno;
	state->data = data;
	/* The rest is for what really is on its way. */
	getrlimit(RLIMIT_NOFILE, &limit);
	state->limit = limit.rlim_cur / 2;
	return 0;
}

/**
 * state_create() - Begin with no peers.
 * @state: filled in
 * @size:  bytes of shared memory
 * @kept:  let the service manager keep it
 *
 * Return: 0 or a negative errno.
 */
int state_create(struct state *state, uint64_t size, bool kept)
{
	int fd = -1;
	int ret;

	if (kept) {
		fd = memfd_create("ivshmem-state",
				  MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (fd < 0)
			return -errno;
		if (ftruncate(fd, sizeof(*state->data)) ||
		    fcntl(fd, F_ADD_SEALS,
			  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
			ret = -errno;
			goto out;
		}
	}
	ret = state_map(state, fd);
	if (ret)
		goto out;
	state->kept = kept;
	state->data->layout = STATE_LAYOUT;
	state->data->size = size;
	memcpy(state->data->magic, STATE_MAGIC, sizeof(STATE_MAGIC));
	if (kept)
		ret = service_store("state", fd);
out:
	if (fd >= 0)
		close(fd);
	return ret;
}

static bool ids_valid(const struct ids *ids)
{
	uint32_t i;

	if (ids->fresh > PROTOCOL_IDS || ids->tail - ids->head > ids->fresh)
		return false;
	for (i = ids->head; i != ids->tail; i++)
		if (ids->released[i % PROTOCOL_IDS].id >= ids->fresh)
			return false;
	return true;
}

/**
 * state_open() - Take over what another server has left.
 * @state: filled in
 * @fd:    the memfd
 * @size:  bytes of shared memory that there are
 *
 * Return: 0; -EINVAL if it is not what a server of this version leaves, or
 * another negative errno.
 */
int state_open(struct state *state, int fd, uint64_t size)
{
	struct stat st;
	int ret;

	if (fstat(fd, &st))
		return -errno;
	if (st.st_size != sizeof(*state->data))
		return -EINVAL;
	ret = state_map(state, fd);
	if (ret)
		return ret;
	if (!memcmp(state->data->magic, STATE_MAGIC, sizeof(STATE_MAGIC)) &&
	    state->data->layout == STATE_LAYOUT && state->data->size <= size &&
	    ids_valid(&state->data->ids)) {
		state->kept = true;
		return 0;
	}
	state_close(state);
	return -EINVAL;
}

/**
 * state_close() - Let it go; what is kept stays with the service manager.
 * @state: the state
 */
void state_close(struct state *state)
{
	if (state->data)
		munmap(state->data, sizeof(*state->data));
	*state = (struct state){ 0 };
}

/**
 * state_add_peer() - Write down a new peer.
 * @state: the state
 * @peer:  the peer, which has got its id
 */
void state_add_peer(struct state *state, struct peer *peer)
{
	struct state_peer *entry = &state->data->peers[peer->id];

	entry->joined = peer->joined;
	entry->vectors = peer->vectors->count;
	entry->progress = 0;
	entry->since = peer->since;
	entry->gone = false;
	peer->queue.progress = &entry->progress;
}

static unsigned int box_count(const struct peer *peer)
{
	return 1 + peer->vectors->count;
}

static int box_fill(int box, const struct peer *peer)
{
	struct box_message message = { peer->id, box_count(peer) };
	struct iovec iov = { &message, sizeof(message) };
	union {
		char space[CMSG_SPACE(BOX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	unsigned int done, count;
	struct cmsghdr *cmsg;
	struct msghdr msg;
	int *fds;

	for (done = 0; done < message.count; done += count) {
		count = message.count - done;
		if (count > BOX_FDS)
			count = BOX_FDS;
		memset(&control, 0, sizeof(control));
		msg = (struct msghdr){
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = CMSG_SPACE(count * sizeof(int)),
		};
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
		fds = (int *)CMSG_DATA(cmsg);
		if (!done)
			*fds++ = peer->watch.fd;
		memcpy(fds, peer->vectors->fds + (done ? done - 1 : 0),
		       (count - !done) * sizeof(int));
		if (sendmsg(box, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return -errno;
	}
	return 0;
}

static void box_name(char name[16], unsigned int id)
{
	snprintf(name, 16, "peer-%u", id);
}

/**
 * state_keep_peer() - Let the service manager keep what a new peer has.
 * @state: the state
 * @peer:  the peer, which nobody has been told of yet
 *
 * The kernel counts what is in boxes as on its way, and allows a user no more
 * of that than open files in a process.
 *
 * Return: 0; -EMFILE if that or the number of peers is too much; or another
 * negative errno.
 */
int state_keep_peer(struct state *state, const struct peer *peer)
{
	unsigned int count = box_count(peer);
	char name[16];
	int ends[2];
	int ret;

	if (!state->kept)
		return 0;
	if (state->boxes >= MAX_BOXES || state->boxed + count > state->limit)
		return -EMFILE;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return -errno;
	ret = box_fill(ends[0], peer);
	if (!ret) {
		box_name(name, peer->id);
		ret = service_store(name, ends[1]);
	}
	close(ends[0]);
	close(ends[1]);
	if (!ret) {
		state->boxed += count;
		state->boxes++;
	}
	return ret;
}

/**
 * state_remove_peer() - Write down that a peer is none any more.
 * @state: the state
 * @peer:  the peer
 */
void state_remove_peer(struct state *state, const struct peer *peer)
{
	ids_put(&state->data->ids, peer->id);
	state->data->peers[peer->id].gone = true;
}

/**
 * state_forget_peer() - Let the service manager drop what a peer had.
 * @state: the state
 * @peer:  the peer, which has been removed
 */
void state_forget_peer(struct state *state, const struct peer *peer)
{
	char name[16];

	if (!state->kept)
		return;
	box_name(name, peer->id);
	service_forget(name);
	state->boxed -= box_count(peer);
	state->boxes--;
}

/* Look at the next message of a box. Returns how many fds it had. */
static int box_peek(int box, struct box_message *message, int *fds)
{
	struct iovec iov = { message, sizeof(*message) };
	union {
		char space[CMSG_SPACE(BOX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	ssize_t n;
	int count;

	n = recvmsg(box, &msg, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -EINVAL;
	count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
	if (n == sizeof(*message) && !(msg.msg_flags & MSG_CTRUNC))
		return count;
	while (count)
		close(fds[--count]);
	return msg.msg_flags & MSG_CTRUNC ? -EMFILE : -EINVAL;
}

/* Returns how many fds there are, which @fds has room for. */
static int box_open(int box, struct box_message *message, int *fds)
{
	const int from = 0;
	int done = 0, ret;

	/* Each look is at the message after the one that was seen last. */
	if (setsockopt(box, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)))
		return -errno;
	do {
		ret = box_peek(box, message, fds + done);
		if (ret < 0)
			goto close_fds;
		done += ret;
		ret = -EINVAL;
		if (message->count > 1 + PROTOCOL_MAX_VECTORS ||
		    message->count < (uint32_t)done)
			goto close_fds;
	} while ((uint32_t)done < message->count);
	return done;

close_fds:
	while (done)
		close(fds[--done]);
	return ret;
}

/**
 * state_load_peer() - Make a peer again of what was kept.
 * @state: the state
 * @box:   the box
 *
 * Return: the peer, or NULL and errno.
 */
struct peer *state_load_peer(struct state *state, int box)
{
	int fds[1 + PROTOCOL_MAX_VECTORS + BOX_FDS];
	struct box_message message;
	struct state_peer *entry;
	struct peer *peer = NULL;
	struct fdset *vectors;
	int count = box_open(box, &message, fds);

	if (count < 0) {
		errno = -count;
		return NULL;
	}
	errno = EINVAL;
	if (count < 2 || message.id >= state->data->ids.fresh)
		goto fail;
	entry = &state->data->peers[message.id];
	if (entry->vectors != (uint32_t)count - 1)
		goto fail;

	vectors = fdset_from_fds(fds + 1, count - 1);
	if (!vectors)
		goto fail;
	peer = peer_create(fds[0], vectors);
	if (!peer) {
		close(fds[0]);
		fdset_put(vectors);
		return NULL;
	}
	peer->id = message.id;
	peer->joined = entry->joined;
	peer->since = entry->since;
	peer->queue.progress = &entry->progress;
	state->boxed += count;
	state->boxes++;
	return peer;

fail:
	while (count)
		close(fds[--count]);
	return NULL;
}
