// SPDX-License-Identifier: MIT
/*
 * libFuzzer on how clients behave: bytes are a script of clients that connect,
 * read a little, send, hang up, stall and ring, and of calls that fail for want
 * of something. The whole server runs beside it in the same thread: whenever it
 * has nothing to do and would wait, the script goes on. The time is the script's.
 *
 * Whatever happens, each client must be told of peers in step, those that did
 * nothing wrong must stay, and in the end know each other, and nothing of them
 * all may be left. The socket is in the current folder.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "log.h"
#include "protocol.h"
#include "receive.h"
#include "server.h"

#define CLIENTS		6
/* Joins of one script; ids begin anew with each. */
#define IDS		32
#define MAX_VECTORS	4
#define START_MS	1000
#define STALL_MS	1000
#define STEP_MS		50
/* What of a message's way the kernel buffers: as little as can be. */
#define BUFFER		1

/**
 * enum call - What can fail.
 * @CALL_ACCEPT:  accept4()
 * @CALL_EVENTFD: eventfd()
 * @CALL_MALLOC:  malloc(), calloc() and realloc()
 * @CALL_SEND:    sendmsg()
 * @CALLS:        how many there are
 */
enum call {
	CALL_ACCEPT,
	CALL_EVENTFD,
	CALL_MALLOC,
	CALL_SEND,
	CALLS,
};

/**
 * struct client - A client and what it has been told.
 * @sock:     its socket, or -1
 * @messages: how many it has got
 * @id:       its id
 * @run:      the peer whose vectors are being told
 * @left:     how many of them are still to come
 * @known:    how many vectors of each peer it knows; below zero after it left
 * @fds:      the vectors
 * @done:     the handshake is over
 * @end:      the server has hung up, or said why it is about to
 * @guilty:   it has given the server a reason to do so
 * @sent:     it has sent something, which is the end of it
 * @deaf:     it does not want to read, which the server learns when it sends
 */
struct client {
	int sock;
	unsigned int messages;
	int id;
	int run;
	int left;
	int known[IDS];
	int fds[IDS][MAX_VECTORS];
	bool done;
	bool end;
	bool guilty;
	bool sent;
	bool deaf;
};

static struct server server;
static struct notify kept;
static struct client clients[CLIENTS];
static const uint8_t *script, *script_end;
static uint64_t now_ms;
static unsigned int connects, failing[CALLS], after[CALLS];
static bool in_server, failed;

/* Whether this call is to fail. The script's own do not. */
static bool fails(enum call call)
{
	if (!in_server || !failing[call])
		return false;
	if (after[call]) {
		after[call]--;
		return false;
	}
	failing[call]--;
	failed = true;
	return true;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	CHECK(clock == CLOCK_MONOTONIC);
	now->tv_sec = now_ms / 1000;
	now->tv_nsec = now_ms % 1000 * 1000000;
	return 0;
}

int __wrap_accept4(int sock, struct sockaddr *addr, socklen_t *len, int flags)
{
	const int buffer = BUFFER;
	int client;

	if (fails(CALL_ACCEPT)) {
		errno = EMFILE;
		return -1;
	}
	client = __real_accept4(sock, addr, len, flags);
	if (client >= 0)
		CHECK(!setsockopt(client, SOL_SOCKET, SO_SNDBUF, &buffer,
				  sizeof(buffer)));
	return client;
}

int __wrap_eventfd(unsigned int count, int flags)
{
	if (fails(CALL_EVENTFD)) {
		errno = EMFILE;
		return -1;
	}
	return __real_eventfd(count, flags);
}

/* Ending what rings takes longer than all the rest, so it stays. */
int __wrap_notify_open(struct notify *notify)
{
	*notify = kept;
	return 0;
}

void __wrap_notify_close(struct notify *notify)
{
	*notify = (struct notify){ 0 };
}

void *__wrap_malloc(size_t size)
{
	return fails(CALL_MALLOC) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails(CALL_MALLOC) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails(CALL_MALLOC) ? NULL : __real_realloc(old, size);
}

ssize_t __wrap_sendmsg(int sock, const struct msghdr *msg, int flags)
{
	static const int errors[] = { ETOOMANYREFS, ENOBUFS, ENOMEM };

	if (fails(CALL_SEND)) {
		errno = errors[failing[CALL_SEND] % 3];
		return -1;
	}
	return __real_sendmsg(sock, msg, flags);
}

static uint8_t next_byte(void)
{
	return script < script_end ? *script++ : 0;
}

