// SPDX-License-Identifier: MIT
/* IVSHMEM_SUBSCRIBE: which vectors an open file sees. */
#include <sys/epoll.h>

#include "irq.h"

#define BIT(v)	(UINT64_C(1) << (v))

static int set_all(int fd)
{
	struct ivshmem_subscribe req = { .flags = IVSHMEM_SUBSCRIBE_ALL };

	return ioctl(fd, IVSHMEM_SUBSCRIBE, &req);
}

/* Reads all there is; returns the vectors, as bits. */
static uint64_t drain(int fd)
{
	struct ivshmem_event events[64];
	uint64_t vectors = 0;
	ssize_t i, n;

	POISON(events);
	n = read(fd, events, sizeof(events));
	NEED(n > 0 || errno == EAGAIN);
	for (i = 0; i < n / (ssize_t)sizeof(*events); i++) {
		NEED(!(vectors & BIT(events[i].vector)));
		vectors |= BIT(events[i].vector);
	}
	EXPECT(irq_poll(fd) == 0);
	return vectors;
}

static void fire_all(void)
{
	unsigned int v;

	for (v = 0; v < 4; v++)
		irq_fire(v);
}

/* read() and poll() see the vectors that are subscribed to. */
static void test_chosen(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK), other = dev_open(O_RDWR | O_NONBLOCK);

	/* All, until told otherwise. */
	fire_all();
	EXPECT_EQ(drain(fd), 0xf);

	EXPECT_EQ(irq_subscribe(fd, BIT(1)), 0);
	irq_fire(0);
	irq_fire(3);
	EXPECT_EQ(irq_poll(fd), 0);
	EXPECT_EQ(drain(fd), 0);
	irq_fire(1);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	EXPECT_EQ(drain(fd), BIT(1));

	EXPECT_EQ(irq_subscribe(fd, BIT(0) | BIT(3)), 0);
	fire_all();
	EXPECT_EQ(drain(fd), BIT(0) | BIT(3));

	/* Nobody else is concerned. */
	EXPECT_EQ(drain(other), 0xf);
	close(fd);
	close(other);
}

/* What was subscribed and stays keeps its events; what is new has none. */
static void test_change(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK);

	EXPECT_EQ(irq_subscribe(fd, BIT(0) | BIT(1)), 0);
	fire_all();
	EXPECT_EQ(irq_subscribe(fd, BIT(1) | BIT(2)), 0);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	EXPECT_EQ(drain(fd), BIT(1));

	/* Vector 0 went with its event, and comes back without. */
	EXPECT_EQ(irq_subscribe(fd, BIT(0) | BIT(2)), 0);
	EXPECT_EQ(irq_poll(fd), 0);
	EXPECT_EQ(drain(fd), 0);
	irq_fire(0);
	EXPECT_EQ(drain(fd), BIT(0));

	/* The same again changes nothing. */
	irq_fire(2);
	EXPECT_EQ(irq_subscribe(fd, BIT(0) | BIT(2)), 0);
	EXPECT_EQ(drain(fd), BIT(2));

	irq_fire(2);
	irq_fire(3);
	EXPECT_EQ(set_all(fd), 0);
	EXPECT_EQ(drain(fd), BIT(2));
	fire_all();
	EXPECT_EQ(set_all(fd), 0);
	EXPECT_EQ(drain(fd), 0xf);
	close(fd);
}

static void test_none(void)
{
	struct ivshmem_subscribe req = { 0 };
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	struct ivshmem_event event;
	uint64_t count = 0;

	irq_fire(0);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, &req), 0);
	fire_all();
	EXPECT_EQ(irq_poll(fd), 0);
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EAGAIN);
	EXPECT_EQ(dev_count(fd, IVSHMEM_ANY_VECTOR), 0);
	EXPECT_ERRNO(dev_wait(fd, IVSHMEM_ANY_VECTOR, &count, 20000000),
		     ETIMEDOUT);
	EXPECT_EQ(count, 0);
	close(fd);
}

