// SPDX-License-Identifier: MIT
/*
 * Preloaded into the server: kills it at the n-th of the places where it asks
 * the kernel for something that others can notice, KILL_AT=n.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void place(void)
{
	static unsigned long count;
	const char *at = getenv("KILL_AT");

	if (at && ++count == strtoul(at, NULL, 10))
		kill(getpid(), SIGKILL);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t (*next)(int fd, const struct msghdr *message, int flags);
	ssize_t n;

	*(void **)&next = dlsym(RTLD_NEXT, "sendmsg");
	place();
	n = next(fd, message, flags);
	place();
	return n;
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
	int (*next)(int domain, int type, int protocol, int fds[2]);

	*(void **)&next = dlsym(RTLD_NEXT, "socketpair");
	place();
	return next(domain, type, protocol, fds);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	int (*next)(int epfd, int op, int fd, struct epoll_event *event);

	*(void **)&next = dlsym(RTLD_NEXT, "epoll_ctl");
	place();
	return next(epfd, op, fd, event);
}

int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	int (*next)(int epfd, struct epoll_event *events, int max,
		    int timeout);

	*(void **)&next = dlsym(RTLD_NEXT, "epoll_wait");
	place();
	return next(epfd, events, max, timeout);
}