/* Checks a message against all that came before it. */
static void take(struct client *client, int64_t value, int fd)
{
	unsigned int number = client->messages++;

	CHECK(!client->end);
	/* A reason to hang up, in place of anything else. */
	if (value < 0 && (number != 2 || fd < 0)) {
		CHECK(fd < 0 && (failed || client->guilty));
		client->end = true;
	} else if (number == 0) {
		CHECK(value == PROTOCOL_VERSION && fd < 0);
	} else if (number == 1) {
		CHECK(value < IDS && fd < 0);
		client->id = value;
	} else if (number == 2) {
		CHECK(value == PROTOCOL_MEMORY);
		close(fd);
	} else if (fd < 0) {
		CHECK(client->done && !client->left && value < IDS);
		CHECK(!server.options.quiet_departures);
		CHECK(client->known[value] > 0);
		client->known[value] = -1;
	} else {
		if (!client->left) {
			CHECK(value < IDS && !client->known[value]);
			client->run = value;
			client->left = server.options.vectors;
		}
		CHECK(value == client->run);
		client->fds[value][client->known[value]++] = fd;
		if (!--client->left && value == client->id)
			client->done = true;
	}
}

/* Reads one message; false if there is none. */
static bool take_next(struct client *client)
{
	uint64_t value;
	ssize_t n;
	int fd;

	if (client->sock < 0)
		return false;
	n = receive_message(client->sock, &value, &fd);
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		CHECK(!n || errno == ECONNRESET);
		CHECK(client->end || failed || client->guilty);
		client->end = true;
		return false;
	}
	take(client, le64toh(value), fd);
	return true;
}

static void client_connect(struct client *client)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "fuzzed" };

	if (client->sock >= 0 || connects == IDS)
		return;
	connects++;
	memset(client, 0, sizeof(*client));
	client->id = -1;
	client->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK(client->sock >= 0);
	CHECK(!connect(client->sock, (struct sockaddr *)&addr, sizeof(addr)));
}

static void client_close(struct client *client)
{
	int id, i;

	if (client->sock < 0)
		return;
	close(client->sock);
	client->sock = -1;
	for (id = 0; id < IDS; id++)
		for (i = 0; i < MAX_VECTORS; i++)
			if (client->fds[id][i])
				close(client->fds[id][i]);
}

/* Makes one of its own doorbells full, and such that it blocks who writes. */
static void client_block(struct client *client)
{
	int fd = client->done ? client->fds[client->id][0] : -1;

	if (client->sock < 0 || fd < 0)
		return;
	CHECK(!fcntl(fd, F_SETFL, O_NONBLOCK));
	eventfd_write(fd, UINT64_MAX - 1);
	CHECK(!fcntl(fd, F_SETFL, 0));
}

static void client_send(struct client *client, bool with_fd)
{
	if (client->sock < 0)
		return;
	client->guilty = true;
	if (!protocol_send(client->sock, next_byte(), with_fd ? STDIN_FILENO : -1))
		client->sent = true;
}

static void client_shutdown(struct client *client, int how)
{
	if (client->sock < 0)
		return;
	client->guilty = true;
	client->deaf = client->deaf || how == SHUT_RD;
	shutdown(client->sock, how);
}

static void pass_time(unsigned int ms)
{
	int i;

	now_ms += ms;
	/* Not all are late, but any can be. */
	if (now_ms - START_MS >= STALL_MS)
		for (i = 0; i < CLIENTS; i++)
			clients[i].guilty = true;
}

static void fail(uint8_t byte)
{
	const enum call call = byte % CALLS;

	after[call] = byte / CALLS % 8;
	failing[call] = 1 + byte / CALLS / 8;
}

/* One step of the script; true if the server is to look what has happened. */
static bool step(void)
{
	const uint8_t byte = next_byte();
	struct client *client = &clients[byte % CLIENTS];
	int n;

	switch (byte / CLIENTS % 20) {
	case 0 ... 4:
		client_connect(client);
		break;
	case 5 ... 8:
		for (n = next_byte() % 32; n && take_next(client); n--)
			;
		break;
	case 9 ... 10:
		while (take_next(client))
			;
		break;
	case 11 ... 12:
		client_close(client);
		break;
	case 13:
		client_send(client, false);
		break;
	case 14:
		client_send(client, true);
		break;
	case 15:
		client_shutdown(client, next_byte() & 1 ? SHUT_WR : SHUT_RD);
		break;
	case 16:
		client_block(client);
		break;
	case 17:
		pass_time(next_byte() * 5);
		break;
	case 18 ... 19:
		fail(next_byte());
		break;
	}
	return !(next_byte() & 1);
}

/* All read all; true if anything came. */
static bool read_all(void)
{
	bool any = false;
	int i;

	for (i = 0; i < CLIENTS; i++)
		while (take_next(&clients[i]))
			any = true;
	return any;
}

