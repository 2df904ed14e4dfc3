// SPDX-License-Identifier: MIT
/*
 * The server: who is there, and who has to hear of whom.
 *
 * Nothing here waits for a client, and a client is only ever marked as gone
 * where that turns out: it may be in the middle of a walk over all peers, or
 * there may be an event for it that was fetched already. server_bury() frees it
 * when neither can be the case.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "memory.h"
#include "protocol.h"
#include "restore.h"
#include "server.h"
#include "service.h"

/* How soon to try again where the kernel has no event for the end of a lack. */
#define RETRY_SEND_MS	50
#define RETRY_ACCEPT_MS	500

/* When to warn: without any left, clients can be refused. */
#define IDS_MANY	(PROTOCOL_IDS / 4 * 3)

/* Refusals of a user's clients that are logged in a second. */
#define REFUSALS_LOGGED	10

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/**
 * server_part() - Mark a peer as gone.
 * @server: the server
 * @peer:   the peer; nothing happens if it is gone already
 * @error:  why, a negative errno
 */
void server_part(struct server *server, struct peer *peer, int error)
{
	if (peer->gone)
		return;
	peer->gone = true;
	peer->next = server->gone;
	server->gone = peer;

	switch (error) {
	case -ECONNRESET:
	case -EPIPE:
		server->counts.left++;
		log_info("peer %u left", peer->id);
		break;
	case -EPROTO:
		server->counts.misbehaved++;
		log_warn("peer %u disconnected: it sent data, clients only listen",
			 peer->id);
		break;
	case -ETIMEDOUT:
		server->counts.stalled++;
		log_warn("peer %u disconnected: it left a message waiting for %g s",
			 peer->id, server->options.stall_ms / 1000.0);
		break;
	case -ETOOMANYREFS:
		server->counts.stalled++;
		log_warn("peer %u disconnected: for %g s too many file descriptors were on their way",
			 peer->id, 2 * server->options.stall_ms / 1000.0);
		protocol_send(peer->watch.fd, error, -1);
		break;
	case -EILSEQ:
		log_warn("peer %u disconnected: the server was killed while sending it a message",
			 peer->id);
		/* In the handshake QEMU would spin if there were only an end. */
		protocol_send(peer->watch.fd, error, -1);
		break;
	default:
		server->counts.failed++;
		log_warn("peer %u disconnected: %s", peer->id, strerror(-error));
	}
}

static void server_send(struct server *server, struct peer *peer)
{
	uint64_t now = loop_now();
	bool starved = peer->starved;
	uint64_t then;
	int ret;

	if (peer->gone)
		return;

	ret = peer_send(peer, server->loop, now);
	if (ret) {
		server_part(server, peer, ret);
		return;
	}
	if (queue_empty(&peer->queue))
		return;

	if (peer->starved && !starved)
		log_warn("peer %u has to wait: too many file descriptors on their way, or no memory",
			 peer->id);
	then = peer->starved ? now + RETRY_SEND_MS :
	       peer_deadline(peer, server->options.stall_ms);
	server->check_at = earlier(server->check_at, then);
}

static void server_peer_ready(struct watch *watch, uint32_t events)
{
	struct peer *peer = container_of(watch, struct peer, watch);
	struct server *server = peer->server;
	int ret;

	if (events & ~EPOLLOUT) {
		ret = peer_receive(peer);
		if (ret)
			server_part(server, peer, ret);
	}
	if (events & EPOLLOUT)
		server_send(server, peer);
}

/* Try again to send to those that starve, and part from those that stall. */
static void server_check(struct server *server)
{
	uint64_t now = loop_now();
	uint64_t deadline;
	struct peer *peer;
	size_t i;

	if (now < server->check_at)
		return;

	server->check_at = LOOP_NEVER;
	for (i = 0; i < server->count; i++) {
		peer = server->peers[i];
		if (peer->gone || queue_empty(&peer->queue))
			continue;
		if (peer->starved) {
			server_send(server, peer);
			if (!peer->gone &&
			    peer_hopeless(peer, server->options.stall_ms, now))
				server_part(server, peer, -ETOOMANYREFS);
			continue;
		}
		deadline = peer_deadline(peer, server->options.stall_ms);
		if (now >= deadline)
			server_part(server, peer, -ETIMEDOUT);
		else
			server->check_at = earlier(server->check_at, deadline);
	}
}

static void server_listen(struct server *server, bool on)
{
	int ret = loop_change(server->loop, &server->listener, on ? EPOLLIN : 0);

	if (ret)
		log_err("cannot change what is watched: %s", strerror(-ret));
	server->listen_at = on ? LOOP_NEVER : loop_now() + RETRY_ACCEPT_MS;
}

