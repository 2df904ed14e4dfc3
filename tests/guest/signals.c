// SPDX-License-Identifier: MIT
/*
 * Signals that come while a call sleeps: EINTR, and with SA_RESTART the call
 * goes on as if nothing had been. Needs a device that nobody else rings meanwhile.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>

#include "dev.h"

#define MS	UINT64_C(1000000)

static struct ivshmem_info info;
static uint32_t second;	/* the first, where there is no other */
static unsigned int handled;

static void handler(int sig TAP_UNUSED)
{
	__atomic_fetch_add(&handled, 1, __ATOMIC_SEQ_CST);
}

static void handle(int flags)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };

	NEED(sigaction(SIGUSR1, &sa, NULL) == 0);
	handled = 0;
}

/* Sends the signal to the sleeping thread, and waits for the handler. */
static void interrupt(struct dev_call *c, long nr)
{
	unsigned int before = handled;

	dev_call_asleep(c, nr);
	NEED(pthread_kill(c->thread, SIGUSR1) == 0);
	EXPECT_WITHIN(__atomic_load_n(&handled, __ATOMIC_SEQ_CST) > before, 20000);
}

static long long call_readv(struct dev_call *c)
{
	struct iovec iov[2] = { { c->arg, 7 }, { (char *)c->arg + 7, 9 } };

	return readv(c->fd, iov, 2);
}

static int pipes[2];

/* Through a pipe, so that what it moves is where read() puts it. */
static long long call_splice(struct dev_call *c)
{
	ssize_t ret = splice(c->fd, NULL, pipes[1], NULL,
			     sizeof(struct ivshmem_event), 0);

	return ret > 0 ? read(pipes[0], c->arg, ret) : ret;
}

static long long call_select(struct dev_call *c)
{
	fd_set in;

	FD_ZERO(&in);
	FD_SET(c->fd, &in);
	/* Of the numbers for it that a C library may choose, one. */
	return syscall(SYS_pselect6, c->fd + 1, &in, NULL, NULL, NULL, NULL);
}

static long long call_epoll(struct dev_call *c)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epfd = epoll_create1(EPOLL_CLOEXEC), err;
	long long ret;

	NEED(epfd >= 0);
	NEED(!epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &event));
	ret = epoll_wait(epfd, &event, 1, -1);
	err = errno;
	close(epfd);
	errno = err;
	return ret;
}

static long long call_poll(struct dev_call *c)
{
	struct pollfd pfd = { .fd = c->fd, .events = POLLIN };

	return poll(&pfd, 1, -1);
}

static void test_read(int fd, long nr, long long (*call)(struct dev_call *c))
{
	struct ivshmem_event event;
	struct dev_call c = { .call = call, .fd = fd, .arg = &event };
	uint64_t count;

	handle(0);
	dev_call_start(&c);
	interrupt(&c, nr);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, -1);
	EXPECT_EQ(c.err, EINTR);

	handle(SA_RESTART);
	POISON(event);
	dev_call_start(&c);
	interrupt(&c, nr);
	interrupt(&c, nr);
	EXPECT(!dev_call_end(&c, 20 * MS));
	count = dev_ring_self(fd, second);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, sizeof(event));
	EXPECT_EQ(event.vector, second);
	EXPECT_EQ(event.count, count);
}

/* None of these is started again, whatever the handler asks for. */
static void test_poll(int fd, long nr, long long (*call)(struct dev_call *c))
{
	struct dev_call c = { .call = call, .fd = fd };

	handle(SA_RESTART);
	dev_call_start(&c);
	interrupt(&c, nr);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, -1);
	EXPECT_EQ(c.err, EINTR);
}

static void test_wait(int fd, uint32_t vector)
{
	struct ivshmem_wait wait = {
		.count = dev_count(fd, vector),
		.timeout_ns = IVSHMEM_WAIT_FOREVER,
		.vector = vector,
	};
	struct dev_call c = { .call = dev_call_wait, .fd = fd, .arg = &wait };
	uint64_t count = wait.count, end;

	handle(0);
	dev_call_start(&c);
	interrupt(&c, SYS_ioctl);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, -1);
	EXPECT_EQ(c.err, EINTR);
	EXPECT_EQ(wait.count, count);

	/* Called again as it is, it goes on; also after being restarted. */
	handle(SA_RESTART);
	dev_call_start(&c);
	interrupt(&c, SYS_ioctl);
	interrupt(&c, SYS_ioctl);
	EXPECT(!dev_call_end(&c, 20 * MS));
	EXPECT_EQ(dev_ring(fd, info.position, second), 0);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, 0);
	EXPECT_EQ(wait.count, count + 1);

	/* The end does not move, however often a signal comes. */
	end = tap_now() + 300 * MS;
	wait.timeout_ns = end;
	dev_call_start(&c);
	while (!dev_call_end(&c, 10 * MS)) {
		pthread_kill(c.thread, SIGUSR1);
		if (tap_now() > end + DEV_LONG)
			tap_bail("the timeout moves");
	}
	EXPECT(tap_now() >= end);
	EXPECT_EQ(c.ret, -1);
	EXPECT_EQ(c.err, ETIMEDOUT);
	EXPECT_EQ(wait.count, count + 1);
}

/* A wait that rings first rings once, however often it is started again. */
static void test_ring(int fd)
{
	struct ivshmem_wait wait = {
		.count = dev_count(fd, 0),
		.timeout_ns = IVSHMEM_WAIT_FOREVER,
		.flags = IVSHMEM_WAIT_RING,
		.doorbell = IVSHMEM_DOORBELL(info.position, 1),
	};
	struct dev_call c = { .call = dev_call_wait, .fd = fd, .arg = &wait };
	uint64_t count = dev_count(fd, 1);

	handle(0);
	dev_call_start(&c);
	interrupt(&c, SYS_ioctl);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.err, EINTR);
	EXPECT_EQ(wait.flags, 0);
	EXPECT_WITHIN(dev_count(fd, 1) == count + 1, 20000);

	wait.flags = IVSHMEM_WAIT_RING;
	handle(SA_RESTART);
	dev_call_start(&c);
	EXPECT_WITHIN(dev_count(fd, 1) == count + 2, 20000);
	interrupt(&c, SYS_ioctl);
	interrupt(&c, SYS_ioctl);
	EXPECT(!dev_call_end(&c, 30 * MS));
	EXPECT_EQ(dev_count(fd, 1), count + 2);
	EXPECT_EQ(dev_ring(fd, info.position, 0), 0);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, 0);
	EXPECT_EQ(wait.flags, 0);
}

int main(int argc, char **argv)
{
	int fd;

	tap_start(argc, argv, 60);
	fd = dev_open(O_RDWR);
	info = dev_info(fd);
	NEED(info.vectors);
	second = dev_second(&info);
	test_read(fd, SYS_read, dev_call_read);
	test_read(fd, SYS_readv, call_readv);
	NEED(!pipe(pipes));
	test_read(fd, SYS_splice, call_splice);
	test_poll(fd, SYS_poll, call_poll);
	test_poll(fd, SYS_pselect6, call_select);
	test_poll(fd, SYS_epoll_wait, call_epoll);
	test_wait(fd, second);
	test_wait(fd, IVSHMEM_ANY_VECTOR);
	if (second)
		test_ring(fd);
	return tap_finish();
}
