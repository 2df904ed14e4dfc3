// SPDX-License-Identifier: MIT
/*
 * Races: binding, subscribing, asking for signals, opening and closing, all
 * against interrupts that come without a pause; and what must not be lost in
 * them. Two processors find more than one.
 */
#include <sched.h>
#include <sys/epoll.h>

#include "irq.h"

static atomic_bool begun, over;
static unsigned int rounds = 500;

/* Rings two vectors in turn until the end. */
static long long call_ring(struct dev_call *c)
{
	long long i;

	for (i = 0; !over; i++) {
		if (ioctl(c->fd, IVSHMEM_RING_DOORBELL, irq_self(i & 1)))
			return -1;
		begun = true;
	}
	return i;
}

static void start_ringing(struct dev_call *c)
{
	begun = false;
	over = false;
	*c = (struct dev_call){ .call = call_ring, .fd = irq_bell };
	dev_call_start(c);
	/* One processor can do all the rest before it comes to that thread. */
	EXPECT_WITHIN(begun, 20000);
}

static void stop_ringing(struct dev_call *c)
{
	over = true;
	NEED(dev_call_end(c, DEV_LONG));
	EXPECT(c->ret > 0);
	tap_note("%lld rings", c->ret);
}

static long long call_bind(struct dev_call *c)
{
	int efds[2] = { *(int *)c->arg, irq_eventfd() };
	unsigned int i;

	for (i = 0; i < rounds; i++) {
		int fd = open(tap_device, O_RDWR | O_CLOEXEC), copy = dup(fd);

		if (irq_bind(fd, 0, efds[0]) || irq_bind(fd, 1, efds[0]) ||
		    irq_bind(copy, 0, efds[1]) || irq_bind(fd, 1, -1) ||
		    irq_bind(fd, 1, efds[i & 1]))
			return -1;
		/* The eventfd may go first, or the device. */
		if (i & 2) {
			close(efds[1]);
			efds[1] = irq_eventfd();
		}
		close(fd);
		close(copy);
	}
	close(efds[1]);
	return 0;
}

static long long call_bind_one(struct dev_call *c)
{
	int efd = irq_eventfd();
	unsigned int i;

	/* The same file from several threads. */
	for (i = 0; i < rounds * 20; i++)
		if (irq_bind(c->fd, i & 1, i & 2 ? -1 : efd))
			return -1;
	irq_bind(c->fd, 0, -1);
	irq_bind(c->fd, 1, -1);
	close(efd);
	return 0;
}

/* Bind against ring against close. */
static void test_bind(void)
{
	int efd = irq_eventfd(), fd = dev_open(O_RDWR), other = irq_eventfd();
	uint64_t start = irq_count(0), told = 0;
	struct dev_call ringer, c[4];
	unsigned int i;

	/* One that stays bound misses nothing of all that. */
	EXPECT_EQ(irq_bind(irq_bell, 0, other), 0);
	start_ringing(&ringer);
	for (i = 0; i < 4; i++) {
		c[i] = (struct dev_call){
			.call = i < 2 ? call_bind : call_bind_one,
			.fd = fd, .arg = &efd,
		};
		dev_call_start(&c[i]);
	}
	for (i = 0; i < 4; i++) {
		NEED(dev_call_end(&c[i], 4 * DEV_LONG));
		EXPECT_EQ(c[i].ret, 0);
	}
	stop_ringing(&ringer);
	/* Some may still be on their way. */
	EXPECT_WITHIN((told += irq_take(other)) == irq_count(0) - start, 20000);
	EXPECT(told > 0);

	/* Nothing is bound to it any more. */
	irq_fire(0);
	irq_fire(1);
	irq_take(efd);
	irq_take(other);
	irq_fire(0);
	irq_fire(1);
	EXPECT_EQ(irq_take(efd), 0);
	EXPECT_EQ(irq_take(other), 1);
	irq_bind(irq_bell, 0, -1);
	close(efd);
	close(other);
	close(fd);
}

static long long call_ring_one(struct dev_call *c)
{
	const unsigned int *delay = c->arg;
	atomic_uint i;

	/* At another moment in each round. */
	for (i = 0; i < *delay; i++)
		;
	return ioctl(c->fd, IVSHMEM_RING_DOORBELL, irq_self(0));
}

/* How a file hears of an interrupt. */
enum kind { KIND_READ, KIND_POLL, KIND_EPOLL, KIND_ANY, KINDS };

struct listener {
	struct dev_call call;
	enum kind kind;
	int epfd;
	uint64_t count;
	atomic_bool done;
};

