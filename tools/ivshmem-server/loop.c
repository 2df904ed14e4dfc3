// SPDX-License-Identifier: MIT
/*
 * Waiting for many file descriptors and for a point in time.
 */
#include <errno.h>
#include <limits.h>
#include <time.h>

#include "loop.h"

#define LOOP_BATCH	64

/**
 * loop_open() - Make a loop that watches nothing yet.
 *
 * Return: its file descriptor, or a negative errno.
 */
int loop_open(void)
{
	int loop = epoll_create1(EPOLL_CLOEXEC);

	return loop < 0 ? -errno : loop;
}

/**
 * loop_add() - Begin to watch.
 * @loop:   the loop
 * @watch:  what to watch, with @watch->fd and @watch->ready set
 * @events: what to watch for
 *
 * Return: 0 or a negative errno.
 */
int loop_add(int loop, struct watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	watch->events = events;
	return epoll_ctl(loop, EPOLL_CTL_ADD, watch->fd, &event) ? -errno : 0;
}

/**
 * loop_remove() - Watch no more.
 * @loop:  the loop
 * @watch: what is watched. Closing it would do only if it had no duplicate
 */
void loop_remove(int loop, struct watch *watch)
{
	epoll_ctl(loop, EPOLL_CTL_DEL, watch->fd, NULL);
}

/**
 * loop_change() - Watch for something else.
 * @loop:   the loop
 * @watch:  what is watched
 * @events: what to watch for
 *
 * Return: 0 or a negative errno.
 */
int loop_change(int loop, struct watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	if (watch->events == events)
		return 0;
	watch->events = events;
	return epoll_ctl(loop, EPOLL_CTL_MOD, watch->fd, &event) ? -errno : 0;
}

/**
 * loop_wait() - Wait, and call what has become ready.
 * @loop:  the loop
 * @until: when to return at the latest, as of loop_now(), or LOOP_NEVER
 *
 * Return: 0 or a negative errno.
 */
int loop_wait(int loop, uint64_t until)
{
	struct epoll_event events[LOOP_BATCH];
	uint64_t now = loop_now();
	struct watch *watch;
	int timeout, n, i;

	if (until == LOOP_NEVER)
		timeout = -1;
	else if (until <= now)
		timeout = 0;
	else
		timeout = until - now < INT_MAX ? until - now : INT_MAX;

	n = epoll_wait(loop, events, LOOP_BATCH, timeout);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;

	for (i = 0; i < n; i++) {
		watch = events[i].data.ptr;
		watch->ready(watch, events[i].events);
	}
	return 0;
}

/**
 * loop_now() - Tell the time.
 *
 * Return: milliseconds of CLOCK_MONOTONIC.
 */
uint64_t loop_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
