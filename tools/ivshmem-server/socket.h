/* SPDX-License-Identifier: MIT */
/*
 * The socket that clients connect to.
 */
#ifndef SOCKET_H
#define SOCKET_H

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

int socket_listen(struct socket_file *file, const char *path);
void socket_remove(const struct socket_file *file);

#endif /* SOCKET_H */