static void server_publish(struct server *server)
{
	if (server->options.directory)
		directory_publish(&server->directory, server->peers,
				  server->count);
}

/* Ring all but one. */
static void server_notify(struct server *server, int vector,
			  const struct peer *except)
{
	struct peer *peer;
	size_t i;

	if (vector < 0)
		return;
	for (i = 0; i < server->count; i++) {
		peer = server->peers[i];
		if (peer != except && !peer->gone &&
		    (unsigned int)vector < peer->vectors->count)
			notify_ring(&server->notify, peer->vectors->fds[vector]);
	}
}

static void server_announce_departure(struct server *server, unsigned int id,
				      uint64_t number)
{
	struct peer *peer;
	size_t i;

	for (i = 0; i < server->count; i++) {
		peer = server->peers[i];
		if (peer->gone)
			continue;
		if (queue_reserve(&peer->queue, 1)) {
			server_part(server, peer, -ENOMEM);
			continue;
		}
		queue_push(&peer->queue, number, id, NULL, loop_now());
		server_send(server, peer);
	}
}

static void server_remove(struct server *server, struct peer *peer)
{
	struct peer **place = server->peers;

	while (*place != peer)
		place++;
	server->count--;
	memmove(place, place + 1, (server->peers + server->count - place) *
		sizeof(*place));
}

/* Free the peers that are gone; more may go while the others are told. */
static void server_bury(struct server *server)
{
	struct peer *peer;
	uint64_t number;

	while (server->gone) {
		peer = server->gone;
		server->gone = peer->next;
		server_remove(server, peer);

		number = ids_next_event(&server->state.data->ids);
		state_remove_peer(&server->state, peer);
		state_forget_peer(&server->state, peer);
		server_publish(server);
		if (!server->options.quiet_departures)
			server_announce_departure(server, peer->id, number);
		server_notify(server, server->options.notify_leave, peer);
		loop_remove(server->loop, &peer->watch);
		close(peer->watch.fd);
		fdset_replace(peer->vectors, server->nobody);
		peer_free(peer);

		if (server->listen_at != LOOP_NEVER)
			server_listen(server, true);
	}
}

/*
 * Without one more file descriptor the next client could not even be accepted
 * to be told that there is no room for it.
 */
