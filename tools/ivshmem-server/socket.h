/* SPDX-License-Identifier: MIT */
/*
 * The socket that clients connect to.
 */
#ifndef SOCKET_H
#define SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

/**
 * struct socket_file - A socket's place in the file system.
 * @path: where it was made
 * @dev:  device and
 * @ino:  inode that it got there
 */
struct socket_file {
	const char *path;
	dev_t dev;
	ino_t ino;
};

/**
 * struct socket_access - Who may connect to a socket.
 * @mode:  its mode, or -1: what the umask leaves
 * @owner: its owner, or -1: the server
 * @group: its group, or -1: the server's
 */
struct socket_access {
	int mode;
	uid_t owner;
	gid_t group;
};

int socket_listen(struct socket_file *file, const char *path,
		  const struct socket_access *access);
bool socket_is_at(int sock, const char *path);
void socket_remove(const struct socket_file *file);

#endif /* SOCKET_H */
