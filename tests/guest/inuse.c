// SPDX-License-Identifier: MIT
/*
 * Uses a device in every way at once, each in a process of its own, until it goes
 * away: after printing "# ready" it waits for somebody to see to that. Then each
 * process must have been told, and have gone on to its end.
 *
 *	inuse DEVICE [debugger]	the driver lets a debugger in, as it does where
 *				the kernel has CONFIG_VMAP_PFN
 *
 * Needs UIO and a device of four vectors that no other rings meanwhile.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "dev.h"
#include "uio.h"
#include "uring.h"

#define FILES		64
#define QUIET		3	/* a vector that nobody rings */
#define HANGUP		(POLLHUP | POLLERR)
#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"

static unsigned int *nr_ready;		/* shared by all processes */
static unsigned char *inherited;	/* mapped before they were made */
static size_t size;
static bool debuggers;		/* the kernel lets them in */

static void ready(void)
{
	__atomic_add_fetch(nr_ready, 1, __ATOMIC_RELEASE);
}

/* Those who sleep, with_interrupts() beside them notwithstanding */

static int open_quiet(void)
{
	return dev_open_for(QUIET, O_RDWR);
}

static bool in_read(void)
{
	struct ivshmem_event event;
	int fd = open_quiet();

	ready();
	return read(fd, &event, sizeof(event)) == -1 && errno == ENODEV &&
	       !close(fd);
}

static bool in_wait(void)
{
	struct ivshmem_wait wait = { .timeout_ns = IVSHMEM_WAIT_FOREVER };
	int fd = open_quiet();

	wait.vector = QUIET;
	wait.count = dev_count(fd, QUIET);
	ready();
	return ioctl(fd, IVSHMEM_WAIT, &wait) == -1 && errno == ENODEV;
}

static bool in_poll(void)
{
	struct pollfd pfds[FILES];
	unsigned int i;

	for (i = 0; i < FILES; i++) {
		pfds[i].fd = open_quiet();
		pfds[i].events = POLLIN;
	}
	ready();
	/* One wake-up can come before the others. */
	NEED(poll(pfds, FILES, -1) > 0);
	for (i = 0; i < FILES; i++) {
		NEED(poll(&pfds[i], 1, 20000) == 1);
		if (pfds[i].revents != HANGUP)
			return false;
	}
	return true;
}

static bool in_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epfd = epoll_create1(0), fd = open_quiet();

	NEED(!epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event));
	ready();
	return epoll_wait(epfd, &event, 1, -1) == 1 && event.events == HANGUP;
}

static bool in_uring(void)
{
	const int hangups[] = { -ENODEV, HANGUP, -ENODEV };
	struct ivshmem_event events[2];
	struct io_uring_cqe cqe;
	struct io_uring_sqe sqe;
	int fd = open_quiet();
	unsigned int i;

	ring_open();
	submit(op_read(fd, &events[0], sizeof(*events)), 0);
	submit(op_poll(fd, 0), 1);
	sqe = op_read(fd, &events[1], sizeof(*events));
	sqe.flags = IOSQE_ASYNC;
	submit(sqe, 2);
	ready();
	for (i = 0; i < 3; i++) {
		if (!complete(&cqe, 120000) || cqe.user_data > 2 ||
		    cqe.res != hangups[cqe.user_data]) {
			tap_note("io_uring: request %u: %d",
				 (unsigned int)cqe.user_data, cqe.res);
			return false;
		}
	}
	return true;
}

static bool with_eventfd(void)
{
	struct ivshmem_eventfd bind = { .vector = QUIET, .fd = eventfd(0, 0) };
	int fd = open_quiet();
	uint64_t value = 0;

	NEED(!ioctl(fd, IVSHMEM_SET_EVENTFD, &bind));
	ready();
	return read(bind.fd, &value, sizeof(value)) == sizeof(value) &&
	       value == 1;
}

static bool with_sigio(void)
{
	int fd = open_quiet(), sig;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigprocmask(SIG_BLOCK, &set, NULL);
	NEED(!fcntl(fd, F_SETOWN, getpid()));
	NEED(!fcntl(fd, F_SETFL, O_ASYNC));
	ready();
	return !sigwait(&set, &sig) && dev_ring(fd, 0, 0) == -1 &&
	       errno == ENODEV;
}

