// SPDX-License-Identifier: MIT
/*
 * One open file, several readers: threads, processes, copies of a descriptor,
 * and flags that change meanwhile.
 */
#include <sys/epoll.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "irq.h"
#include "stuck.h"

#define ROUNDS	2000
#define MOST	(ROUNDS + 2)	/* with what is fired at the end */

/* What two threads have read, by vector: the last count, how many events. */
struct tally {
	uint64_t events[4];
	uint64_t last[4];
	bool back;	/* a count did not rise */
};

static struct tally tallies[2];
static atomic_bool over;
static atomic_uint taken[4][MOST + 1];	/* by count, from its start */
static uint64_t start[4];

static long long call_read_all(struct dev_call *c)
{
	struct tally *tally = c->arg;
	struct ivshmem_event events[2];
	ssize_t n, i;

	for (;;) {
		bool last = over;

		/* One of them with a small buffer, which takes turns. */
		n = read(c->fd, events, tally == tallies ? sizeof(events) :
			 sizeof(*events));
		if (n < 0 && errno == EAGAIN) {
			if (last)
				return 0;
			continue;
		}
		if (n <= 0 || n % sizeof(*events)) {
			tap_note("read: %zd, %s", n, strerror(errno));
			return -1;
		}
		for (i = 0; i < n / (ssize_t)sizeof(*events); i++) {
			unsigned int v = events[i].vector;

			NEED(v < 4 && events[i].count > start[v] &&
			     events[i].count <= start[v] + MOST);
			if (events[i].count <= tally->last[v])
				tally->back = true;
			tally->last[v] = events[i].count;
			tally->events[v]++;
			taken[v][events[i].count - start[v]]++;
		}
	}
}

/*
 * No event comes twice, and the last of each vector comes. Never any other error
 * than EAGAIN either, however close an interrupt and a read are.
 */
static void test_threads(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	struct dev_call c[2];
	uint64_t end = tap_now() + 30 * TAP_SECOND;
	unsigned int i, v, twice = 0;

	memset(tallies, 0, sizeof(tallies));
	memset(taken, 0, sizeof(taken));
	over = false;
	for (v = 0; v < 4; v++)
		start[v] = irq_count(v);
	for (i = 0; i < 2; i++) {
		c[i] = (struct dev_call){
			.call = call_read_all, .fd = fd, .arg = &tallies[i],
		};
		dev_call_start(&c[i]);
	}
	/* Rings coalesce, so there are at most as many interrupts. */
	for (i = 0; i < ROUNDS * 4 && tap_now() < end; i++)
		irq_ring(i % 4);
	irq_fire(0);
	for (v = 0; v < 4; v++) {
		uint64_t count = irq_count(v);

		/* What is still on its way has come when these have. */
		if (count < start[v] + ROUNDS)
			irq_fire(v);
	}
	over = true;
	for (i = 0; i < 2; i++) {
		NEED(dev_call_end(&c[i], DEV_LONG));
		EXPECT_EQ(c[i].ret, 0);
		EXPECT(!tallies[i].back);
		tap_note("thread %u: %u events of vector 0", i,
			 (unsigned int)tallies[i].events[0]);
	}
	for (v = 0; v < 4; v++) {
		uint64_t count = irq_count(v);

		for (i = 0; i <= MOST; i++)
			twice += taken[v][i] > 1;
		EXPECT(tallies[0].last[v] == count || tallies[1].last[v] == count);
	}
	EXPECT_EQ(twice, 0);
	EXPECT_EQ(irq_poll(fd), 0);
	close(fd);
}

