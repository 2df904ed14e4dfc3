/* SPDX-License-Identifier: MIT */
/*
 * What the C programs here check with.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

/* What the linker's --wrap puts in the place of a function, and the function. */
void *__wrap_malloc(size_t size);
void *__real_malloc(size_t size);
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