static bool in_uio_read(void)
{
	int fd = uio_open(O_RDWR);
	uint32_t count;

	NEED(fd >= 0);
	ready();
	while (read(fd, &count, sizeof(count)) == sizeof(count))
		;
	return errno == EIO;
}

/* Those who are busy */

static bool in_busy_wait(void)
{
	struct ivshmem_wait wait = {
		.timeout_ns = IVSHMEM_WAIT_FOREVER, .busy_ns = UINT64_MAX,
	};
	int fd = dev_open(O_RDWR);

	wait.vector = QUIET;
	wait.count = dev_count(fd, QUIET);
	ready();
	return ioctl(fd, IVSHMEM_WAIT, &wait) == -1 && errno == ENODEV;
}

/*
 * Whether no page is left. A page that nobody has touched before raises SIGBUS
 * as soon as the device is gone; those that are mapped go a little later, one
 * after the other.
 */
static bool all_gone(unsigned char *mem)
{
	uint64_t end = tap_now() + 20 * TAP_SECOND;
	size_t i;
	int sig;

	for (i = 0; i < size; i += 4096) {
		while (!(sig = dev_fault(mem + i, -1)) && tap_now() < end)
			tap_pause();
		if (sig != SIGBUS) {
			tap_note("signal %d from the page at %#zx", sig, i);
			return false;
		}
	}
	return true;
}

/* Reads and writes all over the memory until it is gone. */
static bool loop(unsigned char *mem)
{
	size_t i = 0;
	int sig;

	while (!(sig = dev_fault(mem + i, -1)) &&
	       !(sig = dev_fault(mem + i, 1))) {
		if (!i)
			ready();
		i = (i + 4096 * 37) % size;
		if (!i)
			i = 1;
	}
	if (sig == SIGBUS && all_gone(mem) && !munmap(mem, size))
		return true;
	tap_note("signal %d at %#zx", sig, i);
	return false;
}

static bool with_memory(void)
{
	return loop(dev_map(dev_open(O_RDWR), size, 0));
}

static bool with_uio_memory(void)
{
	int fd = uio_open(O_RDWR);

	NEED(fd >= 0);
	return loop(dev_map(fd, size, UIO_MAP(1)));
}

static bool with_inherited_memory(void)
{
	return loop(inherited);
}

/* An interrupt and its event, one after the other. */
static bool with_interrupts(void)
{
	struct ivshmem_event event;
	int fd = dev_open(O_RDWR);
	uint32_t position = dev_position(fd);

	tap_note("ringer %d", getpid());
	ready();
	while (!dev_ring(fd, position, 0) &&
	       read(fd, &event, sizeof(event)) == sizeof(event))
		;
	return errno == ENODEV;
}

/* As a debugger, of the parent. */
static bool as_debugger(void)
{
	char path[32], byte;
	struct ivshmem_info info;
	int dev = dev_open(O_RDWR);
	bool begun = false;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", getppid());
	fd = open(path, O_RDWR);
	NEED(fd >= 0);
	while (pread(fd, &byte, 1, (uintptr_t)inherited) == 1 &&
	       pwrite(fd, &byte, 1, (uintptr_t)inherited + 1) == 1) {
		if (!begun)
			ready();
		begun = true;
	}
	if (!begun) {
		if (debuggers) {
			tap_note("the debugger never got in");
			return false;
		}
		/* Nobody may end before the device goes. */
		ready();
		while (pread(fd, &byte, 1, (uintptr_t)inherited) < 0 &&
		       errno == EIO && !ioctl(dev, IVSHMEM_GET_INFO, &info))
			usleep(1000);
		return errno == ENODEV;
	}
	return errno == EIO;
}

