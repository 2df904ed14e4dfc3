// SPDX-License-Identifier: MIT
/*
 * The codec of the server's protocol: what comes out of the other end of a
 * socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "protocol.h"
#include "receive.h"

static int ends[2];

/* Receive one message into @bytes. Returns its fd or -1. */
static int receive(unsigned char bytes[8])
{
	int fd;

	CHECK(receive_message(ends[1], bytes, &fd) == 8);
	return fd;
}

static void test_bytes(int64_t value, const char *expected)
{
	unsigned char bytes[8];

	CHECK(!protocol_send(ends[0], value, -1));
	CHECK(receive(bytes) == -1);
	CHECK(!memcmp(bytes, expected, 8));
}

static void test_fd(void)
{
	struct stat sent, received;
	unsigned char bytes[8];
	int fd;

	/* fd 0 is one like any other. */
	CHECK(!fstat(0, &sent));
	CHECK(!protocol_send(ends[0], 7, 0));
	fd = receive(bytes);
	CHECK(fd > 0);
	CHECK(bytes[0] == 7);
	CHECK(!fstat(fd, &received));
	CHECK(sent.st_dev == received.st_dev && sent.st_ino == received.st_ino);
	close(fd);
}

/* Messages are whole, however little the socket still takes. */
static void test_full(void)
{
	unsigned char bytes[8];
	int i, sent = 0;

	while (!protocol_send(ends[0], sent, -1))
		sent++;
	CHECK(errno == EAGAIN);
	CHECK(protocol_send(ends[0], sent, -1) == -EAGAIN);
	CHECK(sent > 100);
	for (i = 0; i < sent; i++) {
		receive(bytes);
		CHECK(bytes[0] + 256 * bytes[1] == i);
	}
	CHECK(recv(ends[1], bytes, 8, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

static void test_refuse(void)
{
	unsigned char bytes[8];
	int sock = dup(ends[0]);

	CHECK(sock >= 0);
	protocol_refuse(sock, EMFILE);
	CHECK(receive(bytes) == -1);
	CHECK(!memcmp(bytes, "\xe8\xff\xff\xff\xff\xff\xff\xff", 8));
	CHECK(fcntl(sock, F_GETFD) == -1 && errno == EBADF);
}

/* No signal ends the server, either. */
static void test_closed(void)
{
	close(ends[1]);
	CHECK(protocol_send(ends[0], 0, -1) == -EPIPE);
}

int main(void)
{
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	test_bytes(PROTOCOL_VERSION, "\0\0\0\0\0\0\0\0");
	test_bytes(PROTOCOL_MEMORY, "\xff\xff\xff\xff\xff\xff\xff\xff");
	test_bytes(65535, "\xff\xff\0\0\0\0\0\0");
	test_bytes(0x123, "\x23\x01\0\0\0\0\0\0");
	test_fd();
	test_full();
	test_refuse();
	test_closed();
	return 0;
}