static bool is_peer(const struct client *client)
{
	return client->sock >= 0 && !client->end;
}

/* Whether two know the same doorbells of one of them, in the same order. */
static void check_doorbells(const struct client *one,
			    const struct client *other)
{
	uint64_t count;
	unsigned int i;
	int *fds;

	CHECK(one->known[other->id] == (int)server.options.vectors);
	for (i = 0; i < server.options.vectors; i++) {
		fds = clients[other - clients].fds[other->id];
		CHECK(!fcntl(fds[i], F_SETFL, O_NONBLOCK));
		while (!eventfd_read(fds[i], &count))
			;
		CHECK(!eventfd_write(one->fds[other->id][i], 7));
		CHECK(!eventfd_read(fds[i], &count) && count == 7);
	}
}

/* Who is still there knows who is still there. */
static void check_peers(void)
{
	unsigned int peers = 0;
	int i, j;

	for (i = 0; i < CLIENTS; i++) {
		if (!is_peer(&clients[i]))
			continue;
		CHECK(clients[i].done && !clients[i].left && !clients[i].sent);
		peers++;
		for (j = 0; j < CLIENTS; j++)
			if (is_peer(&clients[j]))
				check_doorbells(&clients[i], &clients[j]);
	}
	CHECK(server.count == peers);
	CHECK(server.counts.joined == server.counts.left +
	      server.counts.stalled + server.counts.misbehaved +
	      server.counts.failed + peers);
}

/**
 * enum phase - How far a script is.
 * @PHASE_SCRIPT: its bytes
 * @PHASE_SETTLE: all are to get what they have not got yet
 * @PHASE_LEAVE:  all have left
 */
static enum phase {
	PHASE_SCRIPT,
	PHASE_SETTLE,
	PHASE_LEAVE,
} phase;

static unsigned int quiet_steps;

/* The server has nothing to do. */
static void idle(void)
{
	int i;

	switch (phase) {
	case PHASE_SCRIPT:
		while (script < script_end && !step())
			;
		if (script < script_end)
			break;
		memset(failing, 0, sizeof(failing));
		for (i = 0; i < CLIENTS; i++)
			if (clients[i].deaf)
				client_close(&clients[i]);
		quiet_steps = 0;
		phase = PHASE_SETTLE;
		break;
	case PHASE_SETTLE:
		if (read_all()) {
			quiet_steps = 0;
			break;
		}
		/* Whatever it tries again, it does within this time. */
		now_ms += STEP_MS;
		if (++quiet_steps * STEP_MS <= STALL_MS)
			break;
		check_peers();
		for (i = 0; i < CLIENTS; i++)
			client_close(&clients[i]);
		phase = PHASE_LEAVE;
		break;
	case PHASE_LEAVE:
		CHECK(!server.count && !server.gone);
		server.stop = true;
	}
}

int __wrap_epoll_wait(int loop, struct epoll_event *events, int count,
		      int timeout)
{
	int n = __real_epoll_wait(loop, events, count, 0);

	(void)timeout;
	if (!n) {
		in_server = false;
		idle();
		in_server = true;
	}
	return n;
}

static unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	CHECK(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void begin(uint8_t how)
{
	struct options *options = &server.options;

	memset(&server, 0, sizeof(server));
	options->socket = "fuzzed";
	options->file_access = (struct socket_access){ -1, -1, -1 };
	options->size = DIRECTORY_MIN_SIZE;
	options->node = -1;
	options->stall_ms = STALL_MS;
	options->vectors = 1 + how % MAX_VECTORS;
	options->quiet_departures = how & 4;
	options->directory = how & 8;
	options->notify_join = how & 16 ? 0 : -1;
	options->notify_leave = how & 32 ? 0 : -1;
}

int fuzz_one_input(const uint8_t *data, size_t size)
{
	unsigned int before;
	sigset_t mask;
	int i;

	if (!kept.context)
		CHECK(!__real_notify_open(&kept));
	before = count_fds();
	log_set_level(LOG_CRIT);
	script = data;
	script_end = data + size;
	now_ms = START_MS;
	connects = 0;
	failed = false;
	phase = PHASE_SCRIPT;
	for (i = 0; i < CLIENTS; i++)
		clients[i] = (struct client){ .sock = -1 };
	memset(failing, 0, sizeof(failing));

	sigprocmask(SIG_SETMASK, NULL, &mask);
	begin(next_byte());
	CHECK(!server_open(&server));
	/* libFuzzer wants to be ended by signals. */
	sigprocmask(SIG_SETMASK, &mask, NULL);
	in_server = true;
	CHECK(!server_run(&server));
	in_server = false;
	server_close(&server);
	CHECK(count_fds() == before);
	return 0;
}