/* One interrupt after the other: each makes an event, which one of them gets. */
static void test_each(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	struct dev_call c[2];
	unsigned int i, v, twice = 0;

	memset(tallies, 0, sizeof(tallies));
	memset(taken, 0, sizeof(taken));
	over = false;
	for (v = 0; v < 4; v++)
		start[v] = irq_count(v);
	for (i = 0; i < 2; i++) {
		c[i] = (struct dev_call){
			.call = call_read_all, .fd = fd, .arg = &tallies[i],
		};
		dev_call_start(&c[i]);
	}
	for (i = 0; i < 50; i++) {
		uint64_t count = dev_ring_self(irq_bell, i % 4);
		atomic_uint *one = &taken[i % 4][count - start[i % 4]];
		uint64_t end = tap_now() + DEV_LONG;

		while (!*one && tap_now() < end)
			tap_pause();
		if (!*one)
			break;
	}
	EXPECT_EQ(i, 50);
	over = true;
	for (i = 0; i < 2; i++) {
		NEED(dev_call_end(&c[i], DEV_LONG));
		EXPECT_EQ(c[i].ret, 0);
	}
	for (v = 0; v < 4; v++)
		for (i = 0; i <= MOST; i++)
			twice += taken[v][i] > 1;
	EXPECT_EQ(twice, 0);
	close(fd);
}

/* A child reads what its parent opened: one reader's event is not the other's. */
static void test_fork(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK), pipes[2], status;
	struct ivshmem_event event;
	pid_t child;

	NEED(!pipe(pipes));
	irq_fire(1);
	child = fork();
	NEED(child >= 0);
	if (!child) {
		if (read(fd, &event, sizeof(event)) != sizeof(event) ||
		    event.vector != 1)
			_exit(1);
		/* A file of its own has nothing yet. */
		fd = open(tap_device, O_RDWR | O_NONBLOCK);
		if (fd < 0 || read(fd, &event, sizeof(event)) != -1 ||
		    errno != EAGAIN)
			_exit(2);
		_exit(0);
	}
	EXPECT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EAGAIN);
	irq_fire(2);
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(event.vector, 2);
	close(fd);
}

/* The last descriptor of a file is closed while a thread sleeps in it. */
static void test_close_asleep(void)
{
	struct ivshmem_event event;
	struct dev_call c = { .call = dev_call_read, .arg = &event };
	int fd = dev_open(O_RDWR);

	c.fd = fd;
	dev_call_start(&c);
	dev_call_asleep(&c, SYS_read);
	EXPECT_EQ(close(fd), 0);
	EXPECT_EQ(close(dev_open(O_RDWR)), 0);
	irq_fire(0);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, sizeof(event));
	EXPECT_EQ(event.vector, 0);
}

/* O_NONBLOCK holds for the calls that come after it is set, or taken away. */
static void test_nonblock(void)
{
	struct ivshmem_event event;
	int fd = dev_open(O_RDWR);
	struct dev_call c = { .call = dev_call_read, .fd = fd, .arg = &event };
	long before;
	int i;

	for (i = 0; i < 3; i++) {
		dev_call_start(&c);
		dev_call_asleep(&c, SYS_read);
		before = irq_switches(c.tid);
		NEED(!fcntl(fd, F_SETFL, O_NONBLOCK));
		EXPECT_ERRNO(read(fd, &event, sizeof(event)), EAGAIN);
		dev_call_asleep(&c, SYS_read);
		EXPECT_EQ(irq_switches(c.tid), before);
		NEED(!fcntl(fd, F_SETFL, 0));
		irq_fire(i);
		NEED(dev_call_end(&c, DEV_LONG));
		EXPECT_EQ(c.ret, sizeof(event));
		EXPECT_EQ(event.vector, i);
	}
	/* Only for this call. */
	EXPECT_ERRNO(preadv2(fd, &(struct iovec){ &event, sizeof(event) }, 1, -1,
			     RWF_NOWAIT), EAGAIN);
	irq_fire(0);
	EXPECT_EQ(preadv2(fd, &(struct iovec){ &event, sizeof(event) }, 1, -1,
			  RWF_NOWAIT), sizeof(event));
	close(fd);
}

static void handler(int sig TAP_UNUSED)
{
}

/*
 * A reader whose buffer does not come holds up the other readers of its file, if
 * they block; but neither their signals nor anybody else.
 */