/* Dumps core with the memory mapped, again and again. */
static bool in_core_dump(void)
{
	const struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	bool begun = false;
	int status;
	pid_t pid;

	NEED(!setrlimit(RLIMIT_CORE, &limit));
	for (;;) {
		pid = fork();
		NEED(pid >= 0);
		if (!pid) {
			__atomic_load_n(inherited, __ATOMIC_RELAXED);
			abort();
		}
		NEED(waitpid(pid, &status, 0) == pid);
		NEED(WIFSIGNALED(status) && WCOREDUMP(status));
		if (WTERMSIG(status) != SIGABRT)
			return WTERMSIG(status) == SIGBUS;
		if (!begun)
			ready();
		begun = true;
	}
}

static const struct {
	const char *name;
	bool (*use)(void);
	bool sleeps;
} uses[] = {
	{ "read", in_read, true },
	{ "WAIT", in_wait, true },
	{ "poll of many files", in_poll, true },
	{ "epoll", in_epoll, true },
	{ "io_uring", in_uring, true },
	{ "eventfd", with_eventfd, true },
	{ "SIGIO", with_sigio, true },
	{ "read of UIO", in_uio_read, true },
	{ "WAIT that polls", in_busy_wait, false },
	{ "memory", with_memory, false },
	{ "memory of UIO", with_uio_memory, false },
	{ "memory inherited over fork", with_inherited_memory, false },
	{ "interrupts", with_interrupts, false },
	{ "debugger", as_debugger, false },
	{ "core dump", in_core_dump, false },
};

#define USES	(sizeof(uses) / sizeof(*uses))

static pid_t start(unsigned int i)
{
	pid_t pid = fork();

	NEED(pid >= 0);
	if (pid)
		return pid;
	/* The one who takes the device away is to get his turn. */
	if (!uses[i].sleeps)
		setpriority(PRIO_PROCESS, 0, 10);
	alarm(320);
	errno = 0;
	if (uses[i].use())
		_exit(0);
	tap_note("%s: %s", uses[i].name, strerrorname_np(errno));
	_exit(1);
}

static bool asleep(pid_t pid)
{
	char path[32], text[128] = "", *state;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	NEED(fd >= 0);
	NEED(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	state = strrchr(text, ')');
	return state && state[2] == 'S';
}

/* The parent has had a file open, and did nothing with it. */
static void check_idle(int fd)
{
	struct ivshmem_event event;

	EXPECT_ERRNO(read(fd, &event, sizeof(event)), ENODEV);
	EXPECT_ERRNO(dev_ring(fd, 0, 0), ENODEV);
	EXPECT_ERRNO((intptr_t)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0),
		     ENODEV);
	EXPECT_EQ(dev_fault(inherited, -1), SIGBUS);
	EXPECT_EQ(close(fd), 0);
}

int main(int argc, char **argv)
{
	char busy[128], pattern[128];
	pid_t pids[USES];
	unsigned int i;
	int idle, status;

	tap_start(argc, argv, 340);
	debuggers = argc > 2;
	uio_find();
	idle = dev_open(O_RDWR);
	size = dev_info(idle).size;
	inherited = dev_map(idle, size, 0);
	nr_ready = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(nr_ready != MAP_FAILED);
	strcpy(busy, dev_exchange(DEV_BUSY_MAX, "300000000000"));
	strcpy(pattern, dev_exchange(CORE_PATTERN, "/tmp/core"));

	for (i = 0; i < USES; i++)
		pids[i] = start(i);
	while (__atomic_load_n(nr_ready, __ATOMIC_ACQUIRE) < USES) {
		if (waitpid(-1, &status, WNOHANG) > 0)
			tap_bail("one has ended before all were ready");
		tap_pause();
	}
	for (i = 0; i < USES; i++) {
		while (uses[i].sleeps && !asleep(pids[i]))
			tap_pause();
	}
	tap_note("ready");

	for (i = 0; i < USES; i++) {
		NEED(waitpid(pids[i], &status, 0) == pids[i]);
		tap_ok(!status, "%s ends well: %#x", uses[i].name, status);
	}
	check_idle(idle);
	dev_exchange(CORE_PATTERN, pattern);
	if (!access(DEV_BUSY_MAX, F_OK))
		dev_exchange(DEV_BUSY_MAX, busy);
	return tap_finish();
}
