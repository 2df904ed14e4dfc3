// SPDX-License-Identifier: MIT
/*
 * libFuzzer on the control socket: bytes are what two clients send in turn, a
 * piece up to each zero, which is not sent, and then they hang up. The socket is
 * in the current folder.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "control.h"
#include "log.h"
#include "server.h"
#include "status.h"

static struct server server;
static unsigned int answers;

const char *status_request(enum status_format format)
{
	static const char * const requests[] = { "text", "json", "prometheus" };

	return requests[format];
}

void status_print(FILE *out, enum status_format format,
		  const struct server *asked)
{
	CHECK(asked == &server);
	fputs(status_request(format), out);
	answers++;
}

static void settle(void)
{
	int i;

	for (i = 0; i < 4; i++)
		CHECK(!loop_wait(server.loop, loop_now()));
}

static void begin(void)
{
	log_set_level(LOG_ERR);
	server.options.control = "fuzzed";
	server.options.control_access = (struct socket_access){ -1, -1, -1 };
	server.loop = loop_open();
	control_init(&server.control);
	CHECK(!control_open(&server.control, &server));
}

static int connect_client(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "fuzzed" };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	CHECK(sock >= 0);
	CHECK(!connect(sock, (struct sockaddr *)&addr, sizeof(addr)));
	settle();
	return sock;
}

/* The server answers with the name of what was asked for, or hangs up. */
static void check_answer(int sock)
{
	char reply[64] = "";
	ssize_t n = recv(sock, reply, sizeof(reply) - 1, 0);

	CHECK(n >= 0 || errno == ECONNRESET);
	if (n > 0)
		CHECK(!strcmp(reply, "text") || !strcmp(reply, "json") ||
		      !strcmp(reply, "prometheus"));
}

int fuzz_one_input(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size, *zero;
	unsigned int before = answers;
	int clients[2], turn, i;

	if (server.loop <= 0)
		begin();
	for (i = 0; i < 2; i++)
		clients[i] = connect_client();
	for (turn = 0; data < end; turn ^= 1, data = zero + 1) {
		zero = memchr(data, 0, end - data);
		if (!zero)
			zero = end;
		if (zero > data &&
		    send(clients[turn], data, zero - data, MSG_NOSIGNAL) < 0)
			CHECK(errno == EPIPE || errno == ECONNRESET ||
			      errno == EAGAIN);
		settle();
		if (zero == end)
			break;
	}
	for (i = 0; i < 2; i++)
		shutdown(clients[i], SHUT_WR);
	settle();
	for (i = 0; i < 2; i++) {
		check_answer(clients[i]);
		close(clients[i]);
	}
	CHECK(answers - before <= 2);
	for (i = 0; i < CONTROL_CLIENTS; i++)
		CHECK(server.control.clients[i].watch.fd < 0);
	return 0;
}
