// SPDX-License-Identifier: MIT
/*
 * epoll, where it is more than poll: several sets on one file, exclusive
 * wake-ups, and what comes while nobody waits.
 */
#include <sys/epoll.h>

#include "irq.h"

#define SETS	4

static int new_epoll(int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	NEED(ep >= 0);
	NEED(!epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
	return ep;
}

static int ready(int ep)
{
	struct epoll_event event;

	return epoll_wait(ep, &event, 1, 0);
}

static void drain(int fd)
{
	struct ivshmem_event events[64];

	NEED(read(fd, events, sizeof(events)) > 0);
}

static long long call_epoll(struct dev_call *c)
{
	struct epoll_event event;

	return epoll_wait(c->fd, &event, 1, -1);
}

/* Of threads that wait for sets of their own on one file, so many are woken. */
static void test_woken(uint32_t events, unsigned int wanted)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	struct dev_call c[SETS] = { 0 };
	uint64_t end = tap_now() + DEV_LONG;
	bool done[SETS] = { false };
	unsigned int i, n = 0;
	long before[SETS];

	for (i = 0; i < SETS; i++) {
		c[i].call = call_epoll;
		c[i].fd = new_epoll(fd, events);
		dev_call_start(&c[i]);
	}
	for (i = 0; i < SETS; i++) {
		dev_call_asleep(&c[i], SYS_epoll_wait);
		before[i] = irq_switches(c[i].tid);
	}
	irq_fire(irq_second);
	while (n < wanted && tap_now() < end) {
		for (i = 0; i < SETS; i++) {
			if (done[i])
				continue;
			done[i] = dev_call_end(&c[i], 0);
			n += done[i];
		}
		tap_pause();
	}
	EXPECT_EQ(n, wanted);
	/* Whoever was woken for nothing has gone to sleep once more. */
	for (i = 0; i < SETS; i++) {
		if (done[i])
			continue;
		dev_call_asleep(&c[i], SYS_epoll_wait);
		EXPECT_EQ(irq_switches(c[i].tid), before[i]);
	}

	for (i = 0; i < SETS; i++) {
		if (done[i])
			continue;
		pthread_cancel(c[i].thread);
		pthread_join(c[i].thread, NULL);
	}
	for (i = 0; i < SETS; i++)
		close(c[i].fd);
	close(fd);
}

static void test_exclusive(void)
{
	test_woken(EPOLLIN, SETS);
	test_woken(EPOLLIN | EPOLLEXCLUSIVE, 1);
	test_woken(EPOLLIN | EPOLLEXCLUSIVE | EPOLLET, 1);
}

/* An edge is reported however long ago it was, and once. */
static void test_edge(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK), ep;

	irq_fire(0);
	ep = new_epoll(fd, EPOLLIN | EPOLLET);
	EXPECT_EQ(ready(ep), 1);
	EXPECT_EQ(ready(ep), 0);

	/* Three edges before anybody looks are one. */
	irq_fire(0);
	irq_fire(1);
	irq_fire(2);
	EXPECT_EQ(ready(ep), 1);
	EXPECT_EQ(ready(ep), 0);

	/* One that has been read meanwhile is none. */
	irq_fire(0);
	drain(fd);
	EXPECT_EQ(ready(ep), 0);

	/* Vectors that are not subscribed to make no edge. */
	EXPECT_EQ(irq_subscribe(fd, 2), 0);
	EXPECT_EQ(ready(ep), 0);
	irq_fire(0);
	EXPECT_EQ(ready(ep), 0);
	irq_fire(1);
	EXPECT_EQ(ready(ep), 1);
	EXPECT_EQ(ready(ep), 0);
	close(ep);
	close(fd);
}

/* A set within a set, and two files in one. */
static void test_nested(void)
{
	int fd[2] = { dev_open(O_RDWR | O_NONBLOCK), dev_open(O_RDONLY) };
	struct epoll_event event = { .events = EPOLLIN }, got[4];
	int inner = new_epoll(fd[0], EPOLLIN), outer = epoll_create1(0);

	NEED(outer >= 0);
	event.data.fd = fd[1];
	NEED(!epoll_ctl(inner, EPOLL_CTL_ADD, fd[1], &event));
	NEED(!epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event));
	EXPECT_EQ(irq_subscribe(fd[0], 1), 0);
	EXPECT_EQ(irq_subscribe(fd[1], 2), 0);

	EXPECT_EQ(ready(outer), 0);
	irq_fire(1);
	EXPECT_EQ(ready(outer), 1);
	EXPECT_EQ(epoll_wait(inner, got, 4, 0), 1);
	EXPECT_EQ(got[0].data.fd, fd[1]);
	irq_fire(0);
	EXPECT_EQ(epoll_wait(inner, got, 4, 0), 2);
	close(fd[1]);
	EXPECT_EQ(epoll_wait(inner, got, 4, 0), 1);
	EXPECT_EQ(got[0].data.fd, fd[0]);
	close(fd[0]);
	EXPECT_EQ(ready(outer), 0);
	close(inner);
	close(outer);
}

/* Taken out of the set, or closed, while a thread waits. */
static void test_remove(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK), ep = new_epoll(fd, EPOLLIN);
	struct dev_call c = { .call = call_epoll, .fd = ep };
	struct epoll_event event = { .events = EPOLLIN };
	long before;

	dev_call_start(&c);
	dev_call_asleep(&c, SYS_epoll_wait);
	NEED(!epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	before = irq_switches(c.tid);
	irq_fire(0);
	dev_call_asleep(&c, SYS_epoll_wait);
	EXPECT_EQ(irq_switches(c.tid), before);
	NEED(!epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, 1);
	drain(fd);
	close(fd);
	irq_fire(0);
	EXPECT_EQ(ready(ep), 0);
	close(ep);
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 60);
	irq_start(1);
	test_exclusive();
	test_remove();
	if (irq_info.vectors >= 3) {
		test_edge();
		test_nested();
	}
	return tap_finish();
}