static int server_check_spare(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/**
 * server_reserve_peer() - Make room for one more in @server->peers.
 * @server: the server
 *
 * Return: 0 or -ENOMEM.
 */
int server_reserve_peer(struct server *server)
{
	struct peer **peers;
	size_t capacity;

	if (server->count == server->capacity) {
		capacity = server->capacity ? server->capacity * 2 : 16;
		peers = realloc(server->peers, capacity * sizeof(*peers));
		if (!peers)
			return -ENOMEM;
		server->peers = peers;
		server->capacity = capacity;
	}
	return 0;
}

/* Make room for a peer in all that has to know of it, or in nothing. */
static int server_reserve(struct server *server, struct peer *newcomer)
{
	int ret = server_reserve_peer(server);
	size_t i;

	if (ret)
		return ret;

	/* Version, id, memory, the others, its own vectors. */
	ret = queue_reserve(&newcomer->queue, server->count + 4);
	for (i = 0; !ret && i < server->count; i++)
		ret = queue_reserve(&server->peers[i]->queue, 1);
	return ret;
}

static uint64_t server_oldest_join(const struct server *server)
{
	uint64_t oldest = UINT64_MAX;
	size_t i;

	for (i = 0; i < server->count; i++)
		oldest = earlier(oldest, server->peers[i]->joined);
	return oldest;
}

static void server_introduce(struct server *server, struct peer *newcomer)
{
	uint64_t now = loop_now();
	struct peer *peer;
	size_t i;

	queue_push(&newcomer->queue, 0, PROTOCOL_VERSION, NULL, now);
	queue_push(&newcomer->queue, 1, newcomer->id, NULL, now);
	queue_push(&newcomer->queue, 2, PROTOCOL_MEMORY, server->memory, now);
	for (i = 0; i < server->count; i++) {
		peer = server->peers[i];
		queue_push(&newcomer->queue, peer->joined, peer->id,
			   peer->vectors, now);
		queue_push(&peer->queue, newcomer->joined, newcomer->id,
			   newcomer->vectors, now);
	}
	queue_push(&newcomer->queue, newcomer->joined, newcomer->id,
		   newcomer->vectors, now);

	server->peers[server->count++] = newcomer;
	server_publish(server);
	for (i = 0; i < server->count; i++)
		server_send(server, server->peers[i]);
	server_notify(server, server->options.notify_join, newcomer);
}

static int server_join(struct server *server, int sock, uid_t uid)
{
	struct ids *ids = &server->state.data->ids;
	struct fdset *vectors;
	struct peer *peer;
	int ret;

	vectors = fdset_from_eventfds(access_vectors(&server->options.access, uid,
						     server->options.vectors));
	if (!vectors)
		return -errno;
	peer = peer_create(sock, vectors);
	if (!peer) {
		ret = -errno;
		fdset_put(vectors);
		return ret;
	}

	ret = server_check_spare();
	if (ret)
		goto free_peer;
	ret = server_reserve(server, peer);
	if (ret)
		goto free_peer;
	peer->server = server;
	peer->watch.ready = server_peer_ready;
	ret = loop_add(server->loop, &peer->watch, EPOLLIN);
	if (ret)
		goto free_peer;
	peer->joined = ids_next_event(ids);
	ret = ids_get(ids, server_oldest_join(server));
	if (ret < 0)
		goto free_peer;
	peer->id = ret;
	if (peer->id == IDS_MANY - 1 && ids->fresh == IDS_MANY)
		log_warn("three quarters of all ids have been used, by clients that come and go: is --max-rate set?");
	peer->since = loop_now();
	state_add_peer(&server->state, peer);
	ret = state_keep_peer(&server->state, peer);
	if (ret)
		goto remove_peer;
	server->counts.joined++;

	log_info("peer %u joined (pid %d, uid %u)", peer->id, peer->cred.pid,
		 peer->cred.uid);
	server_introduce(server, peer);
	return 0;

remove_peer:
	loop_remove(server->loop, &peer->watch);
	state_remove_peer(&server->state, peer);
free_peer:
	peer_free(peer);
	return ret;
}

static size_t server_count_peers(const struct server *server, uid_t uid)
{
	size_t count = 0, i;

	for (i = 0; i < server->count; i++)
		count += server->peers[i]->cred.uid == uid;
	return count;
}

/* Whether the client may join: 0 or a negative errno. */
static int server_admit(struct server *server, int sock,
			const struct ucred *cred)
{
	const struct access *access = &server->options.access;
	int ret;

	if (access->max_rate) {
		ret = rate_take(&server->rates, cred->uid, access->max_rate,
				loop_now());
		if (ret)
			return ret;
	}
	ret = access_check(access, sock, cred);
	if (ret)
		return ret;
	if (access->max_peers &&
	    server_count_peers(server, cred->uid) >= access->max_peers)
		return -EDQUOT;
	return 0;
}

/* How important a line about a refused client is: the log is not its to fill. */
static int server_refusal_level(struct server *server, uid_t uid, int error)
{
	if (error == -EALREADY)
		return LOG_DEBUG;
	switch (rate_take(&server->refused, uid, REFUSALS_LOGGED, loop_now())) {
	case 0:
		return LOG_WARNING;
	case -EAGAIN:
		log_warn("more clients of uid %u are refused than are logged",
			 uid);
	}
	return LOG_DEBUG;
}

static void server_refuse(struct server *server, int sock,
			  const struct ucred *cred, int error)
{
	const char *why;

	switch (error) {
	case -EACCES:
		server->counts.denied++;
		why = "the access lists do not name it";
		break;
	case -EAGAIN:
	case -EALREADY:
		server->counts.limited++;
		why = "too many of this user's have come within a second";
		break;
	case -EDQUOT:
		server->counts.limited++;
		why = "its user has as many peers as allowed";
		break;
	case -EUSERS:
		server->counts.short_of++;
		why = "all ids are used up, and clients that know them are still here";
		break;
	default:
		server->counts.short_of++;
		why = strerror(-error);
	}
	log_print(server_refusal_level(server, cred->uid, error),
		  "refused a client (pid %d, uid %u): %s", cred->pid, cred->uid,
		  why);
	protocol_refuse(sock, error == -EALREADY ? EAGAIN : -error);
}

static bool hung_up(int sock)
{
	char byte;

	return !recv(sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
}

static void server_accept(struct server *server)
{
	struct ucred cred = { .uid = -1 };
	socklen_t len = sizeof(cred);
	int sock, ret;

	server->connecting = false;
	sock = accept4(server->listener.fd, NULL, NULL,
		       SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		if (!server->unable)
			log_warn("clients that connect now have to wait: %s",
				 strerror(errno));
		server->unable = true;
		server_listen(server, false);
		return;
	}
	server->unable = false;

	/* It would only use up an id. */
	if (hung_up(sock)) {
		log_debug("a client was gone before it could join");
		close(sock);
		return;
	}

	ret = getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) ?
	      -errno : server_admit(server, sock, &cred);
	if (!ret)
		ret = server_join(server, sock, cred.uid);
	if (ret)
		server_refuse(server, sock, &cred, ret);
}

static void server_listener_ready(struct watch *watch, uint32_t events)
{
	struct server *server = container_of(watch, struct server, listener);

	(void)events;
	server->connecting = true;
}

static void server_signals_ready(struct watch *watch, uint32_t events)
{
	struct server *server = container_of(watch, struct server, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		service_reloading();
		if (!options_reload(&server->options))
			log_info("the access lists have been read again");
		service_ready();
		return;
	}
	log_info("%s: ending", strsignal(info.ssi_signo));
	server->stop = true;
}

static int server_open_loop(struct server *server)
{
	sigset_t set;
	int ret;

	server->loop = loop_open();
	if (server->loop < 0)
		return server->loop;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	server->signals.ready = server_signals_ready;
	server->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (server->signals.fd < 0)
		return -errno;

	server->nobody = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->nobody < 0)
		return -errno;

	server->listener.ready = server_listener_ready;
	ret = loop_add(server->loop, &server->listener, EPOLLIN);
	if (ret)
		return ret;
	return loop_add(server->loop, &server->signals, EPOLLIN);
}

