// SPDX-License-Identifier: MIT
/* splice(): events go into a pipe. */
#include "irq.h"

#define SIZE	sizeof(struct ivshmem_event)

static long long call_splice(struct dev_call *c)
{
	return splice(c->fd, NULL, *(int *)c->arg, NULL, 4096, 0);
}

static unsigned int nr_vectors;		/* 4, or 1 of a device with a pin */

static void test_events(int fd, int *pipes)
{
	struct ivshmem_event events[8];
	unsigned int v, vectors = 0;

	for (v = 0; v < nr_vectors; v++)
		irq_fire(v);
	EXPECT_EQ(splice(fd, NULL, pipes[1], NULL, 4096, 0), nr_vectors * SIZE);
	EXPECT_EQ(irq_poll(fd), 0);
	POISON(events);
	EXPECT_EQ(read(pipes[0], events, sizeof(events)), nr_vectors * SIZE);
	for (v = 0; v < nr_vectors; v++) {
		EXPECT(events[v].vector < nr_vectors);
		vectors |= 1 << (events[v].vector & 3);
		EXPECT_EQ(events[v].flags, 0);
		EXPECT_EQ(events[v].status,
			  irq_info.irq_mode == IVSHMEM_IRQ_INTX);
		EXPECT_EQ(events[v].count, irq_count(events[v].vector));
	}
	EXPECT_EQ(vectors, (1 << nr_vectors) - 1);
}

/* As many whole events as fit into what is asked for. */
static void test_length(int fd, int *pipes)
{
	struct ivshmem_event events[8];

	irq_fire(0);
	EXPECT_ERRNO(splice(fd, NULL, pipes[1], NULL, SIZE - 1, 0), EINVAL);
	if (nr_vectors < 3) {
		EXPECT_EQ(splice(fd, NULL, pipes[1], NULL, SIZE, 0), SIZE);
		EXPECT_EQ(read(pipes[0], events, sizeof(events)), SIZE);
		return;
	}
	irq_fire(1);
	irq_fire(2);
	EXPECT_EQ(splice(fd, NULL, pipes[1], NULL, SIZE, 0), SIZE);
	EXPECT_EQ(splice(fd, NULL, pipes[1], NULL, 2 * SIZE + 1, 0), 2 * SIZE);
	EXPECT_EQ(irq_poll(fd), 0);
	EXPECT_EQ(read(pipes[0], events, sizeof(events)), 3 * SIZE);
}

static void test_blocking(int fd, int *pipes)
{
	struct dev_call c = { .call = call_splice, .fd = fd, .arg = &pipes[1] };
	struct ivshmem_event event;

	NEED(!fcntl(fd, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(splice(fd, NULL, pipes[1], NULL, 4096, 0), EAGAIN);
	NEED(!fcntl(fd, F_SETFL, 0));

	dev_call_start(&c);
	dev_call_asleep(&c, SYS_splice);
	irq_fire(irq_second);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, SIZE);
	POISON(event);
	EXPECT_EQ(read(pipes[0], &event, sizeof(event)), SIZE);
	EXPECT_EQ(event.vector, irq_second);
	EXPECT_EQ(event.count, irq_count(irq_second));
}

/* There is nothing to write to. */
static void test_other_way(int fd, int *pipes)
{
	char byte = 0;

	NEED(write(pipes[1], &byte, 1) == 1);
	EXPECT_ERRNO(splice(pipes[0], NULL, fd, NULL, 1, 0), EINVAL);
	NEED(read(pipes[0], &byte, 1) == 1);
}

int main(int argc, char **argv)
{
	int fd, pipes[2];

	tap_start(argc, argv, 60);
	irq_start(1);
	nr_vectors = irq_info.vectors;
	NEED(nr_vectors <= 4);
	fd = dev_open(O_RDWR);
	NEED(!pipe(pipes));
	test_events(fd, pipes);
	test_length(fd, pipes);
	test_blocking(fd, pipes);
	test_other_way(fd, pipes);
	return tap_finish();
}
