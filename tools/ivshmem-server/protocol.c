// SPDX-License-Identifier: MIT
/*
 * The messages of the ivshmem server protocol.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol.h"

/**
 * protocol_send() - Send one message, without waiting.
 * @sock:  the client's socket
 * @value: the integer
 * @fd:    file descriptor that goes with it, or -1
 *
 * Return: 0, or the negative errno of sendmsg(); the client then has nothing of
 * the message. (A unix stream socket takes 8 bytes whole or not at all.)
 */
int protocol_send(int sock, int64_t value, int fd)
{
	uint64_t bytes = htole64((uint64_t)value);
	struct iovec iov = { .iov_base = &bytes, .iov_len = sizeof(bytes) };
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .space = { 0 } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;
	ssize_t sent;

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.space);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	}

	sent = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	return sent < 0 ? -errno : 0;
}

/**
 * protocol_refuse() - Tell a new client that it cannot join, and hang up.
 * @sock:  the client's socket, which is closed
 * @error: why, a positive errno
 *
 * QEMU spins for ever when the server hangs up before the end of the handshake.
 * A version that it does not know makes it give up with an error message, so
 * the answer is one that no client knows: the negative errno.
 */
void protocol_refuse(int sock, int error)
{
	protocol_send(sock, -error, -1);
	close(sock);
}
