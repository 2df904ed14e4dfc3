// SPDX-License-Identifier: MIT
/* IVSHMEM_SET_EVENTFD: any vector to any eventfd. */
#include <sys/epoll.h>
#include <sys/wait.h>

#include "irq.h"

/* Each vector has an eventfd of its own, and signals that one alone. */
static void test_each_vector(void)
{
	int fd = dev_open(O_RDWR), efd[64];
	unsigned int n = irq_info.vectors < 64 ? irq_info.vectors : 64;
	unsigned int v, i, wrong = 0;

	for (v = 0; v < n; v++) {
		efd[v] = irq_eventfd();
		NEED(!irq_bind(fd, v, efd[v]));
	}
	for (v = 0; v < n; v++) {
		irq_fire(v);
		for (i = 0; i < n; i++)
			wrong += irq_take(efd[i]) != (i == v);
	}
	EXPECT_EQ(wrong, 0);
	EXPECT_EQ(close(fd), 0);
	for (v = 0; v < n; v++)
		close(efd[v]);
}

/* The value counts the interrupts. */
static void test_value(void)
{
	int fd = dev_open(O_RDWR), efd = irq_eventfd(), i;
	uint64_t before = irq_count(0);

	EXPECT_EQ(irq_bind(fd, 0, efd), 0);
	EXPECT_EQ(irq_take(efd), 0);
	for (i = 0; i < 20; i++)
		irq_fire(0);
	EXPECT_EQ(irq_count(0) - before, 20);
	EXPECT_EQ(irq_take(efd), 20);
	EXPECT_EQ(irq_take(efd), 0);
	close(fd);
	close(efd);
}

static void test_semaphore(void)
{
	int efd = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
	int fd = dev_open(O_RDWR);

	EXPECT_EQ(irq_bind(fd, 0, efd), 0);
	irq_fire(0);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd), 1);
	EXPECT_EQ(irq_take(efd), 1);
	EXPECT_EQ(irq_take(efd), 0);
	close(fd);
	close(efd);
}

/* An eventfd that can count no further does not hold up the interrupt. */
static void test_full(void)
{
	int fd = dev_open(O_RDWR), efd = irq_eventfd();
	uint64_t most = UINT64_MAX - 1, before = irq_count(0);

	EXPECT_EQ(irq_bind(fd, 0, efd), 0);
	EXPECT_EQ(write(efd, &most, sizeof(most)), sizeof(most));
	irq_fire(0);
	irq_fire(0);
	EXPECT_EQ(irq_count(0) - before, 2);
	EXPECT(irq_take(efd) >= most);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd), 1);
	close(fd);
	close(efd);
}

/* Three files, of which one may not write, each with an eventfd for vector 0. */
static void test_several_files(void)
{
	int fd[3] = { dev_open(O_RDWR), dev_open(O_RDONLY), dev_open(O_RDWR) };
	int efd[3], i;

	for (i = 0; i < 3; i++) {
		efd[i] = irq_eventfd();
		EXPECT_EQ(irq_bind(fd[i], 0, efd[i]), 0);
	}
	irq_fire(0);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(irq_take(efd[i]), 1);

	/* The one in the middle goes. */
	close(fd[1]);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd[0]), 1);
	EXPECT_EQ(irq_take(efd[1]), 0);
	EXPECT_EQ(irq_take(efd[2]), 1);

	/* Two files with one eventfd both signal it. */
	EXPECT_EQ(irq_bind(fd[2], 0, efd[0]), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd[0]), 2);
	EXPECT_EQ(irq_take(efd[2]), 0);

	/* What one unbinds, the other keeps. */
	EXPECT_EQ(irq_bind(fd[0], 0, -1), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd[0]), 1);

	close(fd[0]);
	close(fd[2]);
	for (i = 0; i < 3; i++)
		close(efd[i]);
}

/* One eventfd hears several vectors. */
static void test_several_vectors(void)
{
	int fd = dev_open(O_RDWR), efd = irq_eventfd();

	EXPECT_EQ(irq_bind(fd, 0, efd), 0);
	EXPECT_EQ(irq_bind(fd, 1, efd), 0);
	irq_fire(0);
	irq_fire(1);
	irq_fire(1);
	EXPECT_EQ(irq_take(efd), 3);
	EXPECT_EQ(irq_bind(fd, 0, -1), 0);
	irq_fire(0);
	irq_fire(1);
	EXPECT_EQ(irq_take(efd), 1);
	close(fd);
	close(efd);
}

static void test_rebind(void)
{
	int fd = dev_open(O_RDWR), first = irq_eventfd(), second = irq_eventfd();

	EXPECT_EQ(irq_bind(fd, 0, first), 0);
	EXPECT_EQ(irq_bind(fd, 0, second), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(first), 0);
	EXPECT_EQ(irq_take(second), 1);

	/* The same again is still one. */
	EXPECT_EQ(irq_bind(fd, 0, second), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(second), 1);

	EXPECT_EQ(irq_bind(fd, 0, -1), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(second), 0);

	/* There is nothing to unbind: that is no error. */
	EXPECT_EQ(irq_bind(fd, 0, -1), 0);
	EXPECT_EQ(irq_bind(fd, irq_second, -1), 0);

	EXPECT_EQ(irq_bind(fd, 0, first), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(first), 1);
	close(fd);
	close(first);
	close(second);
}