/* The sum is over what is subscribed; one vector can be waited for all the same. */
static void test_wait(void)
{
	int fd = dev_open(O_RDWR);
	uint64_t sum = 0, one;
	unsigned int v;

	fire_all();
	for (v = 0; v < irq_info.vectors; v++)
		sum += irq_count(v);
	EXPECT_EQ(dev_count(fd, IVSHMEM_ANY_VECTOR), sum);
	EXPECT_EQ(irq_subscribe(fd, BIT(1) | BIT(3)), 0);
	sum = irq_count(1) + irq_count(3);
	EXPECT_EQ(dev_count(fd, IVSHMEM_ANY_VECTOR), sum);

	irq_fire(0);
	EXPECT_ERRNO(dev_wait(fd, IVSHMEM_ANY_VECTOR, &sum, 20000000), ETIMEDOUT);
	one = irq_count(0) - 1;
	EXPECT_EQ(dev_wait(fd, 0, &one, 0), 0);
	EXPECT_EQ(one, irq_count(0));
	irq_fire(3);
	EXPECT_EQ(dev_wait(fd, IVSHMEM_ANY_VECTOR, &sum, 0), 0);
	EXPECT_EQ(sum, irq_count(1) + irq_count(3));
	close(fd);
}

/* Copies of a descriptor are one open file. */
static void test_dup(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK), copy = dup(fd);

	NEED(copy >= 0);
	EXPECT_EQ(irq_subscribe(copy, BIT(2)), 0);
	fire_all();
	EXPECT_EQ(drain(fd), BIT(2));
	EXPECT_EQ(drain(copy), 0);
	close(copy);
	fire_all();
	EXPECT_EQ(drain(fd), BIT(2));
	close(fd);
}

/* The lengths of a bitmap: only what counts is looked at. */
static void test_bits(void)
{
	uint64_t words[IVSHMEM_MAX_VECTORS / 64] = { 0 };
	struct ivshmem_subscribe req = { .bitmap = (uintptr_t)words };
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	char *fence = dev_fence(1);

	/* Bits from the first that does not count are not looked at. */
	memset(words, 0xff, sizeof(words));
	req.bits = 2;
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, &req), 0);
	fire_all();
	EXPECT_EQ(drain(fd), 3);
	req.bits = irq_info.vectors;
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, &req), 0);
	fire_all();
	EXPECT_EQ(drain(fd), 0xf);

	/* A bitmap may be longer than the device needs, if it is empty there. */
	memset(words, 0, sizeof(words));
	words[0] = BIT(3);
	req.bits = IVSHMEM_MAX_VECTORS;
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, &req), 0);
	fire_all();
	EXPECT_EQ(drain(fd), BIT(3));

	/* No bit: no bitmap is needed, and none is looked at. */
	req.bits = 0;
	req.bitmap = (uintptr_t)fence;
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, &req), 0);
	fire_all();
	EXPECT_EQ(drain(fd), 0);

	/* It is read in whole elements, and no further. */
	words[0] = BIT(0);
	memcpy(fence - 8, words, 8);
	req.bitmap = (uintptr_t)fence - 8;
	req.bits = 1;
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, &req), 0);
	req.bits = 64;
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, &req), 0);
	req.bits = 65;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SUBSCRIBE, &req), EFAULT);

	/* It need not be aligned. */
	memcpy(fence - 9, words, 8);
	req.bitmap = (uintptr_t)fence - 9;
	req.bits = 64;
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, &req), 0);
	fire_all();
	EXPECT_EQ(drain(fd), BIT(0));
	close(fd);
}

/* Bitmap and argument may lie in the shared memory. */
static void test_in_memory(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	struct ivshmem_subscribe *req = dev_map(fd, 4096, 0);
	uint64_t *words = (uint64_t *)(req + 1);

	memset(req, 0, sizeof(*req));
	req->bitmap = (uintptr_t)words;
	req->bits = 64;
	words[0] = BIT(1);
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, req), 0);
	fire_all();
	EXPECT_EQ(drain(fd), BIT(1));
	munmap(req, 4096);
	close(fd);
}

