// SPDX-License-Identifier: MIT
/*
 * Signals that come while RING_DOORBELL waits for the end of a reset.
 *
 *	held DEVICE FILE	writing 1 to the file resets the device
 */
#include "irq.h"

static atomic_uint handled;
static atomic_bool over;

static void handler(int sig TAP_UNUSED)
{
	handled++;
}

static long long call_reset(struct dev_call *c)
{
	int fd = open(c->arg, O_WRONLY | O_CLOEXEC);
	long long ret = write(fd, "1", 1);

	close(fd);
	over = true;
	return ret;
}

/* Rings until the end of a reset; returns how often that was interrupted. */
static unsigned int ring_on(char *path, int flags)
{
	const struct itimerspec often = { { 0, 2000000 }, { 0, 2000000 } };
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };
	struct dev_call c = { .call = call_reset, .arg = path };
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1,
	};
	unsigned int interrupted = 0, odd = 0;
	timer_t timer;
	long before;

	event._sigev_un._tid = syscall(SYS_gettid);
	NEED(!sigaction(SIGUSR1, &sa, NULL));
	over = false;
	handled = 0;
	before = irq_switches(event._sigev_un._tid);
	dev_call_start(&c);
	NEED(!timer_create(CLOCK_MONOTONIC, &event, &timer));
	NEED(!timer_settime(timer, 0, &often, NULL));
	while (!over) {
		if (!ioctl(irq_bell, IVSHMEM_RING_DOORBELL, irq_self(0)))
			continue;
		if (errno == EINTR)
			interrupted++;
		else
			odd++;
	}
	NEED(!timer_delete(timer));
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, 1);
	EXPECT_EQ(odd, 0);
	EXPECT(handled > 0);
	EXPECT(irq_switches(event._sigev_un._tid) > before);
	tap_note("%u signals, %u times interrupted", handled, interrupted);
	return interrupted;
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 60);
	NEED(argc == 3);
	irq_start(1);
	EXPECT(ring_on(argv[2], 0) > 0);
	EXPECT_EQ(ring_on(argv[2], SA_RESTART), 0);
	/* The device is back. */
	irq_fire(0);
	return tap_finish();
}
