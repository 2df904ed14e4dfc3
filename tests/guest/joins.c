// SPDX-License-Identifier: MIT
/*
 * Notices that a peer has come, and subscriptions: who is told. For a device of
 * the first design. Says what the test has to do, "# 1 join" or "# 2 ring 5", and
 * goes on once that has come.
 */
#include "irq.h"

static bool pin;
static unsigned int asked;

/* Returns once an interrupt of a vector has come that was asked for. */
static void ask(uint32_t vector, const char *what)
{
	uint64_t count = irq_count(vector);

	tap_note("%u %s", ++asked, what);
	EXPECT_EQ(dev_wait(irq_bell, vector, &count, DEV_LONG), 0);
	irq_settle();
}

/* The file reports one event, and no more, and it is as told. */
static void expect_event(int fd, uint32_t vector, uint16_t flags, uint32_t status)
{
	struct ivshmem_event events[4];

	POISON(events);
	EXPECT_EQ(irq_poll(fd), POLLIN);
	EXPECT_EQ(read(fd, events, sizeof(events)), sizeof(*events));
	EXPECT_EQ(events->vector, vector);
	EXPECT_EQ(events->flags, flags);
	EXPECT_EQ(events->status, status);
	EXPECT_EQ(events->count, irq_count(vector));
}

static void expect_nothing(int fd)
{
	struct ivshmem_event event;

	EXPECT_EQ(irq_poll(fd), 0);
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), EAGAIN);
}

static void expect_join(int fd)
{
	expect_event(fd, 0, IVSHMEM_EVENT_JOIN, pin ? UINT32_MAX : 0);
}

int main(int argc, char **argv)
{
	const struct ivshmem_subscribe all = { .flags = IVSHMEM_SUBSCRIBE_ALL };
	int fd, other;

	tap_start(argc, argv, 120);
	irq_start(1);
	pin = irq_info.irq_mode == IVSHMEM_IRQ_INTX;
	fd = dev_open(O_RDONLY | O_NONBLOCK);
	other = dev_open(O_RDONLY | O_NONBLOCK);

	/* Subscribed by name: told, and once. */
	EXPECT_EQ(irq_subscribe(fd, 1), 0);
	ask(0, "join");
	expect_join(fd);
	expect_nothing(fd);

	/* What is subscribed to before and after keeps its notice. */
	ask(0, "join");
	EXPECT_EQ(ioctl(fd, IVSHMEM_SUBSCRIBE, &all), 0);
	expect_join(fd);
	expect_nothing(fd);

	/* Not subscribed: nothing, neither then nor when the vector is new. */
	EXPECT_EQ(irq_subscribe(fd, pin ? 0 : 2), 0);
	ask(0, "join");
	expect_nothing(fd);
	EXPECT_EQ(irq_subscribe(fd, 1), 0);
	expect_nothing(fd);
	if (pin) {
		/* The next event is none. */
		ask(0, "ring 5");
		expect_event(fd, 0, 0, 5);
		/* A notice that another event has come after. */
		ask(0, "join");
		ask(0, "ring 6");
		expect_event(fd, 0, IVSHMEM_EVENT_JOIN, 6);
		ask(0, "ring 7");
		expect_event(fd, 0, 0, 7);
	} else {
		ask(1, "ring 1");
		expect_nothing(fd);
		ask(0, "join");
		expect_join(fd);
	}

	/* A file that chose nothing has missed nothing. */
	if (pin) {
		expect_event(other, 0, IVSHMEM_EVENT_JOIN, 7);
	} else {
		EXPECT_EQ(irq_subscribe(other, 1), 0);
		expect_join(other);
	}
	expect_nothing(other);
	close(fd);
	close(other);
	return tap_finish();
}
