// SPDX-License-Identifier: MIT
/*
 * File descriptors that several queues still have to send.
 *
 * A peer can leave while its eventfds still wait in the queues of others, whose
 * count of them must not get out of step. So the set lives until the last queue
 * has sent it; but not the eventfds, or clients that come and go while one does not
 * read would use up all that may be open.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fdset.h"

static struct fdset *fdset_alloc(unsigned int count)
{
	struct fdset *set = malloc(sizeof(*set) + count * sizeof(set->fds[0]));

	if (set) {
		set->refs = 1;
		set->count = 0;
		set->borrowed = false;
	}
	return set;
}

/**
 * fdset_from_fd() - Make a set of one file descriptor.
 * @fd: belongs to the set from now on, if there is one
 *
 * Return: the set, with one reference, or NULL and errno.
 */
struct fdset *fdset_from_fd(int fd)
{
	return fdset_from_fds(&fd, 1);
}

/**
 * fdset_from_fds() - Make a set of several file descriptors.
 * @fds:   belong to the set from now on, if there is one
 * @count: how many
 *
 * Return: the set, with one reference, or NULL and errno.
 */
struct fdset *fdset_from_fds(const int *fds, unsigned int count)
{
	struct fdset *set = fdset_alloc(count);

	if (set) {
		memcpy(set->fds, fds, count * sizeof(*fds));
		set->count = count;
	}
	return set;
}

/**
 * fdset_from_eventfds() - Make a set of new eventfds.
 * @count: how many
 *
 * Return: the set, with one reference, or NULL and errno.
 */
struct fdset *fdset_from_eventfds(unsigned int count)
{
	struct fdset *set = fdset_alloc(count);
	int fd, error;

	if (!set)
		return NULL;

	while (set->count < count) {
		/* Non-blocking, so that nobody can block a peer that rings. */
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fd < 0) {
			error = errno;
			fdset_put(set);
			errno = error;
			return NULL;
		}
		set->fds[set->count++] = fd;
	}
	return set;
}

/**
 * fdset_get() - Take a reference.
 * @set: the set
 *
 * Return: @set.
 */
struct fdset *fdset_get(struct fdset *set)
{
	set->refs++;
	return set;
}

/**
 * fdset_put() - Drop a reference.
 * @set: the set, or NULL
 */
void fdset_put(struct fdset *set)
{
	if (!set || --set->refs)
		return;

	while (set->count && !set->borrowed)
		close(set->fds[--set->count]);
	free(set);
}

/**
 * fdset_replace() - Close the file descriptors, and send another one instead.
 * @set: the set
 * @fd:  stays the caller's, and open for as long as there is the set
 */
void fdset_replace(struct fdset *set, int fd)
{
	unsigned int i;

	for (i = 0; i < set->count; i++) {
		close(set->fds[i]);
		set->fds[i] = fd;
	}
	set->borrowed = true;
}