static void expect_refused(int fd, struct ivshmem_subscribe req, int wanted,
			   const char *what)
{
	struct ivshmem_subscribe copy = req;
	int ret = ioctl(fd, IVSHMEM_SUBSCRIBE, &req), err = errno;

	tap_ok(ret == -1 && err == wanted && !memcmp(&req, &copy, sizeof(req)),
	       "%s: %s", what, ret ? strerrorname_np(err) : "no");
	/* What was chosen before is still chosen. */
	fire_all();
	EXPECT_EQ(drain(fd), BIT(2));
}

static void test_errors(void)
{
	uint64_t words[IVSHMEM_MAX_VECTORS / 64 + 1] = { BIT(1) };
	const struct ivshmem_subscribe good = {
		.bitmap = (uintptr_t)words, .bits = 64,
	};
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	char *fence = dev_fence(1);
	struct ivshmem_subscribe req;
	unsigned int v, wrong = 0;

	EXPECT_EQ(irq_subscribe(fd, BIT(2)), 0);

	req = good;
	req.bits = IVSHMEM_MAX_VECTORS + 1;
	expect_refused(fd, req, EINVAL, "one bit too many");
	req.bits = UINT32_MAX;
	expect_refused(fd, req, EINVAL, "very many bits");

	words[0] |= BIT(irq_info.vectors);
	expect_refused(fd, good, EINVAL, "a vector past the end");
	words[0] = BIT(1);
	words[31] = BIT(63);
	req = good;
	req.bits = IVSHMEM_MAX_VECTORS;
	expect_refused(fd, req, EINVAL, "the last vector of all");

	req = good;
	req.bitmap = (uintptr_t)fence;
	expect_refused(fd, req, EFAULT, "bitmap out of reach");
	req.bitmap = 0;
	expect_refused(fd, req, EFAULT, "no bitmap");
	req.bitmap = UINT64_MAX - 7;
	expect_refused(fd, req, EFAULT, "bitmap at the end of all addresses");
	req.bitmap = UINT64_C(0xffff888000000000);
	expect_refused(fd, req, EFAULT, "bitmap in the kernel");

	req = good;
	req.flags = IVSHMEM_SUBSCRIBE_ALL;
	expect_refused(fd, req, EINVAL, "all, and a bitmap");
	req.bitmap = 0;
	expect_refused(fd, req, EINVAL, "all, and bits");
	req.bitmap = (uintptr_t)words;
	req.bits = 0;
	expect_refused(fd, req, EINVAL, "all, and an empty bitmap");

	/* Each unknown flag, each reserved bit. */
	for (v = 1; v < 32; v++) {
		req = good;
		req.flags = UINT32_C(1) << v;
		errno = 0;
		wrong += ioctl(fd, IVSHMEM_SUBSCRIBE, &req) != -1 ||
			 errno != EINVAL;
		req = (struct ivshmem_subscribe){
			.flags = IVSHMEM_SUBSCRIBE_ALL | UINT32_C(1) << v,
		};
		errno = 0;
		wrong += ioctl(fd, IVSHMEM_SUBSCRIBE, &req) != -1 ||
			 errno != EINVAL;
	}
	EXPECT_EQ(wrong, 0);
	for (v = 0; v < 64; v++) {
		req = good;
		req.reserved = BIT(v);
		errno = 0;
		wrong += ioctl(fd, IVSHMEM_SUBSCRIBE, &req) != -1 ||
			 errno != EINVAL;
	}
	EXPECT_EQ(wrong, 0);

	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SUBSCRIBE, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SUBSCRIBE, fence), EFAULT);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SUBSCRIBE, fence - sizeof(req) + 1),
		     EFAULT);
	fire_all();
	EXPECT_EQ(drain(fd), BIT(2));
	close(fd);
}

