// SPDX-License-Identifier: MIT
/* O_ASYNC: a signal for each interrupt. */
#include <sys/ioctl.h>

#include "irq.h"

static int sig;		/* SIGIO, or what was asked for by F_SETSIG */

static void set_flags(int fd, int flags)
{
	NEED(fcntl(fd, F_SETFL, flags) == 0);
	EXPECT_EQ(fcntl(fd, F_GETFL) & (O_ASYNC | O_NONBLOCK), flags);
}

/* Takes a signal that must come. */
static siginfo_t taken(void)
{
	const struct timespec timeout = { .tv_sec = 20 };
	siginfo_t info;
	sigset_t set;

	POISON(info);
	sigemptyset(&set);
	sigaddset(&set, sig);
	EXPECT_EQ(sigtimedwait(&set, &info, &timeout), sig);
	return info;
}

static bool none(void)
{
	const struct timespec now = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigaddset(&set, sig);
	return sigtimedwait(&set, NULL, &now) == -1 && errno == EAGAIN;
}

static void drain(int fd)
{
	struct ivshmem_event events[16];

	NEED(read(fd, events, sizeof(events)) > 0);
}

/* The plain signal. */
static void test_sigio(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK);

	sig = SIGIO;
	NEED(!fcntl(fd, F_SETOWN, getpid()));
	irq_fire(0);
	EXPECT(none());
	drain(fd);

	set_flags(fd, O_ASYNC | O_NONBLOCK);
	EXPECT(none());
	irq_fire(0);
	EXPECT_EQ(taken().si_signo, SIGIO);
	EXPECT(none());
	/* For each interrupt, also when the one before has not been read. */
	irq_fire(irq_second);
	taken();
	drain(fd);

	/* Off and on again. */
	set_flags(fd, O_NONBLOCK);
	irq_fire(0);
	EXPECT(none());
	set_flags(fd, O_ASYNC | O_NONBLOCK);
	irq_fire(0);
	taken();
	close(fd);
	irq_fire(0);
	EXPECT(none());
}

/* A queued one that says which descriptor, and why. */
static void test_setsig(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK), other = dev_open(O_RDONLY), on = 1;
	siginfo_t info;

	sig = SIGRTMIN + 3;
	NEED(!fcntl(fd, F_SETOWN, getpid()));
	NEED(!fcntl(fd, F_SETSIG, sig));
	NEED(!ioctl(fd, FIOASYNC, &on));
	EXPECT_EQ(fcntl(fd, F_GETFL) & O_ASYNC, O_ASYNC);
	NEED(!fcntl(other, F_SETOWN, getpid()));
	NEED(!fcntl(other, F_SETSIG, sig));
	NEED(!fcntl(other, F_SETFL, O_ASYNC));
	EXPECT_EQ(irq_subscribe(fd, 1), 0);
	EXPECT_EQ(irq_subscribe(other, 2), 0);

	irq_fire(0);
	info = taken();
	EXPECT_EQ(info.si_fd, fd);
	EXPECT_EQ(info.si_code, POLL_IN);
	EXPECT_EQ(info.si_band & (POLLIN | POLLRDNORM), POLLIN | POLLRDNORM);
	EXPECT(none());
	irq_fire(1);
	info = taken();
	EXPECT_EQ(info.si_fd, other);
	EXPECT(none());

	/* Nobody has asked for this vector; then one does. */
	irq_fire(2);
	EXPECT(none());
	EXPECT_EQ(irq_subscribe(fd, 4), 0);
	EXPECT(none());
	irq_fire(0);
	EXPECT(none());
	irq_fire(2);
	EXPECT_EQ(taken().si_fd, fd);

	/* They queue up. */
	irq_fire(2);
	irq_fire(2);
	irq_fire(2);
	taken();
	taken();
	taken();
	EXPECT(none());

	on = 0;
	NEED(!ioctl(fd, FIOASYNC, &on));
	irq_fire(2);
	EXPECT(none());
	close(fd);
	close(other);
}

static long long call_signal(struct dev_call *c)
{
	const struct timespec timeout = { .tv_sec = 20 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	/* The other descriptor is for this thread. */
	NEED(!fcntl(c->fd, F_SETOWN_EX, &(struct f_owner_ex){
		.type = F_OWNER_TID, .pid = c->tid,
	}));
	*(atomic_bool *)c->arg = true;
	return sigtimedwait(&set, NULL, &timeout);
}

/* One thread, not just any of the process. */
static void test_thread(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	atomic_bool ready = false;
	struct dev_call c = { .call = call_signal, .fd = fd, .arg = &ready };

	sig = SIGRTMIN + 4;
	NEED(!fcntl(fd, F_SETSIG, sig));
	dev_call_start(&c);
	EXPECT_WITHIN(ready, 20000);
	set_flags(fd, O_ASYNC | O_NONBLOCK);
	irq_fire(0);
	NEED(dev_call_end(&c, DEV_LONG));
	EXPECT_EQ(c.ret, sig);
	EXPECT(none());
	close(fd);
}

/* A copy of the descriptor keeps it on; the last close ends it. */
static void test_dup(void)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK), copy = dup(fd);

	NEED(copy >= 0);
	sig = SIGRTMIN + 5;
	NEED(!fcntl(fd, F_SETOWN, getpid()));
	NEED(!fcntl(fd, F_SETSIG, sig));
	set_flags(fd, O_ASYNC | O_NONBLOCK);
	close(fd);
	irq_fire(0);
	taken();
	close(copy);
	irq_fire(0);
	EXPECT(none());
}

/* With a handler, as most programs do it. */
static int handled_fd;
static atomic_uint handled;

static void handler(int number TAP_UNUSED)
{
	struct ivshmem_event event;

	while (read(handled_fd, &event, sizeof(event)) == sizeof(event))
		handled++;
}

static void test_handler(void)
{
	struct sigaction sa = { .sa_handler = handler };
	sigset_t set;
	int i;

	handled_fd = dev_open(O_RDWR | O_NONBLOCK);
	NEED(!sigaction(SIGIO, &sa, NULL));
	NEED(!fcntl(handled_fd, F_SETOWN, getpid()));
	set_flags(handled_fd, O_ASYNC | O_NONBLOCK);
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	NEED(!sigprocmask(SIG_UNBLOCK, &set, NULL));
	for (i = 1; i <= 20; i++) {
		irq_ring(i & irq_second);
		EXPECT_WITHIN(handled == (unsigned int)i, 20000);
	}
	NEED(!sigprocmask(SIG_BLOCK, &set, NULL));
	close(handled_fd);
}

int main(int argc, char **argv)
{
	sigset_t set;
	int i;

	tap_start(argc, argv, 60);
	irq_start(1);
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	for (i = SIGRTMIN; i <= SIGRTMAX; i++)
		sigaddset(&set, i);
	NEED(!sigprocmask(SIG_BLOCK, &set, NULL));
	test_sigio();
	if (irq_info.vectors >= 3)
		test_setsig();
	test_thread();
	test_dup();
	test_handler();
	return tap_finish();
}
