// SPDX-License-Identifier: MIT
/*
 * A device goes away while it is in use: every sleeper wakes, every call fails,
 * every mapping raises SIGBUS, and nothing waits for this program.
 *
 *	unplug DEVICE unbind	takes the driver away itself, and brings it back
 *	unplug DEVICE wait	prints "# ready" and waits for somebody to do so;
 *				"# woken" when nobody sleeps any more, at last
 *				"# checked", and keeps its files open until it
 *				gets SIGUSR1
 *	unplug DEVICE churn N	does so N times under threads that use the device
 *
 * Needs a device that nobody rings meanwhile.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "driver.h"
#include "irq.h"
#include "stuck.h"

#define HANGUP		(POLLHUP | POLLERR)

static size_t size;

static long long call_poll(struct dev_call *c)
{
	struct pollfd *pfd = c->arg;

	return poll(pfd, 1, -1);
}

static long long call_select(struct dev_call *c)
{
	fd_set *in = c->arg;

	return select(c->fd + 1, in, NULL, NULL, NULL);
}

static long long call_epoll(struct dev_call *c)
{
	struct epoll_event *event = c->arg;

	return epoll_wait(c->fd, event, 1, -1);
}

/* Those who sleep while it happens. */
enum {
	IN_READ,
	IN_READ_TWIN,
	IN_READ_TURN,
	IN_WAIT,
	IN_WAIT_ANY,
	IN_WAIT_TIMED,
	IN_POLL,
	IN_POLL_NONE,
	IN_SELECT,
	IN_EPOLL,
	IN_EPOLL_EDGE,
	IN_EPOLL_EXCLUSIVE,
	IN_EPOLL_EXCLUSIVE_TWIN,
	SLEEPERS
};

static struct dev_call calls[SLEEPERS];
static struct ivshmem_event events[3];
static struct ivshmem_wait waits[3];
static struct pollfd pfds[2];
static struct epoll_event epolls[SLEEPERS - IN_EPOLL] = {
	{ .events = EPOLLIN },
	{ .events = EPOLLIN | EPOLLET },
	{ .events = EPOLLIN | EPOLLEXCLUSIVE },
	{ .events = EPOLLIN | EPOLLEXCLUSIVE },
};

static fd_set selected;

static void sleep_in(unsigned int i, long nr, int fd, void *arg,
		     long long (*call)(struct dev_call *c))
{
	calls[i] = (struct dev_call){ .call = call, .fd = fd, .arg = arg };
	dev_call_start(&calls[i]);
	dev_call_asleep(&calls[i], nr);
}

/* A reader that has an event and cannot get rid of it: it keeps others out. */
static struct dev_call stuck = { .call = dev_call_read };
static int stuck_uffd;

static void start_stuck(void)
{
	stuck.arg = stuck_page(&stuck_uffd);
	if (stuck.arg) {
		dev_call_start(&stuck);
		dev_call_asleep(&stuck, SYS_read);
	} else {
		NEED(read(stuck.fd, &events[2], sizeof(events[2])) > 0);
	}
}

static void end_stuck(void)
{
	if (stuck.arg) {
		stuck_release(stuck_uffd, stuck.arg);
		NEED(dev_call_end(&stuck, DEV_LONG));
		EXPECT_EQ(stuck.ret, sizeof(events[0]));
		stuck_free(stuck_uffd, stuck.arg);
	}
	close(stuck.fd);
}

static void start_sleepers(int fd)
{
	struct ivshmem_info info = dev_info(fd);
	unsigned int i;

	for (i = 0; i < 3; i++) {
		waits[i].vector = i == 1 ? IVSHMEM_ANY_VECTOR :
				  dev_second(&info);
		waits[i].count = dev_count(fd, waits[i].vector);
		waits[i].timeout_ns = i == 2 ? tap_now() + 6 * DEV_LONG :
				      IVSHMEM_WAIT_FOREVER;
		sleep_in(IN_WAIT + i, SYS_ioctl, fd, &waits[i], dev_call_wait);
	}
	sleep_in(IN_READ, SYS_read, fd, &events[0], dev_call_read);
	sleep_in(IN_READ_TWIN, SYS_read, fd, &events[1], dev_call_read);
	sleep_in(IN_READ_TURN, SYS_read, stuck.fd, &events[2], dev_call_read);
	for (i = 0; i < 2; i++) {
		pfds[i].fd = i ? fd : dev_open(O_RDONLY);
		pfds[i].events = i ? 0 : POLLIN;
		sleep_in(IN_POLL + i, SYS_poll, -1, &pfds[i], call_poll);
	}
	FD_SET(fd, &selected);
	sleep_in(IN_SELECT, SYS_pselect6, fd, &selected, call_select);
	for (i = 0; i < SLEEPERS - IN_EPOLL; i++) {
		int epfd = epoll_create1(EPOLL_CLOEXEC);

		NEED(!epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &epolls[i]));
		sleep_in(IN_EPOLL + i, SYS_epoll_wait, epfd, &epolls[i],
			 call_epoll);
	}
}

