/* SPDX-License-Identifier: MIT */
/*
 * A message of the server's protocol, as a client gets it.
 */
#ifndef RECEIVE_H
#define RECEIVE_H

#include <string.h>
#include <sys/socket.h>

#include "check.h"

/**
 * receive_message() - Take a message, if there is one.
 * @sock:    the client's end
 * @message: where its 8 bytes go
 * @fd:      where its file descriptor goes, or -1
 *
 * Return: what recvmsg() returns: 8, or 0 at the end, or -1 and errno.
 */
static inline ssize_t receive_message(int sock, void *message, int *fd)
{
	struct iovec iov = { .iov_base = message, .iov_len = 8 };
	union {
		char space[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT);
	struct cmsghdr *cmsg;

	*fd = -1;
	if (n <= 0)
		return n;
	CHECK(n == 8 && !(msg.msg_flags & MSG_CTRUNC));
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg) {
		CHECK(cmsg->cmsg_level == SOL_SOCKET);
		CHECK(cmsg->cmsg_type == SCM_RIGHTS);
		CHECK(cmsg->cmsg_len == CMSG_LEN(sizeof(int)));
		CHECK(!CMSG_NXTHDR(&msg, cmsg));
		memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
	}
	return n;
}

#endif /* RECEIVE_H */
