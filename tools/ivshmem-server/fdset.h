/* SPDX-License-Identifier: MIT */
/*
 * File descriptors that several queues still have to send.
 */
#ifndef FDSET_H
#define FDSET_H

#include <stdbool.h>

/**
 * struct fdset - File descriptors that are closed with the last reference.
 * @refs:     references
 * @count:    how many file descriptors there are
 * @borrowed: they are one that is somebody else's, and stays open
 * @fds:      the file descriptors
 */
struct fdset {
	unsigned int refs;
	unsigned int count;
	bool borrowed;
	int fds[];
};

struct fdset *fdset_from_fd(int fd);
struct fdset *fdset_from_fds(const int *fds, unsigned int count);
struct fdset *fdset_from_eventfds(unsigned int count);
struct fdset *fdset_get(struct fdset *set);
void fdset_put(struct fdset *set);
void fdset_replace(struct fdset *set, int fd);

#endif /* FDSET_H */
