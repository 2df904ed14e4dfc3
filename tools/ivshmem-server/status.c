// SPDX-License-Identifier: MIT
/*
 * What a server tells of itself.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "server.h"
#include "status.h"

#define QUERY_TIMEOUT_S	10

/**
 * status_request() - Tell what to ask for.
 * @format: how the answer is to be written
 *
 * Return: the line that a client sends, without its end.
 */
const char *status_request(enum status_format format)
{
	static const char * const requests[] = {
		[STATUS_TEXT]		= "text",
		[STATUS_JSON]		= "json",
		[STATUS_PROMETHEUS]	= "prometheus",
	};

	return requests[format];
}

struct status_peer {
	unsigned int id;
	unsigned int uid;
	int pid;
	unsigned int vectors;
	double connected;
	size_t queued;
	double waiting;
};

static double status_seconds(uint64_t since)
{
	return (loop_now() - since) / 1000.0;
}

static struct status_peer status_peer(const struct peer *peer)
{
	return (struct status_peer){
		.id = peer->id,
		.uid = peer->cred.uid,
		.pid = peer->cred.pid,
		.vectors = peer->vectors->count,
		.connected = status_seconds(peer->since),
		.queued = queue_length(&peer->queue),
		.waiting = queue_empty(&peer->queue) ? 0 :
			   status_seconds(queue_oldest(&peer->queue)),
	};
}

static void status_print_text(FILE *out, const struct server *server)
{
	const struct status_counts *counts = &server->counts;
	struct status_peer peer;
	size_t i;

	fprintf(out, "up for %.0f s, pid %d, version " IVSHMEM_VERSION "\n",
		status_seconds(server->started), getpid());
	fprintf(out, "memory of %ju bytes, %u vectors a peer\n",
		(uintmax_t)server->options.size, server->options.vectors);
	fprintf(out, "%ju joined, %ju left; disconnected: %ju stalled, %ju sent data, %ju failed\n",
		counts->joined, counts->left, counts->stalled,
		counts->misbehaved, counts->failed);
	fprintf(out, "refused: %ju by access lists, %ju by limits, %ju for want of something\n",
		counts->denied, counts->limited, counts->short_of);
	fprintf(out, "%zu peers\n", server->count);
	if (server->count)
		fprintf(out, "%6s %10s %8s %8s %12s %8s %10s\n", "ID", "UID",
			"PID", "VECTORS", "CONNECTED/s", "QUEUED", "WAITING/s");
	for (i = 0; i < server->count; i++) {
		peer = status_peer(server->peers[i]);
		fprintf(out, "%6u %10u %8d %8u %12.0f %8zu %10.1f\n", peer.id,
			peer.uid, peer.pid, peer.vectors, peer.connected,
			peer.queued, peer.waiting);
	}
}

static void status_print_json(FILE *out, const struct server *server)
{
	const struct status_counts *counts = &server->counts;
	struct status_peer peer;
	size_t i;

	fprintf(out, "{\"version\": \"" IVSHMEM_VERSION "\", \"pid\": %d,\n",
		getpid());
	fprintf(out, " \"uptime\": %.3f, \"memory\": %ju, \"vectors\": %u,\n",
		status_seconds(server->started),
		(uintmax_t)server->options.size, server->options.vectors);
	fprintf(out, " \"joined\": %ju, \"left\": %ju,\n", counts->joined,
		counts->left);
	fprintf(out, " \"disconnected\": {\"stalled\": %ju,", counts->stalled);
	fprintf(out, " \"misbehaved\": %ju, \"failed\": %ju},\n",
		counts->misbehaved, counts->failed);
	fprintf(out, " \"refused\": {\"access\": %ju, \"limit\": %ju, \"shortage\": %ju},\n",
		counts->denied, counts->limited, counts->short_of);
	fputs(" \"peers\": [", out);
	for (i = 0; i < server->count; i++) {
		peer = status_peer(server->peers[i]);
		fprintf(out, "%s\n  {\"id\": %u, \"uid\": %u, \"pid\": %d,",
			i ? "," : "", peer.id, peer.uid, peer.pid);
		fprintf(out, " \"vectors\": %u, \"connected\": %.3f,",
			peer.vectors, peer.connected);
		fprintf(out, " \"queued\": %zu, \"waiting\": %.3f}",
			peer.queued, peer.waiting);
	}
	fputs("]}\n", out);
}

static void status_print_metric(FILE *out, const char *name, const char *type,
				const char *help)
{
	fprintf(out, "# HELP ivshmem_%s %s\n# TYPE ivshmem_%s %s\n", name, help,
		name, type);
}

