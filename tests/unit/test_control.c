// SPDX-License-Identifier: MIT
/*
 * The server's control socket, with an answer that no socket takes at once.
 */
#include <errno.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "control.h"
#include "log.h"
#include "server.h"
#include "status.h"

#define LENGTH	(4 << 20)
#define BOUND_MS	30000

static struct server server;

const char *status_request(enum status_format format)
{
	return format == STATUS_JSON ? "json" : "other";
}

void status_print(FILE *out, enum status_format format,
		  const struct server *asked)
{
	int i;

	CHECK(asked == &server && format == STATUS_JSON);
	for (i = 0; i < LENGTH; i++)
		fputc(i % 251, out);
}

/* As in the unit of the server, but for --control-group. */
int __wrap_lchown(const char *path, uid_t owner, gid_t group)
{
	(void)path;
	(void)owner;
	(void)group;
	errno = EPERM;
	return -1;
}

static int connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(addr.sun_path, path);
	CHECK(!connect(sock, (struct sockaddr *)&addr, sizeof(addr)));
	return sock;
}

static int places_taken(void)
{
	int taken = 0, i;

	for (i = 0; i < CONTROL_CLIENTS; i++)
		taken += server.control.clients[i].watch.fd >= 0;
	return taken;
}

/* What happens until nothing does any more. */
static void settle(void)
{
	int i;

	for (i = 0; i < 100; i++)
		CHECK(!loop_wait(server.loop, loop_now()));
}

static int read_all(int sock)
{
	static unsigned char buffer[65536];
	uint64_t end = loop_now() + BOUND_MS;
	int got = 0;
	ssize_t n, i;

	while ((n = recv(sock, buffer, sizeof(buffer), 0))) {
		if (n < 0) {
			CHECK(errno == EAGAIN && loop_now() < end);
			CHECK(!loop_wait(server.loop, loop_now() + 10));
			continue;
		}
		for (i = 0; i < n; i++)
			CHECK(buffer[i] == got++ % 251);
	}
	return got;
}

int main(void)
{
	char path[] = "/tmp/ivshmem-control-XXXXXX";
	int idle, slow, fast;

	CHECK(mkdtemp(path));
	CHECK(!chdir(path));
	log_set_level(LOG_WARNING);
	server.options.control = "s";
	server.options.control_access = (struct socket_access){ -1, -1, -1 };
	server.loop = loop_open();
	control_init(&server.control);
	server.options.control_access.group = 0;
	CHECK(control_open(&server.control, &server) == -EPERM);
	CHECK(access("s", F_OK) && errno == ENOENT);
	server.options.control_access.group = -1;
	CHECK(!control_open(&server.control, &server));

	slow = connect_to("s");
	CHECK(send(slow, "json\n", 5, 0) == 5);
	settle();
	CHECK(places_taken() == 1);
	CHECK(server.control.clients[0].sent > 0);
	CHECK(server.control.clients[0].sent < LENGTH);

	/* The other one does not wait for the first. */
	fast = connect_to("s");
	idle = connect_to("s");
	CHECK(send(fast, "json\n", 5, 0) == 5);
	CHECK(read_all(fast) == LENGTH);
	CHECK(places_taken() == 2);
	CHECK(read_all(slow) == LENGTH);
	CHECK(places_taken() == 1);

	/* One that leaves in the middle. */
	close(slow);
	slow = connect_to("s");
	CHECK(send(slow, "json\n", 5, 0) == 5);
	settle();
	CHECK(places_taken() == 2);
	close(slow);
	settle();
	CHECK(places_taken() == 1);

	control_close(&server.control);
	CHECK(access("s", F_OK) && errno == ENOENT);
	CHECK(places_taken() == 0);
	close(idle);
	close(fast);
	close(server.loop);
	CHECK(!rmdir(path));
	return 0;
}