static long long listen_once(struct dev_call *c)
{
	struct pollfd pfd = { .fd = c->fd, .events = POLLIN };
	struct listener *l = (struct listener *)c;
	struct epoll_event event;

	switch (l->kind) {
	case KIND_POLL:
		return poll(&pfd, 1, 2 * DEV_LONG / 1000000);
	case KIND_EPOLL:
		return epoll_wait(l->epfd, &event, 1, 2 * DEV_LONG / 1000000);
	case KIND_ANY:
		return dev_wait(c->fd, IVSHMEM_ANY_VECTOR, &l->count,
				2 * DEV_LONG) == 0;
	default:
		/* Has no timeout: the program's own end is its. */
		return read(c->fd, c->arg, sizeof(struct ivshmem_event)) > 0;
	}
}

static long long call_listen(struct dev_call *c)
{
	long long ret = listen_once(c);

	((struct listener *)c)->done = true;
	return ret;
}

/*
 * The choice changes while an interrupt comes of a vector that is chosen before
 * and after: it is heard.
 */
static void test_subscribe(enum kind kind)
{
	static const uint64_t choices[] = { 1, 3, 7, 5 };
	static const char * const names[KINDS] = {
		"read", "poll", "epoll", "wait",
	};
	struct ivshmem_subscribe all = { .flags = IVSHMEM_SUBSCRIBE_ALL };
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int fd = dev_open(O_RDWR), epfd = epoll_create1(0);
	struct ivshmem_event event, more[8];
	unsigned int i, n, delay, heard = 0, wrong = 0;
	struct listener l;

	NEED(!epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev));
	for (i = 0; i < rounds / 4; i++) {
		struct dev_call ringer = {
			.call = call_ring_one, .fd = irq_bell, .arg = &delay,
		};
		uint64_t count = irq_count(0), end = tap_now() + DEV_LONG;

		NEED(!irq_subscribe(fd, choices[i & 3]));
		l = (struct listener){
			.call = { .call = call_listen, .fd = fd, .arg = &event },
			.kind = kind, .epfd = epfd,
			.count = dev_count(fd, IVSHMEM_ANY_VECTOR),
		};
		dev_call_start(&l.call);
		if (i & 4)
			dev_call_asleep(&l.call, kind == KIND_READ ? SYS_read :
					kind == KIND_POLL ? SYS_poll :
					kind == KIND_EPOLL ? SYS_epoll_wait :
					SYS_ioctl);
		delay = i * 37 % 5000;
		dev_call_start(&ringer);
		/*
		 * Whenever it comes, the choice is changing; and not after that,
		 * for a choice makes those who wait look, too.
		 */
		for (n = 0; !l.done && irq_count(0) == count; n++) {
			/* The sum that is waited for must not change by itself. */
			if (kind == KIND_ANY)
				NEED(!irq_subscribe(fd, choices[i & 3]));
			else if (n % 5)
				NEED(!irq_subscribe(fd, choices[n & 3]));
			else
				NEED(!ioctl(fd, IVSHMEM_SUBSCRIBE, &all));
			if (tap_now() > end)
				tap_bail("%s: not heard, round %u", names[kind], i);
		}
		if (!dev_call_end(&l.call, DEV_LONG))
			tap_bail("%s: not woken, round %u", names[kind], i);
		NEED(dev_call_end(&ringer, DEV_LONG));
		heard += l.call.ret == 1;
		if (kind != KIND_READ)
			NEED(read(fd, &event, sizeof(event)) == sizeof(event));
		wrong += event.vector != 0 || event.count != count + 1;
		/* It was this one, and there is no other. */
		if (irq_poll(fd) & POLLIN) {
			NEED(read(fd, more, sizeof(more)) > 0);
			wrong++;
		}
	}
	tap_note("%s", names[kind]);
	EXPECT_EQ(heard, rounds / 4);
	EXPECT_EQ(wrong, 0);
	close(epfd);
	close(fd);
}

static long long call_subscribe(struct dev_call *c)
{
	struct ivshmem_subscribe all = { .flags = IVSHMEM_SUBSCRIBE_ALL };
	unsigned int i;

	for (i = 0; i < rounds * 2; i++)
		if (i % 7 ? irq_subscribe(c->fd, i & 15) :
		    ioctl(c->fd, IVSHMEM_SUBSCRIBE, &all))
			return -1;
	return 0;
}

static long long call_read_some(struct dev_call *c)
{
	struct ivshmem_event events[2];
	unsigned int i;

	for (i = 0; i < rounds * 2; i++)
		if (read(c->fd, events, sizeof(events)) < 0 && errno != EAGAIN)
			return -1;
	return 0;
}

static long long call_async(struct dev_call *c)
{
	unsigned int i;

	for (i = 0; i < rounds; i++)
		if (fcntl(c->fd, F_SETFL, O_NONBLOCK | (i & 1 ? O_ASYNC : 0)))
			return -1;
	return 0;
}