static void status_print_prometheus(FILE *out, const struct server *server)
{
	const struct status_counts *counts = &server->counts;
	struct status_peer peer;
	size_t i;

	status_print_metric(out, "uptime_seconds", "gauge",
			    "Time since the server started.");
	fprintf(out, "ivshmem_uptime_seconds %.3f\n",
		status_seconds(server->started));
	status_print_metric(out, "memory_bytes", "gauge",
			    "Size of the shared memory.");
	fprintf(out, "ivshmem_memory_bytes %ju\n",
		(uintmax_t)server->options.size);
	status_print_metric(out, "peers", "gauge", "Peers that are there.");
	fprintf(out, "ivshmem_peers %zu\n", server->count);
	status_print_metric(out, "joined_total", "counter",
			    "Clients that became peers.");
	fprintf(out, "ivshmem_joined_total %ju\n", counts->joined);
	status_print_metric(out, "left_total", "counter",
			    "Peers that are not there any more.");
	fprintf(out, "ivshmem_left_total{reason=\"left\"} %ju\n", counts->left);
	fprintf(out, "ivshmem_left_total{reason=\"stalled\"} %ju\n",
		counts->stalled);
	fprintf(out, "ivshmem_left_total{reason=\"misbehaved\"} %ju\n",
		counts->misbehaved);
	fprintf(out, "ivshmem_left_total{reason=\"failed\"} %ju\n",
		counts->failed);
	status_print_metric(out, "refused_total", "counter",
			    "Clients that could not join.");
	fprintf(out, "ivshmem_refused_total{reason=\"access\"} %ju\n",
		counts->denied);
	fprintf(out, "ivshmem_refused_total{reason=\"limit\"} %ju\n",
		counts->limited);
	fprintf(out, "ivshmem_refused_total{reason=\"shortage\"} %ju\n",
		counts->short_of);

	status_print_metric(out, "peer_queued_messages", "gauge",
			    "Messages that a peer has not taken yet.");
	for (i = 0; i < server->count; i++) {
		peer = status_peer(server->peers[i]);
		fprintf(out, "ivshmem_peer_queued_messages{id=\"%u\",uid=\"%u\"} %zu\n",
			peer.id, peer.uid, peer.queued);
	}
	status_print_metric(out, "peer_waiting_seconds", "gauge",
			    "For how long the oldest of them has waited.");
	for (i = 0; i < server->count; i++) {
		peer = status_peer(server->peers[i]);
		fprintf(out, "ivshmem_peer_waiting_seconds{id=\"%u\",uid=\"%u\"} %.3f\n",
			peer.id, peer.uid, peer.waiting);
	}
	status_print_metric(out, "peer_vectors", "gauge",
			    "Vectors that a peer has.");
	for (i = 0; i < server->count; i++) {
		peer = status_peer(server->peers[i]);
		fprintf(out, "ivshmem_peer_vectors{id=\"%u\",uid=\"%u\"} %u\n",
			peer.id, peer.uid, peer.vectors);
	}
}

/**
 * status_print() - Write the status.
 * @out:    where to
 * @format: how
 * @server: of which server
 */
void status_print(FILE *out, enum status_format format,
		  const struct server *server)
{
	switch (format) {
	case STATUS_JSON:
		status_print_json(out, server);
		break;
	case STATUS_PROMETHEUS:
		status_print_prometheus(out, server);
		break;
	default:
		status_print_text(out, server);
	}
}

static int status_copy(int sock, enum status_format format)
{
	char text[4096];
	ssize_t n;
	int len;

	len = snprintf(text, sizeof(text), "%s\n", status_request(format));
	if (send(sock, text, len, MSG_NOSIGNAL) != len)
		return -1;
	while ((n = recv(sock, text, sizeof(text), 0)) > 0)
		fwrite(text, 1, n, stdout);
	return n || fflush(stdout) || ferror(stdout) ? -1 : 0;
}

/**
 * status_query() - Ask a running server and print what it answers.
 * @path:   its control socket
 * @format: how it is to answer
 *
 * Return: 0, or -1 after a line in the log.
 */
int status_query(const char *path, enum status_format format)
{
	const struct timeval timeout = { .tv_sec = QUERY_TIMEOUT_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock, ret = -1;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		log_err("the path is too long: %s", path);
		return -1;
	}
	memcpy(addr.sun_path, path, strlen(path));
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock >= 0 &&
	    !setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &timeout,
			sizeof(timeout)) &&
	    !setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &timeout,
			sizeof(timeout)) &&
	    !connect(sock, (struct sockaddr *)&addr, sizeof(addr)))
		ret = status_copy(sock, format);
	if (ret)
		log_err("cannot ask %s: %s", path, errno == EAGAIN ?
			"no answer came in time" : strerror(errno));
	if (sock >= 0)
		close(sock);
	return ret;
}
