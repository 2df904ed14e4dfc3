/* SPDX-License-Identifier: MIT */
/*
 * Waiting for many file descriptors and for a point in time.
 */
#ifndef LOOP_H
#define LOOP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define LOOP_NEVER	UINT64_MAX

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

/**
 * struct watch - A file descriptor that the loop watches.
 * @fd:     the file descriptor
 * @events: EPOLLIN and so on: what is watched for
 * @ready:  called when that happens. Must not free a watch: the loop may be
 *          about to call it
 */
struct watch {
	int fd;
	uint32_t events;
	void (*ready)(struct watch *watch, uint32_t events);
};

int loop_open(void);
int loop_add(int loop, struct watch *watch, uint32_t events);
void loop_remove(int loop, struct watch *watch);
int loop_change(int loop, struct watch *watch, uint32_t events);
int loop_wait(int loop, uint64_t until);
uint64_t loop_now(void);

#endif /* LOOP_H */