static long long call_open(struct dev_call *c)
{
	struct pollfd pfd = { .events = POLLIN };
	unsigned int i;

	for (i = 0; i < rounds; i++) {
		int fd = open(tap_device, O_RDWR | O_CLOEXEC);

		if (fd < 0)
			return -1;
		/* Listening, in either way, when it is closed. */
		if (i & 1 && irq_subscribe(fd, 3))
			return -1;
		pfd.fd = fd;
		if (poll(&pfd, 1, 0) < 0)
			return -1;
		if (i & 2 && (fcntl(fd, F_SETOWN, getpid()) ||
			      fcntl(fd, F_SETFL, O_ASYNC)))
			return -1;
		close(fd);
	}
	return c->fd;
}

static void handler(int sig TAP_UNUSED)
{
}

/* All at once on one file, and others that come and go. */
static void test_all(void)
{
	long long (*const calls[])(struct dev_call *c) = {
		call_subscribe, call_subscribe, call_read_some, call_read_some,
		call_async, call_open, call_bind_one,
	};
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	struct ivshmem_subscribe all = { .flags = IVSHMEM_SUBSCRIBE_ALL };
	const unsigned int n = sizeof(calls) / sizeof(*calls);
	struct ivshmem_event events[64];
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	struct dev_call ringer, c[7];
	unsigned int i;

	NEED(!sigaction(SIGIO, &sa, NULL));
	NEED(!fcntl(fd, F_SETOWN, getpid()));
	start_ringing(&ringer);
	for (i = 0; i < n; i++) {
		c[i] = (struct dev_call){ .call = calls[i], .fd = fd };
		dev_call_start(&c[i]);
	}
	for (i = 0; i < n; i++) {
		NEED(dev_call_end(&c[i], 4 * DEV_LONG));
		EXPECT(c[i].ret >= 0);
	}
	stop_ringing(&ringer);

	/* The file is as good as new. */
	NEED(!fcntl(fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, &all), 0);
	irq_fire(0);
	while (read(fd, events, sizeof(events)) > 0)
		;
	EXPECT_EQ(irq_poll(fd), 0);
	irq_fire(1);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	EXPECT_EQ(read(fd, events, sizeof(events)), sizeof(*events));
	EXPECT_EQ(events[0].vector, 1);
	close(fd);
}

/* Who has the node open in either way, and what came of trying. */
static atomic_uint together, alone, overlaps;
static atomic_uint opened_together, opened_alone, refused;

static void hold_alone(unsigned int i)
{
	overlaps += alone++ || together;
	if (i & 2)
		sched_yield();
	overlaps += --alone || together;
}

static void hold_together(unsigned int i)
{
	together++;
	overlaps += alone != 0;
	if (i & 2)
		sched_yield();
	overlaps += alone != 0;
	together--;
}

static long long call_exclusive(struct dev_call *c TAP_UNUSED)
{
	uint64_t end = tap_now() + DEV_LONG;
	unsigned int i;

	/* Until each has happened, on a machine with much to do. */
	for (i = 0; i < rounds * 4 || ((!opened_together || !opened_alone ||
					!refused) && tap_now() < end); i++) {
		int flags = i & 1 ? O_EXCL : 0;
		int fd = open(tap_device, O_RDWR | O_CLOEXEC | flags);

		if (fd < 0) {
			if (errno != EBUSY)
				return -1;
			refused++;
			continue;
		}
		if (flags) {
			opened_alone++;
			hold_alone(i);
		} else {
			opened_together++;
			hold_together(i);
		}
		close(fd);
	}
	return 0;
}

/* Whoever opens it with O_EXCL has it alone. */
static void test_exclusive(void)
{
	struct dev_call c[4];
	unsigned int i;

	close(irq_bell);
	for (i = 0; i < 4; i++) {
		c[i] = (struct dev_call){ .call = call_exclusive };
		dev_call_start(&c[i]);
	}
	for (i = 0; i < 4; i++) {
		NEED(dev_call_end(&c[i], 4 * DEV_LONG));
		EXPECT_EQ(c[i].ret, 0);
	}
	tap_note("%u together, %u alone, %u refused", opened_together,
		 opened_alone, refused);
	EXPECT(opened_together && opened_alone && refused);
	EXPECT_EQ(overlaps, 0);
	irq_bell = dev_open(O_RDWR);
}

int main(int argc, char **argv)
{
	enum kind kind;

	tap_start(argc, argv, 240);
	if (argc > 2)
		rounds = strtoul(argv[2], NULL, 10);
	irq_start(4);
	test_bind();
	for (kind = 0; kind < KINDS; kind++)
		test_subscribe(kind);
	test_all();
	test_exclusive();
	return tap_finish();
}