/* Only the last close of the open file unbinds. */
static void test_close(void)
{
	int fd = dev_open(O_RDWR), efd = irq_eventfd(), copy, go[2];
	pid_t child;
	char byte;

	EXPECT_EQ(irq_bind(fd, 0, efd), 0);
	EXPECT_EQ(irq_bind(fd, irq_second, efd), 0);
	copy = dup(fd);
	NEED(copy >= 0);
	EXPECT_EQ(close(fd), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd), 1);

	/* A child has the file too. */
	NEED(!pipe(go));
	child = fork();
	NEED(child >= 0);
	if (!child) {
		close(go[1]);
		_exit(read(go[0], &byte, 1) != 0);
	}
	EXPECT_EQ(close(copy), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd), 1);
	close(go[0]);
	close(go[1]);
	EXPECT_EQ(waitpid(child, NULL, 0), child);

	irq_fire(0);
	irq_fire(irq_second);
	EXPECT_EQ(irq_take(efd), 0);
	close(efd);
}

/* A process that is killed unbinds. */
static void test_kill(void)
{
	int efd = irq_eventfd(), bound[2];
	pid_t child;
	char byte;

	NEED(!pipe(bound));
	child = fork();
	NEED(child >= 0);
	if (!child) {
		if (irq_bind(dev_open(O_RDWR), 0, efd) ||
		    write(bound[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	EXPECT_EQ(read(bound[0], &byte, 1), 1);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd), 1);
	kill(child, SIGKILL);
	EXPECT_EQ(waitpid(child, NULL, 0), child);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd), 0);
	close(bound[0]);
	close(bound[1]);
	close(efd);
}

/* The binding is to the eventfd, not to the number of its descriptor. */
static void test_eventfd_closed(void)
{
	int fd = dev_open(O_RDWR), efd = irq_eventfd(), copy = dup(efd), other;

	NEED(copy >= 0);
	EXPECT_EQ(irq_bind(fd, 0, efd), 0);
	EXPECT_EQ(close(efd), 0);
	other = irq_eventfd();
	EXPECT_EQ(other, efd);
	irq_fire(0);
	EXPECT_EQ(irq_take(copy), 1);
	EXPECT_EQ(irq_take(other), 0);

	/* Nobody has it open any more. */
	EXPECT_EQ(close(copy), 0);
	irq_fire(0);
	EXPECT_EQ(irq_bind(fd, 0, other), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(other), 1);
	close(fd);
	close(other);
}

/* The file's own events are not touched, nor do they choose what is signalled. */
static void test_beside_read(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK), efd = irq_eventfd();
	struct ivshmem_event event;

	EXPECT_EQ(irq_bind(fd, 0, efd), 0);
	EXPECT_EQ(irq_subscribe(fd, 2), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd), 1);
	EXPECT_EQ(irq_poll(fd), 0);
	irq_fire(1);
	EXPECT_EQ(irq_take(efd), 0);
	POISON(event);
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(event.vector, 1);
	close(fd);
	close(efd);
}

static void test_poll(void)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u32 = 7 };
	int fd = dev_open(O_RDWR), efd = irq_eventfd();
	int ep = epoll_create1(0);

	NEED(ep >= 0);
	EXPECT_EQ(irq_bind(fd, 0, efd), 0);
	EXPECT_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, efd, &ev), 0);
	EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 0);
	irq_fire(0);
	POISON(ev);
	EXPECT_EQ(epoll_wait(ep, &ev, 1, 10000), 1);
	EXPECT_EQ(ev.events, EPOLLIN);
	EXPECT_EQ(ev.data.u32, 7);
	EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 0);
	irq_fire(0);
	EXPECT_EQ(epoll_wait(ep, &ev, 1, 10000), 1);
	EXPECT_EQ(irq_poll(efd), POLLIN | POLLOUT);
	EXPECT_EQ(irq_take(efd), 2);
	EXPECT_EQ(irq_poll(efd), POLLOUT);
	close(ep);
	close(fd);
	close(efd);
}

static long long call_read(struct dev_call *c)
{
	return read(c->fd, c->arg, sizeof(uint64_t));
}

/* A thread that sleeps in read() of the eventfd. */
static void test_blocking(void)
{
	int fd = dev_open(O_RDWR), efd = eventfd(0, 0);
	struct dev_call c = { .call = call_read, .fd = efd };
	uint64_t value = 0;
	long before;

	EXPECT_EQ(irq_bind(fd, irq_second, efd), 0);
	c.arg = &value;
	dev_call_start(&c);
	dev_call_asleep(&c, SYS_read);
	before = irq_switches(c.tid);
	if (irq_second) {
		irq_fire(0);
		dev_call_asleep(&c, SYS_read);
		EXPECT_EQ(irq_switches(c.tid), before);
	}
	irq_fire(irq_second);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, sizeof(value));
	EXPECT_EQ(value, 1);
	close(fd);
	close(efd);
}