static void end_sleepers(void)
{
	static const char * const names[] = {
		"read", "read beside it", "read behind a stuck one",
		"WAIT", "WAIT for any vector",
		"WAIT with a timeout", "poll", "poll for nothing", "select",
		"epoll", "epoll for edges",
		"exclusive epoll", "exclusive epoll beside it",
	};
	unsigned int i;

	for (i = 0; i < SLEEPERS; i++) {
		struct dev_call *c = &calls[i];

		if (!dev_call_end(c, DEV_LONG)) {
			tap_ok(false, "%s still sleeps", names[i]);
			tap_finish();
			exit(1);
		}
		if (i < IN_POLL)
			tap_ok(c->ret == -1 && c->err == ENODEV,
			       "%s ends with ENODEV: %lld, %s", names[i], c->ret,
			       strerrorname_np(c->err));
		else
			tap_ok(c->ret == 1, "%s ends: %lld", names[i], c->ret);
	}
	EXPECT_EQ(pfds[0].revents, HANGUP);
	EXPECT_EQ(pfds[1].revents, HANGUP);
	for (i = 0; i < SLEEPERS - IN_EPOLL; i++)
		EXPECT_EQ(epolls[i].events, EPOLLHUP | EPOLLERR);
	EXPECT(FD_ISSET(calls[IN_SELECT].fd, &selected));
}

/* Every call of a file whose device has gone. */
static void check_file(int fd, short wanted)
{
	struct pollfd pfd = { .fd = fd, .events = wanted };
	struct ivshmem_wait wait = { .timeout_ns = IVSHMEM_WAIT_FOREVER };
	struct ivshmem_subscribe all = { .flags = IVSHMEM_SUBSCRIBE_ALL };
	struct ivshmem_eventfd unbind = { .fd = -1 };
	struct ivshmem_event event;
	struct ivshmem_info info;

	EXPECT_ERRNO(ioctl(fd, IVSHMEM_GET_INFO, &info), ENODEV);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SET_EVENTFD, &unbind), ENODEV);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_SUBSCRIBE, &all), ENODEV);
	EXPECT_ERRNO(dev_ring(fd, 0, 0), ENODEV);
	EXPECT_ERRNO(dev_ring(fd, 0, 0xffff), ENODEV);
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ENODEV);
	wait.count = UINT64_MAX;
	EXPECT_ERRNO(ioctl(fd, IVSHMEM_WAIT, &wait), ENODEV);
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), ENODEV);
	EXPECT_ERRNO(lseek(fd, 0, SEEK_END), ENODEV);
	EXPECT_ERRNO((intptr_t)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0),
		     ENODEV);
	EXPECT_EQ(poll(&pfd, 1, -1), 1);
	EXPECT_EQ(pfd.revents, HANGUP);
}

static void check_mapping(unsigned char *mem)
{
	EXPECT_EQ(dev_fault(mem, -1), SIGBUS);
	EXPECT_EQ(dev_fault(mem, 1), SIGBUS);
	EXPECT_EQ(dev_fault(mem + size / 2, 1), SIGBUS);
	EXPECT_EQ(dev_fault(mem + size - 1, -1), SIGBUS);
	EXPECT_EQ(dev_fault(mem + size - 1, 1), SIGBUS);
}

/* A child with the mapping of its parent; says by its status what it sees. */
static pid_t start_child(unsigned char *mem, int *go)
{
	int fds[2];
	pid_t pid;

	NEED(pipe2(fds, O_CLOEXEC) == 0);
	pid = fork();
	NEED(pid >= 0);
	if (!pid) {
		char byte;

		/* It ends with its parent, too, however that ends. */
		close(fds[1]);
		mem[1] = 1;
		if (read(fds[0], &byte, 1) != 1)
			_exit(1);
		_exit(dev_fault(mem, -1) != SIGBUS ||
		      dev_fault(mem + size - 1, 1) != SIGBUS);
	}
	close(fds[0]);
	*go = fds[1];
	return pid;
}

/* A file that asks for a queued signal. */
static int open_async(void)
{
	int fd = dev_open(O_RDONLY);

	NEED(!fcntl(fd, F_SETOWN, getpid()));
	NEED(!fcntl(fd, F_SETSIG, SIGRTMIN));
	NEED(!fcntl(fd, F_SETFL, O_ASYNC));
	return fd;
}