static int server_begin(struct server *server)
{
	int ret = state_create(&server->state, server->options.size,
			       server->options.fd_store);

	if (!ret && server->state.kept)
		ret = service_store("memory", server->memory->fds[0]);
	if (!ret && server->state.kept && server->memory_lock >= 0)
		ret = service_store("lock", server->memory_lock);
	return ret;
}

/* Nothing of what another server has left can be used. */
static void server_forget(struct server *server, struct service_fd *fds,
			  int count)
{
	int i;

	if (server->memory_lock >= 0)
		close(server->memory_lock);
	for (i = 0; i < count; i++)
		if (!strncmp(fds[i].name, "peer-", 5))
			service_forget(fds[i].name);
	service_forget("memory");
	service_forget("state");
	service_forget("lock");
}

/* Go on with the peers that another server has left. */
static int server_take_over(struct server *server, struct service_fd *fds,
			    int count)
{
	struct peer *peer;
	size_t i;
	int ret;

	ret = restore_peers(server, fds, count);
	if (!ret)
		ret = restore_queues(server);
	for (i = 0; !ret && i < server->count; i++) {
		peer = server->peers[i];
		peer->server = server;
		peer->watch.ready = server_peer_ready;
		ret = loop_add(server->loop, &peer->watch, EPOLLIN);
		if (!ret)
			server_send(server, peer);
	}
	if (!ret && server->state.data->ids.events)
		log_info("took over %zu peers; ids go on from %u", server->count,
			 server->state.data->ids.fresh);
	server_publish(server);
	server_bury(server);
	return ret;
}

/* What a process takes over, or begins with. Returns 0 or a negative errno. */
static int server_open_memory(struct server *server, struct service_fd *fds,
			      int count)
{
	int memory = service_take_fd(fds, count, "memory");
	int state = service_take_fd(fds, count, "state");
	uint64_t size = server->options.size;
	int ret = -ENOENT;
	struct stat st;

	server->memory_lock = service_take_fd(fds, count, "lock");
	if (state >= 0 && memory >= 0 && !fstat(memory, &st)) {
		ret = state_open(&server->state, state, st.st_size);
		if (ret)
			log_warn("cannot go on where the last server ended: %s",
				 strerror(-ret));
	}
	if (state >= 0)
		close(state);
	if (!ret) {
		server->options.size = server->state.data->size;
		if (size != server->options.size)
			log_warn("the memory keeps its size of %ju bytes until the service is stopped",
				 (uintmax_t)server->options.size);
	} else {
		if (memory >= 0)
			close(memory);
		server_forget(server, fds, count);
		memory = memory_create(&server->options, &server->memory_lock);
		if (memory < 0)
			return memory;
	}

	server->memory = fdset_from_fd(memory);
	if (!server->memory) {
		close(memory);
		ret = -ENOMEM;
	} else if (ret) {
		ret = server_begin(server);
	}
	if (ret)
		log_err("cannot start: %s", strerror(-ret));
	return ret;
}

