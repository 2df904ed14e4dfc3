// SPDX-License-Identifier: MIT
/*
 * The server's queue of messages for one client: order, blocking at any point,
 * lack of memory, and how long file descriptors live.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "queue.h"
#include "receive.h"

static bool out_of_memory;

void *__wrap_malloc(size_t size)
{
	return out_of_memory ? NULL : __real_malloc(size);
}

static int ends[2];

static void expect(int64_t value, int event)
{
	eventfd_t count = 0;
	int64_t message;
	int fd;

	CHECK(receive_message(ends[1], &message, &fd) == sizeof(message));
	CHECK(message == value);
	if (event < 0) {
		CHECK(fd < 0);
		return;
	}
	/* The eventfd that it is was marked with its number. */
	CHECK(!eventfd_read(fd, &count));
	CHECK(count == (eventfd_t)event + 1);
	CHECK(!eventfd_write(fd, count));
	close(fd);
}

static void expect_nothing(void)
{
	char byte;

	CHECK(recv(ends[1], &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

static struct fdset *marked_eventfds(unsigned int count)
{
	struct fdset *set = fdset_from_eventfds(count);
	unsigned int i;

	CHECK(set && set->count == count);
	for (i = 0; i < count; i++)
		CHECK(!eventfd_write(set->fds[i], i + 1));
	return set;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void push(struct queue *queue, int64_t value, struct fdset *fds,
		 uint64_t now)
{
	CHECK(!queue_reserve(queue, 1));
	queue_push(queue, now, value, fds, now);
}

static void test_empty(void)
{
	struct queue queue = { 0 };

	CHECK(queue_empty(&queue));
	CHECK(!queue_send(&queue, ends[0]));
	expect_nothing();
	queue_clear(&queue);
}

static void test_order(void)
{
	struct fdset *two = marked_eventfds(2);
	struct queue queue = { 0 };

	push(&queue, 0, NULL, 10);
	push(&queue, 5, two, 20);
	push(&queue, 5, NULL, 30);
	CHECK(!queue_empty(&queue));
	CHECK(queue_oldest(&queue) == 10);
	CHECK(!queue_send(&queue, ends[0]));
	CHECK(queue_empty(&queue));
	CHECK(!queue.runs);

	expect(0, -1);
	expect(5, 0);
	expect(5, 1);
	expect(5, -1);
	expect_nothing();
	fdset_put(two);
}

/*
 * The client takes a little at a time while more is queued, so the queue blocks
 * in the middle of runs, wraps around and grows while it is wrapped.
 */
static void test_blocked(void)
{
	enum { RUNS = 2000, VECTORS = 7 };
	struct fdset *set = marked_eventfds(VECTORS);
	struct queue queue = { 0 };
	int64_t pushed = 0, value = 0;
	int vector = 0, blocked = 0, ret, i;

	while (value < RUNS) {
		for (i = 0; i < 150 && pushed < RUNS; i++, pushed++)
			push(&queue, pushed, pushed % 3 ? set : NULL, pushed);

		ret = queue_send(&queue, ends[0]);
		CHECK(ret == 0 || ret == -EAGAIN);
		CHECK(queue_empty(&queue) == !ret);
		if (ret) {
			blocked++;
			/* What is still queued is no older than what comes. */
			CHECK(queue_oldest(&queue) >= (uint64_t)value);
		}

		for (i = 0; i < 131 && value < RUNS; i++) {
			if (value % 3) {
				expect(value, vector++);
				if (vector < VECTORS)
					continue;
				vector = 0;
			} else {
				expect(value, -1);
			}
			value++;
		}
	}
	CHECK(blocked > 10);
	CHECK(queue_empty(&queue));
	expect_nothing();
	CHECK(set->refs == 1);
	fdset_put(set);
}

static void test_no_memory(void)
{
	struct queue queue = { 0 };
	int i;

	out_of_memory = true;
	CHECK(queue_reserve(&queue, 1) == -ENOMEM);
	out_of_memory = false;
	CHECK(queue_empty(&queue));

	/* What is reserved can be pushed without memory; more cannot. */
	push(&queue, 0, NULL, 0);
	CHECK(!queue_reserve(&queue, 20));
	out_of_memory = true;
	for (i = 1; i <= 20; i++)
		queue_push(&queue, i, i, NULL, i);
	CHECK(queue_reserve(&queue, 100) == -ENOMEM);
	out_of_memory = false;

	CHECK(!queue_send(&queue, ends[0]));
	for (i = 0; i <= 20; i++)
		expect(i, -1);
	expect_nothing();
}

/* The eventfds of a peer that left live as long as a queue has to send them. */
static void test_fd_lifetime(void)
{
	struct fdset *set = marked_eventfds(1);
	struct queue a = { 0 }, b = { 0 };
	int fd = set->fds[0];

	push(&a, 1, set, 0);
	push(&b, 1, set, 0);
	fdset_put(set);
	CHECK(is_open(fd));
	CHECK(!queue_send(&a, ends[0]));
	CHECK(is_open(fd));
	queue_clear(&b);
	CHECK(queue_empty(&b));
	CHECK(!is_open(fd));
	expect(1, 0);
}

/* Or another takes their place: who counts gets as many of it. */
static void test_replace(void)
{
	struct fdset *set = marked_eventfds(3);
	struct queue queue = { 0 };
	int fd = eventfd(9, 0);
	int first = set->fds[0], last = set->fds[2];

	push(&queue, 1, set, 0);
	fdset_replace(set, fd);
	CHECK(!is_open(first) && !is_open(last));
	fdset_put(set);
	CHECK(!queue_send(&queue, ends[0]));
	CHECK(is_open(fd));
	expect(1, 8);
	expect(1, 8);
	expect(1, 8);
	expect_nothing();
	close(fd);
}

static void test_gone(void)
{
	struct fdset *set = marked_eventfds(1);
	struct queue queue = { 0 };

	push(&queue, 1, set, 0);
	close(ends[1]);
	CHECK(queue_send(&queue, ends[0]) == -EPIPE);
	CHECK(!queue_empty(&queue));
	queue_clear(&queue);
	CHECK(set->refs == 1);
	fdset_put(set);
}

int main(void)
{
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	test_empty();
	test_order();
	test_blocked();
	test_no_memory();
	test_fd_lifetime();
	test_replace();
	test_gone();
	return 0;
}