/*
 * A thread that sleeps already is woken by what is chosen later, and by nothing
 * else. @nr is the system call that it sleeps in.
 */
static void test_asleep(int fd, struct dev_call *c, long nr, const char *what)
{
	long before;

	tap_note("changed while asleep in %s", what);
	EXPECT_EQ(irq_subscribe(fd, BIT(0)), 0);
	dev_call_start(c);
	dev_call_asleep(c, nr);
	before = irq_switches(c->tid);
	EXPECT_EQ(irq_subscribe(fd, BIT(1)), 0);
	/* It looks once. Until it has begun to, it seems asleep still. */
	EXPECT_WITHIN(irq_switches(c->tid) > before, 20000);
	dev_call_asleep(c, nr);

	before = irq_switches(c->tid);
	irq_fire(0);
	dev_call_asleep(c, nr);
	EXPECT_EQ(irq_switches(c->tid), before);

	irq_fire(1);
	EXPECT(dev_call_end(c, DEV_LONG));

	/* From none to all. */
	EXPECT_EQ(irq_subscribe(fd, 0), 0);
	if (irq_poll(fd) & POLLIN)
		tap_bail("readable, with no vector");
	dev_call_start(c);
	dev_call_asleep(c, nr);
	EXPECT_EQ(set_all(fd), 0);
	irq_fire(3);
	EXPECT(dev_call_end(c, DEV_LONG));
}

static long long call_epoll(struct dev_call *c)
{
	struct epoll_event event;

	return epoll_wait(*(int *)c->arg, &event, 1, -1);
}

static void test_while_asleep(void)
{
	int fd = dev_open(O_RDWR), ep = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	struct ivshmem_event got;
	struct dev_call c = { .fd = fd };

	c.call = dev_call_read;
	c.arg = &got;
	POISON(got);
	test_asleep(fd, &c, SYS_read, "read");
	EXPECT_EQ(c.ret, sizeof(got));
	EXPECT_EQ(got.vector, 3);
	EXPECT_EQ(got.count, irq_count(3));

	c.call = irq_call_poll;
	test_asleep(fd, &c, SYS_poll, "poll");
	EXPECT_EQ(c.ret, 1);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	EXPECT_EQ(drain(fd), BIT(3));

	/* Registered before the choice. */
	NEED(ep >= 0);
	EXPECT_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event), 0);
	c.call = call_epoll;
	c.arg = &ep;
	test_asleep(fd, &c, SYS_epoll_wait, "epoll_wait");
	EXPECT_EQ(c.ret, 1);
	EXPECT_EQ(drain(fd), BIT(3));
	close(ep);
	close(fd);
}

/* A wait for any vector whose sum changes with the choice. */
static void test_wait_asleep(void)
{
	int fd = dev_open(O_RDWR);
	struct ivshmem_wait wait = {
		.timeout_ns = IVSHMEM_WAIT_FOREVER,
		.vector = IVSHMEM_ANY_VECTOR,
	};
	struct dev_call c = { .call = dev_call_wait, .fd = fd, .arg = &wait };
	long before;

	irq_fire(0);
	irq_fire(1);
	EXPECT_EQ(irq_subscribe(fd, BIT(0)), 0);
	wait.count = irq_count(0);
	dev_call_start(&c);
	dev_call_asleep(&c, SYS_ioctl);
	before = irq_switches(c.tid);
	irq_fire(1);
	dev_call_asleep(&c, SYS_ioctl);
	EXPECT_EQ(irq_switches(c.tid), before);
	EXPECT_EQ(irq_subscribe(fd, BIT(0) | BIT(1)), 0);
	EXPECT(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, 0);
	EXPECT_EQ(wait.count, irq_count(0) + irq_count(1));
	close(fd);
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 120);
	irq_start(4);
	NEED(irq_info.vectors < 64);
	test_chosen();
	test_change();
	test_none();
	test_wait();
	test_dup();
	test_bits();
	test_in_memory();
	test_errors();
	test_while_asleep();
	test_wait_asleep();
	return tap_finish();
}