static void check_async(int fd)
{
	const struct timespec timeout = { .tv_sec = 20 };
	siginfo_t got;
	sigset_t set;

	POISON(got);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	EXPECT_EQ(sigtimedwait(&set, &got, &timeout), SIGRTMIN);
	EXPECT_EQ(got.si_code, POLL_HUP);
	EXPECT_EQ(got.si_fd, fd);
	EXPECT_EQ(got.si_band & (POLLHUP | POLLERR), POLLHUP | POLLERR);
	close(fd);
}

static bool node_is_gone(void)
{
	return access(tap_device, F_OK) && errno == ENOENT;
}

static bool called;

static void handle_usr1(int sig TAP_UNUSED)
{
	called = true;
}

/* The same number, and all is as new, but for files from before. */
static void check_back(int old, unsigned char *mem)
{
	int fd = dev_open(O_RDWR);
	struct ivshmem_info info = dev_info(fd);
	struct ivshmem_event event;

	EXPECT_EQ(dev_count(fd, IVSHMEM_ANY_VECTOR), 0);
	EXPECT_EQ(dev_ring_self(fd, dev_second(&info)), 1);
	EXPECT_EQ(read(fd, &event, sizeof(event)), sizeof(event));
	munmap(dev_map(fd, size, 0), size);
	EXPECT_ERRNO(dev_ring(old, 0, 0), ENODEV);
	EXPECT_EQ(dev_fault(mem, -1), SIGBUS);
	EXPECT_EQ(dev_fault(mem + 4096, 1), SIGBUS);
	close(fd);
}

static void test_in_use(bool own)
{
	int fd = dev_open(O_RDWR), idle = dev_open(O_RDWR | O_NONBLOCK);
	int pending = dev_open(O_RDONLY | O_NONBLOCK);
	int writer = dev_open(O_WRONLY), mapped = dev_open(O_RDWR), go, status;
	int async;
	unsigned char *mem, *untouched, *orphan;
	const char *node = "/tmp/unplug-node";
	sigset_t blocked;
	uint64_t start;
	struct stat st;
	pid_t child;

	size = dev_info(fd).size;
	mem = dev_map(fd, size, 0);
	untouched = dev_map(fd, size, 0);
	orphan = dev_map(mapped, size, 0);
	close(mapped);
	memset(mem, 1, size);
	orphan[0] = 1;
	child = start_child(mem, &go);

	/* Another node for the same device, which nobody takes away. */
	unlink(node);
	NEED(stat(tap_device, &st) == 0);
	NEED(mknod(node, S_IFCHR | 0600, st.st_rdev) == 0);
	NEED(close(open(node, O_RDWR)) == 0);

	/* An event that nobody has read goes down with the device. */
	stuck.fd = dev_open(O_RDWR);
	dev_ring_self(fd, 0);
	NEED(read(fd, &events[0], sizeof(events[0])) > 0);
	NEED(read(idle, &events[0], sizeof(events[0])) > 0);
	signal(SIGUSR1, handle_usr1);
	/* Nobody takes it but check_async(): threads inherit this. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN);
	NEED(!sigprocmask(SIG_BLOCK, &blocked, NULL));
	start_stuck();
	async = open_async();
	start_sleepers(fd);
	tap_note("ready");

	if (own) {
		start = tap_now();
		driver_write("unbind");
		EXPECT(tap_now() - start < 5 * TAP_SECOND);
		EXPECT(node_is_gone());
	}
	end_sleepers();
	end_stuck();
	check_async(async);
	tap_note("woken");
	EXPECT_WITHIN(node_is_gone(), 20000);
	EXPECT_ERRNO(open(node, O_RDWR), ENODEV);
	unlink(node);
	check_file(fd, POLLIN);
	check_file(idle, POLLOUT);
	check_file(pending, POLLIN);
	EXPECT_ERRNO(dev_ring(writer, 0, 0), ENODEV);
	check_mapping(mem);
	check_mapping(untouched);
	check_mapping(orphan);
	NEED(write(go, "", 1) == 1);
	NEED(waitpid(child, &status, 0) == child);
	EXPECT_EQ(status, 0);

	if (own) {
		driver_write("bind");
		EXPECT_EQ(access(tap_device, F_OK), 0);
		check_back(fd, mem);
	} else {
		tap_note("checked");
		EXPECT_WITHIN(called, 60000);
	}
	EXPECT_EQ(munmap(mem, size), 0);
	EXPECT_EQ(munmap(untouched, size), 0);
	EXPECT_EQ(munmap(orphan, size), 0);
	EXPECT_EQ(close(fd), 0);
	EXPECT_EQ(close(idle), 0);
	EXPECT_EQ(close(pending), 0);
	EXPECT_EQ(close(writer), 0);
}

#define USES		6

static bool stop;
static unsigned long opens[USES];	/* of each kind */

/* Sleeps until unplugging makes it readable, where there is a vector to choose. */
static int choose(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct ivshmem_event event;

	if (irq_subscribe(fd, 1 << irq_second))
		return -1;
	NEED(poll(&pfd, 1, -1) == 1);
	return read(fd, &event, sizeof(event));
}

/* Whether an eventfd was signalled that was bound when the device went. */
static bool was_told(int efd, uint32_t vector)
{
	struct pollfd pfd = { .fd = efd, .events = POLLIN };
	uint64_t value;

	if (poll(&pfd, 1, DEV_LONG / 1000000) != 1)
		return false;
	value = irq_take(efd);
	/* Others ring vector 0. */
	return vector ? value == 1 : value;
}

/* Opens and uses the device as fast as it can; what fails, fails with ENODEV. */
static void *churn(void *data)
{
	unsigned long kind = (uintptr_t)data, odd = 0, untold = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		struct ivshmem_event event;
		struct ivshmem_info info;
		int fd = open(tap_device, O_RDWR), efd, ret;
		bool bound = false;
		unsigned char *mem;

		if (fd < 0) {
			odd += errno != ENOENT && errno != ENODEV;
			continue;
		}
		efd = irq_eventfd();
		__atomic_add_fetch(&opens[kind], 1, __ATOMIC_RELEASE);
		for (;;) {
			uint64_t count = 0;

			switch (kind) {
			case 0:
				ret = dev_ring(fd, 0, 0);
				break;
			case 1:
				ret = read(fd, &event, sizeof(event));
				break;
			case 2:
				ret = dev_wait(fd, IVSHMEM_ANY_VECTOR, &count,
					       1000000);
				if (ret && errno == ETIMEDOUT)
					ret = 0;
				break;
			case 3:
				ret = irq_bind(fd, irq_second, bound ? -1 : efd);
				if (ret)
					break;
				bound = !bound;
				poll(&(struct pollfd){ efd, POLLIN, 0 }, 1, 5);
				break;
			case 4:
				ret = choose(fd);
				break;
			default:
				mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
					   MAP_SHARED, fd, 0);
				ret = mem == MAP_FAILED ? -1 : 0;
				if (ret)
					break;
				ret = dev_fault(mem + size / 2, 1);
				odd += ret && ret != SIGBUS;
				munmap(mem, size);
				if (ret)
					ret = ioctl(fd, IVSHMEM_GET_INFO, &info);
			}
			if (ret < 0 || __atomic_load_n(&stop, __ATOMIC_ACQUIRE))
				break;
		}
		odd += ret < 0 && errno != ENODEV;
		untold += ret < 0 && bound && !was_told(efd, irq_second);
		close(efd);
		close(fd);
	}
	tap_ok(!odd && !untold,
	       "use %lu: %lu opens, %lu odd errors, %lu eventfds not told", kind,
	       opens[kind], odd, untold);
	return NULL;
}