static void test_errors(void)
{
	struct ivshmem_eventfd req, copy;
	int fd = dev_open(O_RDWR), efd = irq_eventfd(), pipes[2], other;
	unsigned int v;
	void *none;

	EXPECT_EQ(irq_bind(fd, 0, efd), 0);

	/* No descriptor. */
	EXPECT_ERRNO(irq_bind(fd, 0, 1000), EBADF);
	EXPECT_ERRNO(irq_bind(fd, 0, -2), EBADF);
	EXPECT_ERRNO(irq_bind(fd, 0, INT32_MIN), EBADF);
	EXPECT_ERRNO(irq_bind(fd, 0, INT32_MAX), EBADF);
	other = open("/dev/null", O_PATH);
	EXPECT_ERRNO(irq_bind(fd, 0, other), EBADF);
	close(other);

	/* A descriptor of something else. */
	NEED(!pipe(pipes));
	EXPECT_ERRNO(irq_bind(fd, 0, pipes[0]), EINVAL);
	EXPECT_ERRNO(irq_bind(fd, 0, pipes[1]), EINVAL);
	EXPECT_ERRNO(irq_bind(fd, 0, fd), EINVAL);
	other = epoll_create1(0);
	EXPECT_ERRNO(irq_bind(fd, 0, other), EINVAL);
	close(other);
	close(pipes[0]);
	close(pipes[1]);

	/* A vector that is not there, to bind as to unbind. */
	EXPECT_ERRNO(irq_bind(fd, irq_info.vectors, efd), EINVAL);
	EXPECT_ERRNO(irq_bind(fd, irq_info.vectors, -1), EINVAL);
	EXPECT_ERRNO(irq_bind(fd, 0x10000, efd), EINVAL);
	EXPECT_ERRNO(irq_bind(fd, IVSHMEM_ANY_VECTOR, efd), EINVAL);

	/* Each reserved bit. */
	for (v = 0; v < 64; v++) {
		memset(&req, 0, sizeof(req));
		req.fd = efd;
		req.reserved = UINT64_C(1) << v;
		if (ioctl(fd, IVSHMEM_SET_EVENTFD, &req) != -1 || errno != EINVAL)
			break;
	}
	EXPECT_EQ(v, 64);

	none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(none != MAP_FAILED);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SET_EVENTFD, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SET_EVENTFD, none), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SET_EVENTFD, (char *)none - 1), EFAULT);
	munmap(none, 4096);

	/* After all this the binding is still there. */
	irq_fire(0);
	EXPECT_EQ(irq_take(efd), 1);

	/* The argument is only read. */
	memset(&req, 0, sizeof(req));
	req.fd = -1;
	copy = req;
	EXPECT_EQ(ioctl(fd, IVSHMEM_SET_EVENTFD, &req), 0);
	EXPECT(!memcmp(&req, &copy, sizeof(req)));
	none = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(none != MAP_FAILED);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SET_EVENTFD, none), EINVAL); /* fd 0 */
	munmap(none, 4096);

	close(fd);
	close(efd);
}

/* The argument may lie in the shared memory itself. */
static void test_in_memory(void)
{
	int fd = dev_open(O_RDWR), efd = irq_eventfd();
	struct ivshmem_eventfd *req;

	req = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(req != MAP_FAILED);
	req->fd = efd;
	req->vector = 0;
	req->reserved = 0;
	EXPECT_EQ(ioctl(fd, IVSHMEM_SET_EVENTFD, req), 0);
	irq_fire(0);
	EXPECT_EQ(irq_take(efd), 1);
	munmap(req, 4096);
	close(fd);
	close(efd);
}

/* However a binding ends, and however often, it lets go of the eventfd. */
static void test_no_leak(void)
{
	long id = irq_next_eventfd();
	int fd, efd, i;

	for (i = 0; i < 500; i++) {
		fd = dev_open(O_RDWR);
		efd = irq_eventfd();
		/* Replaced, unbound, closed; and refused. */
		NEED(!irq_bind(fd, 0, efd));
		NEED(!irq_bind(fd, 0, efd));
		NEED(!irq_bind(fd, irq_second, efd));
		NEED(!irq_bind(fd, irq_second, -1));
		NEED(irq_bind(fd, irq_info.vectors, efd) == -1);
		close(i & 1 ? efd : fd);
		close(i & 1 ? fd : efd);
	}
	EXPECT_EQ(irq_next_eventfd(), id);
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 60);
	irq_start(1);
	/* So that descriptor 0 is no eventfd. */
	NEED(fcntl(0, F_GETFD) >= 0 || open("/dev/null", O_RDONLY) == 0);
	test_each_vector();
	test_value();
	test_semaphore();
	test_full();
	test_several_files();
	if (irq_second)
		test_several_vectors();
	test_rebind();
	test_close();
	test_kill();
	test_eventfd_closed();
	if (irq_second)
		test_beside_read();
	test_poll();
	test_blocking();
	test_errors();
	test_in_memory();
	test_no_leak();
	return tap_finish();
}
