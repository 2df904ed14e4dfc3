/* SPDX-License-Identifier: MIT */
/*
 * File descriptors that several queues still have to send.
 */
#ifndef FDSET_H
#define FDSET_H

/**
 * struct fdset - File descriptors that are closed with the last reference.
 * @refs:  references
 * @count: how many file descriptors there are
 * @fds:   the file descriptors
 */
struct fdset {
	unsigned int refs;
	unsigned int count;
	int fds[];
};

struct fdset *fdset_from_fd(int fd);
struct fdset *fdset_from_fds(const int *fds, unsigned int count);
struct fdset *fdset_from_eventfds(unsigned int count);
struct fdset *fdset_get(struct fdset *set);
void fdset_put(struct fdset *set);

#endif /* FDSET_H */
