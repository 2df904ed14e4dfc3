// SPDX-License-Identifier: MIT
/*
 * poll(), select() and epoll. Needs a device that nobody else rings meanwhile.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "dev.h"

#define ALL_EVENTS	(POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLPRI | \
			 POLLRDBAND | POLLRDHUP)

static struct ivshmem_info info;

static int poll_now(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events, .revents = 0x5555 };

	if (poll(&pfd, 1, 0) < 0)
		return -1;
	return pfd.revents;
}

static void drain(int fd)
{
	struct ivshmem_event events[16];

	while (read(fd, events, sizeof(events)) > 0)
		;
	NEED(errno == EAGAIN);
}

static void test_poll(int fd)
{
	struct ivshmem_event event;
	int other = dev_open(O_RDONLY | O_NONBLOCK);

	EXPECT_EQ(poll_now(fd, ALL_EVENTS), 0);
	dev_ring_self(fd, info.vectors - 1);
	EXPECT_EQ(poll_now(fd, ALL_EVENTS), POLLIN | POLLRDNORM);
	EXPECT_EQ(poll_now(fd, ALL_EVENTS), POLLIN | POLLRDNORM);
	EXPECT_EQ(poll_now(fd, POLLIN), POLLIN);
	EXPECT_EQ(poll_now(fd, POLLRDNORM), POLLRDNORM);
	EXPECT_EQ(poll_now(fd, POLLOUT | POLLPRI), 0);
	EXPECT_EQ(poll_now(fd, 0), 0);
	EXPECT_EQ(poll_now(other, POLLIN), POLLIN);

	/* As long as one event is left. */
	if (info.vectors > 1) {
		dev_ring_self(fd, 0);
		EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
		EXPECT_EQ(poll_now(fd, POLLIN), POLLIN);
	}
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(poll_now(fd, POLLIN), 0);

	/* An event that could not be delivered is still there. */
	dev_ring_self(fd, dev_second(&info));
	EXPECT_ERRNO(read(fd, dev_fence(1), sizeof(event)), EFAULT);
	EXPECT_EQ(poll_now(fd, POLLIN), POLLIN);
	drain(fd);
	EXPECT_EQ(poll_now(fd, POLLIN), 0);
	EXPECT_EQ(poll_now(other, POLLIN), POLLIN);
	close(other);

	other = dev_open(O_RDONLY);
	EXPECT_EQ(poll_now(other, ALL_EVENTS), 0);
	close(other);
}

/* The time runs out, not early. */
static void test_timeout(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t start = tap_now();

	EXPECT_EQ(poll(&pfd, 1, 30), 0);
	EXPECT(tap_now() - start >= 30000000);
	EXPECT(tap_now() - start < 5 * TAP_SECOND);
}

static long long call_poll(struct dev_call *c)
{
	struct pollfd *pfd = c->arg;

	return poll(pfd, 1, -1);
}

/* Asleep in poll, in several threads and files, until it rings. */
static void test_sleep(int fd)
{
	uint32_t self = info.position, v;
	struct pollfd pfds[4];
	struct dev_call calls[4];
	unsigned int i, woken;

	for (v = 0; v < info.vectors; v++) {
		for (i = 0; i < 4; i++) {
			pfds[i] = (struct pollfd){
				.fd = i < 2 ? fd : dev_open(O_RDONLY),
				.events = i % 2 ? POLLRDNORM : POLLIN,
			};
			calls[i] = (struct dev_call){
				.call = call_poll, .arg = &pfds[i],
			};
			dev_call_start(&calls[i]);
		}
		for (i = 0; i < 4; i++)
			dev_call_asleep(&calls[i], SYS_poll);
		EXPECT_EQ(dev_ring(fd, self, v), 0);
		for (i = woken = 0; i < 4; i++) {
			NEED(dev_call_end(&calls[i], DEV_LONG));
			woken += calls[i].ret == 1 &&
				 pfds[i].revents == pfds[i].events;
			if (pfds[i].fd != fd)
				close(pfds[i].fd);
		}
		EXPECT_EQ(woken, 4);
		drain(fd);
	}
}

static void test_select(int fd)
{
	struct timeval none = { 0 }, tv = { .tv_sec = 20 };
	fd_set in, out, err;

	FD_ZERO(&in);
	FD_SET(fd, &in);
	out = in;
	err = in;
	EXPECT_EQ(select(fd + 1, &in, &out, &err, &none), 0);
	FD_SET(fd, &in);
	EXPECT_EQ(dev_ring(fd, info.position, dev_second(&info)), 0);
	EXPECT_EQ(select(fd + 1, &in, NULL, NULL, &tv), 1);
	EXPECT(FD_ISSET(fd, &in));
	drain(fd);
}

static int epoll_now(int epfd, struct epoll_event *event, int ms)
{
	POISON(*event);
	return epoll_wait(epfd, event, 1, ms);
}

static void test_epoll(int fd)
{
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = 42 };

	NEED(epfd >= 0);
	EXPECT_EQ(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event), 0);
	EXPECT_EQ(epoll_now(epfd, &event, 0), 0);
	EXPECT_EQ(dev_ring(fd, info.position, 0), 0);
	EXPECT_EQ(epoll_now(epfd, &event, 20000), 1);
	EXPECT_EQ(event.events, EPOLLIN);
	EXPECT_EQ(event.data.u32, 42);
	/* Level-triggered: until it has been read. */
	EXPECT_EQ(epoll_now(epfd, &event, 0), 1);
	drain(fd);
	EXPECT_EQ(epoll_now(epfd, &event, 0), 0);

	/* Edge-triggered: once for each interrupt, read or not. */
	event.events = EPOLLIN | EPOLLET;
	EXPECT_EQ(epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &event), 0);
	dev_ring_self(fd, 0);
	EXPECT_EQ(epoll_now(epfd, &event, 20000), 1);
	EXPECT_EQ(epoll_now(epfd, &event, 0), 0);
	dev_ring_self(fd, 0);
	EXPECT_EQ(epoll_now(epfd, &event, 20000), 1);
	EXPECT_EQ(epoll_now(epfd, &event, 0), 0);
	drain(fd);

	event.events = EPOLLIN | EPOLLONESHOT;
	EXPECT_EQ(epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &event), 0);
	dev_ring_self(fd, 0);
	EXPECT_EQ(epoll_now(epfd, &event, 20000), 1);
	dev_ring_self(fd, 0);
	EXPECT_EQ(epoll_now(epfd, &event, 0), 0);
	event.events = EPOLLIN | EPOLLONESHOT;
	EXPECT_EQ(epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &event), 0);
	EXPECT_EQ(epoll_now(epfd, &event, 0), 1);
	drain(fd);
	close(epfd);
}

int main(int argc, char **argv)
{
	int fd;

	tap_start(argc, argv, 60);
	fd = dev_open(O_RDWR | O_NONBLOCK);
	info = dev_info(fd);
	NEED(info.vectors);
	test_poll(fd);
	test_timeout(fd);
	test_sleep(fd);
	test_select(fd);
	test_epoll(fd);
	return tap_finish();
}