static int server_open_listener(struct server *server, struct service_fd *fds,
				int count)
{
	const char *path = server->options.socket;
	int ret = 0;

	server->listener.fd = service_take_listener(fds, count);
	if (server->listener.fd < 0 && !path) {
		log_err("the service manager has passed no socket to listen on");
		return -ENOTSOCK;
	}
	if (server->listener.fd >= 0) {
		if (fcntl(server->listener.fd, F_SETFL, O_NONBLOCK))
			ret = -errno;
		if (path && !socket_is_at(server->listener.fd, path)) {
			log_warn("--socket %s is not used: the service manager has passed another one",
				 path);
			server->options.socket = NULL;
		}
	} else {
		server->listener.fd = socket_listen(&server->file, path,
						    &server->options.file_access);
		if (server->listener.fd < 0)
			return server->listener.fd;
		if (server->state.kept)
			ret = service_store("listener", server->listener.fd);
	}
	if (ret)
		log_err("cannot start: %s", strerror(-ret));
	return ret;
}

/**
 * server_open() - Get everything that a server needs.
 * @server: all zero but for @server->options; has to be closed even if this fails
 *
 * Return: 0, or a negative errno after a line in the log.
 */
int server_open(struct server *server)
{
	const struct options *options = &server->options;
	struct service_fd *fds;
	int count, ret;

	server->loop = -1;
	server->listener.fd = -1;
	server->signals.fd = -1;
	server->memory_lock = -1;
	server->nobody = -1;
	control_init(&server->control);
	server->started = loop_now();
	server->check_at = LOOP_NEVER;
	server->listen_at = LOOP_NEVER;
	server->alive_at = service_watchdog() == LOOP_NEVER ? LOOP_NEVER : 0;

	if (options->fd_store && !service_present()) {
		log_err("--fd-store: there is no service manager");
		return -ENOTCONN;
	}
	count = service_fds(&fds);
	if (count < 0) {
		log_err("cannot take what the service manager passes: %s",
			strerror(-count));
		return count;
	}
	ret = server_open_memory(server, fds, count);
	if (!ret && options->directory && options->size < DIRECTORY_MIN_SIZE) {
		log_warn("--directory is not possible: the memory that was kept is too small");
		server->options.directory = false;
	}
	if (!ret && options->directory)
		ret = directory_open(&server->directory, server->memory->fds[0],
				     options->size);
	if (!ret && (options->notify_join >= 0 || options->notify_leave >= 0))
		ret = notify_open(&server->notify);
	if (!ret)
		ret = server_open_listener(server, fds, count);
	if (!ret) {
		ret = server_open_loop(server);
		if (!ret)
			ret = server_take_over(server, fds, count);
		if (ret)
			log_err("cannot start: %s", strerror(-ret));
	}
	if (!ret && options->control)
		ret = control_open(&server->control, server);
	service_free_fds(fds, count);
	return ret;
}

static void server_show_life(struct server *server)
{
	uint64_t now = loop_now();

	if (now < server->alive_at)
		return;
	service_alive();
	server->alive_at = now + service_watchdog();
}

/**
 * server_run() - Serve until a signal asks for the end.
 * @server: the server
 *
 * Return: 0, or a negative errno after a line in the log.
 */
int server_run(struct server *server)
{
	int ret;

	service_ready();
	while (!server->stop) {
		server_show_life(server);
		ret = loop_wait(server->loop,
				earlier(earlier(server->check_at,
						server->listen_at),
					server->alive_at));
		if (ret) {
			log_err("cannot wait for clients: %s", strerror(-ret));
			return ret;
		}
		server_check(server);
		server_bury(server);
		if (server->connecting) {
			server_accept(server);
			server_bury(server);
		}
		if (loop_now() >= server->listen_at)
			server_listen(server, true);
	}
	return 0;
}

/**
 * server_close() - Remove the socket and let everything go.
 * @server: the server, which server_open() was called for
 *
 * Clients see the end of the connection. They keep the memory and the doorbells
 * that they have. With --fd-store they see nothing: the service manager still
 * has what is closed here.
 */
void server_close(struct server *server)
{
	struct peer *peer;

	service_stopping();
	if (server->listener.fd >= 0) {
		if (server->file.path && !server->state.kept)
			socket_remove(&server->file);
		close(server->listener.fd);
	}
	while (server->count) {
		peer = server->peers[--server->count];
		close(peer->watch.fd);
		peer_free(peer);
	}
	free(server->peers);
	control_close(&server->control);
	notify_close(&server->notify);
	directory_close(&server->directory);
	rate_free(&server->rates);
	rate_free(&server->refused);
	state_close(&server->state);
	fdset_put(server->memory);
	if (server->memory_lock >= 0)
		close(server->memory_lock);
	if (server->nobody >= 0)
		close(server->nobody);
	if (server->signals.fd >= 0)
		close(server->signals.fd);
	if (server->loop >= 0)
		close(server->loop);
}