/* Whether a machine with much to do has let each thread get at the device. */
static bool all_opened(void)
{
	unsigned int i;

	for (i = 0; i < USES; i++)
		if (!__atomic_load_n(&opens[i], __ATOMIC_ACQUIRE))
			return false;
	return true;
}

static void test_churn(unsigned int cycles)
{
	pthread_t threads[USES];
	struct ivshmem_info info;
	uint64_t end, last = tap_now() + 2 * DEV_LONG;
	unsigned int i;
	int fd = dev_open(O_RDWR);

	info = dev_info(fd);
	size = info.size;
	irq_second = dev_second(&info);
	close(fd);
	for (i = 0; i < USES; i++)
		NEED(!pthread_create(&threads[i], NULL, churn,
				     (void *)(uintptr_t)i));
	for (i = 0; i < cycles || (!all_opened() && tap_now() < last); i++) {
		/* Some time for the threads, another one each time. */
		end = tap_now() + i * 777 % 20000 * 1000;
		while (tap_now() < end)
			tap_pause();
		driver_write("unbind");
		driver_write("bind");
	}
	EXPECT(all_opened());
	fd = dev_open(O_RDWR);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	/* Those who sleep are to see that. */
	end = tap_now() + 2 * DEV_LONG;
	for (i = 0; i < USES; i++) {
		while (pthread_tryjoin_np(threads[i], NULL)) {
			if (tap_now() > end)
				tap_bail("thread %u hangs", i);
			dev_ring_self(fd, 0);
			dev_ring_self(fd, irq_second);
		}
	}
	close(fd);
}

int main(int argc, char **argv)
{
	tap_start(argc, argv, 240);
	NEED(argc >= 3);
	driver_find();
	if (!strcmp(argv[2], "churn"))
		test_churn(atoi(argv[3]));
	else
		test_in_use(!strcmp(argv[2], "unbind"));
	return tap_finish();
}
