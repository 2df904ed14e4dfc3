/* SPDX-License-Identifier: MIT */
/*
 * What the C programs here check with.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

struct epoll_event;
struct notify;

/* LLVMFuzzerTestOneInput(), where a program fuzzes. */
int fuzz_one_input(const uint8_t *data, size_t size);

/* What the linker's --wrap puts in the place of a function, and the function. */
void *__wrap_malloc(size_t size);
void *__real_malloc(size_t size);
int __wrap_epoll_wait(int loop, struct epoll_event *events, int count,
		      int timeout);
int __real_epoll_wait(int loop, struct epoll_event *events, int count,
		      int timeout);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_accept4(int sock, struct sockaddr *addr, socklen_t *len, int flags);
int __real_accept4(int sock, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_eventfd(unsigned int count, int flags);
int __real_eventfd(unsigned int count, int flags);
int __wrap_notify_open(struct notify *notify);
int __real_notify_open(struct notify *notify);
void __wrap_notify_close(struct notify *notify);
void *__wrap_calloc(size_t count, size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__real_realloc(void *old, size_t size);
int __wrap_lchown(const char *path, uid_t owner, gid_t group);
ssize_t __wrap_sendmsg(int sock, const struct msghdr *msg, int flags);
ssize_t __real_sendmsg(int sock, const struct msghdr *msg, int flags);

/**
 * CHECK() - End the program with a message unless something is true.
 * @condition: what has to be true
 */
#define CHECK(condition)						\
	do {								\
		if (!(condition)) {					\
			fprintf(stderr, "%s:%d: not true: %s\n",	\
				__FILE__, __LINE__, #condition);	\
			exit(1);					\
		}							\
	} while (0)

#endif /* CHECK_H */
