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
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "memory.h"
#include "protocol.h"
#include "server.h"

/* How soon to try again where the kernel has no event for the end of a lack. */
#define RETRY_SEND_MS	50
#define RETRY_ACCEPT_MS	500

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void server_part(struct server *server, struct peer *peer, int error)
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

static void server_announce_departure(struct server *server, unsigned int id)
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
		queue_push(&peer->queue, id, NULL, loop_now());
		server_send(server, peer);
	}
}

/* Free the peers that are gone; more may go while the others are told. */
static void server_bury(struct server *server)
{
	struct peer *peer, *last;

	while (server->gone) {
		peer = server->gone;
		server->gone = peer->next;

		last = server->peers[--server->count];
		last->index = peer->index;
		server->peers[last->index] = last;

		ids_put(&server->ids, peer->id);
		server_publish(server);
		if (!server->options.quiet_departures)
			server_announce_departure(server, peer->id);
		server_notify(server, server->options.notify_leave, peer);
		close(peer->watch.fd);
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

/* Make room for a peer in all that has to know of it, or in nothing. */
static int server_reserve(struct server *server, struct peer *newcomer)
{
	struct peer **peers;
	size_t i, capacity;
	int ret;

	if (server->count == server->capacity) {
		capacity = server->capacity ? server->capacity * 2 : 16;
		peers = realloc(server->peers, capacity * sizeof(*peers));
		if (!peers)
			return -ENOMEM;
		server->peers = peers;
		server->capacity = capacity;
	}

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

	queue_push(&newcomer->queue, PROTOCOL_VERSION, NULL, now);
	queue_push(&newcomer->queue, newcomer->id, NULL, now);
	queue_push(&newcomer->queue, PROTOCOL_MEMORY, server->memory, now);
	for (i = 0; i < server->count; i++) {
		peer = server->peers[i];
		queue_push(&newcomer->queue, peer->id, peer->vectors, now);
		queue_push(&peer->queue, newcomer->id, newcomer->vectors, now);
	}
	queue_push(&newcomer->queue, newcomer->id, newcomer->vectors, now);

	newcomer->index = server->count;
	server->peers[server->count++] = newcomer;
	server_publish(server);
	for (i = 0; i < server->count; i++)
		server_send(server, server->peers[i]);
	server_notify(server, server->options.notify_join, newcomer);
}

static int server_join(struct server *server, int sock, uid_t uid)
{
	unsigned int vectors;
	struct peer *peer;
	int ret;

	vectors = access_vectors(&server->options.access, uid,
				 server->options.vectors);
	peer = peer_create(sock, vectors);
	if (!peer)
		return -errno;

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
	peer->joined = server->ids.joins;
	ret = ids_get(&server->ids, server_oldest_join(server));
	if (ret < 0)
		goto free_peer;
	peer->id = ret;
	peer->since = loop_now();
	server->counts.joined++;

	log_info("peer %u joined (pid %d, uid %u)", peer->id, peer->cred.pid,
		 peer->cred.uid);
	server_introduce(server, peer);
	return 0;

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
	log_print(error == -EALREADY ? LOG_DEBUG : LOG_WARNING,
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
		if (!options_reload(&server->options))
			log_info("the access lists have been read again");
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

	server->listener.ready = server_listener_ready;
	ret = loop_add(server->loop, &server->listener, EPOLLIN);
	if (ret)
		return ret;
	return loop_add(server->loop, &server->signals, EPOLLIN);
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
	int fd, ret;

	server->loop = -1;
	server->listener.fd = -1;
	server->signals.fd = -1;
	server->memory_lock = -1;
	control_init(&server->control);
	server->started = loop_now();
	server->check_at = LOOP_NEVER;
	server->listen_at = LOOP_NEVER;

	fd = memory_create(options, &server->memory_lock);
	if (fd < 0)
		return fd;
	server->memory = fdset_from_fd(fd);
	if (!server->memory) {
		close(fd);
		log_err("cannot start: %s", strerror(ENOMEM));
		return -ENOMEM;
	}

	if (options->directory) {
		ret = directory_open(&server->directory, fd, options->size);
		if (ret)
			return ret;
		server_publish(server);
	}
	if (options->notify_join >= 0 || options->notify_leave >= 0) {
		ret = notify_open(&server->notify);
		if (ret)
			return ret;
	}

	server->listener.fd = socket_listen(&server->file, options->socket,
					    &options->file_access);
	if (server->listener.fd < 0)
		return server->listener.fd;

	ret = server_open_loop(server);
	if (ret)
		log_err("cannot start: %s", strerror(-ret));
	else if (options->control)
		ret = control_open(&server->control, server);
	return ret;
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

	while (!server->stop) {
		ret = loop_wait(server->loop, earlier(server->check_at,
						      server->listen_at));
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
 * that they have.
 */
void server_close(struct server *server)
{
	struct peer *peer;

	if (server->listener.fd >= 0) {
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
	fdset_put(server->memory);
	if (server->memory_lock >= 0)
		close(server->memory_lock);
	if (server->signals.fd >= 0)
		close(server->signals.fd);
	if (server->loop >= 0)
		close(server->loop);
}