static void test_stuck_reader(void)
{
	struct sigaction sa = { .sa_handler = handler };
	int fd = dev_open(O_RDWR), other = dev_open(O_RDWR), uffd;
	struct ivshmem_event event, *page = stuck_page(&uffd);
	struct dev_call stuck = { .call = dev_call_read, .fd = fd, .arg = page };
	struct dev_call next = { .call = dev_call_read, .fd = fd, .arg = &event };
	uint64_t count = irq_count(1), first;

	if (!page)
		return;
	NEED(!sigaction(SIGUSR1, &sa, NULL));
	irq_fire(0);
	first = irq_count(0);
	dev_call_start(&stuck);
	dev_call_asleep(&stuck, SYS_read);

	/* This reader waits for that one, and can be told to give up. */
	dev_call_start(&next);
	dev_call_asleep(&next, SYS_read);
	NEED(!pthread_kill(next.thread, SIGUSR1));
	NEED(dev_call_end(&next, DEV_LONG));
	EXPECT_EQ(next.ret, -1);
	EXPECT_EQ(next.err, EINTR);
	NEED(!fcntl(fd, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EAGAIN);
	NEED(!fcntl(fd, F_SETFL, 0));

	/* All else goes on. */
	irq_fire(1);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	EXPECT_EQ(dev_wait(fd, 1, &count, 0), 0);
	EXPECT_EQ(irq_subscribe(fd, 3), 0);
	EXPECT_EQ(irq_subscribe(fd, 7), 0);
	EXPECT_EQ(read(other, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(close(dev_open(O_RDWR)), 0);

	/* What the reader is about to say it has seen is no longer what counts. */
	EXPECT_EQ(irq_subscribe(fd, 2), 0);
	irq_fire(0);
	EXPECT_EQ(irq_subscribe(fd, 3), 0);

	stuck_release(uffd, page);
	NEED(dev_call_end(&stuck, DEV_LONG));
	EXPECT_EQ(stuck.ret, sizeof(event));
	EXPECT_EQ(page->vector, 0);
	EXPECT_EQ(page->count, first);
	stuck_free(uffd, page);

	NEED(!fcntl(fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(event.vector, 1);
	EXPECT_EQ(event.count, count);
	EXPECT_EQ(irq_poll(fd), 0);
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EAGAIN);
	irq_fire(0);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	close(fd);
	close(other);
}

/*
 * Whoever is refused because another reads has been told of an event that the
 * other may not take: what tells once must then tell again.
 */
static void test_told_again(void)
{
	struct epoll_event edge = { .events = EPOLLIN | EPOLLET }, got;
	struct sigaction sa = { .sa_handler = handler };
	int fd = dev_open(O_RDWR), ep = epoll_create1(EPOLL_CLOEXEC), uffd;
	struct ivshmem_event event, *page = stuck_page(&uffd);
	struct dev_call stuck = { .call = dev_call_read, .fd = fd, .arg = page };
	sigset_t set;

	if (!page)
		return;
	NEED(ep >= 0);
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	NEED(!sigaction(SIGIO, &sa, NULL));
	NEED(!sigprocmask(SIG_BLOCK, &set, NULL));
	irq_fire(0);
	dev_call_start(&stuck);
	dev_call_asleep(&stuck, SYS_read);

	NEED(!fcntl(fd, F_SETOWN, getpid()));
	NEED(!fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC));
	NEED(!epoll_ctl(ep, EPOLL_CTL_ADD, fd, &edge));
	irq_fire(1);
	EXPECT_EQ(epoll_wait(ep, &got, 1, 20000), 1);
	EXPECT_EQ(sigtimedwait(&set, NULL, &(struct timespec){ 20, 0 }), SIGIO);
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EAGAIN);
	EXPECT_EQ(epoll_wait(ep, &got, 1, 0), 0);

	stuck_release(uffd, page);
	NEED(dev_call_end(&stuck, DEV_LONG));
	EXPECT_EQ(stuck.ret, sizeof(event));
	EXPECT_EQ(epoll_wait(ep, &got, 1, 20000), 1);
	EXPECT_EQ(sigtimedwait(&set, NULL, &(struct timespec){ 20, 0 }), SIGIO);
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(event.vector, 1);

	/* Once, and not after each read. */
	irq_fire(2);
	EXPECT_EQ(epoll_wait(ep, &got, 1, 20000), 1);
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	EXPECT_EQ(epoll_wait(ep, &got, 1, 0), 0);
	close(ep);
	stuck_free(uffd, page);
	close(fd);
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 120);
	irq_start(4);
	test_threads();
	test_each();
	test_fork();
	test_close_asleep();
	test_nonblock();
	test_stuck_reader();
	test_told_again();
	return tap_finish();
}
